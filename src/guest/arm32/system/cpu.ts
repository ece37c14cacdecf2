/** One CPU in AArch32, a Cortex-A15: what the engine calls on exceptions, interrupts and exits, and what the board does to it. */
import { header } from '../../../ir/index.js';
import { type ArmBoard, timerNames } from '../../arm/system/core.js';
import { ArmCpu } from '../../arm/system/cpu.js';
import type { GuestTranslator } from '../../guest-cpu.js';
import { createTranslator } from '../block-translator.js';
import { type Arm32Model, defaultModel } from '../models.js';
import { armVars, cpsr, cpuMode, field, reg, STATE_BYTES, special, vreg } from '../state.js';
import { Core32 } from './core.js';
import { RESET_SCTLR, registerByCode } from './registers.js';

const NONE = (1n << 64n) - 1n;
const modeNames: Readonly<Partial<Record<number, string>>> = {
  [cpuMode.user]: 'usr',
  [cpuMode.fiq]: 'fiq',
  [cpuMode.irq]: 'irq',
  [cpuMode.supervisor]: 'svc',
  [cpuMode.abort]: 'abt',
  [cpuMode.undefined]: 'und',
  [cpuMode.system]: 'sys',
};

export class Arm32Cpu extends ArmCpu {
  override readonly architecture: string = 'arm';
  override readonly translator: GuestTranslator;

  constructor(board: ArmBoard, model: Arm32Model = defaultModel) {
    super(board, model, Core32);
    this.translator = createTranslator(model);
  }

  override get core(): Core32 {
    return super.core as Core32;
  }

  /** As after power-on: Supervisor mode with interrupts masked. `affinity`: Aff0 to Aff2 of MPIDR. */
  override reset(pc: bigint, affinity = 0): void {
    const { core } = this;
    for (const { offset, type } of armVars.vars) {
      core.set64(offset, 0n);
      if (type === 'v128') core.set64(offset + 8, 0n);
    }
    for (let at = field.pstate; at < STATE_BYTES; at += 4) core.set32(at, 0);
    core.set64(header.pcMask, 0xffffffffn);
    core.set64(header.pcBase, 0n);
    core.set32(header.interruptPending, 0);
    core.set32(header.modeKey, 0);
    core.set32(field.midr, this.model.midr | 0);
    core.set32(field.mpidr, (1 << 31) | affinity);
    core.set32(field.sctlr, RESET_SCTLR);
    core.set64(field.monitor, NONE);
    core.set32(field.modeBits, this.modeBits);
    if (core.board.exceptionTaken) core.set32(field.watched, 1);
    for (const timer of timerNames) core.board.setTimer(timer, undefined);
    core.nzcv = 0;
    core.setPstate(cpuMode.supervisor | cpsr.A | cpsr.I | cpsr.F);
    core.updateMode();
    core.flushTlb();
    core.pc = pc;
  }

  /** As arch/arm's boot protocol has it: no machine number, the tree's address. */
  override setTree(gpa: number): void {
    for (const [n, value] of [0n, 0xffffffffn, BigInt(gpa)].entries()) this.core.set64(reg[n].offset, value);
  }

  override get linearPc(): bigint {
    return BigInt(this.core.address >>> 0);
  }
  get isInsideInstruction(): boolean {
    return this.core.isPassed;
  }

  override registers(): Readonly<Record<string, bigint>> {
    const { core } = this;
    return {
      ...Object.fromEntries(reg.map(({ offset }, n) => [`r${n}`, core.get64(offset)])),
      pc: BigInt(core.address >>> 0),
      cpsr: BigInt(core.cpsr >>> 0),
    };
  }
  /** R0 to R15 and CPSR, then floating point, laid out as QEMU's. */
  override dump({ float }: { readonly float: boolean }): string {
    const { core } = this;
    const hex = (value: number): string => (value >>> 0).toString(16).padStart(8, '0');
    const all = [...reg.map(({ offset }) => core.get32(offset)), core.address];
    const cells = all.map((value, n) => `R${String(n).padStart(2, '0')}=${hex(value)}`);
    const lines = [0, 4, 8, 12].map((n) => cells.slice(n, n + 4).join(' '));
    const status = core.cpsr;
    const flags = [...'NZCV'].map((letter, n) => ((status >>> (31 - n)) & 1 ? letter : '-')).join('');
    const text = `PSR=${hex(status)} ${flags} ${core.thumb ? 'T' : 'A'} ${modeNames[status & cpsr.M] ?? '???'}32`;
    if (!float) return [...lines, text].join('\n');
    const doubles = Array.from({ length: 32 }, (_, n) => {
      const [low, high] = [0, 4].map((half) => hex(core.get32(vreg[n >> 1].offset + 8 * (n & 1) + half)));
      const single = (k: number) => `s${String(2 * n + k).padStart(2, '0')}`;
      return `${single(0)}=${low} ${single(1)}=${high} d${String(n).padStart(2, '0')}=${high}${low}`;
    });
    return [...lines, text, ...doubles, `FPSCR: ${hex(core.fpscr)}`].join('\n');
  }
  override translate(gva: bigint): bigint | undefined {
    return this.core.debugTranslate(Number(BigInt.asUintN(32, gva)));
  }

  override deliverFault(): undefined {
    this.core.takeFault();
  }

  override hostRoutines(): Readonly<Record<string, (...args: never[]) => unknown>> {
    return {
      ...super.hostRoutines(),
      system_read: (_state: number, code: number) => {
        const { core } = this;
        const fails = () => [core.raiseUndefined(), 0n];
        if (code >= special.fpscr) {
          const value = core.readSpecial(code);
          return value === undefined ? fails() : [0, value];
        }
        const row = registerByCode.get(code);
        if (!row || (core.mode === cpuMode.user && !row.user && !row.userAllowed?.(core))) return fails();
        const value =
          row.read?.(core) ?? (row.wide ? core.get64(row.home ?? 0) : BigInt(core.get32(row.home ?? 0) >>> 0));
        return [0, BigInt.asIntN(64, value)];
      },
      system_write: (_state: number, code: number, value: bigint) => {
        const { core } = this;
        const bits = BigInt.asUintN(64, value);
        if (code >= special.fpscr) return core.writeSpecial(code, bits) ? 0 : core.raiseUndefined();
        const row = registerByCode.get(code);
        const denied = core.mode === cpuMode.user && row?.user !== 'write' && !row?.userAllowed?.(core);
        if (!row || denied) return core.raiseUndefined();
        const { routine } = row;
        if (row.write) row.write(core, bits);
        else if (routine && row.everywhere) core.everywhere((each) => each.call(routine.name, value));
        else if (routine) core.call(routine.name, value);
        else return core.raiseUndefined();
        return 0;
      },
      data_access: (_state: number, address: bigint, bytes: number, write: number) =>
        this.core.accessed(BigInt.asUintN(32, address), bytes, write !== 0),
      semihosting_call: () => (this.semihost(4) ? 0 : this.core.raiseUndefined()),
      firmware_call: (_state: number, isSmc: number, number: number) => core32Call(this.core, isSmc !== 0, number),
    };
  }
}

/** HVC or SMC: the board's firmware answers in R0 to R3, or the instruction is undefined. */
function core32Call(core: Core32, isSmc: boolean, number: number): number {
  if (!core.board.firmwareCall(core, isSmc ? 'smc' : 'hvc', number)) return core.raiseUndefined();
  for (const { offset } of reg.slice(0, 4)) core.set64(offset, core.get64(offset) & 0xffffffffn);
  return 0;
}
