/**
 * EL2 and EL3 against QEMU: what is trapped of lower exception levels and how it is described, stage 2, a host's names of registers, secure
 * monitor calls. Each probe runs at a lower level; the vector above records what came of it and goes on with the next one.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseArmCpu } from '../../guest/arm/models.js';
import { abort, hcr, pstate, scr } from '../../guest/arm/state.js';
import { codeOf } from '../../guest/arm/system/registers.js';
import { DATA, instruction, OUT, Program, RAM } from './program.js';
import { bareUnavailable, end, type Numbers, runHere, runOnQemu } from './run.js';

const skip = bareUnavailable() ?? false;
const MASKED = pstate.DAIF;
const EL0 = MASKED;
const EL1 = MASKED | 5;
const EL2 = MASKED | 9;
const VECTORS = RAM + 0x10_0000;
const LOWER_VECTORS = RAM + 0x11_0000;
/** Numbers that a record has: ESR, ELR, SPSR, FAR, HPFAR, vector, X0. */
const RECORD = 7;
const [X0, SCRATCH, OUTPUT, CONTINUE] = [0, 10, 21, 28];

/** Sees to what `run` records. */
class Probes extends Program {
  readonly names: string[] = [];
  readonly el: 2 | 3;

  constructor(el: 2 | 3) {
    super();
    this.el = el;
    const start = this.here;
    for (let vector = 0; vector < 16; vector++) {
      this.here = VECTORS + 0x80 * vector;
      this.set(SCRATCH + 1, vector);
      this.branch('b', VECTORS + 0x800);
    }
    this.here = VECTORS + 0x800;
    const keep = (rd: number) => this.next('str', rd, OUTPUT);
    for (const name of ['ESR', 'ELR', 'SPSR', 'FAR']) {
      this.mrs(SCRATCH, `${name}_EL${el}`);
      keep(SCRATCH);
    }
    if (el === 2) this.mrs(SCRATCH, 'HPFAR_EL2');
    else this.set(SCRATCH, 0);
    keep(SCRATCH);
    keep(SCRATCH + 1);
    keep(X0);
    this.msr(`ELR_EL${el}`, CONTINUE);
    this.set(SCRATCH, MASKED | (el << 2) | 1);
    this.msr(`SPSR_EL${el}`, SCRATCH);
    this.put('eret');
    // What is taken to EL1 is seen above by HVC or SMC.
    for (let vector = 0; vector < 16; vector++) {
      this.here = LOWER_VECTORS + 0x80 * vector;
      this.put(el === 2 ? 'hvc imm' : 'smc imm', { imm: 0x4100 + vector });
    }
    this.here = start;
    this.set(OUTPUT, OUT);
    this.write(`VBAR_EL${el}`, VECTORS);
    this.write('VBAR_EL1', LOWER_VECTORS);
    this.write('CPACR_EL1', 3 << 20);
  }

  /** Instructions at a lower level; where they raise nothing, a call does. */
  probe(
    name: string,
    mode: number,
    words: readonly (number | (() => void))[],
    last = instruction('hvc imm', { imm: 0x7777 }),
  ): void {
    const at = this.here;
    // Two constants of up to four, their writes, ERET.
    const code = at + 4 * 16;
    this.here = code;
    for (const word of words) {
      if (typeof word === 'number') this.word(word);
      else word();
    }
    this.word(last);
    const next = this.here;
    this.here = at;
    this.set(CONTINUE, next);
    this.write(`ELR_EL${this.el}`, code);
    this.write(`SPSR_EL${this.el}`, mode);
    this.put('eret');
    assert.ok(this.here <= code);
    this.here = next;
    this.names.push(name);
  }
  /** A number that is recorded alone. */
  readonly notes: { readonly record: number; readonly name: string }[] = [];
  note(name: string, register: string): void {
    this.mrs(SCRATCH, register);
    for (let n = 0; n < RECORD; n++) this.next('str', n === 0 ? SCRATCH : 31, OUTPUT);
    this.names.push(name);
  }
}

const mrs = (rd: number, code: number) => instruction('mrs xd, imm', { rd, imm: code & 0x7fff });
const msr = (code: number, rd: number) => instruction('msr imm, xd', { rd, imm: code & 0x7fff });
const sys = (op1: number, crn: number, crm: number, op2: number, rd = 31) =>
  instruction('sys imm, xd', { rd, imm: codeOf(1, op1, crn, crm, op2) & 0x3fff });

