/** An ATA disk (ATA/ATAPI-6): its commands, one row each. Errors are told as QEMU's disks tell them, by ABRT. */
import type { StateArena } from '../../schema/index.js';
import type { DriveBackend } from '../disk/index.js';
import { type StatePart, statePart } from '../pci/saved-parts.js';
import type { PacketWork } from '../scsi/cd-unit.js';
import type { AtaDrive, AtaWork } from './drive.js';
import { type DriveNames, type Geometry, identifyDisk, isTransferMode, maxMultiple } from './identify.js';
import { generalPurposeLog, readLog } from './queue-log.js';
import { AtaDriveState, type AtaRegisters, ataError, deviceBit } from './registers.js';
import { smartCommand } from './smart.js';

const sectorBytes = 512;
const aborted: AtaWork = { kind: 'aborted' };
const done: AtaWork = { kind: 'done' };

export interface AtaDiskOptions extends DriveNames {
  readonly backend: DriveBackend;
  readonly logicalBlockSize?: number | undefined;
  readonly physicalBlockSize?: number | undefined;
  readonly rotationRate?: number | undefined;
  /** Commands that it queues (AHCI); none unless given. */
  readonly queueDepth?: number | undefined;
  readonly arena?: StateArena | undefined;
}

interface Command {
  readonly code: number;
  readonly name: string;
  run(disk: AtaDisk, registers: AtaRegisters): AtaWork;
}

const transfers =
  (write: boolean, dma: boolean, lba48: boolean, multiple = false) =>
  (disk: AtaDisk) =>
    disk.sectors(write, dma, lba48, multiple);

/** No timers of a drive's own: all power modes are active. */
const active = (_disk: AtaDisk, registers: AtaRegisters): AtaWork => {
  registers.count = 0xff;
  return done;
};
const nothing = (): AtaWork => done;
const flush = (): AtaWork => ({ kind: 'flush' });

const commands: readonly Command[] = [
  { code: 0x00, name: 'NOP', run: () => aborted },
  { code: 0x06, name: 'DATA SET MANAGEMENT', run: (disk) => disk.trim() },
  { code: 0x10, name: 'RECALIBRATE', run: nothing },
  { code: 0x20, name: 'READ SECTORS', run: transfers(false, false, false) },
  { code: 0x21, name: 'READ SECTORS', run: transfers(false, false, false) },
  { code: 0x24, name: 'READ SECTORS EXT', run: transfers(false, false, true) },
  { code: 0x25, name: 'READ DMA EXT', run: transfers(false, true, true) },
  { code: 0x27, name: 'READ NATIVE MAX ADDRESS EXT', run: (disk) => disk.nativeMax(true) },
  { code: 0x29, name: 'READ MULTIPLE EXT', run: transfers(false, false, true, true) },
  { code: generalPurposeLog, name: 'READ LOG EXT', run: (disk) => disk.readLog() },
  { code: 0x30, name: 'WRITE SECTORS', run: transfers(true, false, false) },
  { code: 0x31, name: 'WRITE SECTORS', run: transfers(true, false, false) },
  { code: 0x34, name: 'WRITE SECTORS EXT', run: transfers(true, false, true) },
  { code: 0x35, name: 'WRITE DMA EXT', run: transfers(true, true, true) },
  { code: 0x39, name: 'WRITE MULTIPLE EXT', run: transfers(true, false, true, true) },
  { code: 0x40, name: 'READ VERIFY SECTORS', run: (disk) => disk.verify(false) },
  { code: 0x41, name: 'READ VERIFY SECTORS', run: (disk) => disk.verify(false) },
  { code: 0x42, name: 'READ VERIFY SECTORS EXT', run: (disk) => disk.verify(true) },
  { code: 0x70, name: 'SEEK', run: nothing },
  { code: 0x91, name: 'INITIALIZE DEVICE PARAMETERS', run: nothing },
  { code: 0xb0, name: 'SMART', run: (_disk, registers) => smartCommand(registers) },
  { code: 0xc4, name: 'READ MULTIPLE', run: transfers(false, false, false, true) },
  { code: 0xc5, name: 'WRITE MULTIPLE', run: transfers(true, false, false, true) },
  { code: 0xc6, name: 'SET MULTIPLE MODE', run: (disk) => disk.setMultiple() },
  { code: 0xc8, name: 'READ DMA', run: transfers(false, true, false) },
  { code: 0xc9, name: 'READ DMA', run: transfers(false, true, false) },
  { code: 0xca, name: 'WRITE DMA', run: transfers(true, true, false) },
  { code: 0xcb, name: 'WRITE DMA', run: transfers(true, true, false) },
  { code: 0xe0, name: 'STANDBY IMMEDIATE', run: nothing },
  { code: 0xe1, name: 'IDLE IMMEDIATE', run: nothing },
  { code: 0xe2, name: 'STANDBY', run: nothing },
  { code: 0xe3, name: 'IDLE', run: nothing },
  { code: 0xe5, name: 'CHECK POWER MODE', run: active },
  { code: 0xe6, name: 'SLEEP', run: nothing },
  { code: 0xe7, name: 'FLUSH CACHE', run: flush },
  { code: 0xea, name: 'FLUSH CACHE EXT', run: flush },
  { code: 0xec, name: 'IDENTIFY DEVICE', run: (disk) => ({ kind: 'bytes', bytes: disk.identity() }) },
  { code: 0xef, name: 'SET FEATURES', run: (disk) => disk.setFeatures() },
  { code: 0xf8, name: 'READ NATIVE MAX ADDRESS', run: (disk) => disk.nativeMax(false) },
];
const byCode = new Map(commands.map((row) => [row.code, row]));

