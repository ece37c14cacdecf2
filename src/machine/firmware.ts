/**
 * A PC with firmware: its ROM below 4 GiB and, of its last 128 KiB, below 1 MiB; the chip set's shadowing of 0xC0000-0xFFFFF; and
 * what firmware is told by fw_cfg. Where the chip set sends reads to the ROM and writes to RAM, code is not executed: firmware
 * copies itself so and runs elsewhere meanwhile.
 */
import { VringError } from '../base/index.js';
import type { Mapping, MemorySpace } from '../bus/index.js';
import {
  type AcpiTables,
  acpiLoaderFiles,
  addPcItems,
  type BlockBackend,
  type CfiFlash,
  type FwCfg,
  fwCfgKey,
  type ShadowRange,
  type SmbiosOptions,
  smbiosFiles,
  wireFlash,
} from '../hw/index.js';
import { type BootImages, e820Type } from './boot/index.js';
import { isLinux } from './boot/linux.js';
import { addLinux, linuxRomPath } from './boot/linux-rom.js';
import { addProgram, programRomPath } from './boot/program-rom.js';
import { FlashStore, readStores } from './flash-store.js';

const FOUR_GIB = 0x1_0000_0000;
const BIOS_START = 0xe0000;
const BIOS_END = 0x100000;
const MOST_ROM_BYTES = 8 << 20;
const ROM_UNIT = 0x10000;
/** What one erase of a flash chip clears. */
const FLASH_BLOCK_BYTES = 4096;
/** The first serial port, for firmware that copies its screen there. */
const SERIAL_PORT = 0x3f8;
const HIGH_RAM_START = FOUR_GIB;

export interface FirmwareOptions {
  /** A multiple of 64 KiB, at most 8 MiB. It is entered at its last 16 bytes. */
  readonly image?: Uint8Array | undefined;
  /**
   * In its place flash chips that keep what firmware writes, each a multiple of 4 KiB, together at most 8 MiB: the first ends at 4 GiB
   * and is entered, each other one ends where the one before begins. On boards `virt` banks by their numbers, absent where a bank has
   * no image; RISC-V's has them beside the image above.
   */
  readonly flash?: readonly (BlockBackend | undefined)[] | undefined;
  /** What firmware shows goes to COM1 too. */
  readonly serialConsole?: boolean | undefined;
  /** It stops at a menu of what it could boot from, for so long. */
  readonly bootMenuMs?: number | undefined;
  /** When nothing could be booted it waits so long and resets; -1, and unless given: it does not. */
  readonly rebootTimeoutMs?: number | undefined;
  /** Kinds of devices in the order in which they are tried, where `bootOrder` names none: a floppy, c disk, d CD, n network. */
  readonly bootDevices?: string | undefined;
  /** In its place until the first reset. */
  readonly bootDevicesOnce?: string | undefined;
  /** Open Firmware paths of devices in the order in which they are tried. */
  readonly bootOrder?: (() => readonly string[]) | undefined;
  /** Where `bootOrder` names devices, no others are tried. */
  readonly bootStrict?: boolean | undefined;
  /** A Linux image that it boots. */
  readonly kernel?: Omit<BootImages, 'longMode'> | undefined;
  /** An option ROM boots it, unless this is false: firmware does so itself then. */
  readonly kernelRom?: boolean | undefined;
}

/** The line of `bootorder` behind which firmware looks no further. */
const END_OF_CHOICES = 'HALT';

/** Bytes of what lies below 4 GiB. Throws VringError `firmware-size`. */
export function firmwareBytes({ image, flash }: FirmwareOptions): number {
  if (flash) {
    const sizes = flash.map((backend) => backend?.sizeBytes ?? 0);
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    const unfit = sizes.find((size) => size === 0 || size % FLASH_BLOCK_BYTES !== 0);
    if (sizes.length > 0 && bytes <= MOST_ROM_BYTES && unfit === undefined) return bytes;
    throw new VringError(
      'firmware-size',
      unfit !== undefined
        ? `A flash image has ${unfit} bytes: it is a multiple of 4 KiB.`
        : `The flash images have ${bytes} bytes together: they have up to 8 MiB.`,
    );
  }
  const bytes = image?.length ?? 0;
  if (bytes > 0 && bytes <= MOST_ROM_BYTES && bytes % ROM_UNIT === 0) return bytes;
  throw new VringError(
    'firmware-size',
    `The firmware image has ${bytes} bytes: it is a multiple of 64 KiB, up to 8 MiB.`,
  );
}

