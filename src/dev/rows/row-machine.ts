/**
 * Runs single x86 instructions on the translator as a user program would: long mode, CPL 3, paging with a few mapped pages and
 * nothing else. Whatever faults ends the run, and is the result.
 */
import { TcgEngine } from '../../accel/tcg/engine.js';
import type { EngineTrace } from '../../accel/tcg/engine-options.js';
import { quietHost } from '../../accel/testing/quiet-host.js';
import type { CpuContext, GuestCpu, VmExit } from '../../guest/guest-cpu.js';
import { encodeMode } from '../../guest/x86/mode.js';
import { routines } from '../../guest/x86/routines/set.js';
import { x87Function } from '../../guest/x86/routines/x87-functions.js';
import { field, gpr, NON_CANONICAL, STATE_BYTES, segBase, x86Vars } from '../../guest/x86/state.js';
import { seg, vector } from '../../guest/x86/system/bits.js';
import '../../guest/x86/system/page-walk.js';
import { isStackAccess } from '../../guest/x86/system/stack-fault.js';
import { createTranslator } from '../../guest/x86/translate.js';
import { header } from '../../ir/index.js';
import { CASE_REGIONS, codeBase, codeRegion, dataBase, dataRegion, FS_BASE, GS_BASE } from './layout.js';

/** Present, DPL 3, 16-bit. */
const DATA_SEGMENT = 0xf300;
const CODE_SEGMENT = 0xfb00;
const RAM_BYTES = 1 << 20;
const PAGE_TABLES = 0xc0000;
/** Present, writable, user; and not executable. */
const ENTRY = 7n;
const NO_EXECUTE = 1n << 63n;

export interface RowOutcome {
  /** Trap vector, error code (0 where there is none) and CR2 of a page fault. */
  vector: number;
  error: number;
  cr2: bigint;
}

export class RowMachine implements GuestCpu {
  readonly architecture = 'x86';
  readonly vars = x86Vars;
  readonly routines = routines;
  readonly translator = createTranslator();
  readonly engine: TcgEngine;
  readonly outcome: RowOutcome = { vector: 0, error: 0, cr2: 0n };
  /** Guest-physical pages of the regions, in order. */
  readonly #pages = new Map<number, number>();
  state!: DataView;
  #context!: CpuContext;
  readonly ram: Uint8Array;
  readonly #code: { hva: number; bytes: Uint8Array };

  constructor(hotThreshold: number, trace?: EngineTrace) {
    this.engine = new TcgEngine({
      cpus: [this],
      ramBytes: RAM_BYTES,
      stateBytes: STATE_BYTES,
      hotThreshold,
      ...(trace ? { trace } : {}),
      host: { ...quietHost, randomBits: () => 0x0123456789abcdefn },
    });
    this.engine.setRamBlocks([{ gpa: 0, size: RAM_BYTES, hva: this.engine.ramStart, readonly: false }]);
    this.ram = new Uint8Array(this.engine.memory.buffer, this.engine.ramStart, RAM_BYTES);
    this.#mapRegions();
    const at = this.#pages.get(codeRegion.start) ?? 0;
    this.#code = { hva: this.engine.ramStart + at, bytes: this.ram.subarray(at, at + 4096) };
    this.#code.bytes.fill(0xf4);
  }

