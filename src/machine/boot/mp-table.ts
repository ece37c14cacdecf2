/**
 * The table of the MultiProcessor Specification (Intel, version 1.4, chapter 4): what a kernel without ACPI learns of processors and the
 * I/O APIC. The floating pointer comes first, the configuration table right behind it.
 */
const POINTER_BYTES = 16;
const HEADER_BYTES = 44;
const entry = { processor: 0, bus: 1, ioApic: 2, interrupt: 3, localInterrupt: 4 } as const;
const interruptType = { int: 0, nmi: 1, extInt: 3 } as const;
const ENABLED = 1;
const BOOTSTRAP = 2;
const SPECIFICATION = 4;
const LOCAL_APIC_VERSION = 0x14;
const IO_APIC_VERSION = 0x20;
const ALL_LOCAL_APICS = 0xff;
const ISA_IRQS = 16;
/** The cascade has no pin; the timer has its one. */
const CASCADE = 2;

export interface MpBoard {
  readonly cpus: number;
  readonly localApicGpa: number;
  readonly ioApicGpa: number;
}

const le32 = (value: number) => [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24];
const text = (value: string, length: number) => [...value.padEnd(length)].map((letter) => letter.charCodeAt(0));
const checksum = (bytes: readonly number[]) => -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;

/** Both as they lie in memory from `gpa`, a multiple of 16, on. */
export function mpTable({ cpus, localApicGpa, ioApicGpa }: MpBoard, gpa: number): Uint8Array {
  const ioApicId = cpus;
  const entries: number[][] = [];
  for (let id = 0; id < cpus; id++) {
    const flags = ENABLED | (id === 0 ? BOOTSTRAP : 0);
    entries.push([entry.processor, id, LOCAL_APIC_VERSION, flags, ...le32(0), ...le32(0), ...le32(0), ...le32(0)]);
  }
  entries.push([entry.bus, 0, ...text('ISA', 6)]);
  entries.push([entry.ioApic, ioApicId, IO_APIC_VERSION, ENABLED, ...le32(ioApicGpa)]);
  for (let irq = 0; irq < ISA_IRQS; irq++) {
    if (irq === CASCADE) continue;
    // Polarity and trigger mode as the bus has them.
    entries.push([entry.interrupt, interruptType.int, 0, 0, 0, irq, ioApicId, irq === 0 ? CASCADE : irq]);
  }
  entries.push([entry.localInterrupt, interruptType.extInt, 0, 0, 0, 0, ALL_LOCAL_APICS, 0]);
  entries.push([entry.localInterrupt, interruptType.nmi, 0, 0, 0, 0, ALL_LOCAL_APICS, 1]);
  const body = entries.flat();
  const bytes = HEADER_BYTES + body.length;
  const table = [
    ...text('PCMP', 4),
    ...[bytes & 255, bytes >> 8, SPECIFICATION, 0],
    ...text('VRING', 8),
    ...text('MICROVM', 12),
    // No OEM table.
    ...[...le32(0), 0, 0],
    ...[entries.length & 255, entries.length >> 8],
    ...le32(localApicGpa),
    // No extended entries.
    ...le32(0),
    ...body,
  ];
  table[7] = checksum(table);
  const pointer = [...text('_MP_', 4), ...le32(gpa + POINTER_BYTES), 1, SPECIFICATION, 0, 0, 0, 0, 0, 0];
  pointer[10] = checksum(pointer);
  return Uint8Array.from([...pointer, ...table]);
}
