/** What a row of the table of system registers says, and how rows are made. */
import type { I64 } from '../../../ir/index.js';
import type { Feature } from '../features.js';
import type { ArmModel } from '../models.js';
import type { Translator } from '../row.js';
import type { Core } from './core.js';

export interface SystemRegister {
  readonly name: string;
  /** op0, op1, CRn, CRm, op2 in the order that an instruction has them (16 bits). */
  readonly code: number;
  /** In the state; the bits that can be written; the bits that are always one. */
  readonly home?: number;
  readonly writable?: bigint;
  /** The home has 32 bits. */
  readonly narrow?: true;
  readonly constant?: bigint;
  /** A constant of the CPU's model. */
  readonly identify?: (model: ArmModel) => bigint;
  /** The extension that it is part of. */
  readonly feature?: Feature;
  readonly alsoNeeds?: Feature;
  /** What translated code does itself, at EL1 (at EL0 too where there is no `read` and `write`). */
  readonly load?: (t: Translator) => I64;
  readonly store?: (t: Translator, value: I64) => void;
  readonly read?: (core: Core) => bigint;
  readonly write?: (core: Core, value: bigint) => void;
  /** EL0 may use it but for this. */
  readonly trapped?: (core: Core, access: 'read' | 'write') => boolean;
  /** EL0 may read what only EL1 writes. */
  readonly userReadOnly?: true;
  /** A field of the state that EL1 reads in its place where there is EL2. */
  readonly virtual?: number;
  /** Trapped as floating point is. */
  readonly float?: true;
  /** Whether the board has it; undefined: it does. */
  readonly present?: (core: Core) => boolean;
  /** Reading it does something: it is not shown. */
  readonly consuming?: true;
  /** Interrupts, the mode key or what the clock shows may have changed by a write: the block ends. */
  readonly ends?: true;
}

export const codeOf = (op0: number, op1: number, crn: number, crm: number, op2: number): number =>
  (op0 << 14) | (op1 << 11) | (crn << 7) | (crm << 3) | op2;
export const parse = (code: string): number => {
  const [op0, op1, crn, crm, op2] = code.split(' ').map(Number);
  return codeOf(op0, op1, crn, crm, op2);
};
/** The lowest exception level that has the register. */
export const levelOf = (code: number): number => {
  const op1 = (code >> 11) & 7;
  return op1 === 3 ? 0 : op1 === 4 || op1 === 5 ? 2 : op1 === 6 ? 3 : 1;
};

export const ALL = (1n << 64n) - 1n;
export const WORD = 0xffffffffn;

export const plain = (name: string, code: string, home: number, writable = ALL): SystemRegister => ({
  name,
  code: parse(code),
  home,
  writable,
});
export const constant = (name: string, code: string, value: bigint): SystemRegister => ({
  name,
  code: parse(code),
  constant: value,
});
export const active = (
  name: string,
  code: string,
  read: ((core: Core) => bigint) | undefined,
  write?: (core: Core, value: bigint) => void,
  more: Partial<SystemRegister> = {},
): SystemRegister => ({ name, code: parse(code), ...(read && { read }), ...(write && { write }), ends: true, ...more });

/** A register that translated code reads from the state. */
export const loadHome =
  (home: number) =>
  ({ b }: Translator): I64 =>
    b.i64_load(b.state(), home);

/** A field of the state that something else must learn of when it is written. */
export const watched = (
  name: string,
  code: string,
  home: number,
  writableOf: (model: ArmModel) => bigint,
  changed: (core: Core, old: bigint, value: bigint) => void,
  more: Partial<SystemRegister> = {},
): SystemRegister =>
  active(
    name,
    code,
    (core) => core.get64(home),
    (core, value) => {
      const old = core.get64(home);
      const writable = writableOf(core.model);
      const next = (old & ~writable) | (value & writable);
      core.set64(home, next);
      changed(core, old, next);
    },
    { load: loadHome(home), ...more },
  );
