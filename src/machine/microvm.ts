/**
 * The board `microvm`, as QEMU's: x86 vCPUs, interrupt controllers, a serial port and virtio-mmio slots, with as little else as can be.
 * 8259s, 8254, RTC, serial port and PCI Express can be left out or put in. With ACPI it is a hardware-reduced machine with a second I/O
 * APIC for its 24 slots; without ACPI it has eight slots, of which a kernel learns by its command line, and an MP table.
 */
import { VringError } from '../base/index.js';
import {
  AcpiGed,
  type AcpiTables,
  buildMicrovmTables,
  GED_RESET_VALUE,
  GED_S5,
  Gpex,
  gedEvent,
  gedRegister,
  IOAPIC_GPA,
  IOAPIC_PINS,
  LAPIC_BASE,
  PciRoot,
  Pit,
  Rtc,
  SECOND_IOAPIC_GPA,
  type Uart16550,
  VIRTIO_MMIO_BYTES,
  wireAcpiGed,
  wirePit,
  wireRtc,
} from '../hw/index.js';
import type { BoardHost } from './board.js';
import type { BootImages, LoadedKernel } from './boot/index.js';
import { mpTable } from './boot/mp-table.js';
import { fillFwCfg, PcFirmware } from './firmware.js';
import { addFiles } from './firmware-file.js';
import { VirtioSlots } from './virtio-slots.js';
import { X86Machine, type X86Options } from './x86-machine.js';

const map = {
  ged: { selectorGpa: 0xfea0_0000, registersGpa: 0xfea0_0200, irq: 9 },
  virtioGpa: 0xfeb0_0000,
  pci: {
    memory: { gpa: 0xc000_0000, bytes: 0x2000_0000 },
    ecam: { gpa: 0xe000_0000, bytes: 0x1000_0000, buses: 256 },
    highMemory: { gpa: 0xc0_0000_0000, bytes: 0x40_0000_0000 },
  },
  mpTableGpa: 0xf_0000,
} as const;
const LOW_RAM_END = 0xc000_0000;
const FW_CFG_PORT = 0x510;
const RTC_IRQ = 8;

export interface MicrovmParts {
  /** Hardware-reduced ACPI; on unless said otherwise, as all that follows but the last two. */
  readonly acpi?: boolean | undefined;
  readonly pic?: boolean | undefined;
  readonly pit?: boolean | undefined;
  readonly rtc?: boolean | undefined;
  /** Of use with ACPI. */
  readonly secondIoApic?: boolean | undefined;
  /** The kernel's command line gets what it cannot find out by itself. */
  readonly autoCommandLine?: boolean | undefined;
  /** With firmware: an option ROM boots a kernel. */
  readonly optionRoms?: boolean | undefined;
  /** PCI Express; of use with ACPI. */
  readonly pcie?: boolean | undefined;
}

export interface MicrovmOptions extends X86Options {
  readonly microvm?: MicrovmParts | undefined;
}

/** Where virtio-mmio slots and PCI Express interrupt, and how many slots there are. */
function interruptPlan(acpi: boolean, second: boolean): { slots: number; virtio: number; pci: number } {
  if (!acpi) return { slots: 8, virtio: 5, pci: 0 };
  return second ? { slots: IOAPIC_PINS, virtio: IOAPIC_PINS, pci: 16 } : { slots: 8, virtio: 16, pci: 12 };
}

export class Microvm extends X86Machine {
  readonly serial: readonly (Uart16550 | undefined)[];
  readonly virtioMmio: VirtioSlots;
  readonly firstSlot = 1;
  readonly pciPath = '';
  readonly pciHost = 'gpex-pcihost';
  readonly pci: PciRoot;
  override readonly hasPci: boolean;
  protected readonly pit: Pit | undefined;
  readonly #ged: AcpiGed | undefined;
  readonly #acpi: AcpiTables | undefined;
  readonly #firmware: PcFirmware | undefined;
  readonly #options: MicrovmOptions;
  readonly #interrupts: ReturnType<typeof interruptPlan>;

