/**
 * A parallel NOR flash chip with Intel's command set (Intel StrataFlash 28F640J3 data sheet, order 290667; CFI: JEDEC JEP137 and
 * JESD68.01), one byte wide, as QEMU's pc has it for firmware and its variables; or two such chips of 16 bits side by side, as QEMU's
 * Arm boards have them: each answers in its half of a word, and commands are given to both.
 *
 * Deviations, as QEMU's: clearing the status register clears its ready bit too, which comes back with the next operation, and brings
 * the array back (EDK II tells flash from RAM by that); programming stores the byte, it does not only clear bits; every operation is
 * done at once.
 */
import type { Device, IoHandler } from '../../bus/index.js';
import { bytes, defineState, type StateArena, type StateOf, u8, u16, u32 } from '../../schema/index.js';

/** Commands (data sheet, table 4). */
const command = {
  readArray: 0xff,
  program: 0x40,
  programAlternate: 0x10,
  erase: 0x20,
  clearStatus: 0x50,
  lock: 0x60,
  readStatus: 0x70,
  readIdentifier: 0x90,
  query: 0x98,
  writeBuffer: 0xe8,
  confirm: 0xd0,
  lockConfirm: 0x01,
} as const;

/** Bits of the status register (data sheet, table 14). */
export const flashStatus = { ready: 0x80, eraseFailed: 0x20, programFailed: 0x10 } as const;

const MANUFACTURER_INTEL = 0x89;
const DEVICE_CODE = 0x18;
/** Bytes that one buffered write takes at most: a power of two. */
const BUFFER_BYTES = 256;

/** A command that is not followed by what belongs to it. */
const SEQUENCE_ERROR = flashStatus.programFailed | flashStatus.eraseFailed;
/** A buffered write's block is not known yet. */
const NO_BLOCK = 0xffffffff;

/** What the next write is. */
const phase = { command: 0, operand: 1, data: 2, confirmation: 3 } as const;

export const CfiFlashState = defineState('cfi-flash', 1, {
  /** What reads show, and what is under way. */
  mode: u8(command.readArray),
  phase: u8(0, { max: 3 }),
  status: u8(flashStatus.ready),
  /** Buffered write: bytes that are still to come, where its block begins, which bytes of it have come, one bit each. */
  left: u16(0, { max: BUFFER_BYTES }),
  start: u32(),
  buffer: bytes(BUFFER_BYTES),
  written: bytes(BUFFER_BYTES / 8),
});

export interface CfiFlashOptions {
  readonly name: string;
  /** What it holds: the chip changes it in place. A multiple of `eraseBytes`. */
  readonly contents: Uint8Array;
  /** Bytes that one erase clears: a power of two. */
  readonly eraseBytes: number;
  /** Bytes of a word: 1 unless given; 4 are two chips of 16 bits. */
  readonly wordBytes?: 1 | 4;
  readonly readonly: boolean;
  /** Contents from `start` on have changed. */
  changed(start: number, length: number): void;
  /** Whether reads show the contents from now on, or what the chip answers. */
  showArray(shown: boolean): void;
  readonly arena?: StateArena;
}

export class CfiFlash implements Device, IoHandler {
  readonly name: string;
  readonly state: StateOf<typeof CfiFlashState>;
  readonly #options: CfiFlashOptions;
  readonly #query: Uint8Array;
  readonly #wordBytes: 1 | 4;

  constructor(options: CfiFlashOptions) {
    this.name = options.name;
    this.#options = options;
    this.#wordBytes = options.wordBytes ?? 1;
    this.state = CfiFlashState.allocate(options.arena);
    const chips = this.#wordBytes === 1 ? 1 : 2;
    this.#query = queryTable(options.contents.length / chips, options.eraseBytes / chips, BUFFER_BYTES / chips);
  }

  reset(): void {
    CfiFlashState.reset(this.state);
    this.#options.showArray(true);
  }
  save(): Uint8Array {
    return CfiFlashState.save(this.state);
  }
  load(saved: Uint8Array): void {
    CfiFlashState.load(this.state, saved);
    this.#options.showArray(this.state.mode === command.readArray);
  }

  read(offset: number, size: 1 | 2 | 4): number {
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.#readByte(offset + i) << (8 * i);
    return value >>> 0;
  }

  #readByte(offset: number): number {
    if (this.state.mode === command.readArray) return this.#options.contents[offset] ?? 0xff;
    // A chip of 16 bits answers in its lower byte.
    if (this.#wordBytes === 4 && (offset & 1) !== 0) return 0;
    const register = (offset / this.#wordBytes) & 0xff;
    switch (this.state.mode) {
      case command.readIdentifier:
        // No block is locked.
        return [MANUFACTURER_INTEL, DEVICE_CODE][register] ?? 0;
      case command.query:
        return this.#query[register] ?? 0;
      default:
        return this.state.status;
    }
  }

  write(offset: number, size: 1 | 2 | 4, value: number): void {
    const { state } = this;
    switch (state.phase) {
      case phase.command:
        this.#begin(value & 0xff);
        break;
      case phase.operand:
        this.#operand(offset, size, value);
        break;
      case phase.data:
        for (let i = 0; i < size && state.phase === phase.data; i++)
          this.#collect(offset + i, (value >>> (8 * i)) & 0xff);
        break;
      case phase.confirmation:
        if ((value & 0xff) === command.confirm) this.#programBuffer();
        else this.#fail(SEQUENCE_ERROR);
    }
  }

  #begin(code: number): void {
    switch (code) {
      case command.program:
      case command.programAlternate:
      case command.erase:
      case command.lock:
        this.#show(code, phase.operand);
        return;
      case command.writeBuffer:
        this.state.status |= flashStatus.ready;
        this.#show(code, phase.operand);
        return;
      case command.readStatus:
      case command.readIdentifier:
      case command.query:
        this.#show(code, phase.command);
        return;
      case command.clearStatus:
        this.state.status = 0;
    }
    this.#show(command.readArray, phase.command);
  }

