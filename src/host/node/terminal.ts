/**
 * The terminal that the program was started from: raw mode, window size, and the way back. Whatever ends the process, the
 * terminal is as it was before: the end of the program, an exception, or a signal (SIGKILL apart, which nobody can catch).
 */
import type { ReadStream, WriteStream } from 'node:tty';

/** Signals that end a program unless it says otherwise. */
const endings = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM'] as const;
export type EndingSignal = (typeof endings)[number];

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

type Input = NodeJS.ReadStream & Partial<Pick<ReadStream, 'setRawMode' | 'isRaw'>>;
type Output = NodeJS.WriteStream & Partial<Pick<WriteStream, 'columns' | 'rows'>>;

export class Terminal {
  readonly #input: Input;
  readonly #output: Output;
  #raw = false;
  #wanted = false;
  readonly #restore = () => this.leaveRaw();
  readonly #suspend = () => this.suspend();
  readonly #continue = () => {
    if (this.#wanted) this.enterRaw();
    this.#onContinue?.();
  };
  #onContinue: (() => void) | undefined;

  constructor(input: Input = process.stdin, output: Output = process.stdout) {
    this.#input = input;
    this.#output = output;
  }

  get inputIsTerminal(): boolean {
    return this.#input.isTTY === true;
  }

  get outputIsTerminal(): boolean {
    return this.#output.isTTY === true;
  }

  get size(): TerminalSize | undefined {
    const { columns, rows } = this.#output;
    return columns && rows ? { columns, rows } : undefined;
  }

  /** Calls `listener` when the window's size changes. Returns what ends that. */
  onResize(listener: (size: TerminalSize) => void): () => void {
    const changed = () => {
      const { size } = this;
      if (size) listener(size);
    };
    this.#output.on('resize', changed);
    return () => {
      this.#output.off('resize', changed);
    };
  }

  /** Every key reaches the program as it is typed, without echo; nothing when the input is no terminal. */
  enterRaw(onContinue?: () => void): void {
    if (!this.inputIsTerminal || !this.#input.setRawMode) return;
    this.#onContinue ??= onContinue;
    this.#wanted = true;
    if (this.#raw) return;
    this.#raw = true;
    this.#input.setRawMode(true);
    process.on('exit', this.#restore);
    process.on('uncaughtExceptionMonitor', this.#restore);
    process.on('SIGTSTP', this.#suspend);
    process.on('SIGCONT', this.#continue);
  }

  leaveRaw(): void {
    this.#wanted = false;
    this.#leave();
    process.off('SIGTSTP', this.#suspend);
    process.off('SIGCONT', this.#continue);
  }

  /** As Ctrl-Z does: the terminal goes back to the shell until the program is continued. */
  suspend(): void {
    const wanted = this.#wanted;
    this.#leave();
    this.#wanted = wanted;
    process.kill(process.pid, 'SIGSTOP');
  }

  #leave(): void {
    if (!this.#raw) return;
    this.#raw = false;
    process.off('exit', this.#restore);
    process.off('uncaughtExceptionMonitor', this.#restore);
    try {
      this.#input.setRawMode?.(false);
    } catch {
      // The terminal itself is gone.
    }
  }
}

/** Calls `listener` for signals that would end the program, in place of their ending it. Returns what ends that. */
export function onEndingSignal(listener: (signal: EndingSignal, number: number) => void): () => void {
  const numbers: Record<EndingSignal, number> = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGTERM: 15 };
  const handlers = endings.map((signal) => {
    const handler = () => listener(signal, numbers[signal]);
    process.on(signal, handler);
    return () => process.off(signal, handler);
  });
  return () => {
    for (const remove of handlers) remove();
  };
}
