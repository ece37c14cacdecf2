/** PCLMULQDQ (Intel SDM vol. 2). */
import { carrylessHalves } from '../../crypto/carryless.js';
import { routines } from './set.js';

/** Low and high half of the product. */
export const carrylessProduct = routines.define(
  'carryless_product',
  ['i64', 'i64'],
  ['i64', 'i64'],
  { pure: true },
  (r, x, y) => r.ret(...carrylessHalves(r, x, y)),
);