  constructor(host: BoardHost, options: MicrovmOptions) {
    const {
      acpi = true,
      pic = true,
      pit = true,
      rtc = true,
      secondIoApic = true,
      pcie = false,
    } = options.microvm ?? {};
    const lowRamEnd = Math.min(options.ramBytes, LOW_RAM_END);
    const hasSecondIoApic = acpi && secondIoApic;
    super(host, options, { ramName: 'microvm.ram', lowRamEnd, hasPic: pic, hasSecondIoApic });
    this.#options = options;
    if (options.serial.slice(1).some((each) => each !== undefined))
      throw new VringError('options-invalid', 'The board microvm has one serial port.');
    const { memory, ports, clock, irqs, msi } = this;
    this.#interrupts = interruptPlan(acpi, hasSecondIoApic);
    if (pit) {
      this.pit = new Pit({ clock, irq: irqs[0] });
      wirePit(ports, this.pit);
      this.add(this.pit);
    }
    if (rtc) {
      const chip = new Rtc({ clock, irq: irqs[RTC_IRQ] });
      wireRtc(ports, chip);
      this.setCmosSizes(chip);
      this.add(chip);
    }
    if (acpi) {
      this.#ged = new AcpiGed({
        irq: irqs[map.ged.irq],
        events: { powerOff: () => this.finish({ why: 'poweroff' }), reset: () => this.finish({ why: 'reset' }) },
      });
      wireAcpiGed(memory, this.#ged, map.ged.selectorGpa, map.ged.registersGpa);
      this.add(this.#ged);
    }
    this.hasPci = acpi && pcie;
    if (this.hasPci) {
      const line = (n: number) => irqs[this.#interrupts.pci + n];
      const { gpa: ecamGpa, buses } = map.pci.ecam;
      const gpex = new Gpex({
        ...{ memory, ports, msi, ecamGpa, lastBus: buses - 1 },
        lines: [line(0), line(1), line(2), line(3)],
      });
      this.pci = gpex.root;
      this.add(gpex);
    } else this.pci = new PciRoot({ spaces: { memory, ports, msi }, route: () => 0 });
    this.serial = this.makeSerial();
    for (const uart of this.serial) if (uart) this.add(uart);
    this.add(this.fwCfg);
    this.virtioMmio = new VirtioSlots({
      memory,
      legacy: options.legacyVirtioMmio ?? true,
      gpa: map.virtioGpa,
      stride: VIRTIO_MMIO_BYTES,
      irqs: irqs.slice(this.#interrupts.virtio, this.#interrupts.virtio + this.#interrupts.slots),
      add: (device) => this.add(device),
    });
    options.addDevices?.(this);
    this.virtioMmio.wireEmpty();
    this.#acpi = acpi ? this.#describe(rtc) : undefined;
    if (options.firmware) {
      const firmware = new PcFirmware({
        firmware: options.firmware,
        memory,
        buffer: this.buffer,
        lowRamHva: this.engine.ramStart,
        romHva: this.engine.ramStart + options.ramBytes,
        published: (hva, size) => this.accelerator.published(hva, size),
        log: (line) => host.log?.(line),
      });
      firmware.openBelow1MiB();
      this.#firmware = firmware;
    }
    const kernel = options.firmware?.kernel;
    this.firmwareKernel = fillFwCfg(
      this.fwCfg,
      {
        ramBytes: options.ramBytes,
        lowRamEnd,
        acpi: this.#acpi,
        product: 'microvm',
        version: 'microvm',
        cpu: options.model.name,
        cpus: this.cpus.length,
        graphic: false,
        uuid: options.uuid,
      },
      options.firmware && {
        ...options.firmware,
        kernelRom: options.microvm?.optionRoms,
        kernel: kernel && { ...kernel, commandLine: this.#commandLine(kernel.commandLine) },
      },
    );
    addFiles(this.fwCfg, options.fwCfgFiles ?? []);
  }

  #slotAt(slot: number) {
    const gpa = map.virtioGpa + slot * VIRTIO_MMIO_BYTES;
    return { slot, gpa, bytes: VIRTIO_MMIO_BYTES, gsi: this.#interrupts.virtio + slot };
  }

  /** Slots with a device in them. */
  get #usedSlots() {
    const { virtioMmio } = this;
    const slots = Array.from({ length: virtioMmio.count }, (_, slot) => slot);
    return slots.filter((slot) => !virtioMmio.isFree(slot)).map((slot) => this.#slotAt(slot));
  }

  #describe(rtc: boolean): AcpiTables {
    const { selectorGpa, registersGpa, irq } = map.ged;
    const first = { id: 0, gpa: IOAPIC_GPA, gsiBase: 0 };
    return buildMicrovmTables({
      cpus: this.cpus.map((_, apicId) => ({ apicId })),
      localApicGpa: LAPIC_BASE,
      ioApics: this.secondIoApic ? [first, { id: 1, gpa: SECOND_IOAPIC_GPA, gsiBase: IOAPIC_PINS }] : [first],
      serial: this.serialPorts,
      rtc,
      fwCfgPort: FW_CFG_PORT,
      events: {
        gpa: selectorGpa,
        gsi: irq,
        powerButton: gedEvent.powerButton,
        sleepControlGpa: registersGpa + gedRegister.sleepControl,
        sleepStatusGpa: registersGpa + gedRegister.sleepStatus,
        s5SleepType: GED_S5,
        reset: { gpa: registersGpa + gedRegister.reset, value: GED_RESET_VALUE },
      },
      virtio: this.#usedSlots,
      pci: this.hasPci ? { ...map.pci, gsi: this.#interrupts.pci } : undefined,
    });
  }

  /**
   * What a kernel cannot find out by itself (Linux, Documentation/admin-guide/kernel-parameters): without ACPI the slots that have a device;
   * with it, where Linux looks at no 8254 to measure the time-stamp counter, how fast that is.
   */
  #commandLine(given: string): string {
    if (this.#options.microvm?.autoCommandLine === false) return given;
    const slots = this.#usedSlots
      .toReversed()
      .map(({ gpa, bytes, gsi }) => `virtio_mmio.device=${bytes}@0x${gpa.toString(16)}:${gsi}`);
    const words = this.#acpi ? [`tsc_early_khz=${Math.round(this.tscHz / 1000)}`] : slots;
    return [given, ...words].filter((word) => word !== '').join(' ');
  }

  /** Throws VringError `no-button`. */
  pressPowerButton(): void {
    if (!this.#ged) throw new VringError('no-button', 'The board microvm has no power button without ACPI.');
    this.#ged.pressPowerButton();
  }

  start(): void {
    this.#firmware?.restore();
    this.reset();
  }

  boot(images: Omit<BootImages, 'longMode'>): LoadedKernel {
    this.reset();
    if (!this.#acpi) {
      const board = { cpus: this.cpus.length, localApicGpa: LAPIC_BASE, ioApicGpa: IOAPIC_GPA };
      this.memory.dma.write(map.mpTableGpa, mpTable(board, map.mpTableGpa));
    }
    return this.placeKernel({ ...images, commandLine: this.#commandLine(images.commandLine) }, this.#acpi);
  }
}
