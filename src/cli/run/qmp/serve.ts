/** A monitor for programs on a character device: one session for each client that comes. */
import { closeDescriptors } from '../../../host/node/descriptor-messages.js';
import { MonitorDescriptors } from '../monitor-descriptors.js';
import { watchMachine } from './events.js';
import type { QmpHost } from './qmp-command.js';
import { QmpSession, type QmpWire } from './session.js';

export type ServedHost = Omit<QmpHost, 'hostQuits' | 'emit' | 'descriptors'>;

export class QmpMonitor {
  readonly #host: QmpHost;
  readonly #wire: QmpWire;
  readonly #pretty: boolean;
  readonly #stopWatching: () => void;
  readonly #descriptors = new MonitorDescriptors();
  #session: QmpSession | undefined;

  /** `wire` leads to the client that is there. */
  constructor(served: ServedHost, wire: QmpWire, pretty = false) {
    const asked = { quit: false };
    const emit = (event: string, data?: object) => this.#session?.event(event, data, Date.now());
    this.#host = {
      ...served,
      descriptors: this.#descriptors,
      emit,
      hostQuits: () => {
        asked.quit = true;
      },
    };
    this.#wire = wire;
    this.#pretty = pretty;
    const { machine, namedDevices } = served;
    this.#stopWatching = watchMachine(machine, namedDevices, asked, emit);
  }

  opened(): void {
    this.#descriptors.opened();
    let gone = false;
    const session: QmpSession = new QmpSession(
      this.#host,
      {
        // What the one before had asked for is not answered to the next.
        write: (text) => {
          if (!gone && (this.#session === undefined || this.#session === session)) this.#wire.write(text);
        },
        cut: () => {
          gone = true;
          this.#wire.cut();
        },
      },
      this.#pretty,
    );
    this.#session = session;
  }

  closed(): void {
    this.#session?.left();
    this.#session = undefined;
    this.#descriptors.closed(this.#host.machine.state === 'running');
  }

  /** Came with the bytes that are next. */
  descriptors(descriptors: readonly number[]): void {
    if (this.#session) this.#session.arrived(descriptors);
    else closeDescriptors(descriptors);
  }

  input(bytes: Uint8Array): void {
    this.#session?.input(bytes);
  }

  async settled(): Promise<void> {
    await this.#session?.settled();
  }

  /** Events of the machine's end have been handed over. */
  async close(): Promise<void> {
    await this.settled();
    this.#stopWatching();
    this.#descriptors.end();
  }
}
