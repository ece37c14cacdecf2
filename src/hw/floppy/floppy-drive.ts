/** A floppy disk drive: where its heads are, what is in it, and whether that was changed. */

import { bool, u8 } from '../../schema/index.js';
import type { BlockDone, DriveBackend } from '../disk/index.js';
import {
  type FloppyFormat,
  type FloppyKind,
  floppyFormat,
  floppyKinds,
  kindFor,
  mediumFormat,
  rateOf,
  sectorBytes,
} from './floppy-format.js';

/** Steps that heads can take from the outermost track. */
const LAST_CYLINDER = 83;

/** State of a drive, as declared in its controller's schema. */
export const driveFields = {
  /** Where the heads are, in the drive's own steps. */
  cylinder: u8(0, { max: LAST_CYLINDER }),
  /** The disk change line: the heads have not moved since a medium came or went. */
  changed: bool(true),
};
export interface FloppyDriveState {
  cylinder: number;
  changed: boolean;
}

export interface FloppyDriveOptions {
  readonly backend: DriveBackend;
  /** What fits the medium that it has at first, unless given. */
  readonly kind?: FloppyKind | undefined;
}

export class FloppyDrive {
  readonly kind: FloppyKind;
  readonly backend: DriveBackend;
  /** Given by its controller. */
  state!: FloppyDriveState;

  constructor({ backend, kind }: FloppyDriveOptions) {
    this.backend = backend;
    this.kind = kind ?? kindFor(floppyFormat(backend.sizeBytes));
  }

  /** Of the medium; undefined: there is none. */
  get format(): FloppyFormat | undefined {
    return this.backend.inserted ? mediumFormat(this.backend.sizeBytes, this.kind) : undefined;
  }

  get rate(): number | undefined {
    const { format } = this;
    return format && rateOf(this.kind, format);
  }

  get isProtected(): boolean {
    return this.backend.inserted && this.backend.readonly;
  }
  get atTrack0(): boolean {
    return this.state.cylinder === 0;
  }

  /** Steps to a cylinder, or as far as it goes. */
  seek(cylinder: number): void {
    const to = Math.max(0, Math.min(cylinder, LAST_CYLINDER));
    if (to === this.state.cylinder) return;
    this.state.cylinder = to;
    // A step clears the line if there is a medium.
    if (this.backend.inserted) this.state.changed = false;
  }

  /** Steps of the drive for one of the medium: a disk of 40 cylinders in a drive of 80. */
  get #stepsEach(): number {
    const { format } = this;
    return format && format.cylinders <= 42 && floppyKinds[this.kind].cylinders === 80 ? 2 : 1;
  }
  /** The medium's cylinder under the heads. */
  get mediumCylinder(): number {
    return Math.floor(this.state.cylinder / this.#stepsEach);
  }
  seekMedium(cylinder: number): void {
    this.seek(cylinder * this.#stepsEach);
  }

  /** Byte of the medium where a sector begins; undefined: it has none such. Sectors are counted from 1. */
  offset(cylinder: number, head: number, sector: number): number | undefined {
    const { format } = this;
    if (!format || cylinder >= format.cylinders || head >= format.heads) return undefined;
    if (sector < 1 || sector > format.sectors) return undefined;
    return ((cylinder * format.heads + head) * format.sectors + sector - 1) * sectorBytes;
  }

  /** Reads a sector; what lies behind the end of a short image is zeros. */
  readSector(offset: number, target: Uint8Array, done: BlockDone): void {
    if (offset + sectorBytes <= this.backend.sizeBytes) {
      this.backend.read(offset, [target], done);
      return;
    }
    target.fill(0);
    done();
  }
  /** Writes a sector; behind the end of a short image there is no place for it. */
  writeSector(offset: number, source: Uint8Array, done: BlockDone): void {
    if (offset + sectorBytes <= this.backend.sizeBytes) this.backend.write(offset, [source], done);
    else done('io');
  }

  // What the machine's owner does: a floppy drive has neither a lock nor a tray.

  readonly isLocked = false;
  readonly isOpen = undefined;
  pressEject(_force: boolean): boolean {
    this.state.changed = true;
    return true;
  }
  /** Another medium is in, or none. */
  mediumChanged(): void {
    this.state.changed = true;
  }
}
