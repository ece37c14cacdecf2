/** One RISC-V hart: what the engine calls on traps, interrupts and exits, and what the board does to it. */
import { header, LOOK_AGAIN } from '../../../ir/index.js';
import type { CpuContext, GuestCpu, GuestTranslator, VmExit } from '../../guest-cpu.js';
import { createTranslator } from '../block-translator.js';
import { SHARED, WATCHED } from '../mode.js';
import { defaultModel, type RiscvModel } from '../models.js';
import { routines } from '../routines/set.js';
import {
  cause,
  envcfg,
  field,
  freg,
  integerNames,
  irq,
  leaveReason,
  mstatus,
  privilege,
  riscvVars,
  xreg,
} from '../state.js';
import { chooseInterrupt } from './aia.js';
import { csrByNumber, csrRows, readCsr, sstatusWritable, updatePmp, writeSstatus } from './csr.js';
import { debugTranslate } from './debug-translate.js';
import { dumpRegisters } from './dump.js';
import { Hart, type RiscvBoard } from './hart.js';

const ECALL_BYTES = 4n;
const VECTOR_LOAD_BYTES = 4n;
/** cycle, time and instret may be read in U-mode, as OpenSBI leaves it. */
const USER_COUNTERS = 7n;
/** What firmware leaves to S-mode: all exceptions but ECALL from S-mode and M-mode. */
const DELEGATED = 0xb1ffn;

export class RiscvCpu implements GuestCpu {
  readonly architecture = 'riscv';
  readonly vars = riscvVars;
  readonly routines = routines;
  readonly model: RiscvModel;
  readonly translator: GuestTranslator;
  readonly #board: RiscvBoard;
  /** mhartid. */
  readonly id: number;
  readonly #shared: boolean;
  #watching = false;
  #hart!: Hart;

  /** `id`: mhartid. `shared`: the board has more harts, which take turns in one thread. */
  constructor(board: RiscvBoard, model: RiscvModel = defaultModel, { id = 0, shared = false } = {}) {
    this.#board = board;
    this.id = id;
    this.#shared = shared;
    this.model = model;
    this.translator = createTranslator(model);
  }

  attach(context: CpuContext): void {
    this.#hart = new Hart(context, this.#board, this.model);
  }

  // --- the board's side

  /** The state behind the routines: for tests, debuggers and boards. */
  get hart(): Hart {
    return this.#hart;
  }

  /** Guest-virtual address of the next instruction. */
  get linearPc(): bigint {
    return this.#hart.pc;
  }

