/** Which exception level exceptions, calls and traps go to, and what their syndromes say of the instruction (D1.3, D19.2.37). */
import { abort, exceptionClass, field, hcr, ofLevel, scr, syndromeOf } from '../state.js';
import type { Core } from './core.js';

const TFP = 1 << 10;
const fpen = (control: number): number => (control >>> 20) & 3;

/** Floating point is trapped by CPACR_EL1, CPTR_EL2 (which has FPEN for a host) or CPTR_EL3, in this order. */
function floatTarget(core: Core): number {
  const { el } = core;
  const enabled = fpen(core.get32(field.cpacr));
  if (el < 2 && !(el === 0 && core.inHost) && enabled !== 3 && (el === 0 || enabled !== 1))
    return core.synchronousTarget;
  if (el <= 2 && core.el2Enabled) {
    const control = core.get32(ofLevel(field.cpacr, 2));
    const isHost = (core.get64(field.hcr) & hcr.E2H) !== 0n;
    const ofUser = el === 0 && core.inHost && fpen(control) === 1;
    if (isHost ? (fpen(control) & 1) === 0 || ofUser : (control & TFP) !== 0) return 2;
  }
  return core.hasEl3 ? 3 : core.synchronousTarget;
}

/** Debug exceptions and breakpoint instructions. */
const TDE = 1 << 8;

/** The exception level that a synchronous exception goes to. */
export function exceptionTarget(core: Core, code: number): number {
  switch (code) {
    case exceptionClass.floatingPoint:
      return floatTarget(core);
    case exceptionClass.pointerAuthentication:
      return core.el < 2 && core.el2Enabled && !core.hcr(hcr.API) ? 2 : 3;
    case exceptionClass.breakpoint:
    case exceptionClass.softwareStep:
    case exceptionClass.watchpoint:
    case exceptionClass.brk:
      return core.el < 2 && core.el2Enabled && core.get32(field.mdcr2) & TDE ? 2 : core.synchronousTarget;
    default:
      return core.synchronousTarget;
  }
}

/** The exception level that WFI or WFE of the current one is trapped to; 0: none. */
export function waitTarget(core: Core, isEvent: boolean): number {
  const { el } = core;
  if (el < 2 && core.el2Enabled && !(el === 0 && core.inHost) && core.hcr(isEvent ? hcr.TWE : hcr.TWI)) return 2;
  return el < 3 && core.hasEl3 && core.scr(isEvent ? scr.TWE : scr.TWI) ? 3 : 0;
}

const unknown = (core: Core): number => core.raise(syndromeOf(exceptionClass.unknown));

/** HVC: the board's firmware answers, or EL2 does. Gives 1 for an exception. */
export function callHypervisor(core: Core, number: number): number {
  if (core.board.firmwareCall(core, 'hvc', number)) return 0;
  if (!core.hasEl2 || (core.el < 3 && !core.el2Enabled)) return unknown(core);
  const isDenied = core.hasEl3 ? !core.scr(scr.HCE) : (core.get64(field.hcr) & hcr.HCD) !== 0n;
  if (isDenied) return unknown(core);
  return core.trapTo(Math.max(2, core.el), syndromeOf(exceptionClass.hvc, number), true);
}

/** SMC: a hypervisor traps it; the board's firmware answers, or EL3 does. Gives 1 for an exception. */
export function callMonitor(core: Core, number: number): number {
  const syndrome = syndromeOf(exceptionClass.smc, number);
  if (core.el === 1 && core.hcr(hcr.TSC)) return core.trapTo(2, syndrome);
  if (core.board.firmwareCall(core, 'smc', number)) return 0;
  if (!core.hasEl3 || core.scr(scr.SMD)) return unknown(core);
  return core.trapTo(3, syndrome, true);
}

/** What a stage 2 abort's syndrome says of a load or store of one general register (ISV and what follows); 0: nothing. */
const iss = { ISV: 1 << 24, SAS: 22, SSE: 1 << 21, SRT: 16, SF: 1 << 15, AR: 1 << 14 } as const;
export function accessSyndrome(core: Core, syndrome: number): number {
  if (syndrome & abort.S1PTW) return 0;
  const word = instructionAt(core);
  if (word === undefined) return 0;
  const size = word >>> 30;
  const rt = (word & 31) << iss.SRT;
  const described = (bytes: number, isSigned: boolean, isWide: boolean, ordered = false): number =>
    iss.ISV | (bytes << iss.SAS) | (isSigned ? iss.SSE : 0) | rt | (isWide ? iss.SF : 0) | (ordered ? iss.AR : 0);
  const isRegister =
    (word & 0x3f000000) === 0x39000000 ||
    ((word & 0x3f200000) === 0x38000000 && (word & 0x400) === 0) ||
    (word & 0x3f200c00) === 0x38200800;
  if (isRegister) {
    const opc = (word >>> 22) & 3;
    if (size === 3 && opc === 2) return 0;
    return described(size, opc >= 2, opc === 2 || (opc < 2 && size === 3));
  }
  // LDAR, STLR and their like; LDAPR.
  if ((word & 0x3fa08000) === 0x08808000 || (word & 0x3fe0fc00) === 0x38a0c000)
    return described(size, false, size === 3, true);
  // By the pc.
  if ((word & 0x3f000000) === 0x18000000 && size < 3) return described(size === 1 ? 3 : 2, size === 2, size !== 0);
  return 0;
}

/** The instruction at the pc, through both stages; nothing is recorded of the walk. */
function instructionAt(core: Core): number | undefined {
  const kept32 = [field.syndrome, field.trapTo].map((at) => [at, core.get32(at)] as const);
  const kept64 = [field.faultAddress, field.faultIpa].map((at) => [at, core.get64(at)] as const);
  const context = core.el === 0 ? 0 : 1;
  const walked = core.call('walk_regime', BigInt.asIntN(64, core.pc), 2, context, core.get32(field.regime));
  core.clearTrap();
  for (const [at, value] of kept32) core.set32(at, value);
  for (const [at, value] of kept64) core.set64(at, value);
  const [failed, gpa] = walked as [number, bigint, number];
  return failed ? undefined : (core.call('phys_load32', gpa) as number) | 0;
}
