/**
 * The NBD protocol on the wire, for client and server alike: each option, reply, command, flag and error is one row here.
 * Specification: NetworkBlockDevice/nbd, doc/proto.md, sections "Newstyle negotiation", "Transmission phase", "Values".
 * Numbers are big-endian. 64-bit ones are handled as JavaScript numbers; what is larger than 2^53-1 comes out as `Infinity`
 * and so fails every range check.
 */

/** `NBDMAGIC`, `IHAVEOPT`, and the magic of option replies, as two 32-bit halves. */
export const magic = {
  init: [0x4e42444d, 0x41474943],
  option: [0x49484156, 0x454f5054],
  oldstyle: [0x00004202, 0x81861253],
  optionReply: [0x0003e889, 0x045565a9],
  request: 0x25609513,
  extendedRequest: 0x21e41c71,
  simpleReply: 0x67446698,
  structuredReply: 0x668e33ef,
  extendedReply: 0x6e8a278c,
} as const;

/** Handshake flags of the server; the client's have the same bits. */
export const HandshakeFlag = { fixedNewstyle: 1, noZeroes: 2 } as const;

export const Option = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
  extendedHeaders: 11,
} as const;

/** Names as they appear in messages. */
export const optionNames: Readonly<Record<number, string>> = {
  1: 'export name',
  2: 'abort',
  3: 'list',
  5: 'starttls',
  6: 'info',
  7: 'go',
  8: 'structured reply',
  9: 'list meta context',
  10: 'set meta context',
  11: 'extended headers',
};

export const OptionReply = {
  ack: 1,
  server: 2,
  info: 3,
  metaContext: 4,
  errorUnsupported: 0x80000001,
  errorPolicy: 0x80000002,
  errorInvalid: 0x80000003,
  errorPlatform: 0x80000004,
  errorTlsRequired: 0x80000005,
  errorUnknown: 0x80000006,
  errorShutdown: 0x80000007,
  errorBlockSizeRequired: 0x80000008,
  errorTooBig: 0x80000009,
  errorExtendedHeadersRequired: 0x8000000a,
} as const;

/** Names of option replies as they appear in messages. */
export const optionReplyNames: Readonly<Record<number, string>> = {
  1: 'ack',
  2: 'server',
  3: 'info',
  4: 'meta context',
  2147483649: 'unsupported',
  2147483650: 'denied by policy',
  2147483651: 'invalid',
  2147483652: 'platform lacks support',
  2147483653: 'TLS required',
  2147483654: 'export unknown',
  2147483655: 'server shutting down',
  2147483656: 'block size required',
  2147483657: 'option payload too big',
  2147483658: 'extended headers required',
};

export const Info = { export: 0, name: 1, description: 2, blockSize: 3 } as const;

export const TransmissionFlag = {
  hasFlags: 1 << 0,
  readOnly: 1 << 1,
  sendFlush: 1 << 2,
  sendFua: 1 << 3,
  rotational: 1 << 4,
  sendTrim: 1 << 5,
  sendWriteZeroes: 1 << 6,
  sendDf: 1 << 7,
  canMultiConn: 1 << 8,
  sendResize: 1 << 9,
  sendCache: 1 << 10,
  sendFastZero: 1 << 11,
  blockStatusPayload: 1 << 12,
} as const;

export const Command = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  cache: 5,
  writeZeroes: 6,
  blockStatus: 7,
  resize: 8,
} as const;

export const CommandFlag = {
  fua: 1 << 0,
  noHole: 1 << 1,
  df: 1 << 2,
  requestOne: 1 << 3,
  fastZero: 1 << 4,
  payloadLength: 1 << 5,
} as const;

export interface CommandRow {
  readonly name: string;
  /** Command flags that may accompany it. */
  readonly flags: number;
  /** Sends bytes after the header. */
  readonly payload?: boolean;
  /** The server's answer carries as many bytes as were asked for, so that the maximum block size bounds it. */
  readonly bounded?: boolean;
  /** Needs a writable export. */
  readonly writes?: boolean;
  /** Needs this transmission flag. */
  readonly needs?: number;
}

