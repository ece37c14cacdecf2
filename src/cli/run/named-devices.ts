/** Devices with an id, as they were asked for: what a monitor for programs tells of them. */
import type { KeyValues } from '../options/key-values.js';
import type { DeviceRow } from './devices.js';
import { noNetwork } from './networks.js';

export interface NamedDevice {
  readonly row: DeviceRow;
  /** Properties that were given, in the words of the command line. */
  readonly given: ReadonlyMap<string, string>;
}

/** By id. Devices that come and go with the machine's running are added and taken out. */
export type NamedDevices = Map<string, NamedDevice>;

export const namedDevice = (row: DeviceRow, values: KeyValues): NamedDevice => ({ row, given: values.entries });

/** A property's value as JSON has it; undefined: it is not known, or there is none. */
export function propertyOf({ row, given }: NamedDevice, name: string): string | number | boolean | undefined {
  if (name === 'type') return row.name;
  const property = row.properties.find((each) => each.name === name);
  const value = given.get(name) ?? property?.default;
  if (!property || value === undefined) return undefined;
  if (property.type === 'bool') return /^(on|yes|true|y)$/i.test(value);
  return /^u?int/.test(property.type) && Number.isInteger(Number(value)) ? Number(value) : value;
}

/** The name of the device that a drive, or a block node, was given to; undefined: none with a name was. */
export function deviceWith(devices: NamedDevices, drive: string): string | undefined {
  if (devices.has(drive)) return drive;
  return [...devices].find(([, { given }]) => given.get('drive') === drive)?.[0];
}

/** What QEMU calls what has a disk, of a device with a name: by that name, or by the path of the object inside it. */
export function diskPath(devices: NamedDevices, name: string): string {
  const driver = devices.get(name)?.row.name ?? '';
  // QEMU's virtio devices are two: what is on the bus, and the device itself. So are disks behind USB.
  const inner = driver.startsWith('virtio-blk') ? '/virtio-backend' : isUsbDisk(driver) ? `/${name}.0/legacy[0]` : '';
  return inner === '' ? name : `/machine/peripheral/${name}${inner}`;
}

const isUsbDisk = (driver: string): boolean => driver === 'usb-storage';

/** The network of that name, or of the card of that name; undefined: there is none. */
export function networkOf(
  devices: NamedDevices,
  networks: readonly { readonly id: string }[],
  name: string,
): string | undefined {
  const wanted = [name, devices.get(name)?.given.get('netdev') ?? noNetwork(name)];
  return networks.find(({ id }) => wanted.includes(id))?.id;
}

/** What QEMU calls the device of a drive in its events: by its name, or its path where it has none of its own. */
export function diskDevice(devices: NamedDevices, drive: string): string {
  const found = deviceWith(devices, drive);
  if (found === undefined) return drive;
  return isUsbDisk(devices.get(found)?.row.name ?? '') ? diskPath(devices, found) : found;
}
