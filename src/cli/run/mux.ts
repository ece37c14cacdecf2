/**
 * Several front ends on one terminal, as QEMU's multiplexer: what any of them writes is shown, what is typed goes to the one
 * that has the focus. The escape key (Ctrl-A) starts a command.
 */

export interface FrontEnd {
  readonly name: string;
  input(bytes: Uint8Array): void;
  /** Came with the bytes that are next. Whoever lacks it takes none. */
  descriptors?(descriptors: readonly number[]): void;
  /** It gets the keyboard. */
  focus?(): void;
  sendBreak?(): void;
  /** A client has come to the character device, or left it. */
  opened?(): void;
  closed?(): void;
  /** Resolves when all that has come in has been answered. */
  settled?(): Promise<void>;
}

export interface MuxHost {
  write(text: string): void;
  quit(): void;
}

/** The first front end has the keyboard from the start. */
export class Mux {
  readonly #host: MuxHost;
  readonly #frontEnds: readonly FrontEnd[];
  readonly #escapeByte: number;
  #focus = 0;
  #escaped = false;

  constructor(host: MuxHost, frontEnds: readonly FrontEnd[], escapeByte: number) {
    this.#host = host;
    this.#frontEnds = frontEnds;
    this.#escapeByte = escapeByte;
  }

  input(bytes: Uint8Array): void {
    const plain: number[] = [];
    const flush = () => {
      if (plain.length > 0) this.#frontEnds[this.#focus]?.input(Uint8Array.from(plain.splice(0)));
    };
    for (const byte of bytes) {
      if (!this.#escaped) {
        if (byte === this.#escapeByte) this.#escaped = true;
        else plain.push(byte);
        continue;
      }
      this.#escaped = false;
      if (byte === this.#escapeByte) {
        plain.push(byte);
        continue;
      }
      flush();
      this.#command(String.fromCharCode(byte));
    }
    flush();
  }

  opened(): void {
    this.#frontEnds[this.#focus]?.opened?.();
  }

  closed(): void {
    this.#escaped = false;
    for (const frontEnd of this.#frontEnds) frontEnd.closed?.();
  }

  sendBreak(): void {
    this.#frontEnds[this.#focus]?.sendBreak?.();
  }

  async settled(): Promise<void> {
    for (const frontEnd of this.#frontEnds) await frontEnd.settled?.();
  }

  #command(key: string): void {
    switch (key) {
      case 'x':
        this.#host.write('\r\nvring: ended by the keyboard\r\n');
        this.#host.quit();
        return;
      case 'c':
        if (this.#frontEnds.length < 2) return;
        this.#focus = (this.#focus + 1) % this.#frontEnds.length;
        this.#host.write('\r\n');
        this.#frontEnds[this.#focus].focus?.();
        return;
      case 'b':
        this.sendBreak();
        return;
      case 'h':
      case '?':
        this.#host.write(muxHelp(this.#escapeByte, this.#frontEnds).replaceAll('\n', '\r\n'));
    }
  }
}

/** How the escape key is called. */
export function keyName(byte: number): string {
  return byte >= 1 && byte <= 26 ? `Ctrl-${String.fromCharCode(byte + 64)}` : `key ${byte}`;
}

function muxHelp(escapeByte: number, frontEnds: readonly FrontEnd[]): string {
  const key = keyName(escapeByte);
  return [
    '',
    `${key} h    shows this help`,
    `${key} x    ends the machine`,
    `${key} b    sends a break`,
    `${key} c    goes round: ${frontEnds.map(({ name }) => name).join(', ')}`,
    `${key} ${key}  sends ${key}`,
    '',
  ].join('\n');
}