/** Transfers with 48-bit addresses. */
export const isLba48 = (code: number): boolean => [0x24, 0x25, 0x29, 0x34, 0x35, 0x39].includes(code);

export class AtaDisk implements AtaDrive {
  readonly registers: AtaRegisters;
  readonly backend: DriveBackend;
  readonly parts: readonly StatePart[];
  readonly isPacket = false;
  readonly #options: AtaDiskOptions;

  constructor(options: AtaDiskOptions) {
    this.#options = options;
    this.backend = options.backend;
    this.registers = AtaDriveState.allocate(options.arena);
    this.parts = [statePart(AtaDriveState, this.registers)];
  }

  get #sectors(): number {
    return Math.floor(this.backend.sizeBytes / sectorBytes);
  }

  /** The geometry that BIOSes translate large disks to. */
  get #geometry(): Geometry {
    const cylinders = Math.floor(this.#sectors / (16 * 63));
    return { cylinders: Math.max(2, Math.min(cylinders, 16383)), heads: 16, sectors: 63 };
  }

  reset(): void {
    AtaDriveState.reset(this.registers);
    this.setSignature();
  }

  setSignature(): void {
    const { registers } = this;
    registers.count = 1;
    registers.lbaLow = 1;
    registers.lbaMid = 0;
    registers.lbaHigh = 0;
    registers.queueFailed = false;
  }

  command(command: number): AtaWork {
    if (this.registers.queueFailed && command !== generalPurposeLog) return aborted;
    return byCode.get(command)?.run(this, this.registers) ?? aborted;
  }

  packet(): PacketWork {
    return { kind: 'failed' };
  }
  packetFailed(): void {}

  identity(): Uint8Array {
    const { backend } = this;
    const logicalBlockSize = this.#options.logicalBlockSize ?? sectorBytes;
    return identifyDisk(
      {
        model: this.#options.model,
        serial: this.#options.serial,
        version: this.#options.version,
        wwn: this.#options.wwn,
        sectors: this.#sectors,
        geometry: this.#geometry,
        logicalBlockSize,
        physicalBlockSize: this.#options.physicalBlockSize ?? logicalBlockSize,
        trims: backend.discard !== undefined && !backend.readonly,
        queueDepth: this.#options.queueDepth ?? 0,
        rotationRate: this.#options.rotationRate ?? 0,
      },
      this.registers,
    );
  }

  /** First sector and number of sectors that the registers name. */
  #range(lba48: boolean): { first: number; sectors: number } {
    const r = this.registers;
    const low = r.lbaLow | (r.lbaMid << 8) | (r.lbaHigh << 16);
    if (lba48) {
      const high = r.previousLbaLow | (r.previousLbaMid << 8) | (r.previousLbaHigh << 16);
      return { first: low + high * 2 ** 24, sectors: r.count | (r.previousCount << 8) || 0x10000 };
    }
    const sectors = r.count || 0x100;
    const head = r.device & 0x0f;
    if ((r.device & deviceBit.lba) !== 0) return { first: low + head * 2 ** 24, sectors };
    const { heads, sectors: perTrack } = this.#geometry;
    const cylinder = r.lbaMid | (r.lbaHigh << 8);
    return { first: (cylinder * heads + head) * perTrack + r.lbaLow - 1, sectors };
  }

  /** What a transfer of so many sectors leaves in the registers: the sector behind it, and how many there are still to come. */
  advance(sectors: number, code: number): void {
    const r = this.registers;
    const lba48 = isLba48(code);
    const { first, sectors: before } = this.#range(lba48);
    const left = before - sectors;
    const at = first + sectors;
    r.count = left & 0xff;
    if (lba48) {
      r.previousCount = (left >> 8) & 0xff;
      const high = Math.floor(at / 2 ** 24);
      [r.previousLbaLow, r.previousLbaMid, r.previousLbaHigh] = [high & 0xff, (high >> 8) & 0xff, (high >> 16) & 0xff];
    }
    if (lba48 || (r.device & deviceBit.lba) !== 0) {
      r.lbaLow = at & 0xff;
      r.lbaMid = (at >>> 8) & 0xff;
      r.lbaHigh = (at >>> 16) & 0xff;
      if (!lba48) r.device = (r.device & 0xf0) | (Math.floor(at / 2 ** 24) & 0x0f);
      return;
    }
    const { heads, sectors: perTrack } = this.#geometry;
    const track = Math.floor(at / perTrack);
    const cylinder = Math.floor(track / heads);
    r.lbaLow = (at % perTrack) + 1;
    r.lbaMid = cylinder & 0xff;
    r.lbaHigh = (cylinder >> 8) & 0xff;
    r.device = (r.device & 0xf0) | (track % heads);
  }

  #fits(first: number, sectors: number): boolean {
    return first >= 0 && first + sectors <= this.#sectors;
  }

  sectors(write: boolean, dma: boolean, lba48: boolean, multiple: boolean): AtaWork {
    const { first, sectors } = this.#range(lba48);
    const blockSectors = multiple ? this.registers.multiple : 1;
    if (blockSectors === 0 || !this.#fits(first, sectors) || (write && this.backend.readonly)) return aborted;
    return { kind: 'sectors', write, dma, offset: first * sectorBytes, sectors, blockSectors };
  }

  /** The medium of an image has no surface that could have gone bad: sectors that are there are good. */
  verify(lba48: boolean): AtaWork {
    const { first, sectors } = this.#range(lba48);
    return this.#fits(first, sectors) ? done : aborted;
  }

  /** Commands that it queues; 0: none. */
  get queueDepth(): number {
    return this.#options.queueDepth ?? 0;
  }

  /** READ or WRITE FPDMA QUEUED: the byte of the medium where it starts, or undefined where it is refused. */
  queued(write: boolean, firstSector: number, sectors: number): number | undefined {
    if (this.registers.queueFailed || !this.#fits(firstSector, sectors) || (write && this.backend.readonly))
      return undefined;
    return firstSector * sectorBytes;
  }

  /** A queued command has failed. */
  queueFailed(tag: number, firstSector: number): void {
    const r = this.registers;
    r.queueFailed = true;
    r.failedTag = tag;
    r.failedError = ataError.aborted;
    r.failedSector = firstSector;
  }

  readLog(): AtaWork {
    return this.queueDepth > 0 ? readLog(this.registers) : aborted;
  }

  trim(): AtaWork {
    const { registers: r, backend } = this;
    const sectors = r.count | (r.previousCount << 8);
    if (r.feature !== 1 || sectors === 0 || backend.discard === undefined || backend.readonly) return aborted;
    return { kind: 'trim', sectors };
  }

  /** There is no host protected area: the largest address is the last sector's. */
  nativeMax(lba48: boolean): AtaWork {
    const r = this.registers;
    const last = Math.max(this.#sectors - 1, 0);
    const shown = lba48 ? last : Math.min(last, 0xfffffff);
    [r.lbaLow, r.lbaMid, r.lbaHigh] = [shown & 0xff, (shown >>> 8) & 0xff, (shown >>> 16) & 0xff];
    const high = Math.floor(shown / 2 ** 24);
    if (lba48)
      [r.previousLbaLow, r.previousLbaMid, r.previousLbaHigh] = [high & 0xff, (high >> 8) & 0xff, (high >> 16) & 0xff];
    else r.device = (r.device & 0xf0) | (high & 0x0f);
    return done;
  }

  setMultiple(): AtaWork {
    const { count } = this.registers;
    if (count > maxMultiple || (count & (count - 1)) !== 0) return aborted;
    this.registers.multiple = count;
    return done;
  }

  setFeatures(): AtaWork {
    const r = this.registers;
    switch (r.feature) {
      case 0x02:
        r.writeCache = true;
        return done;
      case 0x82:
        r.writeCache = false;
        return { kind: 'flush' };
      case 0x03:
        if (!isTransferMode(r.count)) return aborted;
        r.transferMode = r.count;
        return done;
      // Power management, acoustic management, look-ahead and what is reverted at a reset: accepted, of no effect on an image.
      case 0x05:
      case 0x85:
      case 0x42:
      case 0xc2:
      case 0x55:
      case 0xaa:
      case 0x66:
      case 0xcc:
      case 0x67:
      case 0x69:
      case 0x96:
      case 0x9a:
        return done;
      default:
        return aborted;
    }
  }
}
