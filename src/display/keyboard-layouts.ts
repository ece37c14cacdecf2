/**
 * Keyboard layouts: which key, with which modifiers, makes a character. A layout is what its keys bear, row by row as they lie, plain,
 * with shift and with AltGr; a blank bears nothing. Dead keys bear their accents.
 */
import { keyCodes } from './keys.js';

/** The keys of each row, from the left. */
const rowsOfKeys: readonly string[] = [
  'grave_accent 1 2 3 4 5 6 7 8 9 0 minus equal',
  'q w e r t y u i o p bracket_left bracket_right',
  'a s d f g h j k l semicolon apostrophe backslash',
  'less z x c v b n m comma dot slash',
];
const keyRows = rowsOfKeys.map((row) => row.split(' ').map((name) => keyCodes.get(name) as number));

/** Rows of one level, from the top. */
type Level = readonly [digits: string, upper: string, middle: string, lower: string];
interface Layout {
  readonly plain: Level;
  readonly shift: Level;
  readonly altGr?: Level;
}

const layouts: Readonly<Record<string, Layout>> = {
  'en-us': {
    plain: ['`1234567890-=', 'qwertyuiop[]', "asdfghjkl;'\\", ' zxcvbnm,./'],
    shift: ['~!@#$%^&*()_+', 'QWERTYUIOP{}', 'ASDFGHJKL:"|', ' ZXCVBNM<>?'],
  },
  'en-gb': {
    plain: ['`1234567890-=', 'qwertyuiop[]', "asdfghjkl;'#", '\\zxcvbnm,./'],
    shift: ['¬!"£$%^&*()_+', 'QWERTYUIOP{}', 'ASDFGHJKL:@~', '|ZXCVBNM<>?'],
    altGr: ['¦   €        ', '  é   úíó   ', 'á           ', '           '],
  },
  de: {
    plain: ['^1234567890ß´', 'qwertzuiopü+', 'asdfghjklöä#', '<yxcvbnm,.-'],
    shift: ['°!"§$%&/()=?`', 'QWERTZUIOPÜ*', "ASDFGHJKLÖÄ'", '>YXCVBNM;:_'],
    altGr: ['  ²³   {[]}\\ ', '@ €        ~', '            ', '|      µ   '],
  },
  fr: {
    plain: ['²&é"\'(-è_çà)=', 'azertyuiop^$', 'qsdfghjklmù*', '<wxcvbn,;:!'],
    shift: [' 1234567890°+', 'AZERTYUIOP¨£', 'QSDFGHJKLM%µ', '>WXCVBN?./§'],
    altGr: ['  ~#{[|`\\^@]}', '  €        ¤', '            ', '           '],
  },
  es: {
    plain: ["º1234567890'¡", 'qwertyuiop`+', 'asdfghjklñ´ç', '<zxcvbnm,.-'],
    shift: ['ª!"·$%&/()=?¿', 'QWERTYUIOP^*', 'ASDFGHJKLÑ¨Ç', '>ZXCVBNM;:_'],
    altGr: ['\\|@#~ ¬      ', '  €       []', '          {}', '           '],
  },
  it: {
    plain: ["\\1234567890'ì", 'qwertyuiopè+', 'asdfghjklòàù', '<zxcvbnm,.-'],
    shift: ['|!"£$%&/()=?^', 'QWERTYUIOPé*', 'ASDFGHJKLç°§', '>ZXCVBNM;:_'],
    altGr: ['             ', '  €       []', '         @# ', '           '],
  },
};

export const keyboardLayouts: readonly string[] = Object.keys(layouts);

export interface TypedKey {
  readonly code: number;
  readonly shift: boolean;
  readonly altGr: boolean;
}

const typed = new Map<string, ReadonlyMap<string, TypedKey>>();

function charactersOf({ plain, shift, altGr }: Layout): ReadonlyMap<string, TypedKey> {
  const keys = new Map<string, TypedKey>([[' ', { code: keyCodes.get('spc') as number, shift: false, altGr: false }]]);
  for (const [level, modifiers] of [
    [plain, { shift: false, altGr: false }],
    [shift, { shift: true, altGr: false }],
    [altGr ?? [], { shift: false, altGr: true }],
  ] as const)
    for (const [row, characters] of level.entries())
      for (const [at, character] of [...characters].entries()) {
        const code = keyRows[row]?.[at];
        // The first way to type a character is the one with the fewest modifiers.
        if (code !== undefined && !keys.has(character)) keys.set(character, { code, ...modifiers });
      }
  return keys;
}

/** How a character is typed on a keyboard of that layout. Undefined: it has no key there, or there is no such layout. */
export function keyOfCharacter(character: string, layout = 'en-us'): TypedKey | undefined {
  const known = typed.get(layout);
  if (known) return known.get(character);
  const found = Object.hasOwn(layouts, layout) ? layouts[layout] : undefined;
  if (!found) return undefined;
  typed.set(layout, charactersOf(found));
  return keyOfCharacter(character, layout);
}
