/** What the VNC server needs, by Node's libraries; and listening for its clients. */
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import * as net from 'node:net';
import * as zlib from 'node:zlib';
import { VringError } from '../../base/index.js';
import type { Deflater, VncHost } from '../../vnc/index.js';
import { NodeByteStream } from './block-network.js';
import { openFailure } from './open-failure.js';
import { listenAtUnixPath } from './unix-path.js';

/** How long a stranger may take until it is in. */
const HANDSHAKE_MS = 10_000;

class NodeDeflater implements Deflater {
  readonly #stream: zlib.Deflate;
  #chunks: Buffer[] = [];
  #fail: ((error: Error) => void) | undefined;

  constructor(level: number) {
    this.#stream = zlib.createDeflate({ level });
    this.#stream.on('data', (chunk: Buffer) => this.#chunks.push(chunk));
    this.#stream.on('error', (error) => this.#fail?.(error));
    this.#stream.on('close', () => this.#fail?.(new Error('The stream is closed.')));
  }

  deflate(bytes: Uint8Array): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      this.#fail = reject;
      this.#stream.write(bytes);
      this.#stream.flush(zlib.constants.Z_SYNC_FLUSH, () => {
        this.#fail = undefined;
        resolve(Buffer.concat(this.#chunks.splice(0)));
      });
    });
  }

  close(): void {
    this.#stream.destroy();
  }
}

export const nodeVncHost: VncHost = {
  deflater: (level) => new NodeDeflater(level),
  randomBytes: (count) => randomBytes(count),
  sha1: (bytes) => createHash('sha1').update(bytes).digest(),
  desEncrypt: (key, blocks) => {
    // Encrypted, decrypted and encrypted with one key: single DES, which the library itself has given up.
    const cipher = createCipheriv('des-ede3-ecb', Buffer.concat([key, key, key]), null);
    cipher.setAutoPadding(false);
    return Buffer.concat([cipher.update(blocks), cipher.final()]);
  },
  after: (milliseconds, work) => {
    const timer = setTimeout(work, milliseconds);
    return () => clearTimeout(timer);
  },
};

export type VncAddress =
  | { readonly type: 'inet'; readonly host: string; readonly port: number }
  | { readonly type: 'unix'; readonly path: string };

/** Serves a connection to its end; `entered` is to be called when its handshake is over. */
export type ServeVnc = (stream: NodeByteStream, entered: () => void) => Promise<void>;

export interface VncListener {
  /** The one chosen where 0 was asked for; undefined for a unix socket. */
  readonly port: number | undefined;
  close(): void;
}

/** Throws VringError `vnc-listen`. */
export function listenForVnc(address: VncAddress, serve: ServeVnc): Promise<VncListener> {
  return new Promise((resolve, reject) => {
    const listening = net.createServer((socket) => {
      socket.setNoDelay(true);
      const timer = setTimeout(() => socket.destroy(), HANDSHAKE_MS);
      void serve(new NodeByteStream(socket), () => clearTimeout(timer)).finally(() => {
        clearTimeout(timer);
        socket.destroy();
      });
    });
    listening.once('error', (error) => {
      const where = address.type === 'unix' ? `'${address.path}'` : `${address.host}:${address.port}`;
      reject(new VringError('vnc-listen', `VNC cannot be served at ${where}: ${openFailure(error)}`, { cause: error }));
    });
    const ready = () => {
      // A connection that could not be accepted is its client's loss.
      listening.on('error', () => undefined);
      const bound = listening.address();
      resolve({
        port: typeof bound === 'object' ? bound?.port : undefined,
        close: () => void listening.close(),
      });
    };
    if (address.type === 'inet') listening.listen({ host: address.host, port: address.port }, ready);
    else listenAtUnixPath(listening, address.path, ready);
  });
}
