/** The 512 bytes of IDENTIFY DEVICE and IDENTIFY PACKET DEVICE (ATA/ATAPI-6, 8.15 and 8.16). */
import type { AtaRegisters } from './registers.js';

export interface DriveNames {
  readonly model: string;
  readonly serial: string;
  readonly version: string;
  /** World wide name; 0n or absent: none. */
  readonly wwn?: bigint | undefined;
}

export interface Geometry {
  readonly cylinders: number;
  readonly heads: number;
  readonly sectors: number;
}

const identifyWords = 256;
const maxSectors28 = 0xfffffff;
export const maxMultiple = 16;

/** Modes by SET FEATURES' kind (its high five bits). */
const modeKind = { pio: 1, singleWord: 2, multiWord: 4, ultra: 8 } as const;

/** What a drive can do and has chosen: words 62 (single word DMA), 63 (multiword DMA), 88 (Ultra DMA). */
function modeWords(transferMode: number): readonly [number, number, number] {
  const [kind, mode] = [transferMode >> 3, transferMode & 7];
  const chosen = (of: number) => (kind === of ? 1 << (8 + mode) : 0);
  return [7 | chosen(modeKind.singleWord), 7 | chosen(modeKind.multiWord), 0x3f | chosen(modeKind.ultra)];
}

/** Whether SET FEATURES may choose this mode. */
export function isTransferMode(value: number): boolean {
  const [kind, mode] = [value >> 3, value & 7];
  switch (kind) {
    case 0:
      return mode <= 1;
    case modeKind.pio:
      return mode <= 4;
    case modeKind.singleWord:
    case modeKind.multiWord:
      return mode <= 2;
    case modeKind.ultra:
      return mode <= 5;
    default:
      return false;
  }
}

class Words {
  readonly bytes = new Uint8Array(identifyWords * 2);
  readonly #view = new DataView(this.bytes.buffer);
  set(word: number, value: number): void {
    this.#view.setUint16(word * 2, value, true);
  }
  set32(word: number, value: number): void {
    this.#view.setUint32(word * 2, value, true);
  }
  /** Text has its bytes swapped in every word, and is filled up with spaces. */
  text(word: number, words: number, text: string): void {
    for (let i = 0; i < words * 2; i++) {
      const code = i < text.length ? text.charCodeAt(i) : 0x20;
      this.bytes[word * 2 + (i ^ 1)] = code >= 0x20 && code < 0x7f ? code : 0x20;
    }
  }
  names({ model, serial, version }: DriveNames): void {
    this.text(10, 10, serial);
    this.text(23, 4, version);
    this.text(27, 20, model);
  }
}

export interface DiskIdentity extends DriveNames {
  readonly sectors: number;
  readonly geometry: Geometry;
  readonly logicalBlockSize: number;
  readonly physicalBlockSize: number;
  readonly trims: boolean;
  /** Commands that it queues; 0: none. */
  readonly queueDepth: number;
  /** Nominal rotation rate: 0 not told, 1 it does not rotate. */
  readonly rotationRate: number;
}

export function identifyDisk(disk: DiskIdentity, registers: AtaRegisters): Uint8Array {
  const words = new Words();
  const { cylinders, heads, sectors } = disk.geometry;
  words.set(0, 0x0040);
  words.set(1, cylinders);
  words.set(3, heads);
  words.set(4, 512 * sectors);
  words.set(5, 512);
  words.set(6, sectors);
  words.names(disk);
  words.set(20, 3);
  words.set(21, 512);
  words.set(22, 4);
  words.set(47, 0x8000 | maxMultiple);
  words.set(48, 1);
  words.set(49, 0x0b00); // IORDY, LBA, DMA
  words.set(51, 0x200);
  words.set(52, 0x200);
  words.set(53, 7);
  words.set(54, cylinders);
  words.set(55, heads);
  words.set(56, sectors);
  words.set32(57, cylinders * heads * sectors);
  if (registers.multiple !== 0) words.set(59, 0x100 | registers.multiple);
  words.set32(60, Math.min(disk.sectors, maxSectors28));
  const [singleWord, multiWord, ultra] = modeWords(registers.transferMode);
  words.set(62, singleWord);
  words.set(63, multiWord);
  words.set(64, 3);
  for (const word of [65, 66, 67, 68]) words.set(word, 120);
  if (disk.trims) words.set(69, 1 << 14);
  if (disk.queueDepth > 0) {
    words.set(75, disk.queueDepth - 1);
    words.set(76, 1 << 8);
  }
  words.set(80, 0xf0); // ATA-4 to ATA-7
  words.set(81, 0x16);
  const named = disk.wwn ? 1 << 8 : 0;
  // Supported: NOP, write cache, SMART; FLUSH CACHE, its 48-bit form, 48-bit addresses; logs, where commands are queued.
  words.set(82, 0x4021);
  words.set(83, 0x7400);
  const logs = disk.queueDepth > 0 ? 1 << 5 : 0;
  words.set(84, 0x4000 | named | logs);
  words.set(85, 0x4000 | (registers.writeCache ? 0x20 : 0) | (registers.smart ? 1 : 0));
  words.set(86, 0x3400);
  words.set(87, 0x4000 | named | logs);
  words.set(88, ultra);
  words.set(93, 0x6001);
  words.set32(100, disk.sectors >>> 0);
  words.set32(102, Math.floor(disk.sectors / 2 ** 32));
  words.set(106, 0x6000 | Math.max(0, Math.log2(disk.physicalBlockSize / disk.logicalBlockSize)));
  if (disk.wwn) for (let i = 0; i < 4; i++) words.set(108 + i, Number((disk.wwn >> BigInt(48 - 16 * i)) & 0xffffn));
  if (disk.trims) words.set(169, 1);
  words.set(217, disk.rotationRate);
  return words.bytes;
}

export function identifyPacketDrive(names: DriveNames, registers: AtaRegisters): Uint8Array {
  const words = new Words();
  words.set(0, 0x85c0); // a CD-ROM with removable media, 12-byte packets, DRQ within 50 µs
  words.names(names);
  words.set(20, 3);
  words.set(21, 512);
  words.set(22, 4);
  words.set(48, 1);
  words.set(49, 0x0300); // LBA, DMA
  words.set(53, 7);
  const [singleWord, multiWord, ultra] = modeWords(registers.transferMode);
  words.set(62, singleWord);
  words.set(63, multiWord);
  words.set(64, 3);
  words.set(65, 0xb4);
  words.set(66, 0xb4);
  words.set(67, 0x12c);
  words.set(68, 0xb4);
  words.set(71, 30);
  words.set(72, 30);
  words.set(80, 0x1e); // ATA-1 to ATA-4
  words.set(88, ultra);
  if (names.wwn) {
    words.set(84, 0x4100);
    words.set(87, 0x4100);
    for (let i = 0; i < 4; i++) words.set(108 + i, Number((names.wwn >> BigInt(48 - 16 * i)) & 0xffffn));
  }
  return words.bytes;
}
