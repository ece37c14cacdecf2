/**
 * The client's half of the negotiation (doc/proto.md, "Newstyle negotiation"; also "Oldstyle negotiation" and newstyle
 * servers without fixed options). The server is not trusted: sizes, strings and the number of its answers are bounded.
 */
import { BlockError, errorText, toBlockError } from '../../errors.js';
import type { ByteStream, NetworkHost, StreamAddress, TlsOptions } from '../../host.js';
import { FrameReader, FrameWriter } from './frames.js';
import {
  decodeText,
  encodeText,
  getU64,
  HandshakeFlag,
  Info,
  magic,
  maxStringBytes,
  Option,
  OptionReply,
  optionNames,
  optionReplyNames,
  pack,
  packOption,
  TransmissionFlag,
  viewOf,
} from './wire.js';

export interface HandshakeOptions {
  readonly network: NetworkHost;
  readonly address: StreamAddress;
  /** Default: the empty name. */
  readonly exportName?: string;
  /** Given: TLS is demanded of the server. */
  readonly tls?: TlsOptions;
  /** Metadata contexts wanted; what the server lacks is left out. */
  readonly contexts?: readonly string[];
  /** Highest header form to ask for; default `extended`. */
  readonly headers?: 'simple' | 'structured' | 'extended';
}

export interface ExportInfo {
  readonly name: string;
  readonly description: string;
  readonly lengthBytes: number;
  /** Transmission flags. */
  readonly flags: number;
  /** 0: the server did not say. */
  readonly minimumBlockBytes: number;
  readonly preferredBlockBytes: number;
  readonly maximumBlockBytes: number;
  /** Contexts the server has (list) or agreed to (connect), with the ids it will use. */
  readonly contexts: readonly { readonly id: number; readonly name: string }[];
}

export interface ConnectedExport {
  readonly stream: ByteStream;
  readonly reader: FrameReader;
  readonly writer: FrameWriter;
  readonly info: ExportInfo;
  readonly mode: 'simple' | 'structured' | 'extended';
}

/** Exports and contexts that are read of one server. */
const maxExports = 10_000;
const maxContexts = 1024;
/** The specification's bound for a minimum block size. */
const maxMinimumBlockBytes = 65536;

interface Reply {
  readonly type: number;
  readonly payload: Uint8Array;
}

export function addressText(address: StreamAddress): string {
  if (address.type === 'unix') return address.path;
  if (address.type === 'fd') return `fd:${address.fd}`;
  return `${address.host}:${address.port}`;
}

function bad(sentence: string): never {
  throw new BlockError('EINVAL', sentence);
}

class ClientHandshake {
  readonly options: HandshakeOptions;
  stream: ByteStream;
  reader: FrameReader;
  writer: FrameWriter;
  mode: 'simple' | 'structured' | 'extended' = 'simple';
  /** 0 oldstyle, 1 newstyle without fixed options, 2 fixed newstyle. */
  #style = 0;
  #noZeroes = false;

  constructor(options: HandshakeOptions, stream: ByteStream) {
    this.options = options;
    this.stream = stream;
    this.reader = new FrameReader(stream);
    this.writer = new FrameWriter(stream);
  }

