/** An ATAPI CD/DVD-ROM drive (ATA/ATAPI-6): its ATA commands. What packets do is a CD drive's (`../scsi/cd-unit.ts`). */
import type { StateArena } from '../../schema/index.js';
import type { DriveBackend } from '../disk/index.js';
import { type StatePart, statePart } from '../pci/saved-parts.js';
import { CdUnit, type PacketWork } from '../scsi/cd-unit.js';
import { senseCode, senseKey } from '../scsi/sense.js';
import { atapiRows } from './atapi-packets.js';
import type { AtaDrive, AtaWork } from './drive.js';
import { type DriveNames, identifyPacketDrive, isTransferMode } from './identify.js';
import { AtaDriveState, type AtaRegisters } from './registers.js';

const aborted: AtaWork = { kind: 'aborted' };
const done: AtaWork = { kind: 'done' };

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
  readonly cd: CdUnit;

  constructor(options: AtapiDriveOptions) {
    this.names = options;
    this.backend = options.backend;
    this.registers = AtaDriveState.allocate(options.arena);
    this.parts = [statePart(AtaDriveState, this.registers)];
    this.cd = new CdUnit({ state: this.registers, backend: this.backend, names: options, rows: atapiRows });
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

  packetFailed(): void {
    this.cd.fail(senseKey.mediumError, senseCode.unrecovered);
  }

  packet(packet: Uint8Array): PacketWork {
    return this.cd.packet(packet);
  }
}
