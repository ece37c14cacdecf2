/** Devices that come and go while the machine runs: device_add, device_del, blockdev-add, drive_add, netdev_add, as monitors and QMP say them. */
import { BlockError, blockdevRequest, toBlockError } from '../../block/index.js';
import { type DeviceOptions, type DiskImage, type Machine, VringError } from '../../vmm/index.js';
import { KeyValues } from '../options/key-values.js';
import { type FoundDevice, findDevice, noDevice, unsupportedProperties } from './devices.js';
import { errorPolicies, parseDrive } from './drives.js';
import { type NamedDevices, namedDevice } from './named-devices.js';
import { parseNetdev } from './networks.js';
import type { DrivePlan } from './plan-drives.js';
import { NvmePlan } from './plan-nvme.js';
import { type Backends, planPciCard, planVirtioBlock } from './plan-pci.js';
import { planSlot, planVirtio } from './plan-place.js';
import { ScsiPlan, scsiUnit } from './plan-scsi.js';
import { planVirtioNet } from './plan-virtio-net.js';

/** What a run keeps for devices that may come. */
export interface HotPlugContext {
  readonly machine: Machine;
  /** Drives that no device has, by id. */
  readonly spareDrives: Map<string, DiskImage>;
  readonly namedDevices: NamedDevices;
}

/** Throws VringError. */
export async function addDevice(context: HotPlugContext, values: KeyValues): Promise<void> {
  const { machine, spareDrives, namedDevices } = context;
  const driver = values.need('driver');
  const found = findDevice(driver);
  if (!found) throw noDevice(values.option, driver);
  const { row } = found;
  const id = values.text('id');
  let taken: string | undefined;
  const drive = (name: string) => {
    const spare = spareDrives.get(name);
    if (spare) taken = name;
    const policies = errorPolicies(values.option, { werror: values.text('werror'), rerror: values.text('rerror') });
    const image = {
      ...(spare ?? { node: name }),
      onWriteError: policies.onWriteError ?? spare?.onWriteError,
      onReadError: policies.onReadError ?? spare?.onReadError,
      shareWrites: values.flag('share-rw'),
    };
    return { id: spare ? name : '', image, isEmpty: false, media: 'disk' as const, serial: undefined };
  };
  if (row.name === 'scsi-hd' || row.name === 'scsi-cd') {
    const bus = values.text('bus')?.replace(/\.0$/, '');
    const unit = scsiUnit(values, row.name === 'scsi-hd' ? 'disk' : 'cdrom', id, drive);
    values.finish(unsupportedProperties);
    await machine.hotplug.plugScsi(bus, unit);
  } else {
    const device = planDevice(values, found, id, machine.hotplug.rootPorts, (_values, name) => {
      const { id: known, ...rest } = drive(name);
      return { id: known || name, ...rest };
    });
    values.finish(unsupportedProperties);
    await machine.hotplug.plug(id, device);
  }
  if (taken !== undefined) spareDrives.delete(taken);
  if (id !== undefined) namedDevices.set(id, namedDevice(row, values));
}

/** A PCI device. Throws UsageError, and VringError `device-bus` for one that cannot come later. */
function planDevice(
  values: KeyValues,
  found: FoundDevice,
  id: string | undefined,
  rootPorts: ReadonlySet<string>,
  take: DrivePlan['take'],
): DeviceOptions {
  const backends: Backends = { drive: take, network: (_option, network) => network };
  const virtio = () => ({ ...planVirtio(values, found, rootPorts), device: id });
  const { name } = found.row;
  switch (name) {
    case 'virtio-blk-pci':
      return planVirtioBlock(values, backends, virtio());
    case 'virtio-scsi-pci':
      return new ScsiPlan({ take }).controller(values, id, virtio());
    case 'virtio-net-pci':
      return planVirtioNet(values, backends, virtio());
    case 'virtio-rng-pci':
      return { type: 'virtio-rng', ...virtio() };
    case 'e1000':
    case 'rtl8139':
    case 'ne2k_pci':
      return planPciCard(name, values, backends, planSlot(values, rootPorts), id);
    case 'nvme':
      return new NvmePlan({ take }).controller(values, id, planSlot(values, rootPorts));
  }
  throw new VringError('device-bus', `'${name}' cannot be plugged into a running machine`);
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

/** `netdev_add`: a network, in `-netdev`'s words or as JSON. Rejects with VringError. */
export async function addNetwork({ hotplug }: Machine, text: string): Promise<void> {
  const { id, backend } = parseNetdev('netdev_add', text);
  await hotplug.addNetwork({ ...backend, id });
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
