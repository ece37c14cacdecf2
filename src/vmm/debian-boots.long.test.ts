/**
 * Debian's bookworm kernels boot unattended to /init, do something there, and switch the machine off: the cloud kernel, the
 * generic one (its xz stub, drivers as modules), both of i386; one with two vCPUs. Fetched from the archive.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BlockGraph } from '../block/index.js';
import { NodeBlockHost } from '../host/node/block-host.js';
import { findFirmware } from '../host/node/firmware-file.js';
import { DEFAULT_ARCHITECTURE } from './architectures.js';
import { type DebianOptions, openDebian, VringError } from './index.js';

const limitMs = 300_000;
const folder = mkdtempSync(join(tmpdir(), 'vring boots '));
after(() => rmSync(folder, { recursive: true }));

const flavours = [
  { flavour: 'cloud-amd64', kernel: /^6\.\d+\.\d+-\d+-cloud-amd64$/, machine: 'x86_64' },
  { flavour: 'amd64', kernel: /^6\.\d+\.\d+-\d+-amd64$/, machine: 'x86_64' },
  { flavour: '686', kernel: /^6\.\d+\.\d+-\d+-686$/, machine: 'i686' },
  { flavour: '686-pae', kernel: /^6\.\d+\.\d+-\d+-686-pae$/, machine: 'i686' },
] as const;

/** The output of a command in a guest that ends with status 0 and then switches the machine off. */
async function output(options: DebianOptions, script: string): Promise<string[] | string> {
  let session: Awaited<ReturnType<typeof openDebian>>;
  try {
    session = await openDebian({ suite: 'bookworm', ...options, command: ['sh', '-c', script] });
  } catch (error) {
    if (error instanceof VringError && /^(network|offline|mirror|http)-/.test(error.code)) return error.message;
    throw error;
  }
  await using running = session;
  const signal = AbortSignal.timeout(limitMs);
  signal.addEventListener('abort', () => void running.close());
  let text = '';
  running.stream('stdout').onData((bytes) => {
    text += Buffer.from(bytes).toString('latin1');
  });
  running.stream('stderr').onData((bytes) => {
    text += `stderr: ${Buffer.from(bytes).toString('latin1')}`;
  });
  await running.start();
  running.stream('stdin').endInput();
  assert.equal(await running.exited, 0, `${text}\n${running.kernelLog}`);
  assert.deepEqual(await running.machine.ended, { why: 'poweroff' });
  assert.doesNotMatch(running.kernelLog, /Oops|BUG:|WARNING:|Call Trace|panic/i);
  return text.trimEnd().split('\n');
}

for (const { flavour, kernel, machine } of flavours) {
  test(`bookworm's ${flavour} kernel boots to /init and switches off`, { timeout: 2 * limitMs }, async (t) => {
    const lines = await output(
      { flavour },
      'uname -r; uname -m; dmesg | grep -ciE "oops|bug:|call trace"; cat /proc/1/comm',
    );
    if (typeof lines === 'string') return t.skip(`no Debian here: ${lines}`);
    assert.match(lines[0], kernel);
    assert.deepEqual(lines.slice(1), [machine, '0', 'init']);
  });
}

test('two vCPUs of the translator: both work, interrupt each other, and switch off', {
  timeout: 2 * limitMs,
}, async (t) => {
  const lines = await output(
    { flavour: 'cloud-amd64', machine: { accelerators: ['tcg'], cpus: 2 } },
    [
      'nproc',
      // More than there are vCPUs.
      'for i in 1 2 3 4; do (n=0; while [ $n -lt 2000 ]; do n=$((n+1)); done; echo done) & done; wait',
      "sed -n 's/^ *\\(RES\\|CAL\\|LOC\\): *\\([0-9]*\\) *\\([0-9]*\\) .*/\\1 \\2 \\3/p' /proc/interrupts",
      'dmesg | grep -ciE "oops|bug:|call trace|stall"',
      'true',
    ].join('\n'),
  );
  if (typeof lines === 'string') return t.skip(`no Debian here: ${lines}`);
  assert.equal(lines[0], '2');
  assert.deepEqual(lines.slice(1, 5), ['done', 'done', 'done', 'done']);
  for (const name of ['LOC', 'RES', 'CAL']) {
    const [, first, second] = lines.find((line) => line.startsWith(name))?.split(' ') ?? [];
    assert.ok(Number(first) > 0 && Number(second) > 0, `${name} on both: ${lines.join('; ')}`);
  }
  assert.equal(lines.at(-1), '0');
});

