/**
 * SMBIOS structures (DMTF DSP0134, 2.8) as firmware takes them from fw_cfg: the structures, and an entry point that firmware
 * completes with their address: of 32 bits (2.1), or of 64 bits (3.0). Firmware adds type 0, which describes itself.
 */
import { le } from '../acpi/aml.js';

/** What a person says of the machine, in place of what it is. */
export interface SmbiosOptions {
  /** Type 1. */
  readonly system?: SmbiosWords<'manufacturer' | 'product' | 'version' | 'serial' | 'sku' | 'family'> | undefined;
  /** Type 2; there is none unless given. */
  readonly baseboard?:
    | SmbiosWords<'manufacturer' | 'product' | 'version' | 'serial' | 'asset' | 'location'>
    | undefined;
  /** Type 3. */
  readonly chassis?: SmbiosWords<'manufacturer' | 'version' | 'serial' | 'asset' | 'sku'> | undefined;
  /** Type 11. */
  readonly oemStrings?: readonly string[] | undefined;
}

export type SmbiosWords<K extends string> = { readonly [key in K]?: string | undefined };

export interface SmbiosBoard {
  readonly product: string;
  readonly version: string;
  readonly cpu: string;
  readonly ramBytes: number;
  /** Where RAM lies, both ends of each range. */
  readonly ram: readonly (readonly [start: number, end: number])[];
  /** The entry point has an address of 64 bits. */
  readonly wide?: boolean;
  readonly uuid?: Uint8Array | undefined;
  readonly options?: SmbiosOptions | undefined;
}

export const smbiosFile = { tables: 'etc/smbios/smbios-tables', anchor: 'etc/smbios/smbios-anchor' } as const;

const manufacturer = 'vring';
const handle = {
  system: 0x100,
  baseboard: 0x200,
  oem: 0xb00,
  chassis: 0x300,
  cpu: 0x400,
  memory: 0x1000,
  module: 0x1100,
  map: 0x1300,
  boot: 0x2000,
};

class Structures {
  readonly bytes: number[] = [];
  count = 0;
  largest = 0;

  /** A structure: header, body, and its strings, which the body names by number from 1 on. */
  add(type: number, at: number, body: readonly number[], ...strings: readonly string[]): void {
    const start = this.bytes.length;
    this.bytes.push(type, 4 + body.length, ...le(at, 2), ...body);
    for (const string of strings) this.bytes.push(...ascii(string), 0);
    if (strings.length === 0) this.bytes.push(0);
    this.bytes.push(0);
    this.count++;
    this.largest = Math.max(this.largest, this.bytes.length - start);
  }
}

/** Strings that are there, and the number of each; 0 for those that are not. */
function numbered(words: readonly (string | undefined)[]): { numbers: number[]; strings: string[] } {
  const strings: string[] = [];
  const numbers = words.map((word) => (word === undefined || word === '' ? 0 : strings.push(word)));
  return { numbers, strings };
}

const ascii = (text: string): number[] => [...text].map((c) => c.charCodeAt(0) & 0x7f);

