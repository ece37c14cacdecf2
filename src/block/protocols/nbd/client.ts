/**
 * A client's connection in the transmission phase: any number of callers, a bounded number of requests under way. The server
 * is not trusted: an answer that breaks the protocol ends the connection, and everything that waits on it fails with EIO.
 */
import { BlockError, toBlockError } from '../../errors.js';
import type { ConnectedExport, ExportInfo, HandshakeOptions } from './handshake.js';
import { connectNbd } from './handshake.js';
import {
  Chunk,
  ChunkFlag,
  Command,
  CommandFlag,
  decodeText,
  errorFromWire,
  extendedReplyBytes,
  getU64,
  magic,
  maxPayloadBytes,
  packRequest,
  type Request,
  simpleReplyBytes,
  structuredReplyBytes,
  TransmissionFlag,
  viewOf,
} from './wire.js';

const maxInFlight = 16;
/** Chunks of one answer; honest servers send far fewer. */
const maxChunks = 2 ** 16;
/** Payload of one answer that is no data: extents, errors. */
const maxMetaBytes = 2 ** 21;

export interface NbdExtent {
  readonly length: number;
  readonly flags: number;
}

export interface NbdConnectionOptions extends HandshakeOptions {
  /** Called once when the connection has ended by an error. */
  onEnd?(trouble: NbdTrouble): void;
}

/** Why a connection ended. */
export type NbdTrouble = BlockError;

interface Pending {
  readonly request: Request;
  /** Where a read's bytes go. */
  readonly buffer: Uint8Array | undefined;
  readonly resolve: () => void;
  readonly reject: (error: BlockError) => void;
  /** Bytes covered by read chunks, as [start, end) in the buffer. */
  readonly covered: (readonly [number, number])[];
  readonly extents: Map<number, readonly NbdExtent[]>;
  chunks: number;
  failure: BlockError | undefined;
}

function broken(sentence: string): BlockError {
  return new BlockError('EIO', `Protocol error: ${sentence}`);
}

export class NbdConnection {
  readonly info: ExportInfo;
  readonly mode: 'simple' | 'structured' | 'extended';
  readonly #session: ConnectedExport;
  readonly #pending = new Map<number, Pending>();
  readonly #waiting: (() => void)[] = [];
  readonly #onEnd: ((trouble: NbdTrouble) => void) | undefined;
  #cookie = 0;
  #inFlight = 0;
  #failure: BlockError | undefined;
  #isClosing = false;

  private constructor(session: ConnectedExport, onEnd: ((trouble: NbdTrouble) => void) | undefined) {
    this.#session = session;
    this.info = session.info;
    this.mode = session.mode;
    this.#onEnd = onEnd;
    void this.#receive();
  }

  static async open(options: NbdConnectionOptions): Promise<NbdConnection> {
    return new NbdConnection(await connectNbd(options), options.onEnd?.bind(options));
  }

  get isDead(): boolean {
    return this.#failure !== undefined;
  }

  get readOnly(): boolean {
    return this.can(TransmissionFlag.readOnly);
  }

  /** Has the server this transmission flag? */
  can(flag: number): boolean {
    return (this.info.flags & flag) !== 0;
  }

  /** The id of a negotiated context. */
  contextId(name: string): number | undefined {
    return this.info.contexts.find((context) => context.name === name)?.id;
  }

  async read(offset: number, buffer: Uint8Array): Promise<void> {
    if (buffer.length > 0) await this.#run(Command.read, 0, offset, buffer.length, undefined, buffer);
  }

  async write(offset: number, bytes: Uint8Array, fua = false): Promise<void> {
    const flags = (fua ? CommandFlag.fua : 0) | (this.mode === 'extended' ? CommandFlag.payloadLength : 0);
    if (bytes.length > 0) await this.#run(Command.write, flags, offset, bytes.length, bytes);
  }

  /** `flags` are CommandFlag bits: fua, noHole, fastZero. */
  async writeZeroes(offset: number, length: number, flags = 0): Promise<void> {
    await this.#run(Command.writeZeroes, flags, offset, length);
  }

  async trim(offset: number, length: number, fua = false): Promise<void> {
    await this.#run(Command.trim, fua ? CommandFlag.fua : 0, offset, length);
  }

  async cache(offset: number, length: number): Promise<void> {
    await this.#run(Command.cache, 0, offset, length);
  }

  async flush(): Promise<void> {
    await this.#run(Command.flush, 0, 0, 0);
  }