for (const format of ['raw', 'qcow2']) {
  test(`the generic kernel's virtio modules read and write a ${format} disk image`, {
    timeout: 2 * limitMs,
  }, async (t) => {
    const path = join(folder, `disk ü.${format}`);
    const bytes = Buffer.alloc(24 << 20);
    for (let i = 0; i < bytes.length; i += 4) bytes.writeUInt32LE(Math.imul(i + 1, 0x9e3779b1) >>> 0, i);
    const graph = new BlockGraph(new NodeBlockHost());
    await graph.create(format, path, { size: bytes.length });
    const open = () => graph.open({ filename: path, format, flags: { readOnly: false } });
    const before = await open();
    await before.write(0, bytes);
    await before.close();
    const lines = await output(
      {
        flavour: 'amd64',
        machine: { devices: [{ type: 'virtio-blk', image: { path, format }, serial: 'VRING0001' }] },
      },
      [
        'set -e',
        "sed -n 's/^\\(virtio_[a-z]*\\) .*/\\1/p' /proc/modules | sort | tr '\\n' ' '; echo",
        'cat /sys/block/vda/size /sys/block/vda/serial; echo',
        'sha256sum </dev/vda',
        // Scattered reads, past the cache.
        'echo 3 >/proc/sys/vm/drop_caches',
        'for at in 0 1 4095 24575; do dd if=/dev/vda bs=1024 skip=$at count=1 2>/dev/null; done | sha256sum',
        'echo written by the guest | dd of=/dev/vda bs=512 seek=40000 conv=notrunc,sync 2>/dev/null; sync',
      ].join('\n'),
    );
    if (typeof lines === 'string') return t.skip(`no Debian here: ${lines}`);
    const hash = (...parts: Uint8Array[]) => createHash('sha256').update(Buffer.concat(parts)).digest('hex');
    const blocks = [0, 1, 4095, 24575].map((at) => bytes.subarray(1024 * at, 1024 * (at + 1)));
    assert.match(lines[0], /virtio_blk .*virtio_pci .*virtio_ring/);
    assert.equal(lines[1], String(bytes.length / 512));
    assert.equal(lines[2], 'VRING0001');
    assert.equal(lines[3], `${hash(bytes)}  -`);
    assert.equal(lines[4], `${hash(...blocks)}  -`);
    assert.equal(lines.length, 5);
    bytes.fill(0, 40_000 * 512, 40_001 * 512);
    bytes.write('written by the guest\n', 40_000 * 512);
    const held = Buffer.alloc(bytes.length);
    const image = await open();
    await image.read(0, held);
    await image.close();
    assert.ok(held.equals(bytes), 'the image holds what the guest wrote, and nothing else has changed');
  });
}

test('a full host stops the machine; it goes on when there is room', { timeout: 2 * limitMs }, async (t) => {
  const path = join(folder, 'full');
  const graph = new BlockGraph(new NodeBlockHost());
  await graph.create('raw', path, { size: 1 << 20 });
  const ENOSPC = 28;
  const options = {
    driver: 'blkdebug',
    ...{ 'image.driver': 'file', 'image.filename': path, 'inject-error.0.event': 'none' },
    ...{ 'inject-error.0.iotype': 'write', 'inject-error.0.errno': ENOSPC, 'inject-error.0.once': true },
  };
  let session: Awaited<ReturnType<typeof openDebian>>;
  try {
    session = await openDebian({
      suite: 'bookworm',
      machine: { devices: [{ type: 'virtio-blk', image: { options } }] },
      command: ['sh', '-c', 'modprobe virtio_blk; yes | dd of=/dev/vda bs=4096 count=4 conv=fsync 2>/dev/null'],
    });
  } catch (error) {
    if (error instanceof VringError && /^(network|offline|mirror|http)-/.test(error.code)) return t.skip(error.message);
    throw error;
  }
  await using running = session;
  const stopped = new Promise((resolve) => {
    running.machine.on('stopped', resolve);
  });
  await running.start();
  assert.equal(await stopped, 'io-error');
  assert.deepEqual([running.machine.state, running.machine.stopReason], ['paused', 'io-error']);
  assert.ok(readFileSync(path).every((byte) => byte === 0));
  await running.machine.resume();
  assert.equal(await running.exited, 0, running.kernelLog);
  await running.machine.ended;
  assert.equal(readFileSync(path).subarray(0, 16384).toString(), 'y\n'.repeat(8192));
});

test("SeaBIOS starts two vCPUs and boots the cloud kernel, which finds the board's tables", {
  timeout: 2 * limitMs,
}, async (t) => {
  const image = findFirmware(DEFAULT_ARCHITECTURE.defaultFirmware ?? '', []);
  if (image === undefined) return t.skip('no seabios here');
  const lines = await output(
    {
      flavour: 'cloud-amd64',
      machine: {
        firmware: { image },
        cpus: 2,
        uuid: '01234567-89ab-cdef-0123-456789abcdef',
        fwCfg: [{ name: 'opt/vring', bytes: Buffer.from('from the host') }],
      },
    },
    [
      'nproc',
      'cat /sys/class/dmi/id/bios_vendor /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_uuid',
      'ls /sys/firmware/acpi/tables | tr "\\n" " "; echo',
      'modprobe qemu_fw_cfg; cat /sys/firmware/qemu_fw_cfg/by_name/opt/vring/raw; echo',
      'dmesg | grep -c "Firmware Bug\\|ACPI Error"',
      'true',
    ].join('\n'),
  );
  if (typeof lines === 'string') return t.skip(`no Debian here: ${lines}`);
  assert.deepEqual(lines.slice(0, 4), ['2', 'SeaBIOS', 'vring', '01234567-89ab-cdef-0123-456789abcdef']);
  assert.match(lines[4], /APIC .*DSDT .*FACP .*FACS .*HPET/);
  assert.deepEqual(lines.slice(5), ['from the host', '0']);
});
