/**
 * An ATAPI CD/DVD-ROM drive (ATA/ATAPI-6 for the registers; MMC-3 and SPC-2 for packets): its ATA commands, the gate every packet
 * passes (unit attention, medium present), the tray, and packets as rows of `atapi-packets.ts`.
 */
import type { StateArena } from '../../schema/index.js';
import type { DriveBackend } from '../disk/index.js';
import { type StatePart, statePart } from '../pci/saved-parts.js';
import { type PacketRow, packetRows } from './atapi-packets.js';
import { type AtaDrive, type AtaWork, cdBlockBytes, type PacketWork } from './drive.js';
import { type DriveNames, identifyPacketDrive, isTransferMode } from './identify.js';
import { AtaDriveState, type AtaRegisters } from './registers.js';

const aborted: AtaWork = { kind: 'aborted' };
const done: AtaWork = { kind: 'done' };

export const senseKey = { none: 0, notReady: 2, mediumError: 3, illegalRequest: 5, unitAttention: 6 } as const;
/** Additional sense codes. */
export const senseCode = {
  unrecovered: 0x11,
  invalidCommand: 0x20,
  addressOutOfRange: 0x21,
  invalidField: 0x24,
  mediumChanged: 0x28,
  incompatibleMedium: 0x30,
  savingNotSupported: 0x39,
  noMedium: 0x3a,
  removalPrevented: 0x53,
} as const;

export interface AtapiDriveOptions extends DriveNames {
  readonly backend: DriveBackend;
  readonly arena?: StateArena | undefined;
}

export class AtapiDrive implements AtaDrive {
  readonly registers: AtaRegisters;
  readonly backend: DriveBackend;
  readonly parts: readonly StatePart[];
  readonly isPacket = true;
  readonly names: DriveNames;
  readonly #rows: ReadonlyMap<number, PacketRow> = packetRows;

  constructor(options: AtapiDriveOptions) {
    this.names = options;
    this.backend = options.backend;
    this.registers = AtaDriveState.allocate(options.arena);
    this.parts = [statePart(AtaDriveState, this.registers)];
  }

  /** Power-on. Tray and lock are as they would be: closed, open to the button. */
  reset(): void {
    AtaDriveState.reset(this.registers);
    this.setSignature();
  }

  setSignature(): void {
    const r = this.registers;
    r.count = 1;
    r.lbaLow = 1;
    r.lbaMid = 0x14;
    r.lbaHigh = 0xeb;
  }

  /** The medium can be read: there is one, and the tray is closed. */
  get isReady(): boolean {
    return this.backend.inserted && !this.registers.trayOpen;
  }

  get blocks(): number {
    return Math.floor(this.backend.sizeBytes / cdBlockBytes);
  }

  command(command: number): AtaWork {
    const r = this.registers;
    switch (command) {
      case 0x08: // DEVICE RESET
        this.setSignature();
        r.status = 0;
        r.error = 1;
        return { kind: 'silent' };
      case 0xa0: // PACKET; overlap is not offered
        return (r.feature & 2) !== 0 ? aborted : { kind: 'packet', dma: (r.feature & 1) !== 0 };
      case 0xa1:
        return { kind: 'bytes', bytes: identifyPacketDrive(this.names, r) };
      case 0xec: // IDENTIFY DEVICE: how a host learns that it is no disk
      case 0x20:
        this.setSignature();
        return aborted;
      case 0xef:
        return this.#setFeatures();
      case 0xe5:
        r.count = 0xff;
        return done;
      case 0xe0:
      case 0xe1:
      case 0xe6:
        return done;
      case 0xe7: // nothing is ever written
        return done;
      default:
        return aborted;
    }
  }

  #setFeatures(): AtaWork {
    const r = this.registers;
    if (r.feature === 0x66 || r.feature === 0xcc) return done;
    if (r.feature !== 0x03 || !isTransferMode(r.count)) return aborted;
    r.transferMode = r.count;
    return done;
  }

  fail(key: number, code: number, qualifier = 0): PacketWork {
    const r = this.registers;
    r.senseKey = key;
    r.senseCode = code;
    r.senseQualifier = qualifier;
    return { kind: 'failed' };
  }

  packetFailed(): void {
    this.fail(senseKey.mediumError, senseCode.unrecovered);
  }

  packet(packet: Uint8Array): PacketWork {
    const r = this.registers;
    const row = this.#rows.get(packet[0]!);
    if (!row) return this.fail(senseKey.illegalRequest, senseCode.invalidCommand);
    // Another medium is there: a host first sees none, then the attention, as with a drive that has to find out.
    if (!row.always && r.mediumChange !== 0 && (this.isReady || r.mediumChange === 1)) {
      if (r.mediumChange === 2) {
        if (row.needsMedium) {
          r.mediumChange = 1;
          return this.fail(senseKey.notReady, senseCode.noMedium);
        }
      } else {
        r.mediumChange = 0;
        return this.fail(senseKey.unitAttention, senseCode.mediumChanged);
      }
    }
    if (row.needsMedium && !this.isReady) return this.fail(senseKey.notReady, senseCode.noMedium);
    if (packet[0] !== 0x03) this.fail(0, 0);
    return row.run(this, packet);
  }

  // The tray, for the guest and for the machine's owner

  /** The guest moves the tray. False: it is locked. */
  moveTray(open: boolean): boolean {
    const r = this.registers;
    if (open === r.trayOpen) return true;
    if (open && r.trayLocked) return false;
    r.trayOpen = open;
    this.backend.trayMoved?.(open);
    return true;
  }

  /** The owner presses the button: the tray opens unless the guest has locked it; then the guest is asked. False: it was asked. */
  pressEject(force: boolean): boolean {
    const r = this.registers;
    if (r.trayLocked && !force) {
      r.ejectRequested = true;
      return false;
    }
    if (!r.trayOpen) {
      r.trayOpen = true;
      r.trayLocked = false;
      this.backend.trayMoved?.(true);
    }
    return true;
  }

  /** The owner has put another medium in, or taken it out, and the tray is closed again. */
  mediumChanged(): void {
    const r = this.registers;
    const wasOpen = r.trayOpen;
    r.trayOpen = false;
    r.mediumChange = 2;
    r.newMedium = this.backend.inserted;
    r.ejectRequested = false;
    if (wasOpen) this.backend.trayMoved?.(false);
  }

  get isLocked(): boolean {
    return this.registers.trayLocked;
  }
  get isOpen(): boolean {
    return this.registers.trayOpen;
  }
}
