/**
 * The machine's translated code: which pieces exist, where guest code lies under them, and what happens when it is written.
 * Blocks live in the cold code arena; regions are functions in the code table. When the arena or the hash is full, everything
 * is dropped and translated again as needed.
 */
import {
  type BlockBuilder,
  DEFERRED_UNCHANGED,
  exitCode,
  exitWord,
  MOST_PACKED_BYTES,
  Op,
  packWords,
} from '../../ir/index.js';
import { COLD_HEADER_BYTES, type ColdCode, coldHeader } from '../../wasm/index.js';
import { BlockTable } from './block-table.js';
import { codeHash } from './dispatcher.js';
import { CODE_HASH_BYTES, CODE_HASH_ENTRIES, GUARDED_KEY, hashEntry, layout } from './layout.js';

/** A compiled region: a function in the code table. */
export interface Region {
  readonly index: number;
  /** Number of the block it begins with. */
  readonly head: number;
  /** Host ranges of the guest code in it: start and end of each. */
  readonly ranges: readonly number[];
  /** HotBlock.large. */
  readonly large: boolean;
  valid: boolean;
}

/** A mode key that no vCPU has. */
const NO_KEY = -1;
/** What links wait for: code at a host address on a page of a kind. The mode is compared when they are followed. */
const awaitedAt = (hva: number, key: number): number => 2 * hva + (key >>> 31);
/** So many writes to a page's code drop what they hit; the next one, with no new code since, drops all of the page. */
const PATCHES = 4;

/** Sets the bits of the bytes [hva, end), which lie on one page, in the page's map. */
function setBits(map: Uint32Array, hva: number, end: number): void {
  const last = (end - 1) & 4095;
  for (let at = hva & 4095; at <= last; at = (at | 31) + 1) {
    const to = Math.min(last, at | 31);
    map[at >> 5] |= (-1 >>> (31 - (to & 31))) & (-1 << (at & 31));
  }
}

/** What all vCPUs that run the code must know. */
export interface CodeCacheVcpus {
  /** A page has got its first code. */
  protectPage(hva: number): void;
  /** The jump cache, and what is known of edges between pages, must not be believed any more. */
  forgetJumps(): void;
}

export class CodeCache {
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  /** Two words a page: its 64-byte pieces that hold code. */
  readonly #masks: Int32Array;
  readonly #vcpus: CodeCacheVcpus;
  #arena = layout.coldCode as number;
  #entries = 0;
  /** By the number in their cold code's header. */
  readonly blocks: BlockTable;
  /** The regions that stand, by the number of the block they begin with. */
  readonly #regions = new Map<number, Region>();
  readonly #regionsByPage = new Map<number, Region[]>();
  /**
   * Links that wait for a block to be translated, by `awaitedAt`: index of the link's word, which holds the negative index of the
   * next, or 0.
   */
  readonly #awaited = new Map<number, number>();
  /** By page: writes to its code since code was last added to it. */
  readonly #hits = new Map<number, number>();
  /** By page, for pages that were written where code lies in the same 64 bytes: a bit for each byte that is code. */
  readonly #covered = new Map<number, Uint32Array>();
  /** How often everything has been dropped. */
  epoch = 0;
  /** Called for each region that is dropped. */
  onDrop: (region: Region) => void = () => {};
  readonly counters = { blocks: 0, invalidated: 0, flushes: 0, codeWrites: 0, writesBesideCode: 0 };

  constructor(buffer: SharedArrayBuffer, vcpus: CodeCacheVcpus) {
    this.#words = new Int32Array(buffer);
    this.#bytes = new Uint8Array(buffer);
    this.#masks = new Int32Array(buffer, layout.codeMasks, (layout.coldCode - layout.codeMasks) / 4);
    this.blocks = new BlockTable(buffer.byteLength >>> 12);
    this.#vcpus = vcpus;
  }

