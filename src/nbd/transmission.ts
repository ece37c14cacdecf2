/**
 * The transmission phase of a server's connection (doc/proto.md, "Transmission phase"): requests are served side by side, a
 * bounded number and a bounded number of bytes at once; while the bound is reached nothing more is read from the client.
 */
import { BlockError, errorText, toBlockError } from '../block/errors.js';
import { RequestFlag } from '../block/node.js';
import {
  Chunk,
  ChunkFlag,
  Command,
  CommandFlag,
  type CommandRow,
  commands,
  encodeText,
  errorToWire,
  extendedReplyBytes,
  extendedRequestBytes,
  getU64,
  maxPayloadBytes,
  maxStringBytes,
  pack,
  packChunk,
  packSimpleReply,
  putChunk,
  putSimpleReply,
  type Request,
  requestAt,
  requestBytes,
  setU64,
  simpleReplyBytes,
  structuredReplyBytes,
  TransmissionFlag,
  unpackRequest,
  viewOf,
} from '../block/protocols/nbd/wire.js';
import type { Extent, MetaContext } from './export.js';
import type { NegotiatedSession } from './negotiation.js';

/** Requests of one connection at once, as in QEMU. */
const maxInFlight = 16;
/** Payload bytes of one connection in memory at once. */
const maxBytesInFlight = 2 * maxPayloadBytes;
/** One step of a request without payload, so that a large one never outgrows the node's bound. */
const stepBytes = 2 ** 30;
const cacheStepBytes = 2 ** 18;
/** What one cache request reads at most; the rest of its range is left as it is, for caching is advice. */
const maxCacheBytes = 64 * 2 ** 20;
/** Reads below this are not searched for holes: telling of one would cost more than its zeroes. Requests below it may be served in place. */
const sparseReadBytes = 65536;
/** Replies to requests served in place are gathered up to this. */
const batchBytes = 2 ** 18;
/**
 * Buffers of larger requests are kept for the next ones up to this size, as many as there are requests at once and no more than so
 * many bytes: garbage of that size would keep the collector busy.
 */
const pooledBytes = 2 ** 20;
const maxPoolBytes = 8 * 2 ** 20;
/** Extents in one answer: 1 MiB of it. */
const maxExtents = 2 ** 17;
/** Bytes that one block-status request looks over in one go. */
const maxStatusSteps = maxExtents;
/** The block-status payload: the effect's length and ids. */
const maxStatusPayloadBytes = 8 + 4 * 1024;

/** An error for the client, with a sentence for structured replies. */
function refusal(code: string, sentence: string): BlockError {
  return new BlockError(code, sentence);
}

const failureSentences: Readonly<Record<number, string>> = {
  [Command.read]: 'reading from file failed',
  [Command.write]: 'writing to file failed',
  [Command.flush]: 'flush failed',
  [Command.trim]: 'discard failed',
  [Command.cache]: 'caching data failed',
  [Command.writeZeroes]: 'writing to file failed',
  [Command.blockStatus]: "can't get block status",
  [Command.resize]: 'resize failed',
};

interface StatusFilter {
  readonly length: number;
  readonly contexts: readonly MetaContext[];
}

export class Transmission {
  readonly #session: NegotiatedSession;
  readonly #isExtended: boolean;
  readonly #isStructured: boolean;
  readonly #flags: number;
  #inFlight = 0;
  #bytesInFlight = 0;
  #wake: (() => void) | undefined;
  #isStopping = false;
  #batch: Uint8Array | undefined;
  #batchView: DataView | undefined;
  readonly #pool: ArrayBufferLike[] = [];
  #poolBytes = 0;

  constructor(session: NegotiatedSession) {
    this.#session = session;
    this.#isExtended = session.mode === 'extended';
    this.#isStructured = session.mode !== 'simple';
    this.#flags = session.export.transmissionFlags(this.#isStructured, this.#isExtended);
  }

