/** A character device that is a socket: it waits for one client after the other, or is a client itself. */
import { rmSync } from 'node:fs';
import { connect, createServer, type Server, Socket } from 'node:net';
import { MessageReader } from '../../../host/node/descriptor-messages.js';
import { openFailure } from '../../../host/node/open-failure.js';
import { freshUnixPath, unixPath } from '../../../host/node/unix-path.js';
import { VringError } from '../../../vmm/index.js';
import { type SocketPlan, socketName } from '../chardev-socket.js';
import { type Backend, type BackendEvents, MOST_UNREAD_BYTES, PATIENCE_MS } from './backend.js';
import { TelnetInput, telnetEscape, telnetGreeting } from './telnet.js';

/** Clients that wait until the one before them has gone. */
const MOST_WAITING = 8;

export class SocketBackend implements Backend {
  readonly ready: Promise<void>;
  readonly notice: string | undefined;
  readonly #plan: SocketPlan;
  readonly #server: Server | undefined;
  readonly #waiting: Socket[] = [];
  #address: SocketPlan['address'];
  #events: BackendEvents | undefined;
  #client: Socket | undefined;
  /** In place of Node's own reading, where descriptors may come. */
  #reader: MessageReader | undefined;
  #paused = false;
  /** Until the client's socket takes bytes again. */
  #drained: Promise<void> | undefined;
  #closing = false;
  #retry: NodeJS.Timeout | undefined;
  #tellReady: () => void = () => {};

