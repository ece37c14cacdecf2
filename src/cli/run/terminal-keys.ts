/** What a terminal sends for a key, as the keys of a PC's keyboard. */
import { keyCodes, keyOfCharacter } from '../../display/index.js';
import type { InputEvent } from '../../vmm/index.js';

const CTRL = keyCodes.get('ctrl') as number;
const ALT = keyCodes.get('alt') as number;
const SHIFT = keyCodes.get('shift') as number;

/** Last letter of ESC [ and of ESC O, and the number before ~ (ECMA-48; xterm's ctlseqs). */
const byLetter: Readonly<Record<string, string>> = {
  A: 'up',
  B: 'down',
  C: 'right',
  D: 'left',
  F: 'end',
  H: 'home',
  P: 'f1',
  Q: 'f2',
  R: 'f3',
  S: 'f4',
};
const byNumber: Readonly<Record<string, string>> = {
  1: 'home',
  2: 'insert',
  3: 'delete',
  4: 'end',
  5: 'pgup',
  6: 'pgdn',
  7: 'home',
  8: 'end',
  11: 'f1',
  12: 'f2',
  13: 'f3',
  14: 'f4',
  15: 'f5',
  17: 'f6',
  18: 'f7',
  19: 'f8',
  20: 'f9',
  21: 'f10',
  23: 'f11',
  24: 'f12',
};

function press(code: number, modifiers: readonly number[]): InputEvent[] {
  const all = [...modifiers, code];
  const events = (down: boolean) => all.map((key): InputEvent => ({ type: 'key', code: key, down }));
  return [...events(true), ...events(false).reverse()];
}

function plainKey(character: string, modifiers: readonly number[]): InputEvent[] {
  const code = character.charCodeAt(0);
  const named: Readonly<Record<number, string>> = {
    8: 'backspace',
    9: 'tab',
    10: 'ret',
    13: 'ret',
    27: 'esc',
    127: 'backspace',
  };
  const name = named[code];
  if (name !== undefined) return press(keyCodes.get(name) as number, modifiers);
  if (code < 32) {
    // Ctrl with the character 64 places further on.
    const key = code === 0 ? keyOfCharacter(' ') : keyOfCharacter(String.fromCharCode(code + 64).toLowerCase());
    return key ? press(key.code, [...modifiers, CTRL, ...(key.shift ? [SHIFT] : [])]) : [];
  }
  const key = keyOfCharacter(character);
  return key ? press(key.code, [...modifiers, ...(key.shift ? [SHIFT] : [])]) : [];
}

/** Modifiers as the parameter after ; tells them: one more than shift 1, alt 2, ctrl 4. */
function modifiersOf(parameter: string | undefined): number[] {
  const bits = Number(parameter ?? 1) - 1;
  return [SHIFT, ALT, CTRL].filter((_, i) => (bits >> i) & 1);
}

/** Keys in the order in which they were pressed. What no key of a PC sends is left out. */
export function terminalKeys(text: string): InputEvent[] {
  const events: InputEvent[] = [];
  for (let at = 0; at < text.length; ) {
    const rest = text.slice(at);
    const sequence = /^\x1b(?:\[(?:(\d+)(?:;(\d+))?)?([A-Z~])|O([A-Z]))/.exec(rest);
    if (sequence) {
      at += sequence[0].length;
      const [, number, modifiers, letter, single] = sequence;
      const name = letter === '~' ? byNumber[number ?? ''] : byLetter[letter ?? single ?? ''];
      if (rest.startsWith('\x1b[Z')) events.push(...press(keyCodes.get('tab') as number, [SHIFT]));
      else if (name !== undefined) events.push(...press(keyCodes.get(name) as number, modifiersOf(modifiers)));
    } else if (rest.length > 1 && rest[0] === '\x1b' && rest[1] !== '\x1b') {
      at += 2;
      events.push(...plainKey(rest[1], [ALT]));
    } else {
      at++;
      events.push(...plainKey(rest[0], []));
    }
  }
  return events;
}

export const controlAltDelete: readonly InputEvent[] = press(keyCodes.get('delete') as number, [CTRL, ALT]);