  /** Greeting, TLS and the form of headers. */
  async start(): Promise<void> {
    const greeting = viewOf(await this.reader.read(16));
    if (greeting.getUint32(0) !== magic.init[0] || greeting.getUint32(4) !== magic.init[1])
      bad('Bad initial magic received');
    const [high, low] = [greeting.getUint32(8), greeting.getUint32(12)];
    if (high === magic.oldstyle[0] && low === magic.oldstyle[1]) {
      if (this.options.tls) bad('Server does not support STARTTLS');
      return;
    }
    if (high !== magic.option[0] || low !== magic.option[1]) bad('Bad server magic received');
    const flags = viewOf(await this.reader.read(2)).getUint16(0);
    this.#noZeroes = (flags & HandshakeFlag.noZeroes) !== 0;
    this.#style = flags & HandshakeFlag.fixedNewstyle ? 2 : 1;
    await this.writer.send(pack(['u32', flags & (HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes)]));
    if (this.#style < 2) {
      if (this.options.tls) bad('Server does not support STARTTLS');
      return;
    }
    if (this.options.tls) await this.#startTls(this.options.tls);
    const wanted = this.options.headers ?? 'extended';
    if (wanted === 'extended' && (await this.#agree(Option.extendedHeaders))) this.mode = 'extended';
    else if (wanted !== 'simple' && (await this.#agree(Option.structuredReply))) this.mode = 'structured';
  }

  async #send(option: number, payload?: Uint8Array): Promise<void> {
    await this.writer.send(packOption(option, payload));
  }

  async #reply(option: number): Promise<Reply> {
    const view = viewOf(await this.reader.read(20));
    if (view.getUint32(0) !== magic.optionReply[0] || view.getUint32(4) !== magic.optionReply[1])
      bad('Unexpected option reply magic');
    if (view.getUint32(8) !== option) {
      bad(
        `Unexpected option type ${view.getUint32(8)} (${optionNames[view.getUint32(8)] ?? '<unknown>'}), expected ${option} (${optionNames[option]})`,
      );
    }
    const type = view.getUint32(12);
    const length = view.getUint32(16);
    // Names, descriptions, messages: each at most one string, some with a few numbers.
    if (length > 2 * maxStringBytes + 64) bad(`option reply of ${length} bytes is too long`);
    return { type, payload: (await this.reader.read(length)).slice() };
  }

  /** An error reply as an exception, in QEMU's sentences; the server's own words follow on a line of their own. */
  #refused(option: number, { type, payload }: Reply): BlockError {
    const name = optionNames[option] ?? String(option);
    const said = payload.length > 0 ? `\nserver reported: ${printable(payload)}` : '';
    const sentence = ((): string => {
      switch (type) {
        case OptionReply.errorUnsupported:
          return `Unsupported option type ${option} (${name})`;
        case OptionReply.errorPolicy:
          return `Denied by server for option ${option} (${name})`;
        case OptionReply.errorInvalid:
          return `Invalid parameters for option ${option} (${name})`;
        case OptionReply.errorPlatform:
          return `Server lacks support for option ${option} (${name})`;
        case OptionReply.errorTlsRequired:
          return `Server requires TLS for option ${option} (${name})\nDid you forget a valid tls-creds?`;
        case OptionReply.errorUnknown:
          return 'Requested export not available';
        case OptionReply.errorShutdown:
          return `Server shutting down before option ${option} (${name})`;
        case OptionReply.errorBlockSizeRequired:
          return `Server requires INFO_BLOCK_SIZE for option ${option} (${name})`;
        default:
          return `Unknown error code when asking for option ${option} (${name})`;
      }
    })();
    return new BlockError('EINVAL', sentence + said);
  }

  /** An option without payload that is acknowledged, or refused without harm. */
  async #agree(option: number): Promise<boolean> {
    await this.#send(option);
    const reply = await this.#reply(option);
    if (reply.type === OptionReply.ack) {
      if (reply.payload.length > 0) bad(`Unexpected payload in the reply to option ${option} (${optionNames[option]})`);
      return true;
    }
    if (reply.type === OptionReply.errorTlsRequired || reply.type === OptionReply.errorShutdown)
      throw this.#refused(option, reply);
    if (reply.type < 0x80000000)
      bad(`Unexpected reply type ${reply.type} (${optionReplyNames[reply.type] ?? '<unknown>'}), expected 1 (ack)`);
    return false;
  }