  private constructor(where: string, plan: SocketPlan) {
    this.#plan = plan;
    this.#address = plan.address;
    this.ready = plan.waits
      ? new Promise((resolve) => {
          this.#tellReady = resolve;
        })
      : Promise.resolve();
    this.notice = plan.waits ? `${where}: waiting for a connection on ${socketName(plan, false)}` : undefined;
    if (plan.server)
      this.#server = createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true }, (socket) =>
        this.#take(socket),
      );
  }

  /** `where` begins messages. Throws VringError `chardev-open`. */
  static async open(where: string, plan: SocketPlan): Promise<SocketBackend> {
    const backend = new SocketBackend(where, plan);
    try {
      if (plan.server) await backend.#listen();
      else if (plan.reconnectMs > 0) backend.#tryAgain();
      else backend.#take(await backend.#connect());
      return backend;
    } catch (error) {
      const what = plan.server ? 'clients cannot be waited for' : 'it cannot be connected';
      throw new VringError('chardev-open', `${where}: ${what}: ${openFailure(error)}`, { cause: error });
    }
  }

  get filename(): string {
    return socketName({ ...this.#plan, address: this.#address }, this.#client !== undefined);
  }

  attach(events: BackendEvents): void {
    this.#events = events;
    const first = this.#client;
    if (first) this.#serve(first);
  }

  pause(): void {
    this.#paused = true;
    if (this.#reader) this.#reader.pause();
    else this.#client?.pause();
  }

  resume(): void {
    this.#paused = false;
    if (this.#reader) this.#reader.resume();
    else this.#client?.resume();
  }

  write(bytes: Uint8Array | string): Promise<void> {
    const socket = this.#client;
    if (!socket || !this.#events || socket.destroyed || socket.writableEnded) return Promise.resolve();
    const data = typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
    const flows = socket.write(this.#plan.telnet ? telnetEscape(data) : data);
    // Not all who write wait.
    if (socket.writableLength > MOST_UNREAD_BYTES) socket.destroy();
    if (flows || socket.destroyed) return Promise.resolve();
    // One wait for all: those who do not wait may have written a hundred thousand times.
    this.#drained ??= new Promise((resolve) => {
      const go = () => {
        socket.off('drain', go);
        socket.off('close', go);
        this.#drained = undefined;
        resolve();
      };
      socket.on('drain', go);
      socket.on('close', go);
    });
    return this.#drained;
  }

  hangUp(): void {
    this.#client?.destroy();
  }

  async close(): Promise<void> {
    this.#closing = true;
    clearTimeout(this.#retry);
    for (const socket of this.#waiting.splice(0)) socket.destroy();
    const socket = this.#client;
    if (socket && !socket.destroyed) {
      const patience = setTimeout(() => socket.destroy(), PATIENCE_MS);
      await new Promise<void>((resolve) => {
        socket.once('close', resolve);
        socket.resume();
        socket.destroySoon();
      });
      clearTimeout(patience);
    }
    this.#server?.close();
    if (this.#plan.server && this.#address.type === 'unix') rmSync(this.#address.path, { force: true });
  }

  async #listen(): Promise<void> {
    const server = this.#server as Server;
    const address = this.#address;
    const path = address.type === 'unix' ? freshUnixPath(address.path) : undefined;
    const last = address.type === 'inet' ? address.lastPort : 0;
    for (let port = address.type === 'inet' ? address.port : 0; ; port++) {
      try {
        await new Promise<void>((resolve, reject) => {
          server.once('error', reject);
          const listening = () => {
            server.off('error', reject);
            resolve();
          };
          if (path !== undefined) server.listen(path, listening);
          else if (address.type === 'fd') server.listen({ fd: address.fd }, listening);
          else if (address.type === 'inet') server.listen(port, address.host || undefined, listening);
        });
        break;
      } catch (error) {
        if ((error as { code?: string }).code !== 'EADDRINUSE' || port >= last) throw error;
      }
    }
    const bound = server.address();
    if (address.type === 'inet' && bound && typeof bound === 'object')
      this.#address = { ...address, host: address.host || bound.address, port: bound.port };
    server.on('error', () => {});
  }

  #connect(): Promise<Socket> {
    const address = this.#address;
    if (address.type === 'fd') return Promise.resolve(new Socket({ fd: address.fd, allowHalfOpen: true }));
    return new Promise((resolve, reject) => {
      const socket =
        address.type === 'unix'
          ? connect({ path: unixPath(address.path), allowHalfOpen: true })
          : connect({ host: address.host || 'localhost', port: address.port, allowHalfOpen: true, noDelay: true });
      socket.pause();
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(socket);
      });
    });
  }

  #tryAgain(): void {
    this.#connect().then(
      (socket) => {
        if (this.#closing) socket.destroy();
        else this.#take(socket);
      },
      () => {
        if (!this.#closing) this.#retry = setTimeout(() => this.#tryAgain(), this.#plan.reconnectMs);
      },
    );
  }

  #take(socket: Socket): void {
    socket.on('error', () => {});
    if (!this.#client) {
      this.#client = socket;
      socket.on('close', () => this.#gone(socket));
      if (this.#events) this.#serve(socket);
      this.#tellReady();
    } else if (this.#waiting.length < MOST_WAITING) {
      this.#waiting.push(socket);
      socket.on('close', () => {
        const at = this.#waiting.indexOf(socket);
        if (at >= 0) this.#waiting.splice(at, 1);
      });
    } else socket.destroy();
  }

  #serve(socket: Socket): void {
    const events = this.#events as BackendEvents;
    const telnet = this.#plan.telnet ? new TelnetInput(() => events.sendBreak()) : undefined;
    if (telnet && this.#plan.server) socket.write(telnetGreeting);
    // Who asked and has nothing more to say still hears the answer.
    const end = () => void events.settled().then(() => socket.destroySoon());
    events.opened();
    const { server, address } = this.#plan;
    this.#reader =
      events.descriptors && server && address.type !== 'inet' && !telnet
        ? MessageReader.open(socket, {
            data: (bytes, descriptors) => {
              if (descriptors.length > 0) events.descriptors?.(descriptors);
              events.input(bytes);
            },
            end,
          })
        : undefined;
    if (this.#reader) {
      if (this.#paused) this.#reader.pause();
      return;
    }
    socket.on('data', (bytes: Uint8Array) => {
      const data = telnet ? telnet.decode(bytes) : bytes;
      if (data.length > 0) events.input(data);
    });
    socket.on('end', end);
    if (!this.#paused) socket.resume();
  }

  #gone(socket: Socket): void {
    if (this.#client !== socket) return;
    this.#client = undefined;
    this.#reader = undefined;
    this.#events?.closed();
    if (this.#closing) return;
    const next = this.#waiting.shift();
    if (next) this.#take(next);
    else if (!this.#plan.server && this.#plan.reconnectMs > 0)
      this.#retry = setTimeout(() => this.#tryAgain(), this.#plan.reconnectMs);
  }
}
