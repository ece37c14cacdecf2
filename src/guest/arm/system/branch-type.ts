/**
 * Branch target identification (FEAT_BTI, D8.4): PSTATE.BTYPE, by which an indirect branch to a guarded page must find a landing there.
 *
 * BTYPE is not 0 between an indirect branch and the instruction it leads to. So the branch leaves its target plus BTYPE in
 * `field.branched`, and BTYPE is what that is ahead of the pc: nobody else need do anything, and code that is not on a guarded page never
 * looks. What is taken for BTYPE where the same address is reached by other means later does no harm: the address was a landing for it,
 * which on a guarded page forgets it.
 */
import type { BlockBuilder, I32, I64, RoutineBuilder } from '../../../ir/index.js';
import type { Translator } from '../row.js';
import { field, trapCode } from '../state.js';

/** Values of BTYPE. `anywhere`: BR from a guarded page by another register than X16 and X17. */
const branchType = { jump: 1, call: 2, anywhere: 3 } as const;

/** BR or BLR, or their like, by register `rn` is about to go to an address. */
export function noteBranch({ b, mode, model }: Translator, target: I64, isCall: boolean, rn: number): void {
  if (!model.features.has('bti')) return;
  const byVeneer = !mode.guarded || rn === 16 || rn === 17;
  const type = isCall ? branchType.call : byVeneer ? branchType.jump : branchType.anywhere;
  b.i64_store(b.state(), b.i64_add(target, b.i64(type)), field.branched);
}

/** PSTATE.BTYPE at an address. */
export function branchTypeAt(r: RoutineBuilder, pc: I64): I32 {
  const ahead = r.i64_sub(r.i64_load(r.state(), field.branched), pc);
  return r.select(r.i64_le_u(ahead, r.i64(3)), r.i32_wrap_i64(ahead), r.i32(0));
}

const HINT = 0xd503201f | 0;
const hint = { PACIASP: 0x19, PACIBSP: 0x1b, BTI_C: 0x22, BTI_J: 0x24, BTI_JC: 0x26 } as const;
const BRK = 0xd4200000 | 0;
const HLT = 0xd4400000 | 0;

/** The BTYPE for which an instruction is no landing: all, none, or one; `strict`: the latter if SCTLR says so. */
function refused(word: number): 'all' | 'none' | 'strict' | number {
  const opcode = word & 0xffe0001f;
  if (opcode === BRK || opcode === HLT) return 'none';
  if ((word & 0xfffff01f) !== HINT) return 'all';
  switch ((word >>> 5) & 127) {
    case hint.PACIASP:
    case hint.PACIBSP:
      return 'strict';
    case hint.BTI_C:
      return branchType.anywhere;
    case hint.BTI_J:
      return branchType.call;
    case hint.BTI_JC:
      return 'none';
    default:
      return 'all';
  }
}

/** A block on a guarded page begins: an exception, unless its first instruction is a landing. `pcPlus`: its address plus a distance. */
export function land(b: BlockBuilder, word: number, pcPlus: (distance: number) => I64): void {
  const which = refused(word);
  const branched = () => b.i64_load(b.state(), field.branched);
  if (which === 'all') {
    b.trap_if(b.i64_lt_u(b.i64_sub(branched(), pcPlus(1)), b.i64(3)), trapCode.branchTarget);
    return;
  }
  if (which === 'strict') {
    const isStrict = b.i32_load(b.state(), field.strictLanding);
    b.trap_if(b.i32_and(isStrict, b.i64_eq(branched(), pcPlus(branchType.anywhere))), trapCode.branchTarget);
  } else if (which !== 'none') b.trap_if(b.i64_eq(branched(), pcPlus(which)), trapCode.branchTarget);
  // BRK's exception shows it.
  if ((word & HINT) === HINT) b.i64_store(b.state(), b.i64(0), field.branched);
}
