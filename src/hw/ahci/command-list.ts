/** A port's command list and the tables that it names (AHCI 1.3.1, 4.2.2 and 4.2.3). */
import type { DmaSpace } from '../../bus/index.js';
import { ScatterList } from '../disk/index.js';

const headerBytes = 32;
const fisBytes = 20;
const packetAt = 0x40;
const descriptorsAt = 0x80;
const descriptorWords = 4;
/** So many are read from memory by one access: as many as there seldom are. */
const descriptorsAtOnce = 256;
const byteCountMask = 0x3f_ffff;
const interruptBit = 0x8000_0000;

/** A 64-bit address of the guest's; one that no number holds is nobody's. */
export const address = (low: number, high: number): number => high * 2 ** 32 + low;

export interface Command {
  /** Guest-physical address of the command's header. */
  readonly headerGpa: number;
  /** The register FIS, and the packet. */
  readonly fis: Uint8Array;
  readonly packet: Uint8Array;
  readonly tableGpa: number;
  readonly descriptors: number;
}

/** Undefined: list or table is not in memory. */
export function readCommand(dma: DmaSpace, listGpa: number, slot: number): Command | undefined {
  const headerGpa = listGpa + slot * headerBytes;
  const header = dma.view(headerGpa, headerBytes, true);
  if (!header) return undefined;
  const view = new DataView(header.buffer, header.byteOffset, headerBytes);
  const tableGpa = address((view.getUint32(8, true) & ~0x7f) >>> 0, view.getUint32(12, true) % 2 ** 20);
  const table = dma.view(tableGpa, descriptorsAt, false);
  if (!table) return undefined;
  return {
    headerGpa,
    fis: table.slice(0, fisBytes),
    packet: table.slice(packetAt, packetAt + 16),
    tableGpa,
    descriptors: view.getUint16(2, true),
  };
}

/** Tells the guest how many bytes have moved. */
export function writeByteCount(dma: DmaSpace, { headerGpa }: Command, bytes: number): void {
  dma.writeU32(headerGpa + 4, bytes);
}

export interface Gathered {
  readonly list: ScatterList;
  /** One of the descriptors asks for an interrupt. */
  readonly interrupts: boolean;
  /** It names something that is not RAM. */
  readonly fault: boolean;
}

/** Some descriptors of a command, as words; what is not in memory reads as ones. */
function readDescriptors(dma: DmaSpace, { tableGpa, descriptors }: Command, first: number): Uint32Array {
  const words = new Uint32Array(Math.min(descriptors - first, descriptorsAtOnce) * descriptorWords);
  dma.read(tableGpa + descriptorsAt + first * descriptorWords * 4, new Uint8Array(words.buffer));
  return words;
}

/** The memory that a command's descriptors name, up to `length` bytes. */
export function gather(dma: DmaSpace, command: Command, intoGuest: boolean, length: number): Gathered {
  const list = new ScatterList(dma, intoGuest);
  let interrupts = false;
  /** Neighbours that are not in the list yet, and the bytes there are with them. */
  let runGpa = 0;
  let runBytes = 0;
  let bytes = 0;
  for (let first = 0; first < command.descriptors && bytes < length; first += descriptorsAtOnce) {
    const words = readDescriptors(dma, command, first);
    for (let at = 0; at < words.length && bytes < length; at += descriptorWords) {
      const word = words[at + 3]!;
      interrupts ||= word >= interruptBit;
      const gpa = address(words[at]!, words[at + 1]! % 2 ** 20);
      const count = Math.min((word & byteCountMask) + 1, length - bytes);
      bytes += count;
      if (gpa === runGpa + runBytes) runBytes += count;
      else {
        if (!list.add(runGpa, runBytes)) return { list, interrupts, fault: true };
        runGpa = gpa;
        runBytes = count;
      }
    }
  }
  return { list, interrupts, fault: !list.add(runGpa, runBytes) };
}
