/** A byte stream inside a websocket (RFC 6455), for clients that run in a browser. */
import { BlockError } from '../block/errors.js';
import type { ByteStream } from '../block/host.js';
import type { VncHost } from './host.js';
import { ClientReader } from './reader.js';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const MOST_HEAD_BYTES = 4096;
const MOST_CONTROL_BYTES = 125;
const opcode = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

const ascii = (text: string) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
function base64(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 3) {
    const word = (bytes[i]! << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    for (let k = 0; k < 4; k++) text += i + k > bytes.length ? '=' : ALPHABET[(word >> (18 - 6 * k)) & 63];
  }
  return text;
}

/** Answers the request for an upgrade. Undefined: it was none, and has been refused. */
export async function upgradeToWebsocket(stream: ByteStream, host: VncHost): Promise<ByteStream | undefined> {
  const reader = new ClientReader(stream);
  let head = '';
  while (!head.endsWith('\r\n\r\n')) {
    if (head.length === MOST_HEAD_BYTES) return await refuse(stream);
    head += String.fromCharCode(await reader.u8());
  }
  const [request, ...lines] = head.split('\r\n');
  const fields = new Map(
    lines.flatMap((line) => {
      const match = /^([^:\s]+):\s*(.*?)\s*$/.exec(line);
      return match ? [[match[1]!.toLowerCase(), match[2]!] as const] : [];
    }),
  );
  const key = fields.get('sec-websocket-key');
  const asks =
    /^GET \S+ HTTP\/1\.1$/.test(request!) &&
    /(^|,)\s*websocket\s*(,|$)/i.test(fields.get('upgrade') ?? '') &&
    /(^|,)\s*upgrade\s*(,|$)/i.test(fields.get('connection') ?? '') &&
    fields.get('sec-websocket-version') === '13';
  if (!asks || key === undefined || !/^[A-Za-z0-9+/]{22}==$/.test(key)) return await refuse(stream);
  const protocols = (fields.get('sec-websocket-protocol') ?? '').split(/\s*,\s*/);
  const answer = [
    'HTTP/1.1 101 Switching Protocols',
    'Upgrade: websocket',
    'Connection: Upgrade',
    `Sec-WebSocket-Accept: ${base64(host.sha1(ascii(key + GUID)))}`,
    ...(protocols.includes('binary') ? ['Sec-WebSocket-Protocol: binary'] : []),
  ];
  await stream.write(ascii(`${answer.join('\r\n')}\r\n\r\n`));
  return new WebsocketStream(stream, reader);
}

async function refuse(stream: ByteStream): Promise<undefined> {
  await stream.write(ascii('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'));
  await stream.end();
}

class WebsocketStream implements ByteStream {
  readonly #stream: ByteStream;
  readonly #reader: ClientReader;
  readonly #mask = new Uint8Array(4);
  #maskAt = 0;
  /** Bytes of the present frame that are still to come. */
  #left = 0;

  constructor(stream: ByteStream, reader: ClientReader) {
    this.#stream = stream;
    this.#reader = reader;
  }

  async read(limit: number): Promise<Uint8Array> {
    while (this.#left === 0) if (!(await this.#frame())) return new Uint8Array(0);
    const bytes = await this.#reader.some(Math.min(limit, this.#left));
    this.#left -= bytes.length;
    this.#unmask(bytes);
    return bytes;
  }

  #unmask(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) bytes[i]! ^= this.#mask[this.#maskAt++ & 3]!;
  }

  /** Takes a frame's head, and a control frame whole. False: the client has closed. */
  async #frame(): Promise<boolean> {
    const reader = this.#reader;
    const [first, second] = await reader.bytes(2);
    const kind = first! & 15;
    // A client masks what it sends, and asks for no extension.
    if ((second! & 0x80) === 0 || (first! & 0x70) !== 0) throw new BlockError('ECONNRESET');
    let length = second! & 0x7f;
    if (length === 126) length = (await reader.view(2)).getUint16(0);
    else if (length === 127) {
      const view = await reader.view(8);
      length = view.getUint32(0) * 2 ** 32 + view.getUint32(4);
      if (!Number.isSafeInteger(length)) throw new BlockError('ECONNRESET');
    }
    this.#mask.set(await reader.bytes(4));
    this.#maskAt = 0;
    if (kind === opcode.binary || kind === opcode.continuation) {
      this.#left = length;
      return true;
    }
    if (kind < opcode.close || kind > opcode.pong || length > MOST_CONTROL_BYTES || (first! & 0x80) === 0)
      throw new BlockError('ECONNRESET');
    const content = await reader.bytes(length);
    this.#unmask(content);
    if (kind === opcode.pong) return true;
    await this.#stream.write(
      Uint8Array.of(0x80 | (kind === opcode.ping ? opcode.pong : opcode.close), length),
      content,
    );
    return kind === opcode.ping;
  }

  async write(...parts: readonly Uint8Array[]): Promise<void> {
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    if (length === 0) return;
    let head = Uint8Array.of(0x80 | opcode.binary, length);
    if (length > 125) {
      head = new Uint8Array(length < 65536 ? 4 : 10);
      const view = new DataView(head.buffer);
      head[0] = 0x80 | opcode.binary;
      head[1] = length < 65536 ? 126 : 127;
      if (length < 65536) view.setUint16(2, length);
      else view.setUint32(6, length);
    }
    await this.#stream.write(head, ...parts);
  }

  async end(): Promise<void> {
    await this.#stream.write(Uint8Array.of(0x80 | opcode.close, 0));
    await this.#stream.end();
  }

  destroy(): void {
    this.#stream.destroy();
  }
}
