/**
 * Flash of boards `virt`: two CFI chips side by side, which firmware runs from and keeps its variables in; and what firmware is told
 * by fw_cfg. A chip without an image of its own keeps what is written for as long as the machine lives.
 */
import { VringError } from '../base/index.js';
import type { MemorySpace } from '../bus/index.js';
import { type BlockBackend, type CfiFlash, type FwCfg, fwCfgKey, wireFlash } from '../hw/index.js';
import type { FirmwareOptions } from './firmware.js';
import { FlashStore, readStores } from './flash-store.js';

const ERASE_BYTES = 0x4_0000;
const MIB = 1 << 20;

/** Where a board has its banks, one behind the other, and the size of each. */
export interface FlashMap {
  readonly gpa: number;
  readonly banks: number;
  readonly bytes: number;
}

export interface FlashBanksOptions {
  readonly map: FlashMap;
  /** By bank. */
  readonly flash?: readonly (BlockBackend | undefined)[] | undefined;
  /** What lies in the first bank where that has no image of its own. */
  readonly image?: Uint8Array | undefined;
  readonly memory: MemorySpace;
  /** The machine's memory, and where the banks lie in it. */
  readonly buffer: ArrayBufferLike;
  readonly hva: number;
  published(hva: number, size: number): void;
  log(line: string): void;
}

export class FlashBanks {
  readonly chips: readonly CfiFlash[];
  readonly #stores: FlashStore[] = [];
  readonly #options: FlashBanksOptions;

  /** Throws VringError `firmware-size`. */
  constructor(options: FlashBanksOptions) {
    this.#options = options;
    const { image, flash = [], map } = options;
    if (image && (image.length === 0 || image.length > map.bytes))
      throw new VringError(
        'firmware-size',
        `The firmware image has ${image.length} bytes: it has up to ${map.bytes / MIB} MiB.`,
      );
    for (const backend of flash)
      if (backend && backend.sizeBytes !== map.bytes)
        throw new VringError(
          'firmware-size',
          `A flash image has ${backend.sizeBytes} bytes: a bank of this board has ${map.bytes / MIB} MiB.`,
        );
    if (image) new Uint8Array(options.buffer).set(image, options.hva);
    this.chips = Array.from({ length: map.banks }, (_, i) => this.#addBank(i, flash[i]));
  }

  #addBank(index: number, backend: BlockBackend | undefined): CfiFlash {
    const { memory, buffer, published, log, map } = this.#options;
    const name = `virt.flash${index}`;
    const hva = this.#options.hva + index * map.bytes;
    const store =
      backend &&
      new FlashStore(backend, new Uint8Array(buffer, hva, map.bytes), () =>
        log(`${name}: what the guest has changed could not be written to the image`),
      );
    if (store) this.#stores.push(store);
    return wireFlash(
      { memory, buffer, hva, gpa: map.gpa + index * map.bytes, size: map.bytes, published },
      {
        name,
        eraseBytes: ERASE_BYTES,
        wordBytes: 4,
        readonly: backend?.readonly ?? false,
        changed: (start, length) => store?.changed(start, length),
      },
    );
  }

  /** Reads the flash images; `complete` returns when all requests are done. Throws VringError `firmware-read`. */
  read(complete: () => void): void {
    readStores(this.#stores, complete);
  }
}

/** What firmware is told beside what there is: a kernel that it is to boot, whether it waits at a menu. */
export function fillFirmwareItems(fwCfg: FwCfg, { kernel, bootMenuMs }: FirmwareOptions): void {
  if (kernel) {
    const commandLine = new TextEncoder().encode(`${kernel.commandLine}\0`);
    for (const [sizeKey, dataKey, content] of [
      [fwCfgKey.kernelSize, fwCfgKey.kernelData, kernel.kernel],
      [fwCfgKey.initrdSize, fwCfgKey.initrdData, kernel.initrd ?? new Uint8Array(0)],
      [fwCfgKey.commandLineSize, fwCfgKey.commandLineData, commandLine],
    ] as const) {
      fwCfg.setU32(sizeKey, content.length);
      fwCfg.setItem(dataKey, content);
    }
  }
  if (bootMenuMs === undefined) return;
  const content = new Uint8Array(2);
  new DataView(content.buffer).setUint16(0, bootMenuMs, true);
  fwCfg.setU16(fwCfgKey.bootMenu, 1);
  fwCfg.setFile('etc/boot-menu-wait', content);
}
