/**
 * The x86 instruction decoder, built from the instruction rows. Intel SDM vol. 2 ch. 2 (formats, prefixes, VEX), appendix A.
 *
 * A lookup goes in at most three steps over flat tables: (64-bit mode?, opcode map, opcode) gives a row or a node; a node
 * gives, by mandatory-prefix class and REX.W, a row or a ModRM table; that gives the row by the ModRM byte. Rows that
 * say more (a ModRM byte, a digit, a prefix) win over rows that say less; two rows that say equally much are an error.
 */
import { assert } from '../../base/index.js';
import type { DecodedInsn, InsnRow } from './translator.js';

/** Opcode maps; VEX-encoded instructions have their own. */
const MAP_VEX = 4;
const MAPS = 8;

/** Mandatory-prefix classes: none, 66, F3, F2. */
const PREFIX_WORDS: Readonly<Record<string, number>> = { NP: 0, '66': 1, F3: 2, F2: 3 };

const immKind = { none: 0, ib: 1, ibSigned: 2, iw: 3, id: 4, iz: 5, iv: 6, moffs: 7, far: 8 } as const;
const immWords: Readonly<Record<string, number>> = {
  ib: immKind.ib,
  iw: immKind.iw,
  id: immKind.id,
  iz: immKind.iz,
  iv: immKind.iv,
  cb: immKind.ibSigned,
  cz: immKind.iz,
  moffs: immKind.moffs,
  cd: immKind.far,
  cp: immKind.far,
  ap: immKind.far,
};

/** What a row's `enc` says, as numbers. */
export interface Encoding {
  /** 0 one-byte, 1 0F, 2 0F 38, 3 0F 3A; plus 4: VEX. */
  readonly map: number;
  readonly opcode: number;
  /** 8: the opcode's low bits name a register. */
  readonly opcodeCount: 1 | 8;
  /** -1: any prefix class. */
  readonly prefix: number;
  /** -1: either value of REX.W or VEX.W. */
  readonly w: number;
  /** -1: either VEX.L. */
  readonly vexL: number;
  readonly hasModrm: boolean;
  readonly digit: number;
  /** Memory, register or either in ModRM. */
  readonly form: 'm' | 'r' | 'any';
  /** ModRM names a register whatever its mod says. */
  readonly ignoresMod: boolean;
  /** Range of whole ModRM bytes, or -1. */
  readonly modrmFirst: number;
  readonly modrmLast: number;
  readonly imm: number;
  readonly imm2: number;
  readonly in64: boolean;
  readonly outside64: boolean;
}

const HEX_BYTE = /^([0-9A-F]{2})(\+[ri]?(?:b|w|d|o)?)?$/;

