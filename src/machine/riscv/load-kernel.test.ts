import assert from 'node:assert/strict';
import test from 'node:test';
import { seededRandom } from '../../hw/testing.js';
import type { TreeBootImages } from '../boot/image-boot.js';
import { loadRiscv } from './load-kernel.js';

const RAM = 0x8000_0000;

/** RAM of so many bytes, and what was written to it. */
function load(ramBytes: number, images: Partial<TreeBootImages>, treeBytes = 1000) {
  const ram = new Uint8Array(ramBytes).fill(0xee);
  const boot = loadRiscv(
    { firmware: undefined, kernel: undefined, tree: () => new Uint8Array(treeBytes).fill(0x77), ...images },
    {
      e820: [{ start: RAM, size: ramBytes, type: 1 }],
      write: (gpa, bytes) => ram.set(bytes, gpa - RAM),
      clear: (gpa, size) => void ram.fill(0, gpa - RAM, gpa - RAM + size),
    },
  );
  return { boot, ram };
}

function image(bytes: number, imageSize = bytes, textOffset = 0x20_0000): Uint8Array {
  const kernel = new Uint8Array(bytes).fill(0x11);
  kernel.fill(0, 0, 64);
  const view = new DataView(kernel.buffer);
  view.setBigUint64(8, BigInt(textOffset), true);
  view.setBigUint64(16, BigInt(imageSize), true);
  view.setUint32(0x38, 0x05435352, true);
  return kernel;
}
const kernel = (bytes: Uint8Array, initrd?: Uint8Array) => ({ kernel: bytes, initrd, commandLine: '' });

test('an Image lies at its offset, its bss is clear; tree and initrd lie behind it at the end of RAM', () => {
  const initrd = new Uint8Array(5000).fill(0x22);
  let told: unknown;
  const { boot, ram } = load(16 << 20, {
    kernel: kernel(image(0x1000, 0x3000), initrd),
    tree: (at) => {
      told = at;
      return new Uint8Array(1000).fill(0x77);
    },
  });
  assert.equal(boot.entry, RAM + 0x20_0000);
  assert.equal(ram[0x20_0fff], 0x11);
  assert.ok(ram.subarray(0x20_1000, 0x20_3000).every((byte) => byte === 0));
  assert.equal(ram[0x20_3000], 0xee);
  assert.equal(boot.treeGpa, RAM + (14 << 20));
  assert.equal(ram[boot.treeGpa - RAM], 0x77);
  assert.deepEqual(told, { start: RAM + (14 << 20) - 8192, end: RAM + (14 << 20) - 8192 + 5000 });
  assert.equal(ram[(14 << 20) - 8192], 0x22);
});

test('firmware lies at the start of RAM and is entered; it goes on to the kernel', () => {
  const { boot, ram } = load(16 << 20, { firmware: new Uint8Array(0x30_0000).fill(0x33), kernel: kernel(image(4096)) });
  assert.equal(boot.entry, RAM);
  assert.equal(ram[0], 0x33);
  assert.equal(boot.kernelEntry, RAM + 0x40_0000, 'behind the firmware, on the next 2 MiB');
  assert.equal(load(16 << 20, { firmware: new Uint8Array(16) }).boot.kernelEntry, 0);
});

test('a file of no known kind lies where kernels are under OpenSBI, without firmware too', () => {
  const { boot, ram } = load(16 << 20, { kernel: kernel(new Uint8Array(100).fill(0x11)) });
  assert.deepEqual([boot.entry, ram[0x20_0000], ram[0x20_0063]], [RAM + 0x20_0000, 0x11, 0x11]);
});

test('what is no kernel of RISC-V is refused by name', () => {
  const elf = (machine: number, width = 2) => {
    const bytes = new Uint8Array(128);
    bytes.set([0x7f, 0x45, 0x4c, 0x46, width, 1]);
    const view = new DataView(bytes.buffer);
    view.setUint16(18, machine, true);
    // One program header of 32 bytes.
    for (const at of [28, 44]) view.setUint16(at, at === 28 ? 52 : 1, true);
    view.setUint16(42, 32, true);
    return bytes;
  };
  const bzImage = new Uint8Array(0x300);
  bzImage.set([0x48, 0x64, 0x72, 0x53], 0x202);
  const arm64 = new Uint8Array(64);
  arm64.set([0x41, 0x52, 0x4d, 0x64], 0x38);
  for (const [bytes, sentence] of [
    [elf(62), /another architecture: x86-64, not RISC-V/],
    [elf(183), /another architecture: AArch64, not RISC-V/],
    [bzImage, /another architecture: x86, not RISC-V/],
    [arm64, /another architecture: AArch64, not RISC-V/],
    [elf(243, 1), /another architecture: RV32, not RISC-V with 64 bits/],
    [new Uint8Array(0), /is empty/],
  ] as const)
    assert.throws(() => load(16 << 20, { kernel: kernel(bytes) }), sentence);
});

test('what does not fit is told in one sentence', () => {
  assert.throws(() => load(2 << 20, { kernel: kernel(image(4096)) }), /The kernel does not fit/);
  assert.throws(
    () => load(8 << 20, { kernel: kernel(image(4096), new Uint8Array(6 << 20)) }),
    /The initrd does not fit/,
  );
  assert.throws(() => load(16 << 20, { kernel: kernel(image(4096)) }, 32 << 20), /The device tree does not fit/);
});

test('damaged headers neither hang nor throw anything but a sentence', () => {
  const random = seededRandom(9);
  for (let i = 0; i < 2000; i++) {
    const bytes = image(4096);
    for (let n = random(4); n >= 0; n--) bytes[random(64)] = random(256);
    try {
      load(8 << 20, { kernel: kernel(bytes) });
    } catch (error) {
      assert.match(String((error as { code?: unknown }).code), /^boot-/);
    }
  }
});
