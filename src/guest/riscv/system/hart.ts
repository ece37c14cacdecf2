/** The hart's state as JavaScript sees it. */
import { header } from '../../../ir/index.js';
import type { CpuContext } from '../../guest-cpu.js';
import { dataContext, encodeMode, mmuOf, VECTOR_BITS, VECTOR_FULL, VILL, VTYPE_SHIFT } from '../mode.js';
import type { RiscvModel } from '../models.js';
import { cause, envcfg, field, irq, mstatus, privilege, trapCode } from '../state.js';
import type { InterruptFile } from './aia.js';

/** What a hart asks of its board. */
export interface RiscvBoard {
  /** mtime, in ticks of the board's time base. */
  time(): bigint;
  /** What mcycle and minstret count from. */
  cycles(): bigint;
  /** stimecmp, or whether it counts, has changed: `deliverPending` must be called when `time` gets there. Undefined: never. */
  setTimer(at: bigint | undefined): void;
  /** ECALL from S-mode, where no firmware in M-mode serves it. True: it was served, and the hart goes on behind it. */
  readonly environmentCall?: (() => boolean) | undefined;
  /** EBREAK. True: it was a call of the host, which has answered, and the hart goes on behind it. */
  readonly breakpointCall?: (() => boolean) | undefined;
  /** A data access by an instruction, before it, while `setWatching` is on. Gives whether the machine is to stop there. */
  readonly dataAccess?: ((address: bigint, bytes: number, write: boolean) => boolean | undefined) | undefined;
  /** Its files of the incoming MSI controller. */
  readonly files?: { readonly machine: InterruptFile; readonly supervisor: InterruptFile } | undefined;
  /** A trap is about to be taken. */
  readonly event?: ((code: number, value: bigint, interrupt: boolean) => void) | undefined;
}

export class Hart {
  readonly board: RiscvBoard;
  readonly model: RiscvModel;
  readonly state: number;
  readonly #view: DataView;
  readonly #routines: CpuContext['routines'];

  constructor(context: CpuContext, board: RiscvBoard, model: RiscvModel) {
    this.board = board;
    this.model = model;
    this.state = context.state;
    this.#view = new DataView(context.buffer);
    this.#routines = context.routines;
  }

  get32(offset: number): number {
    return this.#view.getInt32(this.state + offset, true);
  }
  set32(offset: number, value: number): void {
    this.#view.setInt32(this.state + offset, value, true);
  }
  get64(offset: number): bigint {
    return this.#view.getBigUint64(this.state + offset, true);
  }
  set64(offset: number, value: bigint): void {
    this.#view.setBigUint64(this.state + offset, value, true);
  }
  get8(offset: number): number {
    return this.#view.getUint8(this.state + offset);
  }
  set8(offset: number, value: number): void {
    this.#view.setUint8(this.state + offset, value);
  }
  call(name: string, ...args: readonly unknown[]): unknown {
    return this.#routines[name](this.state, ...args);
  }

  get privilege(): number {
    return this.get32(field.privilege);
  }
  get status(): bigint {
    return this.get64(field.mstatus);
  }
  get pc(): bigint {
    return this.get64(header.pc);
  }
  set pc(value: bigint) {
    this.set64(header.pc, value);
  }

  /** Supervisor timer interrupts come from stimecmp. */
  get hasStimecmp(): boolean {
    return (this.get64(field.menvcfg) & envcfg.STCE) !== 0n;
  }

  /** mip: what software has set, what devices hold up, and the timer. */
  get pending(): bigint {
    const timer = this.hasStimecmp && this.board.time() >= this.get64(field.stimecmp);
    return this.get64(field.mip) | this.get64(field.lines) | (timer ? 1n << BigInt(irq.STI) : 0n);
  }

  /** Pending and enabled in mie. Says in the header whether there is any: enabling interrupts looks no further. */
  noteInterrupts(): bigint {
    const enabled = this.pending & this.get64(field.mie);
    this.set32(header.interruptPending, enabled === 0n ? 0 : 1);
    return enabled;
  }

  /** Tells the board when stimecmp interrupts. */
  announceTimer(): void {
    this.board.setTimer(this.hasStimecmp ? this.get64(field.stimecmp) : undefined);
  }

  flushTlb(keepGlobal = false): void {
    this.call('flush_tlb_pages', keepGlobal ? 1 : 0);
  }