  /** The protocol's resize extension; only where the server offers it. */
  async resize(length: number): Promise<void> {
    if (!this.can(TransmissionFlag.sendResize)) throw new BlockError('ENOTSUP', 'Cannot resize NBD nodes');
    await this.#run(Command.resize, 0, 0, length);
  }

  /** Extents from `offset` for each negotiated context, by its id. With `one` a single extent within the range. */
  async blockStatus(offset: number, length: number, one = false): Promise<ReadonlyMap<number, readonly NbdExtent[]>> {
    const pending = await this.#run(Command.blockStatus, one ? CommandFlag.requestOne : 0, offset, length);
    return pending.extents;
  }

  /** Says good-bye. What is still under way fails. */
  async close(): Promise<void> {
    if (this.#isClosing) return;
    this.#isClosing = true;
    if (!this.#failure) {
      const bye: Request = { flags: 0, command: Command.disconnect, cookieHigh: 0, cookieLow: 0, offset: 0, length: 0 };
      await this.#session.writer.send(packRequest(bye, this.mode === 'extended')).catch(() => undefined);
      await this.#session.stream.end().catch(() => undefined);
    }
    this.#fail(new BlockError('ESHUTDOWN'));
  }

  // ---- sending

  async #run(
    command: number,
    flags: number,
    offset: number,
    length: number,
    payload?: Uint8Array,
    buffer?: Uint8Array,
  ): Promise<Pending> {
    while (this.#inFlight >= maxInFlight) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (this.#failure) throw this.#failure;
    this.#inFlight++;
    try {
      do this.#cookie = (this.#cookie + 1) >>> 0;
      while (this.#pending.has(this.#cookie));
      const request: Request = { flags, command, cookieHigh: 0, cookieLow: this.#cookie, offset, length };
      let pending!: Pending;
      const answered = new Promise<void>((resolve, reject) => {
        pending = {
          request,
          buffer,
          resolve,
          reject,
          covered: [],
          extents: new Map(),
          chunks: 0,
          failure: undefined,
        };
        this.#pending.set(request.cookieLow, pending);
      });
      const header = packRequest(request, this.mode === 'extended');
      const sent = payload ? this.#session.writer.send(header, payload) : this.#session.writer.send(header);
      // An answer may come before all is sent (an error to a write); a failure to send ends the connection.
      sent.catch((error) => this.#fail(toBlockError(error)));
      await answered;
      // The payload belongs to the caller again only when the host has it.
      if (payload) await sent;
      return pending;
    } finally {
      this.#inFlight--;
      this.#waiting.shift()?.();
    }
  }

  #fail(error: BlockError): void {
    if (this.#failure) return;
    this.#failure = error;
    this.#session.stream.destroy();
    for (const pending of this.#pending.values()) pending.reject(new BlockError('EIO', undefined, { cause: error }));
    this.#pending.clear();
    for (const wake of this.#waiting.splice(0)) wake();
    if (!this.#isClosing) this.#onEnd?.(error);
  }

  // ---- receiving

  async #receive(): Promise<void> {
    const { reader } = this.#session;
    try {
      for (;;) {
        const start = await reader.readOrEnd(4);
        if (!start) throw new BlockError('EIO', 'Server closed the connection');
        const kind = viewOf(start).getUint32(0);
        if (kind === magic.simpleReply && this.mode !== 'extended')
          await this.#simpleReply(await reader.read(simpleReplyBytes - 4));
        else if (kind === magic.structuredReply && this.mode === 'structured')
          await this.#chunk(await reader.read(structuredReplyBytes - 4), false);
        else if (kind === magic.extendedReply && this.mode === 'extended')
          await this.#chunk(await reader.read(extendedReplyBytes - 4), true);
        else throw broken(`invalid magic (got 0x${kind.toString(16)})`);
      }
    } catch (error) {
      this.#fail(toBlockError(error));
    }
  }

  #find(view: DataView, at: number): Pending {
    const pending = view.getUint32(at) === 0 ? this.#pending.get(view.getUint32(at + 4)) : undefined;
    if (!pending) throw broken('reply to no request');
    return pending;
  }

  #finish(pending: Pending): void {
    this.#pending.delete(pending.request.cookieLow);
    if (pending.failure) pending.reject(pending.failure);
    else pending.resolve();
  }

  async #simpleReply(header: Uint8Array): Promise<void> {
    const view = viewOf(header);
    const error = view.getUint32(0);
    const pending = this.#find(view, 4);
    const { command } = pending.request;
    if (this.mode === 'structured' && (command === Command.read || command === Command.blockStatus))
      throw broken('simple reply when structured reply chunk was expected');
    if (error !== 0) pending.failure = new BlockError(errorFromWire(error));
    else if (pending.buffer) await this.#session.reader.readInto(pending.buffer);
    this.#finish(pending);
  }

  async #chunk(header: Uint8Array, isExtended: boolean): Promise<void> {
    const view = viewOf(header);
    const flags = view.getUint16(0);
    const type = view.getUint16(2);
    const pending = this.#find(view, 4);
    const length = isExtended ? getU64(view, 20) : view.getUint32(12);
    const { reader } = this.#session;
    const isData = type === Chunk.offsetData;
    if (length > (isData ? maxPayloadBytes + 8 : maxMetaBytes)) throw broken(`payload of ${length} bytes is too long`);
    if (++pending.chunks > maxChunks) throw broken('too many reply chunks');
    const isDone = (flags & ChunkFlag.done) !== 0;
    if (isData) {
      if (length <= 8) throw broken('data chunk without data');
      const offset = getU64(viewOf(await reader.read(8)), 0);
      const at = this.#cover(pending, offset, length - 8);
      await reader.readInto(pending.buffer!.subarray(at, at + length - 8));
    } else {
      const payload = await reader.read(length);
      this.#metaChunk(pending, type, payload, isDone);
    }
    if (!isDone) return;
    if (pending.buffer && !pending.failure && !isCovered(pending.covered, pending.buffer.length))
      throw broken('read was not answered in full');
    if (pending.request.command === Command.blockStatus && !pending.failure) {
      for (const { id } of this.info.contexts)
        if (!pending.extents.has(id)) throw broken('block status lacks a context');
    }
    this.#finish(pending);
  }

  /** Notes a run of a read's answer; gives its place in the buffer. */
  #cover(pending: Pending, offset: number, size: number): number {
    const at = offset - pending.request.offset;
    if (!pending.buffer || !(at >= 0) || size <= 0 || at + size > pending.buffer.length)
      throw broken('read chunk lies outside of the request');
    pending.covered.push([at, at + size]);
    return at;
  }

  #metaChunk(pending: Pending, type: number, payload: Uint8Array, isDone: boolean): void {
    const view = viewOf(payload);
    switch (type) {
      case Chunk.none:
        if (payload.length !== 0 || !isDone) throw broken('chunk of type none with payload');
        return;
      case Chunk.offsetHole: {
        if (payload.length !== 12) throw broken('hole chunk of wrong size');
        const size = view.getUint32(8);
        const at = this.#cover(pending, getU64(view, 0), size);
        pending.buffer!.fill(0, at, at + size);
        return;
      }
      case Chunk.blockStatus:
      case Chunk.blockStatusExtended:
        this.#statusChunk(pending, type === Chunk.blockStatusExtended, payload);
        return;
      default: {
        if (!(type & 0x8000)) throw broken(`unexpected reply type ${type}`);
        if (payload.length < 6) throw broken('error chunk is too short');
        const size = view.getUint16(4);
        if (6 + size > payload.length || view.getUint32(0) === 0) throw broken('error chunk is malformed');
        const code = errorFromWire(view.getUint32(0));
        const message = decodeText(payload.subarray(6, 6 + size));
        pending.failure ??= new BlockError(code, undefined, message === '' ? {} : { cause: message });
      }
    }
  }

