/** Devices that come and go while the machine runs: device_add, device_del, blockdev-add, drive_add, netdev_add, as monitors and QMP say them. */
import { BlockError, blockdevRequest, toBlockError } from '../../block/index.js';
import { type DeviceOptions, type DiskImage, type Machine, VringError } from '../../vmm/index.js';
import { KeyValues } from '../options/key-values.js';
import { type DeviceRow, type FoundDevice, findDevice, unsupportedProperties } from './devices.js';
import { errorPolicies, parseDrive, type SpareDrive } from './drives.js';
import type { MonitorDescriptors } from './monitor-descriptors.js';
import { type NamedDevices, namedDevice } from './named-devices.js';
import { noNetwork, parseNetdev } from './networks.js';
import type { DrivePlan } from './plan-drives.js';
import { NvmePlan } from './plan-nvme.js';
import { type Backends, planPciCard, planVirtioBlock } from './plan-pci.js';
import { planSlot, planVirtio } from './plan-place.js';
import { ScsiPlan, scsiUnit } from './plan-scsi.js';
import { isUsbController, isUsbDevice, planUsbController, planUsbDevice } from './plan-usb.js';
import { planVirtioNet } from './plan-virtio-net.js';
import type { RunObjects } from './run-objects.js';

/** What a run keeps for devices that may come. */
export interface HotPlugContext {
  readonly machine: Machine;
  /** Drives that no device has, by id. */
  readonly spareDrives: Map<string, SpareDrive>;
  readonly namedDevices: NamedDevices;
  readonly objects: RunObjects;
}

/** `device_add`. Rejects with VringError, whose sentences do not begin with the command, as QEMU's do not. */
export async function addDevice(context: HotPlugContext, values: KeyValues): Promise<void> {
  try {
    await plugDevice(context, values);
  } catch (error) {
    const lead = `${values.option}: `;
    if (!(error instanceof VringError) || !error.message.startsWith(lead)) throw error;
    throw new VringError(error.code, error.message.slice(lead.length), { cause: error });
  }
}

async function plugDevice(context: HotPlugContext, values: KeyValues): Promise<void> {
  const { machine, spareDrives, namedDevices } = context;
  const driver = values.need('driver');
  const found = findDevice(driver);
  if (!found) throw new VringError('device-bus', `'${driver}' is not a valid device model name`);
  const { row } = found;
  const id = values.text('id');
  let taken: string | undefined;
  context.objects.board.take(values, row.name);
  const named = values.entries.get('drive');
  if (named !== undefined && !spareDrives.has(named)) await checkNode(machine, row.name, named);
  const drive = (name: string) => {
    const spare = spareDrives.get(name);
    if (spare) taken = name;
    const policies = errorPolicies(values.option, { werror: values.text('werror'), rerror: values.text('rerror') });
    const image = {
      ...(spare?.image ?? { node: name }),
      onWriteError: policies.onWriteError ?? spare?.image.onWriteError,
      onReadError: policies.onReadError ?? spare?.image.onReadError,
      shareWrites: values.flag('share-rw'),
    };
    const isEmpty = spare?.isEmpty ?? false;
    return { id: spare ? name : '', image, isEmpty, media: spare?.media ?? 'disk', serial: spare?.serial };
  };
  /** A drive that is held is let go for its device. */
  const plug = async (work: () => Promise<void>) => {
    const spare = taken === undefined ? undefined : spareDrives.get(taken);
    if (taken === undefined || !spare) return await work();
    await machine.hotplug.releaseImage(taken);
    try {
      await work();
    } catch (error) {
      await holdDrive(machine, taken, spare).catch(() => undefined);
      throw error;
    }
  };
  if (row.name === 'scsi-hd' || row.name === 'scsi-cd') {
    const bus = values.text('bus')?.replace(/\.0$/, '');
    const unit = scsiUnit(values, row.name === 'scsi-hd' ? 'disk' : 'cdrom', id, drive);
    checkProperties(values, row);
    await plug(() => machine.hotplug.plugScsi(bus, unit));
  } else if (isUsbDevice(row.name)) {
    const bus = usbBus(machine, values, row.name);
    const device = planUsbDevice(row.name, values, id, () => {
      const name = values.text('drive');
      if (name === undefined) throw new VringError('device-bus', 'drive property not set');
      const { id: known, ...rest } = drive(name);
      return { id: known || name, ...rest };
    });
    checkProperties(values, row);
    await plug(() => machine.hotplug.plugUsb(bus, device));
  } else {
    const device = planDevice(values, found, id, machine.hotplug.rootPorts, (_values, name) => {
      const { id: known, ...rest } = drive(name);
      return { id: known || name, ...rest };
    });
    checkProperties(values, row);
    const isAlone = 'network' in device && values.entries.get('netdev') === undefined;
    if (isAlone) await machine.hotplug.addNetwork({ kind: 'none', id: device.network });
    try {
      await plug(() => machine.hotplug.plug(id, device));
    } catch (error) {
      if (isAlone) await machine.hotplug.removeNetwork(device.network);
      throw error;
    }
  }
  if (taken !== undefined) spareDrives.delete(taken);
  if (id !== undefined) namedDevices.set(id, namedDevice(row, values));
}

