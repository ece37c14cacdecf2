/** What a PCI device that comes while the machine runs is to its worker: its disks are opened, its network is taken. */
import { VringError } from '../base/index.js';
import { parseMac } from '../net/index.js';
import type { DiskConfig, DiskImage } from './disk-protocol.js';
import { checkVirtioNet, type DeviceOptions } from './machine-options.js';
import type { DeviceConfig, NvmeNamespaceConfig } from './worker-protocol.js';

export interface PlugHost {
  /** Opens a disk, and gives its place. Rejects with VringError `disk-open`, `no-disks`. */
  openDisk(config: DiskConfig): Promise<number>;
  /** Place of a network that has no card. Throws VringError `no-such-network`, `device-bus`. */
  takeNetwork(id: string): number;
  /** An Ethernet address that no card has yet. */
  freshMac(): Uint8Array;
  /** A name that no USB bus has. */
  freshUsbBus(): string;
}

/** Throws VringError `device-bus` for what cannot come later, and what the host's functions throw. */
export async function plugConfig(
  options: DeviceOptions,
  device: string,
  { openDisk, takeNetwork, freshMac, freshUsbBus }: PlugHost,
): Promise<DeviceConfig> {
  const open = (image: DiskImage, id: string) => openDisk({ ...image, id });
  switch (options.type) {
    case 'virtio-blk': {
      const { image, id, ...rest } = options;
      return { ...rest, device, disk: await open(image, id ?? device) };
    }
    case 'nvme': {
      const namespaces: NvmeNamespaceConfig[] = [];
      for (const [i, { image, id, namespace = i + 1, ...rest }] of options.namespaces.entries())
        namespaces.push({ ...rest, namespace, disk: await open(image, id ?? device) });
      return { ...options, device, namespaces };
    }
    case 'virtio-scsi':
      if (options.units.length > 0) break;
      return { ...options, device, id: options.id ?? device, units: [] };
    case 'virtio-net':
    case 'e1000':
    case 'rtl8139':
    case 'ne2k_pci': {
      if (options.rom !== undefined && options.rom !== '')
        throw new VringError('device-bus', 'romfile= is for cards that are there from the start');
      if (options.type === 'virtio-net') checkVirtioNet(options);
      const given = options.mac === undefined ? undefined : parseMac(options.mac);
      if (options.mac !== undefined && (!given || (given[0]! & 1) !== 0))
        throw new VringError('device-bus', `'${options.mac}' is no Ethernet address of a card`);
      return { ...options, rom: undefined, device, network: takeNetwork(options.network), mac: given ?? freshMac() };
    }
    case 'virtio-rng':
      return { ...options, device };
    case 'usb':
      if (options.devices.length > 0) break;
      if (options.function !== undefined)
        throw new VringError('device-bus', 'One function of several cannot be plugged into a running machine');
      return { ...options, device, bus: options.bus ?? freshUsbBus(), devices: [] };
  }
  throw new VringError('device-bus', `'${options.type}' cannot be plugged into a running machine`);
}
