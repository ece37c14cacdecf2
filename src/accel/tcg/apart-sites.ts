/**
 * Instructions whose accesses could not share a look into the TLB too often (wasm/access-spans.ts): regions have them make each by
 * itself. A small table of host addresses in the machine's memory, so that whoever writes regions in another thread sees it: written
 * by the vCPU's thread alone. What it forgets will be found out once more.
 */
import { layout } from './layout.js';

const FIRST = layout.apartSites >> 2;
const ENTRIES = (layout.apartSitesEnd - layout.apartSites) >> 2;
/** Places where an address may stand. */
const PROBES = 8;

/** Looks at the clock in which instructions are counted together: some ten milliseconds. */
const WINDOW = 64;
/** So many failures of all instructions in that time cost more than what spans gain, */
const MOST_FAILURES = 32;
/** and an instruction that has this part in them is to blame. */
const BLAMED = 4;

function slot(hva: number): number {
  return Math.imul(hva, 0x9e3779b1) >>> 16;
}

export class ApartSites {
  readonly #words: Int32Array;
  /** Failures by host address since the window began. */
  readonly #failures = new Map<number, number>();
  #total = 0;
  #window = -1;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
  }

  has(hva: number): boolean {
    const first = slot(hva);
    for (let i = 0; i < PROBES; i++) if (this.#words[FIRST + ((first + i) & (ENTRIES - 1))] === (hva | 0)) return true;
    return false;
  }

  /** The instruction has failed, `polls` looks at the clock since the start. True: once too often, it is in the table from now on. */
  failed(hva: number, polls: number): boolean {
    const window = Math.floor(polls / WINDOW);
    if (window !== this.#window) {
      this.#window = window;
      this.#total = 0;
      this.#failures.clear();
    }
    const count = (this.#failures.get(hva) ?? 0) + 1;
    this.#failures.set(hva, count);
    if (++this.#total <= MOST_FAILURES || count < BLAMED) return false;
    this.#add(hva);
    return true;
  }

  #add(hva: number): void {
    const first = slot(hva);
    let at = first;
    for (let i = PROBES - 1; i >= 0; i--) {
      const held = this.#words[FIRST + ((first + i) & (ENTRIES - 1))];
      if (held === 0 || held === (hva | 0)) at = first + i;
    }
    this.#words[FIRST + (at & (ENTRIES - 1))] = hva;
  }
}
