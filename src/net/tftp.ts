/** TFTP server for reading (RFC 1350, with the options of RFC 2348 and 2349), over a folder of the host. */
import { addressKey } from './addresses.js';
import type { HostFile, NetHost } from './host.js';
import type { IpPath } from './ip-output.js';
import { getU16, putU16 } from './wire.js';

const opcode = { readRequest: 1, writeRequest: 2, data: 3, ack: 4, error: 5, optionAck: 6 } as const;
const errorCode = { notDefined: 0, notFound: 1, accessViolation: 2, illegal: 4 } as const;
const MAX_SESSIONS = 20;
const LIFE_MS = 30_000;
const DEFAULT_BLOCK = 512;
const MAX_BLOCK = 1428;
const MAX_NAME = 512;

interface Session {
  readonly path: IpPath;
  readonly port: number;
  readonly blockBytes: number;
  file: HostFile | undefined;
  /** Block that was sent last; 0: the answer to options. */
  block: number;
  /** Bytes before it. */
  offset: number;
  lastLength: number;
  usedMs: number;
  busy: boolean;
}

export interface TftpOptions {
  readonly host: NetHost;
  readonly folder: string;
  readonly send: (path: IpPath, toPort: number, bytes: Uint8Array) => void;
  readonly armed: () => void;
}

export class Tftp {
  readonly #options: TftpOptions;
  readonly #sessions = new Map<string, Session>();

  constructor(options: TftpOptions) {
    this.#options = options;
  }

  get hasSessions(): boolean {
    return this.#sessions.size > 0;
  }

  /** A datagram to port 69, without the UDP header. */
  receive(path: IpPath, port: number, bytes: Uint8Array): void {
    if (bytes.length < 4) return;
    const key = `${addressKey(path.guest)}${port}`;
    switch (getU16(bytes, 0)) {
      case opcode.readRequest:
        void this.#begin(key, path, port, bytes.slice(2));
        break;
      case opcode.writeRequest:
        this.#error(path, port, errorCode.accessViolation, 'this server is for reading');
        break;
      case opcode.ack: {
        const session = this.#sessions.get(key);
        if (session) void this.#acknowledged(key, session, getU16(bytes, 2));
        break;
      }
      case opcode.error:
        this.#end(key);
        break;
    }
  }

  async #begin(key: string, path: IpPath, port: number, rest: Uint8Array): Promise<void> {
    const words = splitStrings(rest);
    const [name, mode] = words;
    const own: IpPath = { version: path.version, guest: path.guest.slice(), outside: path.outside.slice() };
    if (name === undefined || mode === undefined || name.length > MAX_NAME) return;
    if (mode.toLowerCase() !== 'octet') {
      this.#error(own, port, errorCode.illegal, 'the mode is not octet');
      return;
    }
    // Names are below the folder, whether or not they say so.
    const relative = name.replace(/^[/\\]+/, '');
    if (relative === '' || relative.split(/[/\\]/).includes('..')) {
      this.#error(own, port, errorCode.accessViolation, 'Access violation');
      return;
    }
    this.#end(key);
    while (this.#sessions.size >= MAX_SESSIONS) this.#end(this.#sessions.keys().next().value as string);
    let blockBytes = DEFAULT_BLOCK;
    const answers: string[] = [];
    const wanted = new Map<string, string>();
    for (let i = 2; i + 1 < words.length && wanted.size < 8; i += 2) wanted.set(words[i].toLowerCase(), words[i + 1]);
    const size = Number(wanted.get('blksize'));
    if (Number.isInteger(size) && size >= 8 && size <= 65464) {
      blockBytes = Math.min(size, MAX_BLOCK);
      answers.push('blksize', String(blockBytes));
    }
    const { host } = this.#options;
    const session: Session = {
      path: own,
      port,
      blockBytes,
      file: undefined,
      block: 0,
      offset: 0,
      lastLength: 0,
      usedMs: host.nowMs(),
      busy: true,
    };
    this.#sessions.set(key, session);
    this.#options.armed();
    let file: HostFile;
    try {
      file = await host.openFile(this.#options.folder, relative);
    } catch {
      if (this.#sessions.get(key) === session) this.#sessions.delete(key);
      this.#error(own, port, errorCode.notFound, 'File not found');
      return;
    }
    if (this.#sessions.get(key) !== session) {
      file.close();
      return;
    }
    session.file = file;
    session.busy = false;
    if (wanted.has('tsize')) answers.push('tsize', String(file.sizeBytes));
    if (answers.length === 0) {
      await this.#sendBlock(key, session);
      return;
    }
    const text = new TextEncoder().encode(`${answers.join('\0')}\0`);
    const reply = new Uint8Array(2 + text.length);
    putU16(reply, 0, opcode.optionAck);
    reply.set(text, 2);
    this.#options.send(own, port, reply);
  }

  async #acknowledged(key: string, session: Session, block: number): Promise<void> {
    session.usedMs = this.#options.host.nowMs();
    if (session.busy || session.file === undefined) return;
    // What was sent before is asked for again by whoever missed it: only the last block can be.
    if (block === ((session.block - 1) & 0xffff) && session.block > 0) {
      session.block--;
      await this.#sendBlock(key, session);
      return;
    }
    if (block !== (session.block & 0xffff)) return;
    if (session.block > 0) {
      session.offset += session.lastLength;
      if (session.lastLength < session.blockBytes) {
        this.#end(key);
        return;
      }
    }
    await this.#sendBlock(key, session);
  }

  async #sendBlock(key: string, session: Session): Promise<void> {
    const { file, blockBytes, offset } = session;
    if (!file) return;
    session.busy = true;
    let payload: Uint8Array;
    try {
      payload = await file.read(offset, blockBytes);
    } catch {
      this.#error(session.path, session.port, errorCode.notDefined, 'the file cannot be read');
      if (this.#sessions.get(key) === session) this.#end(key);
      return;
    }
    session.busy = false;
    if (this.#sessions.get(key) !== session) return;
    session.block++;
    session.lastLength = payload.length;
    const bytes = new Uint8Array(4 + payload.length);
    putU16(bytes, 0, opcode.data);
    putU16(bytes, 2, session.block);
    bytes.set(payload, 4);
    this.#options.send(session.path, session.port, bytes);
  }

  #error(path: IpPath, port: number, code: number, message: string): void {
    const text = new TextEncoder().encode(message);
    const bytes = new Uint8Array(5 + text.length);
    putU16(bytes, 0, opcode.error);
    putU16(bytes, 2, code);
    bytes.set(text, 4);
    this.#options.send(path, port, bytes);
  }

  #end(key: string): void {
    const session = this.#sessions.get(key);
    if (!session) return;
    this.#sessions.delete(key);
    session.file?.close();
  }

  expire(nowMs: number): void {
    for (const [key, { usedMs }] of this.#sessions) if (nowMs - usedMs >= LIFE_MS) this.#end(key);
  }

  close(): void {
    for (const key of [...this.#sessions.keys()]) this.#end(key);
  }
}

/** Strings that each end with a zero. */
function splitStrings(bytes: Uint8Array): string[] {
  const out: string[] = [];
  const decoder = new TextDecoder();
  for (let at = 0; at < bytes.length && out.length < 32; ) {
    const end = bytes.indexOf(0, at);
    if (end < 0) break;
    out.push(decoder.decode(bytes.subarray(at, end)));
    at = end + 1;
  }
  return out;
}
