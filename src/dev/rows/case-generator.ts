/**
 * Random cases for an instruction row: bytes by its encoding pattern, registers, flags, memory and addressing such that what the
 * instruction touches is mostly mapped.
 */
import { type Encoding, parseEncoding } from '../../guest/x86/decode.js';
import type { InsnRow } from '../../guest/x86/translator.js';
import { undefinedFlags } from './allowed-differences.js';
import { CODE_BYTES, codeAt, DATA_BYTES, dataBase, dataWindows, FS_BASE, FX_BYTES, fx, GS_BASE } from './layout.js';

/** A small generator (xorshift32 and a multiplier): the same seed, the same cases. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = (Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ seed) >>> 0 || 1;
  }

  /** 32 bits, unsigned. */
  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return Math.imul(this.#state, 0x9e3779b1) >>> 0;
  }

  below(limit: number): number {
    return Math.floor((this.next() / 4294967296) * limit);
  }

  chance(probability: number): boolean {
    return this.next() < probability * 4294967296;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }

  /** 64 bits: small, near a power of two, patterned or plain random. */
  value(): bigint {
    switch (this.below(8)) {
      case 0:
        return BigInt(this.below(20));
      case 1:
        return BigInt.asUintN(64, -BigInt(this.below(20)));
      case 2:
        return BigInt.asUintN(64, (1n << BigInt(this.below(64))) - BigInt(this.below(3)) + 1n);
      case 3:
        return BigInt(this.next());
      case 4:
        return this.pick([
          0x7fffffffn,
          0x80000000n,
          0x7fffffffffffffffn,
          0x8000000000000000n,
          0xffffffffn,
          0x7f80n,
          0x8000n,
          0xff7fn,
          0x80n,
        ]);
      default:
        return (BigInt(this.next()) << 32n) | BigInt(this.next());
    }
  }
}

export interface RowCase {
  codeSize: 16 | 32 | 64;
  gprs: bigint[];
  rflags: number;
  fx: Uint8Array;
  code: Uint8Array;
  /** Bytes of the instruction itself. */
  length: number;
  data: Uint8Array;
  /** Operand size that the bytes ask for: what undefined flags may depend on. */
  opSize: number;
  immediate: number;
  /** The processor raised an exception; known once the case has been run there. */
  faulted: boolean;
  /** Status flags that are not defined at the end. */
  undefinedFlags: number;
}

/** Flags that each pair of condition codes looks at. */
const conditionUses = [0x800, 1, 0x40, 0x41, 0x80, 4, 0x880, 0x8c0];

const SP = 4;
const BP = 5;

/** Instructions that use the stack, and by which register. */
const stackNames = /^(PUSH|POP|CALL|RET|ENTER|LEAVE)/;
const stringNames = /^(MOVS|STOS|LODS|SCAS|CMPS)$/;
const jumpsIndirectly = (row: InsnRow) => /^(JMP|CALL)$/.test(row.name) && row.enc.startsWith('FF');

interface Operands {
  readonly memoryBytes: number;
  readonly aligned: boolean;
}

function operandsOf(row: InsnRow, opSize: number): Operands {
  const memory = /(?:^|[\s,])[EMWQ]([a-z]*)/.exec(row.args);
  const size = memory?.[1] ?? '';
  const bytes: Readonly<Record<string, number>> = {
    b: 1,
    w: 2,
    d: 4,
    q: 8,
    dq: 16,
    x: 16,
    ps: 16,
    pd: 16,
    ss: 4,
    sd: 8,
    pi: 8,
    t: 10,
    v: opSize / 8,
    z: opSize === 16 ? 2 : 4,
    y: 8,
  };
  const memoryBytes = bytes[size] ?? 16;
  return { memoryBytes, aligned: memoryBytes === 16 };
}

/** An address inside the windows: mostly well inside, sometimes over the border of pages, sometimes over the end. */
function dataAddress(random: Random, bytes: number, aligned: boolean): number {
  let address: number;
  const kind = random.below(20);
  if (kind === 0) address = dataWindows[1].start + dataWindows[1].bytes - random.below(bytes + 1);
  else if (kind < 4) address = (dataWindows[0].start & ~4095) + 4096 - random.below(bytes + 1);
  else address = dataWindows[0].start + 64 + random.below(dataWindows[0].bytes - 160);
  return aligned && random.chance(0.9) ? address & ~15 : address;
}

