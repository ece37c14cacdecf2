/** The options of TELNET (RFC 854, 856, 857, 858) between a server of bytes and its client: the client sends each key, unchanged. */

const IAC = 255;
const [SE, BREAK, SB, WILL, DO, DONT] = [240, 243, 250, 251, 253, 254];
const [BINARY, ECHO, SUPPRESS_GO_AHEAD] = [0, 1, 3];

/** What a server says first: it echoes, nobody waits for a turn, and all eight bits pass both ways. */
export const telnetGreeting = Uint8Array.from([
  ...[IAC, WILL, ECHO],
  ...[IAC, WILL, SUPPRESS_GO_AHEAD],
  ...[IAC, WILL, BINARY],
  ...[IAC, DO, BINARY],
]);

/** A data byte 255 is sent twice. */
export function telnetEscape(bytes: Uint8Array): Uint8Array {
  if (!bytes.includes(IAC)) return bytes;
  return Uint8Array.from([...bytes].flatMap((byte) => (byte === IAC ? [IAC, IAC] : [byte])));
}

/** What a client sends, without the commands. */
export class TelnetInput {
  readonly #onBreak: () => void;
  #state: 'data' | 'command' | 'option' | 'suboption' | 'suboption-command' = 'data';
  #command = 0;
  #binary = false;
  #afterReturn = false;

  constructor(onBreak: () => void) {
    this.#onBreak = onBreak;
  }

  decode(bytes: Uint8Array): Uint8Array {
    const data: number[] = [];
    for (const byte of bytes) this.#take(byte, data);
    return Uint8Array.from(data);
  }

  #take(byte: number, data: number[]): void {
    switch (this.#state) {
      case 'data':
        if (byte === IAC) this.#state = 'command';
        // Enter is CR NUL until all eight bits pass.
        else if (!(byte === 0 && this.#afterReturn && !this.#binary)) data.push(byte);
        this.#afterReturn = byte === 13;
        return;
      case 'command':
        this.#state = byte === SB ? 'suboption' : byte >= WILL && byte <= DONT ? 'option' : 'data';
        this.#command = byte;
        if (byte === IAC) data.push(byte);
        else if (byte === BREAK) this.#onBreak();
        return;
      case 'option':
        this.#state = 'data';
        if (byte === BINARY) this.#binary = this.#command === WILL || (this.#binary && this.#command >= DO);
        return;
      case 'suboption':
        if (byte === IAC) this.#state = 'suboption-command';
        return;
      case 'suboption-command':
        this.#state = byte === SE ? 'data' : 'suboption';
    }
  }
}