  #operand(offset: number, size: number, value: number): void {
    const code = value & 0xff;
    switch (this.state.mode) {
      case command.program:
      case command.programAlternate:
        this.#program(offset, size, value);
        break;
      case command.writeBuffer:
        this.#beginBuffer(this.#wordBytes === 1 ? code : value & 0xffff);
        break;
      default:
        // Erasing and locking want to be confirmed.
        if (code === command.readArray) this.#show(command.readArray, phase.command);
        else if (this.state.mode === command.erase && code === command.confirm) this.#erase(offset);
        else if (this.state.mode === command.lock && (code === command.confirm || code === command.lockConfirm))
          this.#done(0, 0);
        else this.#fail(SEQUENCE_ERROR);
    }
  }

  #program(offset: number, size: number, value: number): void {
    const { contents, readonly } = this.#options;
    const length = Math.min(size, contents.length - offset);
    if (readonly) {
      this.#fail(flashStatus.programFailed);
      return;
    }
    for (let i = 0; i < length; i++) contents[offset + i] = value >>> (8 * i);
    this.#done(offset, length);
  }

  #erase(offset: number): void {
    const { contents, eraseBytes, readonly } = this.#options;
    if (readonly) {
      this.#fail(flashStatus.eraseFailed);
      return;
    }
    const start = offset - (offset & (eraseBytes - 1));
    contents.fill(0xff, start, start + eraseBytes);
    this.#done(start, eraseBytes);
  }

  /** `last`: one less than the number of words to come. */
  #beginBuffer(last: number): void {
    const { state } = this;
    const left = (last + 1) * this.#wordBytes;
    if (left > BUFFER_BYTES) {
      this.#fail(SEQUENCE_ERROR);
      return;
    }
    state.left = left;
    state.start = NO_BLOCK;
    state.written.fill(0);
    this.#show(state.mode, phase.data);
  }

  /** A byte of a buffered write; all lie in one block of the buffer's size. */
  #collect(offset: number, value: number): void {
    const { state } = this;
    const at = offset & (BUFFER_BYTES - 1);
    if (state.start === NO_BLOCK) state.start = offset - at;
    if (offset - at !== state.start) {
      this.#fail(SEQUENCE_ERROR);
      return;
    }
    state.buffer[at] = value;
    state.written[at >> 3]! |= 1 << (at & 7);
    if (--state.left === 0) state.phase = phase.confirmation;
  }

  #programBuffer(): void {
    const { start, buffer, written } = this.state;
    const { contents, readonly } = this.#options;
    if (readonly) {
      this.#fail(flashStatus.programFailed);
      return;
    }
    const end = Math.max(0, Math.min(BUFFER_BYTES, contents.length - start));
    for (let at = 0; at < end; at++) if ((written[at >> 3]! >> (at & 7)) & 1) contents[start + at] = buffer[at]!;
    this.#done(start, end);
  }

  #done(start: number, length: number): void {
    this.state.status |= flashStatus.ready;
    this.#show(command.readStatus, phase.command);
    if (length > 0) this.#options.changed(start, length);
  }

  #fail(bits: number): void {
    this.state.status |= flashStatus.ready | bits;
    this.#show(command.readStatus, phase.command);
  }

  #show(mode: number, next: number): void {
    const before = this.state.mode;
    this.state.mode = mode;
    this.state.phase = next;
    if ((before === command.readArray) !== (mode === command.readArray))
      this.#options.showArray(mode === command.readArray);
  }
}

/** What a chip tells of itself (JESD68.01, tables 1 to 4; JEP137: command set 0001h): timings are of the data sheet's order. */
function queryTable(sizeBytes: number, eraseBytes: number, bufferBytes: number): Uint8Array {
  const table = new Uint8Array(0x34);
  const set = (at: number, ...values: number[]) => table.set(values, at);
  const blocks = sizeBytes / eraseBytes - 1;
  set(0x10, 0x51, 0x52, 0x59); // "QRY"
  set(0x13, 0x01, 0x00); // primary command set: Intel, extended
  set(0x15, 0x31, 0x00); // its table
  set(0x1b, 0x45, 0x55); // 4.5 V to 5.5 V
  set(0x1f, 7, 7, 10, 0); // typical times as powers of two: byte 128 us, buffer 128 us, block 1024 ms
  set(0x23, 4, 4, 4, 0); // most, as a multiple
  set(0x27, Math.ceil(Math.log2(sizeBytes)));
  set(0x28, 0x02, 0x00); // width: x8 and x16
  set(0x2a, Math.log2(bufferBytes), 0x00);
  set(0x2c, 1); // one kind of blocks
  set(0x2d, blocks & 0xff, blocks >> 8, (eraseBytes >> 8) & 0xff, eraseBytes >> 16);
  set(0x31, 0x50, 0x52, 0x49); // "PRI"
  return table;
}
