/** Runs cases on the translator as a user program would: User mode, its pages mapped; exceptions end at a WFI. */
import { TcgEngine } from '../../accel/tcg/engine.js';
import { quietHost } from '../../accel/testing/quiet-host.js';
import type { Arm32Model } from '../../guest/arm32/models.js';
import { cpsr, cpuMode, FPEXC_EN, field, reg, STATE_BYTES, sctlr, vreg } from '../../guest/arm32/state.js';
import { Arm32Cpu } from '../../guest/arm32/system/cpu.js';
import { setEngineFlags } from '../../host/node/engine-flags.js';
import {
  ARM_BREAK,
  ARM_PAGE,
  CODE_AT,
  CODE_BYTES,
  caseField,
  DATA,
  DATA_BYTES,
  THUMB_BREAK,
  THUMB_PAGE,
  WINDOW,
  WINDOW_BYTES,
} from './layout.js';

setEngineFlags();

/** The vectors' page, and the page tables: one of the first level, four of the second. */
const HANDLER = 0x20000000;
const TABLES = 0x20004000;
const TABLE_BYTES = 0x4000 + 4 * 0x400;
const RAM_BYTES = 1 << 20;
const WFI = 0xe320f003;

/** Where each lies in RAM. */
const at = { arm: 0, thumb: 4096, handler: 8192, data: 0x4000, tables: 0x8000 } as const;

export interface Outcome {
  /** The signal that Linux makes of the exception. */
  readonly signal: number;
  /** Of the last data abort. */
  readonly faultAddress: number;
  /** R0 to R15. */
  readonly r: readonly number[];
  readonly cpsr: number;
  readonly d: readonly bigint[];
  readonly fpscr: number;
  readonly window: Uint8Array;
}

export class Arm32RowMachine {
  readonly engine: TcgEngine;
  readonly #cpu: Arm32Cpu;
  readonly #ram: Uint8Array;

