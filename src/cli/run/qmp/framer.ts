/** Cuts what a QMP client sends into JSON values, which nothing but their own form divides. What it keeps is bounded. */
import { VringError } from '../../../vmm/index.js';

const MOST_BYTES = 1 << 20;
const MOST_DEPTH = 1024;

export class QmpFramer {
  #text = '';
  #scanned = 0;
  #depth = 0;
  /** The quote that a string began with; '' outside of one. */
  #quote = '';
  #escaped = false;
  readonly #decoder = new TextDecoder('utf-8');

  /** The texts of values that are complete, and errors in the place of what cannot become one. */
  push(bytes: Uint8Array): (string | VringError)[] {
    this.#text += this.#decoder.decode(bytes, { stream: true });
    const found: (string | VringError)[] = [];
    while (this.#scanned < this.#text.length) {
      const character = this.#text[this.#scanned++];
      if (this.#quote !== '') {
        if (this.#escaped) this.#escaped = false;
        else if (character === '\\') this.#escaped = true;
        else if (character === this.#quote) this.#quote = '';
        continue;
      }
      if (this.#depth === 0) {
        if (/\s/.test(character)) {
          this.#text = this.#text.slice(this.#scanned);
          this.#scanned = 0;
          continue;
        }
        if (character !== '{' && character !== '[') {
          // No value of QMP's begins so: the line is passed over.
          const end = this.#text.indexOf('\n', this.#scanned);
          this.#cut(end < 0 ? this.#text.length : end + 1);
          found.push(new VringError('qmp-json', `JSON parse error, stray '${character}'`));
          continue;
        }
      }
      if (character === '"' || character === "'") this.#quote = character;
      else if (character === '{' || character === '[') {
        if (++this.#depth <= MOST_DEPTH) continue;
        found.push(new VringError('qmp-json', 'JSON parse error, JSON too large'));
        this.#cut(this.#text.length);
      } else if ((character === '}' || character === ']') && --this.#depth === 0) {
        found.push(this.#text.slice(0, this.#scanned));
        this.#cut(this.#scanned);
      }
    }
    if (this.#text.length > MOST_BYTES) {
      found.push(new VringError('qmp-json', 'JSON parse error, JSON too large'));
      this.#cut(this.#text.length);
    }
    return found;
  }

  #cut(end: number): void {
    this.#text = this.#text.slice(end);
    this.#scanned = 0;
    this.#depth = 0;
    this.#quote = '';
    this.#escaped = false;
  }
}
