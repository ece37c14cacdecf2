/** What comes and goes while a machine runs: block nodes, networks, units on SCSI controllers, PCI devices. */
import { VringError } from '../base/index.js';
import type { OptionDict } from '../block/index.js';
import type { BlockObject, DiskConfig, DiskImage } from './disk-protocol.js';
import type { MachineDiskThread } from './disks.js';
import { checkTap, type DeviceOptions, type ScsiUnitOptions } from './machine-options.js';
import type { NetworkOptions } from './network-protocol.js';
import type { KnownNetworks } from './networks.js';
import { plugConfig } from './plug-device.js';
import {
  defaultUsbBus,
  type UsbControllerConfig,
  type UsbDeviceConfig,
  type UsbDeviceOptions,
  type UsbPort,
} from './usb-options.js';
import type { DeviceConfig, PluggedDisk, Request, ScsiPlace } from './worker-protocol.js';

export interface HotPluggable {
  /** Opens a block node, in QEMU's `-blockdev` spelling, flat. Rejects with VringError `disk-open`, `no-disks`. */
  addBlockNode(options: OptionDict): Promise<void>;
  /** Opens an image that a device may have later, or nothing, and keeps it among the disks; as in QEMU others may write it until then. Rejects with VringError `disk-open`, `no-disks`. */
  holdImage(name: string, image: DiskImage | undefined): Promise<void>;
  /** Closes it again. */
  releaseImage(name: string): Promise<void>;
  /** Closes a node that no device has. Rejects with VringError `disk-open`. */
  removeBlockNode(name: string): Promise<void>;
  /** What block nodes may refer to by its id from here on: the bytes of a secret, or another object. */
  defineObject(id: string, object: Uint8Array | BlockObject): Promise<void>;
  /** False: a node uses it, and it stays. */
  forgetObject(id: string): Promise<boolean>;
  /** Opens a network for a card that comes later. Rejects with VringError `network-id`, `network-port` and others. */
  addNetwork(options: NetworkOptions): Promise<void>;
  /** Closes a network; a card that is on it stays, without a link. Rejects with VringError `no-such-network`. */
  removeNetwork(id: string): Promise<void>;
  /**
   * Plugs a unit into a SCSI controller by its id, the first one where that is undefined; its `device` is the name for `unplug`. Rejects
   * with VringError `disk-open`, `device-bus`, `no-disks`.
   */
  plugScsi(controller: string | undefined, unit: ScsiUnitOptions): Promise<void>;
  /**
   * Plugs a PCI device in; `device` is the name for `unplug`. The guest is told by ACPI or by its root port. Rejects with VringError
   * `disk-open`, `device-bus`, `no-disks`, `no-such-network`, `pci-slot`, `pci-full`.
   */
  plug(device: string | undefined, options: DeviceOptions): Promise<void>;
  /** The USB bus of that name, or the one that a device goes on by itself; undefined: there is none. */
  findUsbBus(name: string | undefined): string | undefined;
  /**
   * Plugs a device into a USB bus, its `port` or the next free one; its `id` is the name for `unplug`. Rejects with VringError `disk-open`,
   * `device-bus`, `no-disks`, `options-invalid`.
   */
  plugUsb(bus: string | undefined, device: UsbDeviceOptions): Promise<void>;
  /** Ids of the root ports behind which devices may come. */
  readonly rootPorts: ReadonlySet<string>;
  /**
   * Takes a SCSI unit or a USB device out, and closes its image; asks the guest to let a PCI device go. `Machine.on('unplugged')` tells when it is gone.
   * Rejects with VringError `no-such-device`, `device-busy`, `device-bus`.
   */
  unplug(device: string): Promise<void>;
}

/** What kind of device is gone. */
export type UnpluggedType = DeviceOptions['type'] | 'scsi' | `usb-${UsbDeviceOptions['kind']}`;