  /** After a change of what the mode key is made of, or of how loads and stores are translated. */
  updateMode(): void {
    const { status } = this;
    const level = this.privilege;
    this.set32(header.modeKey, encodeMode(level, status, this.get32(field.frm), this.get32(field.modeBits)));
    if (level === privilege.M && dataContext(status) !== this.get32(field.dataContext)) {
      this.set32(field.dataContext, dataContext(status));
      this.flushTlb();
    }
    const mmu = mmuOf(level, status);
    if (mmu !== this.get32(header.mmu)) this.call('select_mmu', mmu);
  }

  /** After a change of vl, vtype or vstart. */
  updateVectorMode(): void {
    const vtype = this.get32(field.vtype);
    const isFull = this.get32(field.vl) === this.get32(field.vlmax) && this.get32(field.vstart) === 0;
    const bits = ((vtype & 63) << VTYPE_SHIFT) | (vtype < 0 ? VILL : 0) | (isFull && vtype >= 0 ? VECTOR_FULL : 0);
    this.set32(field.modeBits, (this.get32(field.modeBits) & ~VECTOR_BITS) | bits);
    this.updateMode();
  }

  setStatus(value: bigint): void {
    const isDirty = (value & mstatus.FS) === mstatus.FS || (value & mstatus.VS) === mstatus.VS;
    const dirty = isDirty ? mstatus.SD : 0n;
    const before = this.status;
    this.set64(field.mstatus, (value & ~mstatus.SD) | dirty);
    if (((before ^ value) & mstatus.MXR) !== 0n) this.flushTlb();
    this.updateMode();
  }

  /** An illegal-instruction exception of the current instruction, whose bits are in trapValue already. Gives 1. */
  illegal(): number {
    this.set32(header.trapCode, trapCode(cause.illegalInstruction));
    return 1;
  }

  /** Enters a trap's handler (privileged specification 3.1.6.1, 12.1.1). */
  trap(code: number, value: bigint, interrupt: boolean): void {
    this.board.event?.(code, value, interrupt);
    const from = this.privilege;
    const delegated = this.get64(interrupt ? field.mideleg : field.medeleg);
    const toS = from !== privilege.M && ((delegated >> BigInt(code)) & 1n) !== 0n;
    const { status } = this;
    const causeBits = BigInt(code) | (interrupt ? 1n << 63n : 0n);
    const has = (bit: bigint) => (status & bit) !== 0n;
    if (toS) {
      this.set64(field.sepc, this.pc);
      this.set64(field.scause, causeBits);
      this.set64(field.stval, value);
      const kept = status & ~(mstatus.SPP | mstatus.SPIE | mstatus.SIE);
      const saved = (from === privilege.S ? mstatus.SPP : 0n) | (has(mstatus.SIE) ? mstatus.SPIE : 0n);
      this.set64(field.mstatus, kept | saved);
      this.set32(field.privilege, privilege.S);
    } else {
      this.set64(field.mepc, this.pc);
      this.set64(field.mcause, causeBits);
      this.set64(field.mtval, value);
      const kept = status & ~(mstatus.MPP | mstatus.MPIE | mstatus.MIE);
      const saved = (BigInt(from) << 11n) | (has(mstatus.MIE) ? mstatus.MPIE : 0n);
      this.set64(field.mstatus, kept | saved);
      this.set32(field.privilege, privilege.M);
    }
    const vector = this.get64(toS ? field.stvec : field.mtvec);
    this.pc = (vector & ~3n) + (interrupt && (vector & 1n) !== 0n ? BigInt(4 * code) : 0n);
    this.updateVectorMode();
  }

  /** MRET and SRET (3.3.2). */
  returnFrom(level: number): void {
    const { status } = this;
    const has = (bit: bigint) => (status & bit) !== 0n;
    let next = status;
    let to: number;
    if (level === privilege.M) {
      to = Number((status & mstatus.MPP) >> 11n);
      next = (next & ~(mstatus.MPP | mstatus.MIE)) | (has(mstatus.MPIE) ? mstatus.MIE : 0n) | mstatus.MPIE;
      this.pc = this.get64(field.mepc);
    } else {
      to = has(mstatus.SPP) ? privilege.S : privilege.U;
      next = (next & ~(mstatus.SPP | mstatus.SIE)) | (has(mstatus.SPIE) ? mstatus.SIE : 0n) | mstatus.SPIE;
      this.pc = this.get64(field.sepc);
    }
    if (to !== privilege.M) next &= ~mstatus.MPRV;
    this.set64(field.mstatus, next);
    this.set32(field.privilege, to);
    this.updateMode();
  }
}
