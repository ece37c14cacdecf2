/** Parts of device trees that several boards have: flash banks, virtio-mmio slots and the PCI Express host, as Linux's bindings describe them. */
import { type FdtNode, twoCells } from './fdt.js';
import type { FlashMap } from './flash-banks.js';

/** `reg` of a range, two cells each. */
export const reg = (gpa: number, bytes: number): number[] => [...twoCells(gpa), ...twoCells(bytes)];
/** An address as node names have it. */
export const unit = (gpa: number): string => gpa.toString(16);

/** Address spaces of PCI's `ranges`: ports, memory of 32 bits, memory of 64 bits. */
const pciSpace = { ports: 0x0100_0000, memory: 0x0200_0000, memory64: 0x0300_0000 } as const;

interface Place {
  readonly gpa: number;
  readonly bytes: number;
}

export interface PciHostPlaces {
  readonly ecam: Place & { readonly buses: number };
  readonly ports: Place;
  readonly memory: Place;
  /** Beyond 4 GiB, where there is such. */
  readonly highMemory?: Place | undefined;
}

/** A generic host; `interrupt`: parent and specifier of the n-th of its four interrupts. */
export function pciHostNode(
  { ecam, ports, memory, highMemory }: PciHostPlaces,
  interrupt: (n: number) => readonly number[],
): FdtNode {
  // Pins INTA to INTD of slots 0 to 3, which stand for all: each next slot is turned by one.
  const pins = [0, 1, 2, 3];
  const interruptMap = pins.flatMap((slot) =>
    pins.flatMap((pin) => [slot << 11, 0, 0, pin + 1, ...interrupt((slot + pin) & 3)]),
  );
  return {
    compatible: 'pci-host-ecam-generic',
    device_type: 'pci',
    '#address-cells': [3],
    '#size-cells': [2],
    '#interrupt-cells': [1],
    'linux,pci-domain': [0],
    'bus-range': [0, ecam.buses - 1],
    'dma-coherent': true,
    reg: reg(ecam.gpa, ecam.bytes),
    ranges: [
      ...[pciSpace.ports, 0, 0, ...reg(ports.gpa, ports.bytes)],
      ...[pciSpace.memory, ...twoCells(memory.gpa), ...reg(memory.gpa, memory.bytes)],
      ...(highMemory ? [pciSpace.memory64, ...twoCells(highMemory.gpa), ...reg(highMemory.gpa, highMemory.bytes)] : []),
    ],
    'interrupt-map-mask': [0x1800, 0, 0, 7],
    'interrupt-map': interruptMap,
  };
}

export const flashNode = ({ gpa, banks, bytes }: FlashMap): FdtNode => ({
  compatible: 'cfi-flash',
  'bank-width': [4],
  reg: Array.from({ length: banks }, (_, n) => reg(gpa + n * bytes, bytes)).flat(),
});

export interface SlotPlaces {
  readonly gpa: number;
  readonly stride: number;
  readonly slots: number;
}

/** One node for each slot, by name; `rest`: what says how a slot interrupts. */
export function virtioSlotNodes(
  { gpa, stride, slots }: SlotPlaces,
  rest: (slot: number) => FdtNode,
): [string, FdtNode][] {
  return Array.from({ length: slots }, (_, slot) => [
    `virtio_mmio@${unit(gpa + slot * stride)}`,
    { compatible: 'virtio,mmio', reg: reg(gpa + slot * stride, stride), ...rest(slot) },
  ]);
}