/** One row for each command. */
export const commands: Readonly<Record<number, CommandRow>> = {
  [Command.read]: { name: 'read', flags: CommandFlag.df, bounded: true },
  [Command.write]: {
    name: 'write',
    flags: CommandFlag.fua | CommandFlag.payloadLength,
    payload: true,
    bounded: true,
    writes: true,
  },
  [Command.disconnect]: { name: 'disconnect', flags: 0 },
  [Command.flush]: { name: 'flush', flags: 0, needs: TransmissionFlag.sendFlush },
  [Command.trim]: { name: 'trim', flags: CommandFlag.fua, writes: true, needs: TransmissionFlag.sendTrim },
  [Command.cache]: { name: 'cache', flags: 0, needs: TransmissionFlag.sendCache },
  [Command.writeZeroes]: {
    name: 'write zeroes',
    flags: CommandFlag.fua | CommandFlag.noHole | CommandFlag.fastZero,
    writes: true,
    needs: TransmissionFlag.sendWriteZeroes,
  },
  [Command.blockStatus]: { name: 'block status', flags: CommandFlag.requestOne | CommandFlag.payloadLength },
  [Command.resize]: { name: 'resize', flags: 0, writes: true, needs: TransmissionFlag.sendResize },
};

export const ChunkFlag = { done: 1 } as const;

export const Chunk = {
  none: 0,
  offsetData: 1,
  offsetHole: 2,
  blockStatus: 5,
  blockStatusExtended: 6,
  error: 0x8001,
  errorOffset: 0x8002,
} as const;

export const chunkNames: Readonly<Record<number, string>> = {
  0: 'none',
  1: 'data',
  2: 'hole',
  5: 'block status (32-bit)',
  6: 'block status (64-bit)',
  32769: 'generic error',
  32770: 'error at offset',
};

/** Bits of a `base:allocation` extent. */
export const AllocationFlag = { hole: 1, zero: 2 } as const;

/** Errors that may cross the wire, by errno name; `fromWire` holds numbers that only some peers send. */
const wireErrors: Readonly<Record<string, number>> = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
};

/** Errors of the host that mean one of the above. */
const errorAliases: Readonly<Record<string, string>> = {
  EROFS: 'EPERM',
  EACCES: 'EPERM',
  EFBIG: 'ENOSPC',
  EDQUOT: 'ENOSPC',
  EOPNOTSUPP: 'ENOTSUP',
};

/** An errno name as the protocol's number; what the protocol lacks becomes EINVAL, as with QEMU. */
export function errorToWire(code: string): number {
  return wireErrors[errorAliases[code] ?? code] ?? wireErrors['EINVAL']!;
}

const errorsByNumber = new Map(Object.entries(wireErrors).map(([name, number]) => [number, name]));

export function errorFromWire(number: number): string {
  return errorsByNumber.get(number) ?? 'EINVAL';
}

// ---- limits

/** Strings (export names, descriptions, context names, messages). */
export const maxStringBytes = 4096;
/** Payload of one read or write. */
export const maxPayloadBytes = 32 * 2 ** 20;
/** An option's data beyond which the peer is cut off. */
export const maxOptionBytes = 32 * 2 ** 20;
export const defaultPort = 10809;

export const requestBytes = 28;
export const extendedRequestBytes = 32;
export const simpleReplyBytes = 16;
export const structuredReplyBytes = 20;
export const extendedReplyBytes = 32;

// ---- numbers

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** An unsigned 64-bit number; Infinity past 2^53-1. */
export function getU64(view: DataView, at: number): number {
  const value = view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4);
  return Number.isSafeInteger(value) ? value : Number.POSITIVE_INFINITY;
}

export function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 2 ** 32));
  view.setUint32(at + 4, value % 2 ** 32);
}

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: false });

export function encodeText(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text);
}

