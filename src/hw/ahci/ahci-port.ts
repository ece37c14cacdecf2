/**
 * A port of an AHCI host bus adapter with the drive on it (AHCI 1.3.1, chapters 3.3, 5 and 6): fetches commands from the guest's list,
 * moves their data, and stores what the drive answers.
 *
 * A command's slot, or its tag, is all that is kept of it: the list and the tables stay the port's until it is done, so that what waits
 * for the back end when the state is saved is fetched again when it is loaded.
 * Deviations: a command that is not queued waits until the queued ones are done, where a drive would fail them all; data that go by
 * PIO move at once, with one PIO setup FIS, that of the last block; port multipliers and low power states are absent.
 */
import { type DmaSpace, RegisterBank } from '../../bus/index.js';
import type { StateArena, StateOf } from '../../schema/index.js';
import { AtaDisk, type AtaDrive, diagnoseDrive, driveCommand, fitsMedium, writeMedium } from '../ata/index.js';
import { type AtaRegisters, ataError, ataStatus } from '../ata/registers.js';
import { type BlockFailure, transfer } from '../disk/index.js';
import { type StatePart, statePart } from '../pci/saved-parts.js';
import { address, type Command, gather, readCommand, writeByteCount } from './command-list.js';
import { CommandRun } from './command-run.js';
import { deviceBitsFis, fisFlag, fisPlace, fisType, loadRegisters, pioSetupFis, registerFis } from './fis.js';
import { AhciPortState, commandBit, noSlot, portInterrupt, portRegisters, slotCount } from './registers.js';

const sectorBytes = 512;
const rawBufferBytes = 0x10000;
const portBytes = 0x80;
const good = ataStatus.ready | ataStatus.seek;
const bad = ataStatus.ready | ataStatus.error;
const queuedRead = 0x60;
const queuedWrite = 0x61;
/** The control register of a FIS that carries no command. */
const controlAt = 15;
const softResetBit = 0x04;
const forceUnitAccess = 0x80;

export interface AhciPortHost {
  readonly dma: DmaSpace;
  /** The PCI function may master the bus. */
  busMasterEnabled(): boolean;
  /** Interrupt status or enable bits have changed. `event`: something new has happened. */
  interruptChanged(event: boolean): void;
}

const isQueued = ({ fis }: Command): boolean =>
  fis[0] === fisType.hostToDevice &&
  (fis[1]! & fisFlag.command) !== 0 &&
  (fis[2] === queuedRead || fis[2] === queuedWrite);

export class AhciPort {
  readonly drive: AtaDrive | undefined;
  readonly state: StateOf<typeof AhciPortState>;
  readonly bank: RegisterBank<AhciPort>;
  readonly parts: readonly StatePart[];
  readonly #host: AhciPortHost;
  /** Raw blocks of a CD are made here. */
  readonly #buffer: Uint8Array;
  /** Counts what was begun: the end of anything older is nobody's. */
  #generation = 0;
  /** Requests that the back end has. */
  #underWay = 0;
  #running = false;

  constructor(host: AhciPortHost, drive: AtaDrive | undefined, arena?: StateArena) {
    this.#host = host;
    this.drive = drive;
    this.state = AhciPortState.allocate(arena);
    this.bank = new RegisterBank<AhciPort>(portBytes, portRegisters, this, this.state);
    this.#buffer = drive?.isPacket ? drive.backend.allocate(rawBufferBytes) : new Uint8Array(0);
    this.parts = [statePart(AhciPortState, this.state), ...(drive?.parts ?? [])];
  }

  /** Power-on. */
  powerOn(): void {
    this.#abandon();
    AhciPortState.reset(this.state);
    this.drive?.reset();
    this.#resetDrive();
  }

  /** The adapter is reset: the addresses of list and FISes stay. */
  reset(): void {
    this.#abandon();
    const { PxCLB, PxCLBU, PxFB, PxFBU } = this.state;
    AhciPortState.reset(this.state);
    Object.assign(this.state, { PxCLB, PxCLBU, PxFB, PxFBU });
    this.#resetDrive();
  }

