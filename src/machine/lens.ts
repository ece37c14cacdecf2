/**
 * The lens: where a machine's time goes and what crosses which border, counted and timed in the vCPU's thread. Every moment of
 * that thread has one owner, so that the owners' times are the whole time. Made only when asked for; without it none of its hooks
 * are there.
 */
import type { AcceleratorHost, AcceleratorName, ExitReason } from '../accel/index.js';

/** What the vCPU's thread can be at, devices apart. */
const owners = [
  /** Guest code by ring, where the accelerator tells. */
  'ring0',
  'ring1',
  'ring2',
  'ring3',
  /** Guest code in any ring. */
  'guest',
  /** Between guest code and devices: translation, delivery of exceptions and interrupts; under KVM the exit's handling. */
  'accelerator',
  /** Timers, and requests of other threads. */
  'board',
  /** The vCPU sleeps in HLT; under KVM with a local APIC in the kernel it does that as part of `guest`. */
  'halted',
  /** The machine stands still. */
  'stopped',
] as const;
type Owner = (typeof owners)[number];

/** Ways over a border between rings. */
export const crossingKinds = [
  'systemCall',
  'exception',
  'interrupt',
  'softwareInterrupt',
  'farTransfer',
  'return',
] as const;
export type CrossingKind = (typeof crossingKinds)[number];

/** What a transfer instruction is, by the last byte of its opcode. */
const transferKinds = new Map<number, CrossingKind>([
  [0x05, 'systemCall'],
  [0x34, 'systemCall'],
  [0x07, 'return'],
  [0x35, 'return'],
  [0xcf, 'return'],
  [0xca, 'return'],
  [0xcb, 'return'],
  [0xcc, 'softwareInterrupt'],
  [0xcd, 'softwareInterrupt'],
  [0xce, 'softwareInterrupt'],
  [0xf1, 'softwareInterrupt'],
]);

const PAGE_FAULT = 14;

/** Exits to one device. */
export interface DeviceTotals {
  pioRead: number;
  pioWrite: number;
  mmioRead: number;
  mmioWrite: number;
  timeNs: number;
}

/** Totals since the machine was started. */
export interface LensTotals {
  readonly accelerator: AcceleratorName;
  /** By the clock of the vCPU's thread. */
  readonly wallNs: number;
  /** Nanoseconds by owner; owners without any are left out. `devices` is the sum of all devices. They add up to `wallNs`. */
  readonly timeNs: Readonly<Record<string, number>>;
  readonly devices: Readonly<Record<string, Readonly<DeviceTotals>>>;
  /** From ring to ring, as `3>0`, by kind. Undefined where the accelerator does not tell. */
  readonly crossings: Readonly<Record<string, Readonly<Partial<Record<CrossingKind, number>>>>> | undefined;
  /** SYSCALL and SYSENTER, and INT n that went to an inner ring; under KVM every entry of the handlers of SYSCALL, INT3 and INT 80h. Undefined, as the next ones, where the accelerator cannot tell. */
  readonly systemCalls: number | undefined;
  /** By vector; under KVM page faults alone. */
  readonly exceptions: Readonly<Record<string, number>> | undefined;
  readonly interrupts: Readonly<Record<string, number>> | undefined;
  /** Under KVM those of vectors 3 and 0x80 alone. */
  readonly softwareInterrupts: Readonly<Record<string, number>> | undefined;
  /** VM exits by reason. */
  readonly exits: Readonly<Partial<Record<ExitReason, number>>>;
  /** Of the guest's own time: run from translated code, and by the processor itself. */
  readonly shares: { readonly translated: number; readonly native: number };
}

export interface LensOptions {
  /** The thread's own time, in nanoseconds. */
  nowNs(): number;
  /** Under KVM page faults and system calls are counted too, which costs two exits each. */
  readonly countsHandlers: boolean;
}

/** What the lens asks of the board when it tells. */
export interface LensBoard {
  readonly accelerator: AcceleratorName;
  readonly exits: Readonly<Record<string, number>>;
  /** Page faults and system calls are told. */
  readonly seesHandlers: boolean;
  /** The ring that the vCPU is in, where the accelerator keeps it at home; undefined elsewhere. */
  ring(): number | undefined;
  portName(port: number): string;
  memoryName(gpa: number): string;
}