/** Field by field; sections of DSP0134 in the comments. */
export function smbiosFiles(board: SmbiosBoard): { name: string; bytes: Uint8Array }[] {
  const s = new Structures();
  const uuid = board.uuid ?? new Uint8Array(16);
  // 7.2 System: the first three fields of the UUID are little-endian.
  const wire = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].map((i) => uuid[i]);
  const { system = {}, baseboard, chassis = {}, oemStrings = [] } = board.options ?? {};
  const first = numbered([
    system.manufacturer ?? manufacturer,
    system.product ?? board.product,
    system.version ?? board.version,
    ...[system.serial, system.sku, system.family],
  ]);
  const [, , , serial, sku, family] = first.numbers;
  s.add(1, handle.system, [...first.numbers.slice(0, 3), serial, ...wire, 6, sku, family], ...first.strings);
  if (baseboard) {
    // 7.3 Baseboard: it holds others, and is a motherboard.
    const { numbers, strings } = numbered([
      baseboard.manufacturer ?? manufacturer,
      baseboard.product ?? board.product,
      baseboard.version ?? board.version,
      ...[baseboard.serial, baseboard.asset, baseboard.location],
    ]);
    const place = [...numbers.slice(0, 5), 1, numbers[5], ...le(handle.chassis, 2)];
    s.add(2, handle.baseboard, [...place, 10, 0], ...strings);
  }
  // 7.4 Chassis: other; safe, safe, safe, no security.
  const third = numbered([
    chassis.manufacturer ?? manufacturer,
    chassis.version ?? board.version,
    ...[chassis.serial, chassis.asset, chassis.sku],
  ]);
  const [, , chassisSerial, asset, chassisSku] = third.numbers;
  s.add(
    3,
    handle.chassis,
    [third.numbers[0], 1, third.numbers[1], chassisSerial, asset, 3, 3, 3, 2, ...le(0, 4), 0, 0, 0, 0, chassisSku],
    ...third.strings,
  );
  // 7.12 Strings of whoever made the machine.
  if (oemStrings.length > 0) s.add(11, handle.oem, [Math.min(oemStrings.length, 255)], ...oemStrings.slice(0, 255));
  // 7.5 Processor: a central one, populated and enabled; 2 GHz named, one core.
  s.add(
    4,
    handle.cpu,
    [
      ...[1, 3, 1, 2, ...le(0, 8), 3, 0, ...le(0, 2), ...le(2000, 2), ...le(2000, 2), 0x41, 1],
      ...[...le(0xffff, 2), ...le(0xffff, 2), ...le(0xffff, 2), 0, 0, 0, 1, 1, 1, ...le(2, 2), ...le(1, 2)],
    ],
    'CPU 0',
    manufacturer,
    board.cpu,
  );
  // 7.17 Physical memory array, 7.18 one module, 7.20 where it lies.
  const kib = board.ramBytes / 1024;
  const extended = kib >= 0x80000000;
  s.add(16, handle.memory, [
    ...[1, 3, 6, ...le(extended ? 0x80000000 : kib, 4), ...le(0xfffe, 2), ...le(1, 2)],
    ...le(extended ? board.ramBytes : 0, 8),
  ]);
  const mib = Math.ceil(board.ramBytes / 2 ** 20);
  s.add(
    17,
    handle.module,
    [
      ...[...le(handle.memory, 2), ...le(0xfffe, 2), ...le(0xffff, 2), ...le(0xffff, 2)],
      ...[...le(Math.min(mib, 0x7fff), 2), 9, 0, 1, 0, 7, ...le(2, 2), ...le(0, 2), 2, 0, 0, 0, 0],
      ...le(mib >= 0x7fff ? mib : 0, 4),
      ...le(0, 2),
    ],
    'DIMM 0',
    manufacturer,
  );
  board.ram.forEach(([start, end], i) => {
    s.add(19, handle.map + i, [...le(start / 1024, 4), ...le(end / 1024 - 1, 4), ...le(handle.memory, 2), 1]);
  });
  // 7.33 Boot information: no errors; 7.45 end.
  s.add(32, handle.boot, [0, 0, 0, 0, 0, 0, 0]);
  s.add(127, 0x7f00, []);

  // 5.2 Entry point: the address and the checksums are firmware's to fill in.
  const wide = [...ascii('_SM3_'), 0, 0x18, 3, 0, 0, 1, 0, ...le(s.bytes.length, 4), ...le(0, 8)];
  const narrow = [
    ...[...ascii('_SM_'), 0, 0x1f, 2, 8, ...le(s.largest, 2), 0, 0, 0, 0, 0, 0],
    ...[...ascii('_DMI_'), 0, ...le(s.bytes.length, 2), ...le(0, 4), ...le(s.count, 2), 0x28],
  ];
  return [
    { name: smbiosFile.tables, bytes: Uint8Array.from(s.bytes) },
    { name: smbiosFile.anchor, bytes: Uint8Array.from(board.wide ? wide : narrow) },
  ];
}
