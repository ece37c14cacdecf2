/** RV64I (unprivileged specification ch. 2 and 4) and Zifencei (ch. 6). */
import { type I32, type I64, jumpKind } from '../../../ir/index.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { cause, leaveReason, privilege } from '../state.js';
import { userCall } from '../system/fast-paths.js';
import { loadValue, storeValue, word } from './shared.js';

type Binary = (t: Translator, a: I64, b: I64) => I64;
type Relation = (t: Translator, a: I64, b: I64) => I32;

const add: Binary = ({ b }, x, y) => b.i64_add(x, y);
const sub: Binary = ({ b }, x, y) => b.i64_sub(x, y);
const and: Binary = ({ b }, x, y) => b.i64_and(x, y);
const or: Binary = ({ b }, x, y) => b.i64_or(x, y);
const xor: Binary = ({ b }, x, y) => b.i64_xor(x, y);
const sll: Binary = ({ b }, x, y) => b.i64_shl(x, y);
const srl: Binary = ({ b }, x, y) => b.i64_shr_u(x, y);
const sra: Binary = ({ b }, x, y) => b.i64_shr_s(x, y);
const slt: Binary = ({ b }, x, y) => b.i64_extend_i32_u(b.i64_lt_s(x, y));
const sltu: Binary = ({ b }, x, y) => b.i64_extend_i32_u(b.i64_lt_u(x, y));
const addw: Binary = ({ b }, x, y) => b.i64_extend32_s(b.i64_add(x, y));
const subw: Binary = ({ b }, x, y) => b.i64_extend32_s(b.i64_sub(x, y));
const sllw: Binary = (t, x, y) => word(t, x, t.b.i32_wrap_i64(y), t.b.i32_shl);
const srlw: Binary = (t, x, y) => word(t, x, t.b.i32_wrap_i64(y), t.b.i32_shr_u);
const sraw: Binary = (t, x, y) => word(t, x, t.b.i32_wrap_i64(y), t.b.i32_shr_s);

const eq: Relation = ({ b }, x, y) => b.i64_eq(x, y);
const ne: Relation = ({ b }, x, y) => b.i64_ne(x, y);
const lt: Relation = ({ b }, x, y) => b.i64_lt_s(x, y);
const ge: Relation = ({ b }, x, y) => b.i64_ge_s(x, y);
const ltu: Relation = ({ b }, x, y) => b.i64_lt_u(x, y);
const geu: Relation = ({ b }, x, y) => b.i64_ge_u(x, y);

/** Operations that compressed instructions have too. */
export const operations = { add, sub, and, or, xor, sll, srl, sra, addw, subw } as const;
export const relations = { eq, ne } as const;

const register = (name: string, code: string, operation: Binary): InsnRow => {
  const [funct7, funct3, opcode] = code.split(' ');
  return {
    name,
    enc: `${funct7} rs2 rs1 ${funct3} rd ${opcode}`,
    args: 'rd, rs1, rs2',
    translate: (t, i) => t.setX(i.rd, operation(t, t.x(i.rs1), t.x(i.rs2))),
  };
};

export const immediate =
  (operation: Binary) =>
  (t: Translator, i: Fields): void =>
    t.setX(i.rd, operation(t, t.x(i.rs1), t.b.i64(i.imm)));

const withImmediate = (name: string, enc: string, operation: Binary): InsnRow => ({
  name,
  enc,
  args: 'rd, rs1, imm',
  translate: immediate(operation),
});

export const branchOn =
  (relation: Relation) =>
  (t: Translator, i: Fields): void =>
    t.branch(relation(t, t.x(i.rs1), t.x(i.rs2)), i.imm);

const shiftWord = (name: string, enc: string, operation: 'i32_shl' | 'i32_shr_u' | 'i32_shr_s'): InsnRow => ({
  name,
  enc,
  args: 'rd, rs1, imm',
  translate: (t, i) => t.setX(i.rd, word(t, t.x(i.rs1), t.b.i32(i.imm), t.b[operation])),
});

const branch = (name: string, funct3: string, relation: Relation): InsnRow => ({
  name,
  enc: `imm[12|10:5] rs2 rs1 ${funct3} imm[4:1|11] 1100011`,
  args: 'rs1, rs2, target',
  translate: branchOn(relation),
});

const load = (name: string, funct3: string, bytes: 1 | 2 | 4 | 8, signed: boolean): InsnRow => ({
  name,
  enc: `imm[11:0] rs1 ${funct3} rd 0000011`,
  args: 'rd, mem',
  bytes,
  translate: (t, i) => t.setX(i.rd, loadValue(t, t.address(i.rs1, i.imm), bytes, signed)),
});

const store = (name: string, funct3: string, bytes: 1 | 2 | 4 | 8): InsnRow => ({
  name,
  enc: `imm[11:5] rs2 rs1 ${funct3} imm[4:0] 0100011`,
  args: 'rs2, mem',
  bytes,
  translate: (t, i) => storeValue(t, t.address(i.rs1, i.imm), bytes, t.x(i.rs2)),
});

/** ADDI and its compressed forms. */
export function addImmediate(t: Translator, rd: number, rs1: number, imm: number): void {
  const distance = t.near(rs1, imm);
  if (distance !== undefined) t.setNear(rd, distance);
  else t.setX(rd, t.address(rs1, imm));
}

