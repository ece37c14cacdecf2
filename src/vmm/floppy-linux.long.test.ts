/** Floppy disks under Linux's driver (a module of Debian's kernel): what it finds, reads, writes and formats, other media, protection. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openDebian, VringError } from './index.js';

const limitMs = 300_000;
const folder = mkdtempSync(join(tmpdir(), 'vring floppies '));
after(() => rmSync(folder, { recursive: true }));

const pattern = (bytes: number, seed: number) => {
  const content = Buffer.alloc(bytes);
  for (let i = 0; i < bytes; i += 4) content.writeUInt32LE(Math.imul(i + seed, 2654435761) >>> 0, i);
  return content;
};
const hash = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
function file(name: string, content: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const first = pattern(1474560, 1);
const second = pattern(368640, 2);
const another = pattern(1474560, 3);

const script = [
  'modprobe floppy; for try in 1 2 3 4 5 6 7 8 9; do [ -b /dev/fd1 ] && break; sleep 1; done',
  'echo 4 > /proc/sys/kernel/printk; dmesg | grep -i -E "FDC 0 is|floppy drive"',
  'echo sizes $(cat /sys/block/fd*/device/cmos)',
  'echo a $(sha256sum < /dev/fd0)',
  'echo b $(sha256sum < /dev/fd1)',
  'dd if=/dev/fd0 of=/tmp/piece bs=18k skip=3 count=5 2>/dev/null',
  'dd if=/tmp/piece of=/dev/fd0 bs=18k seek=40 conv=notrunc,fsync 2>/dev/null && echo written',
  'dd if=/tmp/piece of=/dev/fd1 bs=1k seek=7 count=11 conv=notrunc,fsync 2>/dev/null && echo written',
  'echo == change',
  'read line',
  'echo c $(sha256sum < /dev/fd0)',
  'echo x | dd of=/dev/fd0 bs=512 count=1 conv=sync,fsync 2>/dev/null || echo protected',
  'dmesg | grep -c -i "probe failed"',
  'true',
].join('\n');

test('floppy disks under Linux', { timeout: limitMs }, async (t) => {
  const paths = [file('first', first), file('second', second), file('another', another)] as const;
  let session: Awaited<ReturnType<typeof openDebian>>;
  try {
    session = await openDebian({
      suite: 'bookworm',
      flavour: 'amd64',
      machine: {
        devices: [
          { type: 'floppy', image: { path: paths[0], format: 'raw' } },
          { type: 'floppy', image: { path: paths[1], format: 'raw' } },
        ],
      },
      command: ['sh', '-c', script],
    });
  } catch (error) {
    if (error instanceof VringError && /^(network|offline|mirror|http)-/.test(error.code)) return t.skip(error.message);
    throw error;
  }
  await using running = session;
  let text = '';
  let changed: Promise<void> | undefined;
  running.stream('stdout').onData((bytes) => {
    text += Buffer.from(bytes).toString('latin1');
    if (!text.includes('== change') || changed) return;
    const { machine } = running;
    changed = machine
      .changeMedium('floppy0', { path: paths[2], format: 'raw', readonly: true })
      .then(() => running.stream('stdin').write('\n'));
  });
  await running.start();
  assert.equal(await running.exited, 0, `${text}\n${running.kernelLog}`);
  await running.machine.ended;
  await changed;
  t.diagnostic(text.replaceAll('\n', ' | '));
  assert.match(text, /FDC 0 is a S82078B/);
  const lines = text.split('\n').filter((line) => /^([abc] |written|protected|== change)/.test(line));
  assert.deepEqual(lines, [
    `a ${hash(first)} -`,
    `b ${hash(second)} -`,
    'written',
    'written',
    '== change',
    `c ${hash(another)} -`,
    'protected',
  ]);
  const piece = first.subarray(3 * 18432, 8 * 18432);
  piece.copy(first, 40 * 18432);
  piece.copy(second, 7 * 1024, 0, 11 * 1024);
  assert.ok(readFileSync(paths[0]).equals(first), 'drive A holds what the guest wrote, and nothing else has changed');
  assert.ok(readFileSync(paths[1]).equals(second), 'drive B too');
  assert.ok(readFileSync(paths[2]).equals(another));
});
