/**
 * The boards `pc` and `q35`: PCs as QEMU's, with the local APIC, I/O APIC, 8259s, 8254, RTC, HPET, ACPI, serial ports, i8042 and the chip
 * set's PCI.
 */
import { assert } from '../base/index.js';
import {
  AcpiPm,
  acpiLoaderFiles,
  assignResources,
  buildAcpiTables,
  DmaControllers,
  Fdc,
  floppyKinds,
  HPET_GPA,
  Hpet,
  I8042,
  IOAPIC_GPA,
  LAPIC_BASE,
  type PciRoot,
  Pit,
  pcInterruptOverrides,
  Rtc,
  type Uart16550,
  wireDmaControllers,
  wireFdc,
  wireHpet,
  wireI8042,
  wirePit,
  wirePostCode,
  wireRtc,
} from '../hw/index.js';
import type { BoardHost, BoardInput } from './board.js';
import { type BootImages, biosRemains, controllerRemains, type LoadedKernel } from './boot/index.js';
import { I440fxChipset } from './chipset/i440fx-chipset.js';
import {
  type ChipsetName,
  type DrivePlaces,
  type FloppyPlaces,
  lowRamEnd,
  type PcChipset,
} from './chipset/pc-chipset.js';
import { Q35Chipset } from './chipset/q35-chipset.js';
import { bootOrderBytes, fillFwCfg, PcFirmware } from './firmware.js';
import { addFiles } from './firmware-file.js';
import { X86Machine, type X86Options } from './x86-machine.js';

const DEFAULT_BOOT_DEVICES = 'cad';
const FLOPPY_IRQ = 6;
const FLOPPY_DMA = 2;
/** PCI's class of VGA-compatible controllers. */
const VGA_CLASS = 0x0300;

export interface PcOptions extends X86Options {
  /** `i440fx` unless given. */
  readonly chipset?: ChipsetName | undefined;
  readonly hpet?: boolean;
  /** False: nothing is told of ACPI; its registers stay where they are. */
  readonly acpi?: boolean;
}

export class PcMachine extends X86Machine {
  readonly pci: PciRoot;
  readonly serial: readonly (Uart16550 | undefined)[];
  readonly firstSlot: number;
  readonly drivePlaces: DrivePlaces;
  readonly floppyPlaces: FloppyPlaces;
  readonly pciPath = '/pci@i0cf8';
  readonly virtioMmio = undefined;
  override readonly input: BoardInput;
  readonly pm: AcpiPm;
  readonly #firmware: PcFirmware | undefined;
  readonly #options: PcOptions;
  readonly #chipset: PcChipset;
  readonly #rtc: Rtc;
  protected readonly pit: Pit;
  readonly #hpet: Hpet | undefined;
  /** Firmware has run since power-on. */
  #started = false;

