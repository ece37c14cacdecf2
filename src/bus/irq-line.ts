/** An interrupt line: level in, whatever it is wired to out. Setting the level it has already is harmless. */
export interface IrqLine {
  set(level: boolean): void;
}

/** A line wired to nothing. */
export const unconnected: IrqLine = { set() {} };

/** Several sources on one line (wired OR): the line is up while any source is. */
export class SharedIrqLine {
  #levels = 0;
  #sources = 0;
  readonly #target: IrqLine;
  constructor(target: IrqLine) {
    this.#target = target;
  }
  /** At most 31 sources. */
  source(): IrqLine {
    const bit = 1 << this.#sources++;
    return {
      set: (level) => {
        const before = this.#levels;
        this.#levels = level ? before | bit : before & ~bit;
        if ((before !== 0) !== (this.#levels !== 0)) this.#target.set(this.#levels !== 0);
      },
    };
  }
}

/**
 * Where a device sends message-signalled interrupts: a 32-bit write of `data` to `addressGpa`. `requester`: who sends it, by bus, device
 * and function (16 bits) where it is a PCI function.
 */
export interface MsiTarget {
  send(addressGpa: number, data: number, requester?: number): void;
}
