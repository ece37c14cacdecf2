/** A port's command list and the tables that it names (AHCI 1.3.1, 4.2.2 and 4.2.3). */
import type { DmaSpace } from '../../bus/index.js';
import { ScatterList } from '../disk/index.js';

const headerBytes = 32;
const fisBytes = 20;
const packetAt = 0x40;
const descriptorsAt = 0x80;
const descriptorBytes = 16;
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

/** The memory that a command's descriptors name, up to `length` bytes. */
export function gather(dma: DmaSpace, command: Command, intoGuest: boolean, length: number): Gathered {
  const list = new ScatterList(dma, intoGuest);
  let interrupts = false;
  for (let i = 0; i < command.descriptors && list.length < length; i++) {
    const at = command.tableGpa + descriptorsAt + i * descriptorBytes;
    const word = dma.readU32(at + 12);
    const count = (word & byteCountMask) + 1;
    interrupts ||= (word & interruptBit) !== 0;
    const gpa = address(dma.readU32(at), dma.readU32(at + 4) % 2 ** 20);
    if (!list.add(gpa, Math.min(count, length - list.length))) return { list, interrupts, fault: true };
  }
  return { list, interrupts, fault: false };
}