  constructor(host: BoardHost, options: PcOptions) {
    const low = lowRamEnd(options.chipset ?? 'i440fx', options.ramBytes);
    super(host, options, { ramName: 'pc.ram', lowRamEnd: low, hasPic: true, hasSecondIoApic: false });
    this.#options = options;

    this.memory.transaction(() => {
      // The VGA window: nothing there, unless a VGA lies over it.
      this.memory.addWindow({
        name: 'vga',
        start: 0xa0000,
        size: 0x20000,
        handler: { read: (_o, size) => (size === 4 ? 0xffffffff : size === 2 ? 0xffff : 0xff), write: () => {} },
      });
    });

    // Timers
    const dma = new DmaControllers({ dma: this.memory.dma });
    wireDmaControllers(this.ports, dma);
    const hpet = (this.#hpet =
      (options.hpet ?? true) ? new Hpet({ clock: this.clock, gsi: this.irqs, msi: this.msi }) : undefined);
    const pit = (this.pit = new Pit({ clock: this.clock, irq: hpet ? hpet.pitInput : this.irqs[0] }));
    wirePit(this.ports, pit);
    const rtc = new Rtc({ clock: this.clock, irq: hpet ? hpet.rtcInput : this.irqs[8] });
    this.#rtc = rtc;
    wireRtc(this.ports, rtc);
    wirePostCode(this.ports);
    if (hpet) wireHpet(this.memory, hpet);
    const i8042 = new I8042({
      keyboardIrq: this.irqs[1],
      auxIrq: this.irqs[12],
      ...(options.sharedState ? { arena: options.sharedState } : {}),
      events: {
        reset: () => this.finish({ why: 'reset' }),
        a20: (open) => {
          for (const cpu of this.cpus) cpu.setA20(open);
        },
      },
    });
    wireI8042(this.ports, i8042);
    this.input = i8042;

    // Power management and PCI
    this.pm = new AcpiPm({
      clock: this.clock,
      sci: this.irqs[9],
      events: { powerOff: () => this.finish({ why: 'poweroff' }), reset: () => this.finish({ why: 'reset' }) },
    });
    const { memory, ports, irqs, pm } = this;
    const parts = {
      memory,
      ports,
      irqs,
      pm,
      msi: this.msi,
      lowRamEnd: low,
      ejected: (slot: number) => this.onEject?.(slot),
      reset: () => this.finish({ why: 'reset' }),
    };
    const chipset = options.chipset === 'q35' ? new Q35Chipset(parts) : new I440fxChipset(parts);
    this.#chipset = chipset;
    this.pci = chipset.pci;
    this.firstSlot = chipset.firstSlot;
    this.drivePlaces = chipset.drivePlaces;
    this.floppyPlaces = {
      drives: [undefined, undefined],
      isWanted: false,
      bootPath: (place) => `${chipset.isaPath}/fdc@03f0/floppy@${place}`,
    };
    if (options.firmware) {
      const firmware = new PcFirmware({
        firmware: options.firmware,
        memory: this.memory,
        buffer: this.engine.memory.buffer,
        lowRamHva: this.engine.ramStart,
        romHva: this.engine.ramStart + options.ramBytes,
        published: (hva, size) => this.accelerator.published(hva, size),
        log: (line) => host.log?.(line),
      });
      chipset.onShadow = (ranges) => firmware.shadow(ranges);
      this.add(...firmware.chips);
      this.#firmware = firmware;
    }

    this.serial = this.makeSerial();
    this.add(dma, pit, rtc, i8042, this.pm, ...chipset.devices);
    if (hpet) this.add(hpet);
    for (const uart of this.serial) if (uart) this.add(uart);
    this.add(this.fwCfg);
    options.addDevices?.(this);
    this.add(chipset.addDiskController());
    if (this.#hasFloppy) this.#addFloppyController(dma);
    this.#describeBoard(hpet !== undefined);
    this.#setCmos(rtc);
    this.firmwareKernel = fillFwCfg(
      this.fwCfg,
      {
        ramBytes: options.ramBytes,
        lowRamEnd: low,
        acpi: this.#acpi,
        product: chipset.product,
        version: chipset.version,
        cpu: options.model.name,
        cpus: this.cpus.length,
        graphic: this.#hasVga,
        uuid: options.uuid,
        smbios: options.smbios,
      },
      options.firmware,
    );
    addFiles(this.fwCfg, options.fwCfgFiles ?? []);
    // Firmware places what the tables tell of before it reads them.
    chipset.onChange = () => {
      this.#describeBoard(hpet !== undefined);
      const files = this.#acpi ? acpiLoaderFiles(this.#acpi) : [];
      for (const { name, bytes } of files) this.fwCfg.setFile(name, bytes);
    };
  }

  get pciHost(): string {
    return this.#chipset.pciHost;
  }

  get #hasVga(): boolean {
    return this.pci.bus.functions().some(({ fn }) => fn.read(0x0a, 2) === VGA_CLASS);
  }

  get pciHotplug() {
    return this.#chipset.hotplug;
  }