const fields = ['ESR', 'ELR', 'SPSR', 'FAR', 'HPFAR', 'vector', 'X0'];
/** FAR and HPFAR are of aborts alone. */
const ofAborts = new Set([3, 4]);

function compare(p: Probes, numbers: readonly Numbers[], machine: string, cpu: string, ours: string): void {
  const qemu = runOnQemu(p, numbers, cpu, machine);
  for (const threshold of [0, 2]) {
    const here = runHere(p, numbers, parseArmCpu(ours), threshold);
    const differences: string[] = [];
    for (const [n, name] of p.names.entries()) {
      const at = (k: number) => OUT - RAM + 8 * (n * RECORD + k);
      const code = Number(qemu.getBigUint64(at(0), true) >> 26n);
      for (const [k, field] of fields.entries()) {
        if (ofAborts.has(k) && ![0x20, 0x24].includes(code)) continue;
        if (k === 4 && p.el === 3) continue;
        const [mine, given] = [here.getBigUint64(at(k), true), qemu.getBigUint64(at(k), true)];
        // Of a walk of stage 1's tables QEMU 7.2 gives the level of that walk, where the manual has stage 2's (D19.2.37, DFSC).
        const ofWalk = k === 0 && code === 0x24 && (given & BigInt(abort.S1PTW)) !== 0n;
        const theirs = ofWalk ? (given & ~3n) | (mine & 3n) : given;
        if (mine !== theirs) differences.push(`${name}: ${field} ${mine.toString(16)}, QEMU: ${theirs.toString(16)}`);
      }
    }
    assert.deepEqual(differences, []);
  }
}

const name = {
  SCTLR: codeOf(3, 0, 1, 0, 0),
  ACTLR: codeOf(3, 0, 1, 0, 1),
  CPACR: codeOf(3, 0, 1, 0, 2),
  TTBR0: codeOf(3, 0, 2, 0, 0),
  TCR: codeOf(3, 0, 2, 0, 2),
  ESR: codeOf(3, 0, 5, 2, 0),
  FAR: codeOf(3, 0, 6, 0, 0),
  MAIR: codeOf(3, 0, 10, 2, 0),
  CONTEXTIDR: codeOf(3, 0, 13, 0, 1),
  ISAR0: codeOf(3, 0, 0, 6, 0),
  AIDR: codeOf(3, 1, 0, 0, 7),
  CTR: codeOf(3, 3, 0, 0, 1),
  CLIDR: codeOf(3, 1, 0, 0, 1),
  CNTPCT: codeOf(3, 3, 14, 0, 1),
  CNTP_CTL: codeOf(3, 3, 14, 2, 1),
  APIALO: codeOf(3, 0, 2, 1, 0),
  MIDR: codeOf(3, 0, 0, 0, 0),
  MPIDR: codeOf(3, 0, 0, 0, 5),
  HCR: codeOf(3, 4, 1, 1, 0),
} as const;
const wfi = instruction('wfi');
const svc = instruction('svc imm', { imm: 0x55 });
const undefinedWord = 0;
const pacia = instruction('pacia xd, xn|sp', { rd: 0, rn: 1 });
const float = instruction('ldr dd, [rn, imm]', { rd: 0, rn: 20 });

