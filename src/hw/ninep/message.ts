/** Messages of 9P2000.L as bytes: integers little endian, strings with their length in front, kept as bytes (one character each). */

/** A request is damaged: it is answered by EPROTO. */
export class DamagedMessage extends Error {}

export class MessageReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#at = at;
  }

  #take(length: number): number {
    const at = this.#at;
    if (length > this.#bytes.length - at) throw new DamagedMessage();
    this.#at += length;
    return at;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }
  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }
  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }
  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }
  /** Of the bytes of a name. */
  text(): string {
    return String.fromCharCode(...this.bytes(this.u16()));
  }
  bytes(length: number): Uint8Array {
    const at = this.#take(length);
    return this.#bytes.subarray(at, at + length);
  }
}

export class MessageWriter {
  #bytes: Uint8Array;
  #view: DataView;
  #length = 0;

  constructor(room = 256) {
    this.#bytes = new Uint8Array(room);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** The place of so many more bytes. To be asked first: it may move all of them. */
  #grow(by: number): number {
    const at = this.#length;
    this.#length += by;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#length, 2 * this.#bytes.length));
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }

  get length(): number {
    return this.#length;
  }
  get written(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  u8(value: number): this {
    const at = this.#grow(1);
    this.#view.setUint8(at, value);
    return this;
  }
  u16(value: number): this {
    const at = this.#grow(2);
    this.#view.setUint16(at, value, true);
    return this;
  }
  u32(value: number): this {
    const at = this.#grow(4);
    this.#view.setUint32(at, value, true);
    return this;
  }
  u64(value: bigint): this {
    const at = this.#grow(8);
    this.#view.setBigUint64(at, BigInt.asUintN(64, value), true);
    return this;
  }
  text(value: string): this {
    const bytes = Uint8Array.from(value, (letter) => letter.charCodeAt(0));
    return this.u16(bytes.length).bytes(bytes);
  }
  bytes(value: Uint8Array): this {
    const at = this.#grow(value.length);
    this.#bytes.set(value, at);
    return this;
  }
  /** Room that the caller fills; good until the next write. */
  room(length: number): Uint8Array {
    const at = this.#grow(length);
    return this.#bytes.subarray(at, at + length);
  }
  /** Gives back the end of the last room. */
  shorten(by: number): void {
    this.#length -= by;
  }
  /** Puts a number where room was left for it. */
  patch(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }
}
