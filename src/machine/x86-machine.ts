/**
 * What the PCs and the microvm have in common: x86 vCPUs with their local APICs, RAM, interrupt controllers, and how a kernel is put into
 * memory without firmware.
 */
import type { Accelerator } from '../accel/index.js';
import { assert } from '../base/index.js';
import type { IrqLine } from '../bus/index.js';
import { STATE_BYTES, type X86Board, X86Cpu, type X86CpuModel } from '../guest/index.js';
import {
  type AcpiTables,
  ApicBus,
  FwCfg,
  GlobalInterrupts,
  IoApic,
  LocalApic,
  linkAcpiTables,
  PicPair,
  type Pit,
  type Rtc,
  SECOND_IOAPIC_GPA,
  Uart16550,
  wireFwCfg,
  wireIoApic,
  wireLocalApics,
  wireMsiWindow,
  wirePic,
  wireUart,
} from '../hw/index.js';
import {
  Board,
  type BoardHost,
  type BoardInfo,
  type BoardOptions,
  type DebugDescription,
  type KernelImages,
} from './board.js';
import { type BootImages, type E820Entry, type LoadedKernel, loadKernel, pcE820 } from './boot/index.js';
import { type FirmwareOptions, firmwareBytes } from './firmware.js';
import type { Lens } from './lens.js';
import { pcInfo } from './pc-info.js';
import { PcTrace } from './pc-trace.js';
import { x86DebugRegisters } from './x86-debug-registers.js';

/** Time-stamp counter, unless told otherwise: one tick a nanosecond. */
const TSC_HZ = 1_000_000_000;
const HIGH_RAM_START = 0x1_0000_0000;
const ACPI_GPA = 0xe_0000;
const SERIAL_PORTS = [
  { port: 0x3f8, irq: 4 },
  { port: 0x2f8, irq: 3 },
  { port: 0x3e8, irq: 4 },
  { port: 0x2e8, irq: 3 },
] as const;

export interface X86Options extends BoardOptions {
  readonly model: X86CpuModel;
  /** Firmware runs instead of a kernel that is put into memory. */
  readonly firmware?: FirmwareOptions | undefined;
}

/** What differs from board to board. */
export interface X86Parts {
  /** Of RAM, for people. */
  readonly ramName: string;
  /** End of RAM below 4 GiB. */
  readonly lowRamEnd: number;
  /** It has 8259s, at the ports where PCs have them. */
  readonly hasPic: boolean;
  /** A second I/O APIC takes the global interrupts from 24 on. */
  readonly hasSecondIoApic: boolean;
}

export abstract class X86Machine extends Board<X86Cpu> {
  readonly msi: ApicBus;
  /** Global interrupts. */
  readonly irqs: readonly IrqLine[];
  readonly info: BoardInfo = pcInfo(this);
  /** By APIC ID. */
  readonly lapics: readonly LocalApic[];
  readonly pic: PicPair;
  readonly ioapic: IoApic;
  readonly secondIoApic: IoApic | undefined;
  readonly fwCfg: FwCfg;
  /** QEMU's name of the device that PCI hangs on. */
  abstract readonly pciHost: string;
  /** What is booted from fw_cfg by firmware, for a person. */
  protected firmwareKernel: string | undefined;
  protected readonly lowRamEnd: number;
  readonly #trace: PcTrace | undefined;
  readonly #gsi: GlobalInterrupts;
  readonly #options: X86Options;
  readonly #parts: X86Parts;
  readonly #tsc = { hz: TSC_HZ };

  protected constructor(host: BoardHost, options: X86Options, parts: X86Parts) {
    const romBytes = options.firmware ? firmwareBytes(options.firmware) : 0;
    super(host, options);
    this.#options = options;
    this.#parts = parts;
    this.lowRamEnd = parts.lowRamEnd;
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
          x2apic: options.model.features.has('x2apic'),
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
    const { ramName, lowRamEnd: low } = parts;
    this.memory.transaction(() => {
      const hva = this.engine.ramStart;
      this.memory.addRam({ name: ramName, gpa: 0, size: low, hva, readonly: false });
      if (options.ramBytes > low) {
        this.memory.addRam({
          name: `${ramName}-high`,
          gpa: HIGH_RAM_START,
          size: options.ramBytes - low,
          hva: hva + low,
          readonly: false,
        });
      }
    });

    // Interrupt controllers
    this.ioapic = new IoApic({ bus: apicBus });
    this.secondIoApic = parts.hasSecondIoApic ? new IoApic({ bus: apicBus, name: 'ioapic2' }) : undefined;
    this.#gsi = new GlobalInterrupts(parts.hasPic ? this.pic : undefined, this.ioapic, this.secondIoApic);
    this.irqs = this.#gsi.lines;
    if (parts.hasPic) wirePic(this.ports, this.pic);
    wireIoApic(this.memory, this.ioapic);
    if (this.secondIoApic) wireIoApic(this.memory, this.secondIoApic, SECOND_IOAPIC_GPA);
    wireLocalApics(this.memory, this.lapics, () => this.engine.current);
    wireMsiWindow(this.memory, apicBus);
    if (parts.hasPic) this.add(this.pic);
    this.add(...this.lapics, this.ioapic);
    if (this.secondIoApic) this.add(this.secondIoApic);
    this.fwCfg = new FwCfg({ dma: this.memory.dma });
    wireFwCfg(this.ports, this.fwCfg);
  }

