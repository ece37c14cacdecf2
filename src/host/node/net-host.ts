/** What a user-mode network needs of the host, on node:net, node:dgram and node:dns. */
import { spawn } from 'node:child_process';
import * as dgram from 'node:dgram';
import * as dns from 'node:dns';
import { constants, open, realpath } from 'node:fs/promises';
import * as net from 'node:net';
import { join, sep } from 'node:path';
import type { Duplex } from 'node:stream';
import { VringError } from '../../base/index.js';
import {
  type AcceptedStream,
  type Echo,
  type Endpoint,
  formatIp,
  type HostDatagrams,
  type HostFile,
  type HostPlace,
  type HostStream,
  isLoopback,
  loopback4,
  loopback6,
  type NetHost,
  parseIp,
  type StreamEvents,
  type StreamFailure,
  unmapped,
} from '../../net/index.js';
import { PingSocket } from './ping-socket.js';

const failures: Readonly<Record<string, StreamFailure>> = {
  ECONNREFUSED: 'refused',
  ECONNRESET: 'reset',
  EPIPE: 'reset',
  ETIMEDOUT: 'timeout',
  EHOSTUNREACH: 'unreachable',
  ENETUNREACH: 'unreachable',
  EADDRNOTAVAIL: 'unreachable',
  ENOTFOUND: 'unreachable',
  ENOENT: 'refused',
};

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code ?? '';

/** How long a host that does not answer is waited for. */
const CONNECT_MS = 75_000;

class NodeStream implements HostStream {
  readonly #stream: Duplex;
  #events: StreamEvents;
  #failure: StreamFailure | undefined;
  #gone = false;

