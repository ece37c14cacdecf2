/** The human monitor: a small shell over a machine, with the commands of QEMU's. */
import { type InfoTopic, infoTopics, type Machine, VringError } from '../../vmm/index.js';
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';

export interface MonitorHost {
  readonly machine: Machine;
  readonly version: string;
  readonly name: string | undefined;
  write(text: string): void;
  quit(): void;
}

interface MonitorCommand {
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly argument?: string;
  readonly sentence: string;
  run(host: MonitorHost, argument: string): Promise<string>;
}

const topics: readonly { name: string; sentence: string }[] = [
  { name: 'registers', sentence: 'registers of the vCPU' },
  { name: 'status', sentence: 'whether the machine runs' },
  { name: 'jit', sentence: 'counters of the translator' },
  { name: 'tlb', sentence: 'virtual to physical mappings' },
  { name: 'mtree', sentence: 'what answers at which physical address' },
  { name: 'pic', sentence: 'interrupt controllers' },
  { name: 'name', sentence: 'name of the machine' },
  { name: 'version', sentence: 'version of vring' },
];

const stateWords = { ready: 'paused (prelaunch)', running: 'running', paused: 'paused', ended: 'shut down' } as const;

async function info(host: MonitorHost, topic: string): Promise<string> {
  if (topic === '') return topics.map(({ name, sentence }) => `info ${name.padEnd(10)} -- ${sentence}`).join('\n');
  if (topic === 'status') return `VM status: ${stateWords[host.machine.state]}`;
  if (topic === 'version') return host.version;
  if (topic === 'name') return host.name ?? '';
  if ((infoTopics as readonly string[]).includes(topic)) return await host.machine.info(topic as InfoTopic);
  throw new UsageError(
    `There is no 'info ${topic}'${didYouMean(
      topic,
      topics.map(({ name }) => name),
      'info ',
    )}`,
  );
}

const unitBytes: Readonly<Record<string, number>> = { b: 1, h: 2, w: 4, g: 8 };
const mostUnits = 4096;

/** `$rip+0x10`, `0xffff888000000000`, `4096`: registers and numbers, added and subtracted. */
async function evaluate(machine: Machine, text: string): Promise<bigint> {
  const terms = text.replace(/\s+/g, '').match(/[+-]?[^+-]+/g);
  if (!terms) throw new UsageError('The address is missing');
  let registers: Readonly<Record<string, bigint>> | undefined;
  let sum = 0n;
  for (const term of terms) {
    const word = term.replace(/^[+-]/, '');
    let value: bigint | undefined;
    if (word.startsWith('$')) {
      registers ??= await machine.registers();
      const name = word.slice(1).toLowerCase();
      value = registers[name === 'pc' ? 'rip' : name === 'sp' ? 'rsp' : name];
      if (value === undefined)
        throw new UsageError(`There is no register '${word}'${didYouMean(word.slice(1), Object.keys(registers), '$')}`);
    } else if (/^(0x[0-9a-f]+|\d+)$/i.test(word)) value = BigInt(word);
    if (value === undefined) throw new UsageError(`'${word}' is neither a number nor a register such as $rip`);
    sum += term.startsWith('-') ? -value : value;
  }
  return BigInt.asUintN(64, sum);
}

function formatUnit(value: bigint, bytes: number, format: string): string {
  switch (format) {
    case 'd':
      return String(BigInt.asIntN(bytes * 8, value));
    case 'u':
      return String(value);
    case 'o':
      return `0${value.toString(8)}`;
    case 'c': {
      const byte = Number(value & 255n);
      return byte >= 32 && byte < 127 ? `'${String.fromCharCode(byte)}'` : `'\\x${byte.toString(16).padStart(2, '0')}'`;
    }
    default:
      return `0x${value.toString(16).padStart(bytes * 2, '0')}`;
  }
}

