/** The x86 translator as the engine uses it. */
import type { GuestTranslator } from '../guest-cpu.js';
import { BlockTranslator } from './block-translator.js';
import { DecoderTables } from './decode.js';
import { disassembleAt } from './disassemble.js';
import { allRows } from './table/index.js';

/** A translator for a CPU with these CPUID features (the names that rows use); all there are if left out. */
export function createTranslator(features?: ReadonlySet<string>): GuestTranslator {
  const tables = new DecoderTables(allRows, features);
  const translator = new BlockTranslator(tables);
  return {
    translate: (request, result) => translator.translate(request, result),
    disassemble: (page, offset, nextPage, modeKey, pc) => disassembleAt(tables, page, offset, nextPage, modeKey, pc),
  };
}
