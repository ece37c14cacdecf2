/** Where a device of `-device` sits: slot on a bus, virtio interfaces. */
import type { VirtioPlace } from '../../vmm/index.js';
import type { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';
import type { FoundDevice } from './devices.js';

/** Where a virtio device sits, and which interfaces it has. */
export function planVirtio(values: KeyValues, { only }: FoundDevice): VirtioPlace {
  const slot = planSlot(values);
  const legacy = values.choice('disable-legacy', ['on', 'off', 'auto']) !== 'on';
  const modern = !values.flag('disable-modern');
  if (!legacy && !modern) throw new UsageError(`${values.option}: a device without any interface is of no use`);
  const asked = legacy && modern ? undefined : modern ? 'modern' : 'legacy';
  if (only && asked && asked !== only)
    throw new UsageError(`${values.option}: the name asks for ${only} interfaces, the properties for ${asked} ones`);
  return {
    slot,
    interfaces: only ?? asked,
    vectors: values.number('vectors', 0, 2048),
    ...(values.has('packed') ? { packed: values.flag('packed') } : {}),
  };
}

/** The virtio-mmio slot that a device sits in. */
export function planMmio(values: KeyValues): VirtioPlace {
  const bus = values.text('bus');
  if (bus === undefined) return { bus: 'mmio' };
  const match = /^virtio-mmio-bus\.(\d)$/.exec(bus);
  if (!match) throw new UsageError(`${values.option}: there is no bus '${bus}'; there are virtio-mmio-bus.0 to .7`);
  return { bus: 'mmio', slot: Number(match[1]) };
}

export function planSlot(values: KeyValues): number | undefined {
  const bus = values.text('bus');
  if (bus !== undefined && bus !== 'pci.0' && bus !== 'pci' && bus !== 'pcie.0')
    throw new UsageError(`${values.option}: there is no bus '${bus}'; there is pci.0`);
  const text = values.text('addr');
  if (text === undefined) return undefined;
  const match = /^(?:0x)?([0-9a-f]{1,2})(?:\.([0-7]))?$/i.exec(text);
  const slot = match ? Number.parseInt(match[1], 16) : 32;
  if (slot > 31) throw new UsageError(`${values.option}: addr=${text} is no slot; slots are 0 to 1f`);
  if (match?.[2] !== undefined && match[2] !== '0')
    throw new UsageError(`${values.option}: functions other than 0 are not supported yet`);
  return slot;
}