/** `x/COUNT FORMAT SIZE address`, of virtual or physical memory. */
async function examine({ machine }: MonitorHost, argument: string, physical: boolean): Promise<string> {
  const match = /^(?:\/(\d*)([a-z]*)\s+)?(.*)$/i.exec(argument.trim());
  const letters = match?.[2] ?? '';
  const unknown = [...letters].find((letter) => !'xduocbhwg'.includes(letter));
  if (unknown !== undefined)
    throw new UsageError(`There is no format '${unknown}'; there are x d u o c, and the sizes b h w g`);
  const format = [...letters].find((letter) => 'xduoc'.includes(letter)) ?? 'x';
  const size = unitBytes[[...letters].find((letter) => 'bhwg'.includes(letter)) ?? (format === 'c' ? 'b' : 'w')];
  const count = Math.min(Number(match?.[1] || 1), mostUnits);
  let at = await evaluate(machine, match?.[3] ?? '');
  const perLine = size === 8 ? 2 : size === 4 ? 4 : 8;
  const lines: string[] = [];
  for (let done = 0; done < count; ) {
    const units: string[] = [];
    const start = at;
    for (; units.length < perLine && done < count; done++) {
      let value = 0n;
      // Byte by byte: a unit may lie across two pages.
      const bytes = await readBytes(machine, at, size, physical);
      for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]);
      units.push(formatUnit(value, size, format));
      at = BigInt.asUintN(64, at + BigInt(size));
    }
    lines.push(`${start.toString(16).padStart(16, '0')}: ${units.join(' ')}`);
  }
  return lines.join('\n');
}

async function readBytes(machine: Machine, address: bigint, size: number, physical: boolean): Promise<Uint8Array> {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; ) {
    const va = BigInt.asUintN(64, address + BigInt(i));
    const step = Math.min(size - i, 4096 - Number(va & 4095n));
    const gpa = physical ? Number(va) : await machine.translateAddress(va);
    if (gpa === undefined) throw new UsageError(`Cannot access memory at 0x${va.toString(16)}`);
    bytes.set(await machine.readMemory(gpa, step), i);
    i += step;
  }
  return bytes;
}

export const monitorCommands: readonly MonitorCommand[] = [
  {
    name: 'help',
    aliases: ['?'],
    argument: '[COMMAND]',
    sentence: 'shows this',
    run: async (_host, argument) => {
      const rows = argument === '' ? monitorCommands : monitorCommands.filter((row) => matches(row, argument));
      return rows
        .map((row) => `${[row.name, ...(row.aliases ?? [])].join('|')} ${row.argument ?? ''} -- ${row.sentence}`)
        .join('\n');
    },
  },
  { name: 'info', argument: '[TOPIC]', sentence: 'shows something of the machine; alone, the topics', run: info },
  {
    name: 'x',
    argument: '/FMT ADDRESS',
    sentence: 'shows virtual memory: /4xw for four words in hexadecimal; registers as $rip',
    run: (host, argument) => examine(host, argument, false),
  },
  {
    name: 'xp',
    argument: '/FMT ADDRESS',
    sentence: 'shows physical memory',
    run: (host, argument) => examine(host, argument, true),
  },
  {
    name: 'stop',
    aliases: ['s'],
    sentence: 'stops the machine',
    run: async ({ machine }) => {
      await machine.pause();
      return '';
    },
  },
  {
    name: 'cont',
    aliases: ['c'],
    sentence: 'lets the machine go on',
    run: async ({ machine }) => {
      await machine.resume();
      return '';
    },
  },
  {
    name: 'system_reset',
    sentence: 'presses the reset button',
    run: async ({ machine }) => {
      await machine.reset();
      return '';
    },
  },
  {
    name: 'system_powerdown',
    sentence: 'presses the power button',
    run: async ({ machine }) => {
      await machine.pressPowerButton();
      return '';
    },
  },
  {
    name: 'nmi',
    sentence: 'injects a non-maskable interrupt',
    run: async ({ machine }) => {
      await machine.injectNmi();
      return '';
    },
  },
  {
    name: 'quit',
    aliases: ['q'],
    sentence: 'ends the machine and the program',
    run: async (host) => {
      host.quit();
      return '';
    },
  },
];

function matches(row: MonitorCommand, word: string): boolean {
  return row.name === word || (row.aliases?.includes(word) ?? false);
}

export const monitorPrompt = '(vring) ';
const historyLimit = 100;

/** Line editing and the commands behind it. Bytes come from a terminal in raw mode, or from a pipe. */
export class Monitor {
  readonly #host: MonitorHost;
  readonly #history: string[] = [];
  #line = '';
  #at = -1;
  #escape = '';
  #shown = false;
  #lastWasReturn = false;
  #busy: Promise<void> = Promise.resolve();

