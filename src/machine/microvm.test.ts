import assert from 'node:assert/strict';
import test from 'node:test';
import { parseCpuOption } from '../guest/index.js';
import { VirtioDevice, VirtioEntropy, wireIsaDebugExit } from '../hw/index.js';
import type { BoardStop } from './board.js';
import { mpTable } from './boot/mp-table.js';
import { Microvm, type MicrovmParts } from './microvm.js';
import { Program } from './testing/program.js';

const [IDT, STACK] = [0x8000, 0x90000];
const VIRTIO = 0xfeb0_0000;
const MAGIC = 0x74726976;
const SEVEN_MIB = 7 << 20;

interface Made {
  readonly microvm: Microvm;
  readonly serial: () => string;
  run(program: Program): BoardStop;
}

function make(
  microvmParts: MicrovmParts = {},
  options: { readonly rom?: Uint8Array; readonly cpus?: number } = {},
): Made {
  let nowNs = 0;
  let polls = 0;
  let serial = '';
  const microvm = new Microvm(
    {
      time: { nowNs: () => (nowNs += 1000), wallNs: () => 1.6e18 },
      randomBits: () => 1n,
      service: () => ++polls > 20_000,
      sleep: (milliseconds) => void (nowNs += milliseconds * 1e6),
    },
    {
      ramBytes: SEVEN_MIB,
      hotThreshold: 16,
      cpus: options.cpus ?? 1,
      model: parseCpuOption('max'),
      microvm: microvmParts,
      serial: [{ write: (byte) => void (serial += String.fromCharCode(byte)) }],
      firmware: options.rom && { image: options.rom },
      addDevices: (board) => {
        wireIsaDebugExit(board.ports, (status) => board.exit(status), { port: 0xf4, sizeBytes: 1 });
        const device = new VirtioDevice(new VirtioEntropy(() => {}), { name: 'virtio-rng', dma: board.memory.dma });
        board.virtioMmio?.plug(board.virtioMmio.free() as number, device);
      },
    },
  );
  return {
    microvm,
    serial: () => serial,
    run: (program) => {
      microvm.boot({ kernel: program.image(), commandLine: '' });
      return microvm.run();
    },
  };
}

/** Stores a byte. */
const program = (gpa: number, value: number) =>
  new Program().begin(IDT, STACK).mov(0, value).mov(1, gpa).add('88 01 f4 eb fd');

test('with ACPI there are 24 slots, on a second I/O APIC; the highest is taken first', () => {
  const { microvm } = make();
  const { memory } = microvm;
  const ids = Array.from({ length: 24 }, (_, slot) => memory.read(VIRTIO + slot * 0x200 + 8, 4));
  assert.deepEqual(ids, [...new Array<number>(23).fill(0), 4]);
  assert.equal(memory.read(VIRTIO + 23 * 0x200, 4), MAGIC);
  assert.equal(memory.read(VIRTIO + 24 * 0x200, 4), 0xffffffff);
  // IOREGSEL of the second one: its version.
  memory.write(0xfec1_0000, 4, 1);
  assert.equal(memory.read(0xfec1_0010, 4) & 0xff, 0x20);
  microvm.irqs[47].set(true);
  assert.equal(microvm.secondIoApic?.state.lines, 1 << 23);
  assert.equal(microvm.ioapic.state.lines, 0);
});

test('without a second I/O APIC, or without ACPI, there are eight slots', () => {
  for (const [parts, first] of [
    [{ secondIoApic: false }, 16],
    [{ acpi: false }, 5],
  ] as const) {
    const { microvm } = make(parts);
    assert.equal(microvm.virtioMmio.count, 8);
    assert.equal(microvm.memory.read(VIRTIO + 7 * 0x200 + 8, 4), 4);
    assert.equal(microvm.memory.read(0xfec1_0010, 4), 0xffffffff);
    assert.equal(microvm.irqs.length, 24);
    const slot = microvm.virtioMmio;
    assert.equal(slot.free(), 6);
    assert.ok(first + 7 < 24);
  }
});

