/** What debuggers set in the processor's debug registers (Intel SDM vol. 3, 18.2), as KVM_SET_GUEST_DEBUG takes it. */
import type { Watchpoint } from '../../../accel/index.js';
import { debugControl } from './abi.js';

const SLOTS = 4;
/** `struct kvm_guest_debug` */
const DEBUG_BYTES = 72;
const REGISTERS = 8;
const DR7_ALWAYS = 0x400n;
const lengthCode: Readonly<Record<number, bigint>> = { 1: 0n, 2: 1n, 4: 3n, 8: 2n };
const WRITE = 1n;
const ACCESS = 3n;

interface DataSlot {
  readonly address: bigint;
  readonly size: number;
  readonly watchpoint: Watchpoint;
}

/** Aligned pieces that cover all watchpoints; undefined: the processor cannot watch them. It has none for reads alone. */
export function dataSlots(watchpoints: readonly Watchpoint[]): DataSlot[] | undefined {
  const slots: DataSlot[] = [];
  for (const watchpoint of watchpoints) {
    if (watchpoint.kind === 'read') return undefined;
    for (let done = 0; done < watchpoint.length; ) {
      const address = BigInt.asUintN(64, watchpoint.address + BigInt(done));
      const left = watchpoint.length - done;
      const size = [8, 4, 2, 1].find((each) => each <= left && address % BigInt(each) === 0n) as number;
      if (slots.push({ address, size, watchpoint }) > SLOTS) return undefined;
      done += size;
    }
  }
  return slots;
}

/** What a debugger wants of all vCPUs. */
export class X86DebugSlots {
  readonly breakpoints: ReadonlySet<bigint>;
  readonly #data: readonly DataSlot[];

  /** `watchpoints`: those that `dataSlots` has places for. */
  constructor(breakpoints: ReadonlySet<bigint> = new Set(), watchpoints: readonly Watchpoint[] = []) {
    this.breakpoints = breakpoints;
    this.#data = dataSlots(watchpoints) ?? [];
  }

  get isEmpty(): boolean {
    return this.breakpoints.size === 0 && this.#data.length === 0;
  }

  /** There is no room for all breakpoints: the guest goes step by step. */
  get isStepwise(): boolean {
    return this.breakpoints.size > SLOTS - this.#data.length;
  }

  /** The watchpoint that DR6 tells of. */
  hit(dr6: bigint): Watchpoint | undefined {
    return this.#data.find((_, slot) => (dr6 >> BigInt(slot)) & 1n)?.watchpoint;
  }

  /** `struct kvm_guest_debug`; `step`: the vCPU is to stop after each instruction. */
  request(step: boolean): Uint8Array {
    const debug = new DataView(new ArrayBuffer(DEBUG_BYTES));
    let dr7 = DR7_ALWAYS;
    const set = (slot: number, address: bigint, kind: bigint) => {
      debug.setBigUint64(REGISTERS + 8 * slot, address, true);
      dr7 |= (2n << BigInt(2 * slot)) | (kind << BigInt(16 + 4 * slot));
    };
    this.#data.forEach(({ address, size, watchpoint }, slot) => {
      set(slot, address, (watchpoint.kind === 'write' ? WRITE : ACCESS) | ((lengthCode[size] as bigint) << 2n));
    });
    if (!step)
      [...this.breakpoints].forEach((address, i) => {
        set(this.#data.length + i, address, 0n);
      });
    let control = 0;
    if (step) control |= debugControl.enable | debugControl.singleStep;
    if (dr7 !== DR7_ALWAYS) {
      control |= debugControl.enable | debugControl.hardwareBreakpoints;
      debug.setBigUint64(REGISTERS + 8 * 7, dr7, true);
    }
    debug.setUint32(0, control, true);
    return new Uint8Array(debug.buffer);
  }
}
