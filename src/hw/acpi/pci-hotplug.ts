/** The part of the DSDT for hot-plug of bus 0's slots: an object for each slot, and what the event leads to (ACPI 6.4, 6.3). */
import { PCI_HOTPLUG_EVENT, PCI_HOTPLUG_PORT } from '../pci/acpi-hotplug.js';
import * as aml from './aml.js';

const notice = { check: 1, eject: 3 } as const;
const slotName = (slot: number): string => `S${(8 * slot).toString(16).toUpperCase().padStart(2, '0')}_`;

/** In the host bridge's scope. `firstSlot`: those below are the board's own. */
export function hotplugSlots(firstSlot: number): aml.Term[] {
  const slots = Array.from({ length: 32 - firstSlot }, (_, i) => firstSlot + i);
  const bit = (slot: number) => aml.integer(2 ** slot);
  const notify = (what: number) => (slot: number) =>
    aml.when(aml.and(aml.local(0), bit(slot)), aml.notify(aml.path(slotName(slot)), aml.integer(what)));
  return [
    aml.operationRegion('PCST', aml.regionSpace.systemIo, PCI_HOTPLUG_PORT, 0x14),
    aml.dwordFields('PCST', ['PCIU', 'PCID', 'B0EJ', 'PRMV', 'BNUM']),
    ...slots.map((slot) =>
      aml.device(
        slotName(slot),
        aml.name('_ADR', aml.integer(slot * 0x10000)),
        aml.name('_SUN', aml.integer(slot)),
        aml.method('_EJ0', 1, true, aml.store(bit(slot), aml.path('B0EJ'))),
      ),
    ),
    // All slots: those with something new are looked at, those that are asked to give theirs up are told.
    aml.method(
      'PCNT',
      0,
      true,
      aml.store(aml.integer(0), aml.path('BNUM')),
      aml.store(aml.path('PCIU'), aml.local(0)),
      ...slots.map(notify(notice.check)),
      aml.store(aml.path('PCID'), aml.local(0)),
      ...slots.map(notify(notice.eject)),
    ),
  ];
}

export const hotplugEvent = (): aml.Term =>
  aml.scope('\\_GPE', aml.method(`_E0${PCI_HOTPLUG_EVENT}`, 0, false, aml.path('\\_SB.PCI0.PCNT')));