  /** After loading: what was under way begins anew. */
  restored(): void {
    this.#generation++;
    const { state } = this;
    const { slot, queued } = state;
    state.slot = noSlot;
    state.queued = 0;
    if (!this.drive) return;
    const fetch = (at: number) => readCommand(this.dma, this.#listGpa, at);
    if (slot !== noSlot) this.#issue(slot, fetch(slot));
    for (let tag = 0; tag < slotCount && !state.halted; tag++) {
      if ((queued & (1 << tag)) === 0) continue;
      const command = fetch(tag);
      if (command && isQueued(command)) this.#beginQueued(tag, command);
      else this.fatal(portInterrupt.hostBusFatal);
    }
    this.run();
  }

  /** Nobody waits for what is under way. */
  #abandon(): void {
    if (this.#underWay > 0) this.drive?.backend.drain();
    this.#generation++;
    this.state.slot = noSlot;
    this.state.queued = 0;
  }

  // --- registers

  interruptChanged(): void {
    this.#host.interruptChanged(false);
  }

  commandWritten(before: number): void {
    const { state } = this;
    const rises = (bit: number) => (state.PxCMD & ~before & bit) !== 0;
    if ((state.PxCMD & commandBit.override) !== 0) {
      state.PxCMD &= ~commandBit.override;
      state.PxTFD &= ~(ataStatus.busy | ataStatus.dataRequest);
    }
    const follow = (bit: number, running: number) => {
      state.PxCMD = (state.PxCMD & bit) === 0 ? state.PxCMD & ~running : state.PxCMD | running;
    };
    if ((before & ~state.PxCMD & commandBit.start) !== 0) {
      this.#abandon();
      state.PxCI = 0;
      state.PxSACT = 0;
      state.halted = false;
    }
    follow(commandBit.start, commandBit.listRunning);
    follow(commandBit.fisReceive, commandBit.fisRunning);
    state.PxCMD >>>= 0;
    if (rises(commandBit.fisReceive)) this.#sendSignature();
    this.run();
  }

  /** DET of PxSCTL: 1 holds the link in reset; the drive says what it is when that ends (COMRESET). */
  linkWritten(before: number): void {
    const detection = (value: number) => value & 0x0f;
    if (detection(before) !== 1 || detection(this.state.PxSCTL) !== 0) return;
    this.#abandon();
    this.#resetDrive();
  }

  activeWritten(value: number): void {
    if ((this.state.PxCMD & commandBit.start) !== 0) this.state.PxSACT = (this.state.PxSACT | value) >>> 0;
  }

  issueWritten(value: number): void {
    if ((this.state.PxCMD & commandBit.start) === 0) return;
    this.state.PxCI = (this.state.PxCI | value) >>> 0;
    this.run();
  }

  #raise(bits: number): void {
    this.state.PxIS = (this.state.PxIS | bits) >>> 0;
    this.#host.interruptChanged(true);
  }

  // --- resets

