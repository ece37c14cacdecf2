/** A character device that is a pair of named pipes, PATH.in and PATH.out, or one file for both, as QEMU's `pipe`. */
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { openFailure } from '../../../host/node/open-failure.js';
import { VringError } from '../../../vmm/index.js';
import { type Backend, type BackendEvents, PATIENCE_MS } from './backend.js';

/** Opened for both ways: opening then waits for nobody, and nobody's leaving is an end. */
function openPipe(path: string): Socket {
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  if (!fstatSync(fd).isFIFO()) {
    closeSync(fd);
    throw new Error('it is no named pipe');
  }
  const socket = new Socket({ fd, readable: true, writable: true });
  socket.pause();
  socket.on('error', () => {});
  return socket;
}

export class PipeBackend implements Backend {
  readonly ready = Promise.resolve();
  readonly filename = 'pipe';
  readonly #input: Socket;
  readonly #output: Socket;

  /** Throws VringError `chardev-open`. */
  constructor(where: string, path: string) {
    try {
      this.#input = openPipe(`${path}.in`);
    } catch (error) {
      if ((error as { code?: string }).code === 'ENOENT')
        throw new VringError(
          'chardev-open',
          `${where}: the named pipes '${path}.in' and '${path}.out' are needed; mkfifo makes them`,
          { cause: error },
        );
      throw failure(where, `${path}.in`, error);
    }
    try {
      this.#output = openPipe(`${path}.out`);
    } catch (error) {
      this.#input.destroy();
      throw failure(where, `${path}.out`, error);
    }
  }

  attach(events: BackendEvents): void {
    this.#input.on('data', (bytes: Uint8Array) => events.input(bytes));
    this.#input.resume();
    events.opened();
  }

  pause(): void {
    this.#input.pause();
  }

  resume(): void {
    this.#input.resume();
  }

  write(bytes: Uint8Array | string): Promise<void> {
    if (this.#output.destroyed) return Promise.resolve();
    return new Promise((resolve) => {
      this.#output.write(bytes, () => resolve());
    });
  }

  /** Who does not keep to the protocol is not cut off here: nothing could come after. */
  hangUp(): void {}

  async close(): Promise<void> {
    this.#input.destroy();
    if (this.#output.destroyed) return;
    const patience = setTimeout(() => this.#output.destroy(), PATIENCE_MS);
    await new Promise<void>((resolve) => {
      this.#output.once('close', resolve);
      this.#output.destroySoon();
    });
    clearTimeout(patience);
  }
}

function failure(where: string, path: string, error: unknown): VringError {
  return new VringError('chardev-open', `${where}: '${path}' cannot be opened: ${openFailure(error)}`, {
    cause: error,
  });
}