/** Builds cases of one row. */
export class CaseGenerator {
  readonly row: InsnRow;
  readonly #encoding: Encoding;
  readonly #random: Random;
  /** This case's string instruction goes past the last mapped page. */
  #runsOut = false;
  readonly #random32Only: boolean;
  readonly #random64Only: boolean;
  readonly #with16: boolean;
  /** Of the case being built. */
  #codeSize: 16 | 32 | 64 = 64;

  /** `with16`: cases of 16-bit code too. */
  constructor(row: InsnRow, seed: number, with16: boolean) {
    this.row = row;
    this.#encoding = parseEncoding(row);
    this.#random = new Random(seed);
    this.#random32Only = !this.#encoding.in64;
    this.#random64Only = !this.#encoding.outside64;
    this.#with16 = with16;
  }

  next(): RowCase {
    const random = this.#random;
    const { row } = this;
    const e = this.#encoding;
    const legacy = this.#random32Only || (!this.#random64Only && random.chance(0.3));
    const codeSize = legacy ? (this.#with16 && random.chance(0.4) ? 16 : 32) : 64;
    this.#codeSize = codeSize;
    const base = dataBase(codeSize);
    const vex = e.map >= 4;
    const gprs = Array.from({ length: 16 }, () => (legacy ? random.value() & 0xffffffffn : random.value()));
    const data = new Uint8Array(DATA_BYTES);
    for (let i = 0; i < DATA_BYTES; i++) data[i] = random.next() >>> 24;
    if (random.chance(0.3))
      for (let i = 0; i < DATA_BYTES; i += 8) new DataView(data.buffer).setBigUint64(i, random.value(), true);

    // Prefixes.
    const bytes: number[] = [];
    const bySize = /[EGMZIRXYO]v|[IEJ]z|rAX|Ov/.test(row.args) || stackNames.test(row.name);
    const opSizePrefix =
      !vex &&
      e.prefix <= 0 &&
      bySize &&
      !/^J|^CALL|^JMP|^RET|^LOOP|^ENTER|^LEAVE/.test(row.name) &&
      e.prefix !== 0 &&
      random.chance(0.25);
    const prefixed66 = opSizePrefix || (e.prefix >= 2 && bySize && random.chance(0.2));
    // 16-bit addresses reach no data in flat segments: in 32-bit code only what has none is given them.
    const addressless = /^(LEA|JCXZ|LOOP)/.test(row.name);
    const addrSizePrefix =
      codeSize === 16 ? random.chance(0.3) : (!legacy || addressless) && random.chance(addressless ? 0.3 : 0.05);
    const addrSize = codeSize === 64 ? (addrSizePrefix ? 32 : 64) : (codeSize === 16) !== addrSizePrefix ? 16 : 32;
    const w = e.w >= 0 ? e.w : !legacy && random.chance(0.4) ? 1 : 0;
    const opSize = legacy
      ? (codeSize === 16) !== prefixed66
        ? 16
        : 32
      : w || row.force64
        ? 64
        : prefixed66
          ? 16
          : row.default64
            ? 64
            : 32;

    // Operands in ModRM.
    const wantsMemory = e.form === 'm' || (e.form === 'any' && random.chance(0.5));
    const registers = legacy ? 8 : 16;
    let reg = e.digit >= 0 ? e.digit : random.below(registers);
    const { memoryBytes, aligned } = operandsOf(row, opSize);
    const lock = row.lock === true && e.hasModrm && wantsMemory && random.chance(0.15);
    const string = stringNames.test(row.name);
    const rep = string ? random.pick([0, 0, 0xf2, 0xf3]) : 0;

    if (lock) bytes.push(0xf0);
    if (rep) bytes.push(rep);
    const override =
      codeSize === 64 && e.hasModrm && wantsMemory && row.name !== 'LEA' && random.chance(0.1) ? random.below(2) : -1;
    const segmentBase = override < 0 ? base : override === 0 ? FS_BASE : GS_BASE;
    if (override >= 0) bytes.push(0x64 + override);
    if (addrSizePrefix) bytes.push(0x67);
    if (prefixed66 || e.prefix === 1) if (!vex) bytes.push(0x66);
    if (!vex && e.prefix === 2) bytes.push(0xf3);
    if (!vex && e.prefix === 3) bytes.push(0xf2);

    this.#runsOut = string && random.chance(0.2);
    this.#implied(random, gprs, data, string, legacy);
    let rexR = 0;
    let rexX = 0;
    let rexB = 0;
    const tail: number[] = [];
    let modrm = -1;
    let low = 0;
    let ripTarget = -1;
    if (e.opcodeCount === 8) {
      const n = random.below(registers);
      rexB = n >> 3;
      low = n & 7;
    }
    if (e.hasModrm) {
      if (e.modrmFirst >= 0) modrm = e.modrmFirst + random.below(e.modrmLast - e.modrmFirst + 1);
      else if (!wantsMemory) {
        let rm = random.below(registers);
        // A call through RSP would push over the code.
        if (jumpsIndirectly(row) && rm === SP) rm = 3;
        rexB = rm >> 3;
        rexR = e.digit >= 0 ? 0 : reg >> 3;
        modrm = 0xc0 | ((reg & 7) << 3) | (rm & 7);
        if (jumpsIndirectly(row)) gprs[rm] = this.#target(random);
      } else {
        rexR = e.digit >= 0 ? 0 : reg >> 3;
        reg &= 7;
        const address = dataAddress(random, memoryBytes, aligned) - segmentBase;
        const made =
          codeSize === 16 && addrSize === 16
            ? memory16(random, gprs, address)
            : legacy && addrSize === 16
              ? address16(random)
              : this.#memory(random, legacy, addrSizePrefix, gprs, address);
        rexX = made.x;
        rexB = made.b;
        modrm = (made.mod << 6) | (reg << 3) | made.rm;
        tail.push(...made.tail);
        if (made.rip) ripTarget = made.target;
        if (jumpsIndirectly(row)) this.#placeData(data, made.target + segmentBase, this.#target(random));
      }
    }
    const vvvv = /B[yq]/.test(row.args) ? random.below(registers) : 0;
    if (vex) {
      const pp = Math.max(e.prefix, 0);
      const l = Math.max(e.vexL, 0);
      bytes.push(0xc4, ((rexR ^ 1) << 7) | ((rexX ^ 1) << 6) | ((rexB ^ 1) << 5) | (e.map - 4));
      bytes.push((w << 7) | ((vvvv ^ 15) << 3) | (l << 2) | pp);
    } else {
      const rex = 0x40 | (w << 3) | (rexR << 2) | (rexX << 1) | rexB;
      if (!legacy && (rex !== 0x40 || random.chance(0.2))) bytes.push(rex);
      if (e.map >= 1) bytes.push(0x0f);
      if (e.map === 2) bytes.push(0x38);
      if (e.map === 3) bytes.push(0x3a);
    }
    bytes.push(e.opcode + low);
    if (modrm >= 0) bytes.push(modrm);
    bytes.push(...tail);

    // Immediates.
    const immediateAt = bytes.length;
    for (const kind of [e.imm, e.imm2]) {
      const count = [0, 1, 1, 2, 4, opSize === 16 ? 2 : 4, opSize / 8, addrSize / 8, 0][kind];
      if (kind === 7) {
        const address = BigInt(dataAddress(random, opSize / 8, false) - base);
        for (let i = 0; i < count; i++) bytes.push(Number((address >> BigInt(8 * i)) & 0xffn));
        continue;
      }
      const value = random.value();
      for (let i = 0; i < count; i++) bytes.push(Number((value >> BigInt(8 * i)) & 0xffn));
      if (/ c[bz]/.test(row.enc)) {
        // A jump to its own bytes might never end.
        const end = immediateAt + count;
        let distance = random.below(2000) - 1000;
        if (count === 1) distance = (distance << 24) >> 24;
        if (distance < 0 && distance >= -end) distance = 16;
        for (let i = 0; i < count; i++) bytes[immediateAt + i] = (distance >> (8 * i)) & 0xff;
      }
    }
    if (row.name === 'ENTER') {
      // A frame that stays in the window, few levels.
      bytes[immediateAt] = random.below(64);
      bytes[immediateAt + 1] = 0;
      bytes[immediateAt + 2] = random.chance(0.5) ? 0 : random.below(6);
    } else if (row.name === 'RET' && e.imm) bytes[immediateAt + 1] = 0;
    if (ripTarget >= 0) {
      const at = immediateAt - 4;
      const disp = ripTarget - (codeAt(64) + bytes.length);
      for (let i = 0; i < 4; i++) bytes[at + i] = (disp >> (8 * i)) & 0xff;
    }

    let rflags = 0x202 | (random.next() & 0x8d5);
    if (string && !this.#runsOut && random.chance(0.4)) rflags |= 0x400;
    const code = new Uint8Array(CODE_BYTES).fill(0xf4);
    code.set(bytes);
    const made: RowCase = {
      codeSize,
      gprs,
      rflags,
      fx: randomFx(random, row, codeSize),
      code,
      length: bytes.length,
      data,
      opSize: /b\b|\bb/.test(row.args.split(',')[0].slice(1, 2)) ? 8 : opSize,
      immediate: bytes[immediateAt] ?? 0,
      faulted: false,
      undefinedFlags: 0,
    };
    made.undefinedFlags = undefinedFlags(row, made);
    if (row.flags?.w && row.unit === undefined && random.chance(0.6)) this.#follow(random, made);
    return made;
  }

  /** Puts an instruction behind that uses the flags: within one block its condition is not computed from EFLAGS' bits. */
  #follow(random: Random, c: RowCase): void {
    const r = random.below(4);
    const usesCarry = (c.undefinedFlags & 1) === 0;
    switch (random.below(4)) {
      case 0:
        if (!usesCarry) return;
        c.code.set([0x11, 0xc0 | (random.below(8) << 3) | r], c.length); // adc
        c.undefinedFlags = 0;
        break;
      case 1:
        c.code.set([0xfe, 0xc0 | (random.below(2) << 3) | r], c.length); // inc, dec
        c.undefinedFlags &= 1;
        break;
      default: {
        const code = random.below(16);
        if (conditionUses[code >> 1] & c.undefinedFlags) return;
        c.code.set([0x0f, 0x90 | code, 0xc0 | r], c.length); // setcc
      }
    }
  }

  /** A ModRM memory operand at `target`, by any of the addressing forms; sets the registers that it uses. */
  #memory(random: Random, is32: boolean, addr32: boolean, gprs: bigint[], target: number) {
    const registers = is32 ? 8 : 16;
    const mask = is32 || addr32 ? 0xffffffffn : 0xffffffffffffffffn;
    const disp = random.chance(0.5) ? random.below(256) - 128 : (random.next() | 0) >> random.below(20);
    const small = disp === (disp << 24) >> 24;
    const bytes32 = (value: number) => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >> 24) & 0xff];
    // Upper halves count for nothing with 32-bit addresses: leave rubbish there.
    const place = (n: number, value: bigint) => {
      const rubbish = is32 || mask !== 0xffffffffn ? 0n : BigInt(random.next()) << 32n;
      gprs[n] = BigInt.asUintN(64, (value & mask) | rubbish);
    };
    const form = random.below(10);
    if (form === 0) {
      if (is32) return { mod: 0, rm: 5, tail: bytes32(target), x: 0, b: 0, target, rip: false };
      return { mod: 0, rm: 5, tail: [0, 0, 0, 0], x: 0, b: 0, target, rip: true };
    }
    if (form === 1) return { mod: 0, rm: 4, tail: [0x25, ...bytes32(target)], x: 0, b: 0, target, rip: false };
    let base = random.below(registers);
    // Flags, counters and the like of string and stack instructions are elsewhere: any register may be a base.
    if (form < 6 && (base & 7) !== 4) {
      const mod = (base & 7) === 5 || random.chance(0.7) ? (small ? 1 : 2) : 0;
      place(base, BigInt(target) - (mod === 0 ? 0n : BigInt(disp)));
      const tail = mod === 0 ? [] : mod === 1 ? [disp & 0xff] : bytes32(disp);
      return { mod, rm: base & 7, tail, x: 0, b: base >> 3, target, rip: false };
    }
    const scale = random.below(4);
    let index = random.below(registers);
    if (index === base) index = (index + 1) % registers;
    const mod = random.chance(0.7) ? (small ? 1 : 2) : 0;
    if (mod === 0 && (base & 7) === 5) base = base === 5 ? 3 : 11;
    if (index === base) index = 1;
    const usesIndex = index !== 4;
    if (usesIndex)
      gprs[index] = BigInt.asUintN(is32 ? 32 : 64, random.chance(0.5) ? BigInt(random.below(64)) : random.value());
    const offset = (usesIndex ? gprs[index] << BigInt(scale) : 0n) + (mod === 0 ? 0n : BigInt(disp));
    place(base, BigInt(target) - offset);
    const sib = (scale << 6) | ((index & 7) << 3) | (base & 7);
    const tail = mod === 0 ? [] : mod === 1 ? [disp & 0xff] : bytes32(disp);
    return { mod, rm: 4, tail: [sib, ...tail], x: index >> 3, b: base >> 3, target, rip: false };
  }

  /** Somewhere among the HLTs, as the code sees it. */
  #target(random: Random): bigint {
    return BigInt(codeAt(this.#codeSize) + CODE_BYTES + random.below(1000));
  }

  #placeData(data: Uint8Array, address: number, value: bigint): void {
    let start = 0;
    for (const window of dataWindows) {
      const at = address - window.start;
      for (let i = 0; i < 8; i++) {
        if (at + i >= 0 && at + i < window.bytes) data[start + at + i] = Number((value >> BigInt(8 * i)) & 0xffn);
      }
      start += window.bytes;
    }
  }

  /** Registers that the instruction uses without naming them. */
  #implied(random: Random, gprs: bigint[], data: Uint8Array, string: boolean, is32: boolean): void {
    const { row } = this;
    const base = dataBase(this.#codeSize);
    const middle = () => BigInt(dataAddress(random, 8, false) - base);
    if (stackNames.test(row.name)) {
      const top = middle();
      // Of a 16-bit stack pointer the upper half counts for nothing, and stays.
      gprs[SP] = this.#codeSize === 16 ? top | (BigInt(random.next() & 0x7fff0000) & 0xffff0000n) : top;
      if (/^(ENTER|LEAVE)/.test(row.name)) gprs[BP] = middle();
      if (row.name === 'RET') {
        this.#placeData(data, Number(top) + base, this.#target(random));
      }
    }
    if (string) {
      // All elements lie in a window, up or down, or run up into the end of what is mapped.
      const inside = () => BigInt(dataWindows[0].start + 300 + random.below(400) - base);
      gprs[6] = inside();
      gprs[7] = random.chance(0.3) ? BigInt.asUintN(64, gprs[6] + BigInt(random.below(9) - 4)) : inside();
      gprs[1] = BigInt(random.below(random.chance(0.3) ? 36 : 12));
      if (this.#runsOut) gprs[random.pick([6, 7])] = BigInt(dataWindows[1].start + 100 + random.below(156) - base);
    }
    if (row.name.startsWith('MASKMOV')) gprs[7] = BigInt(dataAddress(random, 16, false) - base);
    if (row.name === 'XLAT') gprs[3] = BigInt(dataAddress(random, 256, false) - base);
    if (/^BT/.test(row.name) && !row.enc.includes('BA')) {
      // A bit string near the operand: any register may hold the offset.
      for (let n = 0; n < (is32 ? 8 : 16); n++) {
        if (random.chance(0.6)) gprs[n] = BigInt.asUintN(is32 ? 32 : 64, BigInt(random.below(512) - 256));
      }
    }
    if (/^(I?DIV)$/.test(row.name) && random.chance(0.8)) gprs[2] = BigInt(random.below(3));
  }
}

