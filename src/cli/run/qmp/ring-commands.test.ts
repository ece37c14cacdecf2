/** Rings, read and written by both monitors: the answers are QEMU's. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Answer } from './testing/qmp-client.js';
import { missingOracle, SideBySide } from './testing/side-by-side.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-qmp-rings-'));
after(() => rmSync(folder, { recursive: true }));
const skip = missingOracle && `no ${missingOracle}`;

test('ringbuf-read and ringbuf-write are answered as by QEMU', { skip, timeout: 100_000 }, async () => {
  await using machines = new SideBySide(folder);
  await machines.start([
    ...['-chardev', 'ringbuf,id=r', '-chardev', 'ringbuf,id=small,size=8', '-chardev', 'memory,id=old'],
    ...['-chardev', 'null,id=n', '-serial', 'chardev:n', '-chardev', 'udp,id=u,host=127.0.0.1,port=9'],
  ]);
  const same = async (execute: string, given: object) => {
    const [our, their] = await machines.ask(execute, given);
    assert.deepEqual(our, their, `${execute} ${JSON.stringify(given)}`);
    return our;
  };
  const human = (line: string) => same('human-monitor-command', { 'command-line': line });
  const write = (device: string, data: string, format?: string) =>
    same('ringbuf-write', { device, data, ...(format ? { format } : {}) });
  const read = (device: string, size: number, format?: string) =>
    same('ringbuf-read', { device, size, ...(format ? { format } : {}) });
  await human('ringbuf_write r hello');
  await write('r', 'x\u0001\r\u000b\u007f\u00fc\\y\tz\n');
  await human('ringbuf_read r 4');
  await human('ringbuf_read r 100');
  await write('small', '0123456789');
  assert.deepEqual((await read('small', 3)).return, '234');
  await read('small', 30, 'base64');
  await write('small', 'AAH/', 'base64');
  await read('small', 30);
  await write('small', '/////w==', 'base64');
  await read('small', 2, 'base64');
  for (const data of ['!!', 'AA', 'AA=', 'AAAA=']) await write('small', data, 'base64');
  await write('small', 'x', 'base65');
  await read('small', 0);
  await read('small', -1);
  for (const device of ['n', 'nobody', 'u']) {
    await read(device, 1);
    await write(device, 'x');
    await human(`ringbuf_read ${device} 1`);
  }
  const [ours, theirs] = await machines.ask('query-chardev');
  const shown = (answer: Answer) =>
    answer.return
      .filter(({ label }: Answer) => !/^(compat|parallel)/.test(label))
      .map(({ label, filename, 'frontend-open': open }: Answer) => `${label} ${filename} ${open}`)
      .sort();
  assert.deepEqual(shown(ours), shown(theirs));
});
