/**
 * The board `virt` with AArch64 CPUs, as QEMU's: GICv2 or v3 (interrupts.ts), PL011, PL031, PL061 with a power key,
 * virtio-mmio slots, fw_cfg and a PCI Express host. Without firmware the kernel starts at EL1, and the board itself serves PSCI.
 */
import type { Accelerator } from '../../accel/index.js';
import { VringError } from '../../base/index.js';
import type { IrqLine, MsiTarget } from '../../bus/index.js';
import {
  type ArmBoard,
  ArmCpu,
  type ArmModel,
  line,
  type Semihosting,
  STATE_BYTES,
  type TimerName,
} from '../../guest/arm/index.js';
import {
  addBoardItems,
  FwCfg,
  type GicV2,
  type GicV3,
  Gpex,
  type PciRoot,
  Pl011,
  Pl031,
  Pl061,
  PRIMECELL_BYTES,
  wireFwCfgMemory,
} from '../../hw/index.js';
import {
  Board,
  type BoardHost,
  type BoardInfo,
  type BoardOptions,
  type DebugDescription,
  type KernelImages,
} from '../board.js';
import { e820Type } from '../boot/boot-state.js';
import type { ImageTarget } from '../boot/image-boot.js';
import type { FirmwareOptions } from '../firmware.js';
import { addFiles } from '../firmware-file.js';
import { FlashBanks, fillFirmwareItems } from '../flash-banks.js';
import { boardSemihosting } from '../semihosting.js';
import { VirtioSlots } from '../virtio-slots.js';
import { virtTableFiles } from './acpi.js';
import { armDebugRegisters } from './debug-registers.js';
import { type TreeOptions, virtTree } from './device-tree.js';
import { virtInfo } from './info.js';
import { affinityOf, checkGic, type GicOptions, type Interrupts, makeInterrupts } from './interrupts.js';
import { loadArm } from './load-kernel.js';
import { COUNTER_HZ, COUNTER_PERIOD_NS, map, pciPlaces, timerInterrupts } from './memory-map.js';
import { servePsci } from './psci.js';
import { ArmTrace } from './trace.js';

const FLASH_BYTES = map.flash.banks * map.flash.bytes;
/** How long the power key is held. */
const KEY_NS = 100e6;

export interface ArmVirtOptions extends BoardOptions {
  readonly model: ArmModel;
  /** Its CPUs are AArch32's. */
  readonly narrow?: {
    makeCpu(board: ArmBoard): ArmCpu;
    readonly stateBytes: number;
    readonly images: ImageTarget;
    debugRegisters(cpus: readonly ArmCpu[]): DebugDescription;
    readonly Trace: typeof ArmTrace;
  };
  /** A GICv2 unless given. */
  readonly gic?: GicOptions | undefined;
  /** PCI Express has its configuration space, and a window, beyond 4 GiB: it has unless given. */
  readonly highmem?: boolean | undefined;
  /** The device tree has random numbers for a kernel: it has unless given. */
  readonly treeRandomness?: boolean | undefined;
  /** Firmware finds ACPI tables: it does unless given. */
  readonly acpi?: boolean | undefined;
  /** What starts at address 0: an image, or what lies in the first flash bank. */
  readonly firmware?: FirmwareOptions | undefined;
}

export class ArmVirt extends Board<ArmCpu> {
  readonly serial: readonly (Pl011 | undefined)[];
  readonly msi: MsiTarget;
  readonly firstSlot = 1;
  readonly pciPath = `/pcie@${map.pciMemory.gpa.toString(16)}`;
  readonly isaIrqs = undefined;
  readonly info: BoardInfo = virtInfo(this);
  readonly fwCfg: FwCfg;
  readonly virtioMmio: VirtioSlots;
  readonly #interrupts: Interrupts;
  readonly #affinities: readonly number[];
  readonly #gpio: Pl061;
  readonly #keyUp = this.clock.createTimer('power key', () => this.#gpio.inputs[map.gpio.powerPin].set(false));
  readonly #gpex: Gpex;
  readonly #semihosting: Semihosting | undefined;
  readonly #options: ArmVirtOptions;
  readonly #flash: FlashBanks;
  /** Where the first CPU starts; a Linux with the device tree's address. */
  #start: { readonly pc: number; readonly linuxTree?: number } = { pc: map.ram.gpa };

