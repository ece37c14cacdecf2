/** `-display text`: the characters on the machine's screen in the terminal, and the terminal's keys on its keyboard. */
import { codePage437 } from '../../display/index.js';
import type { Terminal, TerminalSize } from '../../host/node/terminal.js';
import type { Machine, TextScreen } from '../../vmm/index.js';
import { UsageError } from '../usage-error.js';
import type { OutputSink } from './backends/backend.js';
import { controlAltDelete, terminalKeys } from './terminal-keys.js';

const LOOK_MS = 50;
/** The VGA's colours have red and blue the other way round. */
const ansi = (color: number) => ((color & 1) << 2) | (color & 2) | ((color & 4) >> 2);

/** Attribute as select-graphic-rendition parameters. */
function rendition(attribute: number): string {
  const [front, back] = [attribute & 15, attribute >> 4];
  return `\x1b[0;${(front & 8 ? 90 : 30) + ansi(front)};${(back & 8 ? 100 : 40) + ansi(back)}m`;
}

/** Rows of a screen as terminal output, cut to the terminal's size; the rows with the cursor are seen. */
export function rowsOf(screen: TextScreen, size: TerminalSize): { rows: string[]; cursor: string } {
  const { columns, cells, cursor } = screen;
  const height = Math.min(screen.rows, size.rows);
  const first = cursor ? Math.max(0, cursor.row - height + 1) : 0;
  const width = Math.min(columns, size.columns);
  const rows: string[] = [];
  for (let row = first; row < first + height; row++) {
    let text = '';
    let last = -1;
    for (let column = 0; column < width; column++) {
      const cell = cells[row * columns + column];
      if (cell >> 8 !== last) text += rendition(cell >> 8);
      last = cell >> 8;
      text += codePage437[cell & 0xff];
    }
    rows.push(text);
  }
  const shown = cursor && cursor.column < width;
  return {
    rows,
    cursor: shown ? `\x1b[${cursor.row - first + 1};${cursor.column + 1}H\x1b[?25h` : '\x1b[?25l',
  };
}

export interface TextDisplayOptions {
  readonly machine: Machine;
  readonly terminal: Terminal;
  readonly stdin: NodeJS.ReadStream;
  readonly output: OutputSink;
  readonly escapeByte: number;
  quit(): void;
}

export class TextDisplay {
  readonly #options: TextDisplayOptions;
  #shown: readonly string[] = [];
  #cursor = '';
  #size: TerminalSize = { columns: 80, rows: 25 };
  #timer: NodeJS.Timeout | undefined;
  #isOn = false;
  #escaped = false;
  #stopResize = () => {};
  readonly #onData = (bytes: Buffer) => this.#input(bytes);

  /** Throws UsageError where there is no terminal. */
  constructor(options: TextDisplayOptions) {
    const { terminal } = options;
    if (!terminal.inputIsTerminal || !terminal.outputIsTerminal)
      throw new UsageError('-display text needs a terminal for input and output');
    this.#options = options;
  }

  start(): void {
    const { terminal, stdin, output } = this.#options;
    this.#isOn = true;
    terminal.enterRaw();
    const resize = (size: TerminalSize) => {
      this.#size = size;
      this.#shown = [];
    };
    if (terminal.size) resize(terminal.size);
    this.#stopResize = terminal.onResize(resize);
    stdin.on('data', this.#onData);
    stdin.resume();
    void output.write('\x1b[?1049h\x1b[2J');
    void this.#look();
  }

  async #look(): Promise<void> {
    const { machine, output } = this.#options;
    const screen = await machine.screenText().catch(() => null);
    if (!this.#isOn || screen === null) return;
    const { rows, cursor } = screen
      ? rowsOf(screen, this.#size)
      : { rows: ['\x1b[0m(The guest shows graphics: VNC and screendump show them.)'], cursor: '\x1b[?25l' };
    let text = '';
    if (rows.length < this.#shown.length) text += '\x1b[0m\x1b[2J';
    const before = rows.length < this.#shown.length ? [] : this.#shown;
    rows.forEach((row, i) => {
      if (row !== before[i]) text += `\x1b[${i + 1};1H${row}\x1b[0m\x1b[K`;
    });
    if (text !== '' || cursor !== this.#cursor) await output.write(`${text}${cursor}`);
    this.#shown = rows;
    this.#cursor = cursor;
    if (this.#isOn) this.#timer = setTimeout(() => void this.#look(), LOOK_MS);
  }

  #input(bytes: Buffer): void {
    const { machine, escapeByte, quit } = this.#options;
    let plain = '';
    for (const character of bytes.toString('latin1')) {
      if (!this.#escaped && character.charCodeAt(0) === escapeByte) this.#escaped = true;
      else if (this.#escaped) {
        this.#escaped = false;
        if (character === 'x') quit();
        else if (character === 'd') void machine.sendInput(controlAltDelete).catch(() => {});
        else if (character.charCodeAt(0) === escapeByte) plain += character;
      } else plain += character;
    }
    const events = terminalKeys(plain);
    if (events.length > 0) machine.sendInput(events).catch(() => {});
  }

  async stop(): Promise<void> {
    if (!this.#isOn) return;
    this.#isOn = false;
    clearTimeout(this.#timer);
    const { terminal, stdin, output } = this.#options;
    stdin.off('data', this.#onData);
    stdin.pause();
    this.#stopResize();
    await output.write('\x1b[0m\x1b[?25h\x1b[?1049l');
    terminal.leaveRaw();
  }
}
