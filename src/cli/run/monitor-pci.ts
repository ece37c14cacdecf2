/** `info pci` and query-pci: a machine's PCI functions (QEMU's qapi/pci.json). */
import type { PciBridgeDescription, PciFunctionDescription, PciRegionDescription } from '../../vmm/index.js';
import type { MonitoredRun } from './monitor.js';

/** Base class and subclass (PCI Code and ID Assignment 1.11), as QEMU calls them. */
const classNames: Readonly<Record<number, string>> = {
  256: 'SCSI controller',
  257: 'IDE controller',
  258: 'Floppy controller',
  262: 'SATA controller',
  384: 'Storage controller',
  512: 'Ethernet controller',
  640: 'Network controller',
  768: 'VGA controller',
  896: 'Display controller',
  1025: 'Audio controller',
  1280: 'RAM controller',
  1408: 'Memory controller',
  1536: 'Host bridge',
  1537: 'ISA bridge',
  1540: 'PCI bridge',
  1664: 'Bridge',
  1792: 'Serial port',
  1920: 'Communication controller',
  2304: 'Keyboard',
  3075: 'USB controller',
  3077: 'SMBus',
};

const hex = (value: bigint | number, digits: number): string => value.toString(16).padStart(digits, '0');

/** What is nowhere is told of as if all bits of its address were ones. */
function regionLine({ bar, kind, prefetchable, size, address }: PciRegionDescription): string {
  const base = address === undefined ? -1n : BigInt(address);
  const [first, last] = [base, base + BigInt(size) - 1n].map((at) => BigInt.asUintN(64, at)) as [bigint, bigint];
  if (kind === 'io') return `      BAR${bar}: I/O at 0x${hex(first, 4)} [0x${hex(last, 4)}].`;
  const width = kind === 'memory64' ? 64 : 32;
  const how = prefetchable ? ' prefetchable' : '';
  return `      BAR${bar}: ${width} bit${how} memory at 0x${hex(first, 8)} [0x${hex(last, 8)}].`;
}

const bridgeLines = ({ primary, secondary, subordinate, io, memory, prefetchable }: PciBridgeDescription): string[] => [
  `      BUS ${primary}.`,
  `      secondary bus ${secondary}.`,
  `      subordinate bus ${subordinate}.`,
  `      IO range [0x${hex(io.base, 4)}, 0x${hex(io.limit, 4)}]`,
  `      memory range [0x${hex(memory.base, 8)}, 0x${hex(memory.limit, 8)}]`,
  `      prefetchable memory range [0x${hex(prefetchable.base, 8)}, 0x${hex(prefetchable.limit, 8)}]`,
];

function functionLines(fn: PciFunctionDescription): string[] {
  const { bus, slot, functionNumber, classCode, vendor, device, subsystem, pin, irq, regions, bridge } = fn;
  const number = (value: number, digits: number) => String(value).padStart(digits);
  return [
    `  Bus ${number(bus, 2)}, device ${number(slot, 3)}, function ${functionNumber}:`,
    `    ${classNames[classCode] ?? `Class ${String(classCode).padStart(4, '0')}`}: PCI device ${hex(vendor, 4)}:${hex(device, 4)}`,
    ...(subsystem ? [`      PCI subsystem ${hex(subsystem.vendor, 4)}:${hex(subsystem.device, 4)}`] : []),
    ...(pin === 0 ? [] : [`      IRQ ${irq}, pin ${'ABCD'[pin - 1]}`]),
    ...(bridge ? bridgeLines(bridge) : []),
    ...regions.map(regionLine),
    `      id "${fn.ownersName}"`,
    ...(bridge?.functions ?? []).flatMap(functionLines),
  ];
}

export const describePciFunctions = async ({ machine }: MonitoredRun): Promise<string> =>
  (await machine.pci()).flatMap(functionLines).join('\n');

function functionInfo(fn: PciFunctionDescription): object {
  const { bus, slot, functionNumber, classCode, vendor, device, subsystem, pin, irq, regions, bridge } = fn;
  const desc = classNames[classCode];
  return {
    ...{ bus, slot, function: functionNumber },
    class_info: { class: classCode, ...(desc === undefined ? {} : { desc }) },
    id: { vendor, device, ...(subsystem ? { subsystem: subsystem.device, 'subsystem-vendor': subsystem.vendor } : {}) },
    irq_pin: pin,
    ...(pin === 0 ? {} : { irq }),
    qdev_id: fn.ownersName,
    ...(bridge ? { pci_bridge: bridgeInfo(bridge) } : {}),
    regions: regions.map(({ bar, kind, prefetchable, size, address = -1 }) => ({
      ...{ bar, size, address, type: kind === 'io' ? 'io' : 'memory' },
      ...(kind === 'io' ? {} : { prefetch: prefetchable, mem_type_64: kind === 'memory64' }),
    })),
  };
}

const bridgeInfo = ({
  primary,
  secondary,
  subordinate,
  io,
  memory,
  prefetchable,
  functions,
}: PciBridgeDescription) => ({
  bus: {
    ...{ number: primary, secondary, subordinate },
    ...{ io_range: io, memory_range: memory, prefetchable_range: prefetchable },
  },
  ...(functions.length === 0 ? {} : { devices: functions.map(functionInfo) }),
});

/** QEMU's PciInfo of each root bus. */
export const pciInfo = async ({ machine }: MonitoredRun) => [
  { bus: 0, devices: (await machine.pci()).map(functionInfo) },
];
