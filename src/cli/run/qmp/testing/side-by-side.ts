/** A machine of vring's and one of QEMU's, asked the same by QMP. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Answer, Client } from './qmp-client.js';

const main = fileURLToPath(new URL('../../../main.js', import.meta.url));
const has = (program: string) => spawnSync(program, ['--version']).error === undefined;
/** The first of the programs that is not there. */
export const missingOracle = ['qemu-system-x86_64', 'qemu-img'].find((program) => !has(program));

/** What is made for either machine lies in a folder under its name. */
export const names = ['ours', 'theirs'] as const;

export class SideBySide {
  readonly #children: ChildProcess[] = [];
  readonly #folder: string;
  ours!: Client;
  theirs!: Client;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Starts both, with `NAME` in their words made the name of each. */
  async start(words: readonly string[]): Promise<void> {
    const mine = (name: string) => words.map((word) => word.replaceAll('NAME', name));
    [this.ours, this.theirs] = await Promise.all([
      this.#started(process.execPath, [main, 'run'], mine('ours')),
      this.#started('qemu-system-x86_64', [], mine('theirs')),
    ]);
  }

  /** Starts vring's alone. */
  async startOurs(words: readonly string[]): Promise<void> {
    this.ours = await this.#started(process.execPath, [main, 'run'], words);
  }

  async #started(program: string, leading: readonly string[], words: readonly string[]): Promise<Client> {
    const rom = join(this.#folder, 'halt.bin');
    writeFileSync(rom, new Uint8Array(0x10000).fill(0xf4));
    const board = ['-M', 'pc', '-accel', 'tcg', '-bios', rom, '-display', 'none', '-m', '16', '-nodefaults', '-S'];
    const child = spawn(program, [...leading, ...board, ...words, '-qmp', 'stdio'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#children.push(child);
    const client = new Client(child.stdout, (text) => void child.stdin.write(text));
    await client.next();
    await client.ask('{"execute":"qmp_capabilities"}');
    return client;
  }

  /** Both answers, with the names of what was made for each alike. */
  async ask(execute: string, given?: object): Promise<[ours: Answer, theirs: Answer]> {
    const text = JSON.stringify({ execute, ...(given ? { arguments: given } : {}) });
    const one = async (client: Client, name: string) =>
      this.#alike(await client.ask(text.replaceAll('NAME', name)), name);
    return [await one(this.ours, names[0]), await one(this.theirs, names[1])];
  }

  /** Waits until both have told of an event, and gives all that they have told, the times left out. */
  async events(isLast: (event: Answer) => boolean): Promise<[ours: Answer[], theirs: Answer[]]> {
    const all: Answer[][] = [];
    for (const [client, name] of [
      [this.ours, names[0]],
      [this.theirs, names[1]],
    ] as const) {
      while (!client.events.some(isLast)) client.events.push(await client.next());
      all.push(client.events.splice(0).map(({ event, data }) => this.#alike({ event, data }, name)));
    }
    return all as [Answer[], Answer[]];
  }

  #alike(answer: Answer, name: string): Answer {
    return JSON.parse(JSON.stringify(answer).replaceAll(join(this.#folder, name), 'image'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const children = this.#children;
    for (const child of children) child.kill();
    await Promise.all(children.map((child) => child.exitCode ?? new Promise((resolve) => child.once('exit', resolve))));
  }
}
