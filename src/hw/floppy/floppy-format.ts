/** Floppy disk formats by the size of what is in them, and the drives that take them. All have sectors of 512 bytes. */

/** Data rates as the controller's registers code them. */
export const dataRate = { k500: 0, k300: 1, k250: 2, m1: 3 } as const;
export const sectorBytes = 512;

export interface FloppyFormat {
  readonly cylinders: number;
  readonly heads: 1 | 2;
  /** Sectors of a track. */
  readonly sectors: number;
  readonly density: 'double' | 'high' | 'extra';
  /** Of the drive that it is made for, in inches. */
  readonly inches: 3.5 | 5.25;
}

const rows = (
  density: FloppyFormat['density'],
  inches: FloppyFormat['inches'],
  ...geometries: [cylinders: number, heads: 1 | 2, sectors: number][]
): FloppyFormat[] => geometries.map(([cylinders, heads, sectors]) => ({ cylinders, heads, sectors, density, inches }));

/** Of two of one size the first is taken that the drive takes. The odd ones are those of Linux's fdformat and superformat. */
export const floppyFormats: readonly FloppyFormat[] = [
  ...rows(
    'high',
    3.5,
    [80, 2, 18],
    [80, 2, 20],
    [80, 2, 21],
    [82, 2, 21],
    [83, 2, 21],
    [80, 2, 22],
    [80, 2, 23],
    [80, 2, 24],
  ),
  ...rows('extra', 3.5, [80, 2, 36], [80, 2, 39], [80, 2, 40], [80, 2, 44], [80, 2, 48]),
  ...rows('double', 3.5, [80, 2, 9], [80, 2, 10], [82, 2, 10], [83, 2, 10], [80, 2, 13], [80, 2, 14]),
  ...rows('high', 5.25, [80, 2, 15], [82, 2, 18], [83, 2, 18]),
  ...rows('double', 5.25, [80, 2, 11], [40, 2, 9], [40, 1, 9], [41, 2, 10], [42, 2, 10], [40, 2, 8], [40, 1, 8]),
  ...rows('double', 3.5, [80, 1, 9]),
];

export const formatBytes = ({ cylinders, heads, sectors }: FloppyFormat): number =>
  cylinders * heads * sectors * sectorBytes;

/** The format that has this size, of those that a drive of the kind takes. */
export function floppyFormat(sizeBytes: number, kind?: FloppyKind): FloppyFormat | undefined {
  return floppyFormats.find(
    (format) => formatBytes(format) === sizeBytes && (kind === undefined || takesFormat(kind, format)),
  );
}

/**
 * The format of a medium in a drive of a kind. An image of no disk's size, as a boot sector alone or one that was cut off behind the last
 * file, is the beginning of the disk that the drive is made for; so QEMU has it.
 */
export const mediumFormat = (sizeBytes: number, kind: FloppyKind): FloppyFormat =>
  floppyFormat(sizeBytes, kind) ?? ownFormats[kind];

/** What a drive of each kind writes on a new disk. */
const ownFormats = {
  '360': { cylinders: 40, heads: 2, sectors: 9, density: 'double', inches: 5.25 },
  '120': { cylinders: 80, heads: 2, sectors: 15, density: 'high', inches: 5.25 },
  '720': { cylinders: 80, heads: 2, sectors: 9, density: 'double', inches: 3.5 },
  '144': { cylinders: 80, heads: 2, sectors: 18, density: 'high', inches: 3.5 },
  '288': { cylinders: 80, heads: 2, sectors: 36, density: 'extra', inches: 3.5 },
} as const satisfies Record<string, FloppyFormat>;

/** Kinds of drives, with the number that CMOS has for each. */
export const floppyKinds = {
  '360': { cmos: 1, cylinders: 40, sectors: 9, inches: 5.25, densities: ['double'] },
  '120': { cmos: 2, cylinders: 80, sectors: 15, inches: 5.25, densities: ['double', 'high'] },
  '720': { cmos: 3, cylinders: 80, sectors: 9, inches: 3.5, densities: ['double'] },
  '144': { cmos: 4, cylinders: 80, sectors: 18, inches: 3.5, densities: ['double', 'high'] },
  '288': { cmos: 5, cylinders: 80, sectors: 36, inches: 3.5, densities: ['double', 'high', 'extra'] },
} as const satisfies Record<
  string,
  Pick<FloppyFormat, 'cylinders' | 'sectors' | 'inches'> & { cmos: number; densities: FloppyFormat['density'][] }
>;
export type FloppyKind = keyof typeof floppyKinds;

/** The drive for a medium: an empty one takes all of 3.5 inches. */
export function kindFor(format: FloppyFormat | undefined): FloppyKind {
  if (!format) return '288';
  if (format.inches === 5.25) return format.cylinders > 42 || format.density === 'high' ? '120' : '360';
  return format.density === 'extra' ? '288' : '144';
}

const takesFormat = (kind: FloppyKind, { inches, density, cylinders }: FloppyFormat): boolean =>
  floppyKinds[kind].inches === inches &&
  (floppyKinds[kind].densities as readonly string[]).includes(density) &&
  cylinders <= floppyKinds[kind].cylinders + 3;

/** The rate at which a drive reads a medium: a 1.2 MB drive turns faster than those that write double density. */
export function rateOf(kind: FloppyKind, { density }: FloppyFormat): number {
  if (density === 'extra') return dataRate.m1;
  if (density === 'high') return dataRate.k500;
  return kind === '120' ? dataRate.k300 : dataRate.k250;
}
