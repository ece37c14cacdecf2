/** Byte streams over TCP and unix sockets, and TLS over either, on node:net and node:tls. */
import * as net from 'node:net';
import * as tls from 'node:tls';
import { BlockError, toBlockError } from '../../block/errors.js';
import type { ByteStream, NetworkHost, StreamAddress, TlsOptions } from '../../block/host.js';

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

  async write(...parts: readonly Uint8Array[]): Promise<void> {
    if (this.#error) throw toBlockError(this.#error);
    if (this.socket.destroyed) throw new BlockError('EPIPE');
    if (parts.length > 1) this.socket.cork();
    let flowing = true;
    for (const part of parts) flowing = this.socket.write(part);
    if (parts.length > 1) this.socket.uncork();
    if (flowing) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        this.socket.off('drain', done);
        this.socket.off('close', done);
        resolve();
      };
      this.socket.on('drain', done);
      this.socket.on('close', done);
    });
    if (this.#error) throw toBlockError(this.#error);
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
          ? net.connect({ path: address.path })
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
