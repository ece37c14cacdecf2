/**
 * An NBD server over any byte streams: exports by name, fixed newstyle negotiation, then requests. Listening, TLS and
 * sockets come from the host (`src/host/node/nbd-listen.ts`).
 *
 * **Strangers.** Clients are not trusted. All they send is checked before anything is allocated for it; a client has at most 16
 * requests and 64 MiB in memory; errors in a request are answered, broken framing ends that connection and no other.
 */
import { BlockError, toBlockError } from '../block/errors.js';
import type { ByteStream } from '../block/host.js';
import { FrameReader, FrameWriter } from '../block/protocols/nbd/frames.js';
import { NbdExport, type NbdExportOptions } from './export.js';
import { type NbdServerTls, type NegotiatedSession, negotiate } from './negotiation.js';
import { Transmission } from './transmission.js';

export interface NbdServerOptions {
  /** Given: TLS is required of every client. */
  readonly tls?: NbdServerTls;
  /** Connections served at once; further ones are ended at once. 0: any number. Default 100. */
  readonly maxConnections?: number;
  /** A connection that ended by an error, in a sentence. */
  onError?(error: BlockError): void;
}

export interface ServeEvents {
  /** The client has chosen an export: it may now be idle for as long as it likes. */
  onNegotiated?(): void;
  /** No negotiation: the peer (a kernel's client) begins with requests to this export, without structured replies. */
  readonly attachedTo?: NbdExport;
}

export class NbdServer {
  readonly #options: NbdServerOptions;
  readonly #exports = new Map<string, NbdExport>();
  readonly #connections = new Map<ByteStream, { export?: NbdExport; readonly done: Promise<void> }>();
  #isClosed = false;

  constructor(options: NbdServerOptions = {}) {
    this.#options = options;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  get exports(): readonly NbdExport[] {
    return [...this.#exports.values()];
  }

  /** Offers a disk; EEXIST when the name is taken. */
  async addExport(options: NbdExportOptions): Promise<NbdExport> {
    const name = options.name ?? '';
    if (this.#exports.has(name)) throw new BlockError('EEXIST', `NBD server already has export named '${name}'`);
    const made = await NbdExport.open(options);
    if (this.#exports.has(name)) {
      await made.close();
      throw new BlockError('EEXIST', `NBD server already has export named '${name}'`);
    }
    this.#exports.set(name, made);
    return made;
  }

  /** A client has chosen this export. */
  hasClients(name: string): boolean {
    const entry = this.#exports.get(name);
    return [...this.#connections.values()].some((connection) => entry !== undefined && connection.export === entry);
  }

  /** Ends the connections to an export and releases its node. */
  async removeExport(name: string): Promise<void> {
    const entry = this.#exports.get(name);
    if (!entry) throw new BlockError('ENOENT', `Export '${name}' is not found`);
    this.#exports.delete(name);
    const ended: Promise<void>[] = [];
    for (const [stream, connection] of this.#connections) {
      if (connection.export !== entry) continue;
      stream.destroy();
      ended.push(connection.done);
    }
    await Promise.all(ended);
    await entry.close();
  }

  /** Serves one connection to its end. Never rejects; `true` when the client had chosen an export. */
  async serve(stream: ByteStream, events: ServeEvents = {}): Promise<boolean> {
    const most = this.#options.maxConnections ?? 100;
    if (this.#isClosed || (most > 0 && this.#connections.size >= most)) {
      stream.destroy();
      return false;
    }
    let finish!: () => void;
    const connection: { export?: NbdExport; readonly done: Promise<void> } = {
      done: new Promise((resolve) => {
        finish = resolve;
      }),
    };
    this.#connections.set(stream, connection);
    let current = stream;
    let hasChosen = false;
    try {
      const session = events.attachedTo
        ? attachedSession(stream, events.attachedTo)
        : await negotiate(
            {
              tls: this.#options.tls,
              exports: () => this.#exports.values(),
              find: (name) => this.#exports.get(name),
            },
            stream,
          );
      if (session) {
        hasChosen = true;
        current = session.stream;
        // The export may have gone while the answer was on its way.
        if (this.#exports.get(session.export.name) === session.export) {
          connection.export = session.export;
          events.onNegotiated?.();
          await new Transmission(session).run();
        }
      }
      await current.end();
    } catch (error) {
      this.#options.onError?.(toBlockError(error));
    } finally {
      current.destroy();
      stream.destroy();
      this.#connections.delete(stream);
      finish();
    }
    return hasChosen;
  }

  /** Ends all connections, waits for what they had begun, and releases all nodes. Rejects if a last flush failed. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const ended = [...this.#connections.values()].map(({ done }) => done);
    for (const stream of this.#connections.keys()) stream.destroy();
    await Promise.all(ended);
    let failure: unknown;
    for (const entry of this.#exports.values()) {
      try {
        await entry.close();
      } catch (error) {
        failure ??= error;
      }
    }
    this.#exports.clear();
    if (failure !== undefined) throw failure;
  }
}

function attachedSession(stream: ByteStream, entry: NbdExport): NegotiatedSession {
  return {
    stream,
    reader: new FrameReader(stream),
    writer: new FrameWriter(stream),
    export: entry,
    mode: 'simple',
    contexts: [],
  };
}
