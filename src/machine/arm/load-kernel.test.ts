import assert from 'node:assert/strict';
import test from 'node:test';
import { loadArm, zImages } from './load-kernel.js';

const RAM = 0x4000_0000;

/** RAM of so many bytes, and what was written to it. */
function load(ramBytes: number, kernel: Uint8Array, initrd?: Uint8Array, kind?: typeof zImages) {
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
    kind,
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

/** An ELF program of 64 bytes that lies at an address and is entered 4 bytes behind it. */
function program(bits: 32 | 64, at: number, machine = bits === 64 ? 183 : 40): Uint8Array {
  const bytes = new Uint8Array(0x200);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, bits / 32, 1]);
  bytes.fill(0x11, 0x100, 0x140);
  const view = new DataView(bytes.buffer);
  view.setUint16(18, machine, true);
  const word = (offset: number, value: number) =>
    bits === 64 ? view.setBigUint64(offset, BigInt(value), true) : view.setUint32(offset, value, true);
  const [header, size] = bits === 64 ? [64, 56] : [52, 32];
  word(24, at + 4);
  word(bits === 64 ? 32 : 28, header);
  view.setUint16(bits === 64 ? 54 : 42, size, true);
  view.setUint16(bits === 64 ? 56 : 44, 1, true);
  view.setUint32(header, 1, true);
  const fields = bits === 64 ? [8, 16, 24, 32, 40] : [4, 8, 12, 16, 20];
  for (const [i, value] of [0x100, at, at, 0x40, 0x40].entries()) word(header + fields[i], value);
  return bytes;
}

test('an ELF program starts as the machine does, with the tree at the start of RAM if there is room', () => {
  for (const [bits, kind] of [
    [64, undefined],
    [32, zImages],
  ] as const) {
    const { boot, ram } = load(16 << 20, program(bits, RAM + 0x1_0000), undefined, kind);
    assert.deepEqual([boot.entry, boot.isBare, boot.treeGpa], [RAM + 0x1_0004, true, RAM]);
    assert.deepEqual([ram[0], ram[999], ram[0x1_0000], ram[0x1_003f]], [0x77, 0x77, 0x11, 0x11]);
    const over = load(16 << 20, program(bits, RAM), new Uint8Array(100).fill(0x22), kind);
    assert.equal(over.boot.treeGpa, 0, 'the program lies there');
    assert.equal(over.ram[0], 0x11);
    assert.equal(over.ram[(16 << 20) - 4096], 0x22, 'the initrd at the end of RAM');
  }
});

test('a file of no known kind lies where Images lay, and is taken for a Linux', () => {
  const code = new Uint8Array(100).fill(0x11);
  for (const [kind, offset] of [
    [undefined, 0x8_0000],
    [zImages, 0x1_0000],
  ] as const) {
    const { boot, ram } = load(16 << 20, code, undefined, kind);
    assert.deepEqual([boot.entry, boot.isBare, boot.treeGpa], [RAM + offset, false, RAM + (14 << 20)]);
    assert.equal(ram[offset + 99], 0x11);
  }
});

test('a U-Boot image lies where it says; only Linux finds a tree in its registers', () => {
  const bytes = new Uint8Array(68).fill(0x11);
  const view = new DataView(bytes.buffer);
  for (const [at, value] of [
    [0, 0x27051956],
    [12, 4],
    [16, RAM + 0x1_8000],
    [20, RAM + 0x1_8000],
    [28, 0x05020200],
  ])
    view.setUint32(at, value);
  const { boot, ram } = load(16 << 20, bytes, undefined, zImages);
  assert.deepEqual([boot.entry, boot.isBare], [RAM + 0x1_8000, false]);
  assert.equal(ram[0x1_8003], 0x11);
  bytes[28] = 17;
  assert.deepEqual(load(16 << 20, bytes).boot.isBare, true);
});

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
    [program(64, RAM + (32 << 20)), /does not fit/],
    [program(32, RAM, 183), /another architecture: 32 bits, not AArch64 with 64 bits/],
    [new Uint8Array(0), /is empty/],
  ] as const)
    assert.throws(() => load(16 << 20, bytes), sentence);
});
