/** Resource descriptors (ACPI 6.4 section 6.4) as bytes, and the template that holds them. */
import { buffer, le, type Term } from './aml.js';

export type Resource = readonly number[];

/** Checksum 0 is defined as "not computed" (6.4.2.8). */
const endTag: Resource = [0x79, 0x00];

export const resourceTemplate = (...resources: Resource[]): Term => buffer([...resources.flat(), ...endTag]);

/** Ports `start` to `start + length - 1`, all 16 address bits decoded. */
export const ioPorts = (start: number, length: number): Resource => [
  0x47,
  0x01,
  ...le(start, 2),
  ...le(start, 2),
  1,
  length,
];

/** ISA interrupt: edge, active high, exclusive. */
export const isaIrq = (irq: number): Resource => [0x22, ...le(1 << irq, 2)];

/** ISA DMA channel: compatible timing, 8 bits at once, not a bus master. */
export const isaDma = (channel: number): Resource => [0x2a, 1 << channel, 0x00];

export const fixedMemory32 = (start: number, length: number, writable: boolean): Resource => [
  0x86,
  ...le(9, 2),
  writable ? 1 : 0,
  ...le(start, 4),
  ...le(length, 4),
];

/** Level, active high, shared interrupts; byte 5 of the result is the first number. */
export const sharedInterrupts = (...numbers: number[]): Resource => [
  0x89,
  ...le(2 + numbers.length * 4, 2),
  // consumer, level, active high, shared
  0x09,
  numbers.length,
  ...numbers.flatMap((n) => le(n, 4)),
];

/** An interrupt of a device's own: consumer, level unless said otherwise, active high. */
export const ownInterrupt = (gsi: number, trigger: 'level' | 'edge' = 'level'): Resource => [
  0x89,
  ...le(6, 2),
  trigger === 'edge' ? 0x03 : 0x01,
  1,
  ...le(gsi, 4),
];

const spaceType = { memory: 0, io: 1, bus: 2 } as const;
/** Producer, positive decode, both ends fixed. */
const windowFlags = 0x0c;

function addressSpace(
  tag: number,
  width: number,
  type: number,
  typeFlags: number,
  start: number,
  end: number,
): Resource {
  const fields = [0, start, end, 0, end - start + 1].flatMap((value) => le(value, width));
  return [tag, ...le(3 + fields.length, 2), type, windowFlags, typeFlags, ...fields];
}

export const busNumbers = (first: number, last: number): Resource =>
  addressSpace(0x88, 2, spaceType.bus, 0, first, last);

/** Ports that a bridge passes on, all of them (ISA and non-ISA ranges). */
export const ioWindow = (first: number, last: number): Resource => addressSpace(0x88, 2, spaceType.io, 3, first, last);

/** Read-write memory that a bridge passes on. */
export function memoryWindow(first: number, last: number, cacheable = false): Resource {
  const flags = 1 | (cacheable ? 2 : 0);
  return last <= 0xffffffff
    ? addressSpace(0x87, 4, spaceType.memory, flags, first, last)
    : addressSpace(0x8a, 8, spaceType.memory, flags, first, last);
}