export interface PcFirmwareOptions {
  readonly firmware: FirmwareOptions;
  readonly memory: MemorySpace;
  /** The machine's memory, and in it RAM address 0 and the room for the firmware. */
  readonly buffer: ArrayBufferLike;
  readonly lowRamHva: number;
  readonly romHva: number;
  /** A write to RAM that the memory space does not see as one. */
  published(hva: number, size: number): void;
  /** A line for a person. */
  log(line: string): void;
}

export class PcFirmware {
  readonly chips: readonly CfiFlash[];
  readonly #stores: FlashStore[] = [];
  readonly #options: PcFirmwareOptions;
  readonly #sizeBytes: number;
  readonly #bytes: Uint8Array;
  #overlays: Mapping[] = [];

  constructor(options: PcFirmwareOptions) {
    const { firmware, memory, buffer, romHva } = options;
    this.#options = options;
    this.#sizeBytes = firmwareBytes(firmware);
    this.#bytes = new Uint8Array(buffer);
    if (firmware.image) {
      this.#bytes.set(firmware.image, romHva);
      const gpa = FOUR_GIB - this.#sizeBytes;
      memory.addRam({ name: 'pc.bios', gpa, size: this.#sizeBytes, hva: romHva, readonly: true });
    }
    let end = FOUR_GIB;
    const flash = (firmware.flash ?? []).filter((backend) => backend !== undefined);
    this.chips = flash.map((backend, i) => {
      end -= backend.sizeBytes;
      return this.#addFlash(backend, `system.flash${i}`, end);
    });
  }

  #addFlash(backend: BlockBackend, name: string, gpa: number): CfiFlash {
    const { memory, buffer, romHva, published, log } = this.#options;
    const { sizeBytes: size, readonly } = backend;
    const hva = romHva + this.#sizeBytes - (FOUR_GIB - gpa);
    const store = new FlashStore(backend, this.#bytes.subarray(hva, hva + size), () =>
      log(`${name}: what the guest has changed could not be written to the image`),
    );
    this.#stores.push(store);
    return wireFlash(
      { memory, buffer, hva, gpa, size, published },
      { name, eraseBytes: FLASH_BLOCK_BYTES, readonly, changed: (start, length) => store.changed(start, length) },
    );
  }

  /** Reads the flash images; `complete` returns when all requests are done. Throws VringError `firmware-read`. */
  read(complete: () => void): void {
    readStores(this.#stores, complete);
  }

  /** For a board without a chip set that shadows: the end of the ROM is seen below 1 MiB too, and takes writes until the next reset. */
  openBelow1MiB(): void {
    const size = Math.min(this.#sizeBytes, BIOS_END - BIOS_START);
    const hva = this.#options.romHva + this.#sizeBytes - size;
    this.#options.memory.addRam({ name: 'isa-bios', gpa: BIOS_END - size, size, hva, readonly: false }, 2);
  }

  /** The ROM is what its image is again. */
  restore(): void {
    const { firmware, romHva, published } = this.#options;
    if (!firmware.image) return;
    this.#bytes.set(firmware.image, romHva);
    published(romHva, this.#sizeBytes);
  }

  /** Shows ROM and RAM as the chip set says. */
  shadow(ranges: readonly ShadowRange[]): void {
    this.#options.memory.transaction(() => {
      for (const overlay of this.#overlays) overlay.remove();
      this.#overlays = [];
      const romStart = Math.max(BIOS_START, BIOS_END - this.#sizeBytes);
      let last: ShadowRange | undefined;
      for (const range of ranges) {
        const joins = last && last.readsRam === range.readsRam && last.writesRam === range.writesRam;
        // Where the ROM begins, a piece ends.
        if (last && joins && range.start !== romStart) {
          last = { ...last, size: last.size + range.size };
          continue;
        }
        if (last) this.#show(last);
        last = range;
      }
      if (last) this.#show(last);
    });
  }

  #show({ start, size, readsRam, writesRam }: ShadowRange): void {
    if (readsRam && writesRam) return;
    const { memory, lowRamHva, romHva } = this.#options;
    const romOffset = this.#sizeBytes - (BIOS_END - start);
    const shownRom = start >= BIOS_START && romOffset >= 0 ? romHva + romOffset : undefined;
    const overlay = (name: string, hva: number) =>
      this.#overlays.push(memory.addRam({ name, gpa: start, size, hva, readonly: true }, 2));
    if (readsRam) overlay('pc.ram', lowRamHva + start);
    else if (!writesRam && shownRom !== undefined) overlay('isa-bios', shownRom);
    else this.#window(start, size, shownRom, writesRam ? lowRamHva + start : undefined);
  }

  /** Reads and writes go to different places, or nowhere. */
  #window(start: number, size: number, readHva: number | undefined, writeHva: number | undefined): void {
    const handler = {
      read: (offset: number) => (readHva === undefined ? 0xff : this.#bytes[readHva + offset]),
      write: (offset: number, _size: number, value: number) => {
        if (writeHva === undefined) return;
        this.#bytes[writeHva + offset] = value;
        this.#options.published(writeHva + offset, 1);
      },
    };
    const { memory } = this.#options;
    this.#overlays.push(memory.addWindow({ name: 'pam', start, size, maxAccess: 1, handler }, 2));
  }
}

export interface FirmwareBoard {
  readonly ramBytes: number;
  readonly lowRamEnd: number;
  /** Absent: firmware finds no tables. */
  readonly acpi: AcpiTables | undefined;
  /** As SMBIOS names the machine. */
  readonly product: string;
  readonly version: string;
  readonly cpu: string;
  readonly cpus: number;
  /** It has a screen. */
  readonly graphic: boolean;
  readonly uuid?: Uint8Array | undefined;
  readonly smbios?: SmbiosOptions | undefined;
}

/** What firmware and guests find in fw_cfg, but for the files of a person's own. Gives a line that describes the kernel. */
export function fillFwCfg(
  fwCfg: FwCfg,
  board: FirmwareBoard,
  options: FirmwareOptions | undefined,
): string | undefined {
  const e820 = [{ start: 0, size: board.lowRamEnd, type: e820Type.ram }];
  const highBytes = board.ramBytes - board.lowRamEnd;
  if (highBytes > 0) e820.push({ start: HIGH_RAM_START, size: highBytes, type: e820Type.ram });
  const { ramBytes, uuid } = board;
  addPcItems(fwCfg, {
    ramBytes,
    cpus: board.cpus,
    maxCpus: board.cpus,
    graphic: board.graphic,
    e820,
    ...(uuid ? { uuid } : {}),
  });
  const { product, version } = board;
  for (const { name, bytes } of [
    ...(board.acpi ? acpiLoaderFiles(board.acpi) : []),
    ...smbiosFiles({
      product,
      version,
      cpu: board.cpu,
      ramBytes,
      ram: e820.map(({ start, size }) => [start, start + size]),
      uuid,
      options: board.smbios,
    }),
  ]) {
    fwCfg.setFile(name, bytes);
  }
  const order: string[] = [];
  let description: string | undefined;
  if (options?.kernel) {
    const hasRom = options.kernelRom ?? true;
    // UEFI runs no such ROM.
    const byBios = hasRom && !options.flash;
    if (byBios && !isLinux(options.kernel.kernel)) {
      description = addProgram(fwCfg, options.kernel, board);
      order.push(programRomPath);
    } else {
      description = addLinux(fwCfg, options.kernel, board.lowRamEnd, hasRom);
      if (hasRom) order.push(linuxRomPath);
    }
  }
  // What has been plugged in or out since is there from the next reset on.
  const bootOrder = () => {
    const paths = [...order, ...(options?.bootOrder?.() ?? [])];
    if (options?.bootStrict && paths.length > 0) paths.push(END_OF_CHOICES);
    return new TextEncoder().encode(paths.length > 0 ? `${paths.join('\n')}\0` : '');
  };
  if (options) fwCfg.setFile('bootorder', bootOrder(), { atReset: bootOrder });
  const number = (bytes: 2 | 4 | 8, value: number) => {
    const content = new Uint8Array(bytes);
    if (bytes === 2) new DataView(content.buffer).setUint16(0, value, true);
    else if (bytes === 4) new DataView(content.buffer).setInt32(0, value, true);
    else new DataView(content.buffer).setBigUint64(0, BigInt(value), true);
    return content;
  };
  if (options?.serialConsole) fwCfg.setFile('etc/sercon-port', number(8, SERIAL_PORT));
  if (options) fwCfg.setFile('etc/boot-fail-wait', number(4, options.rebootTimeoutMs ?? -1));
  if (options?.bootMenuMs !== undefined) {
    fwCfg.setU16(fwCfgKey.bootMenu, 1);
    fwCfg.setFile('etc/boot-menu-wait', number(2, options.bootMenuMs));
  }
  return description;
}

/** Boot order as CMOS has it: a code for each of the first three kinds of devices. Throws VringError `boot-devices`. */
export function bootOrderBytes(devices: string): { readonly at3d: number; readonly at38: number } {
  const codes = [...devices].map((letter) => 'acdn'.indexOf(letter) + 1);
  if (codes.length > 3 || codes.includes(0) || new Set(codes).size < codes.length) {
    throw new VringError(
      'boot-devices',
      `The boot order '${devices}' is not up to three different ones of a (floppy), c (disk), d (CD) and n (network).`,
    );
  }
  const [first = 0, second = 0, third = 0] = codes;
  return { at3d: first | (second << 4), at38: third << 4 };
}
