/**
 * A CD/DVD-ROM drive behind whatever carries its commands, ATAPI or SCSI: the gate every command passes (another medium, medium
 * present), sense data, the tray. Commands are rows of `cd-packets.ts`.
 */
import { bool, u8 } from '../../schema/index.js';
import type { DriveBackend } from '../disk/index.js';
import type { PacketRow } from './cd-packets.js';
import { senseCode, senseKey } from './sense.js';

export const cdBlockBytes = 2048;

/** What a command packet asks of the controller. */
export type PacketWork =
  | { readonly kind: 'done' }
  /** Sense data say why. */
  | { readonly kind: 'failed' }
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  /** Blocks of the medium; raw ones have the frame of a CD's sector around their 2048 bytes. */
  | { readonly kind: 'blocks'; readonly firstBlock: number; readonly blocks: number; readonly raw: boolean };

/** State of a CD drive, as declared in the schema of what it is part of. */
export const cdFields = {
  /** Sense data: key, additional code and qualifier. */
  senseKey: u8(0, { max: 15 }),
  senseCode: u8(),
  senseQualifier: u8(),
  trayOpen: bool(),
  trayLocked: bool(),
  /** How the next command learns of another medium: 2 it finds none, 1 unit attention, 0 not at all. */
  mediumChange: u8(0, { max: 2 }),
  /** Events for GET EVENT STATUS NOTIFICATION. */
  newMedium: bool(),
  ejectRequested: bool(),
};

export interface CdState {
  senseKey: number;
  senseCode: number;
  senseQualifier: number;
  trayOpen: boolean;
  trayLocked: boolean;
  mediumChange: number;
  newMedium: boolean;
  ejectRequested: boolean;
}

export interface CdNames {
  readonly model: string;
  readonly serial: string;
  readonly version: string;
}

export interface CdUnitOptions {
  readonly state: CdState;
  readonly backend: DriveBackend;
  readonly names: CdNames;
  readonly rows: ReadonlyMap<number, PacketRow>;
}

export class CdUnit {
  readonly state: CdState;
  readonly backend: DriveBackend;
  readonly names: CdNames;
  readonly #options: CdUnitOptions;

  constructor(options: CdUnitOptions) {
    this.#options = options;
    this.state = options.state;
    this.backend = options.backend;
    this.names = options.names;
  }

  /** The medium can be read: there is one, and the tray is closed. */
  get isReady(): boolean {
    return this.backend.inserted && !this.state.trayOpen;
  }

  get blocks(): number {
    return Math.floor(this.backend.sizeBytes / cdBlockBytes);
  }

  fail(key: number, code: number, qualifier = 0): PacketWork {
    const r = this.state;
    r.senseKey = key;
    r.senseCode = code;
    r.senseQualifier = qualifier;
    return { kind: 'failed' };
  }

  packet(packet: Uint8Array): PacketWork {
    const r = this.state;
    const row = this.#options.rows.get(packet[0]!);
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
    const r = this.state;
    if (open === r.trayOpen) return true;
    if (open && r.trayLocked) return false;
    r.trayOpen = open;
    this.backend.trayMoved?.(open);
    return true;
  }

  /** The owner presses the button: the tray opens unless the guest has locked it; then the guest is asked. False: it was asked. */
  pressEject(force: boolean): boolean {
    const r = this.state;
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
    const r = this.state;
    const wasOpen = r.trayOpen;
    r.trayOpen = false;
    r.mediumChange = 2;
    r.newMedium = this.backend.inserted;
    r.ejectRequested = false;
    if (wasOpen) this.backend.trayMoved?.(false);
  }

  get isLocked(): boolean {
    return this.state.trayLocked;
  }
  get isOpen(): boolean {
    return this.state.trayOpen;
  }
}
