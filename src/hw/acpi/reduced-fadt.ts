/** The FADT (ACPI 6.4, 5.2.9) of hardware-reduced boards: nothing is there but what it and the DSDT name. */
import { le } from './aml.js';
import { gas, headerSize, spaceId, type TableWriter } from './table-set.js';

export const fadtFlag = {
  wbinvd: 1,
  powerButtonByDevice: 1 << 4,
  noFixedSleepButton: 1 << 5,
  resetRegister: 1 << 10,
  hardwareReduced: 1 << 20,
} as const;

/** Offsets in the FADT, whose other fields are zero where hardware is reduced. */
const at = {
  flags: 112,
  resetRegister: 116,
  resetValue: 128,
  armBoot: 129,
  minor: 131,
  dsdt: 140,
  sleepControl: 244,
  sleepStatus: 256,
  bytes: 276,
} as const;

export interface ReducedFadt {
  /** Of `fadtFlag`, beside those that follow from the rest. */
  readonly flags: number;
  readonly armBoot?: number;
  /** A byte in memory, and what resets the machine there. */
  readonly reset?: { readonly gpa: number; readonly value: number };
  /** Bytes in memory: sleep control and status. */
  readonly sleep?: { readonly controlGpa: number; readonly statusGpa: number };
}

const byteAt = (gpa: number): number[] => gas(spaceId.memory, 8, 0, gpa);

/** Appends it, of revision 6.0. Gives its offset. */
export function addReducedFadt(writer: TableWriter, dsdtAt: number, fadt: ReducedFadt): number {
  const { flags, armBoot = 0, reset, sleep } = fadt;
  const bytes = new Array<number>(at.bytes).fill(0);
  const put = (offset: number, values: readonly number[]) => bytes.splice(offset, values.length, ...values);
  put(at.flags, le(flags | fadtFlag.hardwareReduced | (reset ? fadtFlag.resetRegister : 0), 4));
  put(at.armBoot, le(armBoot, 2));
  put(at.dsdt, le(dsdtAt, 8));
  if (reset) {
    put(at.resetRegister, byteAt(reset.gpa));
    put(at.resetValue, [reset.value]);
  }
  if (sleep) {
    put(at.sleepControl, byteAt(sleep.controlGpa));
    put(at.sleepStatus, byteAt(sleep.statusGpa));
  }
  return writer.table('FACP', 6, bytes.slice(headerSize), [{ at: at.dsdt, size: 8 }]);
}
