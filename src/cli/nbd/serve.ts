/** The serving part of `nbd`: listens, admits as many clients as may share the disk, and ends when the last has gone. */
import { toBlockError } from '../../block/errors.js';
import type { GraphNode } from '../../block/graph-node.js';
import type { NodeByteStream } from '../../host/node/block-network.js';
import {
  type ConnectionEvents,
  type ListenAddress,
  listenForNbd,
  type NbdListener,
  type ServeConnection,
} from '../../host/node/nbd-listen.js';
import type { NodeServerTls } from '../../host/node/server-tls.js';
import { NbdServer } from '../../nbd/server.js';
import { openImage } from './image.js';
import type { NbdTool, NbdToolOptions } from './options.js';

const endings = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;
/** What ends each server under way. */
const ends = new Set<() => void>();
let listensForSignals = false;
/**
 * From the first server on signals end what is served, not the process, for good: a second one must not cut short what is being
 * stored, nor change the exit status after that.
 */
function listenForSignals(): void {
  if (listensForSignals) return;
  listensForSignals = true;
  const endAll = () => {
    for (const end of ends) end();
  };
  for (const signal of endings) process.on(signal, endAll);
}

/** Clients kept waiting for their turn; QEMU leaves them in the listen queue, whose length is like this. */
const maxWaiting = 128;

/** Admits clients in turn: at most `shared` at once (0: any number). */
class Admission {
  readonly #shared: number;
  readonly #waiting: (() => void)[] = [];
  active = 0;
  #isClosed = false;

  constructor(shared: number) {
    this.#shared = shared;
  }

  async enter(stream: NodeByteStream, events: ConnectionEvents): Promise<boolean> {
    if (this.#isClosed) return false;
    if (this.#shared > 0 && this.active >= this.#shared) {
      if (this.#waiting.length >= maxWaiting) return false;
      events.onWaiting();
      let wake!: () => void;
      const turn = new Promise<void>((resolve) => {
        wake = resolve;
        this.#waiting.push(resolve);
        stream.socket.once('close', resolve);
      });
      await turn;
      const index = this.#waiting.indexOf(wake);
      if (index >= 0) {
        // It went before its turn came.
        this.#waiting.splice(index, 1);
        return false;
      }
      if (this.#isClosed) return false;
      if (stream.socket.destroyed) {
        this.#waiting.shift()?.();
        return false;
      }
    }
    this.active++;
    events.onAdmitted();
    return true;
  }

  /** Sends away who waits and who comes. */
  close(): void {
    this.#isClosed = true;
    for (const wake of this.#waiting.splice(0)) wake();
  }

  leave(): void {
    this.active--;
    this.#waiting.shift()?.();
  }
}

/** Serves until it is over; gives the exit code. `onReady` is called when clients are served. */
export async function serve(
  tool: NbdTool,
  options: NbdToolOptions,
  listen: ListenAddress | undefined,
  tls: NodeServerTls | undefined,
  onReady: () => void,
): Promise<number> {
  const server = new NbdServer({
    ...(tls ? { tls } : {}),
    maxConnections: 0,
    onError: (error) => {
      if (options.verbose) tool.error(error.message);
    },
  });
  let end!: () => void;
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const admission = new Admission(options.shared);
  let open!: () => void;
  // Clients may connect as soon as the socket is there; they are greeted when the image is open.
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  const serveClient: ServeConnection = async (stream, events) => {
    await opened;
    if (!(await admission.enter(stream, events))) {
      stream.destroy();
      return;
    }
    const hasChosen = await server.serve(stream, events);
    admission.leave();
    if (hasChosen && admission.active === 0 && !options.persistent) end();
  };
  let listener: NbdListener | undefined;
  let node: GraphNode | undefined;
  try {
    if (listen) listener = await listenForNbd(listen, serveClient);
  } catch (error) {
    tool.fail(toBlockError(error).message);
  }
  listenForSignals();
  ends.add(end);
  try {
    node = await openImage(tool, options);
    try {
      await server.addExport({
        node,
        name: options.exportName ?? '',
        description: options.description ?? '',
        readOnly: node.readOnly,
        offsetBytes: options.offset,
        allocationDepth: options.allocationDepth,
        bitmaps: options.bitmaps,
        multiConnection: options.shared !== 1,
        resizable: options.resizable,
      });
    } catch (error) {
      await node.close();
      tool.fail(toBlockError(error).message);
    }
    // The export holds the node now.
    await node.close();
    if (options.device !== undefined) {
      const { attachDevice } = await import('../../host/node/nbd-device.js');
      const entry = server.exports[0]!;
      try {
        const { socket, done } = await attachDevice(options.device, {
          lengthBytes: entry.lengthBytes,
          flags: entry.transmissionFlags(false, false),
        });
        void server.serve(socket, { attachedTo: entry });
        void done.then(end, (error) => {
          tool.error(toBlockError(error).message);
          end();
        });
      } catch (error) {
        tool.fail(toBlockError(error).message);
      }
      if (options.verbose) tool.out(`NBD device ${options.device} is now connected to ${options.operand}\n`);
    }
    onReady();
    open();
    await ended;
    return 0;
  } finally {
    admission.close();
    // Those who came before the image was open, if it never was.
    open();
    const closing = listener?.close();
    try {
      await server.close();
    } catch (error) {
      tool.error(toBlockError(error).message);
    }
    await closing;
    ends.delete(end);
  }
}
