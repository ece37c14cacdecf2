/**
 * vCPUs that take turns in one thread: whose turn it is, when it is over, and who is next. A turn ends after some looks at the clock
 * (where instructions are counted, after so many of those, so that runs repeat), when the vCPU sleeps or waits for another, and when
 * one that sleeps is called.
 */
import type { GuestCpu } from '../../guest/guest-cpu.js';

export interface EngineVcpu {
  readonly index: number;
  readonly cpu: GuestCpu;
  /** Address of its state in the machine's memory. */
  readonly state: number;
  readonly hostRoutines: Readonly<Record<string, (...args: never[]) => unknown>>;
}

/** Looks at the clock in a turn, where others want theirs: some milliseconds. */
const TURN_LOOKS = 4;
const TURN_INSTRUCTIONS = 100_000;

export interface TurnsOptions {
  readonly vcpus: readonly EngineVcpu[];
  /** Instructions begun by all vCPUs; undefined: they are not counted. */
  readonly instructions: (() => number) | undefined;
  /** Whether a vCPU that sleeps may have something to wake for. */
  isCalled(vcpu: EngineVcpu): boolean;
  /** A turn begins; `before` had the last one. */
  begin(vcpu: EngineVcpu, before: EngineVcpu): void;
}

export class Turns {
  readonly #options: TurnsOptions;
  #current: EngineVcpu;
  /** The others, the one that has waited longest first. */
  #others: EngineVcpu[];
  /** A vCPU that slept has something to do. */
  #woken: EngineVcpu | undefined;
  #looksLeft = TURN_LOOKS;
  /** The count of instructions at which the turn ends. */
  end = Infinity;

  constructor(options: TurnsOptions) {
    this.#options = options;
    [this.#current, ...this.#others] = options.vcpus as [EngineVcpu, ...EngineVcpu[]];
  }

  get current(): EngineVcpu {
    return this.#current;
  }

  /** Somebody who slept is to have a turn at once. */
  get isUrgent(): boolean {
    return this.#woken !== undefined;
  }

  /** A vCPU that sleeps is called: it is next. */
  wake(vcpu: EngineVcpu): void {
    this.#woken = vcpu;
  }

  /** Gives the turn to the vCPU that was woken, or to the first of those waiting that can run. False: none can. */
  next(): boolean {
    const before = this.#current;
    const order = this.#others;
    if (this.#woken) order.unshift(...order.splice(order.indexOf(this.#woken), 1));
    this.#woken = undefined;
    order.push(before);
    for (const vcpu of order) {
      const isHalted = vcpu.cpu.isHalted ?? vcpu === before;
      if (isHalted && vcpu !== before && !this.#options.isCalled(vcpu)) continue;
      this.#begin(vcpu);
      if (isHalted && !vcpu.cpu.deliverPending()) continue;
      order.splice(order.indexOf(vcpu), 1);
      return true;
    }
    order.pop();
    return false;
  }

  /** It is this vCPU's turn, whoever else waits. */
  choose(vcpu: EngineVcpu): void {
    if (vcpu === this.#current) return;
    this.#others = this.#others.map((each) => (each === vcpu ? this.#current : each));
    this.#begin(vcpu);
  }

  /** As after power-on. */
  reset(): void {
    const [first, ...others] = this.#options.vcpus as [EngineVcpu, ...EngineVcpu[]];
    this.#woken = undefined;
    this.#others = others;
    this.#begin(first);
  }

  /** After a look at the clock: somebody else is to have a turn. */
  isOver(): boolean {
    if (this.#others.length === 0) return false;
    if (this.#woken !== undefined) return true;
    const { instructions } = this.#options;
    return instructions ? instructions() >= this.end : --this.#looksLeft <= 0;
  }

  #begin(vcpu: EngineVcpu): void {
    const before = this.#current;
    this.#current = vcpu;
    if (vcpu === this.#woken) this.#woken = undefined;
    this.#looksLeft = TURN_LOOKS;
    const { instructions } = this.#options;
    if (instructions && this.#options.vcpus.length > 1) this.end = instructions() + TURN_INSTRUCTIONS;
    this.#options.begin(vcpu, before);
  }
}
