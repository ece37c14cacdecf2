/**
 * A picture that a device copies into shared memory when the guest says so, and that another thread shows: its size, its pixels, the
 * pointer's picture beside it. What lies in front of the pixels is words of 32 bits, each written whole.
 */
import type { ScreenSource, Surface } from './surface.js';

const word = {
  isOn: 0,
  width: 1,
  height: 2,
  /** Goes up with every change of the picture, and of the pointer. */
  changes: 3,
  pointerChanges: 4,
  pointerShown: 5,
  hotX: 6,
  hotY: 7,
  /** The guest takes places of the pointer, not steps. */
  isAbsolute: 8,
  /** Lights of the keyboard that is used: num, caps, scroll lock in bits 0 to 2; -1: it keeps them elsewhere. */
  leds: 9,
} as const;
const HEADER_WORDS = 16;
/** Pixels of the pointer in each direction. */
export const POINTER_SIZE = 64;
const POINTER_WORDS = POINTER_SIZE * POINTER_SIZE;
const PICTURE_AT = (HEADER_WORDS + POINTER_WORDS) * 4;
/** What is shown while there is no picture. */
const BLANK = { width: 640, height: 480 } as const;

export interface Pointer {
  /** 0xAARRGGBB, by rows; colours are multiplied by their alpha already. */
  readonly pixels: Uint32Array;
  readonly hotX: number;
  readonly hotY: number;
}

export class ScreenFrame {
  readonly buffer: SharedArrayBuffer;
  /** 0x00RRGGBB, by rows. */
  readonly pixels: Uint32Array;
  readonly #words: Int32Array;
  readonly #pointer: Uint32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer, 0, HEADER_WORDS);
    this.#pointer = new Uint32Array(buffer, HEADER_WORDS * 4, POINTER_WORDS);
    this.pixels = new Uint32Array(buffer, PICTURE_AT);
  }

  /** Room for so many pixels; 0: for what lies in front of them. */
  static create(pixels: number): ScreenFrame {
    const frame = new ScreenFrame(new SharedArrayBuffer(PICTURE_AT + pixels * 4));
    frame.#words[word.leds] = -1;
    return frame;
  }

  get isOn(): boolean {
    return this.#words[word.isOn] !== 0;
  }
  get width(): number {
    return this.#words[word.width]!;
  }
  get height(): number {
    return this.#words[word.height]!;
  }
  get changes(): number {
    return this.#words[word.changes]!;
  }

  /** There is a picture from here on, of a size for which there is room; undefined: there is none. */
  show(size: { readonly width: number; readonly height: number } | undefined): void {
    this.#words[word.isOn] = size ? 1 : 0;
    if (size) {
      this.#words[word.width] = size.width;
      this.#words[word.height] = size.height;
    }
    this.changed();
  }

  /** Pixels have been written. */
  changed(): void {
    Atomics.add(this.#words, word.changes, 1);
  }

  get pointerChanges(): number {
    return this.#words[word.pointerChanges]!;
  }
  get pointer(): Pointer | undefined {
    if (this.#words[word.pointerShown] === 0) return undefined;
    return { pixels: this.#pointer.slice(), hotX: this.#words[word.hotX]!, hotY: this.#words[word.hotY]! };
  }
  set pointer(pointer: Pointer | undefined) {
    this.#words[word.pointerShown] = pointer ? 1 : 0;
    if (pointer) {
      this.#pointer.set(pointer.pixels);
      this.#words[word.hotX] = pointer.hotX;
      this.#words[word.hotY] = pointer.hotY;
    }
    Atomics.add(this.#words, word.pointerChanges, 1);
  }

  get isAbsolute(): boolean {
    return this.#words[word.isAbsolute] !== 0;
  }
  set isAbsolute(isAbsolute: boolean) {
    this.#words[word.isAbsolute] = isAbsolute ? 1 : 0;
  }

  get leds(): number | undefined {
    const leds = this.#words[word.leds]!;
    return leds < 0 ? undefined : leds;
  }
  set leds(leds: number | undefined) {
    this.#words[word.leds] = leds ?? -1;
  }
}

export class FrameRenderer implements ScreenSource {
  readonly #frame: ScreenFrame;
  #drawn: number | undefined;

  constructor(frame: ScreenFrame) {
    this.#frame = frame;
  }

  /** Somebody else has drawn on the surface. */
  invalidate(): void {
    this.#drawn = undefined;
  }

  draw(surface: Surface): void {
    const { isOn, width, height, changes, pixels } = this.#frame;
    if (changes === this.#drawn) return;
    this.#drawn = changes;
    if (!isOn) {
      surface.resize(BLANK.width, BLANK.height);
      surface.fill(0);
      return;
    }
    surface.resize(width, height);
    for (let y = 0; y < height; y++) surface.putRow(y, pixels.subarray(y * width, (y + 1) * width));
  }
}
