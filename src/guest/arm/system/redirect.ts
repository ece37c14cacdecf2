/**
 * Names of registers at EL2 of a host (HCR_EL2.E2H, D8.11): EL1's are those of EL2, and EL1's own have names in EL12 and EL02.
 */
import { codeOf } from './register-row.js';

/** Op1 of a register's code. */
const OP1 = 7 << 11;
const opcode = (code: number): number => (code & OP1) >> 11;
const withOp1 = (code: number, op1: number): number => (code & ~OP1) | (op1 << 11);

/** EL1's registers by CRn, CRm and op2, with op1 0: at EL2 it is 4. */
const ofEl1 = [
  [1, 0, 0],
  [2, 0, 0],
  [2, 0, 1],
  [2, 0, 2],
  [4, 0, 0],
  [4, 0, 1],
  [5, 1, 0],
  [5, 1, 1],
  [5, 2, 0],
  [6, 0, 0],
  [10, 2, 0],
  [10, 3, 0],
  [12, 0, 0],
  [13, 0, 1],
  [14, 1, 0],
].map(([crn, crm, op2]) => codeOf(3, 0, crn, crm, op2));
const CPACR_EL1 = codeOf(3, 0, 1, 0, 2);
/** Timers: those of EL0's names, which are EL2's; CRm 2 is the physical one, 3 the virtual one. */
const timers = [2, 3].flatMap((crm) => [0, 1, 2].map((op2) => codeOf(3, 3, 14, crm, op2)));

const redirects = new Map<number, number>([
  ...ofEl1.map((code): [number, number] => [code, withOp1(code, 4)]),
  [CPACR_EL1, codeOf(3, 4, 1, 1, 2)],
  ...timers.map((code): [number, number] => [code, withOp1(code, 4)]),
  ...[...ofEl1, CPACR_EL1].map((code): [number, number] => [withOp1(code, 5), code]),
  ...timers.map((code): [number, number] => [withOp1(code, 5), code]),
]);

/** The register that a code names at EL2 of a host. */
export const redirected = (code: number): number => redirects.get(code) ?? code;
/** It is one that only a host has a name for. */
export const isAlias = (code: number): boolean => opcode(code) === 5;
