/** Arguments of QMP's block commands as the machine's requests have them, and errors as QEMU classes them. */
import type { ThrottleLimit } from '../../../block/index.js';
import { VringError } from '../../../vmm/index.js';
import { type QmpArguments, QmpError, type QmpHost } from './qmp-command.js';

export const nothing = {};

export const generic = (message: string) => new QmpError('GenericError', message);

export const text = (value: unknown): string | undefined => (value === undefined ? undefined : String(value));
export const number = (value: unknown): number | undefined => (value === undefined ? undefined : Number(value));
export const flag = (value: unknown): boolean | undefined => (value === undefined ? undefined : value === true);

/** One of a few words. Throws QmpError. */
export function oneOf<T extends string>(given: QmpArguments, name: string, words: readonly T[]): T | undefined {
  const value = given[name];
  if (value === undefined || words.some((word) => word === value)) return value as T | undefined;
  throw generic(`Parameter '${name}' does not accept value '${String(value)}'`);
}

/** A failure of this code is told by another error. */
export async function unless<T>(work: Promise<T>, code: string, otherwise: () => Error): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof VringError && error.code === code) throw otherwise();
    throw error;
  }
}

/** The disk that `device` (a drive) or `id` (a device's name) stands for. Throws QmpError. */
export async function diskId({ machine, namedDevices }: QmpHost, given: QmpArguments): Promise<string> {
  const { device, id } = given;
  if ((device === undefined) === (id === undefined)) throw generic("Need exactly one of 'device' and 'id'");
  // A device may be named by its path.
  const wanted = String(device ?? id).replace(/^\/machine\/peripheral\/([^/]+)(\/virtio-backend)?$/, '$1');
  const disks = await machine.disks();
  const drive = id === undefined ? undefined : namedDevices.get(wanted)?.given.get('drive');
  const disk =
    disks.find((each) => each.id === drive) ?? disks.find((each) => each.id === wanted && !(each.isNode && device));
  if (!disk) throw new QmpError('DeviceNotFound', `Device '${wanted}' not found`);
  return disk.id;
}

/** What is done with a drive's medium: failures name the drive as whoever asks has named it. */
export async function named(work: Promise<void>, id: string, given: QmpArguments): Promise<void> {
  const wanted = String(given['id'] ?? given['device']);
  try {
    await work;
  } catch (error) {
    if (!(error instanceof VringError)) throw error;
    if (error.code === 'disk-locked')
      throw generic(`Device '${wanted}' is locked and force was not specified, wait for tray to open and try again`);
    throw error.code === 'disk-open' ? error : generic(error.message.replace(`'${id}'`, `'${wanted}'`));
  }
}

/** A disk's limits by QMP's names. */
export const throttleNames: Readonly<Record<string, ThrottleLimit>> = {
  bps: 'bps-total',
  bps_rd: 'bps-read',
  bps_wr: 'bps-write',
  iops: 'iops-total',
  iops_rd: 'iops-read',
  iops_wr: 'iops-write',
};
