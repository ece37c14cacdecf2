/** Where a device of `-device` sits: slot on a bus, virtio interfaces. */
import type { DeviceOptions, PciSlot, VirtioPlace } from '../../vmm/index.js';
import type { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';
import type { FoundDevice } from './devices.js';

/** Where a virtio device sits, and which interfaces it has. */
export function planVirtio(values: KeyValues, { only }: FoundDevice, rootPorts: ReadonlySet<string>): VirtioPlace {
  const slot = planSlot(values, rootPorts);
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
    ...(values.has('ioeventfd') ? { ioeventfd: values.flag('ioeventfd') } : {}),
    ...ringsOf(values),
  };
}

/** How a virtio device's rings may be, whatever it sits on. */
function ringsOf(values: KeyValues): Pick<VirtioPlace, 'packed' | 'indirectDescriptors' | 'eventIndex'> {
  return {
    ...(values.has('packed') ? { packed: values.flag('packed') } : {}),
    ...(values.has('indirect_desc') ? { indirectDescriptors: values.flag('indirect_desc') } : {}),
    ...(values.has('event_idx') ? { eventIndex: values.flag('event_idx') } : {}),
  };
}

/** The virtio-mmio slot that a device sits in. */
export function planMmio(values: KeyValues): VirtioPlace {
  const bus = values.text('bus');
  if (bus === undefined) return { bus: 'mmio', ...ringsOf(values) };
  const match = /^virtio-mmio-bus\.(\d{1,2})$/.exec(bus);
  if (!match) throw new UsageError(`${values.option}: there is no bus '${bus}'; there are virtio-mmio-bus.0 and so on`);
  return { bus: 'mmio', slot: Number(match[1]), ...ringsOf(values) };
}

/** Slot of bus 0, and function. */
function parseAddress(values: KeyValues): { slot: number; fn: number } | undefined {
  const text = values.text('addr');
  if (text === undefined) return undefined;
  const match = /^(?:0x)?([0-9a-f]{1,2})(?:\.(?:0x)?([0-7]))?$/i.exec(text);
  const slot = match ? Number.parseInt(match[1], 16) : 32;
  if (slot > 31) throw new UsageError(`${values.option}: addr=${text} is no slot; slots are 0 to 1f`);
  return { slot, fn: Number(match?.[2] ?? 0) };
}

/** `rootPorts`: ids of those that are there. */
export function planSlot(
  values: KeyValues,
  rootPorts: ReadonlySet<string> = new Set(),
  mayBeMany = false,
): PciSlot | undefined {
  if (!mayBeMany) values.settled('multifunction', 'off', 'false');
  const bus = values.text('bus');
  const address = parseAddress(values);
  if (address && address.fn !== 0)
    throw new UsageError(`${values.option}: functions other than 0 are not supported yet`);
  if (bus !== undefined && rootPorts.has(bus)) {
    if (address && address.slot !== 0)
      throw new UsageError(`${values.option}: behind a root port there is slot 0 alone`);
    return bus;
  }
  if (bus !== undefined && bus !== 'pci.0' && bus !== 'pci' && bus !== 'pcie.0') {
    const others = [...rootPorts].map((id) => `, ${id}`).join('');
    throw new UsageError(`${values.option}: there is no bus '${bus}'; there is pci.0${others}`);
  }
  return address?.slot;
}

/** Where a device sits that may be one function of several. Throws UsageError. */
export function planPlace(
  values: KeyValues,
  rootPorts: ReadonlySet<string>,
): { readonly slot?: PciSlot | undefined; readonly function?: number } {
  // Functions that share a slot make it one by themselves.
  const isMany = values.flag('multifunction') ?? false;
  const address = parseAddress(values);
  const bus = values.text('bus');
  if (address === undefined || (address.fn === 0 && !isMany) || (bus !== undefined && rootPorts.has(bus)))
    return { slot: planSlot(values, rootPorts, isMany) };
  return { slot: address.slot, function: address.fn };
}

/** `-device pcie-root-port`; chassis and port numbers are of no effect. */
export function planRootPort(values: KeyValues, id: string | undefined): DeviceOptions {
  if (id === undefined) throw new UsageError(`${values.option}: id= is missing: nothing could be put behind it`);
  const bus = values.text('bus');
  if (bus !== undefined && bus !== 'pcie.0')
    throw new UsageError(`${values.option}: a root port sits on pcie.0, not on '${bus}'`);
  values.number('chassis', 0, 255);
  values.number('port', 0, 255);
  values.flag('hotplug');
  // Functions that share a slot make it one by themselves.
  values.flag('multifunction');
  const address = parseAddress(values);
  const physicalSlot = values.number('slot', 0, 8191);
  return { type: 'pcie-root-port', id, slot: address?.slot, function: address?.fn, physicalSlot };
}