/** JALR and its compressed forms. The jump is a return when it goes by ra and links nothing. */
export function jumpRegister(t: Translator, rd: number, rs1: number, displacement: number): void {
  const isCall = rd === 1;
  const distance = t.near(rs1, displacement);
  // AUIPC and JALR together are one jump to a known place.
  if (distance !== undefined && distance % 2 === 0) {
    t.setX(rd, t.pcPlus(t.length));
    t.goto(distance, isCall);
    return;
  }
  const target = t.b.i64_and(t.address(rs1, displacement), t.b.i64(-2));
  t.setX(rd, t.pcPlus(t.length));
  t.jump(target, isCall ? jumpKind.call : rd === 0 && rs1 === 1 ? jumpKind.return : jumpKind.indirect);
}

export const ecallCause = (t: Translator): number =>
  [cause.ecallU, cause.ecallS, 0, cause.ecallM][t.mode.privilege] ?? privilege.M;

export const integerRows: readonly InsnRow[] = [
  {
    name: 'lui',
    enc: 'imm[31:12] rd 0110111',
    args: 'rd, imm20',
    translate: (t, i) => t.setX(i.rd, t.b.i64(i.imm)),
  },
  {
    name: 'auipc',
    enc: 'imm[31:12] rd 0010111',
    args: 'rd, imm20',
    translate: (t, i) => t.setNear(i.rd, i.imm),
  },
  {
    name: 'jal',
    enc: 'imm[20|10:1|11|19:12] rd 1101111',
    args: 'rd, target',
    translate: (t, i) => {
      t.setX(i.rd, t.pcPlus(t.length));
      t.goto(i.imm, i.rd === 1);
    },
  },
  {
    name: 'jalr',
    enc: 'imm[11:0] rs1 000 rd 1100111',
    args: 'rd, mem',
    translate: (t, i) => jumpRegister(t, i.rd, i.rs1, i.imm),
  },
  branch('beq', '000', eq),
  branch('bne', '001', ne),
  branch('blt', '100', lt),
  branch('bge', '101', ge),
  branch('bltu', '110', ltu),
  branch('bgeu', '111', geu),
  load('lb', '000', 1, true),
  load('lh', '001', 2, true),
  load('lw', '010', 4, true),
  load('ld', '011', 8, true),
  load('lbu', '100', 1, false),
  load('lhu', '101', 2, false),
  load('lwu', '110', 4, false),
  store('sb', '000', 1),
  store('sh', '001', 2),
  store('sw', '010', 4),
  store('sd', '011', 8),
  {
    name: 'addi',
    enc: 'imm[11:0] rs1 000 rd 0010011',
    args: 'rd, rs1, imm',
    translate: (t, i) => addImmediate(t, i.rd, i.rs1, i.imm),
  },
  withImmediate('slti', 'imm[11:0] rs1 010 rd 0010011', slt),
  withImmediate('sltiu', 'imm[11:0] rs1 011 rd 0010011', sltu),
  withImmediate('xori', 'imm[11:0] rs1 100 rd 0010011', xor),
  withImmediate('ori', 'imm[11:0] rs1 110 rd 0010011', or),
  withImmediate('andi', 'imm[11:0] rs1 111 rd 0010011', and),
  withImmediate('slli', '000000 shamt[5:0] rs1 001 rd 0010011', sll),
  withImmediate('srli', '000000 shamt[5:0] rs1 101 rd 0010011', srl),
  withImmediate('srai', '010000 shamt[5:0] rs1 101 rd 0010011', sra),
  withImmediate('addiw', 'imm[11:0] rs1 000 rd 0011011', addw),
  shiftWord('slliw', '0000000 shamt[4:0] rs1 001 rd 0011011', 'i32_shl'),
  shiftWord('srliw', '0000000 shamt[4:0] rs1 101 rd 0011011', 'i32_shr_u'),
  shiftWord('sraiw', '0100000 shamt[4:0] rs1 101 rd 0011011', 'i32_shr_s'),
  register('add', '0000000 000 0110011', add),
  register('sub', '0100000 000 0110011', sub),
  register('sll', '0000000 001 0110011', sll),
  register('slt', '0000000 010 0110011', slt),
  register('sltu', '0000000 011 0110011', sltu),
  register('xor', '0000000 100 0110011', xor),
  register('srl', '0000000 101 0110011', srl),
  register('sra', '0100000 101 0110011', sra),
  register('or', '0000000 110 0110011', or),
  register('and', '0000000 111 0110011', and),
  register('addw', '0000000 000 0111011', addw),
  register('subw', '0100000 000 0111011', subw),
  register('sllw', '0000000 001 0111011', sllw),
  register('srlw', '0000000 101 0111011', srlw),
  register('sraw', '0100000 101 0111011', sraw),
  {
    // Unused bits are for finer fences to come and are ignored. One hart's accesses are in order.
    name: 'fence',
    enc: 'uimm[11:0] rs1 000 rd 0001111',
    args: '',
    translate: ({ b }) => b.fence(),
  },
  {
    // Zihintpause: a FENCE that orders nothing. Where harts take turns it ends one.
    name: 'pause',
    enc: '00000001000000000000000000001111',
    args: '',
    translate: (t) => {
      if (t.mode.shared) t.leave(leaveReason.pause);
    },
  },
  {
    // Stores to code drop its translation at once; what follows is looked up again.
    name: 'fence.i',
    enc: 'uimm[11:0] rs1 001 rd 0001111',
    args: '',
    translate: (t) => t.endBlock(),
  },
  {
    name: 'ecall',
    enc: '00000000000000000000000001110011',
    args: '',
    translate: (t) => {
      if (t.mode.privilege !== privilege.U) {
        t.trap(ecallCause(t));
        return;
      }
      t.b.call(userCall, t.pcPlus(0));
      t.resume();
    },
  },
  {
    name: 'ebreak',
    enc: '00000000000100000000000001110011',
    args: '',
    translate: (t) => t.trap(cause.breakpoint),
  },
];