/** Opens the image of a drive that no device has, in place of what it had, and keeps it open. Rejects with VringError `disk-open`. */
export async function holdDrive({ hotplug }: Machine, id: string, { image, isEmpty }: SpareDrive): Promise<void> {
  await hotplug.holdImage(id, isEmpty ? undefined : image);
}

/** A drive by its id has another medium, or none: one of a device's, or one that no device has. Rejects as Machine.changeMedium. */
export async function changeMedium(
  { machine, spareDrives }: HotPlugContext,
  id: string,
  image: DiskImage | undefined,
  options: { readonly force: boolean },
): Promise<void> {
  const spare = spareDrives.get(id);
  if (!spare) {
    if (image) await machine.changeMedium(id, image, options);
    else await machine.ejectMedium(id, options);
    return;
  }
  const changed = { ...spare, image: image ?? spare.image, isEmpty: !image };
  await holdDrive(machine, id, changed);
  spareDrives.set(id, changed);
}

/** Throws VringError `disk-open` where there is no block node of that name. */
async function checkNode(machine: Machine, driver: string, name: string): Promise<void> {
  if ((await machine.blockNodes()).some(({ nodeName }) => nodeName === name)) return;
  throw new VringError('disk-open', `Property '${driver}.drive' can't find value '${name}'`);
}

/** Unplugs a device by its name, or by its path among QEMU's objects. Rejects with VringError. */
export async function removeDevice({ hotplug }: Machine, name: string): Promise<void> {
  try {
    await hotplug.unplug(name.replace(/^\/machine\/peripheral\//, ''));
  } catch (error) {
    if ((error as VringError).code !== 'no-such-device') throw error;
    throw new VringError('no-such-device', `Device '${name}' not found`);
  }
}

/** The USB bus of a device, with QEMU's sentences where there is none. Throws VringError `device-bus`. */
function usbBus(machine: Machine, values: KeyValues, driver: string): string {
  const wanted = values.text('bus');
  const bus = machine.hotplug.findUsbBus(wanted);
  if (bus !== undefined) return bus;
  if (wanted === undefined) throw new VringError('device-bus', `No 'usb-bus' bus found for device '${driver}'`);
  const pci = /^pci(e?)\.0$/.exec(wanted);
  if (pci) throw new VringError('device-bus', `Device '${driver}' can't go on PCI${pci[1]!.toUpperCase()} bus`);
  throw new VringError('device-bus', `Bus '${wanted}' not found`);
}

/** Throws VringError for a property that the device has not, or not yet. */
function checkProperties(values: KeyValues, { name }: DeviceRow): void {
  const unknown = values.unused.find((key) => !unsupportedProperties.includes(key));
  if (unknown !== undefined) throw new VringError('device-bus', `Property '${name}.${unknown}' not found`);
  values.finish(unsupportedProperties);
}

/** Cards without a name and without a network so far. */
let spares = 0;

/** A PCI device. Throws UsageError, and VringError `device-bus` for one that cannot come later. */
function planDevice(
  values: KeyValues,
  found: FoundDevice,
  id: string | undefined,
  rootPorts: ReadonlySet<string>,
  take: DrivePlan['take'],
): DeviceOptions {
  const backends: Backends = { drive: take, network: (_values, network) => network ?? noNetwork(id ?? `${spares++}`) };
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
  if (isUsbController(name)) {
    const bus = id === undefined ? undefined : `${id}.0`;
    return { ...planUsbController(name, values, rootPorts), bus };
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
export async function addNetwork({ hotplug }: Machine, text: string, descriptors: MonitorDescriptors): Promise<void> {
  const { id, backend } = parseNetdev('netdev_add', text, (name) => String(descriptors.take(name)));
  await hotplug.addNetwork({ ...backend, id });
}

/** `drive_add`: a drive for a device that comes later. Rejects with UsageError, and VringError where its image cannot be opened. */
export async function addDrive({ machine, spareDrives }: HotPlugContext, text: string): Promise<string> {
  const drive = parseDrive(`drive_add ${text}`, text, spareDrives.size, false);
  if (drive.automatic) throw new VringError('device-bus', 'drive_add: only if=none is supported');
  if (spareDrives.has(drive.id)) throw new VringError('device-bus', `Duplicate ID '${drive.id}' for drive`);
  const { image, isEmpty, media, serial } = drive;
  const spare = { image, isEmpty, media, serial };
  await holdDrive(machine, drive.id, spare);
  spareDrives.set(drive.id, spare);
  return drive.id;
}
