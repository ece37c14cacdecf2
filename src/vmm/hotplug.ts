/** Disks that come and go while a machine runs: block nodes, and units on SCSI controllers. */
import { VringError } from '../base/index.js';
import type { OptionDict } from '../block/index.js';
import type { MachineDiskThread } from './disks.js';
import type { ScsiUnitOptions } from './machine-options.js';
import type { DeviceConfig, Request, ScsiPlace } from './worker-protocol.js';

export interface HotPluggable {
  /** Opens a block node, in QEMU's `-blockdev` spelling, flat. Rejects with VringError `disk-open`, `no-disks`. */
  addBlockNode(options: OptionDict): Promise<void>;
  /** Closes a node that no device has. Rejects with VringError `disk-open`. */
  removeBlockNode(name: string): Promise<void>;
  /**
   * Plugs a unit into a SCSI controller by its id, the first one where that is undefined; its `device` is the name for `unplug`. Rejects
   * with VringError `disk-open`, `device-bus`, `no-disks`.
   */
  plugScsi(controller: string | undefined, unit: ScsiUnitOptions): Promise<void>;
  /** Takes a unit out, and closes its image. Rejects with VringError `no-such-device`, `device-busy`. */
  unplug(device: string): Promise<void>;
}

interface Plugged extends Required<ScsiPlace> {
  readonly disk: number;
}

export class HotPlug implements HotPluggable {
  readonly #disks: MachineDiskThread | undefined;
  readonly #request: (request: Request) => Promise<unknown>;
  readonly #units = new Map<string, Plugged>();

  /** `devices`: those that are there already. */
  constructor(
    disks: MachineDiskThread | undefined,
    devices: readonly DeviceConfig[],
    request: (request: Request) => Promise<unknown>,
  ) {
    this.#disks = disks;
    this.#request = request;
    for (const config of devices) {
      if (config.type !== 'virtio-scsi') continue;
      for (const { device, disk, target, lun } of config.units)
        if (device !== undefined) this.#units.set(device, { controller: config.id ?? '', disk, target, lun });
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

  removeBlockNode(name: string): Promise<void> {
    return this.#thread.removeNode(name);
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
    if (!unit) throw new VringError('no-such-device', `Device '${device}' not found`);
    const { controller, target, lun, disk } = unit;
    await this.#request({ type: 'unplugScsi', controller, target, lun });
    this.#units.delete(device);
    await this.#thread.remove(disk);
  }
}
