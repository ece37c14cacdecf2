/** Time that executed instructions make (-icount), and random numbers from a seed: what makes runs repeat exactly. */
import type { TimeSource } from './machine-clock.js';

/** 2020-01-01 00:00:00 UTC: the date at which counted machines start. */
const START_WALL_NS = 1577836800e9;

export class InstructionTime implements TimeSource {
  readonly #nsPerInstruction: number;
  readonly #executed: () => number;
  #skippedNs = 0;

  /** `shift`: log2 of the nanoseconds that one instruction takes. */
  constructor(shift: number, executed: () => number) {
    this.#nsPerInstruction = 2 ** shift;
    this.#executed = executed;
  }

  nowNs(): number {
    return this.#executed() * this.#nsPerInstruction + this.#skippedNs;
  }

  wallNs(): number {
    return START_WALL_NS + this.nowNs();
  }

  /** The vCPU is idle: time goes on without it. */
  skip(ns: number): void {
    // Whole nanoseconds: a deadline between two of them is passed, never approached for ever.
    if (ns > 0) this.#skippedNs += Math.ceil(ns);
  }

  /** How many instructions will have been executed when so much time has passed. */
  instructionsUntil(ns: number): number {
    return this.#executed() + Math.max(0, Math.ceil(ns / this.#nsPerInstruction));
  }
}

/** splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). */
export function seededBits(seed: bigint): () => bigint {
  let state = BigInt.asUintN(64, seed);
  return () => {
    state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n);
    let z = state;
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return z ^ (z >> 31n);
  };
}