  /** The drive starts again, and is about to tell its signature. */
  #resetDrive(): void {
    const { state, drive } = this;
    state.PxSERR = 0;
    state.PxSACT = 0;
    state.PxCI = 0;
    state.PxTFD = 0x7f;
    state.PxSIG = 0xffff_ffff;
    state.halted = false;
    state.softReset = false;
    state.signatureSent = false;
    if (!drive) return;
    diagnoseDrive(drive);
    drive.registers.status = good;
    this.#sendSignature();
  }

  #sendSignature(): void {
    const { state, drive } = this;
    if (!drive || state.signatureSent || (state.PxCMD & commandBit.fisRunning) === 0) return;
    state.signatureSent = true;
    const r = drive.registers;
    state.PxSIG = ((r.lbaHigh << 24) | (r.lbaMid << 16) | (r.lbaLow << 8) | r.count) >>> 0;
    this.#answer(true);
  }

  // --- what the drive sends

  get dma(): DmaSpace {
    return this.#host.dma;
  }

  get #listGpa(): number {
    return address(this.state.PxCLB, this.state.PxCLBU % 2 ** 20);
  }

  get #registers(): AtaRegisters {
    return (this.drive as AtaDrive).registers;
  }

  #receive(at: number, fis: Uint8Array): void {
    const { state } = this;
    if ((state.PxCMD & commandBit.fisRunning) === 0) return;
    this.dma.write(address(state.PxFB, state.PxFBU % 2 ** 20) + at, fis);
  }

  /** A register FIS with the drive's registers. */
  #answer(interrupt: boolean): void {
    const { state } = this;
    const r = this.#registers;
    this.#receive(fisPlace.register, registerFis(r, interrupt));
    state.PxTFD = (r.error << 8) | r.status;
    if (!interrupt) return;
    const failed = (r.status & ataStatus.error) !== 0;
    this.#raise(portInterrupt.register | (failed ? portInterrupt.taskFileError : 0));
  }

  /** A PIO setup FIS: so many bytes are moved. */
  pioSetup(bytes: number, interrupt: boolean): void {
    this.#receive(fisPlace.pioSetup, pioSetupFis(this.#registers, interrupt, bytes));
    if (interrupt) this.#raise(portInterrupt.pioSetup);
  }

  // --- commands

  /** Fetches what was issued, as far as the drive takes it. */
  run(): void {
    if (this.#running) return;
    this.#running = true;
    while (this.#next()) {}
    this.#running = false;
  }

  /** False: there is nothing that could be fetched now. */
  #next(): boolean {
    const { state, drive } = this;
    const runs = (state.PxCMD & commandBit.listRunning) !== 0 && !state.halted && this.#host.busMasterEnabled();
    if (!drive || !runs || state.PxCI === 0 || state.slot !== noSlot) return false;
    const slot = 31 - Math.clz32(state.PxCI & -state.PxCI);
    const command = readCommand(this.dma, this.#listGpa, slot);
    if (command && !isQueued(command) && state.queued !== 0) return false;
    this.#issue(slot, command);
    return true;
  }

  /** The adapter cannot go on: the guest has to start the port anew. */
  fatal(interrupt: number): void {
    this.state.slot = noSlot;
    this.state.queued = 0;
    this.state.halted = true;
    this.#generation++;
    this.#raise(interrupt);
  }

  /** A descriptor of the command asked for an interrupt. */
  descriptorDone(): void {
    this.#raise(portInterrupt.descriptor);
  }

  /** Runs a request and hears of its end, unless something has come between. */
  hear(
    work: (done: (failure?: BlockFailure, doneBytes?: number) => void) => void,
    end: (failure: BlockFailure | undefined, doneBytes: number) => void,
  ): void {
    const generation = this.#generation;
    this.#underWay++;
    work((failure, doneBytes = 0) => {
      this.#underWay--;
      if (this.#generation !== generation) return;
      end(failure, doneBytes);
      this.run();
    });
  }

  #clearIssued(slot: number): void {
    this.state.PxCI = (this.state.PxCI & ~(1 << slot)) >>> 0;
  }

  #issue(slot: number, command: Command | undefined): void {
    const { state } = this;
    const drive = this.drive as AtaDrive;
    if (!command) {
      this.fatal(portInterrupt.hostBusFatal);
      return;
    }
    const { fis } = command;
    const isCommand = (fis[1]! & fisFlag.command) !== 0;
    const unfit = fis[0] !== fisType.hostToDevice || (fis[1]! & (fisFlag.port | fisFlag.reserved)) !== 0;
    if (unfit || (isCommand && state.softReset)) {
      // Nothing answers.
      this.#clearIssued(slot);
      return;
    }
    if (!isCommand) {
      this.#control(slot, (fis[controlAt]! & softResetBit) !== 0);
      return;
    }
    if (isQueued(command)) {
      this.#accept(slot);
      this.#beginQueued(slot, command);
      return;
    }
    loadRegisters(drive.registers, fis);
    drive.registers.error = 0;
    drive.registers.status = ataStatus.busy | good;
    state.slot = slot;
    state.PxTFD = drive.registers.status;
    writeByteCount(this.dma, command, 0);
    if (fis[2] === driveCommand.diagnostic) {
      diagnoseDrive(drive);
      this.#end(true);
    } else new CommandRun(this, drive, command, this.#buffer).carryOut(drive.command(fis[2]!));
  }

  /** A FIS that carries device control: the drive's software reset. */
  #control(slot: number, reset: boolean): void {
    this.#clearIssued(slot);
    if (reset) this.state.softReset = true;
    else if (this.state.softReset) {
      this.#abandon();
      this.#resetDrive();
    }
  }

  /** The command that the drive is busy with ends, with what is in the drive's registers. */
  #end(interrupt: boolean): void {
    const { state } = this;
    const { slot } = state;
    state.slot = noSlot;
    if ((this.#registers.status & ataStatus.error) !== 0) state.halted = true;
    else this.#clearIssued(slot);
    this.#answer(interrupt);
  }

  succeed(): void {
    this.#registers.status = good;
    this.#registers.error = 0;
    this.#end(true);
  }

  fail(error: number): void {
    this.#registers.status = bad;
    this.#registers.error = error;
    this.#end(true);
  }

  /** The drive has reset itself, and says what it is. */
  silent(): void {
    this.#end(false);
  }

  // --- queued commands

  /** The drive takes the command, and may be given others. */
  #accept(slot: number): void {
    const r = this.#registers;
    r.status = good;
    r.error = 0;
    this.#clearIssued(slot);
    this.#answer(false);
  }

  #beginQueued(slot: number, command: Command): void {
    const { fis } = command;
    const drive = this.drive as AtaDrive;
    const write = fis[2] === queuedWrite;
    const byte = (i: number) => fis[i]!;
    const sectors = byte(3) | (byte(11) << 8) || 0x10000;
    const low = byte(4) | (byte(5) << 8) | (byte(6) << 16);
    const first = low + (byte(8) | (byte(9) << 8) | (byte(10) << 16)) * 2 ** 24;
    const queues = drive instanceof AtaDisk && drive.queueDepth > 0 && byte(12) >> 3 === slot;
    const offset = queues ? drive.queued(write, first, sectors) : undefined;
    if (offset === undefined) {
      this.#failQueued(slot, first);
      return;
    }
    const bytes = sectors * sectorBytes;
    const { list, interrupts, fault } = gather(this.dma, command, !write, bytes);
    if (fault || list.length < bytes) {
      this.fatal(fault ? portInterrupt.hostBusFatal : portInterrupt.overflow);
      return;
    }
    this.state.queued = (this.state.queued | (1 << slot)) >>> 0;
    const durable = !drive.registers.writeCache || (byte(7) & forceUnitAccess) !== 0;
    this.hear(
      (done) => {
        if (!fitsMedium(drive, offset, bytes)) done('io');
        else if (write) writeMedium(drive, offset, list.pieces, bytes, done, durable);
        else transfer(drive.backend, false, offset, list.pieces, bytes, done);
      },
      (failure) => {
        if (!write) list.publish();
        this.state.queued = (this.state.queued & ~(1 << slot)) >>> 0;
        if (failure !== undefined) this.#failQueued(slot, first);
        else this.#queuedDone(slot, interrupts);
      },
    );
  }

  #queuedDone(tag: number, interrupts: boolean): void {
    const { state } = this;
    this.#receive(fisPlace.deviceBits, deviceBitsFis(good, 0, (1 << tag) >>> 0));
    state.PxTFD = good;
    state.PxSACT = (state.PxSACT & ~(1 << tag)) >>> 0;
    this.#raise(portInterrupt.deviceBits | (interrupts ? portInterrupt.descriptor : 0));
  }

  /** One has failed: the drive gives up all others, and its log tells which it was. */
  #failQueued(tag: number, firstSector: number): void {
    const { state, drive } = this;
    if (drive instanceof AtaDisk && !drive.registers.queueFailed) drive.queueFailed(tag, firstSector);
    const r = this.#registers;
    r.status = bad;
    r.error = ataError.aborted;
    this.#receive(fisPlace.deviceBits, deviceBitsFis(r.status, r.error, 0));
    state.PxTFD = (r.error << 8) | r.status;
    this.fatal(portInterrupt.taskFileError);
  }
}
