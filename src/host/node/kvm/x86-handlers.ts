/**
 * Where a vCPU's handlers of page faults and system calls begin, for the lens: KVM does not tell when ring 3 enters ring 0, but a
 * breakpoint at a handler's first instruction does. Four is what a processor has.
 */
import type { X86Cpu } from '../../../guest/x86/system/cpu.js';
import { call } from './abi.js';
import type { KvmVcpuCalls } from './vcpu.js';

/** What a handler is for: a vector of the IDT, or SYSCALL. */
export type Handled = number | 'syscall';

const MSR_LSTAR = 0xc0000082;
const SREGS_BYTES = 312;
const IDT_AT = 8 * 24 + 16;
const PAGE_FAULT = 14;
/** Breakpoint instruction and Linux's gate for system calls of 32-bit programs. */
const CALL_VECTORS = [3, 0x80];
const GATE_PRESENT = 0x8000;

export class X86Handlers {
  readonly #vcpu: KvmVcpuCalls;
  readonly #cpu: X86Cpu;
  readonly #sregs = new DataView(new ArrayBuffer(SREGS_BYTES));
  readonly #msr = new DataView(new ArrayBuffer(24));
  #seen = '';

  constructor(vcpu: KvmVcpuCalls, cpu: X86Cpu) {
    this.#vcpu = vcpu;
    this.#cpu = cpu;
  }

  /** The vCPU, which is in KVM's hands and stands, has other handlers than at the last look, or may have. */
  changed(): boolean {
    this.#vcpu.call('give its control registers', call.getSregs, new Uint8Array(this.#sregs.buffer));
    this.#msr.setUint32(0, 1, true);
    this.#msr.setUint32(8, MSR_LSTAR, true);
    this.#vcpu.call('give a model-specific register', call.getMsrs, new Uint8Array(this.#msr.buffer));
    const { idt, limit, lstar } = this.#now();
    const seen = `${idt} ${limit} ${lstar}`;
    if (seen === this.#seen) return false;
    this.#seen = seen;
    return true;
  }

  #now(): { idt: bigint; limit: number; lstar: bigint } {
    return {
      idt: this.#sregs.getBigUint64(IDT_AT, true),
      limit: this.#sregs.getUint16(IDT_AT + 8, true),
      lstar: this.#msr.getBigUint64(16, true),
    };
  }

  /** Linear addresses of the handlers in long mode; the state is at home. None in other modes. */
  addresses(): ReadonlyMap<bigint, Handled> {
    const found = new Map<bigint, Handled>();
    const { vcpu } = this.#cpu;
    if (!vcpu.isLong) return found;
    const { idt, limit, lstar } = this.#now();
    for (const vector of [PAGE_FAULT, ...CALL_VECTORS]) {
      if (16 * vector + 15 > limit) continue;
      const word = (at: number) => this.#load32(idt + BigInt(16 * vector + at));
      const [first, second, third] = [word(0), word(4), word(8)];
      if (first === undefined || second === undefined || third === undefined || !(second & GATE_PRESENT)) continue;
      const offset = (BigInt(third) << 32n) | BigInt(((second & 0xffff0000) | (first & 0xffff)) >>> 0);
      if (!found.has(offset)) found.set(offset, vector);
    }
    if (lstar !== 0n) found.set(lstar, 'syscall');
    return found;
  }

  #load32(linear: bigint): number | undefined {
    const gpa = this.#cpu.translate(linear);
    return gpa === undefined ? undefined : (this.#cpu.vcpu.call('phys_load32', gpa) as number) >>> 0;
  }
}