/** Reads a row's encoding; an unknown word is an error. */
export function parseEncoding(row: InsnRow): Encoding {
  let map = 0;
  let opcode = -1;
  let opcodeCount: 1 | 8 = 1;
  let prefix = -1;
  let w = -1;
  let vexL = -1;
  let hasModrm = false;
  let digit = -1;
  let form: Encoding['form'] = 'any';
  let ignoresMod = false;
  let modrmFirst = -1;
  let modrmLast = -1;
  let imm = 0;
  let imm2 = 0;
  let in64 = true;
  let outside64 = true;
  const fail = (word: string): never => {
    throw new Error(`instruction row ${row.name} '${row.enc}': cannot read '${word}'`);
  };
  const words = row.enc.split(/\s+/).filter((word) => word !== '+');
  for (const word of words) {
    const hex = HEX_BYTE.exec(word.replace(/\+(?=$)/, '+r'));
    if (word.startsWith('VEX.')) {
      map = MAP_VEX;
      prefix = 0;
      for (const part of word.slice(4).split('.')) {
        if (part === 'LZ' || part === 'L0' || part === '128') vexL = 0;
        else if (part === '256' || part === 'L1') vexL = 1;
        else if (part in PREFIX_WORDS) prefix = PREFIX_WORDS[part];
        else if (part === '0F') map = MAP_VEX + 1;
        else if (part === '0F38') map = MAP_VEX + 2;
        else if (part === '0F3A') map = MAP_VEX + 3;
        else if (part === 'W0') w = 0;
        else if (part === 'W1') w = 1;
        else if (part !== 'WIG' && part !== 'NDS' && part !== 'LIG') fail(part);
      }
    } else if (opcode < 0 && word in PREFIX_WORDS && map === 0) {
      prefix = PREFIX_WORDS[word];
    } else if (word === 'REX.W') w = 1;
    else if (word === 'REX.W0') w = 0;
    else if (word === '/r') hasModrm = true;
    else if (/^\/[0-7]$/.test(word)) {
      hasModrm = true;
      digit = Number(word[1]);
    } else if (word === 'm' || word === 'r') {
      hasModrm = true;
      form = word;
    } else if (word === 'r*') ignoresMod = true;
    else if (word === '+r' || word === '+i') {
      if (modrmFirst >= 0) modrmLast = modrmFirst + 7;
      else opcodeCount = 8;
    } else if (word === 'I64') in64 = false;
    else if (word === 'O64') outside64 = false;
    else if (word in immWords) {
      const kind = word === 'ib' && /\bIbs\b/.test(row.args) ? immKind.ibSigned : immWords[word];
      if (imm) imm2 = kind;
      else imm = kind;
    } else if (hex) {
      const byte = Number.parseInt(hex[1], 16);
      if (opcode < 0 && map === 0 && byte === 0x0f) map = 1;
      else if (opcode < 0 && map === 1 && (byte === 0x38 || byte === 0x3a)) map = byte === 0x38 ? 2 : 3;
      else if (opcode < 0) {
        opcode = byte;
        if (hex[2]) opcodeCount = 8;
      } else {
        hasModrm = true;
        modrmFirst = byte;
        modrmLast = hex[2] ? byte + 7 : byte;
      }
    } else fail(word);
  }
  if (opcode < 0) fail('(no opcode)');
  if (hasModrm && form === 'any' && !ignoresMod && modrmFirst < 0) {
    const letters = row.args.split(',').map((arg) => arg.trim());
    if (letters.some((arg) => /^M/.test(arg))) form = 'm';
    else if (letters.some((arg) => /^[NU]|^R[a-z]/.test(arg))) form = 'r';
  }
  return {
    map,
    opcode,
    opcodeCount,
    prefix,
    w,
    vexL,
    hasModrm,
    digit,
    form,
    ignoresMod,
    modrmFirst,
    modrmLast,
    imm,
    imm2,
    in64,
    outside64,
  };
}

/** How many things a row says; of the rows that fit, the one that says most is meant. */
function specificity(e: Encoding): number {
  return (
    (e.modrmFirst >= 0 ? 8 : 0) +
    (e.digit >= 0 ? 3 : 0) +
    (e.form !== 'any' ? 1 : 0) +
    (e.prefix >= 0 ? 16 : 0) +
    (e.w >= 0 ? 2 : 0)
  );
}

/** Row properties that decoding needs, as bits. */
const rowBit = {
  modrm: 1,
  lock: 2,
  default64: 4,
  force64: 8,
  mandatory66: 16,
  mandatoryRep: 32,
  /** VEX.vvvv names no operand and must be 1111. */
  noVvvv: 64,
  ignoresMod: 128,
} as const;

/** Sizes of a memory operand: 1..16 bytes, or by operand size. */
const BY_OPSIZE = 64;
const BY_OPSIZE_Z = 65;
const BY_REXW = 66;
const FAR_POINTER = 67;
const memorySizes: Readonly<Record<string, number>> = {
  b: 1, w: 2, d: 4, q: 8, v: BY_OPSIZE, z: BY_OPSIZE_Z, y: BY_REXW, dq: 16, x: 16, ps: 16, pd: 16, ss: 4, sd: 8, pi: 8, p: FAR_POINTER, t: 10,
}; // biome-ignore format: one line reads as a table

