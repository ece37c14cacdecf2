import assert from 'node:assert/strict';
import test from 'node:test';
import { type IoHandler, type IoWindow, MemorySpace } from './index.js';

const MIB = 1 << 20;

/** Records accesses; reads give the offset in each byte. */
class Probe implements IoHandler {
  readonly seen: string[] = [];
  read(offset: number, size: 1 | 2 | 4): number {
    this.seen.push(`r${size}@${offset}`);
    let value = 0;
    for (let i = 0; i < size; i++) value |= ((offset + i) & 0xff) << (8 * i);
    return value;
  }
  write(offset: number, size: 1 | 2 | 4, value: number): void {
    this.seen.push(`w${size}@${offset}=${value.toString(16)}`);
  }
}

function pcLike() {
  const buffer = new SharedArrayBuffer(4 * MIB);
  const space = new MemorySpace(buffer);
  space.addRam({ name: 'ram', gpa: 0, size: 2 * MIB, hva: 0, readonly: false });
  const probe = new Probe();
  const vga: IoWindow = { name: 'vga', start: 0xa0000, size: 0x20000, handler: probe };
  const vgaMapping = space.addWindow(vga);
  const bytes = new Uint8Array(buffer);
  return { buffer, bytes, space, probe, vgaMapping };
}

test('RAM, a window over it and nothing beyond', () => {
  const { space, probe, bytes } = pcLike();
  space.write(0x1000, 4, 0x11223344);
  assert.deepEqual([...bytes.subarray(0x1000, 0x1004)], [0x44, 0x33, 0x22, 0x11]);
  assert.equal(space.read(0x1001, 2), 0x2233);
  assert.equal(space.read(0xa0004, 4), 0x07060504);
  space.write(0xb8000, 2, 0x1f41);
  assert.deepEqual(probe.seen, ['r4@4', 'w2@98304=1f41']);
  assert.equal(bytes[0xb8000], 0, 'the RAM under the window is untouched');
  assert.equal(space.read(8 * MIB, 4), 0xffffffff);
  assert.equal(space.read(-1, 1), 0xff);
  assert.equal(space.read(2 ** 60, 2), 0xffff);
  space.write(2 ** 60, 4, 1);
  assert.equal(space.nameAt(0xa0000), 'vga');
  assert.equal(space.nameAt(8 * MIB), 'unassigned');
});

test('the block list shows what is visible and listeners hear of changes, once per transaction', () => {
  const { space, vgaMapping } = pcLike();
  const blocks = () => space.ramBlocks().map((b) => [b.name, b.gpa, b.size, b.hva, b.readonly]);
  assert.deepEqual(blocks(), [
    ['ram', 0, 0xa0000, 0, false],
    ['ram', 0xc0000, 2 * MIB - 0xc0000, 0xc0000, false],
  ]);
  let calls = 0;
  const stop = space.onChange(() => calls++);
  let rom!: { remove(): void };
  space.transaction(() => {
    rom = space.addRam({ name: 'bios', gpa: 0xe0000, size: 0x20000, hva: 3 * MIB, readonly: true }, 2);
    vgaMapping.move(undefined);
  });
  assert.equal(calls, 1);
  assert.deepEqual(blocks(), [
    ['ram', 0, 0xe0000, 0, false],
    ['bios', 0xe0000, 0x20000, 3 * MIB, true],
    ['ram', 0x100000, MIB, 0x100000, false],
  ]);
  space.write(0xe0000, 1, 9);
  assert.equal(space.read(0xe0000, 1), 0, 'stores to ROM are dropped');
  vgaMapping.move(8 * MIB);
  assert.equal(calls, 1, 'a window away from RAM changes no block');
  rom.remove();
  rom.remove();
  assert.equal(calls, 2);
  assert.deepEqual(blocks(), [['ram', 0, 2 * MIB, 0, false]]);
  stop();
  vgaMapping.move(0x1000);
  assert.equal(calls, 2);
});

test('a window moves, and goes away where a BAR is being sized', () => {
  const { space, vgaMapping } = pcLike();
  vgaMapping.move(0xfe000000);
  assert.equal(space.read(0xfe000010, 1), 0x10);
  vgaMapping.move(2 ** 64 - 0x20000);
  assert.equal(vgaMapping.start, undefined);
  assert.equal(space.read(0xfe000010, 1), 0xff);
  vgaMapping.move(0xe0000000);
  assert.equal(space.read(0xe0000010, 1), 0x10);
});

test('a window smaller than a page takes its page out of the block list; the rest of the page stays RAM', () => {
  const { space } = pcLike();
  const probe = new Probe();
  space.addWindow({ name: 'small', start: 0x5010, size: 8, handler: probe });
  space.write(0x5000, 4, 0xcafe);
  assert.equal(space.read(0x5000, 4), 0xcafe);
  assert.equal(space.read(0x5010, 4), 0x03020100);
  assert.ok(!space.ramBlocks().some((b) => b.gpa <= 0x5000 && 0x5000 < b.gpa + b.size));
  assert.ok(space.ramBlocks().some((b) => b.gpa === 0x6000 && b.hva === 0x6000));
  space.write(0x5018, 1, 0xaa);
  probe.seen.length = 0;
  assert.equal(space.read(0x5016, 4), 0x00aa0706, 'an access past the window goes byte by byte');
  assert.deepEqual(probe.seen, ['r1@6', 'r1@7']);
});

