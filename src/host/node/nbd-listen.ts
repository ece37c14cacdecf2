/** Listening for NBD clients on Node.js: TCP, unix sockets, sockets that a service manager passed, or one descriptor. */
import * as fs from 'node:fs';
import * as net from 'node:net';
import { dirname } from 'node:path';
import { BlockError, errorText, toBlockError } from '../../block/errors.js';
import { NodeByteStream } from './block-network.js';
import { listenAtUnixPath } from './unix-path.js';

export type ListenAddress =
  | { readonly type: 'inet'; readonly host: string; readonly port: number }
  | { readonly type: 'unix'; readonly path: string }
  /** A listening socket that is open already. */
  | { readonly type: 'fd'; readonly fd: number };

/** First descriptor of a service manager's sockets (sd_listen_fds(3)). */
export const firstPassedFd = 3;

/** How long a stranger may take until it has chosen an export. */
const handshakeMs = 10_000;

/** How many sockets were passed to this process; the variables are removed so that children don't take them for theirs. */
export function takePassedSockets(env: Record<string, string | undefined> = process.env): number {
  const { LISTEN_PID: pid, LISTEN_FDS: count } = env;
  delete env['LISTEN_PID'];
  delete env['LISTEN_FDS'];
  delete env['LISTEN_FDNAMES'];
  if (pid === undefined || count === undefined) return 0;
  if (!/^\d+$/.test(pid) || Number(pid) !== process.pid || !/^\d+$/.test(count)) return 0;
  return Number(count);
}

export interface NbdListener {
  /** The port chosen when 0 was asked for. */
  readonly port: number | undefined;
  /** Stops listening; connections live on. */
  close(): Promise<void>;
}

/** What a server tells of a connection as it comes along. */
export interface ConnectionEvents {
  /** It has to wait for its turn, which is not its fault: its time for the handshake begins with `onAdmitted`. */
  onWaiting(): void;
  onAdmitted(): void;
  /** The handshake is over: it may be idle for as long as it likes. */
  onNegotiated(): void;
}

export type ServeConnection = (stream: NodeByteStream, events: ConnectionEvents) => Promise<unknown>;

function serveSocket(socket: net.Socket, serve: ServeConnection): Promise<unknown> {
  socket.setNoDelay(true);
  const stream = new NodeByteStream(socket);
  let timer: NodeJS.Timeout | undefined;
  const stop = () => clearTimeout(timer);
  const start = () => {
    stop();
    timer = setTimeout(() => socket.destroy(), handshakeMs);
  };
  start();
  return serve(stream, { onWaiting: stop, onAdmitted: start, onNegotiated: stop }).finally(stop);
}

/** Listens and serves each connection. BlockError with QEMU's sentence when the address can't be had. */
export function listenForNbd(address: ListenAddress, serve: ServeConnection): Promise<NbdListener> {
  return new Promise((resolve, reject) => {
    const listening = net.createServer({ allowHalfOpen: false }, (socket) => {
      void serveSocket(socket, serve);
    });
    listening.once('error', (error) => {
      const { code } = toBlockError(error);
      const systemCode = (error as NodeJS.ErrnoException).code;
      if (address.type === 'unix') {
        // libuv gives EACCES for a directory that isn't there.
        const actual = code === 'EACCES' && !fs.existsSync(dirname(address.path)) ? 'ENOENT' : code;
        reject(
          new BlockError(actual, `Failed to bind socket to ${address.path}: ${errorText(actual)}`, { cause: error }),
        );
      } else if (address.type === 'inet') {
        const isUnknown = systemCode === 'ENOTFOUND' || systemCode === 'EAI_AGAIN';
        reject(
          new BlockError(
            code,
            isUnknown
              ? `address resolution failed for ${address.host}:${address.port}: Name or service not known`
              : systemCode === 'EADDRNOTAVAIL'
                ? 'Failed to bind socket: Cannot assign requested address'
                : `Failed to find an available port: ${errorText(code)}`,
            { cause: error },
          ),
        );
      } else reject(new BlockError(code, `Failed to listen on socket: ${errorText(code)}`, { cause: error }));
    });
    const ready = () => {
      // A connection that could not be accepted is its client's loss.
      listening.on('error', () => undefined);
      const bound = listening.address();
      resolve({
        port: typeof bound === 'object' ? bound?.port : undefined,
        close: () =>
          new Promise((done) => {
            // A unix socket's name goes with its listener.
            listening.close(() => done());
          }),
      });
    };
    if (address.type === 'fd') listening.listen({ fd: address.fd }, ready);
    else if (address.type === 'inet') listening.listen({ host: address.host, port: address.port }, ready);
    else listenAtUnixPath(listening, address.path, ready);
  });
}