/** What decode() gives where it finds no row. */
export const decodeFailure = {
  /** The instruction goes on past the bytes given. */
  moreBytes: -1,
  /** No such instruction: #UD. */
  undefined: -2,
  /** More than 15 bytes: #GP(0). */
  tooLong: -3,
} as const;

const PREFIX_NONE = 0;
const PREFIX_SEGMENT = 1;
const PREFIX_OPSIZE = 2;
const PREFIX_ADDRSIZE = 3;
const PREFIX_LOCK = 4;
const PREFIX_REP = 5;
const PREFIX_REX = 6;

const prefixKind = new Uint8Array(256);
const prefixSegment = new Int8Array(256).fill(-1);
for (const [segment, byte] of [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65].entries()) {
  prefixKind[byte] = PREFIX_SEGMENT;
  prefixSegment[byte] = segment;
}
prefixKind[0x66] = PREFIX_OPSIZE;
prefixKind[0x67] = PREFIX_ADDRSIZE;
prefixKind[0xf0] = PREFIX_LOCK;
prefixKind[0xf2] = PREFIX_REP;
prefixKind[0xf3] = PREFIX_REP;
/** In 64-bit mode 40-4F are REX prefixes. */
const prefixKind64 = prefixKind.slice().fill(PREFIX_REX, 0x40, 0x50);

/** The tables of one set of rows and CPU features. */
export class DecoderTables {
  readonly rows: readonly InsnRow[];
  readonly encodings: readonly Encoding[];
  /** By 64-bit mode, map and opcode: row + 1, or 0, or ~node. */
  readonly root = new Int16Array(2 * MAPS * 256);
  /** Nodes of 8: by prefix class * 2 + W: row + 1, or 0, or ~ModRM table. */
  nodes = new Int16Array(0);
  modrmTables = new Int16Array(0);
  /** Where the encoding tables need a ModRM byte to be read before a row is known, nothing is lost: all rows there have one. */
  readonly bits: Uint8Array;
  readonly imm: Uint8Array;
  readonly imm2: Uint8Array;
  readonly vexL: Int8Array;
  /** Bytes of the memory operand (or a BY_ code), and whether it is written. */
  readonly memorySize: Uint8Array;
  readonly memoryWrite: Uint8Array;

