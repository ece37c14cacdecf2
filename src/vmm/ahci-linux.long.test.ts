/** SATA disk and CD drive under Linux's own drivers (ahci, sd_mod, sr_mod of Debian's kernel): queued commands, discard, flush, errors. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openDebian, VringError } from './index.js';

const limitMs = 300_000;
const folder = mkdtempSync(join(tmpdir(), 'vring ahci '));
after(() => rmSync(folder, { recursive: true }));

test('ahci, sd_mod and sr_mod read and write what is there', { timeout: 2 * limitMs }, async (t) => {
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
  // The sector cannot be read; all others can, and writes end well.
  const bad = {
    driver: 'blkdebug',
    ...{ 'image.driver': 'file', 'image.filename': badPath, 'inject-error.0.event': 'none' },
    ...{ 'inject-error.0.iotype': 'read', 'inject-error.0.errno': EIO, 'inject-error.0.sector': 800 },
  };
  const script = [
    'modprobe -a ahci sd_mod sr_mod; for i in 1 2 3 4 5 6 7 8 9; do [ -b /dev/sr0 -a -b /dev/sdb ] && break; sleep 1; done',
    `[ "$(cat /sys/block/sda/size)" = ${disk.length / 512} ] && A=sda B=sdb || A=sdb B=sda`,
    'cat /sys/block/$A/size /sys/block/sr0/size /sys/block/$A/device/queue_depth',
    'sha256sum < /dev/$A; sha256sum < /dev/sr0',
    'grep -c "MSI.*ahci" /proc/interrupts',
    'dd if=/dev/sr0 of=/dev/$A bs=1M seek=10 count=6 conv=notrunc,fsync 2>/dev/null && echo written',
    'echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/$A bs=1M skip=10 count=6 2>/dev/null | sha256sum',
    'blkdiscard -o 0 -l 1048576 /dev/$A && echo discarded',
    'for i in 0 1 2 3 4 5 6 7; do dd if=/dev/$A of=/dev/null bs=4096 skip=$((i*700)) count=600 2>/dev/null & done; wait; echo together',
    'dd if=/dev/$B of=/dev/null bs=4096 count=8 skip=96 iflag=direct 2>/dev/null || echo failed as told',
    'dd if=/dev/$B of=/dev/null bs=4096 count=8 iflag=direct 2>/dev/null && echo the others are good',
    'dmesg | grep -c "failed to read log"; dmesg | grep -q "failed command: READ FPDMA QUEUED" && echo queued',
    'true',
  ].join('\n');
  let session: Awaited<ReturnType<typeof openDebian>>;
  try {
    session = await openDebian({
      suite: 'bookworm',
      flavour: 'amd64',
      machine: {
        devices: [
          {
            type: 'ahci',
            drives: [
              { media: 'disk', image: { path: diskPath, format: 'raw', discard: 'unmap' } },
              { media: 'disk', image: { options: bad, onReadError: 'report' } },
              { media: 'cdrom', port: 5, image: { path: cdPath, format: 'raw' } },
            ],
          },
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
  const sizes = [String(disk.length / 512), String(cd.length / 512), '32'];
  assert.deepEqual(lines.slice(0, 6), [...sizes, hash(disk), hash(cd), '1']);
  assert.deepEqual(lines.slice(6, 8), ['written', hash(cd)]);
  const [told, good] = ['failed as told', 'the others are good'];
  assert.deepEqual(lines.slice(8), ['discarded', 'together', told, good, '0', 'queued'], running.kernelLog);
  assert.ok(
    readFileSync(diskPath)
      .subarray(10 << 20, 16 << 20)
      .equals(cd),
    'the image holds what the guest wrote',
  );
});