/** A USB device; its name was given by its owner, or by nobody. */
interface PluggedUsb extends UsbPort {
  readonly kind: UsbDeviceOptions['kind'];
  readonly name: string | undefined;
  readonly disk: number | undefined;
}

interface Plugged extends Required<ScsiPlace> {
  readonly disk: number;
}

/** What the thread of the networks does, and the machine's. */
export interface NetworkOpener {
  /** Rejects with VringError `network-port` and others. */
  open(place: number, options: NetworkOptions): Promise<void>;
  close(place: number): Promise<void>;
}

/** A PCI device: what is given back when it is gone. */
interface PluggedDevice {
  readonly type: DeviceOptions['type'];
  readonly disks: readonly number[];
  readonly network: number | undefined;
  /** It has a name that its owner gave it. */
  readonly isNamed: boolean;
}

const policiesOf = ({ id, onReadError, onWriteError }: DiskConfig): PluggedDisk[1] => ({
  id,
  onReadError,
  onWriteError,
});

export class HotPlug implements HotPluggable {
  readonly rootPorts: ReadonlySet<string>;
  /** Told of each device with a name that is gone. */
  onGone: ((device: string, type: UnpluggedType) => void) | undefined;
  readonly #devices = new Map<string, PluggedDevice>();
  readonly #networks: KnownNetworks;
  readonly #opener: NetworkOpener;
  #unnamed = 0;
  readonly #disks: MachineDiskThread | undefined;
  readonly #request: (request: Request) => Promise<unknown>;
  readonly #units = new Map<string, Plugged>();
  #usbControllers: UsbControllerConfig[] = [];
  #unnamedUsb = 0;
  #usbDevices: PluggedUsb[] = [];

  /** `devices`: those that are there already. */
  constructor(
    disks: MachineDiskThread | undefined,
    devices: readonly DeviceConfig[],
    networks: KnownNetworks,
    opener: NetworkOpener,
    request: (request: Request) => Promise<unknown>,
  ) {
    this.#disks = disks;
    this.#request = request;
    this.#networks = networks;
    this.#opener = opener;
    this.rootPorts = new Set(devices.flatMap((config) => (config.type === 'pcie-root-port' ? [config.id] : [])));
    for (const config of devices) this.#remember(config);
    for (const config of devices) {
      if (config.type !== 'usb') continue;
      const { bus } = config;
      this.#usbControllers.push(config);
      if (bus.startsWith('usb-bus.')) this.#unnamedUsb++;
      for (const { kind, id, port, drive } of config.devices)
        this.#usbDevices.push({ bus, port, kind, name: id, disk: drive?.disk });
    }
    for (const config of devices) {
      if (config.type !== 'virtio-scsi') continue;
      for (const { device, disk, target, lun } of config.units)
        if (device !== undefined) this.#units.set(device, { controller: config.id ?? '', disk, target, lun });
    }
  }