  /** Serves until the client disconnects or breaks the protocol (then it throws); returns when all requests have ended. */
  async run(): Promise<void> {
    const { reader } = this.#session;
    const headerBytes = this.#isExtended ? extendedRequestBytes : requestBytes;
    try {
      for (;;) {
        const wait = this.#serveReady();
        if (wait) await wait;
        const header = await reader.readOrEnd(headerBytes);
        if (!header) return;
        const request = unpackRequest(header, this.#isExtended);
        if (!request) throw new BlockError('EPROTO', 'invalid magic in request');
        if (request.command === Command.disconnect) return;
        await this.#accept(request);
      }
    } finally {
      this.#isStopping = true;
      while (this.#inFlight > 0) await this.#released();
    }
  }

  // ---- in place

  /**
   * Serves the small reads and writes that have arrived whole, as long as the disk can do them at once, and sends their replies
   * together: for these a promise each would cost more than the work. The promise is there when the client has to catch up.
   */
  #serveReady(): Promise<void> | undefined {
    const { reader, export: entry } = this.#session;
    const { node } = entry;
    const isExtended = this.#isExtended;
    const headerBytes = isExtended ? extendedRequestBytes : requestBytes;
    const writeFlags = isExtended ? CommandFlag.payloadLength : 0;
    let filled = 0;
    while (reader.buffered >= headerBytes) {
      const request = requestAt(reader.view, reader.position, isExtended);
      if (!request) break;
      const { command, offset, length } = request;
      if (length === 0 || !(length < sparseReadBytes && offset + length <= entry.lengthBytes)) break;
      this.#batch ??= node.host.allocate(batchBytes);
      const batch = this.#batch;
      const view = (this.#batchView ??= viewOf(batch));
      if (filled + extendedReplyBytes + 8 + length > batchBytes) {
        const wait = this.#sendBatch(filled);
        if (wait) return wait;
        filled = 0;
      }
      if (command === Command.read && request.flags === 0) {
        const head = this.#isStructured
          ? 8 + (isExtended ? extendedReplyBytes : structuredReplyBytes)
          : simpleReplyBytes;
        const start = filled + head;
        if (!node.readNow(entry.offsetBytes + offset, batch.subarray(start, start + length))) break;
        if (this.#isStructured) {
          putChunk(view, filled, request, isExtended, Chunk.offsetData, ChunkFlag.done, 8 + length);
          setU64(view, start - 8, offset);
        } else putSimpleReply(view, filled, request, 0);
        filled = start + length;
        reader.advance(headerBytes);
      } else if (command === Command.write && request.flags === writeFlags) {
        if (entry.readOnly || entry.writeThrough || reader.buffered < headerBytes + length) break;
        const start = reader.position + headerBytes;
        if (!node.writeNow(entry.offsetBytes + offset, reader.chunk.subarray(start, start + length))) break;
        filled += isExtended
          ? putChunk(view, filled, request, true, Chunk.none, ChunkFlag.done, 0)
          : putSimpleReply(view, filled, request, 0);
        reader.advance(headerBytes + length);
      } else break;
    }
    return filled > 0 ? this.#sendBatch(filled) : undefined;
  }

  #sendBatch(length: number): Promise<void> | undefined {
    const { writer, stream } = this.#session;
    const sent = writer.sendNow(this.#batch!.subarray(0, length));
    if (!sent) return undefined;
    // The stream still needs the buffer.
    this.#batch = undefined;
    this.#batchView = undefined;
    return sent.catch(() => stream.destroy());
  }

  // ---- one by one

  /** A buffer of this length, one used before if it may be. */
  #takeBuffer(length: number): Uint8Array {
    if (length > pooledBytes || length < sparseReadBytes) return this.#session.export.node.host.allocate(length);
    const index = this.#pool.findIndex((buffer) => buffer.byteLength >= length);
    const known = index < 0 ? undefined : this.#pool.splice(index, 1)[0];
    if (!known) return this.#session.export.node.host.allocate(length);
    this.#poolBytes -= known.byteLength;
    return new Uint8Array(known, 0, length);
  }

  /** Nobody uses the buffer, which `#takeBuffer` gave, any more. */
  #giveBuffer({ buffer, byteLength }: Uint8Array): void {
    if (byteLength < sparseReadBytes || buffer.byteLength > pooledBytes || this.#pool.length >= maxInFlight) return;
    if (this.#poolBytes + buffer.byteLength > maxPoolBytes) return;
    this.#pool.push(buffer);
    this.#poolBytes += buffer.byteLength;
  }

  #released(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  async #reserve(bytes: number): Promise<void> {
    while (this.#inFlight >= maxInFlight || (this.#inFlight > 0 && this.#bytesInFlight + bytes > maxBytesInFlight))
      await this.#released();
    this.#inFlight++;
    this.#bytesInFlight += bytes;
  }

  #release(bytes: number): void {
    this.#inFlight--;
    this.#bytesInFlight -= bytes;
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  /** Reads what belongs to the request and starts it. Only broken framing throws. */
  async #accept(request: Request): Promise<void> {
    const { reader } = this.#session;
    const row = commands[request.command];
    const hasPayloadFlag = this.#isExtended && (request.flags & CommandFlag.payloadLength) !== 0;
    const sendsPayload = this.#isExtended ? hasPayloadFlag : request.command === Command.write;
    let payload: Uint8Array | undefined;
    let pooled: Uint8Array | undefined;
    let problem: BlockError | undefined;
    let held = 0;
    if (sendsPayload && (request.length > maxPayloadBytes || !Number.isFinite(request.length))) {
      // Too much to read past; the connection can't go on.
      throw new BlockError('EPROTO', `len (${request.length}) is larger than max len (${maxPayloadBytes})`);
    }
    if (sendsPayload) {
      const isExpected =
        row?.payload || (request.command === Command.blockStatus && request.length <= maxStatusPayloadBytes);
      held = isExpected ? request.length : 0;
      await this.#reserve(held);
      try {
        if (isExpected) {
          payload = reader.take(request.length);
          if (!payload) {
            payload = pooled = this.#takeBuffer(request.length);
            await reader.readInto(payload);
          }
        } else {
          await reader.skip(request.length);
          problem = refusal(
            'EINVAL',
            `command ${row?.name ?? request.command} does not take a payload of ${request.length} bytes`,
          );
        }
      } catch (error) {
        this.#release(held);
        throw error;
      }
    } else {
      held = request.command === Command.read ? Math.min(request.length, maxPayloadBytes) : 0;
      await this.#reserve(held);
    }
    problem ??= this.#check(request, row, payload);
    void this.#serve(request, payload, problem)
      // The reply could not be sent: the reader will find the stream ended.
      .catch(() => this.#session.stream.destroy())
      .finally(() => {
        if (pooled) this.#giveBuffer(pooled);
        this.#release(held);
      });
  }

  /** Is it a request that may be tried? */
  #check(request: Request, row: CommandRow | undefined, payload: Uint8Array | undefined): BlockError | undefined {
    const name = row?.name ?? 'unknown';
    if (!row) return refusal('EINVAL', `invalid request type (${request.command}) received`);
    if (
      row.needs !== undefined &&
      row.writes &&
      (this.#flags & TransmissionFlag.readOnly) === 0 &&
      (this.#flags & row.needs) === 0
    )
      return refusal('EINVAL', `invalid request type (${request.command}) received`);
    if (row.writes && this.#session.export.readOnly) return refusal('EPERM', 'Export is read-only');
    let allowed = row.flags;
    if (!this.#isExtended) allowed &= ~CommandFlag.payloadLength;
    if (!this.#isStructured) allowed &= ~CommandFlag.df;
    if (request.flags & ~allowed)
      return refusal('EINVAL', `unsupported flags for command ${name} (got 0x${request.flags.toString(16)})`);
    if (this.#isExtended && row.payload && payload === undefined)
      return refusal('EINVAL', `command ${name} needs the payload length flag`);
    if (request.command === Command.resize) return undefined;
    if (request.command === Command.flush) return undefined;
    if (request.command === Command.blockStatus) {
      if (this.#session.contexts.length === 0) return refusal('EINVAL', 'CMD_BLOCK_STATUS not negotiated');
      if (payload === undefined && request.length === 0) return refusal('EINVAL', 'need non-zero length');
      if (payload !== undefined) return undefined;
    }
    if (row.bounded && request.length > maxPayloadBytes)
      return refusal('EINVAL', `len (${request.length}) is larger than max len (${maxPayloadBytes})`);
    return this.#checkRange(request, request.length, name);
  }

  #checkRange(request: Request, length: number, name: string): BlockError | undefined {
    const size = this.#session.export.lengthBytes;
    if (request.offset <= size && request.offset + length <= size) return undefined;
    const isWrite = request.command === Command.write || request.command === Command.writeZeroes;
    return refusal(
      isWrite ? 'ENOSPC' : 'EINVAL',
      `operation past EOF; From: ${request.offset}, Len: ${length}, Size: ${size} (${name})`,
    );
  }

  async #serve(request: Request, payload: Uint8Array | undefined, problem: BlockError | undefined): Promise<void> {
    let failure = problem;
    if (!failure) {
      try {
        await this.#perform(request, payload);
        return;
      } catch (error) {
        const typed = toBlockError(error);
        const what = failureSentences[request.command] ?? 'request failed';
        failure = typed.bare || !isRefusal(typed) ? refusal(typed.code, `${what}: ${errorText(typed.code)}`) : typed;
      }
    }
    await this.#sendError(request, failure);
  }

  #sendError(request: Request, failure: BlockError): Promise<void> {
    const number = errorToWire(failure.code);
    if (!this.#isStructured) return this.#session.writer.send(packSimpleReply(request, number));
    const sentence = encodeText(failure.message).subarray(0, maxStringBytes);
    const body = pack(['u32', number], ['u16', sentence.length], ['bytes', sentence]);
    return this.#session.writer.send(
      packChunk(request, this.#isExtended, Chunk.error, ChunkFlag.done, body.length),
      body,
    );
  }

  #sendDone(request: Request): Promise<void> {
    // Extended headers have no simple replies; with structured ones a simple reply may answer all but reads.
    if (this.#isExtended) return this.#session.writer.send(packChunk(request, true, Chunk.none, ChunkFlag.done, 0));
    return this.#session.writer.send(packSimpleReply(request, 0));
  }

  async #perform(request: Request, payload: Uint8Array | undefined): Promise<void> {
    const { export: entry } = this.#session;
    const { node } = entry;
    const at = entry.offsetBytes + request.offset;
    const fua = request.flags & CommandFlag.fua || entry.writeThrough ? RequestFlag.fua : 0;
    switch (request.command) {
      case Command.read:
        return this.#read(request);
      case Command.write:
        if (payload!.length > 0) await node.write(at, payload!, fua);
        break;
      case Command.flush:
        await node.flush();
        break;
      case Command.trim:
        await this.#inSteps(request, (offset, length) => node.discard(offset, this.#within(offset, length)));
        if (fua) await node.flush();
        break;
      case Command.writeZeroes: {
        const flags =
          fua |
          (request.flags & CommandFlag.noHole ? 0 : RequestFlag.mayUnmap) |
          (request.flags & CommandFlag.fastZero ? RequestFlag.noFallback : 0);
        await this.#inSteps(request, (offset, length) => node.writeZeroes(offset, length, flags));
        break;
      }
      case Command.cache:
        await this.#cache(at, Math.min(request.length, maxCacheBytes));
        break;
      case Command.blockStatus:
        return this.#blockStatus(request, payload);
      case Command.resize:
        await node.resize(request.length, { exact: true });
        break;
    }
    return this.#sendDone(request);
  }

  /** Discarding ends with the image, which the export may round up. */
  #within(offset: number, length: number): number {
    return Math.max(0, Math.min(length, this.#session.export.node.length - offset));
  }

  async #inSteps(request: Request, step: (offset: number, length: number) => Promise<void>): Promise<void> {
    const base = this.#session.export.offsetBytes + request.offset;
    for (let done = 0; done < request.length; done += stepBytes) {
      if (this.#isStopping) throw new BlockError('ESHUTDOWN');
      await step(base + done, Math.min(stepBytes, request.length - done));
    }
  }

  async #cache(offset: number, length: number): Promise<void> {
    const { node } = this.#session.export;
    const buffer = node.host.allocate(Math.min(length, cacheStepBytes));
    for (let done = 0; done < length && !this.#isStopping; done += cacheStepBytes)
      await node.read(offset + done, buffer.subarray(0, Math.min(cacheStepBytes, length - done)));
  }

  // ---- read

  async #read(request: Request): Promise<void> {
    const { export: entry, writer } = this.#session;
    const { node } = entry;
    const at = entry.offsetBytes + request.offset;
    const { length } = request;
    if (length === 0) return this.#sendDone(request);
    if (!this.#isStructured) {
      const buffer = this.#takeBuffer(length);
      await node.read(at, buffer);
      await writer.send(packSimpleReply(request, 0), buffer);
      this.#giveBuffer(buffer);
      return;
    }
    const mayBeSparse = length >= sparseReadBytes && (request.flags & CommandFlag.df) === 0;
    let done = 0;
    while (done < length) {
      let size = length - done;
      let isHole = false;
      if (mayBeSparse) {
        const status = await node.chainStatus(at + done, size);
        // A short run of data is sent with what follows: many chunks cost both ends more than zeroes do.
        isHole = status.zero && status.length >= Math.min(size, 4096);
        if (isHole || (status.length < size && status.length >= sparseReadBytes)) size = status.length;
        else if (status.length < size) size = Math.min(size, sparseReadBytes);
      }
      const isLast = done + size === length;
      const flags = isLast ? ChunkFlag.done : 0;
      const offset = request.offset + done;
      if (isHole) {
        const body = pack(['u64', offset], ['u32', size]);
        await writer.send(packChunk(request, this.#isExtended, Chunk.offsetHole, flags, body.length), body);
      } else {
        const buffer = this.#takeBuffer(size);
        await node.read(at + done, buffer);
        await writer.send(
          packChunk(request, this.#isExtended, Chunk.offsetData, flags, 8 + size),
          pack(['u64', offset]),
          buffer,
        );
        this.#giveBuffer(buffer);
      }
      done += size;
    }
  }

  // ---- block status

  async #blockStatus(request: Request, payload: Uint8Array | undefined): Promise<void> {
    const filter = payload === undefined ? undefined : this.#statusFilter(payload);
    const wanted: StatusFilter = filter ?? { length: request.length, contexts: this.#session.contexts };
    if (payload !== undefined) {
      const problem = this.#checkRange(request, wanted.length, 'block status');
      if (problem) throw problem;
    }
    const isOne = (request.flags & CommandFlag.requestOne) !== 0;
    // All contexts are looked up before the first is told: an error must not follow chunks of success.
    const answers: Extent[][] = [];
    for (const context of wanted.contexts) {
      answers.push(await this.#extents(context, request.offset, wanted.length, isOne ? 1 : maxExtents));
    }
    const parts: Uint8Array[] = [];
    wanted.contexts.forEach((context, index) => {
      const body = this.#packExtents(context.id, answers[index]!);
      const flags = index === wanted.contexts.length - 1 ? ChunkFlag.done : 0;
      const type = this.#isExtended ? Chunk.blockStatusExtended : Chunk.blockStatus;
      parts.push(packChunk(request, this.#isExtended, type, flags, body.length), body);
    });
    return this.#session.writer.send(...parts);
  }

  #statusFilter(payload: Uint8Array): StatusFilter {
    const bad = () => refusal('EINVAL', 'malformed payload of block status');
    if (payload.length < 12 || payload.length % 4 !== 0) throw bad();
    const view = viewOf(payload);
    const length = getU64(view, 0);
    const contexts: MetaContext[] = [];
    for (let at = 8; at < payload.length; at += 4) {
      const found = this.#session.contexts.find((context) => context.id === view.getUint32(at));
      if (!found || contexts.includes(found)) throw bad();
      contexts.push(found);
    }
    if (length === 0) throw refusal('EINVAL', 'need non-zero length');
    return { length, contexts };
  }

  async #extents(context: MetaContext, offset: number, length: number, most: number): Promise<Extent[]> {
    const extents: { length: number; flags: number }[] = [];
    // The old form counts in 32 bits.
    const limit = this.#isExtended ? Number.MAX_SAFE_INTEGER : 2 ** 32 - 512;
    let done = 0;
    for (let steps = 0; done < length && steps < maxStatusSteps && !this.#isStopping; steps++) {
      const found = await context.query(offset + done, Math.min(length - done, limit));
      const last = extents.at(-1);
      if (last && last.flags === found.flags && last.length + found.length <= limit) last.length += found.length;
      else if (extents.length === most) break;
      else extents.push({ ...found });
      done += found.length;
    }
    return extents;
  }

  #packExtents(id: number, extents: readonly Extent[]): Uint8Array {
    const headBytes = this.#isExtended ? 8 : 4;
    const rowBytes = this.#isExtended ? 16 : 8;
    const body = new Uint8Array(headBytes + rowBytes * extents.length);
    const view = viewOf(body);
    view.setUint32(0, id);
    if (this.#isExtended) view.setUint32(4, extents.length);
    extents.forEach(({ length, flags }, index) => {
      const at = headBytes + rowBytes * index;
      if (this.#isExtended) {
        setU64(view, at, length);
        setU64(view, at + 8, flags);
      } else {
        view.setUint32(at, length);
        view.setUint32(at + 4, flags);
      }
    });
    return body;
  }
}

/** A sentence made here for the client, rather than one of a driver that names the host's files. */
function isRefusal(error: BlockError): boolean {
  return error.code === 'EINVAL' && !error.bare;
}
