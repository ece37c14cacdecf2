/** Text that is put together as bytes: a string for each of a hundred thousand lines is more work than what the line tells. */
const encoder = new TextEncoder();
const zero = 0x30;
/** Two parts of a number below 2^53, each an integer of 32 bits. */
const lowPart = 1e8;

export class TextBytes {
  #bytes: Uint8Array;
  #length = 0;

  /** `capacity`: numbers and bytes that are added between two calls of `take` must not be longer. */
  constructor(capacity: number) {
    this.#bytes = new Uint8Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  /** Of any length. */
  addText(text: string): void {
    const most = this.#length + 3 * text.length;
    if (most > this.#bytes.length) {
      const before = this.#bytes;
      this.#bytes = new Uint8Array(before.length + most);
      this.#bytes.set(before.subarray(0, this.#length));
    }
    this.#length += encoder.encodeInto(text, this.#bytes.subarray(this.#length)).written;
  }

  /** What `asBytes` gave. */
  addBytes(bytes: Uint8Array): void {
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** A whole number from 0 to 2^53 - 1, in decimal. */
  addNumber(value: number): void {
    if (value < lowPart) {
      this.#addDigits(value, 1);
      return;
    }
    const high = Math.floor(value / lowPart);
    this.#addDigits(high, 1);
    this.#addDigits(value - high * lowPart, 8);
  }

  #addDigits(value: number, least: number): void {
    let rest = value | 0;
    let digits = 1;
    for (let power = 10; digits < least || power <= rest; power *= 10) digits++;
    const end = this.#length + digits;
    for (let at = end - 1; at >= this.#length; at--) {
      const next = (rest / 10) | 0;
      this.#bytes[at] = zero + rest - next * 10;
      rest = next;
    }
    this.#length = end;
  }

  /** What was added since the last call, until more is added. */
  take(): Uint8Array {
    const text = this.#bytes.subarray(0, this.#length);
    this.#length = 0;
    return text;
  }
}

export function asBytes(text: string): Uint8Array {
  return encoder.encode(text);
}
