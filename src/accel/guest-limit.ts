/** How much guest memory there can be: apart from the engine, for those who only check an option. */

const MIB = 1024 * 1024;
const PAGE_BYTES = 65536;

/** Where guest RAM begins in the machine's memory: below lies what is the translator's own. */
export const GUEST_RAM_START = 112 * MIB;
/** The most guest RAM and ROM that a 32-bit WebAssembly memory leaves room for. */
export const MAX_GUEST_BYTES = 4096 * MIB - GUEST_RAM_START - PAGE_BYTES;
