/**
 * A local APIC's state as its register page (Intel SDM vol. 3, table 11-1), a 32-bit word every 16 bytes: how KVM gives and takes the
 * state of one that lies in the kernel. What is not in the page (IA32_APIC_BASE, IA32_TSC_DEADLINE) goes beside it.
 */
import { LapicState, type LocalApic } from './lapic.js';
import { APIC_REGISTERS as R } from './registers.js';

export const REGISTER_PAGE_BYTES = 1024;

const MSR_APIC_BASE = 0x1b;
const MSR_TSC_DEADLINE = 0x6e0;
const ONE_SHOT = 0;
const TSC_DEADLINE = 2;
const BASE_EXTD = 0x400n;
const BASE_EN = 0x800n;

export function writeRegisterPage(lapic: LocalApic, page: DataView): void {
  const { state } = lapic;
  const put = (index: number, value: number) => page.setUint32(index * 16, value >>> 0, true);
  const rows = (index: number, values: ArrayLike<number>) => {
    for (let i = 0; i < values.length; i++) put(index + i, values[i]!);
  };
  put(R.ID.index, lapic.id << 24);
  put(R.VERSION.index, 0x50014);
  put(R.TPR.index, state.TPR);
  put(R.LDR.index, state.LDR);
  put(R.DFR.index, state.DFR);
  put(R.SVR.index, state.SVR);
  rows(R.ISR.index, state.ISR);
  rows(R.TMR.index, state.TMR);
  rows(R.IRR.index, state.IRR);
  put(R.ESR.index, state.ESR);
  put(R.ICR.index, state.ICR);
  put(R.ICR_HIGH.index, state.ICR_HIGH);
  rows(R.LVT_TIMER.index, state.LVT);
  // A timer that has run out has a count of 0, and KVM would let it run out once more: it gets one that was never begun.
  put(R.INITIAL_COUNT.index, hasRunOut(lapic) ? 0 : state.initialCount);
  const isRunning = state.timerDeadlineNs !== Infinity && timerMode(lapic) !== TSC_DEADLINE;
  put(R.CURRENT_COUNT.index, isRunning ? Math.max(1, lapic.currentCount()) : 0);
  put(R.DIVIDE.index, state.divide);
}

const timerMode = ({ state }: LocalApic) => (state.LVT[0]! >> 17) & 3;

/** A timer that goes off once did so. */
const hasRunOut = (lapic: LocalApic) =>
  timerMode(lapic) === ONE_SHOT && lapic.state.timerDeadlineNs === Infinity && lapic.state.initialCount !== 0;

/** Of a page that KVM gave: a timer that goes off once is at its end, and its interrupt may still be KVM's alone. */
export function isTimerAtEnd(page: DataView): boolean {
  const get = (index: number) => page.getUint32(index * 16, true);
  const mode = (get(R.LVT_TIMER.index) >> 17) & 3;
  return mode === ONE_SHOT && get(R.INITIAL_COUNT.index) !== 0 && get(R.CURRENT_COUNT.index) === 0;
}

/** Everything as the page and the two MSRs say, of the APIC that was written before; `nowNs` is the machine's time. */
export function readRegisterPage(
  lapic: LocalApic,
  page: DataView,
  msrs: { readonly base: bigint; readonly tscDeadline: bigint },
  nowNs: number,
): void {
  const get = (index: number) => page.getUint32(index * 16, true);
  const ranOut = hasRunOut(lapic) ? lapic.state.initialCount : 0;
  const state = LapicState.allocate();
  LapicState.load(state, LapicState.save(lapic.state));
  state.enabled = (msrs.base & BASE_EN) !== 0n;
  state.x2apic = (msrs.base & BASE_EXTD) !== 0n;
  state.baseGpa = Number(msrs.base & 0xffffffffff000n);
  state.TPR = get(R.TPR.index);
  if (!state.x2apic) state.LDR = get(R.LDR.index);
  state.DFR = get(R.DFR.index);
  state.SVR = get(R.SVR.index);
  for (let i = 0; i < 8; i++) {
    state.ISR[i] = get(R.ISR.index + i);
    state.TMR[i] = get(R.TMR.index + i);
    state.IRR[i] = get(R.IRR.index + i);
  }
  state.ESR = get(R.ESR.index);
  state.ICR = get(R.ICR.index);
  state.ICR_HIGH = get(R.ICR_HIGH.index);
  for (let i = 0; i < state.LVT.length; i++) state.LVT[i] = get(R.LVT_TIMER.index + i);
  state.divide = get(R.DIVIDE.index) & 0x0b;
  const mode = (state.LVT[0]! >> 17) & 3;
  state.initialCount = get(R.INITIAL_COUNT.index) || (mode === ONE_SHOT ? ranOut : 0);
  const left = get(R.CURRENT_COUNT.index);
  const isDeadline = mode === TSC_DEADLINE;
  state.tscDeadline = 0n;
  state.timerDeadlineNs =
    isDeadline || state.initialCount === 0 || left === 0 ? Infinity : nowNs + left * countNs(state.divide);
  lapic.load(LapicState.save(state));
  if (isDeadline && msrs.tscDeadline !== 0n) lapic.writeMsr(MSR_TSC_DEADLINE, msrs.tscDeadline);
}

/** Nanoseconds a count of the timer takes: KVM's clock is that of the model. */
function countNs(divide: number): number {
  const code = (divide & 3) | ((divide >> 1) & 4);
  return code === 7 ? 1 : 2 << code;
}

export const apicBaseOf = (lapic: LocalApic): bigint => lapic.readMsr(MSR_APIC_BASE) ?? 0n;
