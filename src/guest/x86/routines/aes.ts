/**
 * AES-NI (Intel SDM vol. 2; "Intel Advanced Encryption Standard New Instructions Set" white paper): state, round key.
 */
import type { RoutineBuilder, V128 } from '../../../ir/index.js';
import { bytes, forward, inverse, inverseMixColumns, mixColumns, shiftRows, substitute } from '../../crypto/aes.js';
import { routines } from './set.js';

function round(name: string, body: (r: RoutineBuilder, state: V128) => V128) {
  return routines.define(name, ['v128', 'v128'], ['v128'], { pure: true }, (r, state, key) => {
    r.ret(r.v128_xor(body(r, state), key));
  });
}

export const encrypt = round('aes_encrypt', (r, x) => mixColumns(r, substitute(r, shiftRows(r, x, 1), forward)));
export const encryptLast = round('aes_encrypt_last', (r, x) => substitute(r, shiftRows(r, x, 1), forward));
export const decrypt = round('aes_decrypt', (r, x) =>
  inverseMixColumns(r, substitute(r, shiftRows(r, x, -1), inverse)),
);
export const decryptLast = round('aes_decrypt_last', (r, x) => substitute(r, shiftRows(r, x, -1), inverse));

export const mixInverse = routines.define('aes_mix_inverse', ['v128'], ['v128'], { pure: true }, (r, x) => {
  r.ret(inverseMixColumns(r, x));
});

/** AESKEYGENASSIST: SubWord of words 1 and 3, each also as RotWord of it with the round constant added. */
export const keyAssist = routines.define(
  'aes_key_assist',
  ['v128', 'i32'],
  ['v128'],
  { pure: true },
  (r, x, constant) => {
    const substituted = substitute(r, x, forward);
    const arranged = bytes(r, substituted, [4, 5, 6, 7, 5, 6, 7, 4, 12, 13, 14, 15, 13, 14, 15, 12]);
    r.ret(r.v128_xor(arranged, r.v128_and(r.i32x4_splat(constant), r.v128(0, -1, 0, -1))));
  },
);
