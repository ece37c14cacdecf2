/** A byte stream with the guest, seen from the machine's owner: a serial port, a console, a named port, a debug console. */
import { VringError } from '../base/index.js';
import { bounded, type WaitOptions } from './abort.js';
import { ByteRing } from './byte-ring.js';
import type { StreamRings } from './worker-protocol.js';

/** Text that `waitForText` can still look at when nobody has waited for it. */
const TEXT_LIMIT = 1 << 18;
/** An iterator that is this far behind makes the guest wait. */
const QUEUE_LIMIT = 1 << 20;

export interface CharacterPort extends AsyncIterable<Uint8Array> {
  readonly name: string;
  /** Hands bytes (a string as UTF-8) to the guest; resolves when the machine has room for nothing to be left over here. */
  write(bytes: Uint8Array | string, options?: WaitOptions): Promise<void>;
  /** As a person at the terminal would type it: a line feed in `text` is the Enter key. */
  type(text: string, options?: WaitOptions): Promise<void>;
  /** Nothing more will be written: the reader of a named port sees its end. */
  endInput(): void;
  /** Calls `listener` with all that the guest writes from now on. Returns what ends that. */
  onData(listener: (bytes: Uint8Array) => void): () => void;
  /**
   * Waits until the guest has written this text, and gives everything since the last such wait up to its end. What was
   * written before the call counts, up to 256 KiB of it. Throws VringError `timeout`, `aborted`, `machine-ended`.
   */
  waitForText(wanted: string | RegExp, options?: WaitOptions): Promise<string>;
  /** Everything that the guest writes from now on. While a reader is far behind, the guest waits. */
  [Symbol.asyncIterator](): AsyncIterableIterator<Uint8Array>;
  /** Tells a console how large the terminal is. */
  resize(columns: number, rows: number): void;
}

interface Waiter {
  readonly wanted: string | RegExp;
  readonly resolve: (text: string) => void;
  readonly reject: (error: unknown) => void;
}

interface PendingWrite {
  bytes: Uint8Array;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
  cancelled: boolean;
}

class PortReader implements AsyncIterableIterator<Uint8Array> {
  readonly #queue: Uint8Array[] = [];
  readonly #onChange: (reader: PortReader, ended: boolean) => void;
  #waiting: ((result: IteratorResult<Uint8Array>) => void)[] = [];
  #ended = false;
  queuedBytes = 0;

  constructor(onChange: (reader: PortReader, ended: boolean) => void) {
    this.#onChange = onChange;
  }

  push(bytes: Uint8Array): void {
    const next = this.#waiting.shift();
    if (next) {
      next({ done: false, value: bytes });
      return;
    }
    this.#queue.push(bytes);
    this.queuedBytes += bytes.length;
  }

