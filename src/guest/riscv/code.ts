/** RISC-V code as such: what any thread needs to translate it. */
import type { GuestCode } from '../guest-cpu.js';
import { createTranslator } from './block-translator.js';
import { defaultModel, type RiscvModel } from './models.js';
import { routines } from './routines/set.js';
import { riscvVars } from './state.js';

export function riscvCode(model: RiscvModel = defaultModel): GuestCode {
  return { architecture: 'riscv', vars: riscvVars, routines, translator: createTranslator(model) };
}
