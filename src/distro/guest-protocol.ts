/**
 * How the host talks with `/init` of the Debian guest (guest-init.ts).
 *
 * **Ports.** A virtio-console device with named ports (virtio 1.2 section 5.3), in this order of port numbers:
 *
 *     vring.stdin    host → guest   what the command reads (only with a command)
 *     vring.stdout   guest → host   what it writes
 *     vring.stderr   guest → host   what it writes as errors
 *     vring.control  both           lines, see below; the last, so that the others are set up when its name appears
 *
 * The three streams carry the command's bytes and nothing else. End of input is the device's own: once all bytes are in the
 * guest's buffers the host closes the port (VIRTIO_CONSOLE_PORT_OPEN 0), and the guest, having read them, reads end of file.
 * The host opens every port (PORT_OPEN 1) before it sends `start`, and keeps stdout, stderr and control open to the end: a
 * guest that writes to a closed port waits for ever.
 *
 * **Control** is lines of ASCII words ended by LF.
 *
 *     guest → host   hello VERSION        /init runs; nothing has been started
 *                    status N             the shell or command has ended with N (0..255; 128+n: signal n; 126, 127 as in a
 *                                         shell), and all it wrote has been taken by the host; the machine powers off next
 *                    failed SENTENCE      /init cannot do its work; the machine powers off next
 *     host → guest   start                begin: the streams are open
 *                    signal NAME          send SIGNAME to the command's process group (INT, TERM, HUP, …)
 *                    winsize COLUMNS ROWS the terminal has this size (interactive shell on a serial line)
 *                    close stdout|stderr  nobody reads that stream any more: further writes of the command fail by SIGPIPE
 *
 * The guest is not to be trusted: the decoder takes lines of bounded length and passes over what it does not know.
 */

export const guestProtocolVersion = 1;

export const guestPorts = {
  stdin: 'vring.stdin',
  stdout: 'vring.stdout',
  stderr: 'vring.stderr',
  control: 'vring.control',
} as const;

export type GuestSignal = 'INT' | 'TERM' | 'HUP' | 'QUIT' | 'KILL' | 'USR1' | 'USR2';

export type HostMessage =
  | { readonly type: 'start' }
  | { readonly type: 'signal'; readonly signal: GuestSignal }
  | { readonly type: 'winsize'; readonly columns: number; readonly rows: number }
  | { readonly type: 'close'; readonly stream: 'stdout' | 'stderr' };

export type GuestMessage =
  | { readonly type: 'hello'; readonly version: number }
  | { readonly type: 'status'; readonly status: number }
  | { readonly type: 'failed'; readonly sentence: string };

export function encodeHostMessage(message: HostMessage): Uint8Array {
  const line = {
    start: () => 'start',
    signal: () => `signal ${(message as { signal: string }).signal}`,
    winsize: () => {
      const { columns, rows } = message as { columns: number; rows: number };
      return `winsize ${columns & 0xffff} ${rows & 0xffff}`;
    },
    close: () => `close ${(message as { stream: string }).stream}`,
  }[message.type]();
  return new TextEncoder().encode(`${line}\n`);
}

const lineLimit = 1024;

/** Makes messages of the bytes that come from the control port, however they are cut. */
export class GuestMessageDecoder {
  #line = '';
  #tooLong = false;

  push(bytes: Uint8Array): GuestMessage[] {
    const messages: GuestMessage[] = [];
    for (const byte of bytes) {
      if (byte !== 0x0a) {
        if (this.#line.length < lineLimit) this.#line += String.fromCharCode(byte);
        else this.#tooLong = true;
        continue;
      }
      const message = this.#tooLong ? undefined : parseGuestLine(this.#line);
      if (message !== undefined) messages.push(message);
      this.#line = '';
      this.#tooLong = false;
    }
    return messages;
  }
}

function parseGuestLine(line: string): GuestMessage | undefined {
  const match = /^(hello|status|failed) (.*)$/.exec(line);
  if (match === null) return undefined;
  const [, word, rest] = match as unknown as [string, string, string];
  if (word === 'failed') return { type: 'failed', sentence: rest.replace(/[^\x20-\x7e]/g, '?') };
  if (!/^\d{1,9}$/.test(rest)) return undefined;
  if (word === 'hello') return { type: 'hello', version: Number(rest) };
  return Number(rest) <= 255 ? { type: 'status', status: Number(rest) } : undefined;
}
