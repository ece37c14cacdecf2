/** The keys of a PC's keyboard by the names that QEMU's monitor has for them, and their scan codes of set 1; 0xe0.. is an extended key. */

const LETTERS = 'qwertyuiop asdfghjkl zxcvbnm';

const rows: readonly (readonly [code: number, ...names: string[]])[] = [
  [0x01, 'esc'],
  ...[...'1234567890'].map((digit, i) => [0x02 + i, digit] as const),
  [0x0c, 'minus'],
  [0x0d, 'equal'],
  [0x0e, 'backspace'],
  [0x0f, 'tab'],
  ...LETTERS.split(' ').flatMap((row, i) => [...row].map((letter, k) => [[0x10, 0x1e, 0x2c][i]! + k, letter] as const)),
  [0x1a, 'bracket_left'],
  [0x1b, 'bracket_right'],
  [0x1c, 'ret'],
  [0x1d, 'ctrl'],
  [0x27, 'semicolon'],
  [0x28, 'apostrophe'],
  [0x29, 'grave_accent'],
  [0x2a, 'shift'],
  [0x2b, 'backslash'],
  [0x33, 'comma'],
  [0x34, 'dot'],
  [0x35, 'slash'],
  [0x36, 'shift_r'],
  [0x37, 'asterisk', 'kp_multiply'],
  [0x38, 'alt'],
  [0x39, 'spc'],
  [0x3a, 'caps_lock'],
  ...Array.from({ length: 10 }, (_, i) => [0x3b + i, `f${i + 1}`] as const),
  [0x45, 'num_lock'],
  [0x46, 'scroll_lock'],
  [0x47, 'kp_7'],
  [0x48, 'kp_8'],
  [0x49, 'kp_9'],
  [0x4a, 'kp_subtract'],
  [0x4b, 'kp_4'],
  [0x4c, 'kp_5'],
  [0x4d, 'kp_6'],
  [0x4e, 'kp_add'],
  [0x4f, 'kp_1'],
  [0x50, 'kp_2'],
  [0x51, 'kp_3'],
  [0x52, 'kp_0'],
  [0x53, 'kp_decimal'],
  [0x54, 'sysrq'],
  [0x56, 'less'],
  [0x57, 'f11'],
  [0x58, 'f12'],
  [0xe01c, 'kp_enter'],
  [0xe01d, 'ctrl_r'],
  [0xe035, 'kp_divide'],
  [0xe037, 'print'],
  [0xe038, 'alt_r'],
  [0xe047, 'home'],
  [0xe048, 'up'],
  [0xe049, 'pgup'],
  [0xe04b, 'left'],
  [0xe04d, 'right'],
  [0xe04f, 'end'],
  [0xe050, 'down'],
  [0xe051, 'pgdn'],
  [0xe052, 'insert'],
  [0xe053, 'delete'],
  [0xe05b, 'meta_l'],
  [0xe05c, 'meta_r'],
  [0xe05d, 'menu', 'compose'],
];

/** Scan code by name. */
export const keyCodes: ReadonlyMap<string, number> = new Map(
  rows.flatMap(([code, ...names]) => names.map((name) => [name, code] as const)),
);

const PLAIN = "`1234567890-=qwertyuiop[]\\asdfghjkl;'zxcvbnm,./ ";
const SHIFTED = '~!@#$%^&*()_+QWERTYUIOP{}|ASDFGHJKL:"ZXCVBNM<>? ';
const PUNCTUATION: Readonly<Record<string, string>> = {
  '`': 'grave_accent',
  '-': 'minus',
  '=': 'equal',
  '[': 'bracket_left',
  ']': 'bracket_right',
  '\\': 'backslash',
  ';': 'semicolon',
  "'": 'apostrophe',
  ',': 'comma',
  '.': 'dot',
  '/': 'slash',
  ' ': 'spc',
};

/** How a character is typed on a US keyboard. Undefined: it has no key there. */
export function keyOfCharacter(character: string): { readonly code: number; readonly shift: boolean } | undefined {
  const plain = PLAIN.indexOf(character);
  const at = plain >= 0 ? plain : SHIFTED.indexOf(character);
  if (at < 0 || character === '') return undefined;
  const key = PLAIN[at]!;
  return { code: keyCodes.get(PUNCTUATION[key] ?? key)!, shift: plain < 0 };
}
