/**
 * What every board shares: the clock, the accelerator and its host, memory and ports, the list of devices, and the loop that runs
 * the vCPUs in their thread. A board composes vCPUs and chips on top of it; the virtual-machine monitor knows boards by this class.
 */
import {
  type Accelerator,
  type AcceleratorHost,
  type EngineOptions,
  type EngineTrace,
  type ModuleCache,
  type RegionService,
  type RoutineStore,
  TcgEngine,
  type Watchpoint,
} from '../accel/index.js';
import { assert, VringError } from '../base/index.js';
import { type Device, type IrqLine, MemorySpace, type MsiTarget, PortSpace } from '../bus/index.js';
import type { GuestCpu } from '../guest/guest-cpu.js';
import type { AcpiPciHotplug } from '../hw/pci/acpi-hotplug.js';
import type { PciRoot } from '../hw/pci/index.js';
import type { SerialBackend, SerialPort } from '../hw/serial-port.js';
import type { SmbiosOptions } from '../hw/smbios/tables.js';
import type { VirtioDevice } from '../hw/virtio/virtio-device.js';
import type { StateArena } from '../schema/index.js';
import type { BootModule } from './boot/boot-state.js';
import type { DrivePlaces, FloppyPlaces } from './chipset/pc-chipset.js';
import { type FdtNode, flattenTree } from './fdt.js';
import { completeTree, parseTree } from './fdt-parse.js';
import type { FirmwareFile } from './firmware-file.js';
import { InstructionTime, seededBits } from './instruction-time.js';
import { Lens, type LensTotals } from './lens.js';
import { MachineClock, type TimeSource } from './machine-clock.js';
import type { SemihostingOptions } from './semihosting.js';
import type { TraceOptions } from './trace.js';