  #remember(config: DeviceConfig): void {
    const network = 'network' in config ? config.network : undefined;
    if (!('device' in config) || config.device === undefined) return;
    const disks =
      'disk' in config ? [config.disk] : config.type === 'nvme' ? config.namespaces.map(({ disk }) => disk) : [];
    this.#devices.set(config.device, { type: config.type, disks, network, isNamed: true });
  }

  async plug(device: string | undefined, options: DeviceOptions): Promise<void> {
    this.#checkName(device);
    const name = device ?? `device ${this.#unnamed++}`;
    const disks: number[] = [];
    const policies: PluggedDisk[] = [];
    let network: number | undefined;
    try {
      const config = await plugConfig(options, name, {
        openDisk: async (disk) => {
          const place = await this.#thread.add(disk);
          disks.push(place);
          policies.push([place, policiesOf(disk)]);
          return place;
        },
        takeNetwork: (id) => {
          network = this.#networks.take(id);
          return network;
        },
        freshUsbBus: () => `usb-bus.${this.#unnamedUsb++}`,
        freshMac: () => Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, (0x56 + this.#networks.cards) & 0xff),
      });
      this.#networks.remember(config);
      await this.#request({ type: 'plug', device: config, policies });
      if (config.type === 'usb') this.#usbControllers.push(config);
      this.#devices.set(name, { type: config.type, disks, network, isNamed: device !== undefined });
    } catch (error) {
      if (network !== undefined) this.#networks.cardGone(network);
      for (const disk of disks) await this.#thread.remove(disk);
      throw error;
    }
  }

  /** The guest has let a device go: its images are closed, and its owner is told. */
  async unplugged(name: string): Promise<void> {
    const device = this.#devices.get(name);
    if (!device) return;
    this.#devices.delete(name);
    if (device.network !== undefined) this.#networks.cardGone(device.network);
    for (const [unit, { controller, disk }] of [...this.#units]) {
      if (controller !== name) continue;
      this.#units.delete(unit);
      await this.#thread.remove(disk);
      this.onGone?.(unit, 'scsi');
    }
    if (device.type === 'usb') await this.#usbControllerGone(name);
    for (const disk of device.disks) await this.#thread.remove(disk);
    if (device.isNamed) this.onGone?.(name, device.type);
  }

  /** Its devices are gone with it. */
  async #usbControllerGone(device: string): Promise<void> {
    const controller = this.#usbControllers.find((each) => each.device === device);
    const gone = this.#usbDevices.filter(({ bus }) => bus === controller?.bus);
    this.#usbControllers = this.#usbControllers.filter((each) => each !== controller);
    this.#usbDevices = this.#usbDevices.filter((each) => !gone.includes(each));
    for (const { disk, name, kind } of gone) {
      if (disk !== undefined) await this.#thread.remove(disk);
      if (name !== undefined) this.onGone?.(name, `usb-${kind}`);
    }
  }

  get #thread(): MachineDiskThread {
    if (this.#disks) return this.#disks;
    throw new VringError(
      'no-disks',
      'The machine was made without disks, and without a controller that could get some.',
    );
  }

  addBlockNode(options: OptionDict): Promise<void> {
    return this.#thread.addNode(options);
  }

  holdImage(name: string, image: DiskImage | undefined): Promise<void> {
    return this.#thread.hold(name, image);
  }

  async releaseImage(name: string): Promise<void> {
    await this.#disks?.release(name);
  }

  removeBlockNode(name: string): Promise<void> {
    return this.#thread.removeNode(name);
  }

  async defineObject(id: string, object: Uint8Array | BlockObject): Promise<void> {
    await this.#disks?.defineObject(id, object);
  }

  async forgetObject(id: string): Promise<boolean> {
    return (await this.#disks?.forgetObject(id)) ?? true;
  }

  async addNetwork(options: NetworkOptions): Promise<void> {
    checkTap(options);
    const place = this.#networks.reserve(options);
    try {
      await this.#opener.open(place, options);
    } catch (error) {
      this.#networks.closed(place);
      throw error;
    }
  }

  async removeNetwork(id: string): Promise<void> {
    const place = this.#networks.find(id);
    await this.#opener.close(place);
    this.#networks.closed(place);
  }

  async plugScsi(controller: string | undefined, unit: ScsiUnitOptions): Promise<void> {
    const { image, id, device, ...rest } = unit;
    const name = id ?? device ?? 'hot-plugged disk';
    this.#checkName(device);
    const removable = rest.media === 'cdrom';
    const readonly = removable ? { readonly: true } : {};
    const disk = await this.#thread.add({ ...image, ...readonly, id: name, removable, empty: !image });
    const policies = policiesOf({ id: name, ...image });
    const config = { ...rest, device, disk, deviceId: rest.deviceId ?? rest.serial ?? name };
    try {
      const place = (await this.#request({
        type: 'plugScsi',
        controller,
        unit: config,
        policies,
      })) as Required<ScsiPlace>;
      if (device !== undefined) this.#units.set(device, { ...place, disk });
    } catch (error) {
      await this.#thread.remove(disk);
      throw error;
    }
  }

  findUsbBus(name: string | undefined): string | undefined {
    const controllers = this.#usbControllers;
    return (name === undefined ? defaultUsbBus(controllers) : controllers.find(({ bus }) => bus === name))?.bus;
  }

  async plugUsb(wanted: string | undefined, device: UsbDeviceOptions): Promise<void> {
    const { kind, port, id, serial } = device;
    this.#checkName(id);
    const bus = this.findUsbBus(wanted);
    if (bus === undefined)
      throw new VringError('device-bus', wanted === undefined ? "No 'usb-bus' bus found" : `Bus '${wanted}' not found`);
    const plug = async (policies: readonly PluggedDisk[], more: Partial<UsbDeviceConfig>) => {
      const config = { kind, port, id, serial, ...more };
      const place = (await this.#request({ type: 'plugUsb', bus, device: config, policies })) as UsbPort;
      this.#usbDevices.push({ ...place, kind, name: id, disk: more.drive?.disk });
    };
    if (device.kind !== 'storage') {
      await plug([], {});
      return;
    }
    const { image, driveId, removable, kind: _kind, port: _port, id: _id, ...drive } = device;
    const isCd = device.media === 'cdrom';
    const name = driveId ?? id ?? 'hot-plugged disk';
    const opened = { ...image, ...(isCd ? { readonly: true } : {}), id: name, removable: isCd, empty: !image };
    const disk = await this.#thread.add(opened);
    try {
      await plug([[disk, policiesOf(opened)]], { removable, drive: { ...drive, disk } });
    } catch (error) {
      await this.#thread.remove(disk);
      throw error;
    }
  }

  /** A USB device, and all behind it. */
  async #unplugUsb({ bus, port }: PluggedUsb): Promise<void> {
    const isGone = (each: PluggedUsb) => each.bus === bus && (each.port === port || each.port.startsWith(`${port}.`));
    const disks = this.#usbDevices.flatMap((each) => (isGone(each) && each.disk !== undefined ? [each.disk] : []));
    const ports = (await this.#request({ type: 'unplugUsb', place: { bus, port }, disks })) as readonly string[];
    const gone = this.#usbDevices.filter(isGone).toSorted((a, b) => ports.indexOf(a.port) - ports.indexOf(b.port));
    this.#usbDevices = this.#usbDevices.filter((each) => !isGone(each));
    for (const { disk } of gone) if (disk !== undefined) await this.#thread.remove(disk);
    // As QEMU's, behind the answer to whoever asked.
    setImmediate(() => {
      for (const { name, kind } of gone) if (name !== undefined) this.onGone?.(name, `usb-${kind}`);
    });
  }

  /** Throws VringError `device-bus` where a device has the name already. */
  #checkName(device: string | undefined): void {
    if (device === undefined) return;
    if (this.#units.has(device) || this.#devices.has(device) || this.#usbDevices.some(({ name }) => name === device))
      throw new VringError('device-bus', `Duplicate device ID '${device}'`);
  }

  async unplug(device: string): Promise<void> {
    const usb = this.#usbDevices.find(({ name }) => name === device);
    if (usb) {
      await this.#unplugUsb(usb);
      return;
    }
    const unit = this.#units.get(device);
    if (!unit) {
      if (!this.#devices.has(device)) throw new VringError('no-such-device', `Device '${device}' not found`);
      await this.#request({ type: 'unplug', device });
      return;
    }
    const { controller, target, lun, disk } = unit;
    await this.#request({ type: 'unplugScsi', controller, target, lun });
    this.#units.delete(device);
    await this.#thread.remove(disk);
    this.onGone?.(device, 'scsi');
  }
}
