/** A bar on a terminal for what is being fetched; nothing elsewhere. */
import type { FetchProgress } from '../distro/index.js';

const barWidth = 30;
/** The bar is drawn at most this often. */
const intervalMs = 50;

export class Progress {
  readonly #stream: NodeJS.WriteStream;
  #drawn = false;
  #lastMs = 0;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  show(step: FetchProgress): void {
    if (!this.#stream.isTTY) return;
    const { doneBytes, totalBytes } = step;
    const nowMs = performance.now();
    if (nowMs - this.#lastMs < intervalMs && doneBytes !== totalBytes) return;
    this.#lastMs = nowMs;
    const columns = Math.max(20, this.#stream.columns ?? 80);
    this.#stream.write(`\r${progressText(step).slice(0, columns - 1)}\x1b[K`);
    this.#drawn = true;
  }

  clear(): void {
    if (!this.#drawn) return;
    this.#drawn = false;
    this.#stream.write('\r\x1b[K');
  }
}

export function progressText({ what, doneBytes, totalBytes }: FetchProgress): string {
  const counted = what === 'modules';
  const amount = (value: number) => (counted ? String(value) : `${(value / 1e6).toFixed(1)}`);
  const unit = counted ? '' : ' MB';
  if (totalBytes === undefined || totalBytes === 0) return `${what} ${amount(doneBytes)}${unit}`;
  const part = Math.min(1, doneBytes / totalBytes);
  const full = Math.round(part * barWidth);
  const bar = '#'.repeat(full) + '-'.repeat(barWidth - full);
  return `[${bar}] ${String(Math.floor(part * 100)).padStart(3)}% ${what} ${amount(doneBytes)}/${amount(totalBytes)}${unit}`;
}