  get #hasFloppy(): boolean {
    return this.floppyPlaces.isWanted || this.floppyPlaces.drives.some((drive) => drive !== undefined);
  }

  #addFloppyController(dma: DmaControllers): void {
    const channel = (opened: () => void) => dma.channel(FLOPPY_DMA, opened);
    const fdc = new Fdc({ irq: this.irqs[FLOPPY_IRQ], channel, drives: this.floppyPlaces.drives });
    wireFdc(this.ports, fdc);
    this.add(fdc);
  }

  override readImages(complete: () => void): void {
    this.#firmware?.read(complete);
  }

  pressPowerButton(): void {
    this.pm.pressPowerButton();
  }

  override setBootDevices(devices: string): void {
    this.#setBootOrder(this.#rtc, devices);
  }

  /** Power-on or reset of a machine with firmware: the vCPU is at its reset vector. */
  start(): void {
    const { firmware } = this.#options;
    assert(firmware, 'a machine without firmware boots a kernel');
    if (this.#started && firmware.bootDevicesOnce !== undefined)
      this.#setBootOrder(this.#rtc, firmware.bootDevices ?? DEFAULT_BOOT_DEVICES);
    this.#started = true;
    this.reset();
  }

  /** Power-on or reset without firmware: PCI resources as it would leave them, then the kernel. */
  boot(images: Omit<BootImages, 'longMode'>): LoadedKernel {
    this.reset();
    const { windows, isaBridge } = this.#chipset.configure();
    const { levelIrqs } = assignResources(this.pci, windows, isaBridge);
    for (const irq of [...levelIrqs, 9])
      this.ports.write(0x4d0 + (irq >> 3), 1, this.ports.read(0x4d0 + (irq >> 3), 1) | (1 << (irq & 7)));
    for (const [port, value] of controllerRemains) this.ports.write(port, 1, value);
    const { e820 } = this;
    const serialPorts = this.serialPorts.map(({ port }) => port);
    for (const [gpa, bytes] of biosRemains({ e820, serialPorts })) this.memory.dma.write(gpa, bytes);
    return this.placeKernel(images, this.#acpi);
  }

  protected override get isPitReplaced(): boolean {
    return this.#hpet?.replacesPit ?? false;
  }

  /** What the loader and the interrupt tables say of the board. */
  #acpi: ReturnType<typeof buildAcpiTables> | undefined;

  #describeBoard(hasHpet: boolean): void {
    if (this.#options.acpi === false) return;
    this.#acpi = buildAcpiTables({
      cpus: Array.from({ length: this.#options.cpus ?? 1 }, (_, apicId) => ({ apicId })),
      localApicGpa: LAPIC_BASE,
      ioApic: { id: 0, gpa: IOAPIC_GPA, gsiBase: 0 },
      interruptOverrides: pcInterruptOverrides,
      ...this.#chipset.describe(),
      reset: { port: 0xcf9, value: 6 },
      ...(hasHpet ? { hpetGpa: HPET_GPA } : {}),
      isa: {
        serial: this.serialPorts,
        rtc: true,
        pit: true,
        ps2: true,
        fwCfgPort: 0x510,
        ...(this.panicPort === undefined ? {} : { panicPort: this.panicPort }),
        ...(this.#hasFloppy ? { floppies: this.floppyPlaces.drives.map((drive) => drive?.kind) } : {}),
      },
      vga: this.#hasVga,
    });
  }

  #setBootOrder(rtc: Rtc, devices: string): void {
    const { at3d, at38 } = bootOrderBytes(devices);
    rtc.setRam(0x3d, at3d);
    rtc.setRam(0x38, at38);
  }

  /** What a BIOS keeps in CMOS: RAM sizes and equipment. */
  #setCmos(rtc: Rtc): void {
    this.setCmosSizes(rtc);
    const kinds = this.floppyPlaces.drives.map((drive) => (drive ? floppyKinds[drive.kind].cmos : 0));
    rtc.setRam(0x10, (kinds[0] << 4) | kinds[1]);
    const floppies = kinds.filter((kind) => kind !== 0).length;
    // A coprocessor, a PS/2 mouse, and whether there are floppy drives, less one.
    rtc.setRam(0x14, 0x06 | (floppies === 0 ? 0 : 0x01 | ((floppies - 1) << 6)));
    const { bootDevices = DEFAULT_BOOT_DEVICES, bootDevicesOnce } = this.#options.firmware ?? {};
    bootOrderBytes(bootDevices);
    this.#setBootOrder(rtc, bootDevicesOnce ?? bootDevices);
  }
}