test('what EL2 traps of EL1 and EL0, and how it says so', { skip }, () => {
  const p = new Probes(2);
  const base = hcr.RW | hcr.API | hcr.APK;
  p.write('CNTHCTL_EL2', 3);
  p.write('VPIDR_EL2', 0x12345678);
  p.write('VMPIDR_EL2', 0x8000_0123);
  p.write('SCTLR_EL1', 0x30d0_0800n | (1n << 31n) | (1n << 26n) | (1n << 15n) | (1n << 14n));
  p.set(20, DATA);
  p.note('CurrentEL', 'CurrentEL');
  const with_ = (label: string, bits: bigint, mode: number, ...words: number[]) => {
    p.write('HCR_EL2', base ^ bits);
    p.put('isb imm', { imm: 15 });
    p.probe(label, mode, words);
  };
  const each: readonly (readonly [string, bigint, number, ...number[]])[] = [
    ['HVC', 0n, EL1, instruction('hvc imm', { imm: 0x123 })],
    ['SVC at EL0', 0n, EL0, svc],
    ['SVC at EL0, TGE', hcr.TGE, EL0, svc],
    ['undefined at EL0, TGE', hcr.TGE, EL0, undefinedWord],
    ['BRK at EL0, TGE', hcr.TGE, EL0, instruction('brk imm', { imm: 7 })],
    ['HVC at EL0', 0n, EL0, instruction('hvc imm', { imm: 1 })],
    ['TSC', hcr.TSC, EL1, instruction('smc imm', { imm: 0x77 })],
    ['TWI', hcr.TWI, EL1, wfi],
    ['TWI at EL0', hcr.TWI, EL0, wfi],
    ['TVM SCTLR', hcr.TVM, EL1, msr(name.SCTLR, 3)],
    ['TVM read', hcr.TVM, EL1, mrs(3, name.MAIR)],
    ['TVM TTBR0', hcr.TVM, EL1, msr(name.TTBR0, 4)],
    ['TVM CONTEXTIDR', hcr.TVM, EL1, msr(name.CONTEXTIDR, 31)],
    ['TRVM TCR', hcr.TRVM, EL1, mrs(5, name.TCR)],
    ['TRVM ESR', hcr.TRVM, EL1, mrs(5, name.ESR)],
    ['TRVM write', hcr.TRVM, EL1, msr(name.FAR, 5)],
    ['TACR', hcr.TACR, EL1, mrs(6, name.ACTLR)],
    ['TID1', hcr.TID1, EL1, mrs(7, name.AIDR)],
    ['TID2 CTR', hcr.TID2, EL0, mrs(8, name.CTR)],
    ['TID2 CLIDR', hcr.TID2, EL1, mrs(8, name.CLIDR)],
    ['TID3', hcr.TID3, EL1, mrs(9, name.ISAR0)],
    ['TSW', hcr.TSW, EL1, sys(0, 7, 14, 2, 1)],
    ['TPC', hcr.TPC, EL1, sys(3, 7, 14, 1, 20)],
    ['TPU', hcr.TPU, EL1, sys(0, 7, 5, 0)],
    ['TTLB', hcr.TTLB, EL1, sys(0, 8, 7, 0)],
    ['TDZ', hcr.TDZ, EL0, sys(3, 7, 4, 1, 20)],
    ['APK', hcr.APK, EL1, mrs(2, name.APIALO)],
    ['API', hcr.API, EL1, pacia],
    ['API enabled', 0n, EL1, instruction('xpaci xd', { rd: 0 })],
    ['EL2 register at EL1', 0n, EL1, mrs(2, name.HCR)],
    ['VPIDR', 0n, EL1, mrs(0, name.MIDR)],
    ['VMPIDR', 0n, EL1, mrs(0, name.MPIDR)],
    [
      'illegal return to EL2 from EL1',
      0n,
      EL1,
      instruction('movz rd, imm, hw', { rd: 0, sf: 1, imm: EL2 }),
      msr(codeOf(3, 0, 4, 0, 0), 0),
      instruction('eret'),
    ],
    ['virtual IRQ, masked', hcr.VI | hcr.IMO, EL1, instruction('hint imm')],
    ['virtual IRQ', hcr.VI | hcr.IMO, EL1 & ~pstate.I, instruction('hint imm')],
    ['virtual FIQ at EL0', hcr.VF | hcr.FMO, EL0 & ~pstate.F, instruction('hint imm')],
    ['virtual IRQ without IMO', hcr.VI, EL1 & ~pstate.I, instruction('hint imm')],
  ];
  for (const one of each) with_(...one);
  p.write('HCR_EL2', base);
  p.write('CPTR_EL2', 0x33ff | (1 << 10));
  p.probe('TFP', EL1, [float]);
  p.write('CPTR_EL2', 0x33ffn | (1n << 31n));
  p.probe('TCPAC', EL1, [mrs(4, name.CPACR)]);
  p.write('CPTR_EL2', 0x33ff);
  p.write('CNTHCTL_EL2', 0);
  p.probe('EL1PCTEN', EL1, [mrs(4, name.CNTPCT)]);
  p.probe('EL1PCEN', EL1, [mrs(4, name.CNTP_CTL)]);
  p.write('HCR_EL2', base | hcr.TGE);
  p.probe('ERET to EL1 with TGE', EL1, []);
  p.write('HCR_EL2', base);
  end(p);
  compare(p, [], ',virtualization=on', 'max', 'max,has_el2=on');
});

