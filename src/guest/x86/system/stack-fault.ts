/**
 * Addresses that are not canonical raise #SS(0) where the access is one of the stack segment, else #GP(0): Intel SDM vol. 3,
 * 6.15. The page walk does not know the segment; here the instruction is looked at again.
 */
import { Decoder, DecoderTables } from '../decode.js';
import { allRows } from '../table/index.js';
import { seg } from './bits.js';

/** Instructions of 64-bit code that use the stack beside an operand in memory that they may have. */
const stackNames = /^(PUSH|POP(?!CNT)|CALL|RET|ENTER|LEAVE|IRET|INT)/;
/** More than the operand that PUSH, POP or CALL can have, and than POP moves RSP by before it uses it. */
const NEAR = 16n;

let decoder: Decoder | undefined;

/** Whether the 64-bit instruction in `code` accesses `address` through SS. */
export function isStackAccess(code: Uint8Array, gpr: (n: number) => bigint, address: bigint): boolean {
  decoder ??= new Decoder(new DecoderTables(allRows));
  decoder.setMode(64, true);
  const number = decoder.decode(code, 0, code.length);
  if (number < 0) return false;
  const throughStack = !decoder.isReg && decoder.segment === seg.SS;
  if (!stackNames.test(decoder.tables.rows[number].name)) return throughStack;
  if (decoder.isReg || decoder.base === -2) return true;
  const base = decoder.base < 0 ? 0n : gpr(decoder.base);
  const index = decoder.index < 0 ? 0n : gpr(decoder.index) << BigInt(decoder.scale);
  const operand = BigInt.asUintN(decoder.addrSize, base + index + BigInt(decoder.disp));
  const distance = BigInt.asIntN(64, address - operand);
  return throughStack || distance < -NEAR || distance > NEAR;
}