export function decodeText(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

export type Field = readonly ['u16' | 'u32' | 'u64', number] | readonly ['bytes', Uint8Array];

/** Fields one after another: how all headers and option payloads are written. */
export function pack(...fields: readonly Field[]): Uint8Array<ArrayBuffer> {
  let size = 0;
  for (const field of fields) {
    const [kind] = field;
    size += kind === 'bytes' ? field[1].length : kind === 'u16' ? 2 : kind === 'u32' ? 4 : 8;
  }
  const bytes = new Uint8Array(size);
  const view = viewOf(bytes);
  let at = 0;
  for (const [kind, value] of fields) {
    if (kind === 'bytes') {
      bytes.set(value, at);
      at += value.length;
    } else if (kind === 'u16') {
      view.setUint16(at, value);
      at += 2;
    } else if (kind === 'u32') {
      view.setUint32(at, value);
      at += 4;
    } else {
      setU64(view, at, value);
      at += 8;
    }
  }
  return bytes;
}

// ---- headers

/** An option as the client sends it. */
export function packOption(option: number, payload: Uint8Array = new Uint8Array(0)): Uint8Array {
  return pack(
    ['u32', magic.option[0]],
    ['u32', magic.option[1]],
    ['u32', option],
    ['u32', payload.length],
    ['bytes', payload],
  );
}

export function packOptionReply(option: number, type: number, payload: Uint8Array = new Uint8Array(0)): Uint8Array {
  return pack(
    ['u32', magic.optionReply[0]],
    ['u32', magic.optionReply[1]],
    ['u32', option],
    ['u32', type],
    ['u32', payload.length],
    ['bytes', payload],
  );
}

export interface Request {
  readonly flags: number;
  readonly command: number;
  /** Eight opaque bytes of the client, as two halves. */
  readonly cookieHigh: number;
  readonly cookieLow: number;
  readonly offset: number;
  /** Of the effect, or of the payload where the payload-length flag says so. */
  readonly length: number;
}

export function packRequest(request: Request, isExtended: boolean): Uint8Array {
  const bytes = new Uint8Array(isExtended ? extendedRequestBytes : requestBytes);
  const view = viewOf(bytes);
  view.setUint32(0, isExtended ? magic.extendedRequest : magic.request);
  view.setUint16(4, request.flags);
  view.setUint16(6, request.command);
  view.setUint32(8, request.cookieHigh);
  view.setUint32(12, request.cookieLow);
  setU64(view, 16, request.offset);
  if (isExtended) setU64(view, 24, request.length);
  else view.setUint32(24, request.length);
  return bytes;
}

/** Undefined when the magic is wrong: the stream can't be trusted any more. */
export function unpackRequest(bytes: Uint8Array, isExtended: boolean): Request | undefined {
  return requestAt(viewOf(bytes), 0, isExtended);
}

/** The request whose header begins at `at`; like `unpackRequest`, for many in one buffer. */
export function requestAt(view: DataView, at: number, isExtended: boolean): Request | undefined {
  if (view.getUint32(at) !== (isExtended ? magic.extendedRequest : magic.request)) return undefined;
  return {
    flags: view.getUint16(at + 4),
    command: view.getUint16(at + 6),
    cookieHigh: view.getUint32(at + 8),
    cookieLow: view.getUint32(at + 12),
    offset: getU64(view, at + 16),
    length: isExtended ? getU64(view, at + 24) : view.getUint32(at + 24),
  };
}

/** Writes a simple reply at `at`; gives its length. */
export function putSimpleReply(view: DataView, at: number, request: Request, error: number): number {
  view.setUint32(at, magic.simpleReply);
  view.setUint32(at + 4, error);
  view.setUint32(at + 8, request.cookieHigh);
  view.setUint32(at + 12, request.cookieLow);
  return simpleReplyBytes;
}

export function packSimpleReply(request: Request, error: number): Uint8Array {
  const bytes = new Uint8Array(simpleReplyBytes);
  putSimpleReply(viewOf(bytes), 0, request, error);
  return bytes;
}

/** Writes the header of a reply chunk at `at`; gives its length. */
export function putChunk(
  view: DataView,
  at: number,
  request: Request,
  isExtended: boolean,
  type: number,
  flags: number,
  length: number,
): number {
  view.setUint32(at, isExtended ? magic.extendedReply : magic.structuredReply);
  view.setUint16(at + 4, flags);
  view.setUint16(at + 6, type);
  view.setUint32(at + 8, request.cookieHigh);
  view.setUint32(at + 12, request.cookieLow);
  if (!isExtended) {
    view.setUint32(at + 16, length);
    return structuredReplyBytes;
  }
  setU64(view, at + 16, request.offset);
  setU64(view, at + 24, length);
  return extendedReplyBytes;
}

/** Header of one reply chunk whose payload has `length` bytes. */
export function packChunk(
  request: Request,
  isExtended: boolean,
  type: number,
  flags: number,
  length: number,
): Uint8Array {
  const bytes = new Uint8Array(isExtended ? extendedReplyBytes : structuredReplyBytes);
  putChunk(viewOf(bytes), 0, request, isExtended, type, flags, length);
  return bytes;
}
