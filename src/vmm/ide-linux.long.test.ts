/** IDE disk and CD drive under Linux's own drivers (ata_piix, sd_mod, sr_mod of Debian's kernel): patterns, discard, flush, errors. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openDebian, VringError } from './index.js';

const limitMs = 300_000;
const folder = mkdtempSync(join(tmpdir(), 'vring ide '));
after(() => rmSync(folder, { recursive: true }));

test('ata_piix and sr_mod read and write what is there', { timeout: 2 * limitMs }, async (t) => {
  const pattern = (bytes: number, seed: number) => {
    const content = Buffer.alloc(bytes);
    for (let i = 0; i < bytes; i += 4) content.writeUInt32LE(Math.imul(i + seed, 2654435761) >>> 0, i);
    return content;
  };
  const [disk, cd] = [pattern(24 << 20, 1), pattern(6 << 20, 77)];
  const [diskPath, cdPath, badPath] = [join(folder, 'disk'), join(folder, 'cd'), join(folder, 'bad')];
  writeFileSync(diskPath, disk);
  writeFileSync(cdPath, cd);
  writeFileSync(badPath, pattern(1 << 20, 5));
  const EIO = 5;
  const bad = {
    driver: 'blkdebug',
    ...{ 'image.driver': 'file', 'image.filename': badPath, 'inject-error.0.event': 'none' },
    ...{ 'inject-error.0.iotype': 'write', 'inject-error.0.errno': EIO },
  };
  const script = [
    'modprobe -a ata_piix sd_mod sr_mod; for i in 1 2 3 4 5 6 7 8 9; do [ -b /dev/sr0 -a -b /dev/sdb ] && break; sleep 1; done',
    'cat /sys/block/sda/size /sys/block/sr0/size',
    'sha256sum < /dev/sda; sha256sum < /dev/sr0',
    'dmesg | grep -c "UDMA/\\|configured for"',
    'dd if=/dev/sr0 of=/dev/sda bs=1M seek=10 count=6 conv=notrunc,fsync 2>/dev/null && echo written',
    'echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/sda bs=1M skip=10 count=6 2>/dev/null | sha256sum',
    'blkdiscard -o 0 -l 1048576 /dev/sda && echo discarded',
    'echo x | dd of=/dev/sdb bs=4096 count=1 conv=sync,fsync 2>/dev/null || echo failed as told',
    'dmesg | grep -c "frozen\\|soft resetting"',
    'true',
  ].join('\n');
  let session: Awaited<ReturnType<typeof openDebian>>;
  try {
    session = await openDebian({
      suite: 'bookworm',
      flavour: 'amd64',
      machine: {
        devices: [
          { type: 'ide', media: 'disk', image: { path: diskPath, format: 'raw', discard: 'unmap' } },
          { type: 'ide', media: 'disk', image: { options: bad, onWriteError: 'report' } },
          { type: 'ide', media: 'cdrom', image: { path: cdPath, format: 'raw' } },
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
  running.stream('stdout').onData((bytes) => {
    text += Buffer.from(bytes).toString('latin1');
  });
  await running.start();
  running.stream('stdin').endInput();
  assert.equal(await running.exited, 0, `${text}\n${running.kernelLog}`);
  await running.machine.ended;
  const hash = (bytes: Uint8Array) => `${createHash('sha256').update(bytes).digest('hex')}  -`;
  const lines = text.trimEnd().split('\n');
  t.diagnostic(lines.join(' | '));
  assert.deepEqual(lines.slice(0, 4), [String(disk.length / 512), String(cd.length / 512), hash(disk), hash(cd)]);
  assert.deepEqual(lines.slice(5, 7), ['written', hash(cd)]);
  assert.ok(lines.includes('failed as told'), text);
  assert.ok(
    readFileSync(diskPath)
      .subarray(10 << 20, 16 << 20)
      .equals(cd),
    'the image holds what the guest wrote',
  );
});