  constructor(host: BoardHost, options: ArmVirtOptions) {
    super(host, options);
    this.#options = options;
    const count = options.cpus ?? 1;
    const gic = options.gic ?? { version: 2, its: false };
    checkGic(gic, count);
    if (options.serial.slice(1).some((each) => each !== undefined))
      throw new VringError('options-invalid', 'The board virt has one serial port.');
    const trace = options.trace ? new (options.narrow?.Trace ?? ArmTrace)(options.trace) : undefined;
    const ids = Array.from({ length: count }, (_, id) => id);
    this.#affinities = ids.map((id) => affinityOf(id, gic.version));
    this.startEngine(
      ids.map((id) => this.#makeCpu(id, count, trace)),
      {
        stateBytes: options.narrow?.stateBytes ?? STATE_BYTES,
        romBytes: FLASH_BYTES + (this.#isSecure ? map.secureRam.bytes : 0),
        readTsc: () => 0n,
        trace,
      },
    );
    trace?.attach(this);
    const { memory, clock } = this;
    const ram = { gpa: map.ram.gpa, bytes: options.ramBytes };
    this.#semihosting = options.semihosting && boardSemihosting(options.semihosting, this, ram);
    this.#interrupts = makeInterrupts({
      ...gic,
      memory,
      outputs: this.cpus.map((_, id) => ({ irq: this.#input(id, line.irq), fiq: this.#input(id, line.fiq) })),
      virtual: options.model.features.has('el2'),
      virtualOutputs: this.cpus.map((_, id) => ({
        irq: this.#input(id, line.virtualIrq),
        fiq: this.#input(id, line.virtualFiq),
      })),
      accessor: () => this.engine.current,
    });
    const { spis, msi } = this.#interrupts;
    this.msi = msi;
    const rtc = new Pl031({ clock, irq: spis[map.rtc.spi] });
    this.#gpio = new Pl061({ irq: spis[map.gpio.spi] });
    const [backend] = options.serial;
    const uart = backend && new Pl011({ name: 'serial0', clock, irq: spis[map.uart.spi], backend });
    this.serial = [uart];
    this.fwCfg = new FwCfg({ dma: memory.dma });
    memory.transaction(() => {
      const { ramBytes } = options;
      memory.addRam({
        name: 'virt.ram',
        gpa: map.ram.gpa,
        size: ramBytes,
        hva: this.engine.ramStart,
        readonly: false,
      });
      for (const [name, start, size, handler] of [
        ['pl031', map.rtc.gpa, PRIMECELL_BYTES, rtc.registers],
        ['pl061', map.gpio.gpa, PRIMECELL_BYTES, this.#gpio],
      ] as const)
        memory.addWindow({ name, start, size, handler });
      if (uart)
        memory.addWindow({ name: uart.name, start: map.uart.gpa, size: PRIMECELL_BYTES, handler: uart.registers });
      wireFwCfgMemory(memory, this.fwCfg, map.fwCfg.gpa);
    });
    this.#flash = new FlashBanks({
      map: map.flash,
      ...options.firmware,
      memory,
      buffer: this.buffer,
      hva: this.engine.ramStart + options.ramBytes,
      published: (hva, size) => this.accelerator.published(hva, size),
      log: (text) => host.log?.(text),
    });
    this.add(...this.#flash.chips);
    if (this.#isSecure) this.#addSecureDevices(spis);
    const pciLine = (n: number) => spis[map.pci.spi + n];
    const { ecam, ports, memory: low, highMemory: high } = this.#pciPlaces;
    this.#gpex = new Gpex({
      memory,
      ports: this.ports,
      msi: this.msi,
      ecamGpa: ecam.gpa,
      lastBus: ecam.buses - 1,
      portsGpa: ports.gpa,
      memoryRanges: high ? [low, high] : [low],
      lines: [pciLine(0), pciLine(1), pciLine(2), pciLine(3)],
    });
    this.add(...this.#interrupts.devices, rtc, this.#gpio, this.#gpex, this.fwCfg);
    if (uart) this.add(uart);
    this.virtioMmio = new VirtioSlots({
      memory,
      legacy: options.legacyVirtioMmio ?? true,
      gpa: map.virtio.gpa,
      stride: map.virtio.stride,
      irqs: spis.slice(map.virtio.spi, map.virtio.spi + map.virtio.slots),
      add: (device) => this.add(device),
    });
    options.addDevices?.(this);
    this.virtioMmio.wireEmpty();
    addBoardItems(this.fwCfg, {
      ramBytes: options.ramBytes,
      cpus: this.cpus.length,
      maxCpus: this.cpus.length,
      graphic: false,
      uuid: options.uuid,
    });
    if (this.#firmware) {
      fillFirmwareItems(this.fwCfg, this.#firmware);
      for (const { name, bytes } of virtTableFiles(
        {
          affinities: this.#affinities,
          gic,
          pci: this.#pciPlaces,
          serial: uart !== undefined,
          cpu: options.model.name,
          ramBytes: options.ramBytes,
          uuid: options.uuid,
        },
        options.acpi ?? true,
      ))
        this.fwCfg.setFile(name, bytes);
    }
    addFiles(this.fwCfg, options.fwCfgFiles ?? []);
  }

  get #isSecure(): boolean {
    return this.#options.model.features.has('el3');
  }

  /**
   * RAM, a UART that leads nowhere, and GPIO pins that switch off and reset. Non-secure state finds them as well, for there is one address
   * space.
   */
  #addSecureDevices(spis: readonly IrqLine[]): void {
    const { memory, clock } = this;
    const { secureRam, secureUart, secureGpio } = map;
    const uart = new Pl011({
      name: 'secure-serial',
      clock,
      irq: spis[secureUart.spi],
      backend: { write: () => {} },
    });
    const up = (then: () => void): IrqLine => ({ set: (level) => level && then() });
    const outputs: IrqLine[] = [];
    outputs[secureGpio.powerOffPin] = up(() => this.finish({ why: 'poweroff' }));
    outputs[secureGpio.resetPin] = up(() => this.finish({ why: 'reset' }));
    const gpio = new Pl061({ irq: spis[secureGpio.spi], outputs });
    memory.transaction(() => {
      memory.addRam({
        name: 'virt.secure-ram',
        gpa: secureRam.gpa,
        size: secureRam.bytes,
        hva: this.engine.ramStart + this.#options.ramBytes + FLASH_BYTES,
        readonly: false,
      });
      memory.addWindow({ name: uart.name, start: secureUart.gpa, size: PRIMECELL_BYTES, handler: uart.registers });
      memory.addWindow({ name: 'secure-pl061', start: secureGpio.gpa, size: PRIMECELL_BYTES, handler: gpio });
    });
    this.add(uart, gpio);
  }

  #makeCpu(id: number, count: number, trace: ArmTrace | undefined): ArmCpu {
    const { clock } = this;
    const options = this.#options;
    const time = () => BigInt(Math.floor(clock.nowNs() / COUNTER_PERIOD_NS));
    const output = (name: TimerName) => this.#interrupts.ppi(id, timerInterrupts[name]);
    const timer = (short: string, name: TimerName) => clock.createTimer(`${short}${id}`, () => output(name).set(true));
    const timers = {
      physical: timer('cntp', 'physical'),
      virtual: timer('cntv', 'virtual'),
      hypervisor: timer('cnthp', 'hypervisor'),
      hypervisorVirtual: timer('cnthv', 'hypervisorVirtual'),
      secure: timer('cntps', 'secure'),
      performance: timer('pmu', 'performance'),
    };
    const taken = trace?.exceptionTaken;
    const board = this;
    const armBoard: ArmBoard = {
      time,
      counterFrequency: COUNTER_HZ,
      setTimer: (name, at) => {
        const isDue = at !== undefined && time() >= at;
        if (at === undefined || isDue) timers[name].cancel();
        else timers[name].arm(Number(at) * COUNTER_PERIOD_NS);
        output(name).set(isDue);
      },
      firmwareCall: (core, by) => {
        if (by !== this.#conduit) return false;
        servePsci(core, options.narrow === undefined, {
          powerOff: () => this.finish({ why: 'poweroff' }),
          reset: () => this.finish({ why: 'reset' }),
          cpus: this.cpus.map((cpu, n) => ({ affinity: this.#affinities[n], isOn: !cpu.isStopped })),
          start: (other, entry, argument) => this.cpus[other].start(entry, this.#affinities[other], argument),
          stop: () => this.cpus[id].stop(),
          wait: () => this.cpus[id].wait(),
        });
        return true;
      },
      get gic() {
        return board.#interrupts.cpuInterface(id);
      },
      dataAccess: (address, bytes, write) => this.onDataAccess?.(address, bytes, write),
      get semihosting() {
        return board.#semihosting;
      },
      others: count > 1 ? () => this.cpus.map((cpu) => cpu.core) : undefined,
      exceptionTaken: taken && ((core, vector, fromEl) => taken(id, core, vector, fromEl)),
    };
    return this.#options.narrow?.makeCpu(armBoard) ?? new ArmCpu(armBoard, this.#options.model);
  }

  get #pciPlaces() {
    const { narrow, highmem = true } = this.#options;
    return pciPlaces({ narrow: narrow !== undefined, highmem });
  }

  /** Absent where the flash that there is has nothing that is started. */
  get #firmware(): FirmwareOptions | undefined {
    const { firmware } = this.#options;
    return firmware && (firmware.image ?? firmware.flash?.[0]) ? firmware : undefined;
  }

  /**
   * How PSCI is called: by HVC unless that is a hypervisor's. What starts where the call would go serves it itself, as QEMU has it:
   * firmware and programs, which start at the highest exception level. Then all CPUs start.
   */
  #conduitFor(isLinux: boolean): 'hvc' | 'smc' | undefined {
    const { features } = this.#options.model;
    const hasEl2 = features.has('el2');
    return !isLinux && features.has('el3') ? undefined : hasEl2 ? 'smc' : 'hvc';
  }
  get #conduit(): 'hvc' | 'smc' | undefined {
    return this.#conduitFor(this.#start.linuxTree !== undefined);
  }

  /** An interrupt input of a CPU. */
  #input(id: number, which: number): IrqLine {
    return {
      set: (level) => {
        this.cpus[id].setLine(which, level);
        this.#tellInterrupts(this.accelerator, id);
      },
    };
  }

  #tellInterrupts(accelerator: Accelerator, id: number): void {
    accelerator.setInterruptPending(this.cpus[id].isCalled, id);
  }