  constructor(host: MonitorHost) {
    this.#host = host;
  }

  /** The monitor gets the keyboard. */
  focus(): void {
    if (!this.#shown) this.#host.write(`${this.#host.version} monitor - type 'help' for more information\r\n`);
    this.#shown = true;
    this.#host.write(`${monitorPrompt}${this.#line}`);
  }

  input(bytes: Uint8Array): void {
    for (const character of Buffer.from(bytes).toString('latin1')) this.#key(character);
  }

  /** Resolves when every line that was entered has been answered. */
  settled(): Promise<void> {
    return this.#busy;
  }

  #key(key: string): void {
    if (this.#escape !== '' || key === '\x1b') {
      this.#escape += key;
      if (/^\x1b\[[0-9;]*[A-Za-z~]$/.test(this.#escape)) {
        const move = this.#escape.endsWith('A') ? 1 : this.#escape.endsWith('B') ? -1 : 0;
        this.#escape = '';
        if (move !== 0) this.#recall(move);
      } else if (this.#escape.length > 8 || /^\x1b[^[]/.test(this.#escape)) this.#escape = '';
      return;
    }
    const afterReturn = this.#lastWasReturn;
    this.#lastWasReturn = key === '\r';
    switch (key) {
      case '\n':
        if (!afterReturn) this.#enter();
        return;
      case '\r':
        this.#enter();
        return;
      case '\x7f':
      case '\b':
        if (this.#line !== '') {
          this.#line = this.#line.slice(0, -1);
          this.#host.write('\b \b');
        }
        return;
      case '\x15':
        this.#replace('');
        return;
      case '\x10':
        this.#recall(1);
        return;
      case '\x0e':
        this.#recall(-1);
        return;
      case '\t':
        this.#complete();
        return;
      default:
        if (key >= ' ' && this.#line.length < 1024) {
          this.#line += key;
          this.#host.write(key);
        }
    }
  }

  #replace(line: string): void {
    this.#host.write(`${'\b \b'.repeat(this.#line.length)}${line}`);
    this.#line = line;
  }

  #recall(step: number): void {
    const at = Math.max(-1, Math.min(this.#at + step, this.#history.length - 1));
    this.#at = at;
    this.#replace(at < 0 ? '' : this.#history[at]);
  }

  #complete(): void {
    const inInfo = /^info\s+(\w*)$/.exec(this.#line);
    const words = inInfo ? topics.map(({ name }) => name) : monitorCommands.map(({ name }) => name);
    const prefix = inInfo ? inInfo[1] : this.#line;
    const fitting = words.filter((word) => word.startsWith(prefix));
    if (fitting.length === 1) {
      const rest = `${fitting[0].slice(prefix.length)}${inInfo ? '' : ' '}`;
      this.#line += rest;
      this.#host.write(rest);
    } else if (fitting.length > 1) this.#host.write(`\r\n${fitting.join(' ')}\r\n${monitorPrompt}${this.#line}`);
  }

  #enter(): void {
    const line = this.#line.trim();
    this.#line = '';
    this.#at = -1;
    this.#host.write('\r\n');
    if (line !== '') {
      this.#history.unshift(line);
      this.#history.length = Math.min(this.#history.length, historyLimit);
    }
    this.#busy = this.#busy.then(async () => {
      const text = line === '' ? '' : await this.#run(line);
      if (text !== '') this.#host.write(`${text.replaceAll('\n', '\r\n')}\r\n`);
      this.#host.write(monitorPrompt);
    });
  }

  async #run(line: string): Promise<string> {
    // `x/4x` is the command x with its format.
    const [, word, argument] = /^([^\s/]+)\s*(.*)$/.exec(line) as unknown as [string, string, string];
    const row = monitorCommands.find((each) => matches(each, word));
    if (!row) {
      const names = monitorCommands.flatMap((each) => [each.name, ...(each.aliases ?? [])]);
      return `unknown command: '${word}'${didYouMean(word, names)}`;
    }
    try {
      return await row.run(this.#host, argument);
    } catch (error) {
      if (error instanceof VringError) return `Error: ${error.message}`;
      throw error;
    }
  }
}
