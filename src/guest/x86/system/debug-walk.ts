/** Translation of addresses for debuggers: as the page walk, but without rights, faults and accessed bits. */
import { field } from '../state.js';
import { cr0, cr4, efer } from './bits.js';
import type { Vcpu } from './vcpu.js';

const ADDRESS = 0x000ffffffffff000n;

/** Guest-physical address of a linear one, or undefined where nothing is mapped. */
export function debugTranslate(cpu: Vcpu, linear: bigint): bigint | undefined {
  const control4 = cpu.get32(field.cr4);
  if (!(cpu.get32(field.cr0) & cr0.PG)) return linear & 0xffffffffn;
  const long = (cpu.get32(field.efer) & efer.LMA) !== 0;
  if (!(control4 & cr4.PAE)) {
    const va = linear & 0xffffffffn;
    const read = (at: bigint): bigint => BigInt((cpu.call('phys_load32', at) as number) >>> 0);
    const pde = read((cpu.get64(field.cr3) & 0xfffff000n) | ((va >> 20n) & 0xffcn));
    if (!(pde & 1n)) return undefined;
    if (pde & 0x80n && control4 & cr4.PSE) return ((pde & 0x1fe000n) << 19n) | (pde & 0xffc00000n) | (va & 0x3fffffn);
    const pte = read((pde & 0xfffff000n) | ((va >> 10n) & 0xffcn));
    return pte & 1n ? (pte & 0xfffff000n) | (va & 0xfffn) : undefined;
  }
  const va = long ? BigInt.asUintN(64, linear) : linear & 0xffffffffn;
  const read = (at: bigint): bigint => BigInt.asUintN(64, cpu.call('phys_load64', at) as bigint);
  let table = cpu.get64(field.cr3) & ADDRESS;
  let shift = long ? (control4 & cr4.LA57 ? 48n : 39n) : 21n;
  if (!long) {
    const pdpte = cpu.get64(field.pdpte + 8 * Number(va >> 30n));
    if (!(pdpte & 1n)) return undefined;
    table = pdpte & ADDRESS;
  }
  for (; ; shift -= 9n) {
    const entry = read(table | (((va >> shift) & 511n) << 3n));
    if (!(entry & 1n)) return undefined;
    const within = (1n << shift) - 1n;
    if (shift === 12n || (shift <= 30n && entry & 0x80n)) return (entry & ADDRESS & ~within) | (va & within);
    table = entry & ADDRESS;
  }
}