test('parts are left out: their ports answer nobody', () => {
  const ports = { pic: 0x21, pit: 0x40, rtc: 0x71 };
  const whole = make().microvm;
  for (const part of ['pic', 'pit', 'rtc'] as const) {
    const { microvm } = make({ [part]: false });
    assert.equal(microvm.ports.read(ports[part], 1), 0xff, part);
    assert.equal(microvm.ports.nameAt(ports[part]), 'unassigned');
    assert.notEqual(whole.ports.nameAt(ports[part]), 'unassigned');
  }
  for (const port of [0x60, 0x64, 0xcf8, 0x604]) assert.equal(whole.ports.nameAt(port), 'unassigned', `port ${port}`);
  assert.equal(whole.hasPci, false);
});

test('PCI Express: configuration space in memory', () => {
  const { microvm } = make({ pcie: true });
  assert.ok(microvm.hasPci);
  assert.equal(microvm.memory.read(0xe000_0000, 4), 0x00081b36);
  assert.equal(make({ pcie: true, acpi: false }).microvm.hasPci, false);
});

test('the guest switches off and resets by the event device, and without it by a triple fault', () => {
  assert.deepEqual(make().run(program(0xfea0_0200, 0x34)), { why: 'poweroff' });
  assert.deepEqual(make().run(program(0xfea0_0202, 0x42)), { why: 'reset' });
  const fault = new Program().begin(IDT, STACK).add('cc');
  assert.deepEqual(make({ acpi: false }).run(fault), { why: 'reset' });
});

test('the power button is interrupt 9; without ACPI there is none', () => {
  const { microvm } = make();
  microvm.pressPowerButton();
  assert.equal(microvm.memory.read(0xfea0_0000, 4), 2);
  assert.throws(() => make({ acpi: false }).microvm.pressPowerButton(), /no power button without ACPI/);
});

test('firmware lies below 1 MiB as well and may be written there until a reset', () => {
  const rom = new Uint8Array(1 << 16);
  // At the reset vector, in memory below 1 MiB: mov al, 11h; out f4h, al
  rom.set([0xb0, 0x11, 0xe6, 0xf4], 0xfff0);
  rom[0x1234] = 0x56;
  const { microvm } = make({}, { rom });
  microvm.start();
  const { memory } = microvm;
  assert.equal(memory.read(0xf1234, 1), 0x56);
  assert.equal(memory.read(0xffff1234, 1), 0x56);
  assert.equal(memory.read(0xe1234, 1), 0, 'RAM');
  memory.write(0xf1234, 1, 0x77);
  assert.equal(memory.read(0xf1234, 1), 0x77);
  assert.deepEqual(microvm.run(), { why: 'exit', status: (0x11 << 1) | 1 });
  microvm.start();
  assert.equal(memory.read(0xf1234, 1), 0x56, 'as the image has it');
});

test('without ACPI an MP table tells of processors and interrupts', () => {
  const { microvm } = make({ acpi: false }, { cpus: 3 });
  microvm.boot({ kernel: program(0, 0).image(), commandLine: '' });
  const pointer = new Uint8Array(16);
  microvm.memory.dma.read(0xf0000, pointer);
  assert.equal(String.fromCharCode(...pointer.subarray(0, 4)), '_MP_');
  const sum = (bytes: Uint8Array) => bytes.reduce((a, b) => (a + b) & 0xff, 0);
  assert.equal(sum(pointer), 0);
  const table = mpTable({ cpus: 3, localApicGpa: 0xfee0_0000, ioApicGpa: 0xfec0_0000 }, 0xf0000).subarray(16);
  const view = new DataView(table.buffer, table.byteOffset);
  assert.equal(new DataView(pointer.buffer).getUint32(4, true), 0xf0010);
  assert.equal(view.getUint16(4, true), table.length);
  assert.equal(sum(table), 0);
  // Each kind of entry has its length.
  const kinds: number[] = [];
  for (let at = 44; at < table.length; at += table[at] === 0 ? 20 : 8) kinds.push(table[at]);
  assert.equal(kinds.length, view.getUint16(34, true));
  assert.deepEqual(
    [0, 1, 2, 3, 4].map((kind) => kinds.filter((each) => each === kind).length),
    [3, 1, 1, 15, 2],
  );
});

test('a second serial port is refused', () => {
  const backend = { write: () => {} };
  const host = { time: { nowNs: () => 0, wallNs: () => 0 }, randomBits: () => 0n, service: () => false };
  const options = { ramBytes: SEVEN_MIB, hotThreshold: 0, model: parseCpuOption('max') };
  assert.throws(() => new Microvm(host, { ...options, serial: [backend, backend] }), /one serial port/);
});
