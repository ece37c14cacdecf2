/**
 * The floppy disk controller of a PC, Intel's 82078 (an 82077AA with few more commands) in AT mode: registers, and the commands that
 * move no data; `FdcTransfer` does those that do. It owns no ports: `wireFdc` maps it.
 *
 * Deviations: seeks and rotations take no time; the line of interrupts does not depend on the DMA gate; reset takes the heads to track 0,
 * and implied seeks, which are on from power-on, outlive it, all as on QEMU. Media have no deleted marks.
 */
import type { Device, IrqLine } from '../../bus/index.js';
import type { StateArena, StateOf } from '../../schema/index.js';
import type { DmaChannel } from '../i8237/i8237.js';
import { bufferPart } from '../ide/buffer-part.js';
import { loadParts, type StatePart, saveParts, statePart } from '../pci/saved-parts.js';
import { config, dor, dsr, msr, operation, phase, place, st0, st3 } from './fdc-codes.js';
import { FdcState } from './fdc-state.js';
import { FdcTransfer } from './fdc-transfer.js';
import type { FloppyDrive } from './floppy-drive.js';
import { sectorBytes } from './floppy-format.js';

interface Command {
  readonly code: number;
  /** Bits of the code that say which command it is: the others are MT, MFM and SK. */
  readonly mask: number;
  readonly name: string;
  /** Bytes behind the code. */
  readonly parameters: number;
  run(fdc: Fdc, fifo: Uint8Array): void;
}

const invalid: Command = {
  code: 0,
  mask: 0,
  name: 'INVALID',
  parameters: 0,
  run: (fdc) => fdc.answer(st0.invalid),
};

const transfer =
  (kind: number, options: { readonly deleted?: boolean; readonly track?: boolean } = {}) =>
  (fdc: Fdc) =>
    fdc.transfer.begin(kind, options);

const commands: readonly Command[] = [
  { code: 0x02, mask: 0x9f, name: 'READ TRACK', parameters: 8, run: transfer(operation.read, { track: true }) },
  { code: 0x03, mask: 0xff, name: 'SPECIFY', parameters: 2, run: (fdc, fifo) => fdc.specify(fifo) },
  { code: 0x04, mask: 0xff, name: 'SENSE DRIVE STATUS', parameters: 1, run: (fdc, fifo) => fdc.senseDrive(fifo[1]!) },
  { code: 0x05, mask: 0x3f, name: 'WRITE DATA', parameters: 8, run: transfer(operation.write) },
  { code: 0x06, mask: 0x1f, name: 'READ DATA', parameters: 8, run: transfer(operation.read) },
  { code: 0x07, mask: 0xff, name: 'RECALIBRATE', parameters: 1, run: (fdc, fifo) => fdc.seek(fifo[1]! & 3, 0) },
  { code: 0x08, mask: 0xff, name: 'SENSE INTERRUPT STATUS', parameters: 0, run: (fdc) => fdc.senseInterrupt() },
  { code: 0x09, mask: 0x3f, name: 'WRITE DELETED DATA', parameters: 8, run: transfer(operation.write) },
  { code: 0x0a, mask: 0xbf, name: 'READ ID', parameters: 1, run: (fdc) => fdc.transfer.readId() },
  {
    code: 0x0c,
    mask: 0x1f,
    name: 'READ DELETED DATA',
    parameters: 8,
    run: transfer(operation.read, { deleted: true }),
  },
  { code: 0x0d, mask: 0xbf, name: 'FORMAT TRACK', parameters: 5, run: (fdc) => fdc.transfer.beginFormat() },
  { code: 0x0e, mask: 0xff, name: 'DUMPREG', parameters: 0, run: (fdc) => fdc.dumpRegisters() },
  { code: 0x0f, mask: 0xff, name: 'SEEK', parameters: 2, run: (fdc, fifo) => fdc.seek(fifo[1]! & 3, fifo[2]!) },
  { code: 0x10, mask: 0xff, name: 'VERSION', parameters: 0, run: (fdc) => fdc.answer(0x90) },
  { code: 0x11, mask: 0x1f, name: 'SCAN EQUAL', parameters: 8, run: transfer(operation.scanEqual) },
  {
    code: 0x12,
    mask: 0xff,
    name: 'PERPENDICULAR MODE',
    parameters: 1,
    run: (fdc, fifo) => fdc.setPerpendicular(fifo[1]!),
  },
  { code: 0x13, mask: 0xff, name: 'CONFIGURE', parameters: 3, run: (fdc, fifo) => fdc.configure(fifo) },
  { code: 0x14, mask: 0x7f, name: 'LOCK', parameters: 0, run: (fdc, fifo) => fdc.lock((fifo[0]! & 0x80) !== 0) },
  { code: 0x16, mask: 0x1f, name: 'VERIFY', parameters: 8, run: transfer(operation.verify) },
  { code: 0x17, mask: 0xff, name: 'POWERDOWN MODE', parameters: 1, run: (fdc, fifo) => fdc.setPowerMode(fifo[1]!) },
  { code: 0x18, mask: 0xff, name: 'PART ID', parameters: 0, run: (fdc) => fdc.answer(0x41) },
  { code: 0x19, mask: 0x1f, name: 'SCAN LOW OR EQUAL', parameters: 8, run: transfer(operation.scanLow) },
  { code: 0x1d, mask: 0x1f, name: 'SCAN HIGH OR EQUAL', parameters: 8, run: transfer(operation.scanHigh) },
  { code: 0x2e, mask: 0xff, name: 'SAVE', parameters: 0, run: (fdc) => fdc.saveRegisters() },
  { code: 0x33, mask: 0xff, name: 'OPTION', parameters: 1, run: (fdc) => fdc.toCommandPhase() },
  { code: 0x4e, mask: 0xff, name: 'RESTORE', parameters: 16, run: (fdc, fifo) => fdc.restoreRegisters(fifo) },
  { code: 0x8e, mask: 0xff, name: 'DRIVE SPECIFICATION', parameters: 5, run: (fdc) => fdc.toCommandPhase() },
  { code: 0x8f, mask: 0xff, name: 'RELATIVE SEEK OUT', parameters: 2, run: (fdc, fifo) => fdc.seekBy(fifo, -1) },
  { code: 0xcf, mask: 0xff, name: 'RELATIVE SEEK IN', parameters: 2, run: (fdc, fifo) => fdc.seekBy(fifo, 1) },
];
/** By the code's byte; those that are told by fewer bits come last. */
const commandTable: readonly Command[] = Array.from({ length: 256 }, (_, code) => {
  const fits = commands.filter((each) => (code & each.mask) === each.code);
  return fits.toSorted((a, b) => b.mask - a.mask)[0] ?? invalid;
});

