/** Which Ethernet address an IP address of the guest's network has, as ARP and neighbour discovery have told. */
import { addressKey } from './addresses.js';

/** A guest may claim as many addresses as it likes: the oldest claims are forgotten. */
const MAX_NEIGHBOURS = 256;
const MAX_WAITING = 64;
const ASK_AGAIN_MS = 1000;

export class Neighbours {
  readonly #macs = new Map<string, Uint8Array>();
  readonly #asked = new Map<string, number>();
  readonly #waiting = new Map<string, (() => void)[]>();
  readonly #ask: (address: Uint8Array) => void;
  #waiters = 0;

  /** `ask` sends an ARP request or a neighbour solicitation. */
  constructor(ask: (address: Uint8Array) => void) {
    this.#ask = ask;
  }

  learn(address: Uint8Array, mac: Uint8Array): void {
    // Group addresses belong to nobody, nor does the unspecified one.
    if ((mac[0] & 1) !== 0 || address.every((byte) => byte === 0)) return;
    const key = addressKey(address);
    this.#macs.delete(key);
    if (this.#macs.size >= MAX_NEIGHBOURS) this.#macs.delete(this.#macs.keys().next().value as string);
    this.#macs.set(key, mac.slice());
    this.#asked.delete(key);
    const waiting = this.#waiting.get(key);
    if (!waiting) return;
    this.#waiting.delete(key);
    this.#waiters -= waiting.length;
    for (const call of waiting) call();
  }

  /** Undefined: it is not known. */
  peek(address: Uint8Array): Uint8Array | undefined {
    return this.#macs.get(addressKey(address));
  }

  /** Undefined: it is not known, and has been asked for. */
  find(address: Uint8Array, nowMs: number): Uint8Array | undefined {
    const key = addressKey(address);
    const mac = this.#macs.get(key);
    if (mac) return mac;
    if (nowMs - (this.#asked.get(key) ?? -Infinity) >= ASK_AGAIN_MS) {
      if (this.#asked.size >= MAX_NEIGHBOURS) this.#asked.clear();
      this.#asked.set(key, nowMs);
      this.#ask(address);
    }
    return undefined;
  }

  /** Calls once the address is known. Some wait; more are forgotten, as packets are. */
  whenKnown(address: Uint8Array, call: () => void): void {
    if (this.#waiters >= MAX_WAITING) {
      this.#waiting.clear();
      this.#waiters = 0;
    }
    const key = addressKey(address);
    const list = this.#waiting.get(key) ?? [];
    list.push(call);
    this.#waiting.set(key, list);
    this.#waiters++;
  }
}
