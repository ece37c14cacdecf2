/** Runs cases on the translator as a user program would: U-mode, no paging, PMP giving it its pages; traps end in M-mode at a WFI. */
import { TcgEngine } from '../../accel/tcg/engine.js';
import { quietHost } from '../../accel/testing/quiet-host.js';
import { parseRiscvCpu } from '../../guest/riscv/models.js';
import { field, freg, mstatus, privilege, STATE_BYTES, xreg } from '../../guest/riscv/state.js';
import { RiscvCpu } from '../../guest/riscv/system/cpu.js';
import { csrByNumber } from '../../guest/riscv/system/csr.js';
import { setEngineFlags } from '../../host/node/engine-flags.js';
import {
  CODE_AT,
  CODE_BYTES,
  CODE_PAGE,
  caseField,
  DATA,
  DATA_BYTES,
  VECTORS_BYTES,
  WINDOW,
  WINDOW_BYTES,
} from './layout.js';
import { instruction } from './runner-elf.js';

setEngineFlags();

const HANDLER = 0x20000000;
const RAM_BYTES = 1 << 20;

export interface Outcome {
  /** Cause of the trap, and the pc it was taken at. */
  readonly cause: number;
  readonly pc: bigint;
  readonly x: readonly bigint[];
  readonly f: readonly bigint[];
  readonly fcsr: number;
  readonly v: Uint8Array;
  readonly vstart: bigint;
  readonly vl: bigint;
  readonly vtype: bigint;
  readonly vcsr: bigint;
  readonly window: Uint8Array;
}

export class RiscvRowMachine {
  readonly engine: TcgEngine;
  readonly #cpu: RiscvCpu;
  readonly #ram: Uint8Array;

  constructor(hotThreshold: number) {
    this.#cpu = new RiscvCpu({ time: () => 0n, cycles: () => 0n, setTimer: () => {} }, parseRiscvCpu('max'));
    this.engine = new TcgEngine({
      cpus: [this.#cpu],
      ramBytes: RAM_BYTES,
      stateBytes: STATE_BYTES,
      hotThreshold,
      host: quietHost,
    });
    const hva = this.engine.ramStart;
    this.engine.setRamBlocks([
      { gpa: CODE_PAGE, size: 4096, hva, readonly: false },
      { gpa: HANDLER, size: 4096, hva: hva + 4096, readonly: false },
      { gpa: DATA, size: DATA_BYTES, hva: hva + 8192, readonly: false },
    ]);
    this.#ram = new Uint8Array(this.engine.memory.buffer, hva, RAM_BYTES);
    const view = new DataView(this.#ram.buffer, this.#ram.byteOffset, RAM_BYTES);
    for (let at = 0; at < 4096; at += 2) view.setUint16(at, instruction('c.ebreak'), true);
    view.setUint32(4096, instruction('wfi'), true);
  }

  #setCsr(number: number, value: bigint): void {
    const { hart } = this.#cpu;
    const row = csrByNumber.get(number);
    if (row?.home !== undefined) hart.set64(row.home, value);
    else row?.write?.(hart, value);
  }

  /** Runs a case this often, and gives what the last run did. */
  run(bytes: Uint8Array, times: number): Outcome {
    const { hart } = this.#cpu;
    const c = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const codeAt = CODE_AT - CODE_PAGE;
    this.#ram.set(bytes.subarray(caseField.code, caseField.code + CODE_BYTES), codeAt);
    this.engine.published(this.engine.ramStart + codeAt, CODE_BYTES);
    const dataAt = 8192;
    const windowAt = dataAt + WINDOW - DATA;
    this.#cpu.reset(0n);
    const pmpaddr0 = 0x3b0;
    this.#setCsr(pmpaddr0, BigInt(CODE_PAGE >> 2) | 0x1ffn);
    this.#setCsr(pmpaddr0 + 1, BigInt(DATA >> 2) | 0x3ffn);
    this.#setCsr(0x3a0, 0x1b1fn); // data: NAPOT, RW; code: NAPOT, RWX
    // FS is dirty, or becomes so.
    const fs = bytes[caseField.x + 8] & 1 ? mstatus.FS : 1n << 13n;
    for (let run = 0; run < times; run++) {
      this.#ram.fill(0, dataAt, dataAt + DATA_BYTES);
      this.#ram.set(bytes.subarray(caseField.bytes), windowAt);
      hart.set64(field.mtvec, BigInt(HANDLER));
      hart.set32(field.privilege, privilege.U);
      hart.set64(field.reservation, (1n << 64n) - 1n);
      const fcsr = c.getUint32(caseField.fcsr, true);
      hart.set32(field.fflags, fcsr & 31);
      hart.set32(field.frm, fcsr >> 5);
      hart.setStatus(mstatus.UXL | mstatus.SXL | fs | (fs === mstatus.FS ? 1n << 9n : mstatus.VS));
      for (let at = 0; at < VECTORS_BYTES; at += 8)
        hart.set64(field.vectors + at, c.getBigUint64(caseField.v + at, true));
      const signed = (at: number) => c.getBigInt64(at, true);
      hart.call('v_set_type', signed(caseField.vl), signed(caseField.vtype));
      const vcsr = c.getUint32(caseField.vcsr, true);
      hart.set32(field.vxsat, vcsr & 1);
      hart.set32(field.vxrm, vcsr >> 1);
      hart.set32(field.vstart, c.getUint32(caseField.vstart, true));
      hart.updateVectorMode();
      for (let n = 1; n < 32; n++) hart.set64(xreg[n].offset, c.getBigUint64(caseField.x + 8 * n, true));
      for (let n = 0; n < 32; n++) hart.set64(freg[n].offset, c.getBigUint64(caseField.f + 8 * n, true));
      hart.pc = BigInt(CODE_AT);
      const exit = this.engine.run();
      if (exit !== 'halt') throw new Error(`the case ended with ${exit}`);
    }
    return {
      cause: Number(hart.get64(field.mcause)),
      pc: hart.get64(field.mepc),
      x: xreg.map(({ offset }) => hart.get64(offset)),
      f: freg.map(({ offset }) => hart.get64(offset)),
      fcsr: hart.get32(field.fflags) | (hart.get32(field.frm) << 5),
      v: Uint8Array.from({ length: VECTORS_BYTES }, (_, n) => hart.get8(field.vectors + n)),
      vstart: BigInt(hart.get32(field.vstart)),
      vl: BigInt(hart.get32(field.vl)),
      vtype: hart.get32(field.vtype) < 0 ? 1n << 63n : BigInt(hart.get32(field.vtype)),
      vcsr: BigInt(hart.get32(field.vxsat) | (hart.get32(field.vxrm) << 1)),
      window: this.#ram.slice(windowAt, windowAt + WINDOW_BYTES),
    };
  }
}
