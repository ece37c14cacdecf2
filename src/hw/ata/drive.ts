/**
 * What a drive is to the controller that it hangs on: registers, and commands that say what data have to move. The controller
 * moves them, by PIO or DMA, and ends the command. So IDE channels and AHCI ports share drives.
 */
import type { DriveBackend } from '../disk/index.js';
import type { StatePart } from '../pci/saved-parts.js';
import type { PacketWork } from '../scsi/cd-unit.js';
import { type AtaRegisters, ataStatus, deviceBit } from './registers.js';

/** What a command asks of the controller. */
export type AtaWork =
  /** It is over, and interrupts; registers are set, except ready and seek. */
  | { readonly kind: 'done' }
  /** As `done`, without an interrupt. */
  | { readonly kind: 'silent' }
  /** It is refused. */
  | { readonly kind: 'aborted' }
  /** Data that are there already go to the host. */
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  /** Sectors between medium and host, in blocks of so many sectors where they go by PIO. */
  | {
      readonly kind: 'sectors';
      readonly write: boolean;
      readonly dma: boolean;
      readonly offset: number;
      readonly sectors: number;
      readonly blockSectors: number;
    }
  /** So many sectors with ranges to discard come from the host, by DMA. */
  | { readonly kind: 'trim'; readonly sectors: number }
  | { readonly kind: 'flush' }
  /** A command packet comes from the host. */
  | { readonly kind: 'packet'; readonly dma: boolean };

export interface AtaDrive {
  readonly registers: AtaRegisters;
  readonly backend: DriveBackend;
  readonly parts: readonly StatePart[];
  /** The drive takes command packets. */
  readonly isPacket: boolean;
  /** Power-on. */
  reset(): void;
  /** After a reset or DEVICE DIAGNOSTIC: what kind of drive it is. */
  setSignature(): void;
  command(command: number): AtaWork;
  /** A command packet of 12 bytes. */
  packet(packet: Uint8Array): PacketWork;
  /** The medium could not be read: sense data for it. */
  packetFailed(): void;
}

/** After a software reset and EXECUTE DEVICE DIAGNOSTIC: the drive has passed, and says what it is. */
export function diagnoseDrive(drive: AtaDrive): void {
  const r = drive.registers;
  r.device = deviceBit.always;
  r.error = 1;
  drive.setSignature();
  r.status = drive.isPacket ? 0 : ataStatus.ready | ataStatus.seek;
}

/** Commands that a controller carries out itself, or that a busy drive takes. */
export const driveCommand = { deviceReset: 0x08, diagnostic: 0x90, packet: 0xa0 } as const;

export const packetBytes = 12;

/** Ranges of DATA SET MANAGEMENT: 48 bits of first sector, 16 of count; a count of 0 is no range. Offsets and lengths in bytes. */
export function trimRanges(list: Uint8Array, sizeBytes: number): { offset: number; length: number }[] | undefined {
  const view = new DataView(list.buffer, list.byteOffset, list.length);
  const ranges: { offset: number; length: number }[] = [];
  for (let at = 0; at + 8 <= list.length; at += 8) {
    const sectors = view.getUint16(at + 6, true);
    if (sectors === 0) continue;
    const offset = (view.getUint32(at, true) + view.getUint16(at + 4, true) * 2 ** 32) * 512;
    const length = sectors * 512;
    if (offset + length > sizeBytes) return undefined;
    const last = ranges.at(-1);
    if (last && last.offset + last.length === offset) last.length += length;
    else ranges.push({ offset, length });
  }
  return ranges;
}
