import assert from 'node:assert/strict';
import test from 'node:test';
import { MemoryDrive } from '../disk/testing.js';
import { seededRandom } from '../testing.js';
import { ModernDriver, type Piece, type TestMachine, testMachine } from './testing.js';
import { VirtioBlock } from './virtio-block.js';
import { VirtioEntropy } from './virtio-entropy.js';

const [ringGpa, driverGpa, deviceGpa, tableGpa] = [0x100000, 0x104000, 0x105000, 0x106000];
const [headerGpa, statusGpa, dataGpa] = [0x8000, 0x9000, 0x10000];
const eventIndex = 29;
const packedRing = 34;

/** One packed queue as the driver sees it. */
class PackedDriver {
  readonly machine: TestMachine;
  readonly driver: ModernDriver;
  readonly size: number;
  #next = 0;
  #wrap = true;
  #used = 0;
  #usedWrap = true;
  #identifier = 0;
  readonly #places = new Map<number, number>();

  constructor(machine: TestMachine, options: { without?: readonly number[]; size?: number } = {}) {
    this.machine = machine;
    this.driver = new ModernDriver(machine);
    const { driver } = this;
    const { memory } = machine;
    machine.ram.fill(0, ringGpa, tableGpa);
    driver.status = 0;
    driver.status = 3;
    let accepted = driver.features();
    assert.ok((accepted >> BigInt(packedRing)) & 1n);
    for (const bit of options.without ?? []) accepted &= ~(1n << BigInt(bit));
    memory.write(driver.common + 8, 4, 0);
    memory.write(driver.common + 12, 4, Number(accepted & 0xffffffffn));
    memory.write(driver.common + 8, 4, 1);
    memory.write(driver.common + 12, 4, Number(accepted >> 32n));
    driver.status = 11;
    assert.equal(driver.status, 11);
    memory.write(driver.common + 22, 2, 0);
    if (options.size) memory.write(driver.common + 24, 2, options.size);
    this.size = memory.read(driver.common + 24, 2);
    for (const [at, gpa] of [
      [32, ringGpa],
      [40, driverGpa],
      [48, deviceGpa],
    ] as const)
      memory.write(driver.common + at, 4, gpa);
    memory.write(driver.common + 28, 2, 1);
    driver.status = 15;
  }