/** Descriptors of stage 2. */
const s2 = {
  PAGE: 3n,
  BLOCK: 1n,
  NORMAL: 15n << 2n,
  READ: 1n << 6n,
  WRITE: 1n << 7n,
  AF: 1n << 10n,
  XN: 1n << 54n,
} as const;
const FULL = s2.NORMAL | s2.READ | s2.WRITE | s2.AF;
/** What stage 2's tables know of beside RAM: pages of 4 KiB with one right or another from here on. */
const WINDOW = 0x8000_0000;

test('stage 2: faults by level, address and instruction; all granules', { skip }, () => {
  const p = new Probes(2);
  const base = hcr.RW | hcr.API | hcr.APK | hcr.VM;
  const [first, second, third, stage1] = [DATA + 0x1_0000, DATA + 0x2_0000, DATA + 0x3_0000, DATA + 0x4_0000];
  const rights = [FULL, FULL & ~s2.WRITE, FULL & ~s2.READ, FULL & ~s2.AF, FULL | s2.XN, 0n];
  const numbers: Numbers[] = [
    { at: first, values: [0n, BigInt(RAM) | s2.BLOCK | FULL, BigInt(second) | 3n] },
    { at: second, values: [BigInt(third) | 3n, 0n] },
    { at: third, values: rights.map((right) => (right === 0n ? 0n : BigInt(DATA + 0x8_0000) | s2.PAGE | right)) },
    // Stage 1's first table is in memory that stage 2 does not know.
    { at: stage1, values: [0n, BigInt(RAM) | 0x401n, BigInt(WINDOW + 5 * 4096) | 3n, 0xc000_0000n | 0x401n] },
  ];
  p.write('VTTBR_EL2', first);
  p.write('VTCR_EL2', 0x8000_0000n | 32n | (1n << 6n) | (2n << 16n));
  p.write('HCR_EL2', base);
  p.write('SCTLR_EL1', 0x30d0_0800);
  p.put('isb imm', { imm: 15 });
  const access = (label: string, text: string, page: number, fields: object = {}, offset = 0) => {
    p.set(1, WINDOW + 4096 * page + 0x40);
    p.probe(label, EL1, [instruction(text, { rd: 5, rn: 1, imm: offset, ...fields })]);
  };
  for (const [page, kind] of [
    'all',
    'read-only',
    'write-only',
    'no access flag',
    'not executable',
    'nothing',
  ].entries()) {
    access(`load, ${kind}`, 'ldr xd, [rn, imm]', page);
    access(`store, ${kind}`, 'str xd, [rn, imm]', page);
    p.set(30, WINDOW + 4096 * page + 0x40);
    p.probe(`fetch, ${kind}`, EL1, [instruction('ret xn', { rn: 30 })]);
  }
  for (const [text, extra] of [
    ['ldr wd, [rn, imm]', {}],
    ['ldrb wd, [rn, imm]', {}],
    ['ldrsb xd, [rn, imm]', {}],
    ['ldrsb wd, [rn, imm]', {}],
    ['ldrh wd, [rn, imm]', {}],
    ['ldrsw xd, [rn, imm]', {}],
    ['strb wd, [rn, imm]', {}],
    ['str wd, [rn, imm]', { rd: 31 }],
    ['ldr xd, [rn], imm', {}],
    ['ldr xd, [rn, imm]!', {}],
    ['ldr xd, [rn, rm]', { rm: 31, option: 3 }],
    ['ldp xd, xa, [rn, imm]', { ra: 6 }],
    ['ldr qd, [rn, imm]', {}],
    ['ldar xd, [rn]', {}],
    ['stlr wd, [rn]', {}],
  ] as const)
    access(text, text, 5, extra);
  p.set(1, 0x0900_0000);
  p.probe('level 1', EL1, [instruction('ldr wd, [rn, imm]', { rd: 2, rn: 1 })]);
  p.set(1, WINDOW + 0x20_0000);
  p.probe('level 2', EL1, [instruction('ldr wd, [rn, imm]', { rd: 2, rn: 1 })]);
  p.set(1, 0x1_0000_0000n);
  p.probe('above the address space', EL1, [instruction('ldr wd, [rn, imm]', { rd: 2, rn: 1 })]);
  // Stage 1 on: its second GiB is as it is, the third one by a table that is not there, the fourth one is not there.
  p.write('TTBR0_EL1', stage1);
  p.write('TCR_EL1', 32n | (1n << 23n) | (2n << 32n));
  p.write('SCTLR_EL1', 0x30d0_0801);
  sys(4, 8, 7, 6);
  p.put('isb imm', { imm: 15 });
  p.set(1, WINDOW + 0x123_4568);
  p.probe('a table of stage 1', EL1, [instruction('ldr xd, [rn, imm]', { rd: 2, rn: 1 })]);
  p.probe('a table of stage 1, store', EL1, [instruction('str xd, [rn, imm]', { rd: 2, rn: 1 })]);
  p.set(1, 0xc000_0008);
  p.probe('stage 1 is there, stage 2 is not', EL1, [instruction('ldr xd, [rn, imm]', { rd: 2, rn: 1 })]);
  p.set(1, 0x10_0000);
  p.probe('stage 1 is not there', EL1, [instruction('ldr xd, [rn, imm]', { rd: 2, rn: 1 })]);
  // Other granules: RAM by one block, what lies above it by none.
  p.write('SCTLR_EL1', 0x30d0_0800);
  for (const [label, control, table, values] of [
    ['16 KiB', 32 | (1 << 6) | (2 << 14) | (2 << 16), DATA + 0x10_0000, 128],
    ['64 KiB', 32 | (1 << 6) | (1 << 14) | (2 << 16), DATA + 0x20_0000, 8],
  ] as const) {
    const blocks = Array.from({ length: values }, (_, n) => {
      const at = BigInt(n) << (values === 128 ? 25n : 29n);
      return at >> 30n === 1n ? at | s2.BLOCK | FULL : 0n;
    });
    numbers.push({ at: table, values: blocks });
    p.write('VTTBR_EL2', table);
    p.write('VTCR_EL2', control);
    p.word(sys(4, 8, 7, 6));
    p.put('isb imm', { imm: 15 });
    p.set(1, DATA);
    p.probe(`${label}, load`, EL1, [instruction('ldr xd, [rn, imm]', { rd: 0, rn: 1 })]);
    p.set(1, WINDOW + 0x1238);
    p.probe(`${label}, fault`, EL1, [instruction('ldr xd, [rn, imm]', { rd: 0, rn: 1 })]);
  }
  end(p);
  compare(p, numbers, ',virtualization=on', 'max', 'max,has_el2=on');
});