/** What the board needs of the thread it runs in. */
export interface BoardHost {
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

export interface BoardOptions {
  readonly ramBytes: number;
  /** Number of vCPUs; one unless given. */
  readonly cpus?: number | undefined;
  /** Back ends of the serial ports, in order; undefined: the port is not there. */
  readonly serial: readonly (SerialBackend | undefined)[];
  /** Entries of a block before it is compiled (a power of two); 0: cold tier only. */
  readonly hotThreshold: number;
  /** What is logged (-d). */
  readonly trace?: TraceOptions | undefined;
  /** The translator with parts left out, to show what they are for. */
  readonly translator?: Pick<EngineOptions, 'codeCache' | 'tlbEntries'> | undefined;
  /** What happens is counted and timed: `Board.lens`. `time`: nothing is counted that costs exits. */
  readonly lens?: boolean | 'time' | undefined;
  /**
   * Virtual time from executed instructions, 2^shift nanoseconds each (QEMU's -icount): the wall clock stands at a fixed date,
   * idle time passes at once. `seed` gives the random numbers.
   */
  readonly icount?: { readonly shift: number; readonly seed?: bigint } | undefined;
  /** Files for fw_cfg beside the board's own. */
  readonly fwCfgFiles?: readonly FirmwareFile[] | undefined;
  /** Devices in virtio-mmio slots speak the legacy version of the interface alone, as QEMU's: they do unless given. */
  readonly legacyVirtioMmio?: boolean | undefined;
  /** In place of the device tree that the board makes; it says of the kernel what that would. */
  readonly deviceTree?: Uint8Array | undefined;
  readonly uuid?: Uint8Array | undefined;
  /** Semihosting, for boards whose CPUs have it. */
  readonly semihosting?: SemihostingOptions | undefined;
  /** What its SMBIOS tables say, where it has them. */
  readonly smbios?: SmbiosOptions | undefined;
  /** Memory of devices that the guest sees as RAM: what `DeviceBoard.takeMemory` gives out. */
  readonly deviceBytes?: number | undefined;
  /** Where devices that another thread looks at keep their state: the keyboard controller first, then those that are plugged in. */
  readonly sharedState?: StateArena | undefined;
  /** Plugs further devices in, before the guest is told what there is. */
  readonly addDevices?: ((board: DeviceBoard) => void) | undefined;
}

/** What is booted without firmware's help, or what firmware is to boot. */
export interface KernelImages {
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array | undefined;
  /** Of a Multiboot kernel, in place of an initrd. */
  readonly modules?: readonly BootModule[] | undefined;
  readonly name?: string | undefined;
  readonly commandLine: string;
}

/** Places for virtio devices outside of PCI (virtio-mmio), by number from 0 on. */
export interface VirtioMmioSlots {
  readonly count: number;
  /** The slot that is used next, or undefined where all are. */
  free(): number | undefined;
  isFree(slot: number): boolean;
  plug(slot: number, device: VirtioDevice): void;
}

/** What device constructors may want of the board. */
export interface DeviceBoard {
  readonly memory: MemorySpace;
  readonly ports: PortSpace;
  readonly clock: MachineClock;
  readonly pci: PciRoot;
  /** The guest reaches it. */
  readonly hasPci: boolean;
  readonly msi: MsiTarget;
  /** The lowest PCI slot that the board itself does not use, and firmware's path of bus 0. */
  readonly firstSlot: number;
  readonly pciPath: string;
  /** ISA interrupts by number, where the board has an ISA bus. */
  readonly isaIrqs: readonly IrqLine[] | undefined;
  /** Slots for virtio devices by themselves, where the board has such. */
  readonly virtioMmio: VirtioMmioSlots | undefined;
  /** Drives of the board's own disk controller, where it has one. */
  readonly drivePlaces?: DrivePlaces;
  /** Drives of its floppy controller, where it may have one. */
  readonly floppyPlaces?: FloppyPlaces;
  /** By which devices of bus 0 come and go, where the board has that. */
  readonly pciHotplug?: AcpiPciHotplug | undefined;
  /** Hears that the device in a slot of bus 0 was let go. */
  onEject: ((slot: number) => void) | undefined;
  /** Takes a device out. */
  remove(device: Device): void;
  add(device: Device): void;
  /** The machine's memory. */
  readonly buffer: ArrayBufferLike;
  /** Takes so many bytes, whole pages, of `BoardOptions.deviceBytes`, and gives their byte offset in the machine's memory. */
  takeMemory(bytes: number): number;
  /** A device has written to such memory, or to RAM, itself. */
  published(hva: number, sizeBytes: number): void;
  /** Ends the machine's run with a status (isa-debug-exit). */
  exit(status: number): void;
  /** `run` returns with this. */
  stopFor(why: 'panic' | 'watchdog' | 'reset' | 'poweroff'): void;
  /** Port of pvpanic, for the tables that tell where devices are. */
  panicPort: number | undefined;
}

/** Why `run` has returned. */
export type BoardStop =
  | { readonly why: 'stopped' }
  | { readonly why: 'poweroff' }
  | { readonly why: 'reset' }
  | { readonly why: 'exit'; readonly status: number }
  | { readonly why: 'debug' }
  /** The guest's kernel has crashed, and says so. */
  | { readonly why: 'panic' }
  /** The machine is to stand still, for its watchdog has heard nothing. */
  | { readonly why: 'watchdog' };

/** A vCPU as monitors and debuggers see it. */
export interface BoardCpu extends GuestCpu {
  readonly isHalted: boolean;
  /** Guest-virtual address of the next instruction. */
  readonly linearPc: bigint;
  /** Where it is: what a block of code is known by. */
  readonly place: { readonly codeBase: bigint; readonly pc: bigint; readonly modeKey: number };
  /** Every register by its manual's name. */
  registers(): Readonly<Record<string, bigint>>;
  /** The registers as text, laid out as QEMU's; `float`: with those of floating point. */
  dump(parts: { readonly float: boolean }): string;
  /** Guest-physical address of a guest-virtual one, for debuggers; undefined where nothing is mapped. */
  translate(gva: bigint): bigint | undefined;
}

/** A register as gdb knows it; `read` and `write` take the number of the vCPU. */
export interface BoardRegister {
  readonly name: string;
  readonly bits: 32 | 64 | 80 | 128;
  readonly type?: string;
  readonly feature: string;
  read(vcpu: number): bigint;
  /** Absent: it cannot be written. */
  write?(vcpu: number, value: bigint): void;
}

/** The registers of the board's vCPUs, for gdb. */
export interface DebugDescription {
  /** gdb's name of the architecture. */
  readonly architecture: string;
  readonly registers: readonly BoardRegister[];
  /** What a pc may be for the instruction at an address, where it holds more than that. */
  places?(address: bigint): readonly bigint[];
}

/** What only the board can tell a monitor: text for a person. */
export interface BoardInfo {
  /** The board's interrupt controllers. */
  interrupts(): string;
  /** Page-table entries, and ranges with the same rights, of the vCPU that is shown. */
  tlb(): string;
  mappings(): string;
  /** QEMU's name of the device that PCI hangs on. */
  readonly pciHost: string;
}

/** How the accelerator sees the vCPUs of a board. */
export interface BoardEngine {
  /** Bytes of the vCPU's state. */
  readonly stateBytes: number;
  /** Bytes of ROM behind RAM. */
  readonly romBytes: number;
  /** The clock that the guest's time-stamp counter shows. */
  readTsc(): bigint;
  readonly trace: { readonly engine: EngineTrace; reset(): void } | undefined;
}

/** Keyboard and mouse as a person moves them. */
export interface BoardInput {
  /** A key by its set 1 code, 0xe000 added for the extended keys, goes down or up. */
  key(set1Code: number, down: boolean): void;
  /** Movement (right, up, wheel away from the user) and the buttons held (bits: left, right, middle, fourth, fifth). */
  moveMouse(dx: number, dy: number, dz: number, buttons: number): void;
}

export abstract class Board<Cpu extends BoardCpu = BoardCpu> implements DeviceBoard {
  abstract readonly pci: PciRoot;
  abstract readonly msi: MsiTarget;
  abstract readonly serial: readonly (SerialPort | undefined)[];
  abstract readonly firstSlot: number;
  abstract readonly pciPath: string;
  abstract readonly isaIrqs: readonly IrqLine[] | undefined;
  abstract readonly virtioMmio: VirtioMmioSlots | undefined;
  abstract readonly debug: DebugDescription;
  abstract readonly info: BoardInfo;
  readonly hasPci: boolean = true;
  /** Absent: the board has neither keyboard nor mouse. */
  readonly input: BoardInput | undefined;
  readonly ports = new PortSpace();
  readonly clock: MachineClock;
  /** 64 random bits: the host's, or with -icount the seed's. */
  readonly randomBits: () => bigint;
  /** Number of the vCPU that a monitor shows. */
  shown = 0;
  /** The device tree of the last power-on, on boards that have one. */
  deviceTree: Uint8Array | undefined;
  /** Keeps the tree that the guest finds: the board's own, or the one that was given. Throws VringError `boot-tree`. */
  protected flatten(own: FdtNode): Uint8Array {
    const { deviceTree } = this.#options;
    const given = deviceTree && parseTree(deviceTree);
    this.deviceTree = given ? flattenTree(completeTree(given.root, own), given.reservations) : flattenTree(own);
    return this.deviceTree;
  }
  /** Hears of data accesses while `setWatching` is on. Gives whether the machine is to stop for it. */
  onDataAccess: ((linear: bigint, bytes: number, write: boolean) => boolean) | undefined;
  /** Whose every moment is counted (`lens`). */
  protected readonly observer: Lens | undefined;
  readonly #host: BoardHost;
  readonly #options: BoardOptions;
  readonly #icount: InstructionTime | undefined;
  onEject: ((slot: number) => void) | undefined;
  readonly #devices: Device[] = [];
  #cpus: readonly Cpu[] = [];
  #engine!: TcgEngine;
  #memory!: MemorySpace;
  #acceleratorHost!: AcceleratorHost;
  #accelerator!: Accelerator;
  #trace: BoardEngine['trace'];
  #words!: Int32Array;
  #kick = 0;
  #romBytes = 0;
  #takenBytes = 0;
  /** All vCPUs sleep. */
  #halted = false;
  #stop: BoardStop | undefined;
  /** While the dirty log is kept: pages that were told to another accelerator's log, and to nobody yet. */
  #dirty: Set<number> | undefined;

