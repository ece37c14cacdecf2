/**
 * Echo requests by Linux's ping sockets (net/ipv4/ping.c): datagram sockets of ICMP that any process may have whose group
 * `net.ipv4.ping_group_range` names. The system chooses the identifier and makes the checksums.
 */
import * as dgram from 'node:dgram';
import type { EchoReply } from '../../net/index.js';
import { formatIp } from '../../net/index.js';
import { loadPosix } from './posix.js';

const AF_INET = 2;
const AF_INET6 = 10;
const DATAGRAM = 2;
/** SOCK_NONBLOCK and SOCK_CLOEXEC. */
const FLAGS = 0x80800;
const kinds = {
  4: { family: AF_INET, protocol: 1, type: 'udp4', request: 8, reply: 0 },
  6: { family: AF_INET6, protocol: 58, type: 'udp6', request: 128, reply: 129 },
} as const;
const HEADER_BYTES = 8;
/** Requests that may wait for an answer. */
const MOST_WAITING = 256;
/** Nobody looks at it, but Node wants one. */
const ANY_PORT = 7;

export class PingSocket {
  readonly #socket: dgram.Socket;
  readonly #version: 4 | 6;
  readonly #waiting = new Map<number, EchoReply>();
  #sequence = 0;

  private constructor(socket: dgram.Socket, version: 4 | 6) {
    this.#socket = socket;
    this.#version = version;
    socket.on('message', (bytes) => this.#hear(bytes));
    // An error of one request is that request's loss.
    socket.on('error', () => {});
    // Requests alone keep no thread alive.
    socket.unref();
  }

  /** Undefined: this process may not. */
  static open(version: 4 | 6): PingSocket | undefined {
    const { family, protocol, type } = kinds[version];
    const fd = loadPosix()?.socket(family, DATAGRAM | FLAGS, protocol) ?? -1;
    if (fd < 0) return undefined;
    const socket = dgram.createSocket(type);
    socket.bind({ fd, exclusive: true });
    return new PingSocket(socket, version);
  }

  echo(to: Uint8Array, payload: Uint8Array, reply: EchoReply): void {
    const sequence = (this.#sequence + 1) & 0xffff;
    this.#sequence = sequence;
    if (this.#waiting.size >= MOST_WAITING) this.#waiting.delete(this.#waiting.keys().next().value as number);
    this.#waiting.set(sequence, reply);
    const bytes = new Uint8Array(HEADER_BYTES + payload.length);
    bytes[0] = kinds[this.#version].request;
    bytes[6] = sequence >> 8;
    bytes[7] = sequence & 0xff;
    bytes.set(payload, HEADER_BYTES);
    this.#socket.send(bytes, ANY_PORT, formatIp(to), () => {});
  }

  #hear(bytes: Uint8Array): void {
    if (bytes.length < HEADER_BYTES || bytes[0] !== kinds[this.#version].reply) return;
    const sequence = (bytes[6] << 8) | bytes[7];
    const reply = this.#waiting.get(sequence);
    this.#waiting.delete(sequence);
    reply?.(new Uint8Array(bytes.subarray(HEADER_BYTES)));
  }

  close(): void {
    this.#socket.close();
  }
}
