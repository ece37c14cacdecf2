/** PCI devices of `-device` and device_add that are alike whether they are there from the start or come later. */
import type { DeviceOptions, PciSlot, VirtioPlace } from '../../vmm/index.js';
import type { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';
import type { Drive } from './drives.js';
import { checkMac } from './networks.js';
import { blockSize, checkSerial, oneOfPowers } from './plan-drives.js';

/** What names stand for. */
export interface Backends {
  drive(values: KeyValues, name: string): Pick<Drive, 'id' | 'image' | 'isEmpty' | 'serial'>;
  /** The id of a network without a card. */
  network(values: KeyValues, id: string | undefined): string;
}

export function planVirtioBlock(values: KeyValues, backends: Backends, place: VirtioPlace | undefined): DeviceOptions {
  const { option } = values;
  values.settled('scsi', 'off', 'false');
  values.settled('write-cache', 'on', 'auto');
  values.settled('config-wce', 'on', 'off');
  const { id, image, serial, isEmpty } = backends.drive(values, values.need('drive'));
  if (isEmpty) throw new UsageError(`${option}: Device needs media, but drive is empty`);
  return {
    type: 'virtio-blk',
    id,
    image,
    serial: checkSerial(option, values.text('serial') ?? serial),
    logicalBlockSize: blockSize(values, 'logical_block_size'),
    physicalBlockSize: blockSize(values, 'physical_block_size'),
    queues: values.number('num-queues', 1, 64),
    queueSize: oneOfPowers(values, 'queue-size', 4, 1024),
    discard: values.flag('discard'),
    writeZeroes: values.flag('write-zeroes'),
    bootIndex: values.number('bootindex', 0, 2 ** 31 - 1),
    ...place,
  };
}

/** Without a BAR for it there is no ROM. */
function romOf(values: KeyValues): string | undefined {
  const file = values.text('romfile');
  return values.number('rombar', 0, 1) === 0 ? '' : file;
}

/** What all cards have on the command line. */
export const planCard = (values: KeyValues, backends: Backends) => ({
  network: backends.network(values, values.text('netdev')),
  mac: checkMac(values.option, values.text('mac')),
  bootIndex: values.number('bootindex', 0, 2 ** 31 - 1),
  rom: romOf(values),
});

export const planPciCard = (
  type: 'e1000' | 'rtl8139' | 'ne2k_pci',
  values: KeyValues,
  backends: Backends,
  slot: PciSlot | undefined,
  device: string | undefined,
): DeviceOptions => ({ type, ...planCard(values, backends), slot, ...(device === undefined ? {} : { device }) });
