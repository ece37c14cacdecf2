/**
 * gdb's `monitor COMMAND` (packet qRcmd; GDB manual, appendix E.5). The stub lives with the machine, the monitor in the program:
 * these packets are taken out of what gdb says, everything else goes to the stub byte for byte.
 */
import { encodePacket } from '../../gdb/index.js';

const DOLLAR = 0x24;
const HASH = 0x23;
/** A command longer than this is nobody's; the stub will say so. */
const MAX_COMMAND_BYTES = 4096;
/** Bytes of output in one packet: two digits each, and gdb takes 16 KiB. */
const MAX_OUTPUT_BYTES = 4000;

export interface MonitorChannel {
  /** For the stub. */
  forward(bytes: Uint8Array): void;
  /** For gdb, in turn with what the stub says. */
  reply(bytes: Uint8Array): void;
  /** Runs a monitor's command; what it says. */
  run(line: string): Promise<string>;
}

export class MonitorPackets {
  readonly #channel: MonitorChannel;
  #packet: number[] | undefined;
  #digits = 0;
  #acknowledges = true;

  constructor(channel: MonitorChannel) {
    this.#channel = channel;
  }

  /** Bytes from gdb. Resolves when those that were commands have been answered. */
  async receive(bytes: Uint8Array): Promise<void> {
    let plain: number[] = [];
    const forward = () => {
      if (plain.length > 0) this.#channel.forward(Uint8Array.from(plain));
      plain = [];
    };
    for (const byte of bytes) {
      if (this.#packet === undefined) {
        if (byte === DOLLAR) this.#packet = [byte];
        else plain.push(byte);
        continue;
      }
      this.#packet.push(byte);
      if (this.#digits > 0) this.#digits--;
      else if (byte === HASH) this.#digits = 2;
      const isWhole = this.#digits === 0 && this.#packet.at(-3) === HASH;
      if (!isWhole && this.#packet.length < MAX_COMMAND_BYTES * 2) continue;
      const packet = String.fromCharCode(...this.#packet);
      const command = isWhole ? /^\$qRcmd,((?:[0-9a-f]{2})*)#..$/i.exec(packet) : null;
      if (packet.startsWith('$QStartNoAckMode#')) this.#acknowledges = false;
      if (command) {
        forward();
        await this.#command(Buffer.from(command[1], 'hex').toString('utf8'));
      } else plain.push(...this.#packet);
      this.#packet = undefined;
      this.#digits = 0;
    }
    forward();
  }

  async #command(line: string): Promise<void> {
    const { reply, run } = this.#channel;
    if (this.#acknowledges) reply(Uint8Array.of(0x2b));
    const text = Buffer.from(await run(line));
    for (let at = 0; at < text.length; at += MAX_OUTPUT_BYTES)
      reply(encodePacket(`O${text.subarray(at, at + MAX_OUTPUT_BYTES).toString('hex')}`));
    reply(encodePacket('OK'));
  }
}