const BX = 3;
const SI = 6;
const DI = 7;
/** Registers of the 16-bit addressing forms, by ModRM.rm. */
const forms16 = [[BX, SI], [BX, DI], [BP, SI], [BP, DI], [SI], [DI], [BP], [BX]] as const;

/** A ModRM memory operand at `target` with 16-bit addressing; sets the registers that it uses. */
function memory16(random: Random, gprs: bigint[], target: number) {
  const mod = random.below(3);
  const rm = random.below(8);
  const absolute = mod === 0 && rm === 6;
  const disp = absolute ? target : mod === 0 ? 0 : mod === 1 ? random.below(256) - 128 : random.below(0x10000);
  const put = (n: number, value: number) => {
    gprs[n] = (gprs[n] & 0xffff0000n) | BigInt(value & 0xffff);
  };
  if (!absolute) {
    const [first, second] = forms16[rm];
    const index = second === undefined ? 0 : random.below(0x10000);
    if (second !== undefined) put(second, index);
    put(first, target - disp - index);
  }
  const bytes = absolute || mod === 2 ? 2 : mod;
  const tail = [disp & 0xff, (disp >> 8) & 0xff].slice(0, bytes);
  return { mod, rm, tail, x: 0, b: 0, target, rip: false };
}

/** Any ModRM memory operand with 16-bit addressing. */
function address16(random: Random) {
  const mod = random.below(3);
  const rm = random.below(8);
  const count = mod === 1 ? 1 : mod === 2 || rm === 6 ? 2 : 0;
  return { mod, rm, tail: Array.from({ length: count }, () => random.below(256)), x: 0, b: 0, target: 0, rip: false };
}

