/** OpenSBI (package opensbi) as firmware of a RISC-V hart: M-mode code that nobody wrote for this CPU, up to S-mode and back by SBI calls. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { TcgEngine } from '../accel/tcg/engine.js';
import { field, privilege, STATE_BYTES, xreg } from '../guest/riscv/state.js';
import { RiscvCpu } from '../guest/riscv/system/cpu.js';
import { instruction } from './riscv-rows/runner-elf.js';

const FIRMWARE = '/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin';
const RAM = 0x80000000;
const RAM_BYTES = 16 << 20;
const NEXT = RAM + 0x200000;
const INFO = RAM + 0x300000;
const FDT = RAM + 0x400000;
const UART = 0x10000000;
const CLINT = 0x2000000;
const TEST_DEVICE = 0x100000;

type Node = { readonly [name: string]: Node | string | readonly number[] };

/** A flattened device tree (Devicetree Specification 0.4, ch. 5); numbers are cells. */
function flatten(root: Node): Uint8Array {
  const words: number[] = [];
  let strings = '';
  const text = (value: string) => {
    const bytes = [...new TextEncoder().encode(value), 0];
    while (bytes.length % 4 !== 0) bytes.push(0);
    for (let i = 0; i < bytes.length; i += 4)
      words.push((bytes[i] << 24) | (bytes[i + 1] << 16) | (bytes[i + 2] << 8) | bytes[i + 3]);
  };
  const visit = (name: string, node: Node) => {
    words.push(1); // FDT_BEGIN_NODE
    text(name);
    const entries = Object.entries(node);
    for (const [key, value] of entries) {
      if (typeof value !== 'string' && !Array.isArray(value)) continue;
      words.push(3, typeof value === 'string' ? value.length + 1 : 4 * value.length, strings.length); // FDT_PROP
      strings += `${key}\0`;
      if (typeof value === 'string') text(value);
      else words.push(...value);
    }
    for (const [key, value] of entries) {
      if (typeof value !== 'string' && !Array.isArray(value)) visit(key, value as Node);
    }
    words.push(2); // FDT_END_NODE
  };
  visit('', root);
  words.push(9); // FDT_END
  const structAt = 40 + 16;
  const stringsAt = structAt + 4 * words.length;
  const total = stringsAt + strings.length;
  const header = [0xd00dfeed, total, structAt, stringsAt, 40, 17, 16, 0, strings.length, 4 * words.length, 0, 0, 0, 0];
  const bytes = new Uint8Array(total);
  const view = new DataView(bytes.buffer);
  for (const [i, word] of [...header, ...words].entries()) view.setUint32(4 * i, word);
  bytes.set(new TextEncoder().encode(strings), stringsAt);
  return bytes;
}

const INTC = 1;
const tree: Node = {
  '#address-cells': [2],
  '#size-cells': [2],
  compatible: 'riscv-virtio',
  model: 'test',
  chosen: { 'stdout-path': '/soc/serial@10000000' },
  'memory@80000000': { device_type: 'memory', reg: [0, RAM, 0, RAM_BYTES] },
  cpus: {
    '#address-cells': [1],
    '#size-cells': [0],
    'timebase-frequency': [10_000_000],
    'cpu@0': {
      device_type: 'cpu',
      reg: [0],
      status: 'okay',
      compatible: 'riscv',
      'riscv,isa': 'rv64imafdc',
      'mmu-type': 'riscv,sv48',
      'interrupt-controller': {
        '#interrupt-cells': [1],
        'interrupt-controller': [],
        compatible: 'riscv,cpu-intc',
        phandle: [INTC],
      },
    },
  },
  soc: {
    '#address-cells': [2],
    '#size-cells': [2],
    compatible: 'simple-bus',
    ranges: [],
    'serial@10000000': { compatible: 'ns16550a', reg: [0, UART, 0, 0x100], 'clock-frequency': [3_686_400] },
    'test@100000': { compatible: 'sifive,test1', reg: [0, TEST_DEVICE, 0, 0x1000] },
    'clint@2000000': {
      compatible: 'riscv,clint0',
      reg: [0, CLINT, 0, 0x10000],
      'interrupts-extended': [INTC, 3, INTC, 7],
    },
  },
};