  constructor(hotThreshold: number, model: Arm32Model) {
    const board = { time: () => 0n, counterFrequency: 62_500_000, setTimer: () => {}, firmwareCall: () => false };
    this.#cpu = new Arm32Cpu(board, model);
    this.engine = new TcgEngine({
      cpus: [this.#cpu],
      ramBytes: RAM_BYTES,
      stateBytes: STATE_BYTES,
      hotThreshold,
      host: quietHost,
    });
    const hva = this.engine.ramStart;
    const block = (gpa: number, size: number, place: number) => ({ gpa, size, hva: hva + place, readonly: false });
    this.engine.setRamBlocks([
      block(ARM_PAGE, 4096, at.arm),
      block(THUMB_PAGE, 4096, at.thumb),
      block(HANDLER, 4096, at.handler),
      block(TABLES, TABLE_BYTES, at.tables),
      block(DATA, DATA_BYTES, at.data),
    ]);
    this.#ram = new Uint8Array(this.engine.memory.buffer, hva, RAM_BYTES);
    const view = new DataView(this.#ram.buffer, this.#ram.byteOffset, RAM_BYTES);
    for (let n = 0; n < 4096; n += 4) {
      view.setUint32(at.arm + n, ARM_BREAK, true);
      view.setUint32(at.thumb + n, THUMB_BREAK, true);
      view.setUint32(at.handler + n, WFI, true);
    }
    const [XN, SMALL, USER, KERNEL] = [1, 2, 3 << 4, 1 << 4];
    for (const [n, address, bytes, bits] of [
      [0, ARM_PAGE, 4096, SMALL | USER],
      [0, THUMB_PAGE, 4096, SMALL | USER],
      [1, HANDLER, 4096, SMALL | KERNEL],
      [2, DATA, DATA_BYTES, SMALL | XN | USER],
    ] as const) {
      const second = 0x4000 + 0x400 * n;
      view.setUint32(at.tables + 4 * (address >>> 20), (TABLES + second) | 1, true);
      for (let page = address; page < address + bytes; page += 4096)
        view.setUint32(at.tables + second + 4 * ((page >>> 12) & 255), page | bits, true);
    }
  }

  /** Runs a case this often, and gives what the last run did. CPACR and FPEXC as given: all is on unless they say otherwise. */
  run(bytes: Uint8Array, times: number, { cpacr = 0xf << 20, fpexc = FPEXC_EN } = {}): Outcome {
    const { core } = this.#cpu;
    const c = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const start = c.getUint32(caseField.r + 60, true);
    const codeAt = (start & 1 ? at.thumb : at.arm) + CODE_AT;
    this.#ram.set(bytes.subarray(caseField.code, caseField.code + CODE_BYTES), codeAt);
    this.engine.published(this.engine.ramStart + codeAt, CODE_BYTES);
    const windowAt = at.data + WINDOW - DATA;
    this.#cpu.reset(0n);
    core.set64(field.ttbr0, BigInt(TABLES));
    core.set32(field.vbar, HANDLER);
    core.setDacr(1);
    core.set32(field.cpacr, cpacr);
    core.set32(field.fpexc, fpexc);
    core.set32(field.sctlr, core.get32(field.sctlr) | sctlr.M | sctlr.SW);
    core.flushTlb();
    for (let run = 0; run < times; run++) {
      this.#ram.fill(0, at.data, at.data + DATA_BYTES);
      this.#ram.set(bytes.subarray(caseField.bytes), windowAt);
      core.set64(field.monitor, (1n << 64n) - 1n);
      core.set32(field.tpidrurw, 0);
      core.setFpscr(c.getUint32(caseField.fpscr, true));
      core.setCpsr((c.getUint32(caseField.cpsr, true) & ~0xffff) | cpuMode.user);
      for (let n = 0; n < 15; n++) core.set64(reg[n].offset, BigInt(c.getUint32(caseField.r + 4 * n, true)));
      for (let n = 0; n < 32; n++)
        core.set64(vreg[n >> 1].offset + 8 * (n & 1), c.getBigUint64(caseField.v + 8 * n, true));
      core.pc = BigInt(start);
      const exit = this.engine.run();
      if (exit !== 'halt') throw new Error(`the case ended with ${exit}`);
    }
    const saved = core.spsr;
    const link = core.get32(reg[14].offset);
    const stack = (n: number) => core.get32((n === 13 ? field.banked13 : field.banked14) + 0) >>> 0;
    const length = saved & cpsr.T ? 2 : 4;
    const [signal, back] = this.#signal(core.mode, length);
    const r = [
      ...reg.slice(0, 13).map(({ offset }) => core.get32(offset) >>> 0),
      stack(13),
      stack(14),
      (link - back) >>> 0,
    ];
    return {
      signal,
      faultAddress: core.get32(field.dfar) >>> 0,
      r,
      cpsr: saved,
      d: Array.from({ length: 32 }, (_, n) => core.get64(vreg[n >> 1].offset + 8 * (n & 1))),
      fpscr: core.get32(field.fpcr) | core.get32(field.fpsr) | core.get32(field.fpscrFlags),
      window: this.#ram.slice(windowAt, windowAt + WINDOW_BYTES),
    };
  }

  /** The signal, and what R14 is ahead of the instruction. */
  #signal(mode: number, length: number): [number, number] {
    const { core } = this.#cpu;
    const [data, fetch] = [core.get32(field.dfsr) & 0x40f, core.get32(field.ifsr) & 0x40f];
    // Which of the aborts it was is told by the vector, at which the WFI has run.
    switch (Number(core.pc) - HANDLER - 4) {
      case 0x0c:
        return [fetch === 2 ? 5 : 11, 4];
      case 0x10:
        return [data === 1 ? 7 : 11, 8];
      case 0x04:
        return [4, length];
      default:
        throw new Error(`an exception to mode ${mode.toString(16)} at ${core.pc.toString(16)}`);
    }
  }
}
