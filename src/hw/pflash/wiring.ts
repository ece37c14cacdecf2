/** Where a flash chip lies: as ROM while it shows its array, else as registers; stores always reach the chip. */
import type { MemorySpace } from '../../bus/index.js';
import { CfiFlash, type CfiFlashOptions } from './cfi-flash.js';

export interface FlashPlace {
  readonly memory: MemorySpace;
  /** The machine's memory, and where the contents lie in it. */
  readonly buffer: ArrayBufferLike;
  readonly hva: number;
  readonly gpa: number;
  readonly size: number;
  /** Contents at these host addresses are not what they were. */
  published(hva: number, length: number): void;
}

export function wireFlash(
  { memory, buffer, hva, gpa, size, published }: FlashPlace,
  options: Omit<CfiFlashOptions, 'contents' | 'showArray'>,
): CfiFlash {
  const registers = {
    read: (offset: number, width: 1 | 2 | 4) => flash.read(offset, width),
    write: (offset: number, width: 1 | 2 | 4, value: number) => flash.write(offset, width, value),
  };
  const { name } = options;
  memory.addRam({ name, gpa, size, hva, readonly: true, stores: registers });
  const window = memory.addWindow({ name, start: gpa, size, handler: registers });
  window.move(undefined);
  const flash = new CfiFlash({
    ...options,
    contents: new Uint8Array(buffer, hva, size),
    changed: (start, length) => {
      published(hva + start, length);
      options.changed(start, length);
    },
    showArray: (shown) => window.move(shown ? undefined : gpa),
  });
  return flash;
}