/** What S-mode does: writes a character (legacy console), then asks for a shutdown (SRST). */
const payload = [
  instruction('addi', { rd: 10, rs1: 0, imm: 0x21 }),
  instruction('addi', { rd: 17, rs1: 0, imm: 1 }),
  instruction('ecall'),
  instruction('addi', { rd: 10, rs1: 0, imm: 0 }),
  instruction('addi', { rd: 11, rs1: 0, imm: 0 }),
  instruction('addi', { rd: 16, rs1: 0, imm: 0 }),
  instruction('lui', { rd: 17, imm: 0x53525000 }),
  instruction('addi', { rd: 17, rs1: 17, imm: 0x354 }),
  instruction('ecall'),
  instruction('wfi'),
];

const skip = existsSync(FIRMWARE) ? false : 'OpenSBI (package opensbi) is not installed';
for (const hotThreshold of [0, 64]) {
  test(`OpenSBI starts, enters S-mode and answers it, threshold ${hotThreshold}`, { skip }, () => {
    let console = '';
    let divisorLatch = false;
    let ended: number | undefined;
    let ticks = 0n;
    const cpu = new RiscvCpu({ time: () => ticks++, cycles: () => ticks, setTimer: () => {} });
    let polls = 0;
    const engine = new TcgEngine({
      cpus: [cpu],
      ramBytes: RAM_BYTES,
      stateBytes: STATE_BYTES,
      hotThreshold,
      host: {
        mmioRead: (gpa) => (gpa === UART + 5 ? 0x60 : 0),
        mmioWrite: (gpa, _size, value) => {
          if (gpa === UART + 3) divisorLatch = (value & 0x80) !== 0;
          if (gpa === UART && !divisorLatch) console += String.fromCharCode(value & 0xff);
          if (gpa === TEST_DEVICE) {
            ended = value;
            engine.kick();
          }
        },
        pioRead: () => 0,
        pioWrite: () => {},
        readTsc: () => 0n,
        randomBits: () => 0n,
        poll: () => ended !== undefined || ++polls > 100_000,
      },
    });
    const ram = new Uint8Array(engine.memory.buffer, engine.ramStart, RAM_BYTES);
    const view = new DataView(ram.buffer, ram.byteOffset, RAM_BYTES);
    engine.setRamBlocks([{ gpa: RAM, size: RAM_BYTES, hva: engine.ramStart, readonly: false }]);
    ram.set(readFileSync(FIRMWARE));
    ram.set(flatten(tree), FDT - RAM);
    for (const [i, word] of payload.entries()) view.setUint32(NEXT - RAM + 4 * i, word, true);
    // struct fw_dynamic_info: magic, version, next address, next mode, options, boot hart.
    for (const [i, value] of [0x4942534f, 2, NEXT, privilege.S, 0, 0].entries())
      view.setBigUint64(INFO - RAM + 8 * i, BigInt(value), true);
    cpu.reset(BigInt(RAM));
    for (const [n, value] of [
      [10, 0],
      [11, FDT],
      [12, INFO],
    ])
      cpu.hart.set64(xreg[n].offset, BigInt(value));
    assert.equal(engine.run(), 'kick');
    assert.match(console, /^\s*OpenSBI v\d/);
    assert.match(console, /Boot HART Base ISA\s*: rv64imafdc/);
    assert.match(console, /Boot HART PMP Count\s*: 16/);
    assert.ok(console.endsWith('!'), 'what S-mode wrote comes last');
    assert.equal(ended, 0x5555);
    assert.equal(cpu.hart.get64(field.scause), 0n);
  });
}
