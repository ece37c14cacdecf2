/** C: compressed instructions of RV64 (unprivileged specification ch. 27). Each does what the instruction it stands for does. */
import type { Fields, InsnRow, Translator } from '../row.js';
import { cause } from '../state.js';
import { addImmediate, branchOn, immediate, jumpRegister, operations, relations } from './integer.js';
import { type Bytes, loadValue, storeValue } from './shared.js';

const { add, sub, and, or, xor, sll, srl, sra, addw, subw } = operations;
const RA = 1;
const SP = 2;

type Access = (t: Translator, i: Fields, bytes: Bytes) => void;
const load: Access = (t, i, bytes) => t.setX(i.rd, loadValue(t, t.address(i.rs1, i.imm), bytes, true));
const store: Access = (t, i, bytes) => storeValue(t, t.address(i.rs1, i.imm), bytes, t.x(i.rs2));
const loadFloat: Access = (t, i) => t.setF(i.rd, loadValue(t, t.address(i.rs1, i.imm), 8, true));
const storeFloat: Access = (t, i) => storeValue(t, t.address(i.rs1, i.imm), 8, t.f(i.rs2));

const onStack =
  (access: Access, bytes: Bytes) =>
  (t: Translator, i: Fields): void =>
    access(t, { ...i, rs1: SP }, bytes);
const inMemory =
  (access: Access, bytes: Bytes) =>
  (t: Translator, i: Fields): void =>
    access(t, i, bytes);

/** The destination is the first source. */
const update =
  (operation: (typeof operations)[keyof typeof operations]) =>
  (t: Translator, i: Fields): void =>
    t.setX(i.rd, operation(t, t.x(i.rd), t.x(i.rs2)));
const updateImmediate = (operation: (typeof operations)[keyof typeof operations]) => {
  const three = immediate(operation);
  return (t: Translator, i: Fields): void => three(t, { ...i, rs1: i.rd });
};

const hasRd = (i: Fields): boolean => i.rd !== 0;

