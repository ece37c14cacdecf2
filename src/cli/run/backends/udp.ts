/** A character device that is datagrams: what is written goes to one place, and what comes from there is read. */
import { createSocket, type Socket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { openFailure } from '../../../host/node/open-failure.js';
import { VringError } from '../../../vmm/index.js';
import type { UdpPlan } from '../chardev-udp.js';
import type { Backend, BackendEvents } from './backend.js';

/** Of a datagram over IPv4. */
const MOST_BYTES = 65507;

export class UdpBackend implements Backend {
  readonly ready = Promise.resolve();
  readonly filename = 'udp';
  readonly #socket: Socket;
  #events: BackendEvents | undefined;
  #paused = false;
  #closed = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    // Nobody listens there, now or yet: what was sent is lost.
    socket.on('error', () => {});
    socket.on('message', (bytes) => {
      // What the guest has no room for is lost, as datagrams may be.
      if (!this.#paused) this.#events?.input(bytes);
    });
  }

  /** `where` begins messages. Throws VringError `chardev-open`. */
  static async open(where: string, { host, port, localHost, localPort }: UdpPlan): Promise<UdpBackend> {
    let socket: Socket | undefined;
    try {
      const { address, family } = await lookup(
        host,
        localHost === '' ? {} : { family: localHost.includes(':') ? 6 : 4 },
      );
      const made = createSocket(family === 6 ? 'udp6' : 'udp4');
      socket = made;
      await new Promise<void>((resolve, reject) => {
        made.once('error', reject);
        made.bind({ port: localPort, ...(localHost === '' ? {} : { address: localHost }) }, () => {
          made.connect(port, address, () => {
            made.off('error', reject);
            resolve();
          });
        });
      });
      return new UdpBackend(made);
    } catch (error) {
      socket?.close();
      throw new VringError('chardev-open', `${where}: datagrams cannot be sent: ${openFailure(error)}`, {
        cause: error,
      });
    }
  }

  attach(events: BackendEvents): void {
    this.#events = events;
    events.opened();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
  }

  async write(bytes: Uint8Array | string): Promise<void> {
    const data = typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
    for (let at = 0; at < data.length && !this.#closed; at += MOST_BYTES)
      await new Promise<void>((resolve) => {
        this.#socket.send(data.subarray(at, at + MOST_BYTES), () => resolve());
      });
  }

  /** There is no line that could be cut. */
  hangUp(): void {}

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#events = undefined;
    await new Promise<void>((resolve) => {
      this.#socket.close(resolve);
    });
  }
}
