/** Identification registers of Arm's PrimeCell peripherals: part, designer and revision, and what marks a PrimeCell. */
import type { Register } from '../../bus/index.js';

type Name = `PeriphID${0 | 1 | 2 | 3}` | `PCellID${0 | 1 | 2 | 3}`;
type Row = Register<unknown> & { readonly read: () => number };

const PRIMECELL = 0xb105f00d;

/** The last eight registers of the page. `peripheral`: PeriphID0 to 3, a byte of each, the first one lowest. */
export function primeCellIds(peripheral: number): Readonly<Record<Name, Row>> {
  const four = (name: string, at: number, bytes: number): [string, Row][] =>
    Array.from({ length: 4 }, (_, i) => [
      `${name}${i}`,
      {
        offset: at + 4 * i,
        width: 4,
        access: 'ro',
        read: () => (bytes >>> (8 * i)) & 0xff,
        meaning: 'identification',
      },
    ]);
  return Object.fromEntries([...four('PeriphID', 0xfe0, peripheral), ...four('PCellID', 0xff0, PRIMECELL)]) as Record<
    Name,
    Row
  >;
}

export const PRIMECELL_BYTES = 0x1000;
