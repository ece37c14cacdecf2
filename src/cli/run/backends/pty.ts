/** A character device that is a pseudo-terminal: screen, minicom or another machine's program opens its other side. */
import type { ReadStream } from 'node:tty';
import { openPseudoTerminal, type PseudoTerminal } from '../../../host/node/pseudo-terminal.js';
import { VringError } from '../../../vmm/index.js';
import type { Backend, BackendEvents } from './backend.js';

/** How often it is looked whether somebody has come. */
const LOOK_MS = 100;

export class PtyBackend implements Backend {
  readonly ready = Promise.resolve();
  readonly #terminal: PseudoTerminal;
  #stream: ReadStream | undefined;
  #events: BackendEvents | undefined;
  #look: NodeJS.Timeout | undefined;
  #paused = false;

  /** Throws VringError `chardev-open`. */
  constructor(where: string) {
    try {
      this.#terminal = openPseudoTerminal();
    } catch (error) {
      if (!(error instanceof VringError)) throw error;
      throw new VringError('chardev-open', `${where}: a pseudo-terminal cannot be made: ${error.message}`, {
        cause: error,
      });
    }
  }

  get path(): string {
    return this.#terminal.path;
  }

  get filename(): string {
    return `pty:${this.#terminal.path}`;
  }

  attach(events: BackendEvents): void {
    this.#events = events;
    this.#look = setInterval(() => this.#connect(), LOOK_MS);
    this.#connect();
  }

  pause(): void {
    this.#paused = true;
    this.#stream?.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#stream?.resume();
  }

  write(bytes: Uint8Array | string): Promise<void> {
    this.#connect();
    const stream = this.#stream;
    if (!stream) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        stream.off('close', done);
        resolve();
      };
      stream.on('close', done);
      stream.write(bytes, done);
    });
  }

  /** Who does not keep to the protocol is not cut off here: nothing could come after. */
  hangUp(): void {}

  async close(): Promise<void> {
    clearInterval(this.#look);
    this.#events = undefined;
    this.#stream?.destroy();
    this.#terminal.close();
  }

  #connect(): void {
    const events = this.#events;
    if (this.#stream || !events || !this.#terminal.isOpen()) return;
    const stream = this.#terminal.stream();
    this.#stream = stream;
    stream.on('data', (bytes: Uint8Array) => events.input(bytes));
    // Who had it open has left.
    stream.on('error', () => stream.destroy());
    stream.on('close', () => {
      this.#stream = undefined;
      events.closed();
    });
    events.opened();
    if (this.#paused) stream.pause();
  }
}
