/** `vring run debian --arch arm64`: Debian's kernel for AArch64 on the board `virt`. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { main, runDebian, timeout, whyNoDebian } from './testing-debian.js';

const skip = await whyNoDebian('arm64');
const debian = (options: readonly string[], script: string, system?: string) =>
  runDebian('arm64', options, script, system);

test('a command runs, its status comes out, and the machine is off', { skip, timeout }, () => {
  const { status, stdout, stderr } = debian(
    [],
    'uname -m; grep -c ^processor /proc/cpuinfo; awk "BEGIN { print 10 / 4 }"; echo to stderr >&2; exit 7',
  );
  assert.deepEqual({ status, stdout, stderr }, { status: 7, stdout: 'aarch64\n1\n2.5\n', stderr: 'to stderr\n' });
});

test('an older kernel, and a CPU that knows less', { skip, timeout }, () => {
  const { status, stdout, stderr } = debian(
    ['-cpu', 'cortex-a57'],
    'uname -r; grep -E "Features|CPU part" /proc/cpuinfo',
    'debian:bookworm',
  );
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^6\.1\./);
  assert.match(stdout, /^CPU part\s*: 0xd07$/m);
  assert.match(stdout, /^Features\s*: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid$/m);
});

test('disks and random numbers, on PCI with message-signalled interrupts and in virtio-mmio slots', {
  skip,
  timeout,
}, () => {
  const directory = mkdtempSync(join(tmpdir(), 'vring-arm-'));
  try {
    for (const [device, place, interrupt] of [
      [
        'virtio-blk-device,drive=d,serial=first',
        /a003c00\.virtio_mmio|a003e00\.virtio_mmio/,
        /GIC-0 +\d+ Level +virtio/,
      ],
      ['virtio-blk-pci,drive=d,serial=first', /4010000000\.pcie/, /GICv2m-PCI-MSIX.*virtio\d-req/],
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
          'cat /proc/interrupts',
        ].join('; '),
      );
      assert.equal(status, 0, stderr);
      const [serial, where, before, after, ...interrupts] = stdout.split('\n');
      assert.equal(serial, 'first');
      assert.match(where, place);
      assert.match(before, /^[0-9a-f]{32} /);
      assert.equal(after, before);
      assert.notEqual(before.slice(0, 32), 'b6d81b360a5672d80c27430f39153e2c', 'a megabyte of zeros');
      assert.match(interrupts.join('\n'), interrupt);
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('four CPUs: Linux starts and uses them all, takes one out and puts it back', { skip, timeout }, () => {
  const script = [
    'grep -c ^processor /proc/cpuinfo',
    'for n in $(seq 0 7); do (i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; echo done) & done; wait',
    'echo 0 >/sys/devices/system/cpu/cpu1/online; cat /sys/devices/system/cpu/online',
    'echo 1 >/sys/devices/system/cpu/cpu1/online; cat /sys/devices/system/cpu/online',
    "awk '/Function call/ { print ($2 > 0), ($3 > 0), ($4 > 0), ($5 > 0) }' /proc/interrupts",
  ].join('; ');
  const { status, stdout, stderr } = debian(['-smp', '4'], script);
  assert.equal(status, 0, stderr);
  assert.deepEqual(stdout.trim().split('\n'), ['4', ...Array(8).fill('done'), '0,2-3', '0-3', '1 1 1 1']);
});

test("what is slept is slept, and the date is the PL031's", { skip, timeout }, () => {
  const { stdout, stderr } = debian(
    [],
    'cat /sys/class/rtc/rtc0/name; date +%s; a=$(date +%s); sleep 2; echo $(($(date +%s) - a))',
  );
  const [name, date, slept] = stdout.trim().split('\n');
  assert.match(name, /pl031/);
  assert.ok(Math.abs(Number(date) - Date.now() / 1000) < 120, stdout + stderr);
  assert.ok(slept === '2' || slept === '3', stdout);
});

// The command itself comes to a guest that waits for it, by the host's time: what the guest did before is compared.
test('two runs of counted time are alike', { skip, timeout }, () => {
  const run = () => debian(['-icount', 'shift=1'], 'dmesg | tail -5; head -c 16 /dev/urandom | md5sum');
  const first = run();
  assert.equal(first.status, 0, first.stderr);
  assert.equal(run().stdout, first.stdout);
});

test('a GICv3 with twelve CPUs: messages of PCI devices come by its ITS, each queue of a disk to a CPU', {
  skip,
  timeout,
}, () => {
  const directory = mkdtempSync(join(tmpdir(), 'vring-arm-'));
  try {
    const path = join(directory, 'disk.qcow2');
    const made = spawnSync(process.execPath, [main, 'img', 'create', '-q', '-f', 'qcow2', path, '16M']);
    assert.equal(made.status, 0);
    const script = [
      'grep -c ^processor /proc/cpuinfo',
      'for n in $(seq 24); do (i=0; while [ $i -lt 300 ]; do i=$((i+1)); done; echo done) & done; wait',
      'modprobe nvme; while [ ! -b /dev/nvme0n1 ]; do sleep 0.1; done',
      'for c in 0 5 11; do taskset -c $c dd if=/dev/nvme0n1 of=/dev/null bs=64k count=8 iflag=direct 2>/dev/null; done',
      'cat /proc/interrupts',
    ].join('; ');
    const { status, stdout, stderr } = debian(
      [
        ...['-M', 'virt,gic-version=3', '-smp', '12', '-m', '512M'],
        ...['-drive', `file=${path},format=qcow2,if=none,id=d`, '-device', 'nvme,drive=d,serial=abc'],
      ],
      script,
    );
    assert.equal(status, 0, stderr);
    const lines = stdout.trim().split('\n');
    assert.deepEqual(lines.slice(0, 25), ['12', ...Array(24).fill('done')]);
    for (const cpu of [0, 5, 11]) {
      const line = lines.find((each) => new RegExp(`ITS-PCI-MSIX.*nvme0q${cpu + 1}$`).test(each)) ?? '';
      const counts = line.trim().split(/\s+/).slice(1, 13).map(Number);
      assert.ok(counts[cpu] >= 8, `${cpu}: ${line}`);
      assert.equal(
        counts.reduce((a, b) => a + b, 0),
        counts[cpu],
        line,
      );
    }
    assert.match(stdout, /GICv3 +27 Level +arch_timer/);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
