/** x86 code as such: what any thread needs to translate it. */
import type { GuestCode } from '../guest-cpu.js';
import type { CpuModel } from './models.js';
import { routines } from './routines/set.js';
import { x86Vars } from './state.js';
import { createTranslator } from './translate.js';

export function x86Code(model: CpuModel): GuestCode {
  return { architecture: 'x86', vars: x86Vars, routines, translator: createTranslator(model.features) };
}
