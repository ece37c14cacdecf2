/**
 * The server's half of the fixed newstyle negotiation (doc/proto.md, "Newstyle negotiation"): options until one of them starts
 * transmission. What a client gets wrong within an option is answered in that option; what breaks the framing ends the
 * connection.
 */
import { BlockError } from '../block/errors.js';
import type { ByteStream } from '../block/host.js';
import { FrameReader, FrameWriter } from '../block/protocols/nbd/frames.js';
import {
  decodeText,
  encodeText,
  type Field,
  HandshakeFlag,
  Info,
  magic,
  maxOptionBytes,
  maxStringBytes,
  Option,
  OptionReply,
  optionNames,
  pack,
  packOptionReply,
  viewOf,
} from '../block/protocols/nbd/wire.js';
import type { MetaContext, NbdExport } from './export.js';

/** Options longer than this are refused unread; within `maxOptionBytes` the connection lives on. */
const keptOptionBytes = 1 << 20;
/** Options of one client before it must choose an export. */
const maxOptions = 10_000;
/** Contexts named in one option. */
const maxQueries = 1024;

/** How a server takes up TLS on a stream: the host's half. */
export interface NbdServerTls {
  /** The handshake as server; rejects when the peer isn't let in. The stream given must not be used further. */
  accept(stream: ByteStream): Promise<ByteStream>;
}

export type HeaderMode = 'simple' | 'structured' | 'extended';

export interface NegotiatedSession {
  readonly stream: ByteStream;
  readonly reader: FrameReader;
  readonly writer: FrameWriter;
  readonly export: NbdExport;
  readonly mode: HeaderMode;
  readonly contexts: readonly MetaContext[];
}

export interface NegotiationHost {
  readonly tls: NbdServerTls | undefined;
  exports(): Iterable<NbdExport>;
  find(name: string): NbdExport | undefined;
}

/** The client said it is done, or has gone. */
class Ended extends Error {}

function refuse(sentence: string): never {
  throw new BlockError('EPROTO', sentence);
}

/** A bounded cursor over an option's payload; `undefined` from any step means the payload is too short. */
class PayloadCursor {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
  }

  get left(): number {
    return this.#bytes.length - this.at;
  }

  u16(): number | undefined {
    if (this.left < 2) return undefined;
    this.at += 2;
    return this.#view.getUint16(this.at - 2);
  }

  u32(): number | undefined {
    if (this.left < 4) return undefined;
    this.at += 4;
    return this.#view.getUint32(this.at - 4);
  }

  /** A string with its length before it. */
  text(): string | undefined {
    const length = this.u32();
    if (length === undefined || length > this.left || length > maxStringBytes) return undefined;
    this.at += length;
    return decodeText(this.#bytes.subarray(this.at - length, this.at));
  }
}

class Negotiation {
  readonly #host: NegotiationHost;
  #stream: ByteStream;
  #reader: FrameReader;
  #writer: FrameWriter;
  #isTls = false;
  #noZeroes = false;
  #mode: HeaderMode = 'simple';
  #contextsOf: NbdExport | undefined;
  #contexts: readonly MetaContext[] = [];

  constructor(host: NegotiationHost, stream: ByteStream) {
    this.#host = host;
    this.#stream = stream;
    this.#reader = new FrameReader(stream);
    this.#writer = new FrameWriter(stream);
  }