  end(): void {
    this.#ended = true;
    for (const resolve of this.#waiting.splice(0)) resolve({ done: true, value: undefined });
  }

  next(): Promise<IteratorResult<Uint8Array>> {
    const bytes = this.#queue.shift();
    if (bytes) {
      this.queuedBytes -= bytes.length;
      this.#onChange(this, false);
      return Promise.resolve({ done: false, value: bytes });
    }
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  return(): Promise<IteratorResult<Uint8Array>> {
    this.#queue.length = 0;
    this.queuedBytes = 0;
    this.end();
    this.#onChange(this, true);
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<Uint8Array> {
    return this;
  }
}

/** What a port needs of its machine. */
export interface PortOwner {
  /** Tells the machine's thread to look at the streams. */
  ring(): void;
  resize?(columns: number, rows: number): void;
}

export class MachinePort implements CharacterPort {
  readonly name: string;
  readonly rings: StreamRings;
  readonly #output: ByteRing;
  readonly #input: ByteRing;
  readonly #owner: PortOwner;
  readonly #listeners = new Set<(bytes: Uint8Array) => void>();
  readonly #readers = new Set<PortReader>();
  readonly #waiters: Waiter[] = [];
  readonly #writes: PendingWrite[] = [];
  readonly #decoder = new TextDecoder();
  #text = '';
  #draining: NodeJS.Immediate | undefined;
  #inputEnded = false;
  #failure: VringError | undefined;

  constructor(name: string, owner: PortOwner) {
    this.name = name;
    this.#owner = owner;
    this.#output = ByteRing.create();
    this.#input = ByteRing.create();
    this.#output.sleep();
    // Structured cloning wants the shared buffers alone.
    this.rings = { output: this.#output.buffer, input: this.#input.buffer };
  }

  write(bytes: Uint8Array | string, options: WaitOptions = {}): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure);
    if (this.#inputEnded) return Promise.reject(new VringError('port-closed', `The input of ${this.name} has ended.`));
    const content = typeof bytes === 'string' ? new TextEncoder().encode(bytes) : bytes;
    const pending: PendingWrite = { bytes: content, resolve: () => {}, reject: () => {}, cancelled: false };
    const done = new Promise<void>((resolve, reject) => {
      Object.assign(pending, { resolve, reject });
    });
    this.#writes.push(pending);
    this.#flushWrites();
    return bounded(
      done,
      options,
      () => new VringError('timeout', `The guest does not take what is written to ${this.name}.`),
      () => {
        pending.cancelled = true;
        this.#flushWrites();
      },
    );
  }

  type(text: string, options?: WaitOptions): Promise<void> {
    return this.write(text.replaceAll('\n', '\r'), options);
  }

  endInput(): void {
    this.#inputEnded = true;
    this.#flushWrites();
  }

  onData(listener: (bytes: Uint8Array) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  waitForText(wanted: string | RegExp, options: WaitOptions = {}): Promise<string> {
    const pattern = wanted instanceof RegExp ? new RegExp(wanted.source, wanted.flags.replace(/[gy]/g, '')) : wanted;
    let waiter!: Waiter;
    const found = new Promise<string>((resolve, reject) => {
      waiter = { wanted: pattern, resolve, reject };
    });
    this.#waiters.push(waiter);
    this.#look();
    if (this.#failure && this.#waiters.includes(waiter)) this.#rejectWaiters(this.#failure);
    const forget = () => {
      const at = this.#waiters.indexOf(waiter);
      if (at >= 0) this.#waiters.splice(at, 1);
    };
    const late = () =>
      new VringError(
        'timeout',
        `The guest did not write ${String(wanted)} to ${this.name} in ${options.timeoutMs} ms; last it wrote ${JSON.stringify(this.#text.slice(-200))}.`,
      );
    return bounded(found, options, late, forget);
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<Uint8Array> {
    const reader = new PortReader((self, ended) => {
      if (ended) this.#readers.delete(self);
      this.drain();
    });
    if (this.#failure) reader.end();
    else this.#readers.add(reader);
    return reader;
  }

  resize(columns: number, rows: number): void {
    this.#owner.resize?.(columns, rows);
  }

  /** The machine says that there is output. */
  drain(): void {
    if (this.#draining !== undefined) return;
    if (this.#behind()) return;
    const bytes = this.#output.read();
    if (bytes.length > 0) {
      if (this.#output.unblock()) this.#owner.ring();
      this.#deliver(bytes);
    }
    if (this.#output.sleep()) return;
    // More has come meanwhile; others are to have their turn first.
    this.#draining = setImmediate(() => {
      this.#draining = undefined;
      this.drain();
    });
  }

  /** The machine says that it has taken input. */
  inputSpace(): void {
    this.#flushWrites();
  }

  /** The machine is gone: what it wrote is handed out to the last byte, then readers and waiters learn that no more comes. */
  end(failure: VringError): void {
    clearImmediate(this.#draining);
    this.#draining = undefined;
    for (;;) {
      const bytes = this.#output.read();
      if (bytes.length === 0) break;
      this.#deliver(bytes);
    }
    this.#failure = failure;
    for (const reader of this.#readers) reader.end();
    this.#readers.clear();
    this.#rejectWaiters(failure);
    for (const pending of this.#writes.splice(0)) pending.reject(failure);
    this.#listeners.clear();
  }

  #behind(): boolean {
    for (const reader of this.#readers) if (reader.queuedBytes >= QUEUE_LIMIT) return true;
    return false;
  }

  #deliver(bytes: Uint8Array): void {
    for (const reader of this.#readers) reader.push(bytes);
    for (const listener of [...this.#listeners]) listener(bytes);
    this.#text += this.#decoder.decode(bytes, { stream: true });
    this.#look();
    if (this.#text.length > 2 * TEXT_LIMIT) this.#text = this.#text.slice(-TEXT_LIMIT);
  }

  #look(): void {
    while (this.#waiters.length > 0) {
      const [{ wanted, resolve }] = this.#waiters;
      const end = endOfMatch(this.#text, wanted);
      if (end < 0) return;
      const found = this.#text.slice(0, end);
      this.#text = this.#text.slice(end);
      this.#waiters.shift();
      resolve(found);
    }
  }

  #rejectWaiters(failure: VringError): void {
    for (const { reject } of this.#waiters.splice(0)) reject(failure);
  }

  #flushWrites(): void {
    let wrote = false;
    while (this.#writes.length > 0) {
      const [pending] = this.#writes;
      if (!pending.cancelled) {
        let count = 0;
        do count += this.#input.write(pending.bytes.subarray(count));
        while (count < pending.bytes.length && !this.#input.block());
        wrote ||= count > 0;
        if (count < pending.bytes.length) {
          pending.bytes = pending.bytes.subarray(count);
          break;
        }
      }
      this.#writes.shift();
      pending.resolve();
    }
    if (this.#inputEnded && this.#writes.length === 0 && !this.#input.closed) {
      this.#input.close();
      wrote = true;
    }
    if (wrote) this.#owner.ring();
  }
}

function endOfMatch(text: string, wanted: string | RegExp): number {
  if (typeof wanted === 'string') {
    const at = text.indexOf(wanted);
    return at < 0 ? -1 : at + wanted.length;
  }
  const match = wanted.exec(text);
  return match === null ? -1 : match.index + match[0].length;
}