export interface FdcOptions {
  /** Interrupt 6. */
  readonly irq: IrqLine;
  /** Channel 2; `opened` is what it is to call. */
  channel(opened: () => void): DmaChannel;
  /** Drives A and B. */
  readonly drives: readonly (FloppyDrive | undefined)[];
  readonly arena?: StateArena | undefined;
}

export class Fdc implements Device {
  readonly name = 'floppy-controller';
  readonly state: StateOf<typeof FdcState>;
  readonly transfer: FdcTransfer;
  readonly #irq: IrqLine;
  readonly #drives: readonly (FloppyDrive | undefined)[];
  readonly #parts: readonly StatePart[];

  constructor(options: FdcOptions) {
    this.#irq = options.irq;
    this.#drives = options.drives;
    this.state = FdcState.allocate(options.arena);
    const buffers = options.drives.map((drive) => drive?.backend.allocate(sectorBytes));
    for (const [i, drive] of options.drives.entries()) if (drive) drive.state = this.state.drives[i]!;
    this.transfer = new FdcTransfer({
      fdc: this,
      drives: options.drives,
      buffers,
      channel: options.channel(() => this.transfer.pump()),
    });
    this.#parts = [
      statePart(FdcState, this.state),
      ...buffers.filter((buffer) => buffer !== undefined).map((buffer) => bufferPart(buffer, () => sectorBytes)),
    ];
  }

  reset(): void {
    this.transfer.abandon();
    FdcState.reset(this.state);
    this.drive();
  }
  save(): Uint8Array {
    return saveParts(this.#parts);
  }
  load(saved: Uint8Array): void {
    loadParts(this.#parts, saved, this.name);
    this.transfer.restored();
    this.drive();
  }

  // ---- the interrupt line

  drive(): void {
    const { state } = this;
    const asksForBytes = !state.dma && (state.phase === phase.dataIn || state.phase === phase.dataOut);
    this.#irq.set(state.interrupt || state.seekEnded !== 0 || state.resetSense !== 0 || asksForBytes);
  }

  // ---- registers

  /** `at`: port less 3F0h. */
  read(at: number): number {
    const { state } = this;
    switch (at) {
      case place.statusA:
        return (
          (state.interrupt || state.seekEnded !== 0 || state.resetSense !== 0 ? 0x80 : 0) | (this.#drives[1] ? 0 : 0x40)
        );
      case place.statusB: {
        const motors = (state.dor >> 4) & 3;
        return 0xc0 | ((state.dor & 1) !== 0 ? 0x20 : 0) | motors;
      }
      case place.output:
        return state.dor;
      case place.tape:
        return state.tape;
      case place.main:
        return this.#mainStatus();
      case place.fifo:
        return this.#readFifo();
      case place.input:
        return this.#changeLine ? 0x80 : 0;
      default:
        return 0xff;
    }
  }

  write(at: number, value: number): void {
    const { state } = this;
    const isReset = (state.dor & dor.notReset) === 0;
    switch (at) {
      case place.output:
        this.#writeOutput(value);
        break;
      case place.tape:
        if (!isReset) state.tape = value & 7;
        break;
      case place.main:
        if (isReset) break;
        state.dsr = value & ~dsr.reset;
        if ((value & (dsr.reset | dsr.powerDown)) !== 0) this.#softReset();
        break;
      case place.fifo:
        if (!isReset) this.#writeFifo(value);
        break;
      case place.input:
        if (!isReset) state.dsr = (state.dsr & ~dsr.rate) | (value & dsr.rate);
        break;
    }
  }

  #writeOutput(value: number): void {
    const { state } = this;
    const before = state.dor;
    state.dor = value;
    if ((value & dor.notReset) === 0) this.transfer.abandon();
    else if ((before & dor.notReset) === 0) {
      state.dsr &= ~dsr.powerDown;
      this.#softReset();
    }
  }

  /** Registers of the output register's kind stay; the chip answers four times to SENSE INTERRUPT STATUS then. */
  #softReset(): void {
    const { state } = this;
    this.transfer.abandon();
    state.config = (state.locked ? state.config & ~config.poll : config.noFifo) | (state.config & config.impliedSeek);
    if (!state.locked) state.precompensation = 0;
    state.perpendicular &= 0x3c;
    for (const each of state.drives) each.cylinder = 0;
    state.interrupt = false;
    state.seekEnded = 0;
    state.seekFailed = 0;
    state.resetSense = 4;
    this.toCommandPhase();
  }

  /** The drive that the output register selects has its motor on, and its medium was changed. */
  get #changeLine(): boolean {
    const drive = this.#drives[this.state.dor & dor.select];
    return drive?.state.changed ?? false;
  }

  #mainStatus(): number {
    const { state } = this;
    if ((state.dor & dor.notReset) === 0) return 0;
    switch (state.phase) {
      case phase.command:
        return msr.ready | (state.at > 0 ? msr.busy : 0);
      case phase.result:
        return msr.ready | msr.toHost | msr.busy;
      case phase.dataIn:
        return msr.busy | (state.dma ? 0 : msr.ready | msr.toHost | msr.nonDma);
      case phase.dataOut:
        return msr.busy | (state.dma ? 0 : msr.ready | msr.nonDma);
      default:
        return msr.busy | (state.dma ? 0 : msr.nonDma);
    }
  }

  #readFifo(): number {
    const { state } = this;
    if (state.phase === phase.dataIn && !state.dma) return this.transfer.takeByte();
    if (state.phase !== phase.result) return 0;
    const value = state.fifo[state.at++]!;
    state.interrupt = false;
    if (state.at >= state.length) this.toCommandPhase();
    else this.drive();
    return value;
  }

  #writeFifo(value: number): void {
    const { state } = this;
    if (state.phase === phase.dataOut && !state.dma) {
      this.transfer.giveByte(value);
      return;
    }
    if (state.phase !== phase.command) return;
    if (state.at === 0) state.length = 1 + commandTable[value]!.parameters;
    state.fifo[state.at++] = value;
    if (state.at < state.length) return;
    state.at = 0;
    state.interrupt = false;
    commandTable[state.fifo[0]!]!.run(this, state.fifo);
    this.drive();
  }

  // ---- how commands end

  toCommandPhase(): void {
    this.state.phase = phase.command;
    this.state.at = 0;
    this.drive();
  }
  /** A result without an interrupt. */
  answer(...result: readonly number[]): void {
    const { state } = this;
    state.fifo.set(result);
    state.at = 0;
    state.length = result.length;
    state.phase = phase.result;
  }
  /** The result of a transfer, which interrupts. */
  finish(...result: readonly number[]): void {
    this.answer(...result);
    this.state.interrupt = true;
    this.drive();
  }

  // ---- commands without data

  /** A drive, where there is one. */
  driveAt(number: number): FloppyDrive | undefined {
    return this.#drives[number];
  }

  seek(number: number, cylinder: number): void {
    const drive = this.#drives[number];
    drive?.seek(cylinder);
    this.#seekEnded(number, drive === undefined && cylinder === 0);
  }
  seekBy(fifo: Uint8Array, direction: 1 | -1): void {
    const number = fifo[1]! & 3;
    const drive = this.#drives[number];
    drive?.seek(drive.state.cylinder + direction * fifo[2]!);
    this.#seekEnded(number, false);
  }
  #seekEnded(number: number, failed: boolean): void {
    const { state } = this;
    const bit = 1 << number;
    state.seekEnded |= bit;
    state.seekFailed = failed ? state.seekFailed | bit : state.seekFailed & ~bit;
    this.toCommandPhase();
  }

  senseInterrupt(): void {
    const { state } = this;
    if (state.resetSense > 0) {
      const number = 4 - state.resetSense--;
      this.answer(st0.polled | number, state.drives[number]!.cylinder);
      return;
    }
    if (state.seekEnded === 0) {
      this.answer(st0.invalid);
      return;
    }
    const number = 31 - Math.clz32(state.seekEnded & -state.seekEnded);
    const bit = 1 << number;
    const failed = (state.seekFailed & bit) !== 0 ? st0.abnormal | st0.equipment : 0;
    state.seekEnded &= ~bit;
    state.seekFailed &= ~bit;
    this.answer(st0.seekEnd | failed | number, state.drives[number]!.cylinder);
  }

  senseDrive(select: number): void {
    const drive = this.#drives[select & 3];
    const track0 = !drive || drive.atTrack0 ? st3.track0 : 0;
    const protectedBit = drive?.isProtected ? st3.writeProtected : 0;
    this.answer(st3.always | track0 | protectedBit | (select & 7));
  }

  specify(fifo: Uint8Array): void {
    this.state.stepRate = fifo[1]!;
    this.state.headLoad = fifo[2]!;
    this.toCommandPhase();
  }
  configure(fifo: Uint8Array): void {
    this.state.config = fifo[2]! & 0x7f;
    this.state.precompensation = fifo[3]!;
    this.toCommandPhase();
  }
  /** Bits of drives are changed only with the overwrite bit. */
  setPerpendicular(value: number): void {
    const { state } = this;
    state.perpendicular = (value & 0x80) !== 0 ? value & 0x3f : (state.perpendicular & 0x3c) | (value & 3);
    this.toCommandPhase();
  }
  lock(on: boolean): void {
    this.state.locked = on;
    this.answer(on ? 0x10 : 0);
  }
  setPowerMode(value: number): void {
    this.state.powerMode = value;
    this.answer(value);
  }

  get #lockAndPerpendicular(): number {
    return (this.state.locked ? 0x80 : 0) | this.state.perpendicular;
  }
  dumpRegisters(): void {
    const { state } = this;
    this.answer(
      ...state.drives.map(({ cylinder }) => cylinder),
      state.stepRate,
      state.headLoad,
      state.lastSector,
      this.#lockAndPerpendicular,
      state.config,
      state.precompensation,
    );
  }
  saveRegisters(): void {
    const { state } = this;
    const cylinders = state.drives.map(({ cylinder }) => cylinder);
    const kept = [state.stepRate, state.headLoad, state.lastSector, this.#lockAndPerpendicular];
    this.answer(
      state.dsr & 0x7f,
      0,
      ...cylinders,
      ...kept,
      state.config,
      state.precompensation,
      state.powerMode,
      0,
      0,
      0,
    );
  }
  restoreRegisters(fifo: Uint8Array): void {
    const { state } = this;
    state.stepRate = fifo[7]!;
    state.headLoad = fifo[8]!;
    state.lastSector = fifo[9]!;
    state.locked = (fifo[10]! & 0x80) !== 0;
    state.perpendicular = fifo[10]! & 0x3f;
    state.config = fifo[11]! & 0x7f;
    state.precompensation = fifo[12]!;
    state.powerMode = fifo[13]!;
    this.toCommandPhase();
  }
}
