/**
 * The boards `pc` and `q35`: PCs as QEMU's, with the local APIC, I/O APIC, 8259s, 8254, RTC, HPET, ACPI, serial ports, i8042 and the chip
 * set's PCI. It composes the vCPU, the accelerator and the chips, and runs them in the vCPU's thread.
 */
import type { Accelerator } from '../accel/index.js';
import { assert } from '../base/index.js';
import type { IrqLine } from '../bus/index.js';
import { STATE_BYTES, type X86Board, X86Cpu, type X86CpuModel } from '../guest/index.js';
import {
  AcpiPm,
  ApicBus,
  acpiLoaderFiles,
  assignResources,
  buildAcpiTables,
  DmaControllers,
  Fdc,
  FwCfg,
  floppyKinds,
  GlobalInterrupts,
  HPET_GPA,
  Hpet,
  I8042,
  IOAPIC_GPA,
  IoApic,
  LAPIC_BASE,
  LocalApic,
  linkAcpiTables,
  type PciRoot,
  PicPair,
  Pit,
  pcInterruptOverrides,
  Rtc,
  Uart16550,
  wireDmaControllers,
  wireFdc,
  wireFwCfg,
  wireHpet,
  wireI8042,
  wireIoApic,
  wireLocalApics,
  wireMsiWindow,
  wirePic,
  wirePit,
  wirePostCode,
  wireRtc,
  wireUart,
} from '../hw/index.js';
import {
  Board,
  type BoardHost,
  type BoardInfo,
  type BoardInput,
  type BoardOptions,
  type DebugDescription,
  type KernelImages,
} from './board.js';
import { type BootImages, type LoadedKernel, loadKernel, pcE820 } from './boot/index.js';
import { I440fxChipset } from './chipset/i440fx-chipset.js';
import {
  type ChipsetName,
  type DrivePlaces,
  type FloppyPlaces,
  lowRamEnd,
  type PcChipset,
} from './chipset/pc-chipset.js';
import { Q35Chipset } from './chipset/q35-chipset.js';
import { bootOrderBytes, type FirmwareOptions, fillFwCfg, firmwareBytes, PcFirmware } from './firmware.js';
import { addFiles } from './firmware-file.js';
import type { Lens } from './lens.js';
import { pcInfo } from './pc-info.js';
import { PcTrace } from './pc-trace.js';
import { x86DebugRegisters } from './x86-debug-registers.js';

/** Time-stamp counter, unless told otherwise: one tick a nanosecond. */
const TSC_HZ = 1_000_000_000;
const HIGH_RAM_START = 0x1_0000_0000;
const ACPI_GPA = 0xe_0000;
const DEFAULT_BOOT_DEVICES = 'cad';
const FLOPPY_IRQ = 6;
const FLOPPY_DMA = 2;
/** PCI's class of VGA-compatible controllers. */
const VGA_CLASS = 0x0300;
const SERIAL_PORTS = [
  { port: 0x3f8, irq: 4 },
  { port: 0x2f8, irq: 3 },
  { port: 0x3e8, irq: 4 },
  { port: 0x2e8, irq: 3 },
] as const;

export interface PcOptions extends BoardOptions {
  readonly model: X86CpuModel;
  /** `i440fx` unless given. */
  readonly chipset?: ChipsetName | undefined;
  readonly hpet?: boolean;
  /** Firmware runs instead of a kernel that is put into memory. */
  readonly firmware?: FirmwareOptions | undefined;
}