  get gic(): GicV2 | GicV3 {
    return this.#interrupts.gic;
  }

  get pci(): PciRoot {
    return this.#gpex.root;
  }

  override readImages(complete: () => void): void {
    this.#flash.read(complete);
  }

  powerOn(kernel: KernelImages | undefined): string {
    const { ramBytes } = this.#options;
    const target = {
      e820: [{ start: map.ram.gpa, size: ramBytes, type: e820Type.ram }],
      write: (gpa: number, bytes: Uint8Array) => this.memory.dma.write(gpa, bytes),
      clear: (gpa: number, size: number) => this.clearRam(gpa, size),
    };
    const seeds = new BigUint64Array(Array.from({ length: 5 }, () => BigInt.asUintN(64, this.randomBits())));
    if (this.#firmware) {
      // Firmware finds the tree where RAM begins.
      target.write(map.ram.gpa, this.#tree(seeds, undefined, undefined, true));
      this.#start = { pc: map.flash.gpa };
      this.reset();
      return 'firmware, built-in PSCI';
    }
    if (!kernel) {
      // Somebody else says where it begins; the tree is where firmware would find it.
      target.write(map.ram.gpa, this.#tree(seeds, undefined, undefined, true));
      this.#start = { pc: map.ram.gpa };
      this.reset();
      return 'the bare machine';
    }
    const boot = loadArm(
      { firmware: undefined, kernel, tree: (initrd, isBare) => this.#tree(seeds, kernel, initrd, isBare) },
      target,
      this.#options.narrow?.images,
    );
    this.#start = boot.isBare ? { pc: boot.entry } : { pc: boot.entry, linuxTree: boot.treeGpa };
    this.reset();
    return `${boot.description}, built-in PSCI`;
  }

  #tree(
    seeds: BigUint64Array,
    kernel: KernelImages | undefined,
    initrd: TreeOptions['initrd'],
    isBare: boolean,
  ): Uint8Array {
    const isRandom = this.#options.treeRandomness ?? true;
    return this.flatten(
      virtTree({
        model: this.#options.model,
        affinities: this.#affinities,
        gic: { version: 2, its: false, ...this.#options.gic, virtual: this.#options.model.features.has('el2') },
        conduit: this.#conduitFor(!isBare),
        pci: this.#pciPlaces,
        ramBytes: this.#options.ramBytes,
        commandLine: kernel?.commandLine,
        initrd,
        rngSeed: isRandom ? new Uint8Array(seeds.buffer, 0, 32) : undefined,
        kaslrSeed: isRandom ? new Uint8Array(seeds.buffer, 32) : undefined,
        serial: this.serial[0] !== undefined,
        narrow: this.#options.narrow !== undefined,
      }),
    );
  }

  override enterAt(cpu: number, pc: number): void {
    if (!this.cpus[cpu]) throw new VringError('load', `There is no CPU ${cpu}.`);
    this.cpus[cpu].core.pc = BigInt(pc);
  }

  protected resetCpus(): void {
    const { pc, linuxTree } = this.#start;
    this.#keyUp.cancel();
    this.#gpio.inputs[map.gpio.powerPin].set(false);
    for (const [id, cpu] of this.cpus.entries()) {
      cpu.reset(BigInt(pc), this.#affinities[id]);
      if (linuxTree !== undefined) cpu.leaveSecure();
    }
    if (this.#conduit) for (const cpu of this.cpus.slice(1)) cpu.stop();
    if (linuxTree !== undefined) this.cpu.setTree(linuxTree);
  }

  pressPowerButton(): void {
    this.#gpio.inputs[map.gpio.powerPin].set(true);
    this.#keyUp.arm(this.clock.nowNs() + KEY_NS);
  }

  /** Throws VringError `no-nmi`. */
  override raiseNmi(): void {
    throw new VringError('no-nmi', 'An AArch64 CPU has no non-maskable interrupt.');
  }

  protected announceInterrupts(accelerator: Accelerator): void {
    for (const id of this.cpus.keys()) this.#tellInterrupts(accelerator, id);
  }

  setWatching(on: boolean): boolean {
    for (const cpu of this.cpus) cpu.setWatching(on);
    return true;
  }

  get debug(): DebugDescription {
    return (this.#options.narrow?.debugRegisters ?? armDebugRegisters)(this.cpus);
  }
}
