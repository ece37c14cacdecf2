/**
 * Firmware of the board `virt`: two flash banks of 64 MiB each below the devices. The first one is entered at address 0; the second
 * one has firmware's variables. A kernel under firmware is in fw_cfg.
 */
import { VringError } from '../../base/index.js';
import type { MemorySpace } from '../../bus/index.js';
import { type BlockBackend, type CfiFlash, type FwCfg, fwCfgKey, wireFlash } from '../../hw/index.js';
import type { FirmwareOptions } from '../firmware.js';
import { FlashStore, readStores } from '../flash-store.js';
import { map } from './memory-map.js';

const { banks, bytes: BANK_BYTES } = map.flash;
export const FLASH_BYTES = banks * BANK_BYTES;
const ERASE_BYTES = 0x4_0000;

export interface ArmFirmwareOptions {
  readonly firmware: Pick<FirmwareOptions, 'image' | 'flash'>;
  readonly memory: MemorySpace;
  /** The machine's memory, and where the banks lie in it. */
  readonly buffer: ArrayBufferLike;
  readonly hva: number;
  published(hva: number, size: number): void;
  log(line: string): void;
}

export class ArmFirmware {
  readonly chips: readonly CfiFlash[];
  readonly #stores: FlashStore[] = [];
  readonly #options: ArmFirmwareOptions;

  /** Throws VringError `firmware-size`. */
  constructor(options: ArmFirmwareOptions) {
    this.#options = options;
    const { image, flash = [] } = options.firmware;
    if (image && (image.length === 0 || image.length > BANK_BYTES))
      throw new VringError('firmware-size', `The firmware image has ${image.length} bytes: it has up to 64 MiB.`);
    for (const { sizeBytes } of flash)
      if (sizeBytes !== BANK_BYTES)
        throw new VringError('firmware-size', `A flash image has ${sizeBytes} bytes: a bank of this board has 64 MiB.`);
    if (image) new Uint8Array(options.buffer).set(image, options.hva);
    this.chips = Array.from({ length: banks }, (_, i) => this.#addBank(i, flash[i]));
  }

  /** Without a backend what is written lasts as long as the machine. */
  #addBank(index: number, backend: BlockBackend | undefined): CfiFlash {
    const { memory, buffer, published, log } = this.#options;
    const name = `virt.flash${index}`;
    const hva = this.#options.hva + index * BANK_BYTES;
    const store =
      backend &&
      new FlashStore(backend, new Uint8Array(buffer, hva, BANK_BYTES), () =>
        log(`${name}: what the guest has changed could not be written to the image`),
      );
    if (store) this.#stores.push(store);
    return wireFlash(
      { memory, buffer, hva, gpa: map.flash.gpa + index * BANK_BYTES, size: BANK_BYTES, published },
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
