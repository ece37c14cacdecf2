/** The units behind a controller by target and LUN, and what a target answers itself (SPC-4, 6.33; QEMU's choices where it has any). */
import { be16, be32, bytes32 } from './big-endian.js';
import { answerBytes, good, refuse, type ScsiTask, type ScsiUnit } from './scsi-unit.js';
import { fixedSense, type Sense, sense } from './sense.js';

export const maxTarget = 255;
export const maxLun = 16383;

export interface UnitPlace {
  readonly target: number;
  readonly lun: number;
}

export class ScsiBus {
  readonly #targets = new Map<number, Map<number, ScsiUnit>>();

  /** False: the place is taken. */
  add({ target, lun }: UnitPlace, unit: ScsiUnit): boolean {
    const units = this.#targets.get(target) ?? new Map<number, ScsiUnit>();
    if (units.has(lun)) return false;
    units.set(lun, unit);
    this.#targets.set(target, units);
    return true;
  }

  /** A place for another unit, as QEMU chooses it; undefined: there is none. */
  freePlace(target: number | undefined, lun: number | undefined): UnitPlace | undefined {
    if (target === undefined) {
      for (let i = 0; i <= maxTarget; i++)
        if (!this.unit({ target: i, lun: lun ?? 0 })) return { target: i, lun: lun ?? 0 };
      return undefined;
    }
    if (lun !== undefined) return this.unit({ target, lun }) ? undefined : { target, lun };
    for (let i = 0; i <= maxLun; i++) if (!this.unit({ target, lun: i })) return { target, lun: i };
    return undefined;
  }

  remove({ target, lun }: UnitPlace): void {
    const units = this.#targets.get(target);
    units?.delete(lun);
    if (units?.size === 0) this.#targets.delete(target);
  }

  unit({ target, lun }: UnitPlace): ScsiUnit | undefined {
    return this.#targets.get(target)?.get(lun);
  }

  hasTarget(target: number): boolean {
    return this.#targets.has(target);
  }

  targetOf(unit: ScsiUnit): number | undefined {
    for (const [target, units] of this.#targets) if ([...units.values()].includes(unit)) return target;
    return undefined;
  }

  get units(): readonly ScsiUnit[] {
    return [...this.#targets.values()].flatMap((units) => [...units.values()]);
  }

  /** A unit has come or gone: the others tell of it. */
  lunsChanged(): void {
    for (const unit of this.units) unit.state.lunsChanged = true;
  }

  /** A command for a target that is there. */
  execute(place: UnitPlace, task: ScsiTask): void {
    const unit = this.unit(place);
    if (task.cdb[0] === 0xa0) this.#reportLuns(place, task, unit);
    else if (unit) unit.execute(task);
    else noUnit(place, task);
  }

  #reportLuns(place: UnitPlace, task: ScsiTask, unit: ScsiUnit | undefined): void {
    const allocation = be32(task.cdb, 6);
    const select = task.cdb[2]!;
    if (!unit && place.lun !== 0) {
      refuse(task, sense.lunNotSupported);
      return;
    }
    if (allocation < 16 || select > 2) {
      refuse(task, sense.invalidField);
      return;
    }
    // Logical unit 0 answers even where there is none. Well-known units: there are none.
    const luns = new Set([0, ...(this.#targets.get(place.target)?.keys() ?? [])]);
    const list = select === 1 ? [] : [...luns].sort((a, b) => a - b);
    const entries = list.flatMap((lun) => [
      ...(lun < 256 ? [0, lun] : [0x40 | (lun >> 8), lun & 0xff]),
      ...new Array<number>(6).fill(0),
    ]);
    unit?.lunsReported();
    answerBytes(task, [...bytes32(entries.length), 0, 0, 0, 0, ...entries].slice(0, allocation));
  }
}

/** What a target says for a unit that it does not have. */
function noUnit({ lun }: UnitPlace, task: ScsiTask): void {
  switch (task.cdb[0]) {
    case 0x12: {
      const vital = (task.cdb[1]! & 1) !== 0;
      const page = task.cdb[2]!;
      if (page !== 0) {
        refuse(task, sense.invalidField);
        return;
      }
      if (vital) {
        answerBytes(task, [0, 0, 0, 1, 0]);
        return;
      }
      const length = Math.min(be16(task.cdb, 3), 36);
      const bytes = new Uint8Array(length);
      // None that could be there; for unit 0 one that is not.
      bytes.set((lun === 0 ? [0x3f, 0, 5, 0x12, Math.max(length - 5, 0), 0, 0, 0x12] : [0x7f]).slice(0, length));
      answerBytes(task, bytes);
      return;
    }
    case 0x03:
      answerBytes(task, fixedSense(lun === 0 ? sense.none : (sense.lunNotSupported as Sense)));
      return;
    case 0x00:
      if (lun === 0) good(task);
      else refuse(task, sense.lunNotSupported);
      return;
    default:
      refuse(task, sense.lunNotSupported);
  }
}