  /**
   * Adds a block with its cold code, and the IR that this was made of if it may become part of a region. `mayLink`: it may go on to
   * other blocks by itself. Gives the block's number.
   */
  add(
    hva: number,
    bytes: number,
    key: number,
    second: number,
    { words: code, length, links, linkWords }: ColdCode,
    ir: BlockBuilder | undefined,
    mayLink: boolean,
  ): number {
    const irWords = ir?.length ?? 0;
    const most = length * 4 + irWords * MOST_PACKED_BYTES;
    if (this.#arena + most > layout.coldCodeEnd || this.#entries > CODE_HASH_ENTRIES / 2) this.flush();
    const at = this.#arena;
    const words = this.#words;
    for (let i = 0, to = at >> 2; i < length; i++) words[to + i] = code[i];
    const number = this.blocks.count;
    words[(at + coldHeader.number) >> 2] = number;
    words[(at + coldHeader.key) >> 2] = key & ~GUARDED_KEY;
    words[(at + coldHeader.ir) >> 2] = length * 4;
    words[(at + coldHeader.irWords) >> 2] = irWords;
    const end = ir ? packWords(ir.words, irWords, this.#bytes, at + length * 4) : at + length * 4;
    this.#arena = (end + 7) & ~7;
    const slot = this.#insert(hva, key, second, at | 0x80000000);
    const first = COLD_HEADER_BYTES >> 2;
    this.blocks.add(hva, bytes, key, second, at, slot, code[first], code[first + 1]);
    this.#coverBlock(hva, second === 0 ? bytes : 4096 - (hva & 4095));
    if (second !== 0) this.#coverBlock(second, bytes - (4096 - (hva & 4095)));
    this.counters.blocks++;
    // What ends on another page may be followed by another one the next time.
    if (second === 0) this.#linkTo(hva, key, at);
    if (mayLink) for (let i = 0; i < linkWords; i += 2) this.#link((at >> 2) + links[i], hva, hva + links[i + 1], key);
    return number;
  }

  /** The links that have waited for the block at a host address. */
  #linkTo(hva: number, key: number, code: number): void {
    const place = awaitedAt(hva, key);
    const first = this.#awaited.get(place);
    if (first === undefined) return;
    this.#awaited.delete(place);
    for (let link = first; link !== 0; ) {
      const next: number = -this.#words[link];
      this.#words[link] = code;
      link = next;
    }
  }

  /** Lets the link in a word lead to the block at `target`, or wait for it. */
  #link(word: number, hva: number, target: number, key: number): void {
    if (hva >>> 12 !== target >>> 12) return;
    const at = this.#find(target, key);
    const found = at < 0 ? 0 : this.#words[at + (hashEntry.target >> 2)];
    if (found < 0) {
      if (this.#words[at + (hashEntry.second >> 2)] === 0) this.#words[word] = found & 0x7fffffff;
    } else if (found === 0) {
      const place = awaitedAt(target, key);
      this.#words[word] = -(this.#awaited.get(place) ?? 0);
      this.#awaited.set(place, word);
    }
  }

  /** Index of the words of a block in the code hash, or -1. */
  #find(hva: number, key: number): number {
    const words = this.#words;
    for (let slot = codeHash(hva, key); ; slot = (slot + 1) & (CODE_HASH_ENTRIES - 1)) {
      const at = (layout.codeHash + slot * CODE_HASH_BYTES) >> 2;
      if (words[at] === 0) return -1;
      if (words[at] === (hva | 0) && words[at + (hashEntry.key >> 2)] === (key | 0)) return at;
    }
  }

  /** Number of the block whose cold code starts at an address, or -1. */
  blockAt(code: number): number {
    const block = this.#words[(code + coldHeader.number) >> 2];
    return this.blocks.isValid(block) && this.blocks.code(block) === code ? block : -1;
  }

  /** Host ranges of the guest code of blocks, start and end of each; undefined: one of them has been dropped. */
  rangesOf(numbers: Int32Array): number[] | undefined {
    const ranges: number[] = [];
    for (const number of numbers) {
      if (!this.blocks.isValid(number)) return undefined;
      const { hva, bytes, second } = this.blocks.place(number);
      const end = hva + bytes;
      if (second === 0) ranges.push(hva, end);
      else {
        const pageEnd = hva - (hva & 4095) + 4096;
        ranges.push(hva, pageEnd, second, second + end - pageEnd);
      }
    }
    return ranges;
  }

  /** How often a block has been entered in the cold tier. */
  heat(block: number): number {
    return this.#words[this.blocks.code(block) >> 2];
  }

  setHeat(block: number, count: number): void {
    this.#words[this.blocks.code(block) >> 2] = count;
  }

  /** The region that starts with a block, if it has been compiled. */
  regionOf(block: number): Region | undefined {
    return this.#regions.get(block);
  }

