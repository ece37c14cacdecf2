/** -device, and the drives. */
import type { OptionDict } from '../../block/index.js';
import { type Architecture, findMachine } from '../../vmm/architectures.js';
import type { DeviceOptions, VirtioPlace } from '../../vmm/index.js';
import { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';
import type { Chardev, Chardevs } from './chardevs.js';
import { findDevice, noDevice, unsupportedProperties } from './devices.js';
import { flattenJson } from './drives.js';
import type { Options } from './given-options.js';
import type { Globals } from './globals.js';
import { type NamedDevices, namedDevice } from './named-devices.js';
import { checkMac, type PlannedNetworks } from './networks.js';
import { FolderPlan } from './plan-9p.js';
import type { Characters } from './plan-characters.js';
import { DrivePlan } from './plan-drives.js';
import { isLoader } from './plan-loader.js';
import { NvmePlan } from './plan-nvme.js';
import type { BoardObjects } from './plan-objects.js';
import { type Backends, planPciCard, planVirtioBlock } from './plan-pci.js';
import { planMmio, planRootPort, planSlot, planVirtio } from './plan-place.js';
import { ScsiPlan } from './plan-scsi.js';
import { isUsbController, isUsbDevice, UsbPlan } from './plan-usb.js';
import { planVirtioNet } from './plan-virtio-net.js';
import { planGpu, planVga } from './screen-options.js';

interface BusPort {
  readonly port: { name?: string | undefined; console: boolean; number?: number | undefined };
  readonly chardev: Chardev | undefined;
  readonly isConsole: boolean;
}

interface PlannedDevices {
  readonly devices: DeviceOptions[];
  readonly blockNodes: readonly OptionDict[];
  readonly drives: DrivePlan;
  readonly named: NamedDevices;
}

export function planDevices(
  options: Options,
  { globals, objects }: { globals: Globals; objects: BoardObjects },
  chardevs: Chardevs,
  characters: Characters,
  boards: Architecture,
  machine: string | undefined,
  networks: PlannedNetworks,
  hasUsb: boolean,
): PlannedDevices {
  const { name: architecture, buses: boardBuses } = boards;
  const drives = new DrivePlan(options, findMachine(boards, machine)?.drives);
  const devices: (DeviceOptions | { type: 'bus'; index: number })[] = drives.devices.slice();
  const buses: { id: string; ports: BusPort[]; maxPorts: number; place: VirtioPlace | undefined }[] = [];
  const scsi = new ScsiPlan(drives);
  const folders = new FolderPlan(options);
  devices.push(...folders.devices);
  const nvme = new NvmePlan(drives);
  const usbBoard = boardBuses.includes('PCI') ? (findMachine(boards, machine)?.name ?? '') : undefined;
  const usb = new UsbPlan(options, hasUsb, usbBoard, drives);
  const named: NamedDevices = new Map();
  const rootPorts = new Set<string>();
  const backends: Backends = {
    drive: (values, name) => drives.take(values, name),
    network: (values, name) => networks.take(values, name),
  };
  let debugcons = 0;
  const attachTo = (values: KeyValues, user: string): Chardev | undefined => {
    const id = values.text('chardev');
    if (id === undefined) return undefined;
    const chardev = chardevs.find(values.option, id);
    chardevs.attach(chardev, user);
    return chardev;
  };
  if (characters.debugcon) {
    chardevs.attach(characters.debugcon, 'the debug console');
    characters.attachments.push({ from: { kind: 'debugcon' }, chardev: characters.debugcon });
    const port = Number(globals.take('isa-debugcon', 'iobase') ?? 0xe9);
    if (!(port >= 0 && port <= 0xffff)) throw new UsageError('-global isa-debugcon.iobase: this is no port');
    devices.push({ type: 'isa-debugcon', port });
    debugcons++;
  }
  for (const text of options.all('device').filter((each) => !isLoader(each))) {
    const option = `-device ${text}`;
    const given = text.startsWith('{')
      ? new KeyValues(option, flattenJson(option, text))
      : KeyValues.parse(option, text, 'driver');
    const driver = given.need('driver');
    const found = findDevice(driver);
    if (!found) throw noDevice(option, driver);
    const { row } = found;
    const values = globals.apply(given, row);
    values.text('driver');
    objects.take(values, row.name);
    if (!boardBuses.includes(row.bus))
      throw new UsageError(`${option}: a machine of ${architecture} has no ${row.bus}`);
    const id = values.text('id');
    if (id !== undefined) {
      if (named.has(id)) throw new UsageError(`${option}: there is a device with the id '${id}' already`);
      named.set(id, namedDevice(row, given));
    }
    const place =
      row.bus === 'PCI' && row.name.startsWith('virtio-')
        ? { ...planVirtio(values, found, rootPorts), ...(id === undefined ? {} : { device: id }) }
        : row.bus === 'virtio-bus'
          ? planMmio(values)
          : undefined;
    switch (row.name) {
      case 'virtio-blk-pci':
      case 'virtio-blk-device':
        devices.push(planVirtioBlock(values, backends, place));
        break;
      case 'pcie-root-port':
        if (!findMachine(boards, machine)?.express)
          throw new UsageError(`${option}: this board has no PCI Express; -M q35 has`);
        devices.push(planRootPort(values, id));
        rootPorts.add(id as string);
        break;
      case 'ich9-ahci':
        devices.push(drives.planAhci(id, planSlot(values, rootPorts)));
        break;
      case 'nvme':
        devices.push(nvme.controller(values, id, planSlot(values, rootPorts)));
        break;
      case 'nvme-ns':
        nvme.namespace(values);
        break;
      case 'virtio-scsi-pci':
      case 'virtio-scsi-device':
        devices.push(scsi.controller(values, id, place ?? {}));
        break;
      case 'scsi-hd':
        scsi.unit(values, 'disk', id);
        break;
      case 'scsi-cd':
        scsi.unit(values, 'cdrom', id);
        break;
      case 'floppy':
        devices.push(drives.planFloppy(values, id));
        break;
      case 'isa-fdc':
        devices.push({ type: 'isa-fdc' });
        break;
      case 'ide-hd':
      case 'ide-cd': {
        const planned = drives.planIde(values, row.name === 'ide-hd' ? 'disk' : 'cdrom', id);
        if (planned) devices.push(planned);
        break;
      }
      case 'virtio-serial-pci':
      case 'virtio-serial-device':
        devices.push({ type: 'bus', index: buses.length });
        buses.push({
          id: id ?? `virtio-serial${buses.length}`,
          ports: [],
          maxPorts: values.number('max_ports', 1, 31) ?? 31,
          place,
        });
        break;
      case 'virtconsole':
      case 'virtserialport': {
        const wanted = values.text('bus');
        const bus =
          wanted === undefined ? buses[0] : buses.find((each) => wanted === each.id || wanted === `${each.id}.0`);
        if (!bus)
          throw new UsageError(
            `${option}: there is no virtio-serial bus${wanted === undefined ? '; -device virtio-serial-pci before it makes one' : ` '${wanted}'`}`,
          );
        const isConsole = row.name === 'virtconsole';
        const port = {
          name: values.text('name'),
          console: isConsole,
          number: values.number('nr', isConsole ? 0 : 1, 30),
        };
        bus.ports.push({ port, chardev: attachTo(values, row.name), isConsole });
        break;
      }
      case 'ne2k_isa':
        devices.push({
          type: row.name,
          network: networks.take(values, values.text('netdev')),
          mac: checkMac(option, values.text('mac')),
          port: values.number('iobase', 0x100, 0xffe0),
          irq: values.number('irq', 0, 15),
        });
        break;
      case 'e1000':
      case 'rtl8139':
      case 'ne2k_pci':
        devices.push(planPciCard(row.name, values, backends, planSlot(values, rootPorts), id));
        break;
      case 'virtio-net-pci':
      case 'virtio-net-device':
        devices.push(planVirtioNet(values, backends, place));
        break;
      case 'virtio-9p-pci':
      case 'virtio-9p-device':
        devices.push(folders.device(values, place));
        break;
      case 'virtio-rng-pci':
      case 'virtio-rng-device':
        devices.push({ type: 'virtio-rng', ...place });
        break;
      case 'virtio-balloon-pci':
      case 'virtio-balloon-device':
        devices.push({ type: 'virtio-balloon', ...place });
        break;
      case 'VGA':
        devices.push(planVga(values, planSlot(values, rootPorts)));
        break;
      case 'virtio-gpu-pci':
      case 'virtio-gpu-device':
      case 'virtio-vga':
        devices.push(planGpu(values, place, row.name === 'virtio-vga'));
        break;
      case 'virtio-keyboard-pci':
      case 'virtio-keyboard-device':
        devices.push({ type: 'virtio-keyboard', ...place });
        break;
      case 'virtio-mouse-pci':
      case 'virtio-mouse-device':
        devices.push({ type: 'virtio-mouse', ...place });
        break;
      case 'virtio-tablet-pci':
      case 'virtio-tablet-device':
        devices.push({ type: 'virtio-tablet', ...place });
        break;
      case 'isa-serial': {
        const index = values.number('index', 0, 3) ?? [0, 1, 2, 3].find((i) => !characters.serialPorts[i]);
        if (index === undefined || characters.serialPorts[index])
          throw new UsageError(`${option}: that serial port is there already`);
        while (characters.serialPorts.length <= index) characters.serialPorts.push(false);
        characters.serialPorts[index] = true;
        const chardev = attachTo(values, row.name);
        if (chardev) characters.attachments.push({ from: { kind: 'serial', index }, chardev });
        break;
      }
      case 'isa-debug-exit':
        devices.push({
          type: 'isa-debug-exit',
          port: values.number('iobase', 0, 0xffff),
          sizeBytes: values.number('iosize', 1, 4),
        });
        break;
      case 'isa-debugcon': {
        if (debugcons++ > 0) throw new UsageError(`${option}: a second debug console is not supported yet`);
        const chardev = attachTo(values, row.name);
        if (chardev) characters.attachments.push({ from: { kind: 'debugcon' }, chardev });
        devices.push({ type: 'isa-debugcon', port: values.number('iobase', 0, 0xffff) });
        break;
      }
      case 'pvpanic':
        devices.push({ type: 'pvpanic', port: values.number('ioport', 0, 0xffff) });
        break;
      case 'pvpanic-pci':
      case 'i6300esb':
        devices.push({ type: row.name, slot: planSlot(values, rootPorts) });
        break;
      case 'pc-testdev':
        devices.push({ type: 'pc-testdev' });
        break;
      default:
        if (isUsbController(row.name)) usb.controller(row.name, values, id, rootPorts);
        else if (isUsbDevice(row.name)) usb.device(row.name, values, id);
    }
    values.finish(unsupportedProperties);
  }
  devices.push(...usb.controllers);
  // Console ports are counted in the order of their devices.
  let index = 0;
  const plugged = devices.map((device): DeviceOptions => {
    if (device.type !== 'bus') return device;
    const bus = buses[device.index];
    for (const { chardev } of bus.ports) {
      if (chardev) characters.attachments.push({ from: { kind: 'console', index }, chardev });
      index++;
    }
    return { type: 'virtio-serial', ports: bus.ports.map(({ port }) => port), maxPorts: bus.maxPorts, ...bus.place };
  });
  return { devices: plugged, blockNodes: drives.blockNodes, drives, named };
}
