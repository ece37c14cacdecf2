/** `vring run debian --arch riscv64`: Debian's kernel for RISC-V on the board `virt`, under the built-in SBI and under OpenSBI. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { main, runDebian, timeout, whyNoDebian } from './testing-debian.js';

const skip = await whyNoDebian('riscv64');
const debian = (options: readonly string[], script: string) => runDebian('riscv64', options, script);

test('a command runs, its status comes out, and the machine is off', { skip, timeout }, () => {
  const { status, stdout, stderr } = debian(
    [],
    'uname -m; grep -c ^processor /proc/cpuinfo; echo to stderr >&2; exit 7',
  );
  assert.deepEqual({ status, stdout, stderr }, { status: 7, stdout: 'riscv64\n1\n', stderr: 'to stderr\n' });
});

test('the hart is what the device tree says', { skip, timeout }, () => {
  const { stdout, stderr } = debian(['-cpu', 'rv64,zbs=off'], 'cat /proc/cpuinfo');
  const isa = /^isa\s*: (.*)$/m.exec(stdout)?.[1].split('_');
  assert.ok(isa, stdout + stderr);
  assert.equal(isa[0], 'rv64imafdc');
  assert.ok(isa.includes('zba') && isa.includes('sstc') && !isa.includes('zbs'), isa.join(' '));
});

test('disks and random numbers, on PCI and in virtio-mmio slots', { skip, timeout }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'vring-riscv-'));
  try {
    for (const [device, place] of [
      ['virtio-blk-device,drive=d,serial=first', /10008000\.virtio_mmio/],
      ['virtio-blk-pci,drive=d,serial=first', /30000000\.pci/],
    ] as const) {
      const path = join(directory, 'disk.qcow2');
      rmSync(path, { force: true });
      const made = spawnSync(process.execPath, [main, 'img', 'create', '-q', '-f', 'qcow2', path, '16M']);
      assert.equal(made.status, 0);
      const { stdout, stderr, status } = debian(
        ['-drive', `file=${path},format=qcow2,if=none,id=d`, '-device', device, '-device', 'virtio-rng-device'],
        [
          'cat /sys/block/vda/serial; echo; readlink -f /sys/block/vda',
          'dd if=/dev/hwrng of=/dev/vda bs=4k count=256 iflag=fullblock 2>/dev/null; sync',
          'dd if=/dev/vda bs=4k count=256 2>/dev/null | md5sum',
          'echo 3 >/proc/sys/vm/drop_caches',
          'dd if=/dev/vda bs=4k count=256 2>/dev/null | md5sum',
        ].join('; '),
      );
      assert.equal(status, 0, stderr);
      const [serial, where, before, after] = stdout.split('\n');
      assert.equal(serial, 'first');
      assert.match(where, place);
      assert.match(before, /^[0-9a-f]{32} /);
      assert.equal(after, before);
      assert.notEqual(before.slice(0, 32), 'b6d81b360a5672d80c27430f39153e2c', 'a megabyte of zeros');
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});

const hasOpenSbi = existsSync('/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin');
test('under OpenSBI the kernel runs as well', {
  skip: skip || (hasOpenSbi ? false : 'no OpenSBI here'),
  timeout,
}, () => {
  const { status, stdout, stderr } = debian(['-bios', 'default'], 'dmesg | grep "SBI implementation"');
  assert.equal(status, 0, stderr);
  assert.match(stdout, /SBI implementation ID=0x1 /);
});

for (const [harts, firmware] of [
  [4, []],
  [2, ['-bios', 'default']],
] as const)
  test(`${harts} harts ${firmware.length > 0 ? 'under OpenSBI' : 'by the built-in SBI'}: Linux starts and uses them all`, {
    skip: skip || (firmware.length === 0 || hasOpenSbi ? false : 'no OpenSBI here'),
    timeout,
  }, () => {
    const script = [
      'grep -c ^processor /proc/cpuinfo',
      // A process on each, then one hart is taken out and put back.
      'for n in $(seq 0 7); do (i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; echo done) & done; wait',
      'echo 0 >/sys/devices/system/cpu/cpu1/online; cat /sys/devices/system/cpu/online',
      'echo 1 >/sys/devices/system/cpu/cpu1/online; cat /sys/devices/system/cpu/online',
      'grep -E "IPI|Rescheduling" /proc/interrupts | wc -l',
    ].join('; ');
    const { status, stdout, stderr } = debian([...firmware, '-smp', String(harts)], script);
    assert.equal(status, 0, stderr);
    const lines = stdout.trim().split('\n');
    assert.equal(lines[0], String(harts));
    assert.equal(lines.filter((line) => line === 'done').length, 8);
    assert.equal(lines[9], harts === 2 ? '0' : '0,2-3');
    assert.equal(lines[10], `0-${harts - 1}`);
    assert.ok(Number(lines[11]) > 0);
  });

for (const [aia, firmware] of [
  ['aplic', []],
  ['aplic-imsic', []],
  ['aplic-imsic', ['-bios', 'default']],
] as const)
  test(`-M virt,aia=${aia}${firmware.length > 0 ? ' under OpenSBI' : ''}: Linux takes its interrupts from there`, {
    skip: skip || (firmware.length === 0 || hasOpenSbi ? false : 'no OpenSBI here'),
    timeout,
  }, () => {
    const { status, stdout, stderr } = debian(
      [...firmware, '-M', `virt,aia=${aia}`, '-smp', '2', '-device', 'virtio-rng-pci'],
      'modprobe virtio_rng; dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c; cat /proc/interrupts; dmesg | grep -E "imsic|aplic"',
    );
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^64\n/);
    if (aia === 'aplic') {
      assert.match(stdout, /96 interrupts directly connected to 2 CPUs/);
      assert.match(stdout, /[1-9]\d* +\d+ +APLIC-DIRECT +\d+ Level +virtio\d/);
    } else {
      assert.match(stdout, /imsics@28000000: providing IPIs using interrupt 1/);
      assert.match(stdout, /imsics@28000000: per-CPU IDs 255 at base address 0x0*28000000/);
      assert.match(
        stdout,
        /[1-9]\d* +PCI-MSIX-0000:00:0\d.0 +1 Edge +virtio\d|[1-9]\d* +\d+ +PCI-MSIX-0000:00:0\d.0 +1 Edge/,
      );
      assert.match(stdout, /APLIC-MSI-d000000.aplic +10 Level/);
    }
  });

test("what is slept is slept, and the date is the host's", { skip, timeout }, () => {
  const { stdout, stderr } = debian([], 'date +%s; a=$(date +%s); sleep 2; echo $(($(date +%s) - a))');
  const [date, slept] = stdout.trim().split('\n').map(Number);
  assert.ok(Math.abs(date - Date.now() / 1000) < 120, stdout + stderr);
  assert.ok(slept === 2 || slept === 3, stdout);
});

// The command itself comes to a guest that waits for it, by the host's time: what the guest did before is compared.
test('two runs of counted time are alike', { skip, timeout }, () => {
  const run = () => debian(['-icount', 'shift=1'], 'dmesg | tail -5; head -c 16 /dev/urandom | md5sum');
  const first = run();
  assert.equal(first.status, 0, first.stderr);
  assert.equal(run().stdout, first.stdout);
});