export const compressedRows: readonly InsnRow[] = [
  {
    name: 'c.addi4spn',
    enc: "000 nzuimm[5:4|9:6|2|3] rd' 00",
    args: 'rd, sp, imm',
    translate: (t, i) => t.setX(i.rd, t.address(SP, i.imm)),
  },
  {
    name: 'c.fld',
    enc: "001 uimm[5:3] rs1' uimm[7:6] rd' 00",
    args: 'fd, mem',
    float: true,
    bytes: 8,
    translate: inMemory(loadFloat, 8),
  },
  {
    name: 'c.lw',
    enc: "010 uimm[5:3] rs1' uimm[2|6] rd' 00",
    args: 'rd, mem',
    bytes: 4,
    translate: inMemory(load, 4),
  },
  {
    name: 'c.ld',
    enc: "011 uimm[5:3] rs1' uimm[7:6] rd' 00",
    args: 'rd, mem',
    bytes: 8,
    translate: inMemory(load, 8),
  },
  {
    name: 'c.fsd',
    enc: "101 uimm[5:3] rs1' uimm[7:6] rs2' 00",
    args: 'fs2, mem',
    float: true,
    bytes: 8,
    translate: inMemory(storeFloat, 8),
  },
  {
    name: 'c.sw',
    enc: "110 uimm[5:3] rs1' uimm[2|6] rs2' 00",
    args: 'rs2, mem',
    bytes: 4,
    translate: inMemory(store, 4),
  },
  {
    name: 'c.sd',
    enc: "111 uimm[5:3] rs1' uimm[7:6] rs2' 00",
    args: 'rs2, mem',
    bytes: 8,
    translate: inMemory(store, 8),
  },
  // c.nop and the hints are c.addi to x0 or of 0.
  {
    name: 'c.addi',
    enc: '000 imm[5] rd imm[4:0] 01',
    args: 'rd, imm',
    translate: (t, i) => addImmediate(t, i.rd, i.rd, i.imm),
  },
  {
    name: 'c.addiw',
    enc: '001 imm[5] rd imm[4:0] 01',
    args: 'rd, imm',
    where: hasRd,
    translate: updateImmediate(addw),
  },
  {
    name: 'c.li',
    enc: '010 imm[5] rd imm[4:0] 01',
    args: 'rd, imm',
    translate: (t, i) => t.setX(i.rd, t.b.i64(i.imm)),
  },
  {
    name: 'c.addi16sp',
    enc: '011 nzimm[9] 00010 nzimm[4|6|8:7|5] 01',
    args: 'sp, imm',
    translate: (t, i) => t.setX(SP, t.address(SP, i.imm)),
  },
  {
    name: 'c.lui',
    enc: '011 nzimm[17] rd nzimm[16:12] 01',
    args: 'rd, imm20',
    where: (i) => i.rd !== SP,
    translate: (t, i) => t.setX(i.rd, t.b.i64(i.imm)),
  },
  { name: 'c.srli', enc: "100 shamt[5] 00 rd' shamt[4:0] 01", args: 'rd, imm', translate: updateImmediate(srl) },
  { name: 'c.srai', enc: "100 shamt[5] 01 rd' shamt[4:0] 01", args: 'rd, imm', translate: updateImmediate(sra) },
  { name: 'c.andi', enc: "100 imm[5] 10 rd' imm[4:0] 01", args: 'rd, imm', translate: updateImmediate(and) },
  { name: 'c.sub', enc: "100 0 11 rd' 00 rs2' 01", args: 'rd, rs2', translate: update(sub) },
  { name: 'c.xor', enc: "100 0 11 rd' 01 rs2' 01", args: 'rd, rs2', translate: update(xor) },
  { name: 'c.or', enc: "100 0 11 rd' 10 rs2' 01", args: 'rd, rs2', translate: update(or) },
  { name: 'c.and', enc: "100 0 11 rd' 11 rs2' 01", args: 'rd, rs2', translate: update(and) },
  { name: 'c.subw', enc: "100 1 11 rd' 00 rs2' 01", args: 'rd, rs2', translate: update(subw) },
  { name: 'c.addw', enc: "100 1 11 rd' 01 rs2' 01", args: 'rd, rs2', translate: update(addw) },
  { name: 'c.j', enc: '101 imm[11|4|9:8|10|6|7|3:1|5] 01', args: 'target', translate: (t, i) => t.goto(i.imm) },
  {
    name: 'c.beqz',
    enc: "110 imm[8|4:3] rs1' imm[7:6|2:1|5] 01",
    args: 'rs1, target',
    translate: branchOn(relations.eq),
  },
  {
    name: 'c.bnez',
    enc: "111 imm[8|4:3] rs1' imm[7:6|2:1|5] 01",
    args: 'rs1, target',
    translate: branchOn(relations.ne),
  },
  { name: 'c.slli', enc: '000 shamt[5] rd shamt[4:0] 10', args: 'rd, imm', translate: updateImmediate(sll) },
  {
    name: 'c.fldsp',
    enc: '001 uimm[5] rd uimm[4:3|8:6] 10',
    args: 'fd, sp-mem',
    float: true,
    bytes: 8,
    translate: onStack(loadFloat, 8),
  },
  {
    name: 'c.lwsp',
    enc: '010 uimm[5] rd uimm[4:2|7:6] 10',
    args: 'rd, sp-mem',
    where: hasRd,
    bytes: 4,
    translate: onStack(load, 4),
  },
  {
    name: 'c.ldsp',
    enc: '011 uimm[5] rd uimm[4:3|8:6] 10',
    args: 'rd, sp-mem',
    where: hasRd,
    bytes: 8,
    translate: onStack(load, 8),
  },
  {
    name: 'c.jr',
    enc: '100 0 rs1 00000 10',
    args: 'rs1',
    where: (i) => i.rs1 !== 0,
    translate: (t, i) => jumpRegister(t, 0, i.rs1, 0),
  },
  {
    name: 'c.mv',
    enc: '100 0 rd rs2 10',
    args: 'rd, rs2',
    where: (i) => i.rs2 !== 0,
    translate: (t, i) => addImmediate(t, i.rd, i.rs2, 0),
  },
  { name: 'c.ebreak', enc: '100 1 00000 00000 10', args: '', translate: (t) => t.trap(cause.breakpoint) },
  {
    name: 'c.jalr',
    enc: '100 1 rs1 00000 10',
    args: 'rs1',
    where: (i) => i.rs1 !== 0,
    translate: (t, i) => jumpRegister(t, RA, i.rs1, 0),
  },
  {
    name: 'c.add',
    enc: '100 1 rd rs2 10',
    args: 'rd, rs2',
    where: (i) => i.rs2 !== 0,
    translate: update(add),
  },
  {
    name: 'c.fsdsp',
    enc: '101 uimm[5:3|8:6] rs2 10',
    args: 'fs2, sp-mem',
    float: true,
    bytes: 8,
    translate: onStack(storeFloat, 8),
  },
  {
    name: 'c.swsp',
    enc: '110 uimm[5:2|7:6] rs2 10',
    args: 'rs2, sp-mem',
    bytes: 4,
    translate: onStack(store, 4),
  },
  {
    name: 'c.sdsp',
    enc: '111 uimm[5:3|8:6] rs2 10',
    args: 'rs2, sp-mem',
    bytes: 8,
    translate: onStack(store, 8),
  },
];
