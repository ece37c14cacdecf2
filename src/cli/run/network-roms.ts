/** Option ROMs of network cards: those that are named, and iPXE's where firmware is to boot from the network. */
import { findFirmware } from '../../host/node/firmware-file.js';
import type { DeviceOptions } from '../../vmm/index.js';
import { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';
import type { Options } from './given-options.js';

/** Names in Debian's package ipxe-qemu, by kind of card. */
const roms: Readonly<Record<string, string>> = {
  e1000: 'efi-e1000.rom',
  ne2k_pci: 'efi-ne2k_pci.rom',
  rtl8139: 'efi-rtl8139.rom',
  'virtio-net': 'efi-virtio.rom',
};

type Card = DeviceOptions & { type: 'virtio-net' | 'e1000' | 'rtl8139' | 'ne2k_pci' };
const isCard = (device: DeviceOptions): device is Card => device.type in roms;

/** Firmware is asked to boot from the network, by `-boot n`. */
export function bootsByNetwork(options: Options): boolean {
  return options.all('boot').some((text) => {
    const values = KeyValues.parse(`-boot ${text}`, text, 'order');
    return `${values.text('order') ?? ''}${values.text('once') ?? ''}`.includes('n');
  });
}

/** Puts paths in. An empty name stands for none. Throws UsageError for a ROM that is named and not there. */
export function chooseRoms(devices: DeviceOptions[], options: Options): void {
  const folders = options.all('L');
  const byNetwork = bootsByNetwork(options);
  for (const [i, device] of devices.entries()) {
    if (!isCard(device) || device.rom === '') {
      if (isCard(device)) devices[i] = { ...device, rom: undefined };
      continue;
    }
    if (device.rom === undefined && !byNetwork && device.bootIndex === undefined) continue;
    const rom = findFirmware(device.rom ?? roms[device.type], folders);
    if (rom === undefined && device.rom !== undefined)
      throw new UsageError(`-device ${device.type}: there is no option ROM '${device.rom}'`);
    devices[i] = { ...device, rom };
  }
}
