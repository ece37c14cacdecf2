/** The DSDT's definition block of a generic PCI Express host (gpex), whose interrupts are the interrupt controller's own inputs. */
import * as aml from './aml.js';
import * as res from './aml-resources.js';
import { operatingSystemCapabilities } from './dsdt.js';

interface Range {
  readonly gpa: number;
  readonly bytes: number;
}

export interface AcpiPciExpress {
  readonly ecam: Range & { readonly buses: number };
  /** Where I/O ports are found in memory; undefined: they are the processor's. */
  readonly ports?: Range | undefined;
  readonly memory: Range;
  /** Beyond 4 GiB, where there is such. */
  readonly highMemory?: Range | undefined;
  /** Interrupts of INTA to INTD of slot 0; those of other slots are rotated. */
  readonly gsi: number;
}

/** What the device reads and writes of memory agrees with the processors' caches. */
export const coherent = aml.name('_CCA', aml.integer(1));
const crs = (...resources: res.Resource[]) => aml.name('_CRS', res.resourceTemplate(...resources));
const window = ({ gpa, bytes }: Range) => res.memoryWindow(gpa, gpa + bytes - 1);

/** I/O ports from 0 on that the bridge finds in memory. */
function portWindow({ gpa, bytes }: Range): res.Resource {
  const fields = [0, 0, bytes - 1, gpa, bytes].flatMap((value) => aml.le(value, 4));
  return [0x87, ...aml.le(3 + fields.length, 2), 1, 0x0c, 3, ...fields];
}

export function pciExpressHost(pci: AcpiPciExpress): aml.Term {
  const routes: aml.Term[] = [];
  for (let slot = 0; slot < 32; slot++)
    for (let pin = 0; pin < 4; pin++)
      routes.push(
        aml.packageOf(
          aml.integer(slot * 0x1_0000 + 0xffff),
          aml.integer(pin),
          aml.integer(0),
          aml.integer(pci.gsi + ((slot + pin) & 3)),
        ),
      );
  return aml.device(
    'PCI0',
    aml.name('_HID', aml.eisaId('PNP0A08')),
    aml.name('_CID', aml.eisaId('PNP0A03')),
    aml.name('_SEG', aml.integer(0)),
    aml.name('_BBN', aml.integer(0)),
    aml.name('_UID', aml.integer(0)),
    coherent,
    aml.name('_PRT', aml.packageOf(...routes)),
    crs(
      res.busNumbers(0, pci.ecam.buses - 1),
      window(pci.memory),
      ...(pci.ports ? [portWindow(pci.ports)] : []),
      ...(pci.highMemory ? [window(pci.highMemory)] : []),
    ),
    operatingSystemCapabilities(),
    aml.device('RES0', aml.name('_HID', aml.eisaId('PNP0C02')), crs(window(pci.ecam))),
  );
}