  /** Where it is: what a block of code is known by. */
  get place(): { readonly codeBase: bigint; readonly pc: bigint; readonly modeKey: number } {
    return { codeBase: 0n, pc: this.#hart.pc, modeKey: this.#hart.get32(header.modeKey) >>> 0 };
  }

  /** Integer and floating-point registers, pc, privilege, and every CSR, by the manual's names. */
  registers(): Readonly<Record<string, bigint>> {
    const hart = this.#hart;
    return {
      ...Object.fromEntries(integerNames.map((name, n) => [name, hart.get64(xreg[n].offset)])),
      ...Object.fromEntries(freg.map(({ name, offset }) => [name, hart.get64(offset)])),
      pc: hart.pc,
      priv: BigInt(hart.privilege),
      ...Object.fromEntries(csrRows.map((row) => [row.name, readCsr(hart, row)])),
    };
  }

  /** The registers as text, laid out as QEMU's; `float`: with those of floating point. */
  dump(parts: { readonly float: boolean }): string {
    return dumpRegisters(this.#hart, parts);
  }

  /** Guest-physical address of a guest-virtual one, for debuggers; undefined where nothing is mapped. */
  translate(gva: bigint): bigint | undefined {
    return debugTranslate(this.#hart, gva);
  }

  /** It waits in WFI, or to be started. */
  get isHalted(): boolean {
    return this.#hart.get32(field.halted) !== 0;
  }

  /** The board's `dataAccess` hears of every data access. */
  setWatching(on: boolean): void {
    const hart = this.#hart;
    this.#watching = on;
    const bits = hart.get32(field.modeBits);
    hart.set32(field.modeBits, on ? bits | WATCHED : bits & ~WATCHED);
    hart.updateMode();
  }

  /** It waits for somebody to start it. */
  get isStopped(): boolean {
    return this.#hart.get32(field.stopped) !== 0;
  }

  /** It does nothing until it is reset. */
  stop(): void {
    this.#hart.set32(field.halted, 1);
    this.#hart.set32(field.stopped, 1);
  }

  /** False: it waits to be started. */
  goOn(): boolean {
    if (this.isStopped) return false;
    this.#hart.set32(field.halted, 0);
    return true;
  }

  /** As after power-on: M-mode at `pc`. What the specification leaves open is 0. */
  reset(pc: bigint): void {
    const hart = this.#hart;
    for (const { offset } of riscvVars.vars) hart.set64(offset, 0n);
    const offsets = Object.values(field).filter((offset) => offset > header.pc);
    const end = field.dataContext + 8;
    for (let at = Math.min(...offsets); at < end; at += 8) hart.set64(at, 0n);
    hart.set64(header.pcMask, (1n << 64n) - 1n);
    hart.set64(header.pcBase, 0n);
    hart.pc = pc;
    hart.set64(field.hartId, BigInt(this.id));
    hart.set32(field.modeBits, (this.#shared ? SHARED : 0) | (this.#watching ? WATCHED : 0));
    hart.set64(field.sstatusWritable, sstatusWritable(this.model));
    hart.set32(field.vlenb, this.model.vlen / 8);
    hart.set32(field.vtype, 1 << 31);
    hart.set32(field.privilege, privilege.M);
    hart.set64(field.mstatus, mstatus.UXL | mstatus.SXL);
    // With Svadu and no Svade the hart marks page tables until it is told not to: systems without firmware count on that.
    if (this.model.extensions.has('svadu')) hart.set64(field.menvcfg, envcfg.ADUE);
    hart.set64(field.reservation, (1n << 64n) - 1n);
    hart.set64(field.stimecmp, (1n << 64n) - 1n);
    if (hart.board.event) hart.set32(field.watchedTraps, 1);
    hart.board.setTimer(undefined);
    updatePmp(hart);
    hart.updateVectorMode();
  }

  /**
   * As firmware in M-mode leaves the hart for a kernel: S-mode at `pc` with a0 and a1, traps delegated, all memory open, counters,
   * stimecmp and marking of page tables by the hart turned on. Called after reset().
   */
  enterSupervisor(pc: bigint, a0: bigint, a1: bigint): void {
    const hart = this.#hart;
    hart.set64(field.medeleg, DELEGATED);
    hart.set64(field.mideleg, (1n << BigInt(irq.SSI)) | (1n << BigInt(irq.STI)) | (1n << BigInt(irq.SEI)));
    hart.set64(field.mcounteren, 0xffffffffn);
    hart.set64(field.scounteren, USER_COUNTERS);
    const { extensions } = this.model;
    const marks = extensions.has('svadu') ? envcfg.ADUE : 0n;
    const blocks =
      (extensions.has('zicbom') ? envcfg.CBIE | envcfg.CBCFE : 0n) | (extensions.has('zicboz') ? envcfg.CBZE : 0n);
    hart.set64(field.menvcfg, envcfg.STCE | marks | blocks);
    // One entry that holds every address, readable, writable and executable.
    hart.set64(field.pmpAddress, (1n << 54n) - 1n);
    hart.set8(field.pmpConfig, 0x1f);
    updatePmp(hart);
    hart.set32(field.privilege, privilege.S);
    hart.set64(xreg[10].offset, a0);
    hart.set64(xreg[11].offset, a1);
    hart.pc = pc;
    hart.updateMode();
  }

  /** A device raises or lowers an interrupt line of mip (irq). The caller kicks the engine. */
  setLine(line: number, level: boolean): void {
    const bit = 1n << BigInt(line);
    const lines = this.#hart.get64(field.lines);
    this.#hart.set64(field.lines, level ? lines | bit : lines & ~bit);
    this.#hart.noteInterrupts();
  }

  // --- the engine's side

  deliverFault(): 'halt' | undefined {
    const hart = this.#hart;
    const code = hart.get32(header.trapCode) & 0xff;
    hart.set32(header.trapCode, 0);
    if (code === cause.ecallS && hart.board.environmentCall?.()) {
      hart.pc = BigInt.asUintN(64, hart.pc + ECALL_BYTES);
      return this.isStopped ? 'halt' : undefined;
    }
    if (code === cause.breakpoint && hart.board.breakpointCall?.()) {
      hart.pc = BigInt.asUintN(64, hart.pc + ECALL_BYTES);
      return undefined;
    }
    // Behind the first element of vleNff a fault only shortens the vector.
    if (hart.get32(field.firstOnly) !== 0) {
      hart.set32(field.firstOnly, 0);
      hart.set32(field.vl, hart.get32(field.vstart));
      hart.set32(field.vstart, 0);
      hart.pc = BigInt.asUintN(64, hart.pc + VECTOR_LOAD_BYTES);
      hart.updateVectorMode();
      return undefined;
    }
    hart.trap(code, hart.get64(field.trapValue), false);
    return undefined;
  }

  deliverPending(): boolean {
    const hart = this.#hart;
    const pending = hart.noteInterrupts();
    if (pending === 0n || this.isStopped) return false;
    const wasHalted = hart.get32(field.halted) !== 0;
    hart.set32(field.halted, 0);
    const { status } = hart;
    const level = hart.privilege;
    const toS = hart.get64(field.mideleg);
    const takesM = level !== privilege.M || (status & mstatus.MIE) !== 0n;
    const takesS = level === privilege.U || (level === privilege.S && (status & mstatus.SIE) !== 0n);
    // Those of the higher privilege go first.
    const machine = takesM ? pending & ~toS : 0n;
    const taken = machine !== 0n ? machine : takesS ? pending & toS : 0n;
    // WFI ends for what is enabled in mie, whether it is taken or not.
    if (taken === 0n) return wasHalted;
    const line = chooseInterrupt(hart, machine !== 0n, taken);
    if (line === undefined) return wasHalted;
    hart.trap(line, 0n, true);
    return true;
  }

  handleLeave(): VmExit | 'yield' | undefined {
    if (this.#hart.get32(header.leaveReason) === leaveReason.pause) return 'yield';
    this.#hart.set32(field.halted, 1);
    return this.deliverPending() ? undefined : 'halt';
  }

  hostRoutines(): Readonly<Record<string, (...args: never[]) => unknown>> {
    return {
      csr_read: (_state: number, number: number) => {
        const row = csrByNumber.get(number);
        if (!row?.read || row.refused?.(this.#hart)) return [this.#hart.illegal(), 0n];
        return [0, BigInt.asIntN(64, row.read(this.#hart))];
      },
      csr_write: (_state: number, number: number, value: bigint, bits: bigint) => {
        const hart = this.#hart;
        const row = csrByNumber.get(number);
        if (!row?.read || !row.write || row.refused?.(hart)) return hart.illegal();
        const mask = BigInt.asUintN(64, bits);
        const old = (row.updateFrom ?? row.read)(hart);
        row.write(hart, (old & ~mask) | (BigInt.asUintN(64, value) & mask));
        hart.noteInterrupts();
        return 0;
      },
      data_access: (_state: number, address: bigint, bytes: number, write: number) => {
        if (!this.#board.dataAccess?.(BigInt.asUintN(64, address), bytes, write !== 0)) return 0;
        this.#hart.set32(header.trapCode, LOOK_AGAIN);
        return 1;
      },
      write_sstatus: (_state: number, value: bigint, bits: bigint) => {
        const hart = this.#hart;
        const mask = BigInt.asUintN(64, bits);
        writeSstatus(hart, (hart.status & ~mask) | (BigInt.asUintN(64, value) & mask));
        hart.noteInterrupts();
      },
      trap_return: (_state: number, level: number) => {
        this.#hart.returnFrom(level);
      },
    };
  }
}
