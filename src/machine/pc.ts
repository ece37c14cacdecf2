/**
 * The board `pc`: an i440FX/PIIX PC as QEMU's, with the local APIC, I/O APIC, 8259s, 8254, RTC, HPET, ACPI, serial ports, i8042
 * and PCI. It composes the vCPU, the accelerator and the chips, and runs them in the vCPU's thread.
 */
import {
  type Accelerator,
  type AcceleratorHost,
  type EngineOptions,
  type ModuleCache,
  type RegionService,
  type RoutineStore,
  TcgEngine,
} from '../accel/index.js';
import { assert } from '../base/index.js';
import { type Device, type IrqLine, MemorySpace, type MsiTarget, PortSpace } from '../bus/index.js';
import { STATE_BYTES, type X86Board, X86Cpu, type X86CpuModel } from '../guest/index.js';
import {
  AcpiPm,
  ApicBus,
  assignResources,
  buildAcpiTables,
  FwCfg,
  GPE0_BASE,
  globalInterrupts,
  HPET_GPA,
  Hpet,
  I440fx,
  I8042,
  IOAPIC_GPA,
  IoApic,
  LAPIC_BASE,
  LocalApic,
  linkAcpiTables,
  PciRoot,
  PicPair,
  Piix3,
  Piix4Pm,
  Pit,
  PM_BASE,
  pcInterruptOverrides,
  pcWindows,
  piix4Pm,
  Rtc,
  type SerialBackend,
  Uart16550,
  wireAcpiPm,
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
import { type BootImages, type LoadedKernel, loadKernel, pcE820 } from './boot/index.js';
import {
  addFiles,
  bootOrderBytes,
  checkFirmware,
  type FirmwareFile,
  type FirmwareOptions,
  fillFwCfg,
  openShadow,
  PcFirmware,
} from './firmware.js';
import { InstructionTime, seededBits } from './instruction-time.js';
import { Lens, type LensTotals } from './lens.js';
import { MachineClock, type TimeSource } from './machine-clock.js';
import { PcTrace, type PcTraceOptions } from './trace.js';

/** Time-stamp counter, unless told otherwise: one tick a nanosecond. */
const TSC_HZ = 1_000_000_000;
/** RAM below 4 GiB ends here at most; the rest starts at 4 GiB. */
const LOW_RAM_LIMIT = 0xc000_0000;
const HIGH_RAM_START = 0x1_0000_0000;
const ACPI_GPA = 0xe_0000;
const SERIAL_PORTS = [
  { port: 0x3f8, irq: 4 },
  { port: 0x2f8, irq: 3 },
  { port: 0x3e8, irq: 4 },
  { port: 0x2e8, irq: 3 },
] as const;

/** What the board needs of the thread it runs in. */
export interface PcHost {
  readonly time: TimeSource;
  randomBits(): bigint;
  /** Handles what other threads asked for; called at least every millisecond. True: `run` returns 'stopped'. */
  service(): boolean;
  /** Waits for so long, or until something comes that `service` is to hear; the kick word is waited on unless given. */
  sleep?(milliseconds: number): void;
  /** Another thread that writes regions; without one the vCPU's own does. */
  readonly regionService?: RegionService | undefined;
  readonly modules?: ModuleCache | undefined;
  readonly routineStore?: RoutineStore | undefined;
  /** A line for the log (`-d unimp`, `-D`). */
  log?: ((line: string) => void) | undefined;
}

export interface PcOptions {
  readonly ramBytes: number;
  /** Number of vCPUs; one unless given. */
  readonly cpus?: number | undefined;
  readonly model: X86CpuModel;
  /** Back ends of COM1 to COM4; undefined: the port is not there. */
  readonly serial: readonly (SerialBackend | undefined)[];
  /** Entries of a block before it is compiled (a power of two); 0: cold tier only. */
  readonly hotThreshold: number;
  /** What is logged (-d). */
  readonly trace?: PcTraceOptions | undefined;
  /** The translator with parts left out, to show what they are for. */
  readonly translator?: Pick<EngineOptions, 'codeCache' | 'tlbEntries'> | undefined;
  /** What happens is counted and timed: `PcMachine.lens`. `time`: nothing is counted that costs exits. */
  readonly lens?: boolean | 'time' | undefined;
  readonly hpet?: boolean;
  /**
   * Virtual time from executed instructions, 2^shift nanoseconds each (QEMU's -icount): the wall clock stands at a fixed date,
   * idle time passes at once. `seed` gives the random numbers.
   */
  readonly icount?: { readonly shift: number; readonly seed?: bigint };
  /** Firmware runs instead of a kernel that is put into memory. */
  readonly firmware?: FirmwareOptions | undefined;
  /** Files for fw_cfg beside the board's own. */
  readonly fwCfgFiles?: readonly FirmwareFile[] | undefined;
  readonly uuid?: Uint8Array | undefined;
  /** Plugs further devices in, before PCI resources are assigned. */
  readonly addDevices?: (board: PcBoard) => void;
}

/** What device constructors may want of the board. */
export interface PcBoard {
  readonly memory: MemorySpace;
  readonly ports: PortSpace;
  readonly clock: MachineClock;
  readonly pci: PciRoot;
  readonly msi: MsiTarget;
  /** ISA interrupts and further global interrupts by number. */
  readonly irqs: readonly IrqLine[];
  add(device: Device): void;
  /** Ends the machine's run with a status (isa-debug-exit). */
  exit(status: number): void;
}

/** Why `run` has returned. */
export type PcStop =
  | { readonly why: 'stopped' }
  | { readonly why: 'poweroff' }
  | { readonly why: 'reset' }
  | { readonly why: 'exit'; readonly status: number }
  | { readonly why: 'debug' };

export class PcMachine implements PcBoard {
  /** The translator. It also keeps the machine's memory: guest RAM and the vCPU's state. */
  readonly engine: TcgEngine;
  /** What accelerators ask of this board. */
  readonly acceleratorHost: AcceleratorHost;
  /** By APIC ID. Where KVM runs the machine it keeps all but the first to itself. */
  readonly cpus: readonly X86Cpu[];
  readonly memory: MemorySpace;
  readonly ports = new PortSpace();
  readonly clock: MachineClock;
  readonly pci: PciRoot;
  readonly msi: ApicBus;
  readonly irqs: readonly IrqLine[];
  readonly serial: readonly (Uart16550 | undefined)[];
  /** By APIC ID. */
  readonly lapics: readonly LocalApic[];
  readonly pic: PicPair;
  readonly ioapic: IoApic;
  readonly pm: AcpiPm;
  readonly fwCfg: FwCfg;
  /** What is booted from fw_cfg by firmware, for a person. */
  readonly firmwareKernel: string | undefined;
  /** 64 random bits: the host's, or with -icount the seed's. */
  readonly randomBits: () => bigint;
  readonly #icount: InstructionTime | undefined;
  readonly #host: PcHost;
  readonly #options: PcOptions;
  readonly #trace: PcTrace | undefined;
  readonly #lens: Lens | undefined;
  readonly #devices: Device[] = [];
  readonly #piix3: Piix3;
  readonly #piix4: Piix4Pm;
  readonly #i440fx: I440fx;
  readonly #lowRamEnd: number;
  readonly #words: Int32Array;
  readonly #kick: number;
  #accelerator!: Accelerator;
  readonly #tsc = { hz: TSC_HZ };
  /** The vCPU sleeps in HLT. */
  #halted = false;
  #stop: PcStop | undefined;
  /** Hears of data accesses while the vCPU's `setWatching` is on. */
  onDataAccess: ((linear: bigint, bytes: number, write: boolean) => void) | undefined;
  #rsdpGpa = 0;

  constructor(host: PcHost, options: PcOptions) {
    if (options.firmware) checkFirmware(options.firmware.image);
    this.#host = host;
    this.#options = options;
    this.#icount = options.icount
      ? new InstructionTime(options.icount.shift, () => this.engine?.instructions ?? 0)
      : undefined;
    this.clock = new MachineClock(this.#icount ?? host.time);
    const random = options.icount ? seededBits(options.icount.seed ?? 1n) : () => host.randomBits();
    this.randomBits = random;
    const rate = this.#tsc;
    const apicBus = new ApicBus();
    this.msi = apicBus;
    this.pic = new PicPair({
      output: {
        set: (level) => {
          this.lapic.lint[0].set(level);
          // A local APIC in the host's kernel does not see the line: the accelerator asks the 8259 itself.
          if (level && apicBus.divert) this.#accelerator.setInterruptPending(true);
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
            interruptChanged: () => this.#accelerator.setInterruptPending(this.lapics[id].pending(), id),
            nmi: () => this.#accelerator.raiseNmi(id),
            init: () => (id === 0 ? this.#finish({ why: 'reset' }) : this.cpus[id].init()),
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
    const lens = options.lens
      ? new Lens({ nowNs: host.time.nowNs, countsHandlers: options.lens !== 'time' })
      : undefined;
    this.#lens = lens;
    const tsc = () => BigInt(Math.floor(this.clock.nowNs() * (rate.hz / 1e9)));
    this.cpus = ids.map(
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
    const accelerated: AcceleratorHost = {
      mmioRead: (gpa, size) => this.memory.read(gpa, size),
      mmioWrite: (gpa, size, value) => this.memory.write(gpa, size, value),
      pioRead: (port, size) => this.ports.read(port, size),
      pioWrite: (port, size, value) => this.ports.write(port, size, value),
      readTsc: tsc,
      randomBits: random,
      poll: () => this.#poll(),
      untilDeadlineNs: () => this.clock.nextDeadlineNs - this.clock.nowNs(),
      deferrable: () => [...this.ports.deferrable(), ...this.memory.deferrable()],
    };
    this.acceleratorHost = lens?.watch(accelerated) ?? accelerated;
    this.engine = new TcgEngine({
      cpus: this.cpus,
      ramBytes: options.ramBytes + (options.firmware?.image.length ?? 0),
      stateBytes: STATE_BYTES,
      hotThreshold: options.hotThreshold,
      countInstructions: options.icount !== undefined,
      regionService: host.regionService,
      trace: trace?.engine,
      ...options.translator,
      host: {
        ...this.acceleratorHost,
        modules: host.modules,
        routineStore: host.routineStore,
      },
    });
    this.#accelerator = this.engine;
    trace?.attach(this);
    if (lens) this.#attachLens(lens);
    const counted = this.#icount;
    this.clock.onDeadline = counted
      ? () => this.#limitInstructions(counted)
      : () => this.#accelerator.deadlineChanged();
    this.#words = new Int32Array(this.engine.memory.buffer);
    this.#kick = this.engine.kickIndices[0];

    // Guest RAM
    this.memory = new MemorySpace(this.engine.memory.buffer);
    this.memory.onPublish = (gpa, length) => {
      const hva = this.memory.hvaOf(gpa, length, false);
      if (hva >= 0) this.#accelerator.published(hva, length);
    };
    this.memory.onChange(() => this.#accelerator.setRamBlocks(this.memory.ramBlocks()));
    this.memory.log = this.ports.log = host.log;
    const low = Math.min(options.ramBytes, LOW_RAM_LIMIT);
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
      // The VGA window: nothing there yet.
      this.memory.addWindow({
        name: 'vga',
        start: 0xa0000,
        size: 0x20000,
        handler: { read: (_o, size) => (size === 4 ? 0xffffffff : size === 2 ? 0xffff : 0xff), write: () => {} },
      });
    });

    // Interrupt controllers and timers
    this.ioapic = new IoApic({ bus: apicBus });
    this.irqs = globalInterrupts(this.pic, this.ioapic);
    wirePic(this.ports, this.pic);
    wireIoApic(this.memory, this.ioapic);
    wireLocalApics(this.memory, this.lapics, () => this.engine.current);
    wireMsiWindow(this.memory, apicBus);
    const hpet = (options.hpet ?? true) ? new Hpet({ clock: this.clock, gsi: this.irqs, msi: apicBus }) : undefined;
    const pit = new Pit({ clock: this.clock, irq: hpet ? hpet.pitInput : this.irqs[0] });
    wirePit(this.ports, pit);
    const rtc = new Rtc({ clock: this.clock, irq: hpet ? hpet.rtcInput : this.irqs[8] });
    wireRtc(this.ports, rtc);
    wirePostCode(this.ports);
    if (hpet) wireHpet(this.memory, hpet);
    const i8042 = new I8042({
      keyboardIrq: this.irqs[1],
      auxIrq: this.irqs[12],
      events: {
        reset: () => this.#finish({ why: 'reset' }),
        a20: (open) => this.#onEachCpu((cpu) => cpu.setA20(open)),
      },
    });
    wireI8042(this.ports, i8042);

    // Power management and PCI
    this.pm = new AcpiPm({
      clock: this.clock,
      sci: this.irqs[9],
      events: { powerOff: () => this.#finish({ why: 'poweroff' }), reset: () => this.#finish({ why: 'reset' }) },
    });
    this.pci = new PciRoot({
      spaces: { memory: this.memory, ports: this.ports, msi: apicBus },
      route: (slot, pin) => (slot + pin - 1) & 3,
    });
    const i440fx = new I440fx(this.pci);
    this.#i440fx = i440fx;
    if (options.firmware) {
      const firmware = new PcFirmware({
        image: options.firmware.image,
        memory: this.memory,
        buffer: this.engine.memory.buffer,
        lowRamHva: this.engine.ramStart,
        romHva: this.engine.ramStart + options.ramBytes,
        published: (hva, size) => this.#accelerator.published(hva, size),
      });
      i440fx.onShadow = (ranges) => firmware.shadow(ranges);
    }
    this.pci.mapPorts(this.ports);
    this.#piix3 = new Piix3({ root: this.pci, irqs: this.irqs });
    this.#piix3.onReset = () => this.#finish({ why: 'reset' });
    this.#piix3.mapPorts(this.ports);
    wireAcpiPm(this.ports, this.pm);
    this.#piix4 = new Piix4Pm({ root: this.pci, block: this.pm.eventBlock });

    this.serial = SERIAL_PORTS.map(({ port, irq }, i) => {
      const backend = options.serial[i];
      if (!backend) return undefined;
      const uart = new Uart16550({ name: `serial${i}`, clock: this.clock, irq: this.irqs[irq], backend });
      wireUart(this.ports, port, uart);
      return uart;
    });
    this.#devices.push(
      this.pic,
      ...this.lapics,
      this.ioapic,
      pit,
      rtc,
      i8042,
      this.pm,
      i440fx,
      this.#piix3,
      this.#piix4,
    );
    if (hpet) this.#devices.push(hpet);
    for (const uart of this.serial) if (uart) this.#devices.push(uart);
    this.fwCfg = new FwCfg({ dma: this.memory.dma });
    wireFwCfg(this.ports, this.fwCfg);
    this.#devices.push(this.fwCfg);
    options.addDevices?.(this);
    this.#describeBoard(hpet !== undefined);
    this.#setCmos(rtc);
    this.firmwareKernel = fillFwCfg(
      this.fwCfg,
      {
        ramBytes: options.ramBytes,
        lowRamEnd: low,
        acpi: this.#acpi,
        cpu: options.model.name,
        cpus,
        uuid: options.uuid,
      },
      options.firmware,
    );
    addFiles(this.fwCfg, options.fwCfgFiles ?? []);
  }

  add(device: Device): void {
    this.#devices.push(device);
  }

  /** A vCPU of many has shut down. */
  shutdown(): void {
    this.#finish({ why: 'reset' });
  }

  exit(status: number): void {
    this.#finish({ why: 'exit', status });
  }

  /** Power-on or reset of a machine with firmware: the vCPU is at its reset vector. */
  start(): void {
    assert(this.#options.firmware, 'a machine without firmware boots a kernel');
    this.#reset();
  }

  /** Power-on or reset without firmware: PCI resources as it would leave them, then the kernel. */
  boot(images: Omit<BootImages, 'longMode'>): LoadedKernel {
    this.#reset();
    openShadow(this.#i440fx);
    this.#piix4.configure(PM_BASE, 9);
    const { levelIrqs } = assignResources(this.pci, pcWindows(this.#lowRamEnd), this.#piix3.function);
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
        clear: (gpa, size) => {
          const hva = this.memory.hvaOf(gpa, size, true);
          assert(hva >= 0, 'a loader clears RAM only');
          new Uint8Array(this.engine.memory.buffer, hva, size).fill(0);
          this.memory.dma.publish(gpa, size);
        },
      },
    );
    for (const cpu of this.cpus) cpu.setBootState(cpu === this.cpu ? loaded.state : undefined);
    return loaded;
  }

  #reset(): void {
    this.#stop = undefined;
    this.#halted = false;
    this.#accelerator.synchronize();
    for (const device of this.#devices) device.reset();
    this.#trace?.reset();
    this.#lens?.reset();
    this.#onEachCpu((cpu) => cpu.reset());
    this.#accelerator.takeOver();
  }

  /** What an accelerator with a local APIC of its own works with. */
  get controllers() {
    const { lapic, ioapic, pic, msi, clock } = this;
    return { lapic, ioapic, pic, bus: msi, nowNs: () => clock.nowNs() };
  }

  /** The state of every device, by name. */
  saveDevices(): (readonly [name: string, state: Uint8Array])[] {
    return this.#devices.map((device) => [device.name, device.save()] as const);
  }

  /** Ticks of the time-stamp counter per second. To be set before the guest has seen it: before `boot` or `start`. */
  get tscHz(): number {
    return this.#tsc.hz;
  }
  set tscHz(hz: number) {
    this.#tsc.hz = hz;
  }

  /** What runs the vCPU. */
  get accelerator(): Accelerator {
    return this.#accelerator;
  }

  /**
   * Lets another accelerator run the vCPU from here on: its state goes through its home, RAM stays where it is. Between two calls
   * of `run` only. The one that ran it until now is not closed.
   */
  setAccelerator(next: Accelerator): void {
    const before = this.#accelerator;
    if (next === before) return;
    before.synchronize();
    this.#halted = this.cpu.isHalted;
    this.#accelerator = next;
    next.setRamBlocks(this.memory.ramBlocks());
    next.takeOver();
    for (const lapic of this.lapics) next.setInterruptPending(lapic.pending(), lapic.id);
  }

  /** The bootstrap processor, and its local APIC. */
  get cpu(): X86Cpu {
    return this.cpus[0];
  }
  get lapic(): LocalApic {
    return this.lapics[0];
  }

  /** The vCPU that runs, or ran last: what a debugger looks at. */
  get currentCpu(): X86Cpu {
    return this.cpus[this.engine.current];
  }

  /** Number of the vCPU that a monitor shows. */
  shown = 0;
  get shownCpu(): X86Cpu {
    return this.cpus[this.shown];
  }

  #onEachCpu(work: (cpu: X86Cpu) => void): void {
    for (const cpu of this.cpus) work(cpu);
  }

  /** Debuggers hear of every data access: `onDataAccess`. */
  setWatching(on: boolean): void {
    this.#onEachCpu((cpu) => cpu.setWatching(on));
  }

  /** Indices of the kick words in the machine's memory, as 32-bit words: one that asks sets them all. */
  get kickIndices(): readonly number[] {
    return this.engine.kickIndices;
  }

  /** `run` returns 'debug' after the instruction under way. */
  stopForDebugger(): void {
    this.#finish({ why: 'debug' });
  }

  /** One instruction of a vCPU, for a debugger. */
  step(vcpu: number): void {
    this.#halted = this.#accelerator.step(vcpu) === 'halt';
    this.#accelerator.synchronize();
    if (this.#stop?.why === 'debug') this.#stop = undefined;
  }

  raiseNmi(): void {
    this.#accelerator.raiseNmi();
  }

  /** VM exits by reason; every counter of the translator; with counted time also the guest's instructions. */
  statistics(): Readonly<Record<string, Readonly<Record<string, number>>>> {
    const counters = { exits: this.#accelerator.exits.toRecord(), ...this.engine.statistics() };
    return this.#icount ? { ...counters, guest: { instructions: this.engine.instructions } } : counters;
  }

  /** What the lens has seen; undefined without one. */
  lens(): LensTotals | undefined {
    return this.#lens?.totals();
  }

  /** Whose which part of the machine's memory is: offsets and sizes. */
  memoryUse(): readonly { readonly owner: string; readonly at: number; readonly bytes: number }[] {
    const blocks = this.memory.ramBlocks().filter(({ hva }) => hva >= this.engine.ramStart);
    const ram = { owner: 'guestRam', at: this.engine.ramStart, bytes: this.#options.ramBytes };
    const rom = blocks.find(({ hva }) => hva >= ram.at + ram.bytes);
    return [
      ram,
      ...(rom ? [{ owner: 'firmware', at: ram.at + ram.bytes, bytes: this.#options.firmware?.image.length ?? 0 }] : []),
      ...this.engine.memoryUse(),
    ];
  }

  #attachLens(lens: Lens): void {
    const machine = this;
    lens.attach({
      get accelerator() {
        return machine.#accelerator.name;
      },
      get exits() {
        return machine.#accelerator.exits.toRecord();
      },
      ring: () => (machine.#accelerator.name === 'tcg' ? machine.currentCpu.ring : undefined),
      portName: (port) => machine.ports.nameAt(port),
      memoryName: (gpa) => machine.memory.nameAt(gpa),
    });
    this.#onEachCpu((cpu) => cpu.setLens(true));
  }

  #event(event: Parameters<NonNullable<X86Board['event']>>[0]): void {
    this.#lens?.event(event.kind, event.vector);
    this.#trace?.event?.(event);
  }

  /** Runs until the machine stops by itself or `service` says so. */
  run(): PcStop {
    this.#lens?.begin();
    return this.#lens ? this.#lens.owned('board', () => this.#run()) : this.#run();
  }

  #run(): PcStop {
    this.clock.resume();
    for (;;) {
      const exit = this.#halted && !this.#idle() ? 'kick' : this.#accelerator.run();
      const stop = this.#stop;
      if (stop) {
        this.#stop = undefined;
        return stop;
      }
      switch (exit) {
        case 'halt':
          this.#halted = true;
          break;
        case 'shutdown':
          return { why: 'reset' };
        case 'debug':
          return { why: 'debug' };
        case 'kick':
          return { why: 'stopped' };
      }
    }
  }

  /** What the loader and the interrupt tables say of the board. */
  #acpi!: ReturnType<typeof buildAcpiTables>;

  #describeBoard(hasHpet: boolean): void {
    const windows = pcWindows(this.#lowRamEnd);
    this.#acpi = buildAcpiTables({
      cpus: Array.from({ length: this.#options.cpus ?? 1 }, (_, apicId) => ({ apicId })),
      localApicGpa: LAPIC_BASE,
      ioApic: { id: 0, gpa: IOAPIC_GPA, gsiBase: 0 },
      interruptOverrides: pcInterruptOverrides,
      pm: { ...piix4Pm, gpe0Port: GPE0_BASE },
      reset: { port: 0xcf9, value: 6 },
      ...(hasHpet ? { hpetGpa: HPET_GPA } : {}),
      pci: { memoryWindows: [windows.memory], isaBridge: { device: 1, function: 0 }, linkIrqs: [5, 10, 11] },
      isa: {
        serial: SERIAL_PORTS.filter((_, i) => this.serial[i]),
        rtc: true,
        pit: true,
        ps2: true,
        fwCfgPort: 0x510,
      },
      vga: false,
    });
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
    rtc.setRam(0x14, 0x06);
    const { at3d, at38 } = bootOrderBytes(this.#options.firmware?.bootDevices ?? 'cad');
    rtc.setRam(0x3d, at3d);
    rtc.setRam(0x38, at38);
    const high = (this.#options.ramBytes - this.#lowRamEnd) / 65536;
    set16(0x5b, high & 0xffff);
    rtc.setRam(0x5d, high >> 16);
  }

  #poll(): boolean {
    this.clock.fire();
    const stop = this.#host.service() || this.#stop !== undefined;
    if (this.#icount) this.#limitInstructions(this.#icount);
    return stop;
  }

  /** The vCPU stops at the instruction at which the next timer is due. */
  #limitInstructions(time: InstructionTime): void {
    this.engine.instructionLimit = time.instructionsUntil(this.clock.nextDeadlineNs - this.clock.nowNs());
  }

  /** Sleeps until something wakes the vCPU. False: it sleeps on, and the machine is to stop. */
  #idle(): boolean {
    const words = this.#words;
    for (;;) {
      Atomics.store(words, this.#kick, 0);
      if (this.acceleratorHost.poll()) return false;
      if (this.#accelerator.wake()) {
        this.#halted = false;
        return true;
      }
      if (this.#icount && this.clock.nextDeadlineNs < Infinity) {
        this.#icount.skip(this.clock.nextDeadlineNs - this.clock.nowNs());
        continue;
      }
      const wait = (this.clock.nextDeadlineNs - this.clock.nowNs()) / 1e6;
      if (wait <= 0) continue;
      const sleep = () => {
        if (this.#host.sleep) this.#host.sleep(Math.min(wait, 1000));
        else Atomics.wait(words, this.#kick, 0, Math.min(wait, 1000));
      };
      if (this.#lens) this.#lens.owned('halted', sleep);
      else sleep();
    }
  }

  #finish(stop: PcStop): void {
    this.#stop ??= stop;
    this.#accelerator.kick();
  }
}