test("a host's kernel at EL2: names of registers, system calls, timers", { skip }, () => {
  const p = new Probes(2);
  p.write('HCR_EL2', hcr.RW | hcr.E2H | hcr.TGE | hcr.API | hcr.APK);
  p.put('isb imm', { imm: 15 });
  const raw = (op1: number, crn: number, crm: number, op2: number) => codeOf(3, op1, crn, crm, op2);
  const el12 = [
    [1, 0, 0],
    [1, 0, 2],
    [2, 0, 0],
    [2, 0, 1],
    [2, 0, 2],
    [4, 0, 0],
    [4, 0, 1],
    [5, 1, 0],
    [5, 2, 0],
    [6, 0, 0],
    [10, 2, 0],
    [12, 0, 0],
    [13, 0, 1],
    [14, 1, 0],
  ] as const;
  const record = (label: string, code: number) => {
    p.word(mrs(SCRATCH, code));
    for (let n = 0; n < RECORD; n++) p.next('str', n === 0 ? SCRATCH : 31, OUTPUT);
    p.names.push(label);
  };
  // Values that all of them take: by EL12's names, then by EL1's and so to EL2's, seen by both.
  for (const [crn, crm, op2] of el12) {
    // SCTLR and VBAR of EL2 are in use; AFSR0 is 0 in QEMU; CPACR and CNTKCTL have few bits.
    if (crn === 12 || (crn === 1 && op2 === 0) || (crn === 5 && crm === 1)) continue;
    const narrow = crn === 14 ? 0x3ff : op2 === 2 && crn === 1 ? 3 << 20 : 0xffff_ff00;
    p.set(SCRATCH, ((0x30_0000 + 0x100 * crn) & narrow) >>> 0);
    p.word(msr(raw(5, crn, crm, op2), SCRATCH));
    p.set(SCRATCH, ((0x30_0000 + 0x300) & narrow) >>> 0);
    if (crn !== 4 && crn !== 2) p.word(msr(raw(0, crn, crm, op2), SCRATCH));
    record(`EL12 ${crn} ${crm} ${op2}`, raw(5, crn, crm, op2));
    if (crn !== 4) record(`EL1 ${crn} ${crm} ${op2}`, raw(0, crn, crm, op2));
  }
  p.write('CNTVOFF_EL2', 0x1000);
  for (const [crm, op2, value] of [
    [2, 2, 0x1234_5678],
    [3, 2, 0x8765_4321],
  ]) {
    p.set(SCRATCH, value);
    p.word(msr(raw(3, 14, crm, op2), SCRATCH));
    p.set(SCRATCH, value + 1);
    p.word(msr(raw(5, 14, crm, op2), SCRATCH));
    record(`timer ${crm}`, raw(3, 14, crm, op2));
    record(`EL1's timer ${crm}`, raw(5, 14, crm, op2));
    record(`EL2's timer ${crm}`, raw(4, 14, crm, op2));
  }
  p.write('SCTLR_EL2', 0x30d0_0800n | (1n << 26n));
  const el0 = EL0;
  p.probe('SVC of a host', el0, [svc]);
  p.probe('undefined in a host', el0, [undefinedWord]);
  p.probe("a host's UCT", el0, [mrs(8, name.CTR)]);
  p.probe('ERET to EL1', EL1, []);
  p.word(msr(raw(0, 1, 0, 2), 31));
  p.probe("a host's CPACR", el0, [float]);
  p.set(SCRATCH, 1 << 20);
  p.word(msr(raw(0, 1, 0, 2), SCRATCH));
  p.probe("a host's CPACR for EL0", el0, [float]);
  p.write('HCR_EL2', hcr.RW | hcr.E2H | hcr.API | hcr.APK);
  p.write('CPTR_EL2', 3 << 20);
  p.probe('a guest of a host', EL1, [mrs(0, codeOf(3, 0, 4, 2, 2))]);
  end(p);
  compare(p, [], ',virtualization=on', 'max', 'max,has_el2=on');
});

