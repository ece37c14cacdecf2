/** Address translation for debuggers and monitors: what stage 1's tables say, without protection, marks or aborts. */
import { field, sctlr } from '../state.js';
import type { Core } from './core.js';
import { tcr } from './page-walk.js';

const ADDRESS = 0x0000fffffffff000n;
const VALID = 1n;
const TABLE = 2n;
/** Bits of the offset in a page by TCR_EL1.TG0 and TG1. */
const grains = { lower: [12n, 16n, 14n, 12n], upper: [12n, 14n, 12n, 16n] } as const;

interface Range {
  /** Bits of addresses in the range; of the offset in a page; of an index into a table. */
  readonly inputBits: bigint;
  readonly grain: bigint;
  readonly stride: bigint;
  readonly base: bigint;
}

/** The lower or the upper range of addresses; undefined where its tables are not to be walked. */
function rangeOf(core: Core, upper: boolean): Range | undefined {
  const control = core.get64(field.tcr);
  const range = upper ? control >> BigInt(tcr.UPPER) : control;
  if ((range >> BigInt(tcr.EPD)) & 1n) return undefined;
  const given = Number(range & 63n);
  const inputBits = BigInt(64 - Math.min(39, Math.max(16, given)));
  const grain = (upper ? grains.upper : grains.lower)[Number((range >> BigInt(tcr.TG)) & 3n)];
  return { inputBits, grain, stride: grain - 3n, base: core.get64(upper ? field.ttbr1 : field.ttbr0) };
}

/** The first table's address, and the number of address bits below those that index it. */
function rootOf({ inputBits, grain, stride, base }: Range): { readonly table: bigint; readonly shift: bigint } {
  const levels = (inputBits - grain + stride - 1n) / stride;
  const shift = grain + stride * (levels - 1n);
  const width = inputBits - shift + 3n;
  return { table: base & 0x0000fffffffffffen & ~((1n << width) - 1n), shift };
}

const isOn = (core: Core): boolean => (core.get32(field.sctlr) & sctlr.M) !== 0;

const entryAt = (core: Core, address: bigint): bigint =>
  BigInt.asUintN(64, core.call('phys_load64', BigInt.asIntN(64, address)) as bigint);

/** Guest-physical address of a guest-virtual one; undefined where nothing is mapped. */
export function debugTranslate(core: Core, gva: bigint): bigint | undefined {
  const va = BigInt.asUintN(64, gva);
  if (!isOn(core)) return va;
  const upper = ((va >> 55n) & 1n) !== 0n;
  const range = rangeOf(core, upper);
  if (!range) return undefined;
  const tagged = (core.get64(field.tcr) >> BigInt(tcr.TBI + Number(upper))) & 1n;
  const checked = BigInt.asIntN(tagged ? 56 : 64, va) >> range.inputBits;
  if (checked !== (upper ? -1n : 0n)) return undefined;
  const input = va & ((1n << range.inputBits) - 1n);
  let { table, shift } = rootOf(range);
  for (;;) {
    const index = (input >> shift) & ((1n << range.stride) - 1n);
    const entry = entryAt(core, table | (index << 3n));
    if ((entry & VALID) === 0n) return undefined;
    const isLast = shift === range.grain;
    const isTable = (entry & TABLE) !== 0n;
    if (isTable && !isLast) {
      table = entry & ADDRESS & ~((1n << range.grain) - 1n);
      shift -= range.stride;
      continue;
    }
    if (isLast && !isTable) return undefined;
    const within = (1n << shift) - 1n;
    return (entry & ADDRESS & ~within) | (va & within);
  }
}

/** A page or block of the tables. */
export interface Mapping {
  readonly va: bigint;
  readonly gpa: bigint;
  readonly sizeBytes: bigint;
  readonly entry: bigint;
}

/** Tables that are looked at, for they may point at one another. */
const MAX_TABLES = 8192;

/** Every page and block of both ranges, in order of addresses; as many as `take` wants. Empty where translation is off. */
export function forEachMapping(core: Core, take: (mapping: Mapping) => void): void {
  if (!isOn(core)) return;
  let tables = 0;
  for (const upper of [false, true]) {
    const range = rangeOf(core, upper);
    if (!range) continue;
    const { grain, stride, inputBits } = range;
    const top = upper ? (1n << 64n) - (1n << inputBits) : 0n;
    const walk = (table: bigint, shift: bigint, base: bigint, entries: bigint): void => {
      if (++tables > MAX_TABLES) return;
      for (let index = 0n; index < entries; index++) {
        const entry = entryAt(core, table | (index << 3n));
        if ((entry & VALID) === 0n) continue;
        const va = base | (index << shift);
        const isTable = (entry & TABLE) !== 0n;
        if (isTable && shift !== grain) walk(entry & ADDRESS & ~((1n << grain) - 1n), shift - stride, va, 1n << stride);
        else if (isTable || shift !== grain)
          take({ va, gpa: entry & ADDRESS & ~((1n << shift) - 1n), sizeBytes: 1n << shift, entry });
      }
    };
    const { table, shift } = rootOf(range);
    walk(table, shift, top, 1n << (inputBits - shift));
  }
}
