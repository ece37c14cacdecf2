/**
 * The board `virt` with RISC-V harts, as QEMU's: ACLINT, PLIC or APLIC and IMSIC, 16550, goldfish RTC, SiFive's test device, two flash banks, virtio-mmio
 * slots, fw_cfg and a PCI Express host. Without firmware in M-mode the kernel, or what lies in the second flash bank, starts in S-mode on
 * hart 0 and the board itself serves its SBI calls, by which it starts the others.
 */
import type { Accelerator } from '../../accel/index.js';
import { VringError } from '../../base/index.js';
import type { IrqLine, MsiTarget } from '../../bus/index.js';
import { RiscvCpu, type RiscvModel, type Semihosting, STATE_BYTES } from '../../guest/riscv/index.js';
import { aiaExtensions } from '../../guest/riscv/models.js';
import { irq } from '../../guest/riscv/state.js';
import {
  ACLINT_BYTES,
  Aclint,
  addBoardItems,
  FwCfg,
  GOLDFISH_RTC_BYTES,
  GoldfishRtc,
  Gpex,
  type PciRoot,
  SIFIVE_TEST_BYTES,
  sifiveTest,
  Uart16550,
  wireFwCfgMemory,
  wireUartMemory,
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
import type { FirmwareOptions } from '../firmware.js';
import { addFiles } from '../firmware-file.js';
import { FlashBanks, fillFirmwareItems } from '../flash-banks.js';
import { boardSemihosting } from '../semihosting.js';
import { VirtioSlots } from '../virtio-slots.js';
import { riscvDebugRegisters } from './debug-registers.js';
import { virtTree } from './device-tree.js';
import { virtInfo } from './info.js';
import { type AiaKind, makeRiscvInterrupts, type RiscvInterrupts } from './interrupts.js';
import { loadRiscv } from './load-kernel.js';
import { map } from './memory-map.js';
import { serveSbi } from './sbi.js';
import { callSemihosting } from './semihosting.js';
import { RiscvTrace } from './trace.js';

/** The ROM lies behind RAM as far as its own address, and the flash banks behind it. */
const ROM_BYTES = map.rom.gpa + map.rom.bytes;
const FLASH_BYTES = map.flash.banks * map.flash.bytes;
const RNG_SEED_WORDS = 4;
/** Registers of the 16550: received byte, line status. */
const RBR = 0;
const LSR = 5;
const DATA_READY = 1;

/**
 * The reset vector: a0 is the hart's number, a1 the device tree's address, a2 that of fw_dynamic_info, behind the addresses.
 *
 *     auipc t0, 0 · addi a2, t0, 40 · csrr a0, mhartid · ld a1, 32(t0) · ld t0, 24(t0) · jr t0 · entry · tree · fw_dynamic_info
 */
const resetVector = [0x00000297, 0x02828613, 0xf1402573, 0x0202b583, 0x0182b283, 0x00028067];
/** struct fw_dynamic_info of OpenSBI (include/sbi/fw_dynamic.h). */
const dynamic = { magic: 0x4942534fn, version: 2n, modeS: 1n } as const;

export interface RiscvVirtOptions extends BoardOptions {
  readonly model: RiscvModel;
  /** The kernel is a program for the bare machine: it starts in M-mode, where RAM begins, with initrd and command line in the device tree. */
  readonly bare?: boolean | undefined;
  /** The interrupt controller: a PLIC unless given. */
  readonly aia?: AiaKind | undefined;
  /**
   * The image starts in M-mode at the start of RAM: OpenSBI, or a program for the bare machine. What the first flash bank has starts so in
   * its place; what the second one has starts in S-mode, by firmware or by the board itself, and finds a kernel in fw_cfg.
   */
  readonly firmware?: FirmwareOptions | undefined;
}

export class RiscvVirt extends Board<RiscvCpu> {
  readonly serial: readonly (Uart16550 | undefined)[];
  readonly msi: MsiTarget;
  readonly firstSlot = 1;
  readonly pciPath = '/soc/pci@30000000';
  readonly isaIrqs = undefined;
  readonly info: BoardInfo = virtInfo(this);
  readonly aclint: Aclint;
  readonly interrupts: RiscvInterrupts;
  readonly fwCfg: FwCfg;
  readonly virtioMmio: VirtioSlots;
  readonly #gpex: Gpex;
  readonly #flash: FlashBanks;
  readonly #semihosting: Semihosting | undefined;
  readonly #options: RiscvVirtOptions;
  readonly #romHva: number;
  /** Where the hart starts, and with what, where no firmware does. */
  #start: { readonly pc: number; readonly treeGpa: number } = { pc: map.rom.gpa, treeGpa: 0 };

  constructor(host: BoardHost, options: RiscvVirtOptions) {
    super(host, options);
    this.#options = options;
    const trace = options.trace ? new RiscvTrace(options.trace) : undefined;
    const count = options.cpus ?? 1;
    const cpus = Array.from({ length: count }, (_, id) => this.#makeCpu(id, count, trace));
    this.startEngine(cpus, {
      stateBytes: STATE_BYTES,
      romBytes: ROM_BYTES + FLASH_BYTES,
      readTsc: () => 0n,
      trace,
    });
    trace?.attach(this);
    const { memory, clock } = this;
    const ram = { gpa: map.ram.gpa, bytes: options.ramBytes };
    this.#semihosting = options.semihosting && boardSemihosting(options.semihosting, this, ram);
    const ramHva = this.engine.ramStart;
    this.#romHva = ramHva + options.ramBytes;
    const line = (cpu: RiscvCpu, number: number): IrqLine => ({
      set: (level) => {
        cpu.setLine(number, level);
        this.#noteInterrupts(cpu);
      },
    });

    this.aclint = new Aclint({
      clock,
      harts: cpus.map((cpu) => ({ software: line(cpu, irq.MSI), timer: line(cpu, irq.MTI) })),
      timeChanged: () => {
        for (const { hart } of cpus) hart.announceTimer();
      },
    });
    this.interrupts = makeRiscvInterrupts({
      kind: options.aia ?? 'none',
      memory,
      outputs: cpus.map((cpu) => ({ machine: line(cpu, irq.MEI), supervisor: line(cpu, irq.SEI) })),
    });
    const { inputs } = this.interrupts;
    this.msi = this.interrupts.msi;
    const rtc = new GoldfishRtc({ clock, irq: inputs[map.rtc.irq] });
    const [backend] = options.serial;
    if (options.serial.slice(1).some((each) => each !== undefined))
      throw new VringError('options-invalid', 'The board virt has one serial port.');
    this.serial = [backend && new Uart16550({ name: 'serial0', clock, irq: inputs[map.uart.irq], backend })];
    this.fwCfg = new FwCfg({ dma: memory.dma });
    const pciLine = (n: number) => inputs[map.pciMemory.irq + n];
    memory.transaction(() => {
      memory.addRam({
        name: 'virt.rom',
        gpa: map.rom.gpa,
        size: map.rom.bytes,
        hva: this.#romHva + map.rom.gpa,
        readonly: true,
      });
      memory.addRam({ name: 'virt.ram', gpa: map.ram.gpa, size: options.ramBytes, hva: ramHva, readonly: false });
      memory.addWindow({ name: 'aclint', start: map.clint.gpa, size: ACLINT_BYTES, handler: this.aclint.registers });
      memory.addWindow({ name: 'rtc', start: map.rtc.gpa, size: GOLDFISH_RTC_BYTES, handler: rtc.registers });
      memory.addWindow({
        name: 'sifive-test',
        start: map.test.gpa,
        size: SIFIVE_TEST_BYTES,
        handler: sifiveTest({
          pass: () => this.finish({ why: 'poweroff' }),
          reset: () => this.finish({ why: 'reset' }),
          fail: (status) => this.exit(status),
        }),
      });
      if (this.serial[0]) wireUartMemory(memory, map.uart.gpa, this.serial[0]);
      wireFwCfgMemory(memory, this.fwCfg, map.fwCfg.gpa);
    });
    this.#flash = new FlashBanks({
      map: map.flash,
      flash: options.firmware?.flash,
      memory,
      buffer: this.buffer,
      hva: this.#romHva + ROM_BYTES,
      published: (hva, size) => this.accelerator.published(hva, size),
      log: (text) => host.log?.(text),
    });
    this.#gpex = new Gpex({
      memory,
      ports: this.ports,
      msi: this.msi,
      ecamGpa: map.pciEcam.gpa,
      lastBus: map.pciEcam.buses - 1,
      portsGpa: map.pciPorts.gpa,
      memoryRanges: [map.pciMemory, map.pciHighMemory],
      lines: [pciLine(0), pciLine(1), pciLine(2), pciLine(3)],
    });
    this.add(this.aclint, ...this.interrupts.devices, rtc, ...this.#flash.chips, this.#gpex, this.fwCfg);
    if (this.serial[0]) this.add(this.serial[0]);
    this.virtioMmio = new VirtioSlots({
      memory,
      legacy: options.legacyVirtioMmio ?? true,
      gpa: map.virtio.gpa,
      stride: map.virtio.stride,
      irqs: inputs.slice(map.virtio.irq, map.virtio.irq + map.virtio.slots),
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
    if (this.#secondBank !== undefined) fillFirmwareItems(this.fwCfg, options.firmware ?? {});
    addFiles(this.fwCfg, options.fwCfgFiles ?? []);
  }

  #makeCpu(id: number, count: number, trace: RiscvTrace | undefined): RiscvCpu {
    const supervisorTimer = this.clock.createTimer(`stimecmp${id}`, () => this.#noteInterrupts(cpu));
    const event = trace?.event;
    const board = this;
    const cpu: RiscvCpu = new RiscvCpu(
      {
        time: () => this.aclint.time(),
        cycles: () => BigInt(Math.floor(this.clock.nowNs())),
        setTimer: (at) => {
          const deadline = at === undefined || this.aclint.time() >= at ? Infinity : this.aclint.deadlineOf(at);
          if (deadline === Infinity) supervisorTimer.cancel();
          else supervisorTimer.arm(deadline);
        },
        breakpointCall: this.#options.semihosting && (() => this.#callHost(cpu)),
        environmentCall: this.#startsInM ? undefined : () => this.#serveSbi(cpu),
        get files() {
          return board.interrupts.files?.[id];
        },
        dataAccess: (address, bytes, write) => this.onDataAccess?.(address, bytes, write),
        event: event && ((code, value, interrupt) => event(cpu, code, value, interrupt)),
      },
      this.#model,
      { id, shared: count > 1 },
    );
    return cpu;
  }

  /** With an incoming MSI controller harts have the registers that go with it. */
  get #model(): RiscvModel {
    const { model, aia } = this.#options;
    return aia === 'aplic-imsic' ? { ...model, extensions: new Set([...model.extensions, ...aiaExtensions]) } : model;
  }

  /** Something is there for M-mode. */
  get #startsInM(): boolean {
    const { bare, firmware } = this.#options;
    return bare || (firmware?.image ?? firmware?.flash?.[0]) !== undefined;
  }

  /** Where what the second flash bank has begins, if anything does. */
  get #secondBank(): number | undefined {
    return this.#options.firmware?.flash?.[1] && map.flash.gpa + map.flash.bytes;
  }

  override readImages(complete: () => void): void {
    this.#flash.read(complete);
  }

  get pci(): PciRoot {
    return this.#gpex.root;
  }

  override enterAt(cpu: number, pc: number): void {
    if (!this.cpus[cpu]) throw new VringError('load', `There is no CPU ${cpu}.`);
    this.cpus[cpu].hart.pc = BigInt(pc);
  }

  powerOn(kernel: KernelImages | undefined): string {
    const { ramBytes, firmware, bare, aia = 'none' } = this.#options;
    const model = this.#model;
    const bank = this.#secondBank;
    const seed = new BigUint64Array(
      Array.from({ length: RNG_SEED_WORDS }, () => BigInt.asUintN(64, this.randomBits())),
    );
    const boot = loadRiscv(
      {
        firmware: bare ? kernel?.kernel : firmware?.image,
        flash: { first: firmware?.flash?.[0] && map.flash.gpa, second: bank },
        kernel: bank === undefined && !bare ? kernel : undefined,
        initrd: bare ? kernel?.initrd : undefined,
        tree: (initrd) =>
          this.flatten(
            virtTree({
              model,
              harts: this.cpus.length,
              aia,
              // What is M-mode's is not for who starts in S-mode.
              machineLevel: this.#startsInM,
              ramBytes,
              commandLine: bank === undefined ? kernel?.commandLine : undefined,
              initrd,
              rngSeed: new Uint8Array(seed.buffer),
              serial: this.serial[0] !== undefined,
            }),
          ),
      },
      {
        e820: [{ start: map.ram.gpa, size: ramBytes, type: e820Type.ram }],
        write: (gpa, bytes) => this.memory.dma.write(gpa, bytes),
        clear: (gpa, size) => this.clearRam(gpa, size),
      },
    );
    const startsInM = this.#startsInM;
    if (startsInM) this.#writeResetVector(boot.entry, boot.treeGpa, boot.kernelEntry);
    this.#start = startsInM ? { pc: map.rom.gpa, treeGpa: 0 } : { pc: boot.entry, treeGpa: boot.treeGpa };
    this.reset();
    return startsInM ? boot.description : `${boot.description}, built-in SBI`;
  }

  #writeResetVector(entry: number, treeGpa: number, kernelEntry: number): void {
    const hva = this.#romHva + map.rom.gpa;
    const view = new DataView(this.engine.memory.buffer, hva, map.rom.bytes);
    for (const [i, word] of resetVector.entries()) view.setUint32(4 * i, word, true);
    const numbers = [
      BigInt(entry),
      BigInt(treeGpa),
      dynamic.magic,
      dynamic.version,
      BigInt(kernelEntry),
      dynamic.modeS,
    ];
    // Options and the hart that boots: 0.
    for (const [i, value] of [...numbers, 0n, 0n].entries())
      view.setBigUint64(4 * resetVector.length + 8 * i, value, true);
    this.accelerator.published(hva, map.rom.bytes);
  }

  protected resetCpus(): void {
    const { pc, treeGpa } = this.#start;
    for (const cpu of this.cpus) cpu.reset(BigInt(pc));
    if (this.#startsInM) return;
    this.interrupts.delegate();
    this.cpu.enterSupervisor(BigInt(pc), 0n, BigInt(treeGpa));
    for (const cpu of this.cpus.slice(1)) cpu.stop();
  }

  #noteInterrupts(cpu: RiscvCpu, accelerator: Accelerator = this.accelerator): void {
    accelerator.setInterruptPending(cpu.hart.noteInterrupts() !== 0n, cpu.id);
  }

  #callHost(cpu: RiscvCpu): boolean {
    const word = (gpa: bigint) => {
      const bytes = this.memory.dma.view(Number(gpa), 4, false);
      return bytes && new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
    };
    return this.#semihosting !== undefined && callSemihosting(cpu, this.#semihosting, word);
  }

  #serveSbi(cpu: RiscvCpu): boolean {
    const { memory } = this;
    const [uart] = this.serial;
    serveSbi(cpu, {
      harts: this.cpus,
      called: (other) => this.#noteInterrupts(other),
      powerOff: () => this.finish({ why: 'poweroff' }),
      reset: () => this.finish({ why: 'reset' }),
      putByte: (byte) => this.#options.serial[0]?.write(byte),
      takeByte: () => (uart && (uart.read(LSR) & DATA_READY) !== 0 ? uart.read(RBR) : undefined),
      view: (gpa, length, forWrite) => memory.dma.view(Number(gpa), length, forWrite),
      published: (gpa, length) => memory.dma.publish(Number(gpa), length),
      translate: (other, gva) => other.translate(gva),
    });
    return true;
  }

  /** The board has no GPIO that a button could be on. Throws VringError `no-button`. */
  pressPowerButton(): void {
    throw new VringError('no-button', 'The board virt has no power button.');
  }

  /** Throws VringError `no-nmi`. */
  override raiseNmi(): void {
    throw new VringError('no-nmi', 'A RISC-V hart has no non-maskable interrupt.');
  }

  protected announceInterrupts(accelerator: Accelerator): void {
    for (const cpu of this.cpus) this.#noteInterrupts(cpu, accelerator);
  }

  setWatching(on: boolean): boolean {
    for (const cpu of this.cpus) cpu.setWatching(on);
    return true;
  }

  get debug(): DebugDescription {
    return riscvDebugRegisters(this.cpus);
  }
}
