/** A client of QMP for tests. */
import { connect, type Socket } from 'node:net';

// biome-ignore lint/suspicious/noExplicitAny: answers have any shape
export type Answer = any;

/** A client's end: lines as they come. */
export class Client {
  readonly #lines: string[] = [];
  readonly #waiting: ((line: string) => void)[] = [];
  #rest = '';
  readonly #write: (text: string | Uint8Array) => void;
  closed = false;
  constructor(input: NodeJS.ReadableStream, write: (text: string | Uint8Array) => void) {
    this.#write = write;
    input.on('data', (chunk) => {
      const lines = (this.#rest + chunk).split('\n');
      this.#rest = lines.pop() as string;
      for (const line of lines) {
        // QEMU tells people there of images that it makes.
        if (line.startsWith('Formatting ')) continue;
        const next = this.#waiting.shift();
        if (next) next(line);
        else this.#lines.push(line);
      }
    });
    input.on('close', () => {
      this.closed = true;
      for (const next of this.#waiting.splice(0)) next('{"closed":true}');
    });
  }
  async next(): Promise<Answer> {
    if (this.closed && this.#lines.length === 0) return { closed: true };
    const line = this.#lines.shift() ?? (await new Promise<string>((resolve) => this.#waiting.push(resolve)));
    return JSON.parse(line);
  }
  /** The answer, events apart. */
  async ask(text: string | Uint8Array): Promise<Answer> {
    this.#write(text);
    for (;;) {
      const answer = await this.next();
      if (!('event' in answer)) return answer;
      this.events.push(answer);
    }
  }
  readonly events: Answer[] = [];
}

export function socketClient(path: string): { client: Client; socket: Socket } {
  const socket = connect(path);
  socket.on('error', () => {});
  return { socket, client: new Client(socket, (text) => void socket.write(text)) };
}
