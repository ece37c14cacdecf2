/** What a flash chip holds, kept in a disk image: it is read once, and every change is written back. */
import { VringError } from '../base/index.js';
import type { BlockBackend } from '../hw/index.js';

const SECTOR_BYTES = 512;

export class FlashStore {
  readonly #backend: BlockBackend;
  readonly #contents: Uint8Array;
  /** Changes that are not yet on their way: from `#from` to `#to`. */
  #from = Number.POSITIVE_INFINITY;
  #to = 0;
  #isWriting = false;
  readonly #failed: () => void;

  /** `contents` lies in the machine's memory, of the image's size. `failed`: a change could not be written. */
  constructor(backend: BlockBackend, contents: Uint8Array, failed: () => void) {
    this.#backend = backend;
    this.#contents = contents;
    this.#failed = failed;
  }

  /** Fills the contents. `done` hears whether that went well. */
  read(done: (well: boolean) => void): void {
    this.#backend.read(0, [this.#contents], (failure) => done(failure === undefined));
  }

  changed(start: number, length: number): void {
    this.#from = Math.min(this.#from, start - (start % SECTOR_BYTES));
    this.#to = Math.max(this.#to, Math.ceil((start + length) / SECTOR_BYTES) * SECTOR_BYTES);
    this.#write();
  }

  /** One request at a time: a guest that writes byte by byte makes few. */
  #write(): void {
    if (this.#isWriting || this.#from >= this.#to) return;
    const piece = this.#contents.subarray(this.#from, this.#to);
    const from = this.#from;
    this.#from = Number.POSITIVE_INFINITY;
    this.#to = 0;
    this.#isWriting = true;
    this.#backend.write(from, [piece], (failure) => {
      this.#isWriting = false;
      if (failure !== undefined) this.#failed();
      this.#write();
    });
  }
}

/** Reads all of them; `complete` returns when all requests are done. Throws VringError `firmware-read`. */
export function readStores(stores: readonly FlashStore[], complete: () => void): void {
  let unread = stores.length;
  for (const store of stores)
    store.read((well) => {
      if (well) unread--;
    });
  complete();
  if (unread > 0) throw new VringError('firmware-read', 'A flash image cannot be read.');
}
