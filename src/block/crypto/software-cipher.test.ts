/** Published vectors of each cipher, and its modes against their definitions by single blocks. */
import assert from 'node:assert';
import test from 'node:test';
import { serpentBoxes, substitute, substituteBack } from './serpent-boxes.js';
import { softwareCipher } from './software-cipher.js';

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'));
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** Algorithm, key, plain text, cipher text. */
const vectors = [
  // RFC 2144, appendix B.1.
  ['cast5-128', '0123456712345678234567893456789a', '0123456789abcdef', '238b4fe5847e44b2'],
  // NESSIE, set 1, vector 0 with keys of 128 and 256 bits; the submission's tables ecb_vt, the bytes in NESSIE's order, for the others.
  [
    'serpent-128',
    '80000000000000000000000000000000',
    '00000000000000000000000000000000',
    '264e5481eff42a4606abda06c0bfda3d',
  ],
  [
    'serpent-128',
    '00000000000000000000000000000000',
    '00000000000000000000000000000080',
    '4ae9a20b2b14a10290cbb820b7ffb510',
  ],
  [
    'serpent-192',
    '000000000000000000000000000000000000000000000000',
    '00000000000000000000000000000040',
    '9668f388dd4f122a4d9dd8d6b8a322d5',
  ],
  [
    'serpent-256',
    '8000000000000000000000000000000000000000000000000000000000000000',
    '00000000000000000000000000000000',
    'a223aa1288463c0e2be38ebd825616c0',
  ],
  [
    'serpent-256',
    '0000000000000000000000000000000000000000000000000000000000000000',
    '00000000000000000000000000000000',
    '49672ba898d98df95019180445491089',
  ],
  // "Twofish: A 128-Bit Block Cipher", appendix B.2.
  [
    'twofish-128',
    '00000000000000000000000000000000',
    '00000000000000000000000000000000',
    '9f589f5cf6122c32b6bfec2f2ae8c35a',
  ],
  [
    'twofish-192',
    '0123456789abcdeffedcba98765432100011223344556677',
    '00000000000000000000000000000000',
    'cfd1d2e5a9be9cdf501f13b892bd2248',
  ],
  [
    'twofish-256',
    '0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff',
    '00000000000000000000000000000000',
    '37527be0052334b89f0cfccae87cfa20',
  ],
] as const;

test('published vectors', () => {
  for (const [algorithm, key, plain, cipher] of vectors) {
    const ecb = softwareCipher(algorithm, 'ecb', hex(key))!;
    assert.equal(toHex(ecb.encrypt(undefined, hex(plain))), cipher, algorithm);
    assert.equal(toHex(ecb.decrypt(undefined, hex(cipher))), plain, algorithm);
  }
});

test('Serpent’s formulas are its tables', () => {
  for (const [box, table] of serpentBoxes.entries()) {
    for (let nibble = 0; nibble < 16; nibble++) {
      const words = Int32Array.from([0, 1, 2, 3], (bit) => -((nibble >> bit) & 1));
      const value = (): number => words.reduce((sum, word, bit) => sum | ((word & 1) << bit), 0);
      substitute[box]!(words);
      assert.equal(value(), Number.parseInt(table[nibble]!, 16));
      substituteBack[box]!(words);
      assert.equal(value(), nibble);
    }
  }
});

test('CBC and CTR are what single blocks make of them, and go back', () => {
  // Node buffers, whose `slice` does not copy: what is given must stay as it is.
  const text = Buffer.from(Array.from({ length: 80 }, (_value, index) => index * 7 + 1));
  const iv = Buffer.alloc(16, 255);
  const kept = toHex(text) + toHex(iv);
  const xor = (a: Uint8Array, b: Uint8Array): Uint8Array => Uint8Array.from(a, (byte, index) => byte ^ b[index]!);
  for (const [algorithm, key] of vectors) {
    const size = algorithm === 'cast5-128' ? 8 : 16;
    const ecb = softwareCipher(algorithm, 'ecb', hex(key))!;
    const cbc = softwareCipher(algorithm, 'cbc', hex(key))!;
    const ctr = softwareCipher(algorithm, 'ctr', hex(key))!;
    const chained = Buffer.from(cbc.encrypt(iv, text));
    const counted = Buffer.from(ctr.encrypt(iv, text));
    for (let at = 0; at < text.length; at += size) {
      const plain = text.subarray(at, at + size);
      const before = at === 0 ? iv.subarray(0, size) : chained.subarray(at - size, at);
      // All ones and one more is zero.
      const counter =
        at === 0
          ? iv.subarray(0, size)
          : Uint8Array.from({ length: size }, (_value, index) => (index < size - 1 ? 0 : at / size - 1));
      assert.equal(toHex(chained.subarray(at, at + size)), toHex(ecb.encrypt(undefined, xor(plain, before))));
      assert.equal(toHex(counted.subarray(at, at + size)), toHex(xor(plain, ecb.encrypt(undefined, counter))));
    }
    assert.equal(toHex(cbc.decrypt(iv, chained)), toHex(text));
    assert.equal(toHex(ctr.decrypt(iv, counted)), toHex(text));
    assert.equal(toHex(text) + toHex(iv), kept);
  }
});
