/**
 * What the vCPU's thread knows of each translation block, as rows of words: a kernel's start makes some seventy thousand of them,
 * and as objects they would be copied and traced by every collection of garbage. A block goes by the number of its row.
 */

/** Words of a row. `next`: the block before it on its page, and on the page it ends on (see BlockTable.onPage). */
const column = {
  hva: 0,
  bytes: 1,
  key: 2,
  second: 3,
  code: 4,
  slot: 5,
  firstWord: 6,
  secondWord: 7,
  flags: 8,
  next: 9,
  nextOnSecond: 10,
} as const;
const ROW = 11;

const flag = { valid: 1, waiting: 2 } as const;

/** A translation block in the cold tier. */
export interface BlockPlace {
  /** Host address of its guest code; bytes of it; mode key. */
  readonly hva: number;
  readonly bytes: number;
  readonly key: number;
  /** Host address of the page it ends on, if that is another one, else 0. */
  readonly second: number;
}

export class BlockTable {
  #rows = new Int32Array(ROW << 12);
  #count = 0;
  /** By host page: 0, or the newest block on it as it is named in lists: twice its number, and 1 if that is the page it ends on; plus 1. */
  readonly #newest: Int32Array;

  /** `pages`: how many host pages code may lie on. */
  constructor(pages: number) {
    this.#newest = new Int32Array(pages);
  }

  /** Numbers are below this. */
  get count(): number {
    return this.#count;
  }

  /** A block whose cold code begins at `code` with these two words; it stands at `slot` of the code hash. */
  add(
    hva: number,
    bytes: number,
    key: number,
    second: number,
    code: number,
    slot: number,
    firstWord: number,
    secondWord: number,
  ): number {
    const number = this.#count++;
    const at = number * ROW;
    if (at === this.#rows.length) {
      const grown = new Int32Array(at * 2);
      grown.set(this.#rows);
      this.#rows = grown;
    }
    const rows = this.#rows;
    rows[at] = hva;
    rows[at + column.bytes] = bytes;
    rows[at + column.key] = key;
    rows[at + column.second] = second;
    rows[at + column.code] = code;
    rows[at + column.slot] = slot;
    rows[at + column.firstWord] = firstWord;
    rows[at + column.secondWord] = secondWord;
    rows[at + column.flags] = flag.valid;
    const newest = this.#newest;
    rows[at + column.next] = newest[hva >>> 12];
    newest[hva >>> 12] = 2 * number + 1;
    if (second !== 0) {
      rows[at + column.nextOnSecond] = newest[second >>> 12];
      newest[second >>> 12] = 2 * number + 2;
    }
    return number;
  }

  /** Forgets all; numbers begin anew. `page` is called for each page that blocks were on, perhaps more than once. */
  clear(page: (page: number) => void): void {
    for (let number = 0; number < this.#count; number++) {
      const first = this.hva(number) >>> 12;
      const second = this.second(number) >>> 12;
      this.#newest[first] = 0;
      page(first);
      if (second === 0) continue;
      this.#newest[second] = 0;
      page(second);
    }
    this.#count = 0;
  }

  /**
   * Goes through the valid blocks on a page, newest first, with the host addresses at which their bytes on it begin and end; those that
   * `keep` gives false for are taken off the page's list, and so are those that are not valid any more.
   */
  onPage(page: number, keep: (block: number, hva: number, end: number) => boolean): void {
    const start = page * 4096;
    // Where the name of the last one kept is: 0, the page's entry.
    let last = 0;
    for (let name = this.#newest[page]; name !== 0; ) {
      const block = (name - 1) >> 1;
      const isSecond = ((name - 1) & 1) === 1;
      const at = block * ROW;
      const link = at + (isSecond ? column.nextOnSecond : column.next);
      const next = this.#rows[link];
      const hva = this.hva(block);
      const bytes = this.#rows[at + column.bytes];
      const from = isSecond ? start : hva;
      const end = isSecond ? start + bytes - (4096 - (hva & 4095)) : Math.min(hva + bytes, start + 4096);
      if (this.isValid(block) && keep(block, from, end)) {
        if (last === 0) this.#newest[page] = name;
        else this.#rows[last] = name;
        last = link;
      }
      name = next;
    }
    if (last === 0) this.#newest[page] = 0;
    else this.#rows[last] = 0;
  }

  /** What is known of it by address. */
  place(block: number): BlockPlace {
    const at = block * ROW;
    return {
      hva: this.hva(block),
      bytes: this.#rows[at + column.bytes],
      key: this.key(block),
      second: this.second(block),
    };
  }

  hva(block: number): number {
    return this.#rows[block * ROW] >>> 0;
  }

  key(block: number): number {
    return this.#rows[block * ROW + column.key];
  }

  second(block: number): number {
    return this.#rows[block * ROW + column.second] >>> 0;
  }

  /** Address of the cold code. */
  code(block: number): number {
    return this.#rows[block * ROW + column.code];
  }

  /** Index in the code hash. */
  slot(block: number): number {
    return this.#rows[block * ROW + column.slot];
  }

  /** The first two words of the cold code behind its header. */
  firstWord(block: number): number {
    return this.#rows[block * ROW + column.firstWord];
  }

  secondWord(block: number): number {
    return this.#rows[block * ROW + column.secondWord];
  }

  /** Does the block with this number, of whatever time, still stand? */
  isValid(block: number): boolean {
    return block < this.#count && (this.#rows[block * ROW + column.flags] & flag.valid) !== 0;
  }

  drop(block: number): void {
    this.#rows[block * ROW + column.flags] &= ~flag.valid;
  }

  /** It has been asked for a region of it. */
  isWaiting(block: number): boolean {
    return (this.#rows[block * ROW + column.flags] & flag.waiting) !== 0;
  }

  setWaiting(block: number, waiting: boolean): void {
    const at = block * ROW + column.flags;
    this.#rows[at] = waiting ? this.#rows[at] | flag.waiting : this.#rows[at] & ~flag.waiting;
  }
}
