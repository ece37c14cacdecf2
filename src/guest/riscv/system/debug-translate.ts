/** Address translation for debuggers: what the tables say, without protection, marks or traps. */
import { field, mstatus, privilege } from '../state.js';
import type { Hart } from './hart.js';

const V = 1n;
const LEAF = 0xen;
const PPN = 0x003ffffffffffc00n;

/** Guest-physical address of a guest-virtual one in the hart's present mode; undefined where nothing is mapped. */
export function debugTranslate(hart: Hart, gva: bigint): bigint | undefined {
  const va = BigInt.asUintN(64, gva);
  const { status } = hart;
  const asOther = hart.privilege === privilege.M && (status & mstatus.MPRV) !== 0n;
  const level = asOther ? Number((status & mstatus.MPP) >> 11n) : hart.privilege;
  const satp = hart.get64(field.satp);
  const mode = Number(satp >> 60n);
  if (level === privilege.M || mode === 0) return va;
  const levels = mode - 5;
  const bits = 12 + 9 * levels;
  if (BigInt.asUintN(64, BigInt.asIntN(bits, va)) !== va) return undefined;
  let table = (satp & 0xfffffffffffn) << 12n;
  for (let at = levels - 1; at >= 0; at--) {
    const shift = BigInt(12 + 9 * at);
    const place = table | (((va >> shift) & 511n) << 3n);
    const entry = BigInt.asUintN(64, hart.call('phys_load64', BigInt.asIntN(64, place)) as bigint);
    if ((entry & V) === 0n) return undefined;
    const base = (entry & PPN) << 2n;
    if ((entry & LEAF) !== 0n) {
      const within = (1n << shift) - 1n;
      return (base & ~within) | (va & within);
    }
    table = base;
  }
  return undefined;
}
