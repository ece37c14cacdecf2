/** Packets of gdb's remote serial protocol (GDB manual, appendix E.1): framing, checksum, escapes. */

/** A packet longer than this is not gdb's. */
export const MAX_PACKET = 16384;

const DOLLAR = 0x24;
const HASH = 0x23;
const ESCAPE = 0x7d;
const INTERRUPT = 3;

export interface PacketEvents {
  /** A whole packet, escapes resolved, one character a byte. */
  packet(text: string): void;
  /** A packet whose checksum is wrong or that is too long. */
  damaged(): void;
  acknowledged(good: boolean): void;
  /** The byte 3 between packets: stop. */
  interrupt(): void;
}

export class PacketReader {
  readonly #events: PacketEvents;
  #body: number[] | undefined;
  #checksum = '';
  #inChecksum = false;

  constructor(events: PacketEvents) {
    this.#events = events;
  }

  receive(bytes: Uint8Array): void {
    for (const byte of bytes) this.#take(byte);
  }

  #take(byte: number): void {
    if (this.#body === undefined) {
      if (byte === DOLLAR) this.#body = [];
      else if (byte === INTERRUPT) this.#events.interrupt();
      else if (byte === 0x2b || byte === 0x2d) this.#events.acknowledged(byte === 0x2b);
      return;
    }
    if (this.#inChecksum) {
      this.#checksum += String.fromCharCode(byte);
      if (this.#checksum.length === 2) this.#finish(this.#body);
    } else if (byte === HASH) this.#inChecksum = true;
    else if (byte === DOLLAR) this.#body = [];
    else if (this.#body.length < MAX_PACKET) this.#body.push(byte);
    else {
      this.#body = undefined;
      this.#events.damaged();
    }
  }

  #finish(body: readonly number[]): void {
    const wanted = this.#checksum;
    this.#body = undefined;
    this.#inChecksum = false;
    this.#checksum = '';
    if (!/^[0-9a-f]{2}$/i.test(wanted) || Number.parseInt(wanted, 16) !== checksum(body)) {
      this.#events.damaged();
      return;
    }
    let text = '';
    for (let i = 0; i < body.length; i++) {
      text += String.fromCharCode(body[i] === ESCAPE && i + 1 < body.length ? body[++i] ^ 0x20 : body[i]);
    }
    this.#events.packet(text);
  }
}

function checksum(bytes: readonly number[]): number {
  let sum = 0;
  for (const byte of bytes) sum = (sum + byte) & 0xff;
  return sum;
}

/** `$text#xx` as bytes, with `$`, `#`, `}` and `*` escaped. */
export function encodePacket(text: string): Uint8Array {
  const body: number[] = [];
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i) & 0xff;
    if (code === DOLLAR || code === HASH || code === ESCAPE || code === 0x2a) body.push(ESCAPE, code ^ 0x20);
    else body.push(code);
  }
  const sum = checksum(body).toString(16).padStart(2, '0');
  return Uint8Array.from([DOLLAR, ...body, HASH, sum.charCodeAt(0), sum.charCodeAt(1)]);
}
