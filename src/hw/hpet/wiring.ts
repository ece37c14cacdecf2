import type { Mapping, MemorySpace } from '../../bus/index.js';
import { HPET_GPA, type Hpet } from './hpet.js';

export function wireHpet(space: MemorySpace, hpet: Hpet, gpa: number = HPET_GPA): Mapping {
  return space.addWindow({ name: hpet.name, start: gpa, size: 0x400, handler: hpet });
}
