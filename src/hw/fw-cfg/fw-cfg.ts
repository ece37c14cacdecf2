/**
 * QEMU's firmware configuration device (QEMU docs/specs/fw_cfg.rst). In x86's port layout selector and data are at ports 0x510 and
 * 0x511, the DMA address at 0x514 (big endian); the layout in memory has data, selector (big endian) and DMA address. Items have 16-bit keys; files have names too, listed in a directory item.
 */
import { assert } from '../../base/index.js';
import type { Device, DmaSpace, IoHandler } from '../../bus/index.js';
import { bytes, defineState, type StateArena, type StateOf, u16, u32 } from '../../schema/index.js';
import { loadParts, type StatePart, saveParts, statePart } from '../pci/saved-parts.js';

/** Keys of items that have no name. */
export const fwCfgKey = {
  signature: 0x0000,
  id: 0x0001,
  uuid: 0x0002,
  ramSize: 0x0003,
  noGraphic: 0x0004,
  cpuCount: 0x0005,
  machineId: 0x0006,
  kernelAddress: 0x0007,
  kernelSize: 0x0008,
  kernelCommandLine: 0x0009,
  initrdAddress: 0x000a,
  initrdSize: 0x000b,
  bootDevice: 0x000c,
  numa: 0x000d,
  bootMenu: 0x000e,
  maxCpus: 0x000f,
  kernelEntry: 0x0010,
  kernelData: 0x0011,
  initrdData: 0x0012,
  commandLineAddress: 0x0013,
  commandLineSize: 0x0014,
  commandLineData: 0x0015,
  setupAddress: 0x0016,
  setupSize: 0x0017,
  setupData: 0x0018,
  fileDirectory: 0x0019,
  fileFirst: 0x0020,
  acpiTables: 0x8000,
  smbiosEntries: 0x8001,
  irq0Override: 0x8002,
  e820Table: 0x8003,
  hpet: 0x8004,
} as const;

const writeChannel = 0x4000;
const archLocal = 0x8000;
const nameBytes = 56;
const directoryEntryBytes = 64;
const maxFiles = writeChannel - fwCfgKey.fileFirst;

const idTraditional = 1;
const idDma = 2;
/** What the DMA address register reads as. */
const dmaSignature = [0x51, 0x45, 0x4d, 0x55, 0x20, 0x43, 0x46, 0x47];

const dmaControl = { error: 1, read: 2, skip: 4, select: 8, write: 16 } as const;
const dmaDescriptorBytes = 16;
const chunkBytes = 0x10000;
/**
 * Reads past an item's end give zeroes. A single transfer gives at most this many; a larger one reports an error, since a
 * guest has no use for it but to keep the machine busy.
 */
const maxPadding = 0x1000000;

export const FwCfgState = defineState('fw-cfg', 1, {
  selected: u16(),
  offset: u32(),
  dmaHigh: u32(),
  dmaLow: u32(),
});

interface Item {
  bytes: Uint8Array;
  readonly written: ((offset: number, length: number) => void) | undefined;
}

export interface FwCfgFileOptions {
  /** The guest may write the file in place; `written` is told the changed range. */
  readonly written?: (offset: number, length: number) => void;
  /** What is in it from each reset of the machine on. */
  readonly atReset?: () => Uint8Array;
}

interface FwCfgFile extends Item {
  readonly name: string;
  readonly atReset: (() => Uint8Array) | undefined;
}

export class FwCfg implements Device {
  readonly name = 'fw-cfg';
  readonly state: StateOf<typeof FwCfgState>;
  readonly #dma: DmaSpace;
  readonly #items = new Map<number, Item>();
  /** In order of their names: their place gives their key. */
  readonly #files: FwCfgFile[] = [];

  constructor(options: { dma: DmaSpace; arena?: StateArena | undefined }) {
    this.#dma = options.dma;
    this.state = FwCfgState.allocate(options.arena);
    this.setItem(fwCfgKey.signature, ascii('QEMU'));
    this.setU32(fwCfgKey.id, idTraditional | idDma);
    this.#updateDirectory();
  }

