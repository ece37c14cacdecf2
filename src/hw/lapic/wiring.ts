import type { Mapping, MemorySpace } from '../../bus/index.js';
import type { ApicBus } from './apic-bus.js';
import type { LocalApic } from './lapic.js';

/** Above everything else: the processor sees its own APIC before any bus. */
const PRIORITY = 1000;

/**
 * The register page of a vCPU's own local APIC in the address space that this vCPU sees. It follows IA32_APIC_BASE.
 * Registers are accessed by aligned 32-bit words (SDM vol. 3, 11.4.1): other writes are dropped, narrower reads give a part.
 */
export function wireLocalApic(space: MemorySpace, lapic: LocalApic): Mapping {
  const mapping = space.addWindow(
    {
      name: lapic.name,
      start: lapic.state.baseGpa,
      size: 0x1000,
      handler: {
        read: (offset) => ((offset & 15) < 4 ? lapic.readMmio(offset & ~3) >>> (8 * (offset & 3)) : 0),
        write: (offset, size, value) => {
          if (size === 4 && (offset & 15) === 0) lapic.writeMmio(offset, value);
        },
      },
    },
    PRIORITY,
  );
  lapic.onBaseChange = () => mapping.move(lapic.mmioGpa());
  mapping.move(lapic.mmioGpa());
  return mapping;
}

/** Writes by a vCPU to 0xfee00000-0xfeefffff beside its APIC's page are message-signalled interrupts. */
export function wireMsiWindow(space: MemorySpace, bus: ApicBus): Mapping {
  return space.addWindow(
    {
      name: 'msi',
      start: 0xfee00000,
      size: 0x100000,
      handler: {
        read: () => 0,
        write: (offset, size, value) => {
          if (size === 4) bus.send(0xfee00000 + offset, value);
        },
      },
    },
    PRIORITY - 1,
  );
}