test('64-bit accesses reach a device low half first, or whole if it says so', () => {
  const { space, probe } = pcLike();
  assert.equal(space.read64(0xa0000), 0x0706050403020100n);
  space.write64(0xa0008, 0x1122334455667788n);
  assert.deepEqual(probe.seen, ['r4@0', 'r4@4', 'w4@8=55667788', 'w4@12=11223344']);
  const whole: bigint[] = [];
  space.addWindow({
    name: 'wide',
    start: 0xfed00000,
    size: 16,
    handler: {
      read: () => 0,
      write: () => whole.push(-1n),
      read64: (offset) => BigInt(offset) << 60n,
      write64: (_offset, value) => whole.push(value),
    },
  });
  assert.equal(space.read64(0xfed00008), 8n << 60n);
  space.write64(0xfed00008, 1n << 63n);
  assert.deepEqual(whole, [1n << 63n]);
  space.write64(0x2000, 0x1122334455667788n);
  assert.equal(space.read64(0x2000), 0x1122334455667788n);
});

test('a device that takes bytes gets bytes', () => {
  const { space } = pcLike();
  const probe = new Probe();
  space.addWindow({ name: 'narrow', start: 0xf0000000, size: 16, handler: probe, maxAccess: 1 });
  assert.equal(space.read(0xf0000000, 4), 0x03020100);
  space.write(0xf0000004, 2, 0xabcd);
  assert.deepEqual(probe.seen, ['r1@0', 'r1@1', 'r1@2', 'r1@3', 'w1@4=cd', 'w1@5=ab']);
});

test('DMA: RAM is copied and published, everything else reads as ones and drops writes', () => {
  const { space, bytes } = pcLike();
  space.addRam({ name: 'rom', gpa: 0xf0000, size: 0x1000, hva: 3 * MIB, readonly: true }, 1);
  const published: [number, number][] = [];
  space.onPublish = (gpa, length) => published.push([gpa, length]);
  space.dma.write(0x9fffe, new Uint8Array([1, 2, 3, 4]));
  assert.deepEqual([...bytes.subarray(0x9fffe, 0xa0002)], [1, 2, 0, 0]);
  assert.deepEqual(published, [[0x9fffe, 2]]);
  const target = new Uint8Array(4);
  space.dma.read(0x9fffe, target);
  assert.deepEqual([...target], [1, 2, 0xff, 0xff]);
  published.length = 0;
  space.dma.write(0xefffe, new Uint8Array([5, 6, 7, 8]));
  assert.deepEqual(published, [[0xefffe, 2]], 'ROM takes no DMA');
  assert.equal(bytes[3 * MIB], 0);
  space.dma.writeU64(0x3000, 0x0012_3456_789a_bcde);
  assert.equal(space.dma.readU64(0x3000), 0x0012_3456_789a_bcde);
  assert.equal(space.dma.readU16(0x3006), 0x0012);
  assert.equal(space.dma.readU32(0x9fffe), 0xffff0201);
  assert.equal(space.dma.view(0x9ff00, 0x100, true)?.length, 0x100);
  assert.equal(space.dma.view(0x9ff00, 0x101, true), undefined, 'a view lies in one block');
  assert.equal(space.dma.view(0xf0000, 16, true), undefined);
  assert.equal(space.dma.view(0xf0000, 16, false)?.length, 16);
  for (const gpa of [-8, Number.NaN, 2 ** 64, Infinity]) {
    space.dma.write(gpa, target);
    space.dma.read(gpa, target);
    assert.deepEqual([...target], [0xff, 0xff, 0xff, 0xff]);
    assert.equal(space.dma.readU32(gpa), 0xffffffff);
    assert.equal(space.dma.view(gpa, 1, false), undefined);
  }
});

test('an unassigned address is reported once', () => {
  const { space } = pcLike();
  const lines: string[] = [];
  space.log = (line) => lines.push(line);
  space.read(0xfec00000, 4);
  space.read(0xfec00000, 4);
  space.write(0xfec00010, 4, 1);
  assert.equal(lines.length, 2);
  assert.match(lines[0]!, /0xfec00000/);
});

test('lookup agrees with a byte map under random changes', () => {
  const space = new MemorySpace(new SharedArrayBuffer(64 * 4096));
  let seed = 7;
  const random = (n: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * n);
  };
  const layers = Array.from({ length: 12 }, (_, i) => {
    const size = 1 + random(9000);
    const layer = { size, priority: 1 + random(3), start: undefined as number | undefined, i };
    const handler = { read: () => i, write() {} };
    const mapping = space.addWindow({ name: `w${i}`, start: random(30000), size, handler }, layer.priority);
    layer.start = mapping.start;
    return { layer, mapping };
  });
  for (let step = 0; step < 200; step++) {
    const { layer, mapping } = layers[random(layers.length)]!;
    mapping.move(random(5) === 0 ? undefined : random(30000));
    layer.start = mapping.start;
    for (let k = 0; k < 20; k++) {
      const at = random(40000);
      const over = layers
        .map((l) => l.layer)
        .filter((l) => l.start !== undefined && l.start <= at && at < l.start + l.size);
      over.sort((a, b) => b.priority - a.priority || b.i - a.i);
      assert.equal(space.read(at, 1), over[0]?.i ?? 0xff);
    }
  }
});
