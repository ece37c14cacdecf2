/** Feature bits of the network device (Virtual I/O Device 1.2, 5.1.3), and which of them need others (5.1.3.1). */

export const netFeature = {
  checksum: 0,
  guestChecksum: 1,
  guestOffloads: 2,
  mtu: 3,
  mac: 5,
  guestTso4: 7,
  guestTso6: 8,
  guestEcn: 9,
  hostTso4: 11,
  hostTso6: 12,
  hostEcn: 13,
  mergeableBuffers: 15,
  status: 16,
  controlQueue: 17,
  controlRx: 18,
  controlVlan: 19,
  controlRxExtra: 20,
  announce: 21,
  multiQueue: 22,
  controlMac: 23,
  speedDuplex: 63,
} as const;

/** Those that a device offers unless it is told otherwise, and several queue pairs, which it offers when it is told to. */
export type NetFeatureName = Exclude<keyof typeof netFeature, 'mac' | 'mtu' | 'speedDuplex'>;

/** A feature needs one of these. */
const needs: Partial<Record<NetFeatureName, readonly NetFeatureName[]>> = {
  guestTso4: ['guestChecksum'],
  guestTso6: ['guestChecksum'],
  guestEcn: ['guestTso4', 'guestTso6'],
  hostTso4: ['checksum'],
  hostTso6: ['checksum'],
  hostEcn: ['hostTso4', 'hostTso6'],
  guestOffloads: ['controlQueue'],
  controlRx: ['controlQueue'],
  controlVlan: ['controlQueue'],
  controlRxExtra: ['controlQueue'],
  announce: ['controlQueue'],
  multiQueue: ['controlQueue'],
  controlMac: ['controlQueue'],
};

/** The bits that a device offers: what it is told, less what lacks a feature that it needs. */
export function offeredNetFeatures(told: Readonly<Partial<Record<NetFeatureName, boolean>>>): number[] {
  const { mac, mtu: _mtu, speedDuplex: _speed, ...rest } = netFeature;
  const offered = new Set(
    (Object.keys(rest) as NetFeatureName[]).filter((name) => told[name] ?? name !== 'multiQueue'),
  );
  // In the order of `needs` what a feature needs comes before it.
  for (const [name, others] of Object.entries(needs) as [NetFeatureName, readonly NetFeatureName[]][])
    if (!others.some((other) => offered.has(other))) offered.delete(name);
  return [mac, ...[...offered].map((name) => netFeature[name])];
}
