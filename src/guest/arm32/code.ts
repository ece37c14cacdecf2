/** AArch32 code as such: what any thread needs to translate it. */
import { routines } from '../arm/routines/set.js';
import type { GuestCode } from '../guest-cpu.js';
import { createTranslator } from './block-translator.js';
import { type Arm32Model, defaultModel } from './models.js';
import { armVars } from './state.js';

export function arm32Code(model: Arm32Model = defaultModel): GuestCode {
  return { architecture: 'arm', vars: armVars, routines, translator: createTranslator(model) };
}
