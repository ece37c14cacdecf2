/** How much guest memory there can be: apart from the engine, for those who only check an option. */

const MIB = 1024 * 1024;
const PAGE_BYTES = 65536;

/** Where guest RAM begins in the machine's memory: below lies what is the translator's own. */
export const GUEST_RAM_START = 112 * MIB;
/** What each vCPU but the first takes behind guest RAM. */
export const VCPU_BYTES = 11 * PAGE_BYTES;
/** The most guest RAM and ROM that a 32-bit WebAssembly memory leaves room for beside so many vCPUs. */
export function maxGuestBytes(vcpus: number): number {
  return 4096 * MIB - GUEST_RAM_START - PAGE_BYTES - (vcpus - 1) * VCPU_BYTES;
}
