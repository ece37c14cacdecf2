/** Stacks as gates, far transfers and IRET use them: pushes and pops that commit nothing until the caller does. */
import { descriptor, seg, vector } from './bits.js';
import { asWhom } from './guest-memory.js';
import type { Vcpu } from './vcpu.js';

const RSP = 4;
const MASK32 = 0xffffffffn;

/** Hidden part of a stack segment. */
export interface StackSegment {
  readonly base: bigint;
  readonly limit: number;
  readonly attributes: number;
}

export class Stack {
  readonly #cpu: Vcpu;
  readonly #segment: StackSegment;
  readonly #whom: number;
  readonly #errorCode: number;
  /** 64-bit code: flat, full width. */
  readonly #long: boolean;
  readonly #mask: bigint;
  /** The stack pointer, cut to the stack's width. */
  pointer: bigint;

  /** `errorCode`: of the #SS that an access outside the limit raises. */
  constructor(cpu: Vcpu, segment: StackSegment, pointer: bigint, whom: number, errorCode: number, long: boolean) {
    this.#cpu = cpu;
    this.#segment = segment;
    this.#whom = whom;
    this.#errorCode = errorCode;
    this.#long = long;
    this.#mask = long ? 0xffffffffffffffffn : segment.attributes & descriptor.big ? MASK32 : 0xffffn;
    this.pointer = pointer & this.#mask;
  }

  /** The current stack, accessed as the running program does. */
  static current(cpu: Vcpu, errorCode = 0): Stack {
    const segment = { base: cpu.getBase(seg.SS), limit: cpu.getLimit(seg.SS), attributes: cpu.getAttributes(seg.SS) };
    return new Stack(cpu, segment, cpu.getGpr(RSP), asWhom.current, errorCode, cpu.codeSize === 64);
  }

  #linear(offset: bigint, bytes: number): bigint {
    const cpu = this.#cpu;
    if (this.#long) {
      if (!cpu.isCanonical(offset)) cpu.raise(vector.SS, this.#errorCode);
      return offset;
    }
    const { base, limit, attributes } = this.#segment;
    const first = Number(offset);
    const last = first + bytes - 1;
    const expandDown = (attributes & (descriptor.code | descriptor.expandDown)) === descriptor.expandDown;
    const top = attributes & descriptor.big ? 0xffffffff : 0xffff;
    // Protected mode's expand-down applies nowhere else: real-mode attributes are those of plain data.
    if (expandDown ? first <= limit || last > top : last > limit) cpu.raise(vector.SS, this.#errorCode);
    return (base + offset) & MASK32;
  }

  push(value: bigint, size: 2 | 4 | 8): void {
    const next = (this.pointer - BigInt(size)) & this.#mask;
    this.#cpu.store(this.#linear(next, size), value, size, this.#whom);
    this.pointer = next;
  }

  pop(size: 2 | 4 | 8): bigint {
    const value = this.#cpu.load(this.#linear(this.pointer, size), size, this.#whom);
    this.pointer = (this.pointer + BigInt(size)) & this.#mask;
    return value;
  }

  /** A value above the top, nothing popped. */
  peek(bytesAbove: number, size: 2 | 4 | 8): bigint {
    const at = (this.pointer + BigInt(bytesAbove)) & this.#mask;
    return this.#cpu.load(this.#linear(at, size), size, this.#whom);
  }

  skip(bytes: number): void {
    this.pointer = (this.pointer + BigInt(bytes)) & this.#mask;
  }

  /** Writes the pointer to RSP, as wide as the stack is. */
  commit(): void {
    const old = this.#cpu.getGpr(RSP);
    this.#cpu.setGpr(RSP, this.#mask === 0xffffn ? (old & ~0xffffn) | this.pointer : this.pointer);
  }
}