  constructor(stream: Duplex, events: StreamEvents) {
    this.#stream = stream;
    this.#events = events;
    stream.on('data', (bytes: Buffer) => this.#events.data(bytes));
    stream.on('end', () => this.#events.ended());
    stream.on('drain', () => this.#events.drained());
    stream.on('error', (error) => {
      this.#failure = failures[codeOf(error)] ?? 'reset';
    });
    stream.on('close', () => {
      if (!this.#gone) this.#events.closed(this.#failure);
      this.#gone = true;
    });
  }

  attach(events: StreamEvents): void {
    this.#events = events;
  }

  get backlogBytes(): number {
    return this.#stream.writableLength;
  }

  write(bytes: Uint8Array): void {
    // What the other side does not want any more is lost; its reset is on its way.
    if (this.#stream.writable) this.#stream.write(bytes, () => this.#events.drained());
  }

  end(): void {
    if (this.#stream.writable) this.#stream.end();
  }

  destroy(): void {
    if (this.#gone) return;
    this.#gone = true;
    const stream = this.#stream;
    const isOver = stream.writableFinished && stream.readableEnded;
    if (stream instanceof net.Socket && !isOver && !stream.connecting) stream.resetAndDestroy();
    else stream.destroy();
  }

  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }
}

const nothing: StreamEvents = { connected() {}, data() {}, ended() {}, drained() {}, closed() {} };

class NodeDatagrams implements HostDatagrams {
  backlogBytes = 0;
  readonly #socket: dgram.Socket;
  readonly #isIpv6: boolean;
  #isClosed = false;

  constructor(socket: dgram.Socket, isIpv6: boolean) {
    this.#socket = socket;
    this.#isIpv6 = isIpv6;
  }

  send(bytes: Uint8Array, { address, port }: Endpoint): void {
    if (this.#isClosed || port === 0 || (address.length === 16) !== this.#isIpv6) return;
    this.backlogBytes += bytes.length;
    this.#socket.send(bytes, port, formatIp(address), () => {
      this.backlogBytes -= bytes.length;
    });
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.close();
  }
}

function openSocket(isIpv6: boolean, received: (bytes: Uint8Array, from: Endpoint) => void): dgram.Socket {
  const socket = dgram.createSocket(isIpv6 ? 'udp6' : 'udp4');
  socket.on('message', (bytes, { address, port }) => {
    const from = parseIp(address.split('%')[0]);
    if (from) received(bytes, { address: unmapped(from), port });
  });
  return socket;
}

const listenFailures: Readonly<Record<string, string>> = {
  EADDRINUSE: 'Address already in use',
  EACCES: 'Permission denied',
  EADDRNOTAVAIL: 'Cannot assign requested address',
};

function listenError(protocol: string, address: Uint8Array | undefined, port: number, error: unknown): VringError {
  const why = listenFailures[codeOf(error)] ?? (error as Error).message;
  const place = `${address ? formatIp(address) : ''}:${port}`;
  return new VringError('network-port', `Could not set up host forwarding rule '${protocol}:${place}': ${why}`, {
    cause: error,
  });
}

export class NodeNetHost implements NetHost {
  /** Opened when first asked for; null: this process may have none. */
  readonly #pings = new Map<4 | 6, PingSocket | null>();

  /** Undefined: the host does not let this program. */
  echoTo(version: 4 | 6): Echo | undefined {
    let socket = this.#pings.get(version);
    if (socket === undefined) {
      socket = PingSocket.open(version) ?? null;
      this.#pings.set(version, socket);
    }
    const found = socket;
    return found ? (to, payload, reply) => found.echo(to, payload, reply) : undefined;
  }

  nowMs(): number {
    return performance.now();
  }

  after(milliseconds: number, call: () => void): () => void {
    const timer = setTimeout(call, milliseconds);
    return () => clearTimeout(timer);
  }

  connect(to: Endpoint | HostPlace, events: StreamEvents): HostStream {
    const place = 'address' in to ? { host: formatIp(to.address), port: to.port } : to;
    const socket = net.connect({ ...place, allowHalfOpen: true, noDelay: true });
    const stream = new NodeStream(socket, events);
    const timer = setTimeout(() => {
      socket.destroy(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' }));
    }, CONNECT_MS);
    socket.once('close', () => clearTimeout(timer));
    socket.once('connect', () => {
      clearTimeout(timer);
      events.connected();
    });
    return stream;
  }

  spawn(command: string, events: StreamEvents): HostStream {
    const child = spawn(command, { shell: true, stdio: ['pipe', 'pipe', 'inherit'] });
    const { stdin, stdout } = child;
    let failed = false;
    const stream: HostStream = {
      get backlogBytes() {
        return stdin.writableLength;
      },
      write: (bytes) => {
        if (stdin.writable) stdin.write(bytes, () => events.drained());
      },
      end: () => void stdin.end(),
      destroy: () => {
        failed = true;
        stdin.destroy();
        stdout.destroy();
        child.kill();
      },
      pause: () => void stdout.pause(),
      resume: () => void stdout.resume(),
    };
    stdin.on('error', () => {});
    child.once('spawn', () => events.connected());
    child.once('error', () => {
      if (!failed) events.closed('refused');
      failed = true;
    });
    stdout.on('data', (bytes: Buffer) => events.data(bytes));
    stdout.on('end', () => events.ended());
    child.once('close', () => {
      if (!failed) events.closed();
    });
    return stream;
  }

  async listen(
    address: Uint8Array | undefined,
    port: number,
    accepted: (stream: AcceptedStream) => void,
  ): Promise<{ close(): void }> {
    const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true });
    server.on('connection', (socket) => {
      const remote = parseIp((socket.remoteAddress ?? '').split('%')[0]);
      if (!remote || socket.remotePort === undefined) {
        socket.destroy();
        return;
      }
      const stream = new NodeStream(socket, nothing);
      accepted({
        stream,
        remote: { address: unmapped(remote), port: socket.remotePort },
        attach: (events) => stream.attach(events),
      });
    });
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen({ port, host: address ? formatIp(address) : '0.0.0.0', exclusive: true }, resolve);
      });
    } catch (error) {
      throw listenError('tcp', address, port, error);
    }
    server.on('error', () => {});
    return { close: () => void server.close() };
  }

  async bindDatagrams(
    address: Uint8Array | undefined,
    port: number,
    received: (bytes: Uint8Array, from: Endpoint) => void,
  ): Promise<HostDatagrams> {
    const isIpv6 = address?.length === 16;
    const socket = openSocket(isIpv6, received);
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once('error', reject);
        socket.bind({ port, address: address ? formatIp(address) : '0.0.0.0', exclusive: true }, resolve);
      });
    } catch (error) {
      throw listenError('udp', address, port, error);
    }
    // Errors of single datagrams are the datagram's loss.
    socket.on('error', () => {});
    return new NodeDatagrams(socket, isIpv6);
  }

  openDatagrams(version: 4 | 6, received: (bytes: Uint8Array, from: Endpoint) => void): HostDatagrams {
    const socket = openSocket(version === 6, received);
    socket.on('error', () => {});
    return new NodeDatagrams(socket, version === 6);
  }

  nameServer(version: 4 | 6): Endpoint | undefined {
    let any: Endpoint | undefined;
    for (const text of dns.getServers()) {
      const match = /^\[(.*)\]:(\d+)$/.exec(text) ?? /^([\d.]+):(\d+)$/.exec(text) ?? [text, text, '53'];
      const address = parseIp(match[1].split('%')[0]);
      if (!address) continue;
      const server = { address, port: Number(match[2]) };
      if ((address.length === 4) === (version === 4)) return server;
      if (isLoopback(address)) any ??= { address: version === 4 ? loopback4 : loopback6, port: server.port };
    }
    return any;
  }

  async openFile(folder: string, name: string): Promise<HostFile> {
    const root = await realpath(folder);
    const path = await realpath(join(root, name));
    // A link must not lead out of the folder.
    if (!path.startsWith(root.endsWith(sep) ? root : root + sep)) throw new Error('outside of the folder');
    // A pipe would wait for its other end.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = await file.stat();
    if (!stat.isFile()) {
      await file.close();
      throw new Error('no plain file');
    }
    return {
      sizeBytes: stat.size,
      read: async (offset, length) => {
        const bytes = new Uint8Array(length);
        const { bytesRead } = await file.read(bytes, 0, length, offset);
        return bytes.subarray(0, bytesRead);
      },
      close: () => void file.close().catch(() => {}),
    };
  }
}