  /** Ports and interrupts of the serial ports that there are. */
  protected get serialPorts(): readonly { readonly port: number; readonly irq: number }[] {
    return SERIAL_PORTS.filter((_, i) => this.serial[i]);
  }

  /** A 16550 for each back end, at the places of COM1 to COM4. */
  protected makeSerial(): readonly (Uart16550 | undefined)[] {
    return SERIAL_PORTS.map(({ port, irq }, i) => {
      const backend = this.#options.serial[i];
      if (!backend) return undefined;
      const uart = new Uart16550({ name: `serial${i}`, clock: this.clock, irq: this.irqs[irq], backend });
      wireUart(this.ports, port, uart);
      return uart;
    });
  }

  get isaIrqs(): readonly IrqLine[] {
    return this.irqs;
  }

  powerOn(images: KernelImages | undefined): string {
    if (!this.#options.firmware) {
      assert(images, 'a machine without firmware boots a kernel');
      const { initrd, ...rest } = images;
      return this.boot({ ...rest, ...(initrd ? { initrd } : {}) }).description;
    }
    this.start();
    return this.firmwareKernel ?? 'firmware';
  }

  /** Power-on or reset of a machine with firmware: the vCPU is at its reset vector. */
  abstract start(): void;
  /** Power-on or reset without firmware. */
  abstract boot(images: Omit<BootImages, 'longMode'>): LoadedKernel;

  /** The map of memory that a kernel is told of without firmware. */
  protected get e820(): readonly E820Entry[] {
    return pcE820(this.lowRamEnd, this.#options.ramBytes - this.lowRamEnd);
  }

  /** Puts a kernel into memory, and the tables that it finds without firmware; the vCPUs have been reset. */
  protected placeKernel(images: Omit<BootImages, 'longMode'>, acpi: AcpiTables | undefined): LoadedKernel {
    let rsdp = {};
    if (acpi) {
      const { bytes, rsdpGpa } = linkAcpiTables(acpi, ACPI_GPA);
      this.memory.dma.write(ACPI_GPA, bytes);
      rsdp = { rsdpGpa };
    }
    const loaded = loadKernel(
      { ...images, longMode: this.cpu.hasLongMode },
      {
        e820: this.e820,
        ...rsdp,
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

  /** The 8254, where the board has one. */
  protected abstract readonly pit: Pit | undefined;
  /** The HPET has taken the timer's interrupt from the 8254. */
  protected get isPitReplaced(): boolean {
    return false;
  }

  /** What an accelerator with interrupt controllers of its own works with. */
  get controllers() {
    const { ioapic, secondIoApic, pic, msi, clock, pit } = this;
    return {
      ioapic,
      secondIoApic,
      pic,
      gsi: this.#gsi,
      pit,
      isPitReplaced: () => this.isPitReplaced,
      fitsKernel: this.#parts.hasPic && pit !== undefined && !secondIoApic,
      bus: msi,
      nowNs: () => clock.nowNs(),
    };
  }

  /** Ticks of the time-stamp counter per second. To be set before the guest has seen it: before `boot` or `start`. */
  get tscHz(): number {
    return this.#tsc.hz;
  }
  set tscHz(hz: number) {
    this.#tsc.hz = hz;
  }

  protected announceInterrupts(accelerator: Accelerator): void {
    for (const lapic of this.lapics)
      accelerator.setInterruptPending(lapic.pending() || this.cpus[lapic.id].hasEventPending, lapic.id);
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
      get seesHandlers() {
        return machine.accelerator.seesHandlers ?? true;
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

  /** RAM sizes as a BIOS keeps them in CMOS. */
  protected setCmosSizes(rtc: Rtc): void {
    const kib = Math.min((this.lowRamEnd - 0x100000) / 1024, 65535);
    const blocks = Math.max(0, Math.min((this.lowRamEnd - 0x1000000) / 65536, 65535));
    const set16 = (index: number, value: number) => {
      rtc.setRam(index, value & 255);
      rtc.setRam(index + 1, value >> 8);
    };
    set16(0x15, 640);
    set16(0x17, kib);
    set16(0x30, kib);
    set16(0x34, blocks);
    const high = (this.#options.ramBytes - this.lowRamEnd) / 65536;
    set16(0x5b, high & 0xffff);
    rtc.setRam(0x5d, high >> 16);
  }
}
