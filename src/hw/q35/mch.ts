/**
 * The host bridge of Intel's Q35 (82G33 Family MCH, Intel 316966): PAM registers, and memory-mapped configuration space where PCIEXBAR puts
 * it. There is no system management mode: SMRAM and its lock are kept for the guest, and of no effect.
 */
import type { Device, Mapping } from '../../bus/index.js';
import type { StateArena } from '../../schema/index.js';
import { Pam, type ShadowRange } from '../pci/pam.js';
import { checkIdentity, PciFunction } from '../pci/pci-function.js';
import type { PciRoot } from '../pci/pci-root.js';
import { loadParts, saveParts } from '../pci/saved-parts.js';

const pciexbar = 0x60;
const pciexbarEnable = 1;
/** Bits 2-1 of PCIEXBAR: how many buses have their configuration space in memory. */
const lastBuses = [0xff, 0x7f, 0x3f, undefined] as const;
const pam0 = 0x90;
const smram = 0x9d;
/** Where the window lies while it is off: beyond all addresses. */
const nowhere = 2 ** 52;

export interface Ecam {
  readonly gpa: number;
  readonly lastBus: number;
}

export class Mch implements Device {
  readonly name = 'mch';
  readonly function: PciFunction;
  readonly pam: Pam;
  readonly #root: PciRoot;
  /** Called when the guest moved what 0xC0000-0xFFFFF shows. */
  onShadow: ((ranges: readonly ShadowRange[]) => void) | undefined;
  /** Called when the memory-mapped configuration space has moved. */
  onEcam: (() => void) | undefined;
  /** One for each of its sizes. */
  readonly #windows: readonly Mapping[];

  constructor(root: PciRoot, arena?: StateArena) {
    this.#root = root;
    this.function = new PciFunction({
      name: 'mch',
      vendorId: 0x8086,
      deviceId: 0x29c0,
      classCode: 0x060000,
      arena,
      configWritten: (offset, size) => {
        if (this.pam.isTouched(offset, size)) this.onShadow?.(this.pam.ranges());
        if (offset + size > pciexbar && offset < pciexbar + 8) this.#follow();
      },
    });
    this.pam = new Pam(this.function, pam0);
    // The size of graphics memory, of which there is none.
    this.function.define(0x50, 4, 0x10, 0xffff0000);
    this.function.define(pciexbar, 4, 0xb0000000, 0xf0000007);
    this.function.define(pciexbar + 4, 4, 0, 0xf);
    this.function.define(smram, 1, 0x02, 0x78);
    this.function.define(smram + 1, 1, 0x38, 0x81);
    root.bus.add(this.function, 0);
    this.#windows = lastBuses.flatMap((lastBus) =>
      lastBus === undefined ? [] : [root.mapEcam(root.spaces.memory, nowhere, lastBus)],
    );
  }

  /** Where configuration space lies in memory; undefined: nowhere. */
  get ecam(): Ecam | undefined {
    const { config } = this.function;
    const low = config[pciexbar]!;
    const lastBus = lastBuses[((low >> 1) & 3) as 0 | 1 | 2 | 3];
    if ((low & pciexbarEnable) === 0 || lastBus === undefined) return undefined;
    const size = (lastBus + 1) * 0x100000;
    const gpa = this.function.read(pciexbar, 4) + (config[pciexbar + 4]! & 0xf) * 2 ** 32;
    return { gpa: Math.floor(gpa / size) * size, lastBus };
  }

  /** What firmware does at start. */
  placeEcam(gpa: number): void {
    this.function.write(pciexbar, 4, (gpa | pciexbarEnable) >>> 0);
  }

  #follow(): void {
    const { ecam } = this;
    for (const [i, mapping] of this.#windows.entries()) {
      const start = ecam && lastBuses[i] === ecam.lastBus ? ecam.gpa : undefined;
      if (mapping.start !== start) mapping.move(start);
    }
    this.onEcam?.();
  }

  reset(): void {
    this.#root.reset();
    this.function.reset();
    this.#follow();
    this.onShadow?.(this.pam.ranges());
  }
  save(): Uint8Array {
    return saveParts([this.function.part, this.#root.part]);
  }
  load(saved: Uint8Array): void {
    loadParts([this.function.part, this.#root.part], saved, this.name, () => checkIdentity(this.function));
    this.function.restore();
    this.#follow();
    this.onShadow?.(this.pam.ranges());
  }
}
