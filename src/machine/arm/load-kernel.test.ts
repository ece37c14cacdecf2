import assert from 'node:assert/strict';
import test from 'node:test';
import { loadArm } from './load-kernel.js';

const RAM = 0x4000_0000;

/** RAM of so many bytes, and what was written to it. */
function load(ramBytes: number, kernel: Uint8Array, initrd?: Uint8Array) {
  const ram = new Uint8Array(ramBytes).fill(0xee);
  const boot = loadArm(
    {
      firmware: undefined,
      kernel: { kernel, initrd, commandLine: '' },
      tree: () => new Uint8Array(1000).fill(0x77),
    },
    {
      e820: [{ start: RAM, size: ramBytes, type: 1 }],
      write: (gpa, bytes) => ram.set(bytes, gpa - RAM),
      clear: (gpa, size) => void ram.fill(0, gpa - RAM, gpa - RAM + size),
    },
  );
  return { boot, ram };
}

function image(textOffset = 0, imageSize = 0x3000, flags = 0): Uint8Array {
  const bytes = new Uint8Array(0x1000).fill(0x11);
  bytes.fill(0, 0, 64);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(8, BigInt(textOffset), true);
  view.setBigUint64(16, BigInt(imageSize), true);
  view.setBigUint64(24, BigInt(flags), true);
  view.setUint32(0x38, 0x644d5241, true);
  return bytes;
}

test('an Image lies at its offset from 2 MiB; its bss is clear; tree and initrd are in large pages of their own', () => {
  const { boot, ram } = load(16 << 20, image(), new Uint8Array(5000).fill(0x22));
  assert.equal(boot.entry, RAM);
  assert.equal(ram[0xfff], 0x11);
  assert.ok(ram.subarray(0x1000, 0x3000).every((byte) => byte === 0));
  assert.equal(ram[0x3000], 0xee);
  assert.equal(boot.treeGpa, RAM + (14 << 20));
  assert.equal(ram[(14 << 20) - 8192], 0x22);
  assert.equal(load(16 << 20, image(0x80000)).boot.entry, RAM + 0x80000);
  assert.equal(load(16 << 20, image(0x20_0000)).boot.entry, RAM + 0x20_0000);
});

test('what is no kernel of AArch64 is refused by name, as is what does not fit', () => {
  const riscv = new Uint8Array(64);
  riscv.set([0x52, 0x53, 0x43, 5], 0x38);
  const elf = new Uint8Array(64);
  elf.set([0x7f, 0x45, 0x4c, 0x46, 2, 1]);
  new DataView(elf.buffer).setUint16(18, 40, true);
  for (const [bytes, sentence] of [
    [image(0, 0x3000, 1), /AArch64 in big-endian order/],
    [riscv, /another architecture: RISC-V, not AArch64/],
    [elf, /another architecture: ARM, not AArch64/],
    [image(0, 0x4000_0000), /does not fit/],
    [image(0, 2 ** 60), /header gives no size/],
    [new Uint8Array(100), /neither a Linux Image of AArch64/],
    [new Uint8Array(0), /is empty/],
  ] as const)
    assert.throws(() => load(16 << 20, bytes), sentence);
});