  setItem(key: number, content: Uint8Array): void {
    assert((key & writeChannel) === 0 && key <= 0xffff, 'a key of 16 bits without the write channel');
    this.#items.set(key, { bytes: content, written: undefined });
  }
  setU16(key: number, value: number): void {
    this.setItem(key, Uint8Array.of(value & 0xff, (value >>> 8) & 0xff));
  }
  setU32(key: number, value: number): void {
    const content = new Uint8Array(4);
    new DataView(content.buffer).setUint32(0, value, true);
    this.setItem(key, content);
  }
  setU64(key: number, value: number): void {
    const content = new Uint8Array(8);
    new DataView(content.buffer).setBigUint64(0, BigInt(value), true);
    this.setItem(key, content);
  }

  /** Adds a file, or replaces the content of the one with that name. The board does this before the guest runs. */
  setFile(name: string, content: Uint8Array, options: FwCfgFileOptions = {}): void {
    assert(isFwCfgName(name), `a name of 1 to 55 printable ASCII characters: ${name}`);
    const known = this.#files.find((file) => file.name === name);
    if (known !== undefined) {
      known.bytes = content;
    } else {
      assert(this.#files.length < maxFiles, 'fewer files than keys');
      this.#files.push({ name, bytes: content, written: options.written, atReset: options.atReset });
      this.#files.sort((a, b) => (a.name < b.name ? -1 : 1));
    }
    this.#updateDirectory();
  }

  file(name: string): Uint8Array | undefined {
    return this.#files.find((file) => file.name === name)?.bytes;
  }

  /** Names and sizes, as `info` shows them. */
  files(): { name: string; key: number; sizeBytes: number }[] {
    return this.#files.map(({ name, bytes: content }, i) => ({
      name,
      key: fwCfgKey.fileFirst + i,
      sizeBytes: content.length,
    }));
  }

  #updateDirectory(): void {
    const directory = new Uint8Array(4 + this.#files.length * directoryEntryBytes);
    const view = new DataView(directory.buffer);
    view.setUint32(0, this.#files.length, false);
    this.#files.forEach(({ name, bytes: content }, i) => {
      const at = 4 + i * directoryEntryBytes;
      view.setUint32(at, content.length, false);
      view.setUint16(at + 4, fwCfgKey.fileFirst + i, false);
      directory.set(ascii(name), at + 8);
    });
    this.#items.set(fwCfgKey.fileDirectory, { bytes: directory, written: undefined });
  }

  #item(key: number): Item | undefined {
    const known = this.#items.get(key);
    if (known !== undefined) return known;
    return (key & archLocal) === 0 ? this.#files[key - fwCfgKey.fileFirst] : undefined;
  }

  // Registers

  /** Ports 0x510 and 0x511. */
  readonly ports: IoHandler = {
    read: (offset, size) => {
      // The selector is write-only; data are read byte by byte.
      let value = 0;
      for (let i = 0; i < size; i++) value |= (offset + i === 0 ? 0 : this.#nextByte()) << (8 * i);
      return value >>> 0;
    },
    write: (offset, size, value) => {
      // Data written here were ignored since QEMU 2.4.
      if (offset === 0 && size === 2) this.#select(value & 0xffff);
    },
  };

  /** The data register of the layout in memory: bytes in their order, whatever the access. */
  readonly data: IoHandler = {
    read: (_offset, size) => {
      let value = 0;
      for (let i = 0; i < size; i++) value |= this.#nextByte() << (8 * i);
      return value >>> 0;
    },
    write: () => {},
  };

  /** The selector of the layout in memory: 16 bits, big endian. */
  readonly selector: IoHandler = {
    read: () => 0,
    write: (offset, size, value) => {
      if (offset === 0 && size === 2) this.#select(((value & 0xff) << 8) | ((value >>> 8) & 0xff));
    },
  };

  /** Ports 0x514-0x51b: the address of a transfer descriptor, big endian; the low half starts the transfer. */
  readonly dmaPorts: IoHandler = {
    read: (offset, size) => {
      let value = 0;
      for (let i = 0; i < size; i++) value |= (dmaSignature[offset + i] ?? 0) << (8 * i);
      return value >>> 0;
    },
    write: (offset, size, value) => {
      if (size !== 4) return;
      const swapped =
        ((value >>> 24) | ((value >>> 8) & 0xff00) | ((value & 0xff00) << 8) | ((value & 0xff) << 24)) >>> 0;
      if (offset === 0) this.state.dmaHigh = swapped;
      else if (offset === 4) {
        this.state.dmaLow = swapped;
        this.#transfer();
      }
    },
  };

  #select(key: number): void {
    this.state.selected = key & ~writeChannel;
    this.state.offset = 0;
  }

  #nextByte(): number {
    const content = this.#item(this.state.selected)?.bytes;
    if (content === undefined || this.state.offset >= content.length) return 0;
    return content[this.state.offset++]!;
  }

  #transfer(): void {
    const { state } = this;
    const gpa = state.dmaHigh * 2 ** 32 + state.dmaLow;
    state.dmaHigh = state.dmaLow = 0;
    const descriptor = this.#dma.view(gpa, dmaDescriptorBytes, true);
    if (descriptor === undefined) return;
    const view = new DataView(descriptor.buffer, descriptor.byteOffset, dmaDescriptorBytes);
    const control = view.getUint32(0, false);
    const length = view.getUint32(4, false);
    const address = view.getUint32(8, false) * 2 ** 32 + view.getUint32(12, false);
    if ((control & dmaControl.select) !== 0) this.#select(control >>> 16);
    let ok = true;
    if ((control & dmaControl.read) !== 0) ok = this.#dmaRead(address, length);
    else if ((control & dmaControl.write) !== 0) ok = this.#dmaWrite(address, length);
    else if ((control & dmaControl.skip) !== 0) this.#advance(length);
    // Zero says that the transfer is done.
    view.setUint32(0, ok ? 0 : dmaControl.error, false);
    this.#dma.publish(gpa, 4);
  }

  #advance(length: number): Uint8Array {
    const content = this.#item(this.state.selected)?.bytes ?? new Uint8Array(0);
    const from = Math.min(this.state.offset, content.length);
    const to = Math.min(from + length, content.length);
    this.state.offset = to;
    return content.subarray(from, to);
  }

  #dmaRead(address: number, length: number): boolean {
    const available = Math.max(0, (this.#item(this.state.selected)?.bytes.length ?? 0) - this.state.offset);
    if (length - available > maxPadding) return false;
    const content = this.#advance(length);
    this.#dma.write(address, content);
    const zeroes = new Uint8Array(Math.min(length - content.length, chunkBytes));
    for (let done = content.length; done < length; done += chunkBytes) {
      this.#dma.write(address + done, zeroes.subarray(0, Math.min(chunkBytes, length - done)));
    }
    return true;
  }

  /** Only whole ranges inside a writable file are taken. */
  #dmaWrite(address: number, length: number): boolean {
    const item = this.#item(this.state.selected);
    const { offset } = this.state;
    if (item?.written === undefined || offset + length > item.bytes.length) return false;
    this.#dma.read(address, item.bytes.subarray(offset, offset + length));
    this.state.offset = offset + length;
    item.written(offset, length);
    return true;
  }

  // Lifecycle

  reset(): void {
    FwCfgState.reset(this.state);
    for (const file of this.#files) if (file.atReset) file.bytes = file.atReset();
    this.#updateDirectory();
  }

  /** What guests wrote into files is part of the state; the rest is the board's to set up again. */
  #parts(): StatePart[] {
    const writable = this.#files.filter((file) => file.written !== undefined);
    return [statePart(FwCfgState, this.state), ...writable.map((file) => filePart(file))];
  }
  save(): Uint8Array {
    return saveParts(this.#parts());
  }
  load(saved: Uint8Array): void {
    loadParts(this.#parts(), saved, this.name);
    for (const file of this.#files) file.written?.(0, file.bytes.length);
  }
}

/** A file's content by way of a schema made for its size. */
function filePart(file: FwCfgFile): StatePart {
  const schema = defineState('fw-cfg-file', 1, { content: bytes(file.bytes.length) });
  const struct = schema.allocate();
  return {
    save: () => {
      struct.content.set(file.bytes);
      return schema.save(struct);
    },
    load: (saved) => {
      schema.load(struct, saved);
      file.bytes.set(struct.content);
    },
  };
}

function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}

/** Whether firmware could find a file of this name: it must fit the directory with its terminating zero. */
export function isFwCfgName(name: string): boolean {
  return name.length > 0 && name.length < nameBytes && /^[\x21-\x7e]+$/.test(name);
}