  #breakpoints: ReadonlySet<bigint> = new Set();
  #watchpoints: readonly Watchpoint[] = [];

  protected constructor(host: BoardHost, options: BoardOptions) {
    this.#host = host;
    this.#options = options;
    this.#icount = options.icount
      ? new InstructionTime(options.icount.shift, () => this.#engine?.instructions ?? 0)
      : undefined;
    this.clock = new MachineClock(this.#icount ?? host.time);
    this.randomBits = options.icount ? seededBits(options.icount.seed ?? 1n) : () => host.randomBits();
    this.observer = options.lens
      ? new Lens({ nowNs: host.time.nowNs, countsHandlers: options.lens !== 'time' })
      : undefined;
  }

  /** Makes the translator, and memory without anything mapped in it. Called once, by the board's constructor. */
  protected startEngine(cpus: readonly Cpu[], { stateBytes, romBytes, readTsc, trace }: BoardEngine): void {
    const { observer } = this;
    const options = this.#options;
    const host = this.#host;
    this.#cpus = cpus;
    this.#trace = trace;
    this.#romBytes = romBytes;
    const accelerated: AcceleratorHost = {
      answers: (gpa) => this.#memory.answers(gpa),
      mmioRead: (gpa, size) => this.#memory.read(gpa, size),
      mmioWrite: (gpa, size, value) => this.#memory.write(gpa, size, value),
      pioRead: (port, size) => this.ports.read(port, size),
      pioWrite: (port, size, value) => this.ports.write(port, size, value),
      readTsc,
      randomBits: this.randomBits,
      poll: () => this.#poll(),
      untilDeadlineNs: () => this.clock.nextDeadlineNs - this.clock.nowNs(),
      deferrable: () => [...this.ports.deferrable(), ...this.#memory.deferrable()],
      notifyRegister: (space, address, size, value) =>
        (space === 'port' ? this.ports : this.#memory).notifyRegister(address, size, value),
    };
    this.#acceleratorHost = observer?.watch(accelerated) ?? accelerated;
    this.#engine = new TcgEngine({
      cpus,
      ramBytes: options.ramBytes + romBytes + (options.deviceBytes ?? 0),
      stateBytes,
      hotThreshold: options.hotThreshold,
      countInstructions: options.icount !== undefined,
      regionService: host.regionService,
      trace: trace?.engine,
      ...options.translator,
      host: {
        ...this.#acceleratorHost,
        modules: host.modules,
        routineStore: host.routineStore,
      },
    });
    this.#accelerator = this.#engine;
    const counted = this.#icount;
    this.clock.onDeadline = counted
      ? () => this.#limitInstructions(counted)
      : () => this.#accelerator.deadlineChanged();
    this.#words = new Int32Array(this.#engine.memory.buffer);
    this.#kick = this.#engine.kickIndices[0];
    const memory = new MemorySpace(this.#engine.memory.buffer);
    this.#memory = memory;
    memory.onPublish = (gpa, length) => {
      const hva = memory.hvaOf(gpa, length, false);
      if (hva >= 0) this.#accelerator.published(hva, length);
    };
    memory.onChange(() => this.#accelerator.setRamBlocks(memory.ramBlocks()));
    memory.onWindows = this.ports.onWindows = () => this.#accelerator.windowsChanged?.();
    memory.log = this.ports.log = host.log;
  }

  // --- what a board brings

  /**
   * Reads what the board itself keeps in disk images; `complete` returns when all requests to disks are done. Once, before the first
   * `powerOn`. Throws VringError `firmware-read`.
   */
  readImages(_complete: () => void): void {}

  /** Power-on or reset: the vCPUs are where they start, with a kernel in memory where no firmware loads it. Gives a line about it. */
  abstract powerOn(images: KernelImages | undefined): string;

  /** A CPU that has been reset begins somewhere else. Throws VringError `load`. */
  enterAt(cpu: number, _pc: number): void {
    throw new VringError('load', `This board's CPU ${cpu} begins where it always does.`);
  }
  /** The power button. Throws VringError `no-button` where there is none. */
  abstract pressPowerButton(): void;
  /** What firmware boots from when it next starts. Throws VringError `boot-devices` where it does not ask the board. */
  setBootDevices(_devices: string): void {
    throw new VringError('boot-devices', 'no function defined to set boot device list for this architecture');
  }
  /** Every vCPU to its power-on state. */
  protected abstract resetCpus(): void;
  /** Tells an accelerator that has taken over what interrupts are pending. */
  protected abstract announceInterrupts(accelerator: Accelerator): void;
  /** Debuggers hear of every data access: `onDataAccess`. False: this board's vCPUs do not tell. */
  abstract setWatching(on: boolean): boolean;

  // --- parts

  /** The translator. It also keeps the machine's memory: guest RAM and the vCPUs' state. */
  get engine(): TcgEngine {
    return this.#engine;
  }

  get memory(): MemorySpace {
    return this.#memory;
  }

  /** What accelerators ask of this board. */
  get acceleratorHost(): AcceleratorHost {
    return this.#acceleratorHost;
  }

  /** By number. */
  get cpus(): readonly Cpu[] {
    return this.#cpus;
  }

  /** The first one. */
  get cpu(): Cpu {
    return this.#cpus[0];
  }

  /** The vCPU that runs, or ran last: what a debugger looks at. */
  get currentCpu(): Cpu {
    return this.#cpus[this.#accelerator.current];
  }

  get shownCpu(): Cpu {
    return this.#cpus[this.shown];
  }

  /** What runs the vCPUs. */
  get accelerator(): Accelerator {
    return this.#accelerator;
  }

  /** Indices of the kick words in the machine's memory, as 32-bit words: one that asks sets them all. */
  get kickIndices(): readonly number[] {
    return this.#engine.kickIndices;
  }

  remove(device: Device): void {
    const at = this.#devices.indexOf(device);
    if (at >= 0) this.#devices.splice(at, 1);
  }

  add(...devices: readonly Device[]): void {
    this.#devices.push(...devices);
  }

  get buffer(): ArrayBufferLike {
    return this.#engine.memory.buffer;
  }

  takeMemory(bytes: number): number {
    const at = this.#takenBytes;
    this.#takenBytes += bytes;
    assert(this.#takenBytes <= (this.#options.deviceBytes ?? 0), 'memory is laid out for every device');
    return this.#engine.ramStart + this.#options.ramBytes + this.#romBytes + at;
  }

  published(hva: number, sizeBytes: number): void {
    this.#accelerator.published(hva, sizeBytes);
  }

  /** The state of every device, by name. */
  saveDevices(): (readonly [name: string, state: Uint8Array])[] {
    return this.#devices.map((device) => [device.name, device.save()] as const);
  }

  // --- life

  exit(status: number): void {
    this.finish({ why: 'exit', status });
  }

  panicPort: number | undefined;

  stopFor(why: 'panic' | 'watchdog' | 'reset' | 'poweroff'): void {
    this.finish({ why });
  }

  /** A vCPU of many has shut down. */
  shutdown(): void {
    this.finish({ why: 'reset' });
  }

  /** `run` returns with this, unless something else has ended it already. */
  protected finish(stop: BoardStop): void {
    this.#stop ??= stop;
    this.#accelerator.kick();
  }

  /** Devices and vCPUs to their power-on state. */
  protected reset(): void {
    this.#stop = undefined;
    this.#halted = false;
    this.#accelerator.synchronize();
    // A device that was to go does so in the middle of it.
    for (const device of [...this.#devices]) device.reset();
    this.#trace?.reset();
    this.observer?.reset();
    this.resetCpus();
    this.#accelerator.takeOver();
  }

  /**
   * Lets another accelerator run the vCPU from here on: its state goes through its home, RAM stays where it is. Between two calls
   * of `run` only. The one that ran it until now is not closed. Throws VringError `watchpoints` where it cannot watch what a debugger does.
   */
  setAccelerator(next: Accelerator): void {
    const before = this.#accelerator;
    if (next === before) return;
    const watched = this.#watchpoints;
    if (watched.length > 0 && next.setWatchpoints?.(watched) === false)
      throw new VringError('watchpoints', `the debugger watches what ${next.name} cannot`);
    before.synchronize();
    if (this.#dirty) {
      this.#keepDirty(before, this.#dirty);
      before.setDirtyLogging(false);
    }
    this.#halted = this.#cpus.every(({ isHalted }) => isHalted);
    this.#accelerator = next;
    next.setRamBlocks(this.#memory.ramBlocks());
    next.windowsChanged?.();
    next.takeOver();
    if (this.#dirty) next.setDirtyLogging(true);
    if (this.#breakpoints.size > 0) {
      before.setBreakpoints(new Set());
      next.setBreakpoints(this.#breakpoints);
    }
    if (watched.length > 0) {
      before.setWatchpoints?.([]);
      this.setWatching(!next.setWatchpoints);
    }
    this.announceInterrupts(next);
  }

  /** As the accelerator's, whichever runs the vCPUs. */
  setDirtyLogging(on: boolean): void {
    this.#dirty = on ? new Set() : undefined;
    this.#accelerator.setDirtyLogging(on);
  }

  takeDirty(page: (hva: number) => void): void {
    const dirty = this.#dirty;
    if (!dirty) return;
    this.#keepDirty(this.#accelerator, dirty);
    for (const hva of dirty) page(hva);
    dirty.clear();
  }

  #keepDirty(from: Accelerator, dirty: Set<number>): void {
    from.takeDirty((hva) => dirty.add(hva));
  }

  /** As the accelerator's, whichever runs the vCPUs. */
  setBreakpoints(addresses: ReadonlySet<bigint>): void {
    this.#breakpoints = new Set(addresses);
    this.#accelerator.setBreakpoints(this.#breakpoints);
  }

  /**
   * `run` returns 'debug' after an instruction that touched one of them (on Arm and RISC-V before it, as their debuggers want it), where the accelerator finds that out; otherwise `onDataAccess`
   * hears of all accesses. False: it cannot be watched.
   */
  setWatchpoints(watchpoints: readonly Watchpoint[]): boolean {
    const { setWatchpoints } = this.#accelerator;
    const isDone = setWatchpoints
      ? setWatchpoints.call(this.#accelerator, watchpoints)
      : this.setWatching(watchpoints.length > 0);
    if (isDone) this.#watchpoints = watchpoints;
    return isDone;
  }

  /** `run` returns 'debug' after the instruction under way, or before it if that begins anew. */
  stopForDebugger(): void {
    this.finish({ why: 'debug' });
  }

  /** One instruction of a vCPU, for a debugger. */
  step(vcpu: number): void {
    this.#halted = this.#accelerator.step(vcpu) === 'halt';
    this.#accelerator.synchronize();
    if (this.#stop?.why === 'debug') this.#stop = undefined;
  }

  /** Throws VringError `no-nmi` where the vCPUs have none. */
  raiseNmi(): void {
    this.#accelerator.raiseNmi();
  }

  /** Zeroes guest RAM. */
  protected clearRam(gpa: number, size: number): void {
    const hva = this.#memory.hvaOf(gpa, size, true);
    if (hva < 0) throw new Error('vring invariant broken: a loader clears RAM only');
    new Uint8Array(this.#engine.memory.buffer, hva, size).fill(0);
    this.#memory.dma.publish(gpa, size);
  }

  /** VM exits by reason; every counter of the translator; with counted time also the guest's instructions. */
  statistics(): Readonly<Record<string, Readonly<Record<string, number>>>> {
    const counters = { exits: this.#accelerator.exits.toRecord(), ...this.#engine.statistics() };
    return this.#icount ? { ...counters, guest: { instructions: this.#engine.instructions } } : counters;
  }

  /** What the lens has seen; undefined without one. */
  lens(): LensTotals | undefined {
    return this.observer?.totals();
  }

  /** Whose which part of the machine's memory is: offsets and sizes. */
  memoryUse(): readonly { readonly owner: string; readonly at: number; readonly bytes: number }[] {
    const ram = { owner: 'guestRam', at: this.#engine.ramStart, bytes: this.#options.ramBytes };
    const rom = { owner: 'firmware', at: ram.at + ram.bytes, bytes: this.#romBytes };
    const devices = { owner: 'devices', at: rom.at + rom.bytes, bytes: this.#options.deviceBytes ?? 0 };
    return [ram, ...[rom, devices].filter(({ bytes }) => bytes > 0), ...this.#engine.memoryUse()];
  }

  /** Runs until the machine stops by itself or `service` says so. */
  run(): BoardStop {
    this.observer?.begin();
    return this.observer ? this.observer.owned('board', () => this.#run()) : this.#run();
  }

  #run(): BoardStop {
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

  #poll(): boolean {
    this.clock.fire();
    const stop = this.#host.service() || this.#stop !== undefined;
    if (this.#icount) this.#limitInstructions(this.#icount);
    return stop;
  }

  /** The vCPU stops at the instruction at which the next timer is due. */
  #limitInstructions(time: InstructionTime): void {
    this.#engine.instructionLimit = time.instructionsUntil(this.clock.nextDeadlineNs - this.clock.nowNs());
  }

  /** Sleeps until something wakes the vCPU. False: it sleeps on, and the machine is to stop. */
  #idle(): boolean {
    const words = this.#words;
    for (;;) {
      Atomics.store(words, this.#kick, 0);
      if (this.#acceleratorHost.poll()) return false;
      this.clock.fireBeforeSleep();
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
      if (this.observer) this.observer.owned('halted', sleep);
      else sleep();
    }
  }
}