export class PcMachine extends Board<X86Cpu> {
  readonly pci: PciRoot;
  readonly msi: ApicBus;
  readonly irqs: readonly IrqLine[];
  readonly serial: readonly (Uart16550 | undefined)[];
  readonly firstSlot: number;
  readonly drivePlaces: DrivePlaces;
  readonly floppyPlaces: FloppyPlaces;
  readonly pciPath = '/pci@i0cf8';
  readonly virtioMmio = undefined;
  override readonly input: BoardInput;
  readonly info: BoardInfo = pcInfo(this);
  /** By APIC ID. */
  readonly lapics: readonly LocalApic[];
  readonly pic: PicPair;
  readonly ioapic: IoApic;
  readonly pm: AcpiPm;
  readonly fwCfg: FwCfg;
  /** What is booted from fw_cfg by firmware, for a person. */
  readonly #firmwareKernel: string | undefined;
  readonly #firmware: PcFirmware | undefined;
  readonly #options: PcOptions;
  readonly #trace: PcTrace | undefined;
  readonly #chipset: PcChipset;
  readonly #rtc: Rtc;
  readonly #gsi: GlobalInterrupts;
  readonly #pit: Pit;
  readonly #hpet: Hpet | undefined;
  /** Firmware has run since power-on. */
  #started = false;
  readonly #lowRamEnd: number;
  readonly #tsc = { hz: TSC_HZ };
  #rsdpGpa = 0;

