/** AArch64 code as such: what any thread needs to translate it. */
import type { GuestCode } from '../guest-cpu.js';
import { createTranslator } from './block-translator.js';
import { type ArmModel, defaultModel } from './models.js';
import { routines } from './routines/set.js';
import { armVars } from './state.js';

export function aarch64Code(model: ArmModel = defaultModel): GuestCode {
  return { architecture: 'aarch64', vars: armVars, routines, translator: createTranslator(model) };
}
