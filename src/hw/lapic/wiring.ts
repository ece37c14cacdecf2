import type { Mapping, MemorySpace } from '../../bus/index.js';
import type { ApicBus } from './apic-bus.js';
import type { LocalApic } from './lapic.js';

/** Above everything else: the processor sees its own APIC before any bus. */
const PRIORITY = 1000;

/** What is read where nothing answers. */
const floating = (size: number) => 0xffffffff >>> (32 - 8 * size);

/**
 * The register pages of the vCPUs' local APICs. They follow IA32_APIC_BASE, usually all to one address, where each vCPU sees its
 * own: `current` tells which one makes the access. Where that one has its page elsewhere nothing answers.
 * Registers are accessed by aligned 32-bit words (SDM vol. 3, 11.4.1): other writes are dropped, narrower reads give a part.
 */
export function wireLocalApics(space: MemorySpace, lapics: readonly LocalApic[], current: () => number): void {
  const mappings = lapics.map((lapic) => {
    const own = () => {
      const here = lapics[current()]!;
      return here === lapic || here.mmioGpa() === lapic.mmioGpa() ? here : undefined;
    };
    return space.addWindow(
      {
        name: lapic.name,
        start: lapic.state.baseGpa,
        size: 0x1000,
        handler: {
          read: (offset, size) => {
            const here = own();
            if (!here) return floating(size);
            return (offset & 15) < 4 ? here.readMmio(offset & ~3) >>> (8 * (offset & 3)) : 0;
          },
          write: (offset, size, value) => {
            if (size === 4 && (offset & 15) === 0) own()?.writeMmio(offset, value);
          },
        },
      },
      PRIORITY,
    );
  });
  // One window for each address that a page lies at.
  const place = () => {
    const places = lapics.map((lapic) => lapic.mmioGpa());
    for (const [i, gpa] of places.entries()) mappings[i]!.move(places.indexOf(gpa) === i ? gpa : undefined);
  };
  for (const lapic of lapics) lapic.onBaseChange = place;
  place();
}

/** Writes by a vCPU to 0xfee00000-0xfeefffff beside its APIC's page are message-signalled interrupts. */
export function wireMsiWindow(space: MemorySpace, bus: ApicBus): Mapping {
  return space.addWindow(
    {
      name: 'msi',
      start: 0xfee00000,
      size: 0x100000,
      handler: {
        read: (_offset, size) => floating(size),
        write: (offset, size, value) => {
          if (size === 4) bus.send(0xfee00000 + offset, value);
        },
      },
    },
    PRIORITY - 1,
  );
}