  constructor(host: BoardHost, options: PcOptions) {
    const romBytes = options.firmware ? firmwareBytes(options.firmware) : 0;
    super(host, options);
    this.#options = options;
    const rate = this.#tsc;
    const apicBus = new ApicBus();
    this.msi = apicBus;
    this.pic = new PicPair({
      output: {
        set: (level) => {
          this.lapic.lint[0].set(level);
          // A local APIC in the host's kernel does not see the line: the accelerator asks the 8259 itself.
          if (level && apicBus.divert) this.accelerator.setInterruptPending(true);
        },
      },
    });
    const cpus = options.cpus ?? 1;
    const ids = Array.from({ length: cpus }, (_, id) => id);
    this.lapics = ids.map(
      (id) =>
        new LocalApic({
          id,
          bus: apicBus,
          clock: this.clock,
          acknowledgeExtInt: () => this.pic.acknowledge(),
          signals: {
            interruptChanged: () => this.accelerator.setInterruptPending(this.lapics[id].pending(), id),
            nmi: () => this.accelerator.raiseNmi(id),
            init: () => (id === 0 ? this.finish({ why: 'reset' }) : this.cpus[id].init()),
            sipi: (vector) => this.cpus[id].startUp(vector),
            tscNow: () => this.cpus[id].tscNow(),
            get tscHz() {
              return rate.hz;
            },
          },
        }),
    );
    const trace = options.trace ? new PcTrace(options.trace) : undefined;
    this.#trace = trace;
    const lens = this.observer;
    const tsc = () => BigInt(Math.floor(this.clock.nowNs() * (rate.hz / 1e9)));
    const x86Cpus = ids.map(
      (apicId) =>
        new X86Cpu({
          model: options.model,
          apicId,
          cpus,
          board: {
            interrupts: this.lapics[apicId],
            tsc,
            get tscHz() {
              return rate.hz;
            },
            floatError: () => this.irqs[13].set(true),
            unimplemented: (what) => host.log?.(`unimplemented: ${what}`),
            event: lens ? (event) => this.#event(event) : trace?.event,
            transfer: (opcode) => lens?.transfer(opcode),
            dataAccess: (linear, bytes, write) => this.onDataAccess?.(linear, bytes, write),
          },
        }),
    );
    this.startEngine(x86Cpus, {
      stateBytes: STATE_BYTES,
      romBytes,
      readTsc: tsc,
      trace,
    });
    trace?.attach(this);
    if (lens) this.#attachLens(lens);

    // Guest RAM
    const low = lowRamEnd(options.chipset ?? 'i440fx', options.ramBytes);
    this.#lowRamEnd = low;
    this.memory.transaction(() => {
      const hva = this.engine.ramStart;
      this.memory.addRam({ name: 'pc.ram', gpa: 0, size: low, hva, readonly: false });
      if (options.ramBytes > low) {
        this.memory.addRam({
          name: 'pc.ram-high',
          gpa: HIGH_RAM_START,
          size: options.ramBytes - low,
          hva: hva + low,
          readonly: false,
        });
      }
      // The VGA window: nothing there, unless a VGA lies over it.
      this.memory.addWindow({
        name: 'vga',
        start: 0xa0000,
        size: 0x20000,
        handler: { read: (_o, size) => (size === 4 ? 0xffffffff : size === 2 ? 0xffff : 0xff), write: () => {} },
      });
    });

    // Interrupt controllers and timers
    this.ioapic = new IoApic({ bus: apicBus });
    this.#gsi = new GlobalInterrupts(this.pic, this.ioapic);
    this.irqs = this.#gsi.lines;
    wirePic(this.ports, this.pic);
    wireIoApic(this.memory, this.ioapic);
    wireLocalApics(this.memory, this.lapics, () => this.engine.current);
    wireMsiWindow(this.memory, apicBus);
    const dma = new DmaControllers({ dma: this.memory.dma });
    wireDmaControllers(this.ports, dma);
    const hpet = (this.#hpet =
      (options.hpet ?? true) ? new Hpet({ clock: this.clock, gsi: this.irqs, msi: apicBus }) : undefined);
    const pit = (this.#pit = new Pit({ clock: this.clock, irq: hpet ? hpet.pitInput : this.irqs[0] }));
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
      msi: apicBus,
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

    this.serial = SERIAL_PORTS.map(({ port, irq }, i) => {
      const backend = options.serial[i];
      if (!backend) return undefined;
      const uart = new Uart16550({ name: `serial${i}`, clock: this.clock, irq: this.irqs[irq], backend });
      wireUart(this.ports, port, uart);
      return uart;
    });
    this.add(this.pic, ...this.lapics, this.ioapic, dma, pit, rtc, i8042, this.pm, ...chipset.devices);
    if (hpet) this.add(hpet);
    for (const uart of this.serial) if (uart) this.add(uart);
    this.fwCfg = new FwCfg({ dma: this.memory.dma });
    wireFwCfg(this.ports, this.fwCfg);
    this.add(this.fwCfg);
    options.addDevices?.(this);
    this.add(chipset.addDiskController());
    if (this.#hasFloppy) this.#addFloppyController(dma);
    this.#describeBoard(hpet !== undefined);
    this.#setCmos(rtc);
    this.#firmwareKernel = fillFwCfg(
      this.fwCfg,
      {
        ramBytes: options.ramBytes,
        lowRamEnd: low,
        acpi: this.#acpi,
        product: chipset.product,
        version: chipset.version,
        cpu: options.model.name,
        cpus,
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
      for (const { name, bytes } of acpiLoaderFiles(this.#acpi)) this.fwCfg.setFile(name, bytes);
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

  get isaIrqs(): readonly IrqLine[] {
    return this.irqs;
  }

  override readImages(complete: () => void): void {
    this.#firmware?.read(complete);
  }

  powerOn(images: KernelImages | undefined): string {
    if (!this.#options.firmware) {
      assert(images, 'a machine without firmware boots a kernel');
      const { initrd, ...rest } = images;
      return this.boot({ ...rest, ...(initrd ? { initrd } : {}) }).description;
    }
    this.start();
    return this.#firmwareKernel ?? 'firmware';
  }

  pressPowerButton(): void {
    this.pm.pressPowerButton();
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
    const { bytes, rsdpGpa } = linkAcpiTables(this.#acpi, ACPI_GPA);
    this.memory.dma.write(ACPI_GPA, bytes);
    this.#rsdpGpa = rsdpGpa;
    const loaded = loadKernel(
      { ...images, longMode: this.cpu.hasLongMode },
      {
        e820: pcE820(this.#lowRamEnd, this.#options.ramBytes - this.#lowRamEnd),
        rsdpGpa: this.#rsdpGpa,
        write: (gpa, source) => this.memory.dma.write(gpa, source),
        clear: (gpa, size) => this.clearRam(gpa, size),
      },
    );
    for (const cpu of this.cpus) cpu.setBootState(cpu === this.cpu ? loaded.state : undefined);
    return loaded;
  }

  protected resetCpus(): void {
    for (const cpu of this.cpus) cpu.reset();
  }

  /** What an accelerator with interrupt controllers of its own works with. */
  get controllers() {
    const { ioapic, pic, msi, clock } = this;
    const [gsi, pit, hpet] = [this.#gsi, this.#pit, this.#hpet];
    const isPitReplaced = () => hpet?.replacesPit ?? false;
    return { ioapic, pic, gsi, pit, isPitReplaced, bus: msi, nowNs: () => clock.nowNs() };
  }

  /** Ticks of the time-stamp counter per second. To be set before the guest has seen it: before `boot` or `start`. */
  get tscHz(): number {
    return this.#tsc.hz;
  }
  set tscHz(hz: number) {
    this.#tsc.hz = hz;
  }

  protected announceInterrupts(accelerator: Accelerator): void {
    for (const lapic of this.lapics) accelerator.setInterruptPending(lapic.pending(), lapic.id);
  }

  /** The bootstrap processor's local APIC. */
  get lapic(): LocalApic {
    return this.lapics[0];
  }

  setWatching(on: boolean): boolean {
    for (const cpu of this.cpus) cpu.setWatching(on);
    return true;
  }

  get debug(): DebugDescription {
    return x86DebugRegisters(this.cpus);
  }

  #attachLens(lens: Lens): void {
    const machine = this;
    lens.attach({
      get accelerator() {
        return machine.accelerator.name;
      },
      get exits() {
        return machine.accelerator.exits.toRecord();
      },
      ring: () => (machine.accelerator.name === 'tcg' ? machine.currentCpu.ring : undefined),
      portName: (port) => machine.ports.nameAt(port),
      memoryName: (gpa) => machine.memory.nameAt(gpa),
    });
    for (const cpu of this.cpus) cpu.setLens(true);
  }

  #event(event: Parameters<NonNullable<X86Board['event']>>[0]): void {
    this.observer?.event(event.kind, event.vector);
    this.#trace?.event?.(event);
  }

  /** What the loader and the interrupt tables say of the board. */
  #acpi!: ReturnType<typeof buildAcpiTables>;

  #describeBoard(hasHpet: boolean): void {
    this.#acpi = buildAcpiTables({
      cpus: Array.from({ length: this.#options.cpus ?? 1 }, (_, apicId) => ({ apicId })),
      localApicGpa: LAPIC_BASE,
      ioApic: { id: 0, gpa: IOAPIC_GPA, gsiBase: 0 },
      interruptOverrides: pcInterruptOverrides,
      ...this.#chipset.describe(),
      reset: { port: 0xcf9, value: 6 },
      ...(hasHpet ? { hpetGpa: HPET_GPA } : {}),
      isa: {
        serial: SERIAL_PORTS.filter((_, i) => this.serial[i]),
        rtc: true,
        pit: true,
        ps2: true,
        fwCfgPort: 0x510,
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
    const kib = Math.min((this.#lowRamEnd - 0x100000) / 1024, 65535);
    const blocks = Math.max(0, Math.min((this.#lowRamEnd - 0x1000000) / 65536, 65535));
    const set16 = (index: number, value: number) => {
      rtc.setRam(index, value & 255);
      rtc.setRam(index + 1, value >> 8);
    };
    set16(0x15, 640);
    set16(0x17, kib);
    set16(0x30, kib);
    set16(0x34, blocks);
    const kinds = this.floppyPlaces.drives.map((drive) => (drive ? floppyKinds[drive.kind].cmos : 0));
    rtc.setRam(0x10, (kinds[0] << 4) | kinds[1]);
    const floppies = kinds.filter((kind) => kind !== 0).length;
    // A coprocessor, a PS/2 mouse, and whether there are floppy drives, less one.
    rtc.setRam(0x14, 0x06 | (floppies === 0 ? 0 : 0x01 | ((floppies - 1) << 6)));
    const { bootDevices = DEFAULT_BOOT_DEVICES, bootDevicesOnce } = this.#options.firmware ?? {};
    bootOrderBytes(bootDevices);
    this.#setBootOrder(rtc, bootDevicesOnce ?? bootDevices);
    const high = (this.#options.ramBytes - this.#lowRamEnd) / 65536;
    set16(0x5b, high & 0xffff);
    rtc.setRam(0x5d, high >> 16);
  }
}
