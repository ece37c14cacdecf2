/** What comes and goes while a machine runs: block nodes, networks, units on SCSI controllers, PCI devices. */
import { VringError } from '../base/index.js';
import type { OptionDict } from '../block/index.js';
import type { DiskConfig } from './disk-protocol.js';
import type { MachineDiskThread } from './disks.js';
import { checkTap, type DeviceOptions, type ScsiUnitOptions } from './machine-options.js';
import type { NetworkOptions } from './network-protocol.js';
import type { KnownNetworks } from './networks.js';
import { plugConfig } from './plug-device.js';
import type { DeviceConfig, Request, ScsiPlace } from './worker-protocol.js';

export interface HotPluggable {
  /** Opens a block node, in QEMU's `-blockdev` spelling, flat. Rejects with VringError `disk-open`, `no-disks`. */
  addBlockNode(options: OptionDict): Promise<void>;
  /** Closes a node that no device has. Rejects with VringError `disk-open`. */
  removeBlockNode(name: string): Promise<void>;
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
  /** Ids of the root ports behind which devices may come. */
  readonly rootPorts: ReadonlySet<string>;
  /**
   * Takes a SCSI unit out, and closes its image; asks the guest to let a PCI device go. `Machine.on('unplugged')` tells when it is gone.
   * Rejects with VringError `no-such-device`, `device-busy`, `device-bus`.
   */
  unplug(device: string): Promise<void>;
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

export class HotPlug implements HotPluggable {
  readonly rootPorts: ReadonlySet<string>;
  /** Told of each device with a name that is gone. */
  onGone: ((device: string, type: DeviceOptions['type'] | 'scsi') => void) | undefined;
  readonly #devices = new Map<string, PluggedDevice>();
  readonly #networks: KnownNetworks;
  readonly #opener: NetworkOpener;
  #unnamed = 0;
  readonly #disks: MachineDiskThread | undefined;
  readonly #request: (request: Request) => Promise<unknown>;
  readonly #units = new Map<string, Plugged>();

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
    if (device !== undefined && (this.#units.has(device) || this.#devices.has(device)))
      throw new VringError('device-bus', `Duplicate device ID '${device}'`);
    const name = device ?? `device ${this.#unnamed++}`;
    const disks: number[] = [];
    const policies: [number, Pick<DiskConfig, 'id' | 'onReadError' | 'onWriteError'>][] = [];
    let network: number | undefined;
    try {
      const config = await plugConfig(options, name, {
        openDisk: async (disk) => {
          const place = await this.#thread.add(disk);
          disks.push(place);
          policies.push([place, { id: disk.id, onReadError: disk.onReadError, onWriteError: disk.onWriteError }]);
          return place;
        },
        takeNetwork: (id) => {
          network = this.#networks.take(id);
          return network;
        },
        freshMac: () => Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, (0x56 + this.#networks.cards) & 0xff),
      });
      this.#networks.remember(config);
      await this.#request({ type: 'plug', device: config, policies });
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
    for (const disk of device.disks) await this.#thread.remove(disk);
    if (device.isNamed) this.onGone?.(name, device.type);
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

  removeBlockNode(name: string): Promise<void> {
    return this.#thread.removeNode(name);
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
    if (device !== undefined && this.#units.has(device))
      throw new VringError('device-bus', `Duplicate device ID '${device}'`);
    const removable = rest.media === 'cdrom';
    const readonly = removable ? { readonly: true } : {};
    const disk = await this.#thread.add({ ...image, ...readonly, id: name, removable, empty: !image });
    const policies = { id: name, onReadError: image?.onReadError, onWriteError: image?.onWriteError };
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

  async unplug(device: string): Promise<void> {
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