test('EL3: secure monitor calls, routing, and EL2 that secure state has not', { skip }, () => {
  const p = new Probes(3);
  const base = scr.RW | scr.NS | scr.HCE | scr.API | scr.APK;
  p.note('CurrentEL', 'CurrentEL');
  p.write('HCR_EL2', hcr.RW | hcr.API | hcr.APK);
  p.write('VBAR_EL2', LOWER_VECTORS);
  p.write('CPTR_EL3', 0);
  p.write('CPTR_EL2', 0x33ff);
  p.write('SCTLR_EL1', 0x30d0_0800n | (1n << 31n));
  p.set(20, DATA);
  const smc = instruction('smc imm', { imm: 0x6666 });
  const with_ = (label: string, bits: bigint, mode: number, ...words: number[]) => {
    p.write('SCR_EL3', base ^ bits);
    p.put('isb imm', { imm: 15 });
    p.probe(label, mode, words, smc);
  };
  with_('SMC at EL1', 0n, EL1);
  with_('SMC at EL2', 0n, EL2);
  with_('HVC at EL1', 0n, EL1, instruction('hvc imm', { imm: 3 }));
  with_('HVC without HCE', scr.HCE, EL1, instruction('hvc imm', { imm: 3 }));
  with_('secure EL1', scr.NS, EL1, mrs(0, codeOf(3, 0, 4, 2, 2)));
  with_('EL2 of secure state', scr.NS, EL2);
  with_('TWI', scr.TWI, EL1, wfi);
  with_('APK', scr.APK, EL2, mrs(2, name.APIALO));
  with_('API', scr.API, EL1, pacia);
  with_('EL3 register at EL2', 0n, EL2, mrs(2, codeOf(3, 6, 1, 1, 0)));
  p.write('SCR_EL3', base);
  p.write('CPTR_EL3', 1 << 10);
  p.probe('TFP', EL1, [float], smc);
  p.write('CPTR_EL3', 1n << 31n);
  p.probe('TCPAC', EL1, [mrs(4, name.CPACR)], smc);
  p.write('CPTR_EL3', 0);
  end(p);
  compare(p, [], ',virtualization=on,secure=on', 'max', 'max,has_el2=on,has_el3=on');
});
