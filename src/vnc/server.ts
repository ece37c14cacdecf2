/**
 * A VNC server over any byte streams: its clients see one screen and share one keyboard. The picture is drawn only while a client waits
 * for an update, and the seldomer the longer nothing has changed. Listening comes from the host.
 */
import type { ByteStream } from '../block/host.js';
import { VncClient } from './client.js';
import type { VncHost, VncScreen, VncTls } from './host.js';
import { upgradeToWebsocket } from './websocket.js';

const MOST_CLIENTS = 32;
const LEAST_INTERVAL_MS = 33;
const MOST_INTERVAL_MS = 500;

export interface VncServerOptions {
  readonly host: VncHost;
  readonly screen: VncScreen;
  /** The desktop's. */
  readonly name: string;
  /** Of the guest's keyboard, for clients that tell characters; `en-us` unless given. */
  readonly layout?: string | undefined;
  /** Clients need the password that `setPassword` sets. */
  readonly needsPassword: boolean;
  /** Clients have to encrypt what they say, by VeNCrypt; those that come by a websocket, from the start. */
  readonly tls?: VncTls | undefined;
  /**
   * A client that wants the screen for itself ends the others (`allow-exclusive`), is turned away (`force-shared`), or has to share it
   * all the same (`ignore`).
   */
  readonly sharing?: 'allow-exclusive' | 'force-shared' | 'ignore' | undefined;
}

export interface VncServeEvents {
  /** The handshake is over: the client may now be idle for as long as it likes. */
  onEntered?(): void;
  /** It comes by a websocket. */
  readonly websocket?: boolean;
  /** Where it comes from, for those who ask who is there. */
  readonly peer?: VncPeer | undefined;
}

/** The other end of a connection; a unix socket has neither host nor port. */
export interface VncPeer {
  readonly host: string | undefined;
  readonly port: number | undefined;
}

export interface VncConnected extends VncPeer {
  readonly websocket: boolean;
}

export class VncServer {
  readonly #options: VncServerOptions;
  readonly #clients = new Map<VncClient, VncConnected>();
  /** Connections that are still being upgraded or authenticated count too. */
  #connections = 0;
  #password: Uint8Array | null = null;
  #cancel: (() => void) | undefined;
  #intervalMs = LEAST_INTERVAL_MS;

  constructor(options: VncServerOptions) {
    this.#options = options;
  }

  get clientCount(): number {
    return this.#clients.size;
  }

  get clients(): readonly VncConnected[] {
    return [...this.#clients.values()];
  }

  /** Undefined: nobody gets in. Of more than eight characters the rest does not count. */
  setPassword(password: Uint8Array | undefined): void {
    this.#password = password ?? null;
  }

  /** Serves one connection to its end. Never rejects. */
  async serve(stream: ByteStream, events: VncServeEvents = {}): Promise<void> {
    const { host, screen, name, needsPassword, tls } = this.#options;
    if (this.#connections >= MOST_CLIENTS) {
      stream.destroy();
      return;
    }
    this.#connections++;
    let client: VncClient | undefined;
    try {
      let inner: ByteStream | undefined = stream;
      if (events.websocket) inner = await upgradeToWebsocket(tls ? await tls.accept(stream) : stream, host);
      if (!inner) return;
      client = new VncClient({
        host,
        screen,
        stream: inner,
        name,
        password: needsPassword ? this.#password : undefined,
        tls: events.websocket ? undefined : tls,
        awake: () => this.#awake(),
        entered: (shared) => {
          events.onEntered?.();
          if (!shared) this.#exclusive(client);
        },
      });
      this.#clients.set(client, {
        host: undefined,
        port: undefined,
        ...events.peer,
        websocket: events.websocket ?? false,
      });
      await client.serve();
    } catch {
      // A connection that broke is its client's loss.
    } finally {
      stream.destroy();
      if (client) this.#clients.delete(client);
      this.#connections--;
    }
  }

  #exclusive(client: VncClient | undefined): void {
    const { sharing = 'allow-exclusive' } = this.#options;
    if (sharing === 'force-shared') client?.close();
    if (sharing !== 'allow-exclusive') return;
    for (const other of this.#clients.keys()) if (other !== client) other.close();
  }

  /** The picture is looked at soon. */
  #awake(): void {
    if (this.#intervalMs > LEAST_INTERVAL_MS) {
      this.#intervalMs = LEAST_INTERVAL_MS;
      this.#cancel?.();
      this.#cancel = undefined;
    }
    this.#cancel ??= this.#options.host.after(this.#intervalMs, () => this.#look());
  }

  #look(): void {
    this.#cancel = undefined;
    const clients = [...this.#clients.keys()];
    if (!clients.some((client) => client.wants)) return;
    const { host, screen } = this.#options;
    screen.refresh();
    const changed = !screen.surface.damage.isEmpty;
    for (const client of clients) client.note();
    screen.surface.damage.clear();
    for (const client of clients) client.sendIfDue();
    this.#intervalMs = changed ? LEAST_INTERVAL_MS : Math.min(this.#intervalMs * 1.2, MOST_INTERVAL_MS);
    if (clients.some((client) => client.wants)) this.#cancel ??= host.after(this.#intervalMs, () => this.#look());
  }

  /** Ends all connections. */
  close(): void {
    this.#cancel?.();
    for (const client of this.#clients.keys()) client.close();
  }
}
