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
import { codeHash } from './dispatcher.js';
import { CODE_HASH_BYTES, CODE_HASH_ENTRIES, GUARDED_KEY, hashEntry, layout } from './layout.js';

/** A translation block in the cold tier. */
export interface Block {
  /** By which its cold code's header names it. */
  readonly number: number;
  /** Host address of its guest code; bytes of it; mode key. */
  readonly hva: number;
  readonly bytes: number;
  readonly key: number;
  readonly instructions: number;
  /** Host address of the page it ends on, if that is another one, else 0. */
  readonly second: number;
  /** Address of the cold code. */
  readonly code: number;
  /** Index in the code hash. */
  readonly slot: number;
  /** The first two words of the cold code behind its header. */
  readonly firstWord: number;
  readonly secondWord: number;
  /** The region that starts here, if it has been compiled. */
  region: Region | undefined;
  valid: boolean;
  /** It has been asked for a region of it. */
  waiting: boolean;
}

/** A compiled region: a function in the code table. */
export interface Region {
  readonly index: number;
  readonly head: Block;
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

/** Host addresses of a block's bytes on one of its pages: start and end. */
function partOn(page: number, { hva, bytes, second }: Block): [number, number] {
  const start = page * 4096;
  if (hva >>> 12 === page) return [hva, second === 0 ? hva + bytes : start + 4096];
  return [start, start + bytes - (4096 - (hva & 4095))];
}

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
  readonly #blocksByPage = new Map<number, Block[]>();
  readonly #regionsByPage = new Map<number, Region[]>();
  /** By the number in their cold code's header. */
  #blocks: Block[] = [];
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
    this.#vcpus = vcpus;
  }

  /**
   * Adds a block with its cold code, and the IR that this was made of if it may become part of a region. `mayLink`: it may go on to
   * other blocks by itself.
   */
  add(
    hva: number,
    bytes: number,
    key: number,
    instructions: number,
    second: number,
    { words: code, length, links, linkWords }: ColdCode,
    ir: BlockBuilder | undefined,
    mayLink: boolean,
  ): Block {
    const irWords = ir?.length ?? 0;
    const most = length * 4 + irWords * MOST_PACKED_BYTES;
    if (this.#arena + most > layout.coldCodeEnd || this.#entries > CODE_HASH_ENTRIES / 2) this.flush();
    const at = this.#arena;
    const words = this.#words;
    for (let i = 0, to = at >> 2; i < length; i++) words[to + i] = code[i];
    const number = this.#blocks.length;
    words[(at + coldHeader.number) >> 2] = number;
    words[(at + coldHeader.key) >> 2] = key & ~GUARDED_KEY;
    words[(at + coldHeader.ir) >> 2] = length * 4;
    words[(at + coldHeader.irWords) >> 2] = irWords;
    const end = ir ? packWords(ir.words, irWords, this.#bytes, at + length * 4) : at + length * 4;
    this.#arena = (end + 7) & ~7;
    const slot = this.#insert(hva, key, second, at | 0x80000000);
    const block: Block = {
      number,
      hva,
      bytes,
      key,
      instructions,
      second,
      code: at,
      slot,
      firstWord: code[COLD_HEADER_BYTES >> 2],
      secondWord: code[(COLD_HEADER_BYTES >> 2) + 1],
      region: undefined,
      valid: true,
      waiting: false,
    };
    this.#blocks.push(block);
    this.#coverBlock(block, hva, second === 0 ? bytes : 4096 - (hva & 4095));
    if (second !== 0) this.#coverBlock(block, second, bytes - (4096 - (hva & 4095)));
    this.counters.blocks++;
    this.#linkTo(block);
    if (mayLink) for (let i = 0; i < linkWords; i += 2) this.#link((at >> 2) + links[i], hva, hva + links[i + 1], key);
    return block;
  }

  /** The links that have waited for a block. */
  #linkTo({ hva, key, code, second }: Block): void {
    const place = awaitedAt(hva, key);
    const first = this.#awaited.get(place);
    // What ends on another page may be followed by another one the next time.
    if (first === undefined || second !== 0) return;
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

  /** The block whose cold code starts at an address. */
  blockAt(code: number): Block | undefined {
    const block = this.#blocks[this.#words[(code + coldHeader.number) >> 2]];
    return block?.valid && block.code === code ? block : undefined;
  }

  /** Host ranges of the guest code of blocks, start and end of each; undefined: one of them has been dropped. */
  rangesOf(numbers: readonly number[]): number[] | undefined {
    const ranges: number[] = [];
    for (const number of numbers) {
      const block = this.#blocks[number];
      if (!block?.valid) return undefined;
      const { hva, bytes, second } = block;
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
  heat(block: Block): number {
    return this.#words[block.code >> 2];
  }

  setHeat(block: Block, count: number): void {
    this.#words[block.code >> 2] = count;
  }

  /** Puts a region in its head's place, or in that of the head's smaller one. */
  addRegion(region: Region): void {
    const { head, ranges } = region;
    if (head.region) this.#dropRegion(head.region);
    head.region = region;
    for (let i = 0; i < ranges.length; i += 2) {
      this.#cover(ranges[i], ranges[i + 1] - ranges[i], (page) => {
        const list = this.#regionsByPage.get(page);
        if (!list) this.#regionsByPage.set(page, [region]);
        else if (!list.includes(region)) list.push(region);
      });
    }
    this.#words[(head.code + coldHeader.region) >> 2] = region.index;
    this.#retire(head);
  }

  /** The jump cache must not be believed any more. */
  forgetJumps(): void {
    this.#vcpus.forgetJumps();
  }

  /** Whoever still jumps to a block's cold code is told to look again, and no link is followed to it. */
  #retire(block: Block): void {
    const at = (block.code + COLD_HEADER_BYTES) >> 2;
    this.#words[(block.code + coldHeader.key) >> 2] = NO_KEY;
    this.#words[at] = Op.leave;
    this.#words[at + 1] = exitWord(exitCode.stale, 0, DEFERRED_UNCHANGED);
  }

  /** The block's cold code serves again. */
  #restore(block: Block): void {
    const at = (block.code + COLD_HEADER_BYTES) >> 2;
    this.#words[(block.code + coldHeader.key) >> 2] = block.key & ~GUARDED_KEY;
    this.#words[at] = block.firstWord;
    this.#words[at + 1] = block.secondWord;
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
    const blocks = this.#blocksByPage.get(page) ?? [];
    const start = page * 4096;
    const covered = new Uint32Array(128);
    for (const block of blocks) {
      if (!block.valid) continue;
      const [hva, end] = partOn(page, block);
      if (hva < start + to && end > start + from) return true;
      setBits(covered, hva, end);
    }
    this.#covered.set(page, covered);
    return false;
  }

  /** Any code on the pages of a range? */
  hasCode(hva: number, size: number): boolean {
    for (let page = hva >>> 12; page <= (hva + size - 1) >>> 12; page++) if (this.#marked(page)) return true;
    return false;
  }

  /** Drops everything. */
  flush(): void {
    this.counters.flushes++;
    for (const regions of this.#regionsByPage.values()) for (const region of regions) this.#dropRegion(region);
    this.#regionsByPage.clear();
    for (const blocks of this.#blocksByPage.values()) for (const block of blocks) block.valid = false;
    for (const page of this.#blocksByPage.keys()) this.#masks.fill(0, page * 2, page * 2 + 2);
    this.#blocksByPage.clear();
    this.#hits.clear();
    this.#covered.clear();
    this.#blocks = [];
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
  #forget(block: Block): void {
    this.#words[(layout.codeHash + block.slot * CODE_HASH_BYTES + hashEntry.target) >> 2] = 0;
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
  #coverBlock(block: Block, hva: number, bytes: number): void {
    const page = hva >>> 12;
    const isFirst = !this.#marked(page);
    this.#mark(page, hva, hva + bytes);
    if (isFirst) this.#vcpus.protectPage(page * 4096);
    this.#hits.delete(page);
    const covered = this.#covered.get(page);
    if (covered) setBits(covered, hva, hva + bytes);
    const list = this.#blocksByPage.get(page);
    if (list) list.push(block);
    else this.#blocksByPage.set(page, [block]);
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
    const kept: Block[] = [];
    for (const block of this.#blocksByPage.get(page) ?? []) {
      if (!block.valid) continue;
      const [hva, end] = partOn(page, block);
      if (touches(hva, end)) {
        block.valid = false;
        this.#forget(block);
        this.#retire(block);
        if (block.region) this.#dropRegion(block.region);
        this.counters.invalidated++;
        dropped = true;
      } else {
        kept.push(block);
        this.#markWithin(page, hva, end);
      }
    }
    this.#blocksByPage.set(page, kept);
    this.#regionsByPage.set(
      page,
      keptRegions.filter((region) => region.valid),
    );
    return dropped;
  }

  #dropRegion(region: Region): void {
    if (!region.valid) return;
    region.valid = false;
    region.head.region = undefined;
    if (region.head.valid) {
      this.#words[(region.head.code + coldHeader.region) >> 2] = 0;
      this.setHeat(region.head, 0);
      this.#restore(region.head);
    }
    this.onDrop(region);
  }
}