export class Lens {
  readonly #nowNs: () => number;
  readonly #countsHandlers: boolean;
  #board!: LensBoard;
  #start = 0;
  #since = 0;
  #begun = false;
  #owner: number = owners.indexOf('stopped');
  /** By place in `owners`, then in `#deviceNames`. */
  readonly #times: number[] = owners.map(() => 0);
  readonly #deviceNames: string[] = [];
  readonly #deviceIndex = new Map<string, number>();
  readonly #devices: Omit<DeviceTotals, 'timeNs'>[] = [];
  readonly #crossings = new Map<string, Partial<Record<CrossingKind, number>>>();
  readonly #events = {
    exception: new Map<number, number>(),
    interrupt: new Map<number, number>(),
    software: new Map<number, number>(),
  };
  #systemCalls = 0;
  /** The ring of the guest code that ran last, and how it was left, if by an event. */
  #ring = 0;
  #left: CrossingKind | undefined;
  /** The same of the vCPUs whose turn it is not, by number. */
  #vcpu = 0;
  readonly #waiting: { ring: number; left: CrossingKind | undefined }[] = [];
  #nativeNs = 0;
  /** The guest has run where its ring is not told. */
  #unseen = false;

  constructor(options: LensOptions) {
    this.#nowNs = options.nowNs;
    this.#countsHandlers = options.countsHandlers;
  }

  attach(board: LensBoard): void {
    this.#board = board;
  }

  /** The machine runs: the first time, the lens's time begins. */
  begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#start = this.#since = this.#nowNs();
  }

  /** From now on the time is this owner's. Gives the owner before. */
  #switch(owner: number): number {
    const now = this.#nowNs();
    const before = this.#owner;
    this.#times[before] += now - this.#since;
    this.#since = now;
    this.#owner = owner;
    return before;
  }

  /** Runs a piece of work in the name of an owner. */
  owned<T>(owner: Owner, work: () => T): T {
    const before = this.#switch(owners.indexOf(owner));
    try {
      return work();
    } finally {
      this.#switch(before);
    }
  }

  /** The host's side of an accelerator with the lens between. */
  watch(host: AcceleratorHost): AcceleratorHost {
    const device = (name: string): number => {
      let index = this.#deviceIndex.get(name);
      if (index === undefined) {
        index = this.#deviceNames.push(name) - 1;
        this.#deviceIndex.set(name, index);
        this.#devices.push({ pioRead: 0, pioWrite: 0, mmioRead: 0, mmioWrite: 0 });
        this.#times.push(0);
      }
      return index;
    };
    const timed = <T>(kind: 'pioRead' | 'pioWrite' | 'mmioRead' | 'mmioWrite', name: string, work: () => T): T => {
      const index = device(name);
      this.#devices[index][kind]++;
      const before = this.#switch(owners.length + index);
      try {
        return work();
      } finally {
        this.#switch(before);
      }
    };
    return {
      ...host,
      pioRead: (port, size) => timed('pioRead', this.#board.portName(port), () => host.pioRead(port, size)),
      pioWrite: (port, size, value) =>
        timed('pioWrite', this.#board.portName(port), () => host.pioWrite(port, size, value)),
      mmioRead: (gpa, size) => timed('mmioRead', this.#board.memoryName(gpa), () => host.mmioRead(gpa, size)),
      mmioWrite: (gpa, size, value) =>
        timed('mmioWrite', this.#board.memoryName(gpa), () => host.mmioWrite(gpa, size, value)),
      poll: () => this.owned('board', () => host.poll()),
      guest: {
        enter: () => this.#enterGuest(),
        leave: () => this.#leaveGuest(),
        handler: this.#countsHandlers ? (what) => this.#handler(what) : undefined,
        turn: (vcpu) => this.#turn(vcpu),
      },
    };
  }

  #enterGuest(): void {
    const ring = this.#board.ring();
    if (ring === undefined) {
      this.#unseen = true;
      this.#switch(owners.indexOf('guest'));
      return;
    }
    // After another accelerator nobody knows how the guest came here.
    if (this.#unseen) this.#ring = ring;
    this.#unseen = false;
    if (ring !== this.#ring) this.#crossed(this.#left ?? 'farTransfer', ring);
    this.#left = undefined;
    this.#switch(ring);
  }

  /** Another vCPU has its turn: to come from one to the other crosses no border. */
  #turn(vcpu: number): void {
    this.#waiting[this.#vcpu] = { ring: this.#ring, left: this.#left };
    const { ring, left } = this.#waiting[vcpu] ?? { ring: 0, left: undefined };
    this.#vcpu = vcpu;
    this.#ring = ring;
    this.#left = left;
  }

  #leaveGuest(): void {
    const since = this.#since;
    const before = this.#switch(owners.indexOf('accelerator'));
    if (before === owners.indexOf('guest')) this.#nativeNs += this.#since - since;
  }

  /** Where the accelerator sees no more of the rings than this. */
  #handler(what: number | 'syscall'): void {
    if (what === PAGE_FAULT) this.event('exception', what);
    else {
      if (what !== 'syscall') this.event('software', what);
      this.#systemCalls++;
    }
  }

  #crossed(kind: CrossingKind, to: number): void {
    const border = `${this.#ring}>${to}`;
    const counts = this.#crossings.get(border) ?? {};
    counts[kind] = (counts[kind] ?? 0) + 1;
    this.#crossings.set(border, counts);
    this.#ring = to;
  }

  /** An exception or interrupt is about to be delivered; INT n and kin tell of themselves by `transfer` too. */
  event(kind: 'exception' | 'interrupt' | 'software', vector: number): void {
    const counts = this.#events[kind];
    counts.set(vector, (counts.get(vector) ?? 0) + 1);
    if (kind !== 'software') this.#left ??= kind;
  }

  /** An instruction has run that may have changed the ring. */
  transfer(opcode: number): void {
    const kind = transferKinds.get(opcode) ?? 'farTransfer';
    const ring = this.#board.ring() ?? 0;
    if (kind === 'systemCall' || (kind === 'softwareInterrupt' && ring < this.#ring)) this.#systemCalls++;
    if (ring === this.#ring) return;
    this.#crossed(kind, ring);
    this.#switch(ring);
  }

  /** The machine is reset: the vCPU is in ring 0 without having crossed a border. */
  reset(): void {
    this.#ring = 0;
    this.#left = undefined;
    this.#waiting.length = 0;
  }

  totals(): LensTotals {
    if (this.#begun) this.#switch(this.#owner);
    const timeNs: Record<string, number> = {};
    for (const [i, name] of owners.entries()) if (this.#times[i] > 0) timeNs[name] = this.#times[i];
    const devices: Record<string, DeviceTotals> = {};
    let sum = 0;
    for (const [i, name] of this.#deviceNames.entries()) {
      const time = this.#times[owners.length + i];
      devices[name] = { ...this.#devices[i], timeNs: time };
      sum += time;
    }
    timeNs['devices'] = sum;
    const byVector = (counts: ReadonlyMap<number, number>) => Object.fromEntries([...counts].sort(([a], [b]) => a - b));
    const told = this.#board.accelerator === 'tcg';
    const { seesHandlers } = this.#board;
    const translated = this.#times.slice(0, 4).reduce((a, b) => a + b, 0);
    const own = translated + this.#nativeNs || 1;
    return {
      accelerator: this.#board.accelerator,
      wallNs: this.#since - this.#start,
      timeNs,
      devices,
      crossings: told ? Object.fromEntries(this.#crossings) : undefined,
      systemCalls: seesHandlers ? this.#systemCalls : undefined,
      exceptions: seesHandlers ? byVector(this.#events.exception) : undefined,
      interrupts: told ? byVector(this.#events.interrupt) : undefined,
      softwareInterrupts: seesHandlers ? byVector(this.#events.software) : undefined,
      exits: this.#board.exits,
      shares: { translated: translated / own, native: this.#nativeNs / own },
    };
  }
}