  /** Four-level page tables for the regions' pages. */
  #mapRegions(): void {
    const view = new DataView(this.ram.buffer, this.ram.byteOffset, RAM_BYTES);
    let tables = PAGE_TABLES + 4096;
    let page = 4096;
    const child = (table: number, index: number): number => {
      const old = view.getBigUint64(table + 8 * index, true);
      if (old !== 0n) return Number(old & ~0xfffn);
      const made = tables;
      tables += 4096;
      view.setBigUint64(table + 8 * index, BigInt(made) | ENTRY, true);
      return made;
    };
    for (const region of CASE_REGIONS) {
      for (let va = region.start; va < region.start + region.bytes; va += 4096) {
        const level3 = child(PAGE_TABLES, 0);
        const level2 = child(level3, va >>> 30);
        const level1 = child(level2, (va >>> 21) & 511);
        view.setBigUint64(
          level1 + 8 * ((va >>> 12) & 511),
          BigInt(page) | ENTRY | (region === codeRegion ? 0n : NO_EXECUTE),
          true,
        );
        this.#pages.set(va, page);
        page += 4096;
      }
    }
  }

  hostRoutines(): Record<string, (...args: never[]) => unknown> {
    const missing = () => {
      throw new Error('a routine that needs the whole CPU was called');
    };
    const none = Object.fromEntries(routines.list.filter(({ build }) => !build).map(({ name }) => [name, missing]));
    return { ...none, x87_function: x87Function, x87_ferr: () => {} };
  }

  attach(context: CpuContext): void {
    this.#context = context;
    this.state = new DataView(context.buffer, context.state, STATE_BYTES);
    const { state } = this;
    state.setBigUint64(field.cr0, 0x80050033n, true);
    state.setBigUint64(field.cr3, BigInt(PAGE_TABLES), true);
    state.setBigUint64(field.cr4, 0x620n, true);
    state.setBigUint64(field.efer, 0xd01n, true);
    state.setInt32(field.a20Mask, -1, true);
    state.setInt32(field.cpl, 3, true);
    state.setInt32(header.mmu, 0, true);
  }

  /** Sets the mode to user code of a size; 16-bit code has segments of its own (layout.ts). */
  setMode(codeSize: 16 | 32 | 64): void {
    const { state } = this;
    const segmented = codeSize === 16;
    for (const n of [seg.ES, seg.SS, seg.DS])
      this.#setSegment(n, dataBase(codeSize), dataRegion.bytes - 1, DATA_SEGMENT);
    this.#setSegment(seg.CS, codeBase(codeSize), 0xffff, CODE_SEGMENT);
    this.#setSegment(seg.FS, FS_BASE, 0, 0);
    this.#setSegment(seg.GS, GS_BASE, 0, 0);
    const key = encodeMode({
      codeSize,
      protectedMode: true,
      vm86: false,
      long: true,
      cpl: 3,
      stackSize: codeSize,
      singleStep: false,
      alignmentCheck: false,
      em: false,
      ts: false,
      mp: true,
      osfxsr: true,
      osxsave: false,
      ioAllowed: false,
      flat: !segmented,
      checkedSegments: segmented ? (1 << seg.ES) | (1 << seg.CS) | (1 << seg.SS) | (1 << seg.DS) : 0,
      dataBreak: false,
      instructionBreak: false,
      shadow: false,
      lens: false,
      shared: false,
    });
    state.setInt32(header.modeKey, key, true);
    state.setBigInt64(header.pcMask, codeSize === 64 ? -1n : codeSize === 32 ? 0xffffffffn : 0xffffn, true);
    state.setBigInt64(header.pcBase, BigInt(codeBase(codeSize)), true);
    state.setInt32(field.codeSize, codeSize, true);
  }

  #setSegment(n: number, base: number, limit: number, attributes: number): void {
    this.state.setBigUint64(segBase[n].offset, BigInt(base), true);
    this.state.setUint32(field.limit + 4 * n, limit, true);
    this.state.setUint32(field.attributes + 4 * n, attributes, true);
  }

  /** The bytes behind a mapped address. */
  bytesAt(va: number, count: number): Uint8Array {
    const page = this.#pages.get(va & ~4095);
    if (page === undefined) throw new Error(`nothing is mapped at ${va.toString(16)}`);
    const at = page + (va & 4095);
    return this.ram.subarray(at, at + count);
  }

  /** Zeroes the data region. */
  clearData(): void {
    for (let at = 0; at < dataRegion.bytes; at += 4096) this.bytesAt(dataRegion.start + at, 4096).fill(0);
  }

  /** Puts code at an address of the code page; the rest of the page stays HLT. */
  writeCode(va: number, code: Uint8Array): void {
    const at = va & 4095;
    this.#code.bytes.fill(0xf4);
    this.#code.bytes.set(code, at);
    this.engine.published(this.#code.hva, 4096);
  }

  run(entry: number): RowOutcome {
    this.state.setBigUint64(header.pc, BigInt(entry), true);
    this.engine.run();
    return this.outcome;
  }

  readGpr(n: number): bigint {
    return this.state.getBigUint64(gpr[n].offset, true);
  }

  writeGpr(n: number, value: bigint): void {
    this.state.setBigUint64(gpr[n].offset, value, true);
  }

  get pc(): bigint {
    return this.state.getBigUint64(header.pc, true);
  }

  get eflags(): number {
    const compute = this.#context.routines['get_eflags'] as (state: number) => number;
    return compute(this.#context.state);
  }

  set eflags(value: number) {
    const assign = this.#context.routines['set_eflags'] as (state: number, value: number) => void;
    assign(this.#context.state, value);
  }

  deliverFault(): VmExit {
    const code = this.state.getInt32(header.trapCode, true);
    this.state.setInt32(header.trapCode, 0, true);
    const at = Number(this.pc);
    const throughStack =
      code & NON_CANONICAL &&
      isStackAccess(
        this.bytesAt(at, Math.min(15, 4096 - (at & 4095))),
        (n) => this.readGpr(n),
        this.state.getBigUint64(field.nonCanonical, true),
      );
    this.outcome.vector = throughStack ? vector.SS : code & 0xff;
    this.outcome.error = code & 0x100 ? code >>> 16 : 0;
    this.outcome.cr2 = this.outcome.vector === 14 ? this.state.getBigUint64(field.cr2, true) : 0n;
    return 'shutdown';
  }

  deliverPending(): boolean {
    return false;
  }

  handleLeave(): VmExit {
    this.outcome.vector = 256;
    return 'halt';
  }
}