  #write(table: number, index: number, piece: Piece, identifier: number, flags: number): void {
    const { dma } = this.machine.memory;
    dma.writeU64(table + index * 16, piece.gpa);
    dma.writeU32(table + index * 16 + 8, piece.length);
    dma.writeU16(table + index * 16 + 12, identifier);
    dma.writeU16(table + index * 16 + 14, flags | (piece.write ? 2 : 0));
  }

  /** Offers a buffer without kicking; gives its identifier. */
  add(pieces: readonly Piece[], indirect = false): number {
    const identifier = this.#identifier++ & 0x7fff;
    let list = pieces;
    if (indirect) {
      for (const [i, piece] of pieces.entries()) this.#write(tableGpa, i, piece, 0, 0);
      list = [{ gpa: tableGpa, length: pieces.length * 16 }];
    }
    this.#places.set(identifier, list.length);
    const order: (() => void)[] = [];
    for (const [i, piece] of list.entries()) {
      const flags = (this.#wrap ? 0x80 : 0x8000) | (i + 1 < list.length ? 1 : 0) | (indirect ? 4 : 0);
      const index = this.#next;
      order.push(() => this.#write(ringGpa, index, piece, identifier, flags));
      if (++this.#next === this.size) {
        this.#next = 0;
        this.#wrap = !this.#wrap;
      }
    }
    for (const write of order.reverse()) write();
    return identifier;
  }

  kick(): void {
    this.driver.kick(0);
  }

  completions(): { identifier: number; length: number; isWritten: boolean }[] {
    const { dma } = this.machine.memory;
    const found: { identifier: number; length: number; isWritten: boolean }[] = [];
    for (;;) {
      const at = ringGpa + this.#used * 16;
      const flags = dma.readU16(at + 14);
      if (((flags & 0x80) !== 0) !== this.#usedWrap || ((flags & 0x8000) !== 0) !== this.#usedWrap) return found;
      const identifier = dma.readU16(at + 12);
      found.push({ identifier, length: dma.readU32(at + 8), isWritten: (flags & 2) !== 0 });
      this.#used += this.#places.get(identifier)!;
      if (this.#used < this.size) continue;
      this.#used -= this.size;
      this.#usedWrap = !this.#usedWrap;
    }
  }

  /** Asks for an interrupt when the used descriptor at this place is written. */
  wantAt(place: number, wrap: boolean): void {
    this.machine.memory.dma.writeU16(driverGpa, place | (wrap ? 0x8000 : 0));
    this.machine.memory.dma.writeU16(driverGpa + 2, 2);
  }
  get place(): { used: number; wrap: boolean } {
    return { used: this.#used, wrap: this.#usedWrap };
  }
}

function setUp(options: { later?: boolean; without?: readonly number[]; size?: number } = {}) {
  const disk = new MemoryDrive(
    Uint8Array.from({ length: 1 << 20 }, (_, i) => (i * 7 + (i >> 9)) & 0xff),
    options,
  );
  const machine = testMachine(new VirtioBlock({ backend: disk }), { packed: true });
  const queue = new PackedDriver(machine, options);
  const request = (type: number, sector: number, data: readonly Piece[], slot = 0, indirect = false) => {
    const { dma } = machine.memory;
    dma.writeU32(headerGpa + slot * 16, type);
    dma.writeU64(headerGpa + slot * 16 + 8, sector);
    machine.ram[statusGpa + slot] = 0xee;
    const pieces = [
      { gpa: headerGpa + slot * 16, length: 16 },
      ...data,
      { gpa: statusGpa + slot, length: 1, write: true },
    ];
    return queue.add(pieces, indirect);
  };
  return { disk, machine, queue, request };
}

test('buffers go round the ring many times, direct and indirect, with verified data', () => {
  const { disk, machine, queue, request } = setUp({ size: 8 });
  for (let i = 0; i < 100; i++) {
    const input = { gpa: dataGpa, length: 1024, write: true };
    const pieces =
      i % 3 === 0
        ? [input]
        : [
            { ...input, length: 100 },
            { ...input, gpa: dataGpa + 100, length: 924 },
          ];
    machine.ram.fill(0, dataGpa, dataGpa + 1024);
    const identifier = request(0, i, pieces, 0, i % 4 === 3);
    queue.kick();
    assert.deepEqual(queue.completions(), [{ identifier, length: 1025, isWritten: true }]);
    assert.equal(machine.ram[statusGpa], 0);
    assert.deepEqual(machine.ram.subarray(dataGpa, dataGpa + 1024), disk.bytes.subarray(i * 512, i * 512 + 1024));
    machine.ram.fill(i, dataGpa, dataGpa + 512);
    request(1, 1000 + i, [{ gpa: dataGpa, length: 512 }]);
    queue.kick();
    assert.equal(queue.completions().length, 1);
    assert.ok(disk.bytes.subarray((1000 + i) * 512, (1001 + i) * 512).every((byte) => byte === i));
  }
});

test('several buffers at once come back as they end; the state is saved between', () => {
  const { disk, machine, queue, request } = setUp({ later: true, size: 16 });
  for (let lap = 0; lap < 20; lap++) {
    const asked = [0, 1, 2, 3].map((slot) =>
      request(0, slot, [{ gpa: dataGpa + slot * 512, length: 512, write: true }], slot),
    );
    queue.kick();
    assert.deepEqual(queue.completions(), []);
    disk.runLater();
    assert.deepEqual(
      queue.completions().map(({ identifier }) => identifier),
      asked,
    );
    assert.deepEqual(machine.ram.subarray(dataGpa, dataGpa + 2048), disk.bytes.subarray(0, 2048));
    machine.pci.load(machine.pci.save());
  }
});

test('interrupts: always, never, and when a place is passed', () => {
  const plain = setUp({ without: [eventIndex], size: 8 });
  const raised = ({ machine, queue, request }: ReturnType<typeof setUp>) => {
    machine.pci.readIsr();
    request(4, 0, []);
    queue.kick();
    assert.equal(queue.completions().length, 1);
    return machine.pci.readIsr() & 1;
  };
  assert.equal(raised(plain), 1);
  plain.machine.memory.dma.writeU16(driverGpa + 2, 1);
  assert.equal(raised(plain), 0);
  const byPlace = setUp({ size: 8 });
  assert.equal(raised(byPlace), 1);
  for (let i = 0; i < 40; i++) {
    const { used, wrap } = byPlace.queue.place;
    byPlace.queue.wantAt(used, wrap);
    assert.equal(raised(byPlace), 1, `at ${used}`);
    const next = byPlace.queue.place;
    const far = (next.used + 4) % 8;
    byPlace.queue.wantAt(far, next.used + 4 < 8 ? next.wrap : !next.wrap);
    assert.equal(raised(byPlace), 0, `before ${far}`);
    const { dma } = byPlace.machine.memory;
    assert.equal(dma.readU16(deviceGpa + 2), 2, 'a kick is wanted at the next place');
    assert.equal(dma.readU16(deviceGpa) & 0x7fff, byPlace.queue.place.used);
  }
});

test('rings that break the rules need a reset', () => {
  const broken: [string, (ring: DataView, queue: PackedDriver) => void][] = [
    [
      'loop',
      (ring) => {
        for (let i = 0; i < 8; i++) {
          ring.setBigUint64(i * 16, 0x8000n, true);
          ring.setUint32(i * 16 + 8, 16, true);
          ring.setUint16(i * 16 + 14, 0x81, true);
        }
      },
    ],
    ['no bytes', (ring) => ring.setUint16(14, 0x80, true)],
    [
      'outside RAM',
      (ring) => {
        ring.setBigUint64(0, 0xf0000000n, true);
        ring.setUint32(8, 16, true);
        ring.setUint16(14, 0x80, true);
      },
    ],
    [
      'table length',
      (ring) => {
        ring.setUint32(8, 17, true);
        ring.setUint16(14, 0x84, true);
      },
    ],
  ];
  for (const [what, set] of broken) {
    const { machine, queue } = setUp({ size: 8 });
    set(new DataView(machine.ram.buffer, ringGpa), queue);
    queue.kick();
    assert.equal(queue.driver.status & 0x40, 0x40, what);
    assert.equal(new PackedDriver(machine, { size: 8 }).driver.status, 15, what);
  }
});

test('any bytes in ring and tables: nothing outside the disk, no hang', () => {
  const random = seededRandom(11);
  const disk = new MemoryDrive(1 << 18);
  const blocks = testMachine(new VirtioBlock({ backend: disk }), { packed: true });
  const entropy = testMachine(new VirtioEntropy((target) => target.fill(1)), { packed: true });
  for (const machine of [blocks, entropy]) {
    let queue = new PackedDriver(machine, { size: 8 });
    for (let i = 0; i < 4000; i++) {
      const ring = new DataView(machine.ram.buffer, random(8) === 0 ? tableGpa : ringGpa);
      for (let k = random(6); k >= 0; k--) {
        const at = random(8) * 16;
        ring.setBigUint64(
          at,
          BigInt(random(20) === 0 ? random(2 ** 32) : [headerGpa, dataGpa, tableGpa, ringGpa][random(4)]! + random(64)),
          true,
        );
        ring.setUint32(at + 8, random(3) === 0 ? random(2 ** 16) : [1, 16, 512, 32][random(4)]!, true);
        ring.setUint16(
          at + 14,
          [0x80, 0x81, 0x82, 0x83, 0x84, 0x8000, 0x8001, 0x8002, random(65536)][random(9)]!,
          true,
        );
      }
      queue.kick();
      if (machine.device.broken) queue = new PackedDriver(machine, { size: 8 });
      if (random(50) === 0) machine.pci.load(machine.pci.save());
    }
  }
});
