/** Runs cases on the translator as a user program would: EL0, its pages mapped; exceptions end in EL1 at a WFI. */
import { TcgEngine } from '../../accel/tcg/engine.js';
import { quietHost } from '../../accel/testing/quiet-host.js';
import { field, pstate, STATE_BYTES, sctlr, vreg, xreg } from '../../guest/arm/state.js';
import { ArmCpu } from '../../guest/arm/system/cpu.js';
import { setEngineFlags } from '../../host/node/engine-flags.js';
import { CODE_AT, CODE_BYTES, CODE_PAGE, caseField, DATA, DATA_BYTES, WINDOW, WINDOW_BYTES } from './layout.js';
import { BREAK, instruction } from './runner-elf.js';

setEngineFlags();

/** The vectors' page, and the page tables: one of the first level, one of the second, three of the third. */
const HANDLER = 0x20000000;
const TABLES = 0x20001000;
const TABLE_BYTES = 5 * 4096;
const RAM_BYTES = 1 << 20;
const LOWER_EL_SYNCHRONOUS = 0x400;

const page = { VALID: 3n, USER: 1n << 6n, AF: 1n << 10n, NG: 1n << 11n, PXN: 1n << 53n, UXN: 1n << 54n } as const;

export interface Outcome {
  /** The exception's syndrome and the pc it was taken at. */
  readonly esr: number;
  readonly pc: bigint;
  /** X0 to X30 and SP. */
  readonly x: readonly bigint[];
  readonly v: readonly bigint[];
  readonly nzcv: number;
  readonly fpcr: number;
  readonly fpsr: number;
  readonly window: Uint8Array;
}

export class ArmRowMachine {
  readonly engine: TcgEngine;
  readonly #cpu: ArmCpu;
  readonly #ram: Uint8Array;

  constructor(hotThreshold: number) {
    this.#cpu = new ArmCpu({
      time: () => 0n,
      counterFrequency: 62_500_000,
      setTimer: () => {},
      firmwareCall: () => false,
    });
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
      { gpa: TABLES, size: TABLE_BYTES, hva: hva + 16384, readonly: false },
    ]);
    this.#ram = new Uint8Array(this.engine.memory.buffer, hva, RAM_BYTES);
    const view = new DataView(this.#ram.buffer, this.#ram.byteOffset, RAM_BYTES);
    for (let at = 0; at < 4096; at += 4) view.setUint32(at, BREAK, true);
    view.setUint32(4096 + LOWER_EL_SYNCHRONOUS, instruction('wfi'), true);
    const entry = (table: number, index: number, value: bigint) =>
      view.setBigUint64(16384 + 4096 * table + 8 * index, value, true);
    const tableAt = (n: number) => BigInt(TABLES + 4096 * n) | 3n;
    entry(0, 0, tableAt(1));
    const userPage = page.VALID | page.AF | page.USER | page.NG;
    for (const [n, address, bytes, bits] of [
      [2, CODE_PAGE, 4096, userPage],
      [3, HANDLER, 4096, page.VALID | page.AF | page.UXN],
      [4, DATA, DATA_BYTES, userPage | page.UXN],
    ] as const) {
      entry(1, (address >> 21) & 511, tableAt(n));
      for (let at = 0; at < bytes; at += 4096) entry(n, ((address + at) >> 12) & 511, BigInt(address + at) | bits);
    }
  }

  /** Runs a case this often, and gives what the last run did. */
  run(bytes: Uint8Array, times: number): Outcome {
    const { core } = this.#cpu;
    const c = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const codeAt = CODE_AT - CODE_PAGE;
    this.#ram.set(bytes.subarray(caseField.code, caseField.code + CODE_BYTES), codeAt);
    this.engine.published(this.engine.ramStart + codeAt, CODE_BYTES);
    const dataAt = 8192;
    const windowAt = dataAt + WINDOW - DATA;
    this.#cpu.reset(0n);
    // Addresses of 32 bits in the lower range, none in the upper one.
    core.set64(field.tcr, 32n | (1n << 23n));
    core.set64(field.ttbr0, BigInt(TABLES));
    core.set64(field.vbar, BigInt(HANDLER));
    core.set64(field.cpacr, 3n << 20n);
    core.set64(field.sctlr, BigInt(sctlr.M | sctlr.UCT | sctlr.UCI | sctlr.DZE | sctlr.nTWI));
    core.flushTlb();
    for (let run = 0; run < times; run++) {
      this.#ram.fill(0, dataAt, dataAt + DATA_BYTES);
      this.#ram.set(bytes.subarray(caseField.bytes), windowAt);
      core.set64(field.monitor, (1n << 64n) - 1n);
      core.set64(field.tpidr0, 0n);
      core.set32(field.fpcr, c.getUint32(caseField.fpcr, true));
      core.set32(field.fpsr, c.getUint32(caseField.fpsr, true));
      core.setPstate(pstate.DAIF);
      core.nzcv = c.getUint32(caseField.nzcv, true);
      for (let n = 0; n < 31; n++) core.set64(xreg[n].offset, c.getBigUint64(caseField.x + 8 * n, true));
      core.setStack(0, c.getBigUint64(caseField.x + 8 * 31, true));
      for (let n = 0; n < 64; n++)
        core.set64(vreg[n >> 1].offset + 8 * (n & 1), c.getBigUint64(caseField.v + 8 * n, true));
      core.pc = BigInt(CODE_AT);
      const exit = this.engine.run();
      if (exit !== 'halt') throw new Error(`the case ended with ${exit}`);
    }
    return {
      esr: core.get32(field.esr),
      pc: core.get64(field.elr),
      x: [...xreg.map(({ offset }) => core.get64(offset)), core.getStack(0)],
      v: Array.from({ length: 64 }, (_, n) => core.get64(vreg[n >> 1].offset + 8 * (n & 1))),
      nzcv: Number(core.get64(field.spsr) & 0xf0000000n),
      fpcr: core.get32(field.fpcr),
      fpsr: core.get32(field.fpsr),
      window: this.#ram.slice(windowAt, windowAt + WINDOW_BYTES),
    };
  }
}