  /** Puts a region in its head's place, or in that of the head's smaller one. */
  addRegion(region: Region): void {
    const { head, ranges } = region;
    this.#dropRegionOf(head);
    this.#regions.set(head, region);
    for (let i = 0; i < ranges.length; i += 2) {
      this.#cover(ranges[i], ranges[i + 1] - ranges[i], (page) => {
        const list = this.#regionsByPage.get(page);
        if (!list) this.#regionsByPage.set(page, [region]);
        else if (!list.includes(region)) list.push(region);
      });
    }
    this.#words[(this.blocks.code(head) + coldHeader.region) >> 2] = region.index;
    this.#retire(head);
  }

  /** The jump cache must not be believed any more. */
  forgetJumps(): void {
    this.#vcpus.forgetJumps();
  }

  /** Whoever still jumps to a block's cold code is told to look again, and no link is followed to it. */
  #retire(block: number): void {
    const code = this.blocks.code(block);
    const at = (code + COLD_HEADER_BYTES) >> 2;
    this.#words[(code + coldHeader.key) >> 2] = NO_KEY;
    this.#words[at] = Op.leave;
    this.#words[at + 1] = exitWord(exitCode.stale, 0, DEFERRED_UNCHANGED);
  }

  /** The block's cold code serves again. */
  #restore(block: number): void {
    const code = this.blocks.code(block);
    const at = (code + COLD_HEADER_BYTES) >> 2;
    this.#words[(code + coldHeader.key) >> 2] = this.blocks.key(block) & ~GUARDED_KEY;
    this.#words[at] = this.blocks.firstWord(block);
    this.#words[at + 1] = this.blocks.secondWord(block);
  }

  /** Guest bytes [hva, hva + size) have been, or are about to be, written: drops the code on them. Gives true if there was any. */
  invalidate(hva: number, size: number): boolean {
    let any = false;
    const end = hva + size;
    for (let page = hva >>> 12; page <= (end - 1) >>> 12; page++) {
      if (!this.#marked(page)) continue;
      const start = (page << 12) >>> 0;
      if (!this.#covers(page, Math.max(hva - start, 0), Math.min(end - start, 4096))) {
        this.counters.writesBesideCode++;
        continue;
      }
      this.counters.codeWrites++;
      // A page that is written again and again while nothing new runs on it is being filled with something else.
      const hits = (this.#hits.get(page) ?? 0) + 1;
      this.#hits.set(page, hits);
      const whole = hits > PATCHES;
      const from = whole ? start : Math.max(hva, start);
      const to = whole ? start + 4096 : Math.min(end, start + 4096);
      if (this.#dropOnPage(page, from, to)) any = true;
    }
    return any;
  }

  /** Is there code on the bytes [from, to) of a page? If not, the next write will be beside it too: from then on a map says so. */
  #covers(page: number, from: number, to: number): boolean {
    const known = this.#covered.get(page);
    if (known) {
      for (let at = from; at < to; at++) if ((known[at >> 5] >>> (at & 31)) & 1) return true;
      return false;
    }
    const start = page * 4096;
    const covered = new Uint32Array(128);
    let hit = false;
    this.blocks.onPage(page, (_, hva, end) => {
      hit ||= hva < start + to && end > start + from;
      setBits(covered, hva, end);
      return true;
    });
    if (!hit) this.#covered.set(page, covered);
    return hit;
  }

  /** Drops the regions that an instruction is part of; their heads have been entered `heat` times. */
  dropRegionsAt(hva: number, heat: number): void {
    for (const region of this.#regionsByPage.get(hva >>> 12) ?? []) {
      const { head, ranges, valid } = region;
      if (!valid || !ranges.some((start, i) => i % 2 === 0 && hva >= start && hva < ranges[i + 1])) continue;
      this.#dropRegion(region);
      if (this.blocks.isValid(head)) this.setHeat(head, heat);
    }
  }

  /** Any code on the pages of a range? */
  hasCode(hva: number, size: number): boolean {
    for (let page = hva >>> 12; page <= (hva + size - 1) >>> 12; page++) if (this.#marked(page)) return true;
    return false;
  }

  /** Drops everything. */
  flush(): void {
    this.counters.flushes++;
    for (const region of [...this.#regions.values()]) this.#dropRegion(region);
    this.#regionsByPage.clear();
    this.blocks.clear((page) => this.#masks.fill(0, page * 2, page * 2 + 2));
    this.#hits.clear();
    this.#covered.clear();
    this.#awaited.clear();
    this.#words.fill(0, layout.codeHash >> 2, (layout.codeHash + CODE_HASH_ENTRIES * CODE_HASH_BYTES) >> 2);
    this.#entries = 0;
    this.#arena = layout.coldCode;
    // Regions that are on their way are of the past; the words of edges begin anew.
    this.epoch++;
    Atomics.store(this.#words, layout.codeEpoch >> 2, this.epoch);
    this.#words.fill(0, layout.edgeCells >> 2, layout.edgeCellsEnd >> 2);
    this.forgetJumps();
  }

  #insert(hva: number, key: number, second: number, target: number): number {
    const words = this.#words;
    let slot = codeHash(hva, key);
    for (;;) {
      const at = (layout.codeHash + slot * CODE_HASH_BYTES) >> 2;
      const held = words[at];
      if (held === 0) this.#entries++;
      if (held === 0 || (held === (hva | 0) && words[at + 1] === (key | 0))) {
        words[at + (hashEntry.key >> 2)] = key;
        words[at + (hashEntry.target >> 2)] = target;
        words[at + (hashEntry.second >> 2)] = second;
        words[at] = hva;
        return slot;
      }
      slot = (slot + 1) & (CODE_HASH_ENTRIES - 1);
    }
  }

  /** The block is not found any more. */
  #forget(block: number): void {
    this.#words[(layout.codeHash + this.blocks.slot(block) * CODE_HASH_BYTES + hashEntry.target) >> 2] = 0;
  }

  #marked(page: number): boolean {
    return (this.#masks[page * 2] | this.#masks[page * 2 + 1]) !== 0;
  }

  /** Marks the pieces of [hva, end) that lie on a page. */
  #mark(page: number, hva: number, end: number): void {
    const first = Math.max(0, (hva - page * 4096) >> 6);
    const last = Math.min(63, (end - 1 - page * 4096) >> 6);
    for (let piece = first; piece <= last; piece++) this.#masks[page * 2 + (piece >> 5)] |= 1 << (piece & 31);
  }

  /** As #mark, for a range that may lie on another page. */
  #markWithin(page: number, hva: number, end: number): void {
    if (hva < (page + 1) * 4096 && end > page * 4096) this.#mark(page, hva, end);
  }

  /** Marks the 64-byte pieces of a range and notes who lies there. */
  #cover(hva: number, bytes: number, note: (page: number) => void): void {
    const end = hva + bytes;
    for (let page = hva >>> 12; page <= (end - 1) >>> 12; page++) {
      const isFirst = !this.#marked(page);
      this.#mark(page, hva, end);
      if (isFirst) this.#vcpus.protectPage(page * 4096);
      note(page);
    }
  }

  /** A block's bytes on one page. */
  #coverBlock(hva: number, bytes: number): void {
    const page = hva >>> 12;
    const isFirst = !this.#marked(page);
    this.#mark(page, hva, hva + bytes);
    if (isFirst) this.#vcpus.protectPage(page * 4096);
    this.#hits.delete(page);
    const covered = this.#covered.get(page);
    if (covered) setBits(covered, hva, hva + bytes);
  }

  #dropOnPage(page: number, from: number, to: number): boolean {
    const touches = (hva: number, end: number) => hva < to && end > from;
    let dropped = false;
    this.#masks.fill(0, page * 2, page * 2 + 2);
    this.#covered.delete(page);
    const keptRegions: Region[] = [];
    for (const region of this.#regionsByPage.get(page) ?? []) {
      if (!region.valid) continue;
      let hit = false;
      for (let i = 0; i < region.ranges.length; i += 2) hit ||= touches(region.ranges[i], region.ranges[i + 1]);
      if (hit) {
        this.#dropRegion(region);
        dropped = true;
      } else {
        keptRegions.push(region);
        for (let i = 0; i < region.ranges.length; i += 2)
          this.#markWithin(page, region.ranges[i], region.ranges[i + 1]);
      }
    }
    this.blocks.onPage(page, (block, hva, end) => {
      if (!touches(hva, end)) {
        this.#markWithin(page, hva, end);
        return true;
      }
      this.blocks.drop(block);
      this.#forget(block);
      this.#retire(block);
      this.#dropRegionOf(block);
      this.counters.invalidated++;
      dropped = true;
      return false;
    });
    this.#regionsByPage.set(
      page,
      keptRegions.filter((region) => region.valid),
    );
    return dropped;
  }

  #dropRegionOf(head: number): void {
    const region = this.#regions.get(head);
    if (region) this.#dropRegion(region);
  }

  #dropRegion(region: Region): void {
    if (!region.valid) return;
    region.valid = false;
    const { head } = region;
    this.#regions.delete(head);
    if (this.blocks.isValid(head)) {
      this.#words[(this.blocks.code(head) + coldHeader.region) >> 2] = 0;
      this.setHeat(head, 0);
      this.#restore(head);
    }
    this.onDrop(region);
  }
}
