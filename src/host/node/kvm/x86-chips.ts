/**
 * The states of the 8259s, the I/O APIC and the 8254 between their homes (src/hw) and KVM's: arch/x86/include/uapi/asm/kvm.h. Levels of
 * lines are no part of it: who drives them keeps them.
 */
import { type IoApic, type PicPair, type Pit, ticksAt } from '../../../hw/index.js';

type PicChip = PicPair['state']['chips'][number];
type PitChannel = Pit['state']['channels'][number];

/** `struct kvm_pic_state` */
const pic = {
  lastIrr: 0,
  irr: 1,
  imr: 2,
  isr: 3,
  highest: 4,
  vectorBase: 5,
  readsIsr: 6,
  poll: 7,
  specialMask: 8,
  initState: 9,
  autoEoi: 10,
  rotateOnAutoEoi: 11,
  specialFullyNested: 12,
  expectsIcw4: 13,
  elcr: 14,
  elcrMask: 15,
};
const ELCR_MASKS = [0xf8, 0xde];
const CASCADE = 4;

/** `lines`: levels of its inputs, a bit each. */
export function writePic(chip: PicChip, which: 0 | 1, lines: number, bytes: Uint8Array): void {
  bytes[pic.lastIrr] = which === 0 ? lines & ~CASCADE : lines;
  bytes[pic.irr] = chip.IRR;
  bytes[pic.imr] = chip.IMR;
  bytes[pic.isr] = chip.ISR;
  bytes[pic.highest] = chip.highest;
  bytes[pic.vectorBase] = chip.vectorBase;
  bytes[pic.readsIsr] = chip.readsIsr ? 1 : 0;
  bytes[pic.poll] = chip.poll ? 1 : 0;
  bytes[pic.specialMask] = chip.specialMask ? 1 : 0;
  bytes[pic.initState] = Math.max(0, chip.awaited - 1);
  bytes[pic.autoEoi] = chip.autoEoi ? 1 : 0;
  bytes[pic.rotateOnAutoEoi] = chip.rotateOnAutoEoi ? 1 : 0;
  bytes[pic.specialFullyNested] = chip.specialFullyNested ? 1 : 0;
  bytes[pic.expectsIcw4] = chip.expectsIcw4 ? 1 : 0;
  bytes[pic.elcr] = chip.ELCR;
  bytes[pic.elcrMask] = ELCR_MASKS[which];
}

/** KVM knows neither level mode nor single mode (ICW1): they stay as they are. */
export function readPic(chip: PicChip, lines: number, bytes: Uint8Array): void {
  chip.lines = lines;
  chip.IRR = bytes[pic.irr];
  chip.IMR = bytes[pic.imr];
  chip.ISR = bytes[pic.isr];
  chip.highest = bytes[pic.highest] & 7;
  chip.vectorBase = bytes[pic.vectorBase];
  chip.readsIsr = bytes[pic.readsIsr] !== 0;
  chip.poll = bytes[pic.poll] !== 0;
  chip.specialMask = bytes[pic.specialMask] !== 0;
  const { [pic.initState]: awaited } = bytes;
  chip.awaited = awaited === 0 ? 0 : Math.min(awaited, 3) + 1;
  chip.autoEoi = bytes[pic.autoEoi] !== 0;
  chip.rotateOnAutoEoi = bytes[pic.rotateOnAutoEoi] !== 0;
  chip.specialFullyNested = bytes[pic.specialFullyNested] !== 0;
  chip.expectsIcw4 = bytes[pic.expectsIcw4] !== 0;
  chip.ELCR = bytes[pic.elcr];
}

/** `struct kvm_ioapic_state` */
const ioapic = { base: 0, select: 8, id: 12, irr: 16, entries: 24 };
const MASKED = 0x10000;
const LEVEL = 0x8000;
const DELIVERY_STATUS = 0x1000;

export function writeIoApic({ state }: IoApic, gpa: number, view: DataView): void {
  view.setBigUint64(ioapic.base, BigInt(gpa), true);
  view.setUint32(ioapic.select, state.select, true);
  view.setUint32(ioapic.id, state.ID, true);
  let requests = 0;
  state.low.forEach((low, pin) => {
    // An edge that has been delivered is none any more.
    if ((low & (LEVEL | MASKED)) !== 0) requests |= state.lines & (1 << pin);
    view.setUint32(ioapic.entries + 8 * pin, low, true);
    view.setUint32(ioapic.entries + 8 * pin + 4, state.high[pin], true);
  });
  view.setUint32(ioapic.irr, requests, true);
}

export function readIoApic({ state }: IoApic, lines: number, view: DataView): void {
  state.select = view.getUint32(ioapic.select, true) & 0xff;
  state.ID = view.getUint32(ioapic.id, true) & 15;
  state.lines = lines;
  for (let pin = 0; pin < state.low.length; pin++) {
    state.low[pin] = view.getUint32(ioapic.entries + 8 * pin, true) & ~DELIVERY_STATUS & 0x1ffff;
    state.high[pin] = view.getUint32(ioapic.entries + 8 * pin + 4, true) & 0xff000000;
  }
}

/** `struct kvm_pit_state2` */
const CHANNEL_BYTES = 24;
const PIT_FLAGS = 3 * CHANNEL_BYTES;
export const PIT_STATE_BYTES = 112;
const channel = {
  count: 0,
  latched: 4,
  countLatched: 6,
  statusLatched: 7,
  status: 8,
  readState: 9,
  writeState: 10,
  writeLatch: 11,
  access: 12,
  mode: 13,
  bcd: 14,
  gate: 15,
  loadTime: 16,
};
/** Of accesses by two bytes: the second one. */
const HIGH_OF_WORD = 4;
/** A channel's mode while it has not been programmed: its timer stands. */
const NO_MODE = 0xff;
const HPET_LEGACY = 1;
const SPEAKER_ON = 2;

