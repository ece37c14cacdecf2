/**
 * Semihosting for programs on the bare machine ("Semihosting for AArch32 and AArch64" 3.0, Arm; RISC-V's takes its numbers over): text
 * to the console, clocks, the command line, and the program's end. Files of the host are not to be had: opening one fails with EACCES,
 * and the console has no input.
 */
import type { DmaSpace } from '../bus/index.js';
import type { Semihosting, SemihostingCall } from '../guest/semihosting.js';
import type { MachineClock } from './machine-clock.js';

export type SemihostingStream = 'output' | 'console';

/** What the machine's owner gives. */
export interface SemihostingOptions {
  /** Text: of the program's standard output, or of the debugger's console. */
  write(to: SemihostingStream, bytes: Uint8Array): void;
  /** What the program is told of its arguments. */
  readonly commandLine: string;
  readonly userspace: boolean;
}
export interface SemihostingBoard {
  readonly memory: { readonly dma: DmaSpace };
  readonly clock: Pick<MachineClock, 'nowNs' | 'wallNs'>;
  exit(status: number): void;
}
/** RAM, in whose upper half are heap and stack. */
interface Ram {
  readonly gpa: number;
  readonly bytes: number;
}

const operation = {
  OPEN: 0x01,
  CLOSE: 0x02,
  WRITEC: 0x03,
  WRITE0: 0x04,
  WRITE: 0x05,
  READ: 0x06,
  ISERROR: 0x08,
  ISTTY: 0x09,
  SEEK: 0x0a,
  FLEN: 0x0c,
  CLOCK: 0x10,
  TIME: 0x11,
  ERRNO: 0x13,
  GET_CMDLINE: 0x15,
  HEAPINFO: 0x16,
  EXIT: 0x18,
  EXIT_EXTENDED: 0x20,
  ELAPSED: 0x30,
  TICKFREQ: 0x31,
} as const;
const errno = { EBADF: 9, EACCES: 13, EFAULT: 14, EINVAL: 22 } as const;
const APPLICATION_EXIT = 0x20026n;
/** ':tt' opened to be read, written, appended to; and the file that tells what is there: SH_EXT_EXIT_EXTENDED, SH_EXT_STDOUT_STDERR. */
const handle = { input: 1, output: 2, error: 3, features: 4 } as const;
const FEATURES = Uint8Array.of(0x53, 0x48, 0x46, 0x42, 3);
/** No call moves more. */
const MOST_BYTES = 1 << 20;
const PAGE = 4096n;
const FAILED = -1n;

class BoardSemihosting implements Semihosting {
  readonly userspace: boolean;
  readonly #options: SemihostingOptions;
  readonly #board: SemihostingBoard;
  readonly #ram: Ram;
  #errno = 0;
  /** Where the file of features is read next. */
  #place = 0;

  constructor(options: SemihostingOptions, board: SemihostingBoard, ram: Ram) {
    this.#options = options;
    this.#board = board;
    this.#ram = ram;
    this.userspace = options.userspace;
  }