  async run(): Promise<NegotiatedSession | undefined> {
    await this.#writer.send(
      pack(
        ['u32', magic.init[0]],
        ['u32', magic.init[1]],
        ['u32', magic.option[0]],
        ['u32', magic.option[1]],
        ['u16', HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes],
      ),
    );
    const hello = await this.#reader.readOrEnd(4);
    if (!hello) return undefined;
    const flags = viewOf(hello).getUint32(0);
    if (flags & ~(HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes))
      refuse(`Unknown client flags 0x${flags.toString(16)} received`);
    this.#noZeroes = (flags & HandshakeFlag.noZeroes) !== 0;
    const isFixed = (flags & HandshakeFlag.fixedNewstyle) !== 0;
    try {
      for (let count = 0; count < maxOptions; count++) {
        const chosen = await this.#option(isFixed);
        if (!chosen) continue;
        return {
          stream: this.#stream,
          reader: this.#reader,
          writer: this.#writer,
          export: chosen,
          mode: this.#mode,
          contexts: this.#contextsOf === chosen ? this.#contexts : [],
        };
      }
      return refuse('Client sent too many options');
    } catch (error) {
      if (error instanceof Ended) return undefined;
      throw error;
    }
  }

  #reply(option: number, type: number, payload?: Uint8Array): Promise<void> {
    return this.#writer.send(packOptionReply(option, type, payload));
  }

  #error(option: number, type: number, sentence: string): Promise<void> {
    // A sentence may quote what the client sent; a reply is never longer than a string may be.
    return this.#reply(option, type, encodeText(sentence).subarray(0, maxStringBytes));
  }

  #invalid(option: number, sentence: string): Promise<void> {
    return this.#error(option, OptionReply.errorInvalid, sentence);
  }

  /** Handles one option; the export when it starts transmission. */
  async #option(isFixed: boolean): Promise<NbdExport | undefined> {
    const header = await this.#reader.readOrEnd(16);
    if (!header) throw new Ended();
    const view = viewOf(header);
    if (view.getUint32(0) !== magic.option[0] || view.getUint32(4) !== magic.option[1]) refuse('Bad magic received');
    const option = view.getUint32(8);
    const length = view.getUint32(12);
    if (length > maxOptionBytes) refuse(`len (${length}) is larger than max len (${maxOptionBytes})`);
    if (!isFixed && option !== Option.exportName) refuse(`Unsupported option 0x${option.toString(16)}`);
    const needsTls = this.#host.tls !== undefined && !this.#isTls;
    if (option === Option.exportName && (needsTls || length > maxStringBytes))
      refuse(needsTls ? 'Option export name not permitted before TLS' : 'Bad length received');
    if (length > keptOptionBytes) {
      await this.#reader.skip(length);
      await this.#error(option, OptionReply.errorTooBig, `option '${optionNames[option] ?? option}' is too long`);
      return undefined;
    }
    // A copy: the payload may lie in a large chunk of the stream.
    const payload = (await this.#reader.read(length)).slice();
    if (option === Option.abort) {
      await this.#reply(option, OptionReply.ack).catch(() => undefined);
      throw new Ended();
    }
    if (needsTls && option !== Option.startTls) {
      const name = optionNames[option] ?? `0x${option.toString(16)}`;
      await this.#error(
        option,
        OptionReply.errorTlsRequired,
        `Option 0x${option.toString(16)} (${name}) not permitted before TLS`,
      );
      return undefined;
    }
    switch (option) {
      case Option.exportName:
        return this.#exportName(payload);
      case Option.list:
        await this.#list(payload);
        return undefined;
      case Option.startTls:
        await this.#startTls(payload);
        return undefined;
      case Option.info:
      case Option.go:
        return this.#info(option, payload);
      case Option.structuredReply:
        await this.#structuredReply(payload);
        return undefined;
      case Option.extendedHeaders:
        await this.#extendedHeaders(payload);
        return undefined;
      case Option.listMetaContext:
      case Option.setMetaContext:
        await this.#metaContexts(option, payload);
        return undefined;
      default:
        await this.#error(option, OptionReply.errorUnsupported, `Unsupported option ${option} (unknown)`);
        return undefined;
    }
  }

  async #exportName(payload: Uint8Array): Promise<NbdExport> {
    if (this.#mode === 'extended') refuse('Export name not permitted with extended headers');
    const found = this.#host.find(decodeText(payload));
    if (!found) return refuse('export not found');
    const reply = pack(
      ['u64', found.lengthBytes],
      ['u16', found.transmissionFlags(this.#mode !== 'simple', false)],
      ['bytes', new Uint8Array(this.#noZeroes ? 0 : 124)],
    );
    await this.#writer.send(reply);
    return found;
  }

  async #list(payload: Uint8Array): Promise<void> {
    if (payload.length > 0) return this.#invalid(Option.list, "option 'list' has unexpected payload");
    for (const entry of this.#host.exports()) {
      const name = encodeText(entry.name);
      await this.#reply(
        Option.list,
        OptionReply.server,
        pack(['u32', name.length], ['bytes', name], ['bytes', encodeText(entry.description)]),
      );
    }
    return this.#reply(Option.list, OptionReply.ack);
  }

  async #startTls(payload: Uint8Array): Promise<void> {
    const { tls } = this.#host;
    if (payload.length > 0) return this.#invalid(Option.startTls, "option 'starttls' has unexpected payload");
    if (this.#isTls) return this.#invalid(Option.startTls, 'TLS already enabled');
    if (!tls) return this.#error(Option.startTls, OptionReply.errorPolicy, 'TLS not configured');
    // Whatever came in clear after this option may be another's: it would be taken for the client's own under TLS.
    if (this.#reader.buffered > 0) refuse('Client sent data before the TLS handshake');
    await this.#reply(Option.startTls, OptionReply.ack);
    this.#stream = await tls.accept(this.#stream);
    this.#reader = new FrameReader(this.#stream);
    this.#writer = new FrameWriter(this.#stream);
    this.#isTls = true;
    // Nothing that was agreed on in clear holds.
    this.#mode = 'simple';
    this.#contexts = [];
    this.#contextsOf = undefined;
    return undefined;
  }

  async #structuredReply(payload: Uint8Array): Promise<void> {
    const option = Option.structuredReply;
    if (payload.length > 0) return this.#invalid(option, "option 'structured reply' has unexpected payload");
    if (this.#mode === 'extended')
      return this.#error(option, OptionReply.errorExtendedHeadersRequired, 'extended headers already negotiated');
    if (this.#mode === 'structured') return this.#invalid(option, 'structured reply already negotiated');
    this.#mode = 'structured';
    return this.#reply(option, OptionReply.ack);
  }

  async #extendedHeaders(payload: Uint8Array): Promise<void> {
    const option = Option.extendedHeaders;
    if (payload.length > 0) return this.#invalid(option, "option 'extended headers' has unexpected payload");
    if (this.#mode === 'extended') return this.#invalid(option, 'extended headers already negotiated');
    this.#mode = 'extended';
    return this.#reply(option, OptionReply.ack);
  }

  async #info(option: number, payload: Uint8Array): Promise<NbdExport | undefined> {
    const cursor = new PayloadCursor(payload);
    const name = cursor.text();
    const count = cursor.u16();
    if (name === undefined || count === undefined || cursor.left !== count * 2) {
      await this.#invalid(option, `malformed payload of option '${optionNames[option]}'`);
      return undefined;
    }
    const wanted = new Set<number>();
    for (let index = 0; index < count; index++) wanted.add(cursor.u16()!);
    const found = this.#host.find(name);
    if (!found) {
      await this.#error(option, OptionReply.errorUnknown, `export '${name}' not present`);
      return undefined;
    }
    const inform = (type: number, ...fields: readonly Field[]) =>
      this.#reply(option, OptionReply.info, pack(['u16', type], ...fields));
    if (wanted.has(Info.name)) await inform(Info.name, ['bytes', encodeText(found.name)]);
    if (wanted.has(Info.description) && found.description !== '')
      await inform(Info.description, ['bytes', encodeText(found.description)]);
    const sizes = found.blockSizes();
    const asksSizes = wanted.has(Info.blockSize);
    // A client that goes on without having asked is served at any alignment.
    const minimum = option === Option.info || asksSizes ? sizes.minimum : 1;
    await inform(Info.blockSize, ['u32', minimum], ['u32', sizes.preferred], ['u32', sizes.maximum]);
    await inform(
      Info.export,
      ['u64', found.lengthBytes],
      ['u16', found.transmissionFlags(this.#mode !== 'simple', this.#mode === 'extended')],
    );
    if (option === Option.info && minimum > 1 && !asksSizes) {
      await this.#error(option, OptionReply.errorBlockSizeRequired, 'request NBD_INFO_BLOCK_SIZE to use this export');
      return undefined;
    }
    await this.#reply(option, OptionReply.ack);
    return option === Option.go ? found : undefined;
  }

  async #metaContexts(option: number, payload: Uint8Array): Promise<void> {
    const isSet = option === Option.setMetaContext;
    if (isSet) {
      this.#contexts = [];
      this.#contextsOf = undefined;
    }
    if (this.#mode === 'simple')
      return this.#invalid(option, `request option '${optionNames[option]}' when structured reply is not negotiated`);
    const cursor = new PayloadCursor(payload);
    const name = cursor.text();
    const count = name === undefined ? undefined : cursor.u32();
    if (name === undefined || count === undefined || count > maxQueries)
      return this.#invalid(option, `malformed payload of option '${optionNames[option]}'`);
    const queries: string[] = [];
    for (let index = 0; index < count; index++) {
      const query = cursor.text();
      if (query === undefined) return this.#invalid(option, `malformed payload of option '${optionNames[option]}'`);
      queries.push(query);
    }
    if (cursor.left > 0) return this.#invalid(option, `malformed payload of option '${optionNames[option]}'`);
    const found = this.#host.find(name);
    if (!found) return this.#error(option, OptionReply.errorUnknown, `export '${name}' not present`);
    const chosen = found.contexts.filter((context) =>
      !isSet && queries.length === 0
        ? true
        : queries.some((query) => query === context.name || (!isSet && isWildcard(query, context.name))),
    );
    for (const context of chosen) {
      const payloadBytes = pack(['u32', isSet ? context.id : 0], ['bytes', encodeText(context.name)]);
      await this.#reply(option, OptionReply.metaContext, payloadBytes);
    }
    if (isSet) {
      this.#contexts = chosen;
      this.#contextsOf = found;
    }
    return this.#reply(option, OptionReply.ack);
  }
}

/** `base:`, `qemu:` and `qemu:dirty-bitmap:` list what they begin. */
function isWildcard(query: string, name: string): boolean {
  return query.endsWith(':') && name.startsWith(query);
}

/** Undefined when the client left without choosing an export. Throws when it broke the protocol. */
export function negotiate(host: NegotiationHost, stream: ByteStream): Promise<NegotiatedSession | undefined> {
  return new Negotiation(host, stream).run();
}