  #statusChunk(pending: Pending, isWide: boolean, payload: Uint8Array): void {
    const view = viewOf(payload);
    const head = isWide ? 8 : 4;
    const row = isWide ? 16 : 8;
    if (pending.request.command !== Command.blockStatus || isWide !== (this.mode === 'extended'))
      throw broken('unexpected block status chunk');
    const count = (payload.length - head) / row;
    if (count < 1 || !Number.isInteger(count) || (isWide && view.getUint32(4) !== count))
      throw broken('block status chunk of wrong size');
    const id = view.getUint32(0);
    if (!this.info.contexts.some((context) => context.id === id) || pending.extents.has(id))
      throw broken(`unexpected context id ${id}`);
    const extents: NbdExtent[] = [];
    for (let index = 0; index < count; index++) {
      const at = head + row * index;
      const length = isWide ? getU64(view, at) : view.getUint32(at);
      if (length === 0) throw broken('extent of length zero');
      extents.push({ length, flags: isWide ? getU64(view, at + 8) : view.getUint32(at + 4) });
    }
    pending.extents.set(id, extents);
  }
}

/** Do the runs cover 0…size exactly once? */
function isCovered(runs: (readonly [number, number])[], size: number): boolean {
  let end = 0;
  for (const [from, to] of runs.sort((a, b) => a[0] - b[0])) {
    if (from !== end) return false;
    end = to;
  }
  return end === size;
}