  async #startTls(tls: TlsOptions): Promise<void> {
    await this.#send(Option.startTls);
    const reply = await this.#reply(Option.startTls);
    if (reply.type !== OptionReply.ack)
      throw reply.type >= 0x80000000
        ? this.#refused(Option.startTls, reply)
        : new BlockError('EINVAL', 'Server did not agree to TLS');
    if (this.reader.buffered > 0) bad('Server sent data before the TLS handshake');
    if (!this.stream.startTls) bad('TLS is not supported here');
    try {
      this.stream = await this.stream.startTls(tls);
    } catch (error) {
      throw new BlockError('EINVAL', `TLS handshake failed: ${(error as Error).message}`, { cause: error });
    }
    this.reader = new FrameReader(this.stream);
    this.writer = new FrameWriter(this.stream);
  }

  async connect(): Promise<ConnectedExport> {
    const name = this.options.exportName ?? '';
    if (encodeText(name).length > maxStringBytes) bad(`export name too long (${name.slice(0, 64)}…)`);
    const finish = (info: ExportInfo): ConnectedExport => ({
      stream: this.stream,
      reader: this.reader,
      writer: this.writer,
      info,
      mode: this.mode,
    });
    if (this.#style === 0) {
      if (name !== '') bad('Server does not support non-empty export names');
      const view = viewOf(await this.reader.read(8 + 4 + 124));
      return finish(plainInfo(name, getU64(view, 0), view.getUint32(8) & 0xffff));
    }
    if (this.#style === 2) {
      const contexts =
        this.mode === 'simple'
          ? []
          : await this.#metaContexts(Option.setMetaContext, name, this.options.contexts ?? []);
      const info = await this.#info(Option.go, name);
      if (info) return finish({ ...info, contexts });
    }
    // No INFO or GO: the old way, whose only refusal is to hang up.
    await this.#send(Option.exportName, encodeText(name));
    const head = await this.reader.readOrEnd(10);
    if (!head) {
      // Which of both it was: a name unknown, or TLS wanted.
      bad('Requested export not available');
    }
    const view = viewOf(head);
    if (!this.#noZeroes) await this.reader.skip(124);
    return finish(plainInfo(name, getU64(view, 0), view.getUint16(8)));
  }

  async #metaContexts(
    option: number,
    name: string,
    queries: readonly string[],
  ): Promise<{ id: number; name: string }[]> {
    if (option === Option.setMetaContext && queries.length === 0) return [];
    const encoded = queries.map(encodeText);
    const exportName = encodeText(name);
    await this.#send(
      option,
      pack(
        ['u32', exportName.length],
        ['bytes', exportName],
        ['u32', queries.length],
        ...encoded.flatMap((query) => [['u32', query.length] as const, ['bytes', query] as const]),
      ),
    );
    const found: { id: number; name: string }[] = [];
    for (;;) {
      const reply = await this.#reply(option);
      if (reply.type === OptionReply.ack) return found;
      if (reply.type === OptionReply.metaContext) {
        if (reply.payload.length < 4) bad('Failed to negotiate meta context: reply is too short');
        const contextName = decodeText(reply.payload.subarray(4));
        if (option === Option.setMetaContext && !queries.includes(contextName))
          bad(`Failed to negotiate query '${queries[0]}', server answered with different context '${contextName}'`);
        if (found.length >= maxContexts) bad('Server sent too many meta contexts');
        found.push({ id: viewOf(reply.payload).getUint32(0), name: contextName });
      } else if (reply.type < 0x80000000) bad(`Unexpected reply type ${reply.type}, expected meta context`);
      else if (reply.type === OptionReply.errorTlsRequired) throw this.#refused(option, reply);
      else return [];
    }
  }

  /** INFO or GO; undefined when the server knows neither. */
  async #info(option: number, name: string): Promise<ExportInfo | undefined> {
    const encoded = encodeText(name);
    await this.#send(
      option,
      pack(['u32', encoded.length], ['bytes', encoded], ['u16', 2], ['u16', Info.blockSize], ['u16', Info.description]),
    );
    let info = plainInfo(name, -1, 0);
    for (let answers = 0; answers < 100; answers++) {
      const reply = await this.#reply(option);
      const view = viewOf(reply.payload);
      if (reply.type === OptionReply.ack) {
        if (info.lengthBytes < 0) bad('broken server omitted NBD_INFO_EXPORT');
        checkInfo(info);
        return info;
      }
      if (reply.type === OptionReply.errorUnsupported) return undefined;
      if (reply.type !== OptionReply.info) {
        if (reply.type >= 0x80000000) throw this.#refused(option, reply);
        bad(`unexpected reply type ${reply.type} (${optionReplyNames[reply.type] ?? '<unknown>'}), expected 3 (info)`);
      }
      if (reply.payload.length < 2) bad('broken server sent an info reply without type');
      const type = view.getUint16(0);
      if (type === Info.export) {
        if (reply.payload.length !== 12) bad(`Unexpected length of info reply ${type}`);
        info = { ...info, lengthBytes: getU64(view, 2), flags: view.getUint16(10) };
      } else if (type === Info.blockSize) {
        if (reply.payload.length !== 14) bad(`Unexpected length of info reply ${type}`);
        const [minimum, preferred, maximum] = [view.getUint32(2), view.getUint32(6), view.getUint32(10)];
        if (!isPowerOfTwo(minimum)) bad(`server minimum block size ${minimum} is not a power of two`);
        if (!isPowerOfTwo(preferred) || preferred < minimum)
          bad(`server preferred block size ${preferred} is not valid`);
        if (maximum < minimum) bad(`server maximum block size ${maximum} is not valid`);
        info = { ...info, minimumBlockBytes: minimum, preferredBlockBytes: preferred, maximumBlockBytes: maximum };
      } else if (type === Info.description) info = { ...info, description: decodeText(reply.payload.subarray(2)) };
    }
    return bad('Server sent too many info replies');
  }

  async list(): Promise<ExportInfo[]> {
    if (this.#style < 2) {
      if (this.#style === 1) bad('Server does not support export lists');
      const view = viewOf(await this.reader.read(8 + 4 + 124));
      return [plainInfo('', getU64(view, 0), view.getUint32(8) & 0xffff)];
    }
    await this.#send(Option.list);
    const names: { name: string; description: string }[] = [];
    for (;;) {
      const reply = await this.#reply(Option.list);
      if (reply.type === OptionReply.ack) break;
      if (reply.type === OptionReply.errorUnsupported) return [];
      if (reply.type !== OptionReply.server) {
        if (reply.type >= 0x80000000) throw this.#refused(Option.list, reply);
        bad(`Unexpected reply type ${reply.type}, expected 2 (server)`);
      }
      const length = reply.payload.length >= 4 ? viewOf(reply.payload).getUint32(0) : Number.POSITIVE_INFINITY;
      if (length > maxStringBytes || 4 + length > reply.payload.length) bad('incorrect option name length');
      if (names.length >= maxExports) bad('Server has too many exports');
      names.push({
        name: decodeText(reply.payload.subarray(4, 4 + length)),
        description: decodeText(reply.payload.subarray(4 + length)),
      });
    }
    const exports: ExportInfo[] = [];
    for (const { name, description } of names) {
      const info = await this.#info(Option.info, name);
      if (!info) {
        exports.push({ ...plainInfo(name, 0, 0), description });
        continue;
      }
      const contexts = this.mode === 'simple' ? [] : await this.#metaContexts(Option.listMetaContext, name, []);
      exports.push({ ...info, description: info.description || description, contexts });
    }
    await this.#send(Option.abort).catch(() => undefined);
    return exports;
  }
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value));
}

