/**
 * The i440FX host bridge (Intel 290549, 82441FX PMC) and the PIIX3/PIIX4 functions of QEMU's `pc` (Intel 290550,
 * 290562): PIRQ routing, reset control register and the power-management function's I/O base. What only firmware needs
 * of the chip set (DRAM timing, IDE, USB) is left out; registers without a model read as they were defined and ignore writes.
 */
import type { Device, IoHandler, IrqLine, Mapping, PortSpace } from '../../bus/index.js';
import { defineState, type StateArena, type StateOf, u8 } from '../../schema/index.js';
import { command } from './config-registers.js';
import { Pam, type ShadowRange } from './pam.js';
import { checkIdentity, PciFunction } from './pci-function.js';
import type { PciRoot } from './pci-root.js';
import { PirqRouter } from './pirq-router.js';
import { loadParts, saveParts, statePart } from './saved-parts.js';

const vendorIntel = 0x8086;
/** Subsystem ids as QEMU's machines have them. */
const subsystem = { subsystemVendorId: 0x1af4, subsystemId: 0x1100 } as const;

const pam0 = 0x59;
const smram = 0x72;

/** Host bridge, 8086:1237. */
export class I440fx implements Device {
  readonly name = 'i440fx';
  readonly function: PciFunction;
  readonly root: PciRoot;
  readonly pam: Pam;
  /** Called when the guest moved what 0xC0000-0xFFFFF shows. */
  onShadow: ((ranges: readonly ShadowRange[]) => void) | undefined;

  constructor(root: PciRoot, arena?: StateArena) {
    this.root = root;
    this.function = new PciFunction({
      name: 'i440fx',
      vendorId: vendorIntel,
      deviceId: 0x1237,
      revision: 2,
      classCode: 0x060000,
      ...subsystem,
      arena,
      configWritten: (offset, size) => {
        if (this.pam.isTouched(offset, size)) this.onShadow?.(this.pam.ranges());
      },
    });
    this.pam = new Pam(this.function, pam0);
    this.function.define(smram, 1, 0x02, 0x7f);
    root.bus.add(this.function, 0);
  }

  reset(): void {
    this.root.reset();
    this.function.reset();
    this.onShadow?.(this.pam.ranges());
  }
  save(): Uint8Array {
    return saveParts([this.function.part, this.root.part]);
  }
  load(saved: Uint8Array): void {
    loadParts([this.function.part, this.root.part], saved, this.name, () => checkIdentity(this.function));
    this.function.restore();
    this.onShadow?.(this.pam.ranges());
  }
}

const pirqCount = 4;
const resetControlPort = 0xcf9;

export const Piix3State = defineState('piix3', 2, {
  /** RCR: bit 1 selects a hard reset; bit 2 rises to start it. */
  RCR: u8(0, { max: 2 }),
});

/** ISA bridge, 8086:7000: routes the four PCI interrupt lines to ISA interrupts. */
export class Piix3 implements Device {
  readonly name = 'piix3';
  readonly function: PciFunction;
  readonly state: StateOf<typeof Piix3State>;
  /** The guest wrote the reset control register. */
  onReset: (() => void) | undefined;
  readonly #router: PirqRouter;

