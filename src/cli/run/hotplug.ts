/** Devices that come and go while the machine runs: device_add, device_del, blockdev-add, drive_add, as monitors and QMP say them. */
import { BlockError, blockdevRequest, toBlockError } from '../../block/index.js';
import { type DiskImage, type Machine, VringError } from '../../vmm/index.js';
import { KeyValues } from '../options/key-values.js';
import { findDevice, noDevice, unsupportedProperties } from './devices.js';
import { errorPolicies, parseDrive } from './drives.js';
import { scsiUnit } from './plan-scsi.js';

/** What a run keeps for devices that may come. */
export interface HotPlugContext {
  readonly machine: Machine;
  /** Drives that no device has, by id. */
  readonly spareDrives: Map<string, DiskImage>;
}

/** Throws VringError. */
export async function addDevice({ machine, spareDrives }: HotPlugContext, values: KeyValues): Promise<void> {
  const driver = values.need('driver');
  const found = findDevice(driver);
  if (!found) throw noDevice(values.option, driver);
  const { row } = found;
  if (row.name !== 'scsi-hd' && row.name !== 'scsi-cd')
    throw new VringError(
      'device-bus',
      row.bus === 'PCI'
        ? "Bus 'pci.0' does not support hotplugging"
        : `'${driver}' cannot be plugged into a running machine`,
    );
  const id = values.text('id');
  const bus = values.text('bus')?.replace(/\.0$/, '');
  let taken: string | undefined;
  const unit = scsiUnit(values, row.name === 'scsi-hd' ? 'disk' : 'cdrom', id, (name) => {
    const spare = spareDrives.get(name);
    if (spare) taken = name;
    const policies = errorPolicies(values.option, { werror: values.text('werror'), rerror: values.text('rerror') });
    const image = {
      ...(spare ?? { node: name }),
      onWriteError: policies.onWriteError ?? spare?.onWriteError,
      onReadError: policies.onReadError ?? spare?.onReadError,
      shareWrites: values.flag('share-rw'),
    };
    return { id: spare ? name : '', image, isEmpty: false, serial: undefined };
  });
  values.finish(unsupportedProperties);
  await machine.hotplug.plugScsi(bus, unit);
  if (taken !== undefined) spareDrives.delete(taken);
}

/** A device by its members, as JSON has them. */
export function deviceValues(option: string, members: Readonly<Record<string, unknown>>): KeyValues {
  const text = (value: unknown) => (value === true ? 'on' : value === false ? 'off' : String(value));
  return new KeyValues(
    option,
    Object.entries(members).map(([key, value]) => [key, text(value)]),
  );
}

/** `blockdev-add`: members as JSON has them. Throws VringError. */
export async function addBlockdev(machine: Machine, members: object): Promise<void> {
  try {
    const options = blockdevRequest(JSON.stringify(members)).options ?? {};
    if (typeof options['node-name'] !== 'string' || options['node-name'] === '')
      throw new VringError('disk-open', "'node-name' must be specified for the root node");
    await machine.hotplug.addBlockNode(options);
  } catch (error) {
    if (error instanceof BlockError) throw new VringError('disk-open', toBlockError(error).message);
    throw error;
  }
}

/** `drive_add`: a drive for a device that comes later. Throws UsageError. */
export function addDrive({ spareDrives }: HotPlugContext, text: string): string {
  const drive = parseDrive(`drive_add ${text}`, text, spareDrives.size, false);
  if (drive.automatic) throw new VringError('device-bus', 'drive_add: only if=none is supported');
  if (spareDrives.has(drive.id))
    throw new VringError('device-bus', `drive_add: there is a drive '${drive.id}' already`);
  spareDrives.set(drive.id, drive.image);
  return drive.id;
}
