/**
 * Keys of a client on the guest's keyboard. A client that tells scan codes is followed; of others the keysym says which key it is on
 * a US keyboard, and shift is held or let go around it where the client's keyboard has the character elsewhere.
 */
import { keyCodes, keyOfCharacter } from '../display/index.js';
import type { VncScreen } from './host.js';

const LED_NUM = 2;
const LED_CAPS = 4;
const SHIFT = 0x2a;
const SHIFT_RIGHT = 0x36;
const ALT_GR = 0xe038;
const NUM_LOCK = 0x45;
const EXTENDED = 0xe000;

const code = (name: string) => keyCodes.get(name)!;

/** Keysyms beyond characters (X11's keysymdef.h), by ranges of consecutive ones. */
const ranges: readonly (readonly [first: number, ...names: string[]])[] = [
  [0xff08, 'backspace', 'tab'],
  [0xff0d, 'ret'],
  [0xff14, 'scroll_lock', 'sysrq'],
  [0xff1b, 'esc'],
  [0xff50, 'home', 'left', 'up', 'right', 'down', 'pgup', 'pgdn', 'end'],
  [0xff61, 'print'],
  [0xff63, 'insert'],
  [0xff67, 'menu'],
  [0xff7e, 'alt_r', 'num_lock'],
  [0xff8d, 'kp_enter'],
  // The keypad without NumLock.
  [0xff95, 'home', 'left', 'up', 'right', 'down', 'pgup', 'pgdn', 'end', 'kp_5', 'insert', 'delete'],
  [0xffaa, 'kp_multiply', 'kp_add'],
  [0xffad, 'kp_subtract', 'kp_decimal', 'kp_divide'],
  [0xffb0, ...Array.from({ length: 10 }, (_, i) => `kp_${i}`)],
  [0xffbe, ...Array.from({ length: 12 }, (_, i) => `f${i + 1}`)],
  [
    0xffe1,
    'shift',
    'shift_r',
    'ctrl',
    'ctrl_r',
    'caps_lock',
    'caps_lock',
    'meta_l',
    'meta_r',
    'alt',
    'alt_r',
    'meta_l',
    'meta_r',
  ],
  [0xffff, 'delete'],
  // ISO_Level3_Shift, ISO_Left_Tab.
  [0xfe03, 'alt_r'],
  [0xfe20, 'tab'],
];
const keysyms = new Map(
  ranges.flatMap(([first, ...names]) => names.map((name, i) => [first + i, code(name)] as const)),
);
const isKeypadDigit = (keysym: number) => keysym === 0xffae || (keysym >= 0xffb0 && keysym <= 0xffb9);

/** Keysyms of accents that wait for a letter: the keys bear the accents themselves. */
const deadKeys: Readonly<Record<number, string>> = { 65104: '`', 65105: '´', 65106: '^', 65107: '~', 65111: '¨' };

/** Latin-1 has the keysyms of its numbers, the euro sign one of its own, and Unicode a range. Empty: it is none. */
function characterOf(keysym: number): string {
  if (keysym === 0x20ac) return '€';
  if ((keysym >= 0x20 && keysym <= 0x7e) || (keysym >= 0xa0 && keysym <= 0xff)) return String.fromCharCode(keysym);
  if (keysym >= 0x0100_0100 && keysym <= 0x0110_ffff) return String.fromCodePoint(keysym - 0x0100_0000);
  return deadKeys[keysym] ?? '';
}

export class ClientKeyboard {
  readonly #screen: VncScreen;
  /** Of the guest's keyboard. */
  readonly #layout: string | undefined;
  readonly #down = new Set<number>();

  constructor(screen: VncScreen, layout: string | undefined) {
    this.#screen = screen;
    this.#layout = layout;
  }

  #set(key: number, down: boolean): void {
    if (down) this.#down.add(key);
    else this.#down.delete(key);
    this.#screen.key(key, down);
  }

  /** Set 1 code as the QEMU extension has it: bit 7 stands for the extended keys. */
  scanCode(keycode: number, down: boolean): void {
    const key = (keycode & 0x80) !== 0 ? EXTENDED | (keycode & 0x7f) : keycode & 0x7f;
    if ((key & 0x7f) !== 0) this.#set(key, down);
  }

  keysym(keysym: number, down: boolean): void {
    const key = keysyms.get(keysym);
    if (key !== undefined) {
      if (down && isKeypadDigit(keysym) && (this.#screen.leds() & LED_NUM) === 0) this.#tap(NUM_LOCK);
      this.#set(key, down);
      return;
    }
    const character = characterOf(keysym);
    const found = keyOfCharacter(character, this.#layout);
    if (!found) return;
    if (!down) {
      this.#set(found.code, false);
      return;
    }
    // The guest's caps lock turns shift around for letters.
    const turned = /\p{L}/u.test(character) && (this.#screen.leds() & LED_CAPS) !== 0;
    const undoShift = this.#hold([SHIFT, SHIFT_RIGHT], found.shift !== turned);
    const undoAltGr = this.#hold([ALT_GR], found.altGr);
    this.#set(found.code, true);
    undoAltGr();
    undoShift();
  }

  /** One of these modifiers is down, or none is, until what is given is called: then they are as the client has them. */
  #hold(modifiers: readonly [number, ...number[]], wanted: boolean): () => void {
    const held = modifiers.filter((each) => this.#down.has(each));
    if (wanted === held.length > 0) return () => {};
    const changed = wanted ? [modifiers[0]] : held;
    for (const each of changed) this.#screen.key(each, wanted);
    return () => {
      for (const each of changed) this.#screen.key(each, !wanted);
    };
  }

  #tap(key: number): void {
    this.#screen.key(key, true);
    this.#screen.key(key, false);
  }

  /** The client has gone: nothing stays held. */
  release(): void {
    for (const key of this.#down) this.#screen.key(key, false);
    this.#down.clear();
  }
}
