/** Usages of keys (HID Usage Tables 1.12, chapter 10) by their set 1 codes. */
const PLAIN =
  '00 29 1e 1f 20 21 22 23 24 25 26 27 2d 2e 2a 2b ' +
  '14 1a 08 15 17 1c 18 0c 12 13 2f 30 28 e0 04 16 ' +
  '07 09 0a 0b 0d 0e 0f 33 34 35 e1 31 1d 1b 06 19 ' +
  '05 11 10 36 37 38 e5 55 e2 2c 39 3a 3b 3c 3d 3e ' +
  '3f 40 41 42 43 53 47 5f 60 61 56 5c 5d 5e 57 59 ' +
  '5a 5b 62 63 46 00 64 44 45';
const plain = PLAIN.split(' ').map((word) => Number.parseInt(word, 16));

const extended: Readonly<Record<number, number>> = {
  28: 0x58,
  29: 0xe4,
  53: 0x54,
  55: 0x46,
  56: 0xe6,
  70: 0x48,
  71: 0x4a,
  72: 0x52,
  73: 0x4b,
  75: 0x50,
  77: 0x4f,
  79: 0x4d,
  80: 0x51,
  81: 0x4e,
  82: 0x49,
  83: 0x4c,
  91: 0xe3,
  92: 0xe7,
  93: 0x65,
};

/** 0: no such key. `set1Code` has 0xe000 added for the extended keys. */
export function usageOf(set1Code: number): number {
  const code = set1Code & 0x7f;
  return ((set1Code & 0xff00) === 0xe000 ? extended[code] : plain[code]) ?? 0;
}

export const firstModifier = 0xe0;
