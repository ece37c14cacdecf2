import type { Mapping, PortSpace } from '../../bus/index.js';
import type { AcpiPm } from './acpi-pm.js';

/** Where the guest finds the blocks; FADT says the same. */
export const PM_BASE = 0x600;
export const GPE0_BASE = 0xafe0;

/** Ports B2h-B3h and CF9h, which all boards have. */
export function wirePowerPorts(ports: PortSpace, pm: AcpiPm): Mapping[] {
  return [
    ports.add({
      name: 'smi-command',
      start: 0xb2,
      size: 2,
      maxAccess: 1,
      handler: {
        read: (offset) => (offset === 0 ? pm.state.smiCommand : pm.state.smiStatus),
        write: (offset, _size, value) => {
          if (offset === 0) pm.writeSmiCommand(value);
          else pm.state.smiStatus = value;
        },
      },
    }),
    // Over the PCI configuration address register, which takes only 32-bit accesses at CF8h.
    ports.add(
      {
        name: 'reset-control',
        start: 0xcf9,
        size: 1,
        handler: {
          read: () => pm.state.resetControl,
          write: (_offset, _size, value) => pm.writeResetControl(value),
        },
      },
      1,
    ),
  ];
}

/**
 * These and the GPE block of a PIIX4, which are fixed, and the event block, which the PIIX4's PCI configuration
 * moves (`eventBlock.move`; undefined while PMREGMISC has it off).
 */
export function wireAcpiPm(
  ports: PortSpace,
  pm: AcpiPm,
  options: { eventBase?: number; gpeBase?: number } = {},
): { eventBlock: Mapping; fixed: Mapping[] } {
  const eventBlock = ports.add({
    name: 'acpi-pm',
    start: options.eventBase ?? PM_BASE,
    size: 0x40,
    handler: pm.eventBlock,
  });
  const fixed = [
    ports.add({ name: 'acpi-gpe0', start: options.gpeBase ?? GPE0_BASE, size: 4, handler: pm.gpeBlock }),
    ...wirePowerPorts(ports, pm),
  ];
  return { eventBlock, fixed };
}