  /** `irqs[n]` is where PCI interrupts routed to IRQ n go: one source for all four lines. */
  constructor(options: {
    root: PciRoot;
    irqs: readonly (IrqLine | undefined)[];
    slot?: number;
    arena?: StateArena | undefined;
  }) {
    const { root, irqs, arena } = options;
    this.state = Piix3State.allocate(options.arena);
    this.function = new PciFunction({
      name: 'piix3',
      vendorId: vendorIntel,
      deviceId: 0x7000,
      classCode: 0x060100,
      ...subsystem,
      arena: options.arena,
      configWritten: (offset, size) => {
        if (this.#router.isTouched(offset, size)) this.#router.updateAll();
      },
    });
    this.#router = new PirqRouter({ fn: this.function, root, irqs, lines: pirqCount, arena });
    // The bridge always decodes and masters: the bits read as ones.
    this.function.define(0x04, 2, command.io | command.memory | command.busMaster);
    this.function.define(0x06, 2, 0x0200);
    options.root.bus.add(this.function, options.slot ?? 1, 0);
    root.onLine = (line) => this.#router.update(line);
  }

  /** The reset control register lies inside the configuration address port and on top of it. */
  mapPorts(ports: PortSpace): Mapping {
    const handler: IoHandler = {
      read: () => this.state.RCR,
      write: (_offset, _size, value) => {
        if ((value & 4) !== 0) this.onReset?.();
        else this.state.RCR = value & 2;
      },
    };
    return ports.add({ name: 'piix3-reset', start: resetControlPort, size: 1, handler }, 1);
  }

  reset(): void {
    this.function.reset();
    this.#router.updateAll();
    Piix3State.reset(this.state);
  }
  get #parts() {
    return [this.function.part, statePart(Piix3State, this.state), this.#router.part];
  }
  save(): Uint8Array {
    return saveParts(this.#parts);
  }
  load(saved: Uint8Array): void {
    this.#router.aroundLoad(() => {
      loadParts(this.#parts, saved, this.name, () => checkIdentity(this.function));
      this.function.restore();
    });
  }
}

const pmBase = 0x40;
const pmRegMisc = 0x80;
const pmIoSize = 64;

/** Power management function, 8086:7113: places the PM block's registers in port space. */
export class Piix4Pm implements Device {
  readonly name = 'piix4-pm';
  readonly function: PciFunction;
  readonly #mapping: Mapping;

  /** `block` answers for the 64 ports at PMBASE. */
  constructor(options: { root: PciRoot; block: IoHandler; slot?: number; arena?: StateArena | undefined }) {
    this.#mapping = options.root.spaces.ports.add({
      name: 'piix4-pm',
      start: 0x10000,
      size: pmIoSize,
      handler: options.block,
    });
    this.function = new PciFunction({
      name: 'piix4-pm',
      vendorId: vendorIntel,
      deviceId: 0x7113,
      revision: 3,
      classCode: 0x068000,
      ...subsystem,
      interruptPin: 1,
      arena: options.arena,
      configWritten: () => this.#follow(),
    });
    this.function.define(pmBase, 4, 1, 0xffc0);
    this.function.define(pmRegMisc, 1, 0, 0x01);
    this.function.define(0x06, 2, 0x0280);
    // There is no system management mode: firmware is told that it has been set up already (APMC_EN), as QEMU does without it.
    this.function.define(0x58, 4, 0x0200_0000);
    // Host configuration of the SMBus, which is not there: disabled, as the chip comes out of reset.
    this.function.define(0x90, 4, 1, 0xfff0);
    this.function.define(0xd2, 1, 0, 0x0f);
    options.root.bus.add(this.function, options.slot ?? 1, 3);
  }

  /** What firmware does at start: places the PM block and opens it. */
  configure(port: number, irq: number): void {
    this.function.write(pmBase, 4, port);
    this.function.write(pmRegMisc, 1, 1);
    this.function.write(0x3c, 1, irq);
  }

  #follow(): void {
    const { config } = this.function;
    const port = ((config[pmBase]! | (config[pmBase + 1]! << 8)) & 0xffc0) >>> 0;
    const open = (config[pmRegMisc]! & 1) !== 0 && port !== 0;
    if (this.#mapping.start !== (open ? port : undefined)) this.#mapping.move(open ? port : undefined);
  }

  reset(): void {
    this.function.reset();
    this.#follow();
  }
  save(): Uint8Array {
    return saveParts([this.function.part]);
  }
  load(saved: Uint8Array): void {
    loadParts([this.function.part], saved, this.name, () => checkIdentity(this.function));
    this.function.restore();
    this.#follow();
  }
}