  call(call: SemihostingCall): bigint {
    const { parameter } = call;
    switch (call.operation) {
      case operation.WRITEC:
        return this.#write('console', call, parameter, 1) === 1 ? 0n : FAILED;
      case operation.WRITE0:
        this.#options.write('console', this.#text(call, parameter));
        return 0n;
      case operation.EXIT:
        // Words of 64 bits have room for two arguments, as EXIT_EXTENDED has.
        if (call.wordBytes === 4) return this.#exit(parameter, 0n);
        return this.#withWords(call, 2, ([reason, status]) => this.#exit(reason, status));
      case operation.EXIT_EXTENDED:
        return this.#withWords(call, 2, ([reason, status]) => this.#exit(reason, status));
      case operation.OPEN:
        return this.#withWords(call, 3, ([name, mode]) => this.#open(this.#string(call, name), Number(mode)));
      case operation.CLOSE:
        return this.#withHandle(call, 1, () => 0n);
      case operation.WRITE:
        return this.#withWords(call, 3, ([which, at, length]) => {
          if (which !== BigInt(handle.output) && which !== BigInt(handle.error)) return length;
          const to = which === BigInt(handle.output) ? 'output' : 'console';
          return length - BigInt(this.#write(to, call, at, this.#bounded(length)));
        });
      case operation.READ:
        return this.#withWords(call, 3, ([which, at, length]) => {
          if (which !== BigInt(handle.features)) return length;
          const bytes = FEATURES.subarray(this.#place, this.#place + this.#bounded(length));
          if (!this.#store(call, at, bytes)) return this.#fail(errno.EFAULT);
          this.#place += bytes.length;
          return length - BigInt(bytes.length);
        });
      case operation.SEEK:
        return this.#withHandle(call, 2, (which, [, to]) => {
          if (which !== handle.features || to > BigInt(FEATURES.length)) return this.#fail(errno.EINVAL);
          this.#place = Number(to);
          return 0n;
        });
      case operation.ISTTY:
        return this.#withHandle(call, 1, (which) => (which === handle.features ? 0n : 1n));
      case operation.FLEN:
        return this.#withHandle(call, 1, (which) => (which === handle.features ? BigInt(FEATURES.length) : 0n));
      case operation.ISERROR:
        return this.#withWords(call, 1, ([status]) => (BigInt.asIntN(8 * call.wordBytes, status) < 0n ? 1n : 0n));
      case operation.CLOCK:
        return BigInt(Math.floor(this.#board.clock.nowNs() / 1e7));
      case operation.TIME:
        return BigInt(Math.floor(this.#board.clock.wallNs() / 1e9));
      case operation.ERRNO:
        return BigInt(this.#errno);
      case operation.GET_CMDLINE:
        return this.#withWords(call, 2, ([at, room]) => this.#commandLine(call, at, room));
      case operation.HEAPINFO:
        return this.#withWords(call, 1, ([at]) => this.#heap(call, at));
      case operation.ELAPSED: {
        const ticks = new BigUint64Array([BigInt(Math.floor(this.#board.clock.nowNs()))]);
        return this.#store(call, parameter, new Uint8Array(ticks.buffer)) ? 0n : this.#fail(errno.EFAULT);
      }
      case operation.TICKFREQ:
        return 1_000_000_000n;
      default:
        return this.#fail(errno.EINVAL);
    }
  }

  #fail(error: number): bigint {
    this.#errno = error;
    return FAILED;
  }

  #exit(reason: bigint, status: bigint): bigint {
    this.#board.exit(reason === APPLICATION_EXIT ? Number(BigInt.asIntN(32, status)) & 0xff : 1);
    return 0n;
  }

  #open(name: string, mode: number): bigint {
    if (name === ':tt') return BigInt(mode < 4 ? handle.input : mode < 8 ? handle.output : handle.error);
    if (name !== ':semihosting-features') return this.#fail(errno.EACCES);
    this.#place = 0;
    return BigInt(handle.features);
  }

  #commandLine(call: SemihostingCall, at: bigint, room: bigint): bigint {
    const text = new TextEncoder().encode(`${this.#options.commandLine}\0`);
    if (BigInt(text.length) > room) return this.#fail(errno.EINVAL);
    const length = this.#words(call.wordBytes, [BigInt(text.length - 1)]);
    const done = this.#store(call, at, text) && this.#store(call, call.parameter + BigInt(call.wordBytes), length);
    return done ? 0n : this.#fail(errno.EFAULT);
  }

  #heap(call: SemihostingCall, at: bigint): bigint {
    const { gpa, bytes } = this.#ram;
    const [middle, end] = [gpa + Math.floor(bytes / 2), gpa + bytes].map((address) => BigInt(address) & ~0xfn);
    // The heap grows up, the stack down.
    const words = this.#words(call.wordBytes, [middle, end, end, middle]);
    return this.#store(call, at, words) ? 0n : this.#fail(errno.EFAULT);
  }

  // --- the program's memory

  #bounded(length: bigint): number {
    return Number(length > BigInt(MOST_BYTES) ? BigInt(MOST_BYTES) : length);
  }

  /** Pieces of a range that each lie on one page, by guest-physical address; ends where nothing is mapped. */
  *#pieces(
    { translate }: SemihostingCall,
    gva: bigint,
    length: number,
  ): Generator<[gpa: number, from: number, to: number]> {
    for (let from = 0; from < length; ) {
      const at = BigInt.asUintN(64, gva + BigInt(from));
      const gpa = translate(at);
      if (gpa === undefined) return;
      const to = Math.min(length, from + Number(PAGE - (at % PAGE)));
      yield [Number(gpa), from, to];
      from = to;
    }
  }

  /** Up to so many bytes: as many as are mapped. */
  #load(call: SemihostingCall, gva: bigint, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    let done = 0;
    for (const [gpa, from, to] of this.#pieces(call, gva, length)) {
      const view = this.#board.memory.dma.view(gpa, to - from, false);
      if (!view) break;
      bytes.set(view, from);
      done = to;
    }
    return bytes.subarray(0, done);
  }
  /** False: not all of it is mapped. */
  #store(call: SemihostingCall, gva: bigint, bytes: Uint8Array): boolean {
    let done = 0;
    for (const [gpa, from, to] of this.#pieces(call, gva, bytes.length)) {
      const view = this.#board.memory.dma.view(gpa, to - from, true);
      if (!view) break;
      view.set(bytes.subarray(from, to));
      this.#board.memory.dma.publish(gpa, to - from);
      done = to;
    }
    return done === bytes.length;
  }

  /** Writes memory out. Gives how much it was. */
  #write(to: SemihostingStream, call: SemihostingCall, gva: bigint, length: number): number {
    const bytes = this.#load(call, gva, length);
    this.#options.write(to, bytes);
    return bytes.length;
  }

  /** Bytes up to a zero. */
  #text(call: SemihostingCall, gva: bigint): Uint8Array {
    const parts: number[] = [];
    while (parts.length < MOST_BYTES) {
      const at = BigInt.asUintN(64, gva + BigInt(parts.length));
      const piece = this.#load(call, at, Number(PAGE - (at % PAGE)));
      const end = piece.indexOf(0);
      for (const byte of end < 0 ? piece : piece.subarray(0, end)) parts.push(byte);
      if (end >= 0 || piece.length === 0) break;
    }
    return Uint8Array.from(parts);
  }
  #string(call: SemihostingCall, gva: bigint): string {
    return new TextDecoder('latin1').decode(this.#text(call, gva).subarray(0, 4096));
  }

  #words(wordBytes: 4 | 8, values: readonly bigint[]): Uint8Array {
    const bytes = new Uint8Array(wordBytes * values.length);
    const view = new DataView(bytes.buffer);
    for (const [n, value] of values.entries()) {
      if (wordBytes === 8) view.setBigUint64(8 * n, value, true);
      else view.setUint32(4 * n, Number(BigInt.asUintN(32, value)), true);
    }
    return bytes;
  }

  #withWords(call: SemihostingCall, count: number, run: (words: readonly bigint[]) => bigint): bigint {
    const { wordBytes, parameter } = call;
    const bytes = this.#load(call, parameter, wordBytes * count);
    if (bytes.length < wordBytes * count) return this.#fail(errno.EFAULT);
    const view = new DataView(bytes.buffer);
    const word = (n: number) =>
      wordBytes === 8 ? view.getBigUint64(8 * n, true) : BigInt(view.getUint32(4 * n, true));
    return run(Array.from({ length: count }, (_, n) => word(n)));
  }
  /** The first word is a handle. */
  #withHandle(call: SemihostingCall, count: number, run: (which: number, words: readonly bigint[]) => bigint): bigint {
    return this.#withWords(call, count, (words) => {
      const which = Number(words[0]);
      return which >= handle.input && which <= handle.features ? run(which, words) : this.#fail(errno.EBADF);
    });
  }
}

export const boardSemihosting = (options: SemihostingOptions, board: SemihostingBoard, ram: Ram): Semihosting =>
  new BoardSemihosting(options, board, ram);