  /** Tables in the making, and what has been made already, by the rows in it. */
  readonly #made = {
    nodes: [] as number[],
    modrmTables: [] as Int16Array[],
    slots: new Map<string, number>(),
    leaves: new Map<string, number>(),
  };

  /** `features`: the CPUID features of the CPU; rows of others are left out. Without it all rows are in. */
  constructor(allRows: readonly InsnRow[], features?: ReadonlySet<string>) {
    this.rows = features
      ? allRows.filter(
          ({ cpuid, alsoWith }) => !cpuid || features.has(cpuid) || (alsoWith !== undefined && features.has(alsoWith)),
        )
      : allRows;
    assert(this.rows.length < 32000, 'too many instruction rows');
    this.encodings = this.rows.map(parseEncoding);
    const count = this.rows.length;
    this.bits = new Uint8Array(count);
    this.imm = new Uint8Array(count);
    this.imm2 = new Uint8Array(count);
    this.vexL = new Int8Array(count);
    this.memorySize = new Uint8Array(count);
    this.memoryWrite = new Uint8Array(count);
    const slots = new Map<number, number[]>();
    for (const [i, row] of this.rows.entries()) {
      const e = this.encodings[i];
      this.bits[i] =
        (e.hasModrm ? rowBit.modrm : 0) |
        (row.lock ? rowBit.lock : 0) |
        (row.default64 ? rowBit.default64 : 0) |
        (row.force64 ? rowBit.force64 : 0) |
        (e.map >= MAP_VEX && !/(^|[\s,])[BH][a-z]/.test(row.args) ? rowBit.noVvvv : 0) |
        (e.ignoresMod ? rowBit.ignoresMod : 0) |
        (e.prefix === 1 ? rowBit.mandatory66 : 0) |
        (e.prefix >= 2 ? rowBit.mandatoryRep : 0);
      this.imm[i] = e.imm;
      this.imm2[i] = e.imm2;
      this.vexL[i] = e.vexL;
      this.memorySize[i] = 1;
      for (const arg of row.args.split(',')) {
        const memory = /^\s*[EMWQ]([a-z]*)(?::(r?w?))?/.exec(arg);
        if (!memory || !e.hasModrm) continue;
        this.memorySize[i] = memorySizes[memory[1]] ?? 1;
        this.memoryWrite[i] = memory[2]?.includes('w') ? 1 : 0;
      }
      for (let mode = 0; mode < 2; mode++) {
        if (mode ? !e.in64 : !e.outside64) continue;
        for (let n = 0; n < e.opcodeCount; n++) {
          const slot = (mode * MAPS + e.map) * 256 + e.opcode + n;
          const candidates = slots.get(slot);
          if (candidates) candidates.push(i);
          else slots.set(slot, [i]);
        }
      }
    }
    for (const [slot, candidates] of slots) this.root[slot] = this.#slot(candidates);
    this.nodes = Int16Array.from(this.#made.nodes);
    this.modrmTables = new Int16Array(256 * this.#made.modrmTables.length);
    for (const [i, table] of this.#made.modrmTables.entries()) this.modrmTables.set(table, 256 * i);
    this.#made.slots.clear();
    this.#made.leaves.clear();
  }

  /** The entry of the root for an opcode with these candidate rows; the same candidates share it. */
  #slot(candidates: readonly number[]): number {
    const key = candidates.join();
    const known = this.#made.slots.get(key);
    if (known !== undefined) return known;
    const { nodes } = this.#made;
    const always = candidates.every((i) => this.encodings[i].prefix < 0 && this.encodings[i].w < 0);
    const leaves: number[] = always ? new Array(8).fill(this.#leaf(candidates)) : [];
    for (let prefixAndW = 0; leaves.length < 8; prefixAndW++) {
      const fitting: number[] = [];
      for (const i of candidates) {
        const { prefix, w } = this.encodings[i];
        if ((prefix < 0 || prefix === prefixAndW >> 1) && (w < 0 || w === (prefixAndW & 1))) fitting.push(i);
      }
      leaves.push(this.#leaf(fitting));
    }
    let entry = leaves[0];
    if (entry <= 0 || leaves.some((leaf) => leaf !== entry)) {
      nodes.push(...leaves);
      entry = ~(nodes.length / 8 - 1);
    }
    this.#made.slots.set(key, entry);
    return entry;
  }

  /** What a node's entry is with these rows: row + 1, 0, or ~ModRM table. */
  #leaf(fitting: readonly number[]): number {
    const key = fitting.join();
    const known = this.#made.leaves.get(key);
    if (known !== undefined) return known;
    const table = new Int16Array(256);
    const scores = new Int8Array(256).fill(-1);
    let plain = true;
    for (const i of fitting) {
      const e = this.encodings[i];
      const score = specificity(e);
      if (e.digit >= 0 || e.form !== 'any' || e.modrmFirst >= 0) plain = false;
      const paint = (first: number, last: number) => {
        for (let modrm = first; modrm <= last; modrm++) {
          if (score < scores[modrm]) continue;
          if (score === scores[modrm]) this.#overlap(i, table[modrm] - 1, modrm);
          table[modrm] = i + 1;
          scores[modrm] = score;
        }
      };
      if (e.modrmFirst >= 0) {
        paint(e.modrmFirst, e.modrmLast);
        continue;
      }
      for (let mod = e.form === 'r' ? 3 : 0; mod <= (e.form === 'm' ? 2 : 3); mod++) {
        const from = (mod << 6) | (Math.max(e.digit, 0) << 3);
        paint(from, from + (e.digit < 0 ? 63 : 7));
      }
    }
    const { modrmTables } = this.#made;
    const leaf = plain ? table[0] : ~modrmTables.length;
    if (!plain) modrmTables.push(table);
    this.#made.leaves.set(key, leaf);
    return leaf;
  }

  /** Rows that say equally much about the same bytes. */
  #overlap(first: number, second: number, modrm: number): never {
    const [a, b] = [this.rows[first], this.rows[second]];
    throw new Error(
      `instruction rows overlap at ModRM ${modrm.toString(16)}: ${a.name} '${a.enc}' and ${b.name} '${b.enc}'`,
    );
  }
}

/** Base and index of 16-bit addressing by r/m (SDM vol. 2 table 2-1); -1: none. */
const base16 = Int8Array.of(3, 3, 5, 5, 6, 7, 5, 3);
const index16 = Int8Array.of(6, 7, 6, 7, -1, -1, -1, -1);

/** Decodes one instruction at a time into its own fields. */
export class Decoder implements DecodedInsn {
  readonly tables: DecoderTables;
  length = 0;
  opSize: 16 | 32 | 64 = 32;
  addrSize: 16 | 32 | 64 = 32;
  lock = false;
  rep: 0 | 0xf2 | 0xf3 = 0;
  opSizePrefix = false;
  rex = 0;
  rexW = 0;
  opcode = 0;
  modrm = 0;
  mod = 0;
  reg = 0;
  rm = 0;
  isReg = false;
  segOverride = -1;
  immLow = 0;
  immHigh = 0;
  imm2 = 0;
  vvvv = 0;
  vexL = 0;
  /** Memory operand: registers (-1: none; base -2: RIP), log2 of the index's factor, displacement, segment, bytes, written. */
  base = -1;
  index = -1;
  scale = 0;
  disp = 0;
  segment = 3;
  memoryBytes = 1;
  memoryWritten = false;

  #codeSize: 16 | 32 | 64 = 64;
  #vex = true;

  constructor(tables: DecoderTables) {
    this.tables = tables;
  }

  /** Code size, and whether VEX exists (protected mode, not virtual-8086). */
  setMode(codeSize: 16 | 32 | 64, vex: boolean): void {
    this.#codeSize = codeSize;
    this.#vex = vex;
  }

  /** Decodes what starts at `at` of `code` and ends before `limit`: the row's number, or a decodeFailure. */
  decode(code: Uint8Array, at: number, limit: number): number {
    const tables = this.tables;
    const codeSize = this.#codeSize;
    const is64 = codeSize === 64;
    const kinds = is64 ? prefixKind64 : prefixKind;
    const end = Math.min(limit, at + 15);
    const ranOut = limit >= at + 15 ? decodeFailure.tooLong : decodeFailure.moreBytes;
    let next = at;
    let rex = 0;
    let rep: 0 | 0xf2 | 0xf3 = 0;
    let opSizePrefix = false;
    let addrSizePrefix = false;
    let lock = false;
    let segOverride = -1;
    let byte = 0;
    for (;;) {
      if (next >= end) return ranOut;
      byte = code[next++];
      const kind = kinds[byte];
      if (kind === PREFIX_NONE) break;
      if (kind === PREFIX_REX) {
        rex = byte;
        continue;
      }
      rex = 0; // a REX that is not the last prefix is ignored
      if (kind === PREFIX_OPSIZE) opSizePrefix = true;
      else if (kind === PREFIX_ADDRSIZE) addrSizePrefix = true;
      else if (kind === PREFIX_LOCK) lock = true;
      else if (kind === PREFIX_REP) rep = byte as 0xf2 | 0xf3;
      else if (!is64 || byte >= 0x64) segOverride = prefixSegment[byte];
    }
    let rexW = (rex >> 3) & 1;
    let rexR = (rex << 1) & 8;
    let rexX = (rex << 2) & 8;
    let rexB = (rex << 3) & 8;
    let map = 0;
    let prefixClass = rep === 0 ? (opSizePrefix ? 1 : 0) : rep === 0xf3 ? 2 : 3;
    if (byte === 0x0f) {
      if (next >= end) return ranOut;
      byte = code[next++];
      map = 1;
      if (byte === 0x38 || byte === 0x3a) {
        map = byte === 0x38 ? 2 : 3;
        if (next >= end) return ranOut;
        byte = code[next++];
      }
    } else if ((byte === 0xc4 || byte === 0xc5) && this.#vex) {
      if (next >= end) return ranOut;
      const first = code[next];
      if (is64 || first >= 0xc0) {
        next++;
        if (rex !== 0 || opSizePrefix || rep !== 0 || lock) return decodeFailure.undefined;
        let last = first;
        rexR = (first & 0x80) === 0 && is64 ? 8 : 0;
        map = MAP_VEX + 1;
        if (byte === 0xc4) {
          map = MAP_VEX + (first & 31);
          if (map > MAP_VEX + 3) return decodeFailure.undefined;
          rexX = (first & 0x40) === 0 && is64 ? 8 : 0;
          rexB = (first & 0x20) === 0 && is64 ? 8 : 0;
          if (next >= end) return ranOut;
          last = code[next++];
          rexW = last >> 7;
        }
        this.vvvv = ((last >> 3) & 15) ^ 15;
        if (!is64) this.vvvv &= 7;
        this.vexL = (last >> 2) & 1;
        prefixClass = last & 3; // 0, 66, F3, F2
        if (next >= end) return ranOut;
        byte = code[next++];
      }
    }
    this.opcode = byte;
    let entry = tables.root[(((is64 ? MAPS : 0) + map) << 8) | byte];
    let haveModrm = false;
    let modrm = 0;
    if (entry < 0) {
      entry = tables.nodes[(~entry << 3) | (prefixClass << 1) | rexW];
      if (entry < 0) {
        if (next >= end) return ranOut;
        modrm = code[next++];
        haveModrm = true;
        entry = tables.modrmTables[(~entry << 8) | modrm];
      }
    }
    if (entry === 0) return decodeFailure.undefined;
    const row = entry - 1;
    const bits = tables.bits[row];

    if (map >= MAP_VEX) {
      const wanted = tables.vexL[row];
      if (wanted >= 0 && wanted !== this.vexL) return decodeFailure.undefined;
      if ((bits & rowBit.noVvvv) !== 0 && this.vvvv !== 0) return decodeFailure.undefined;
      if (!is64) rexW = 0;
    }
    this.lock = lock;
    this.rep = (bits & rowBit.mandatoryRep) !== 0 ? 0 : rep;
    this.opSizePrefix = opSizePrefix;
    this.rex = rex;
    this.rexW = rexW;
    const wide = opSizePrefix && (bits & rowBit.mandatory66) === 0;
    let opSize: 16 | 32 | 64;
    if (is64) {
      const by64 = (bits & (rowBit.default64 | rowBit.force64)) !== 0;
      opSize = rexW !== 0 || (bits & rowBit.force64) !== 0 ? 64 : wide ? 16 : by64 ? 64 : 32;
    } else opSize = (codeSize === 32) !== wide ? 32 : 16;
    this.opSize = opSize;
    const addrSize = is64 ? (addrSizePrefix ? 32 : 64) : (codeSize === 32) !== addrSizePrefix ? 32 : 16;
    this.addrSize = addrSize;
    this.segOverride = segOverride;
    this.isReg = true;

    if ((bits & rowBit.modrm) !== 0) {
      if (!haveModrm) {
        if (next >= end) return ranOut;
        modrm = code[next++];
      }
      const mod = (bits & rowBit.ignoresMod) !== 0 ? 3 : modrm >> 6;
      this.modrm = modrm;
      this.mod = mod;
      this.reg = ((modrm >> 3) & 7) | rexR;
      const low = modrm & 7;
      this.rm = low | rexB;
      if (mod !== 3) {
        this.isReg = false;
        let base = low | rexB;
        let index = -1;
        let scale = 0;
        let dispBytes = mod === 1 ? 1 : mod === 2 ? (addrSize === 16 ? 2 : 4) : 0;
        if (addrSize === 16) {
          base = base16[low];
          index = index16[low];
          if (mod === 0 && low === 6) {
            base = -1;
            dispBytes = 2;
          }
        } else {
          if (low === 4) {
            if (next >= end) return ranOut;
            const sib = code[next++];
            base = (sib & 7) | rexB;
            index = ((sib >> 3) & 7) | rexX;
            scale = sib >> 6;
            if (index === 4) index = -1;
          }
          if (mod === 0 && (base & 7) === 5) {
            dispBytes = 4;
            base = low === 5 && is64 ? -2 : -1;
          }
        }
        let disp = 0;
        if (next + dispBytes > end) return ranOut;
        if (dispBytes === 1) disp = (code[next] << 24) >> 24;
        else if (dispBytes === 4)
          disp = code[next] | (code[next + 1] << 8) | (code[next + 2] << 16) | (code[next + 3] << 24);
        else if (dispBytes === 2) disp = ((code[next] | (code[next + 1] << 8)) << 16) >> 16;
        next += dispBytes;
        this.base = base;
        this.index = index;
        this.scale = scale;
        this.disp = disp;
        // the stack segment where SP or BP is the base
        const stack = base === 5 || (base === 4 && addrSize !== 16);
        this.segment = segOverride >= 0 ? segOverride : stack ? 2 : 3;
        const size = tables.memorySize[row];
        if (size < BY_OPSIZE) this.memoryBytes = size;
        else if (size === BY_OPSIZE) this.memoryBytes = opSize >> 3;
        else if (size === BY_OPSIZE_Z) this.memoryBytes = opSize === 16 ? 2 : 4;
        else if (size === BY_REXW) this.memoryBytes = rexW ? 8 : 4;
        else this.memoryBytes = (opSize >> 3) + 2;
        this.memoryWritten = tables.memoryWrite[row] !== 0;
      }
    } else this.rm = (byte & 7) | rexB; // the register in the opcode, where there is one
    if (lock && ((bits & rowBit.lock) === 0 || this.isReg)) return decodeFailure.undefined;

    const imm = tables.imm[row];
    if (imm !== 0) {
      next = this.#immediate(imm, code, next, end);
      if (next < 0) return ranOut;
      const imm2 = tables.imm2[row];
      if (imm2 !== 0) {
        const bytes = imm2 === immKind.iw ? 2 : 1;
        if (next + bytes > end) return ranOut;
        this.imm2 = bytes === 1 ? code[next] : code[next] | (code[next + 1] << 8);
        next += bytes;
      }
    }
    this.length = next - at;
    return row;
  }

  /** Reads an immediate; where it ends, or -1 where the bytes do. */
  #immediate(kind: number, code: Uint8Array, at: number, end: number): number {
    let bytes: number;
    switch (kind) {
      case immKind.ib:
      case immKind.ibSigned:
        bytes = 1;
        break;
      case immKind.iw:
        bytes = 2;
        break;
      case immKind.id:
        bytes = 4;
        break;
      case immKind.iz:
        bytes = this.opSize === 16 ? 2 : 4;
        break;
      case immKind.moffs:
        bytes = this.addrSize >> 3;
        break;
      case immKind.far:
        bytes = this.opSize === 16 ? 2 : 4;
        break;
      default:
        bytes = this.opSize >> 3;
    }
    const after = at + bytes + (kind === immKind.far ? 2 : 0);
    if (after > end) return -1;
    let low = code[at];
    if (bytes === 1) {
      if (kind === immKind.ibSigned) low = (low << 24) >> 24;
    } else {
      low |= code[at + 1] << 8;
      if (bytes === 2) {
        if (kind === immKind.iz || kind === immKind.iv) low = (low << 16) >> 16;
      } else low |= (code[at + 2] << 16) | (code[at + 3] << 24);
    }
    this.immLow = low;
    this.immHigh = low >> 31;
    if (bytes === 8) this.immHigh = code[at + 4] | (code[at + 5] << 8) | (code[at + 6] << 16) | (code[at + 7] << 24);
    else if (kind === immKind.moffs || kind === immKind.far) this.immHigh = 0;
    if (kind === immKind.far) this.imm2 = code[after - 2] | (code[after - 1] << 8);
    return after;
  }
}
