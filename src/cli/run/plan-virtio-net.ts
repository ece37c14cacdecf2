/** `-device virtio-net-pci`: what the card offers its driver, by QEMU's names of the properties. */
import type { DeviceOptions, VirtioNetSettings, VirtioPlace } from '../../vmm/index.js';
import type { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';
import type { PropertyRow } from './devices.js';
import { type Backends, planCard } from './plan-pci.js';

type Feature = keyof NonNullable<VirtioNetSettings['features']>;

const features: readonly (readonly [property: string, feature: Feature, sentence: string])[] = [
  ['csum', 'checksum', 'the guest may leave checksums to the host'],
  ['guest_csum', 'guestChecksum', 'the host may leave checksums to the guest'],
  ['guest_tso4', 'guestTso4', 'the guest may get large TCP frames, IPv4'],
  ['guest_tso6', 'guestTso6', 'the guest may get large TCP frames, IPv6'],
  ['guest_ecn', 'guestEcn', 'and such with congestion marks'],
  ['host_tso4', 'hostTso4', 'the guest may send large TCP frames, IPv4'],
  ['host_tso6', 'hostTso6', 'the guest may send large TCP frames, IPv6'],
  ['host_ecn', 'hostEcn', 'and such with congestion marks'],
  ['mrg_rxbuf', 'mergeableBuffers', 'a frame may lie in several buffers of the guest'],
  ['status', 'status', 'the guest is told whether there is a cable'],
  ['ctrl_vq', 'controlQueue', 'there is a control queue, for all that follows'],
  ['ctrl_rx', 'controlRx', 'the guest chooses what it gets: all, groups'],
  ['ctrl_vlan', 'controlVlan', 'the guest chooses VLANs'],
  ['ctrl_rx_extra', 'controlRxExtra', 'more such choices'],
  ['ctrl_mac_addr', 'controlMac', 'the guest sets its address by a command'],
  ['ctrl_guest_offloads', 'guestOffloads', 'the guest changes what it takes in while it runs'],
  ['guest_announce', 'announce', 'the guest is asked to announce itself when its cable is back'],
  ['mq', 'multiQueue', 'the guest may use as many queue pairs as the network has queues'],
];

/** Of no effect: no network here takes UDP in pieces, and the old feature for segmentation as a whole is never offered. */
const neverOffered = ['gso', 'guest_ufo', 'host_ufo'];

const text = (name: string, type: PropertyRow['type'], sentence: string, fallback?: string): PropertyRow => ({
  name,
  type,
  sentence,
  ...(fallback === undefined ? {} : { default: fallback }),
});

export const virtioNetRows: readonly PropertyRow[] = [
  ...features.map(([name, feature, sentence]) => text(name, 'bool', sentence, feature === 'multiQueue' ? 'off' : 'on')),
  ...neverOffered.map((name) => text(name, 'bool', 'taken; never offered')),
  text('host_mtu', 'uint16', 'largest packet that the guest is told of'),
  text('rx_queue_size', 'uint16', 'entries of a queue for frames that come: 256, 512 or 1024', '256'),
  text('tx_queue_size', 'uint16', 'taken; queues for frames that go have 256 entries', '256'),
  text('speed', 'int32', 'megabits a second that the guest is told of; -1: nothing', '-1'),
  text('duplex', 'str', 'half or full, which the guest is told of'),
  text('tx', 'str', 'taken: timer or bh'),
];

const mostInt = 2 ** 31 - 1;

export function planVirtioNet(values: KeyValues, backends: Backends, place: VirtioPlace | undefined): DeviceOptions {
  const { option } = values;
  const told: Partial<Record<Feature, boolean>> = {};
  for (const [property, feature] of features) {
    const on = values.flag(property);
    if (on !== undefined) told[feature] = on;
  }
  for (const property of neverOffered) values.flag(property);
  for (const property of ['rss', 'hash', 'guest_rsc_ext', 'failover']) values.settled(property, 'off', 'false', 'no');
  values.choice('tx', ['timer', 'bh']);
  const queueSize = (key: string) => {
    const size = values.number(key, 0, 65535);
    if (size !== undefined && size !== 256 && size !== 512 && size !== 1024)
      throw new UsageError(`${option}: Invalid ${key} (= ${size}), must be a power of 2 between 256 and 1024.`);
    return size;
  };
  const rxQueueSize = queueSize('rx_queue_size');
  // As on QEMU more than 256 are for back ends that are processes of their own.
  queueSize('tx_queue_size');
  return {
    type: 'virtio-net',
    ...planCard(values, backends),
    mtu: values.number('host_mtu', 0, 65535) || undefined,
    features: told,
    rxQueueSize,
    speed: values.text('speed') === '-1' ? undefined : values.number('speed', 0, mostInt),
    duplex: values.choice('duplex', ['half', 'full']),
    ...place,
  };
}
