/** Byte streams over TCP and unix sockets, and TLS over either, on node:net and node:tls. */
import * as fs from 'node:fs';
import * as net from 'node:net';
import * as tls from 'node:tls';
import { BlockError, toBlockError } from '../../block/errors.js';
import type { ByteStream, NetworkHost, StreamAddress, TlsOptions } from '../../block/host.js';
import { socketDescriptor } from './socket-descriptor.js';
import { unixPath } from './unix-path.js';

/** A write that may not have been taken by the system yet. */
interface WaitingWrite {
  isDone: boolean;
  error: unknown;
  wake: (() => void) | undefined;
}

export class NodeByteStream implements ByteStream {
  readonly socket: net.Socket;
  #error: unknown;
  #isEnded = false;
  #wake: (() => void) | undefined;

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on('readable', () => this.#notify());
    socket.on('end', () => {
      this.#isEnded = true;
      this.#notify();
    });
    socket.on('error', (error) => {
      this.#error = error;
      this.#notify();
    });
    socket.on('close', () => {
      this.#isEnded = true;
      this.#notify();
    });
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  async read(limit: number): Promise<Uint8Array> {
    for (;;) {
      const available = this.socket.readableLength;
      if (available > 0) {
        const chunk = this.socket.read(Math.min(limit, available)) as Buffer | null;
        if (chunk) return chunk;
      }
      if (this.#error) throw toBlockError(this.#error);
      if (this.#isEnded) return new Uint8Array(0);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        // Asking for bytes that aren't there makes the stream tell when they are.
        if (this.socket.readableLength === 0) this.socket.read(0);
      });
    }
  }

  readNow(buffer: Uint8Array): number {
    if (this.socket.readableLength > 0 || this.#isEnded || this.socket instanceof tls.TLSSocket) return 0;
    // It is non-blocking; where there is none, `read` does all.
    const fd = socketDescriptor(this.socket);
    if (fd === undefined) return 0;
    try {
      return fs.readSync(fd, buffer);
    } catch {
      // Nothing is there, or `read` will tell what is wrong.
      return 0;
    }
  }

  async write(...parts: readonly Uint8Array[]): Promise<void> {
    this.#checkWritable();
    if (parts.length > 1) this.socket.cork();
    let last: WaitingWrite | undefined;
    for (const [index, part] of parts.entries()) {
      if (index < parts.length - 1) this.socket.write(part);
      else last = this.#writeLast(part);
    }
    if (parts.length > 1) this.socket.uncork();
    if (last && this.socket.writableLength > 0) await this.#taken(last);
  }

  writeNow(bytes: Uint8Array): Promise<void> | undefined {
    try {
      this.#checkWritable();
    } catch (error) {
      return Promise.reject(error);
    }
    const write = this.#writeLast(bytes);
    return this.socket.writableLength > 0 ? this.#taken(write) : undefined;
  }

  #checkWritable(): void {
    if (this.#error) throw toBlockError(this.#error);
    if (this.socket.destroyed) throw new BlockError('EPIPE');
  }

  #writeLast(bytes: Uint8Array): WaitingWrite {
    const write: WaitingWrite = { isDone: false, error: undefined, wake: undefined };
    this.socket.write(bytes, (error) => {
      write.isDone = true;
      write.error = error;
      write.wake?.();
    });
    return write;
  }

  /** Waits until the system has taken it, and with it all that was written before. */
  async #taken(write: WaitingWrite): Promise<void> {
    if (!write.isDone) {
      await new Promise<void>((resolve) => {
        write.wake = resolve;
        this.socket.once('close', resolve);
      });
      this.socket.off('close', write.wake!);
    }
    const error = this.#error ?? write.error;
    if (error) throw toBlockError(error);
  }

  startTls(options: TlsOptions): Promise<ByteStream> {
    this.socket.removeAllListeners('readable');
    return new Promise((resolve, reject) => {
      const common: tls.ConnectionOptions = { socket: this.socket };
      const secure =
        options.kind === 'psk'
          ? tls.connect({
              ...common,
              ciphers: 'PSK',
              maxVersion: 'TLSv1.2',
              pskCallback: () => ({ psk: Buffer.from(options.key), identity: options.identity }),
              checkServerIdentity: () => undefined,
            })
          : tls.connect({
              ...common,
              ...(options.ca ? { ca: Buffer.from(options.ca) } : {}),
              ...(options.cert ? { cert: Buffer.from(options.cert) } : {}),
              ...(options.key ? { key: Buffer.from(options.key) } : {}),
              ...(options.serverName !== undefined && !net.isIP(options.serverName)
                ? { servername: options.serverName }
                : {}),
              // Without a name (a unix socket) there is none to check; the chain still is.
              ...(options.serverName !== undefined
                ? { host: options.serverName }
                : { checkServerIdentity: () => undefined }),
              rejectUnauthorized: options.verifyPeer,
            });
      secure.once('secureConnect', () => {
        secure.off('error', reject);
        resolve(new NodeByteStream(secure));
      });
      secure.once('error', reject);
      // Whatever else goes wrong with a connection that was given up is nobody's concern.
      secure.on('error', () => undefined);
    });
  }

  end(): Promise<void> {
    return new Promise((resolve) => {
      if (this.socket.destroyed) resolve();
      else this.socket.end(() => resolve());
    });
  }

  destroy(): void {
    this.socket.destroy();
  }
}

export const nodeNetwork: NetworkHost = {
  connect(address: StreamAddress): Promise<ByteStream> {
    return new Promise((resolve, reject) => {
      const socket =
        address.type === 'unix'
          ? net.connect({ path: unixPath(address.path) })
          : address.type === 'inet'
            ? net.connect({ host: address.host, port: address.port, noDelay: true })
            : new net.Socket({ fd: address.fd, readable: true, writable: true });
      const fail = (error: unknown) => reject(toBlockError(error));
      if (address.type === 'fd') {
        resolve(new NodeByteStream(socket));
        return;
      }
      socket.once('error', fail);
      socket.once('connect', () => {
        socket.off('error', fail);
        resolve(new NodeByteStream(socket));
      });
    });
  },
};
