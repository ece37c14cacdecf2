/** Which bits of SCTLR and TCR a model has. */
import type { ArmModel } from '../models.js';
import { BT0, BT1, sctlr } from '../state.js';
import { tcr } from './page-walk.js';
import { ALL } from './register-row.js';

/** Bits that are one: EOS, TSCXT, EIS, LSMAOE, nTLSMD; and what an OS finds at reset. */
const SCTLR_ONES = (1n << 11n) | (1n << 22n) | (1n << 28n) | (1n << 29n);
export const RESET_SCTLR = Number(SCTLR_ONES);
const SCTLR_WRITABLE =
  BigInt(sctlr.M | sctlr.UMA | sctlr.DZE | sctlr.UCT | sctlr.nTWI | sctlr.WXN | sctlr.SPAN | sctlr.UCI) |
  // A, C, SA, SA0, I, nTWE: kept, and without effect: caches are coherent, and neither alignment is checked.
  (1n << 1n) |
  (1n << 2n) |
  (1n << 3n) |
  (1n << 4n) |
  (1n << 12n) |
  (1n << 18n);
export const sctlrWritable = ({ features }: ArmModel): bigint => {
  const absent = features.has('pan') ? 0n : BigInt(sctlr.SPAN);
  const rctx = features.has('specres') ? BigInt(sctlr.EnRCTX) : 0n;
  const keys = features.has('pauth') ? (1n << 13n) | (1n << 27n) | (1n << 30n) | (1n << 31n) : 0n;
  return (
    (SCTLR_WRITABLE & ~absent) |
    keys |
    rctx |
    (features.has('ssbs') ? 1n << 44n : 0n) |
    (features.has('bti') ? BT0 | BT1 : 0n)
  );
};
/** Bits of extensions that a model lacks are zero. */
export const tcrWritable = ({ features }: ArmModel): bigint => {
  let bits = ALL;
  if (!features.has('hafdbs')) bits &= ~(tcr.HA | tcr.HD);
  if (!features.has('hpds')) bits &= ~(3n << BigInt(tcr.HPD));
  if (!features.has('e0pd')) bits &= ~(3n << BigInt(tcr.E0PD));
  if (!features.has('pauth')) bits &= ~(3n << BigInt(tcr.TBID));
  return bits;
};
