import type { MemorySpace } from '../../bus/index.js';
import type { AcpiGed } from './acpi-ged.js';

const SELECTOR_BYTES = 4;
const REGISTER_BYTES = 3;

/** The selector at one place, the bytes for sleep and reset at another. */
export function wireAcpiGed(space: MemorySpace, ged: AcpiGed, selectorGpa: number, registersGpa: number): void {
  space.addWindow({ name: ged.name, start: selectorGpa, size: SELECTOR_BYTES, handler: ged.selector });
  space.addWindow({
    name: `${ged.name}-registers`,
    start: registersGpa,
    size: REGISTER_BYTES,
    maxAccess: 1,
    handler: ged.registers,
  });
}
