/**
 * Zicbom and Zicboz: cache-block management and zeroing (unprivileged specification ch. 19; privileged specification 3.1.18 and
 * 12.1.10 for who may). There are no caches: what writes back or invalidates needs only the right to reach the block.
 *
 * Deviation: a block that cannot be loaded from raises the load's exception, not the store's, in management instructions.
 */
import type { I32 } from '../../../ir/index.js';
import type { Extension } from '../models.js';
import type { InsnRow, Translator } from '../row.js';
import { CACHE_BLOCK_BYTES, envcfg, field, privilege } from '../state.js';
import { announce } from './shared.js';

/** Illegal unless a bit of menvcfg allows it to S-mode and, of senvcfg too, to U-mode. */
function requireEnabled(t: Translator, bits: bigint): void {
  const { b, mode } = t;
  if (mode.privilege === privilege.M) return;
  const state = b.state();
  const isOff = (at: number): I32 => b.i64_eqz(b.i64_and(b.i64_load(state, at), b.i64(bits)));
  const off =
    mode.privilege === privilege.U ? b.i32_or(isOff(field.menvcfg), isOff(field.senvcfg)) : isOff(field.menvcfg);
  t.illegalIf(off);
}

const row = (
  name: string,
  number: string,
  extension: Extension,
  bits: bigint,
  work: (t: Translator, n: number) => void,
): InsnRow => ({
  name,
  enc: `${number} rs1 010 00000 0001111`,
  args: '(rs1)',
  extension,
  bytes: CACHE_BLOCK_BYTES,
  translate: (t, i) => {
    requireEnabled(t, bits);
    work(t, i.rs1);
  },
});

/** Reaches the block. */
const manage = (t: Translator, n: number): void => void t.b.guest_load8(t.x(n), 0);

function zero(t: Translator, n: number): void {
  const { b } = t;
  const block = b.i64_and(t.x(n), b.i64(-CACHE_BLOCK_BYTES));
  announce(t, block, CACHE_BLOCK_BYTES, true);
  for (let at = 0; at < CACHE_BLOCK_BYTES; at += 8) b.guest_store64(b.i64_add(block, b.i64(at)), b.i64(0), 0);
}

export const cacheBlockRows: readonly InsnRow[] = [
  row('cbo.inval', '000000000000', 'zicbom', envcfg.CBIE, manage),
  row('cbo.clean', '000000000001', 'zicbom', envcfg.CBCFE, manage),
  row('cbo.flush', '000000000010', 'zicbom', envcfg.CBCFE, manage),
  row('cbo.zero', '000000000100', 'zicboz', envcfg.CBZE, zero),
];