const isPeriodic = (mode: number) => mode === 2 || mode === 3;

/**
 * KVM begins to count when it gets the state: what is left of a count that goes down once is its count there. The phase of one that
 * comes again and again is another in KVM; home keeps its own.
 */
export function writePit({ state }: Pit, nowNs: number, isReplaced: boolean, view: DataView): void {
  state.channels.forEach((from, i) => {
    writeChannel(from, ticksAt(nowNs), new DataView(view.buffer, view.byteOffset + i * CHANNEL_BYTES, CHANNEL_BYTES));
  });
  view.setUint32(PIT_FLAGS, (isReplaced ? HPET_LEGACY : 0) | (state.control & SPEAKER_ON), true);
}

function writeChannel(from: PitChannel, nowTick: number, view: DataView): void {
  let { count } = from;
  if (from.nextCount !== 0) count = from.nextCount;
  else if (from.running && !isPeriodic(from.mode)) {
    const elapsed = from.frozenTicks >= 0 ? from.frozenTicks : Math.max(0, nowTick - from.startTick);
    count = (((count - elapsed) % 65536) + 65536) % 65536;
  }
  view.setUint32(channel.count, count || 65536, true);
  view.setUint16(channel.latched, from.latched, true);
  const left = from.latchedBytes;
  view.setUint8(channel.countLatched, left === 0 ? 0 : left === 2 ? 3 : from.access === 1 ? 1 : 2);
  view.setUint8(channel.statusLatched, from.statusLatched ? 1 : 0);
  view.setUint8(channel.status, from.status);
  const isWord = from.access === 3;
  view.setUint8(channel.readState, isWord && from.readsHigh ? HIGH_OF_WORD : from.access);
  view.setUint8(channel.writeState, isWord && from.writesHigh ? HIGH_OF_WORD : from.access);
  view.setUint8(channel.writeLatch, from.lowByte);
  view.setUint8(channel.access, from.access);
  view.setUint8(channel.mode, from.count === 0 ? NO_MODE : from.mode);
  view.setUint8(channel.bcd, from.bcd ? 1 : 0);
  view.setUint8(channel.gate, from.gate ? 1 : 0);
  view.setBigInt64(channel.loadTime, 0n, true);
}

/** Makes a state's first channel stand. */
export function stopPit(view: DataView): void {
  view.setUint8(channel.mode, NO_MODE);
}

/**
 * `sent`: what KVM said when it had just taken the state. A channel that is still as it was then counts on at home as if nothing had
 * been. Of one that the guest has loaded since KVM tells when that was; not of the first, which is taken as loaded now.
 * `nowNs`, `monotonicNs`: the machine's time, and the host's.
 */
export function readPit({ state }: Pit, view: DataView, sent: DataView, nowNs: number, monotonicNs: bigint): void {
  const nowTick = ticksAt(nowNs);
  state.channels.forEach((to, i) => {
    const part = (whole: DataView) => new DataView(whole.buffer, whole.byteOffset + i * CHANNEL_BYTES, CHANNEL_BYTES);
    const now = part(view);
    const before = part(sent);
    readBytes(to, now);
    const same = (at: number) => now.getUint8(at) === before.getUint8(at);
    const loadTime = now.getBigInt64(channel.loadTime, true);
    const isSame =
      now.getUint32(channel.count, true) === before.getUint32(channel.count, true) &&
      [channel.mode, channel.bcd, channel.gate].every(same) &&
      (i === 0 || loadTime === before.getBigInt64(channel.loadTime, true));
    if (isSame) return;
    to.bcd = now.getUint8(channel.bcd) !== 0;
    to.gate = now.getUint8(channel.gate) !== 0;
    const mode = now.getUint8(channel.mode);
    if (mode > 5) return;
    to.mode = mode;
    const count = now.getUint32(channel.count, true);
    to.count = count === 0 || count > 65536 ? 65536 : count;
    to.nextCount = 0;
    to.nullCount = false;
    to.running = true;
    const sinceNs = i === 0 ? 0 : Math.max(0, Number(monotonicNs - loadTime));
    to.startTick = Math.max(0, ticksAt(Math.max(0, nowNs - sinceNs)));
    to.frozenTicks = to.gate ? -1 : nowTick - to.startTick;
  });
  const speaker = view.getUint32(PIT_FLAGS, true) & SPEAKER_ON;
  state.control = (state.control & ~3) | speaker | (state.channels[2]!.gate ? 1 : 0);
}

/** What the guest's accesses leave in a channel. */
function readBytes(to: PitChannel, view: DataView): void {
  const access = view.getUint8(channel.access);
  if (access >= 1 && access <= 3) to.access = access;
  to.latched = view.getUint16(channel.latched, true);
  const latch = view.getUint8(channel.countLatched);
  to.latchedBytes = latch === 0 ? 0 : latch === 3 ? 2 : 1;
  to.statusLatched = view.getUint8(channel.statusLatched) !== 0;
  to.status = view.getUint8(channel.status);
  to.readsHigh = view.getUint8(channel.readState) === HIGH_OF_WORD;
  to.writesHigh = view.getUint8(channel.writeState) === HIGH_OF_WORD;
  to.lowByte = view.getUint8(channel.writeLatch);
}