/** What a server says may go to a terminal. */
function printable(bytes: Uint8Array): string {
  return decodeText(bytes).replace(/[\x00-\x1f\x7f-\x9f]+/g, ' ');
}

function plainInfo(name: string, lengthBytes: number, flags: number): ExportInfo {
  const info = {
    name,
    description: '',
    lengthBytes,
    flags,
    minimumBlockBytes: 0,
    preferredBlockBytes: 0,
    maximumBlockBytes: 0,
    contexts: [],
  };
  if (lengthBytes >= 0) checkInfo(info);
  return info;
}

function checkInfo(info: ExportInfo): void {
  if (!Number.isSafeInteger(info.lengthBytes)) bad('export length is too large');
  if (info.minimumBlockBytes > 0 && info.lengthBytes % info.minimumBlockBytes !== 0)
    bad(`export size ${info.lengthBytes} is not a multiple of the minimum block size ${info.minimumBlockBytes}`);
  if (info.minimumBlockBytes > maxMinimumBlockBytes)
    bad(`server minimum block size ${info.minimumBlockBytes} is too large`);
  if (!(info.flags & TransmissionFlag.hasFlags) && info.flags !== 0) bad('server sent no flags');
}

async function dial(options: HandshakeOptions): Promise<ByteStream> {
  try {
    return await options.network.connect(options.address);
  } catch (error) {
    const { code } = toBlockError(error);
    throw new BlockError(code, `Failed to connect to '${addressText(options.address)}': ${errorText(code)}`, {
      cause: error,
    });
  }
}

/** Connects and negotiates one export. */
export async function connectNbd(options: HandshakeOptions): Promise<ConnectedExport> {
  const stream = await dial(options);
  const handshake = new ClientHandshake(options, stream);
  try {
    await handshake.start();
    return await handshake.connect();
  } catch (error) {
    handshake.stream.destroy();
    stream.destroy();
    throw toBlockError(error);
  }
}

/** All exports of a server, with what it tells of each. */
export async function listNbdExports(options: HandshakeOptions): Promise<readonly ExportInfo[]> {
  const stream = await dial(options);
  const handshake = new ClientHandshake(options, stream);
  try {
    await handshake.start();
    return await handshake.list();
  } finally {
    handshake.stream.destroy();
    stream.destroy();
  }
}