/** The FXSAVE image: x87 and SSE state. */
function randomFx(random: Random, row: InsnRow, codeSize: number): Uint8Array {
  const image = new Uint8Array(FX_BYTES);
  const view = new DataView(image.buffer);
  view.setUint16(fx.control, 0x37f, true);
  view.setUint32(fx.mxcsr, 0x1f80, true);
  if (row.unit === undefined) return image;
  const isMmx = row.unit === 'mmx';
  // An unmasked exception keeps a store from being made, and processors then do not look at the segment's limit; we do.
  const masks = codeSize === 16 || random.chance(0.5) ? 0x3f : random.below(64);
  view.setUint16(fx.control, random.chance(0.6) ? 0x37f : 0x40 | masks | (random.below(16) << 8), true);
  view.setUint16(fx.status, (random.below(8) << 11) | (random.next() & 0x4700), true);
  view.setUint8(fx.tags, isMmx && random.chance(0.5) ? 0 : random.next() & 0xff);
  view.setUint32(
    fx.mxcsr,
    0x1f80 |
      (random.chance(0.7) ? 0 : (random.below(4) << 13) | (random.chance(0.3) ? 0x8040 : 0)) |
      (random.chance(0.3) ? 0x20 : 0),
    true,
  );
  for (let i = 0; i < 8; i++) {
    const at = fx.st + 16 * i;
    if (row.unit === 'fpu') {
      view.setBigUint64(at, random.chance(0.7) ? random.value() | (1n << 63n) : random.value(), true);
      const exponent = random.chance(0.7) ? 0x3ff0 + random.below(40) : random.pick([0, 1, 0x7ffe, 0x7fff, 0x3fff]);
      view.setUint16(at + 8, exponent | (random.below(2) << 15), true);
    } else {
      view.setBigUint64(at, random.value(), true);
      view.setUint16(at + 8, 0xffff, true);
    }
  }
  // Now and then all registers hold one number, or its negative: comparisons of equals.
  const common = random.chance(0.1) ? random.pick([floatPair, doubleBits, () => 0n])(random) : undefined;
  for (let i = 0; i < 16; i++) {
    const at = fx.xmm + 16 * i;
    const kind = random.below(4);
    for (let part = 0; part < 2; part++) {
      let value = random.value();
      if (kind === 0) value = floatPair(random);
      else if (kind === 1) value = doubleBits(random);
      if (common !== undefined) value = common ^ random.pick([0n, 1n << 63n, (1n << 63n) | (1n << 31n)]);
      view.setBigUint64(at + 8 * part, value, true);
    }
  }
  return image;
}

const scratch = new DataView(new ArrayBuffer(8));

function floatPair(random: Random): bigint {
  for (let i = 0; i < 2; i++) {
    const exponent = random.chance(0.8) ? 127 + random.below(40) - 20 : random.pick([0, 1, 254, 255]);
    scratch.setUint32(
      4 * i,
      ((random.below(2) << 31) | (exponent << 23) | (random.chance(0.2) ? 0 : random.next() >>> 9)) >>> 0,
      true,
    );
  }
  return scratch.getBigUint64(0, true);
}

function doubleBits(random: Random): bigint {
  const exponent = random.chance(0.8) ? 1023 + random.below(80) - 40 : random.pick([0, 1, 2046, 2047]);
  scratch.setUint32(0, random.chance(0.2) ? 0 : random.next(), true);
  scratch.setUint32(
    4,
    ((random.below(2) << 31) | (exponent << 20) | (random.chance(0.2) ? 0 : random.next() >>> 12)) >>> 0,
    true,
  );
  return scratch.getBigUint64(0, true);
}
