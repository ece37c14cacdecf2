/**
 * An IDE channel: the command block of up to two drives, their data register, and how commands move data, by PIO or by the bus
 * master (ATA/ATAPI-6, clause 9; SFF-8038i). It owns no ports: `PiixIde` wires it.
 *
 * A command under way is in the state as a phase and what is left of it, so that what waits for the back end when the state is
 * saved is begun anew when it is loaded. Deviations: both drives share one device control register, as on QEMU; a drive that is busy
 * ignores all writes but to that register; a bus master that is stopped in mid-transfer, and a software reset, wait for the back end.
 */
import type { DmaSpace, IrqLine } from '../../bus/index.js';
import type { StateArena, StateOf } from '../../schema/index.js';
import {
  AtaDisk,
  type AtaDrive,
  type AtaWork,
  cdBlockBytes,
  diagnoseDrive,
  driveCommand,
  fitsMedium,
  flushMedium,
  packetBytes,
  rawBlockBytes,
  readRawBlocks,
  trimMedium,
  writeMedium,
} from '../ata/index.js';
import { rawBlocks } from '../ata/raw-blocks.js';
import { type AtaRegisters, ataError, ataStatus, deviceBit, place, reason } from '../ata/registers.js';
import { type BlockFailure, type ScatterList, transfer } from '../disk/index.js';
import { type StatePart, statePart } from '../pci/saved-parts.js';
import { bufferPart } from './buffer-part.js';
import { BusMasterState, busMasterCommand, busMasterStatus, gatherTable } from './bus-master.js';
import { bufferBytes, data, IdeChannelState, phase } from './ide-state.js';

const sectorBytes = 512;
const control = { disableInterrupt: 0x02, reset: 0x04, highOrder: 0x80 } as const;

export interface IdeChannelOptions {
  readonly name: string;
  readonly irq: IrqLine;
  readonly dma: DmaSpace;
  /** The PCI function may master the bus. */
  busMasterEnabled(): boolean;
  readonly drives: readonly (AtaDrive | undefined)[];
  readonly arena?: StateArena | undefined;
}

export class IdeChannel {
  readonly name: string;
  readonly state: StateOf<typeof IdeChannelState>;
  readonly busMaster: StateOf<typeof BusMasterState>;
  readonly drives: readonly (AtaDrive | undefined)[];
  readonly parts: readonly StatePart[];
  readonly #irq: IrqLine;
  readonly #dma: DmaSpace;
  readonly #busMasterEnabled: () => boolean;
  readonly #buffer: Uint8Array;
  /** Counts what was begun: the end of anything older is nobody's. */
  #generation = 0;

  constructor(options: IdeChannelOptions) {
    this.name = options.name;
    this.#irq = options.irq;
    this.#dma = options.dma;
    this.#busMasterEnabled = options.busMasterEnabled;
    this.drives = options.drives;
    this.state = IdeChannelState.allocate(options.arena);
    this.busMaster = BusMasterState.allocate(options.arena);
    const backend = options.drives.find((drive) => drive !== undefined)?.backend;
    this.#buffer = backend?.allocate(bufferBytes) ?? new Uint8Array(0);
    this.parts = [
      statePart(IdeChannelState, this.state),
      statePart(BusMasterState, this.busMaster),
      bufferPart(this.#buffer, () => Math.max(this.state.end, this.state.blockEnd)),
      ...options.drives.flatMap((drive) => drive?.parts ?? []),
    ];
  }

  get #isEmpty(): boolean {
    return this.drives[0] === undefined && this.drives[1] === undefined;
  }
  get #selected(): AtaDrive | undefined {
    return this.drives[this.state.unit];
  }
  get #active(): AtaDrive {
    return this.drives[this.state.active]!;
  }
  get #registers(): AtaRegisters {
    return this.#active.registers;
  }

  /** A request of the command under way has not ended. */
  get isBusy(): boolean {
    const at = this.state.phase;
    return at === phase.filling || at === phase.writing || at === phase.dmaActive || at === phase.flushing;
  }

  reset(): void {
    this.#abandon();
    IdeChannelState.reset(this.state);
    BusMasterState.reset(this.busMaster);
    for (const drive of this.drives) {
      drive?.reset();
      if (drive) this.#ready(drive);
    }
    this.#drive();
  }

  /** After loading: what was under way begins anew. */
  restored(): void {
    this.#generation++;
    const { state } = this;
    // A state that no channel reaches by itself is an idle one.
    if (state.phase !== phase.idle && !this.drives[state.active]) state.phase = phase.idle;
    if (state.blockEnd > this.#buffer.length || state.end > this.#buffer.length) state.phase = phase.idle;
    switch (state.phase) {
      case phase.filling:
        this.#fill();
        break;
      case phase.writing:
        this.#writeBlock();
        break;
      case phase.dmaActive:
        this.#startDma();
        break;
      case phase.flushing:
        this.#flush();
        break;
      case phase.dataIn:
      case phase.dataOut:
      case phase.packetOut:
        if (state.at >= state.blockEnd) state.phase = phase.idle;
    }
    this.#drive();
  }

  /** Nobody waits for what is under way. */
  #abandon(): void {
    if (this.isBusy) this.#active.backend.drain();
    this.#generation++;
    this.state.phase = phase.idle;
  }

  // --- the interrupt line

  #drive(): void {
    const level = this.state.interrupt && (this.state.control & control.disableInterrupt) === 0;
    if (level) this.busMaster.status |= busMasterStatus.interrupt;
    this.#irq.set(level);
  }
  #raise(): void {
    this.state.interrupt = true;
    this.#drive();
  }
  #lower(): void {
    this.state.interrupt = false;
    this.#irq.set(false);
  }

  // --- registers

  /** A register of the command block but for the data register. */
  readRegister(at: number): number {
    if (this.#isEmpty) return at === place.data ? 0xff : 0;
    const r = (this.#selected ?? this.drives[1 - this.state.unit])!.registers;
    const previous = (this.state.control & control.highOrder) !== 0;
    switch (at) {
      case place.error:
        if (!this.#selected) return 0;
        return previous ? r.previousFeature : r.error;
      case place.count:
        return previous ? r.previousCount : r.count;
      case place.lbaLow:
        return previous ? r.previousLbaLow : r.lbaLow;
      case place.lbaMid:
        return previous ? r.previousLbaMid : r.lbaMid;
      case place.lbaHigh:
        return previous ? r.previousLbaHigh : r.lbaHigh;
      case place.device:
        return (r.device & ~deviceBit.drive1) | (this.state.unit === 0 ? 0 : deviceBit.drive1);
      case place.status:
        this.#lower();
        return this.readAlternateStatus();
      default:
        return 0xff;
    }
  }

  readAlternateStatus(): number {
    return this.#selected?.registers.status ?? 0;
  }

  writeRegister(at: number, value: number): void {
    if (this.#isEmpty) {
      if (at === place.device) this.state.unit = (value >> 4) & 1;
      return;
    }
    if (at === place.status) {
      this.#begin(value);
      return;
    }
    if (this.isBusy) return;
    this.state.control &= ~control.highOrder;
    // Both drives hear every register.
    for (const drive of this.drives) {
      if (!drive) continue;
      const r = drive.registers;
      switch (at) {
        case place.error:
          r.previousFeature = r.feature;
          r.feature = value;
          break;
        case place.count:
          r.previousCount = r.count;
          r.count = value;
          break;
        case place.lbaLow:
          r.previousLbaLow = r.lbaLow;
          r.lbaLow = value;
          break;
        case place.lbaMid:
          r.previousLbaMid = r.lbaMid;
          r.lbaMid = value;
          break;
        case place.lbaHigh:
          r.previousLbaHigh = r.lbaHigh;
          r.lbaHigh = value;
          break;
        case place.device:
          r.device = value | deviceBit.always;
      }
    }
    if (at === place.device) this.state.unit = (value >> 4) & 1;
  }

  writeControl(value: number): void {
    const before = this.state.control;
    this.state.control = value;
    const rises = (value & ~before & control.reset) !== 0;
    const falls = (before & ~value & control.reset) !== 0;
    if (rises && !this.#isEmpty) {
      this.#abandon();
      this.busMaster.status &= ~busMasterStatus.active;
      this.state.interrupt = false;
      for (const drive of this.drives) if (drive) drive.registers.status = ataStatus.busy | ataStatus.seek;
    }
    if (falls && !this.#isEmpty) this.#diagnose();
    this.#drive();
  }

  /** After a software reset and EXECUTE DEVICE DIAGNOSTIC: all drives have passed, and say what they are. */
  #diagnose(): void {
    this.state.unit = 0;
    for (const drive of this.drives) {
      if (drive) diagnoseDrive(drive);
    }
  }

  #ready(drive: AtaDrive): void {
    drive.registers.status = ataStatus.ready | ataStatus.seek;
    drive.registers.error = 0;
  }

  // --- commands

  #begin(code: number): void {
    const drive = this.#selected;
    this.#lower();
    if (!drive) return;
    const r = drive.registers;
    const occupied = (r.status & (ataStatus.busy | ataStatus.dataRequest)) !== 0;
    if (code === driveCommand.deviceReset && drive.isPacket) {
      if (this.state.active === this.state.unit) this.#abandon();
    } else if (occupied) return;
    this.state.active = this.state.unit;
    this.state.command = code;
    this.state.phase = phase.idle;
    if (code === driveCommand.diagnostic) {
      this.#diagnose();
      this.#raise();
      return;
    }
    r.error = 0;
    this.#carryOut(drive.command(code));
  }

  #carryOut(work: AtaWork): void {
    const { state } = this;
    switch (work.kind) {
      case 'done':
        this.#succeed();
        return;
      case 'silent':
        return;
      case 'aborted':
        this.#fail(ataError.aborted);
        return;
      case 'flush':
        this.#flush();
        return;
      case 'bytes':
        this.#answer(work.bytes, work.bytes.length);
        return;
      case 'packet':
        state.packetDma = work.dma;
        state.data = data.none;
        this.#registers.count = reason.command;
        this.#offer(phase.packetOut, packetBytes);
        return;
      case 'trim':
        state.data = data.trim;
        state.write = true;
        state.left = work.sectors * sectorBytes;
        this.#awaitDma();
        return;
      case 'sectors':
        state.data = data.sectors;
        state.write = work.write;
        state.offset = work.offset;
        state.left = work.sectors * sectorBytes;
        state.block = work.blockSectors * sectorBytes;
        state.at = 0;
        state.end = 0;
        if (work.dma) this.#awaitDma();
        else if (work.write) this.#offer(phase.dataOut, Math.min(state.block, state.left));
        else this.#fill();
    }
  }

  #succeed(): void {
    this.state.phase = phase.idle;
    this.#ready(this.#active);
    this.#raise();
  }

  #fail(error: number): void {
    this.state.phase = phase.idle;
    const r = this.#registers;
    r.error = error;
    r.status = ataStatus.ready | ataStatus.error;
    this.#raise();
  }

  /** Runs a request and hears of its end, unless something has come between. */
  #hear(
    work: (done: (failure?: BlockFailure, doneBytes?: number) => void) => void,
    end: (failure: BlockFailure | undefined, doneBytes: number) => void,
  ): void {
    const generation = ++this.#generation;
    work((failure, doneBytes = 0) => {
      if (this.#generation === generation) end(failure, doneBytes);
    });
  }

  #busy(next: number): void {
    this.state.phase = next;
    this.#registers.status = ataStatus.busy | ataStatus.ready | ataStatus.seek;
  }

  #flush(): void {
    this.#busy(phase.flushing);
    const drive = this.#active;
    this.#hear(
      (done) => flushMedium(drive, done),
      (failure) => (failure === undefined ? this.#succeed() : this.#fail(ataError.aborted)),
    );
  }

  /** A block of so many bytes is the host's to move, from the start of the buffer. */
  #offer(next: number, bytes: number): void {
    const { state } = this;
    state.phase = next;
    state.at = 0;
    state.blockEnd = bytes;
    state.end = bytes;
    this.#registers.status = ataStatus.ready | ataStatus.seek | ataStatus.dataRequest;
  }

  // --- PIO from the drive

  /** Bytes that are there already, in blocks of so many. */
  #answer(bytes: Uint8Array, block: number): void {
    const { state } = this;
    state.data = data.answer;
    state.left = 0;
    state.block = block;
    this.#buffer.set(bytes);
    state.at = 0;
    state.end = bytes.length;
    this.#nextBlock();
  }

  /** The buffer takes what comes next from the medium: as much as it holds, one block alone after a failure of that. */
  #fill(most = bufferBytes): void {
    const { state } = this;
    const drive = this.#active;
    this.#busy(phase.filling);
    const raw = state.data === data.rawBlocks;
    const unit = state.data === data.sectors ? sectorBytes : cdBlockBytes;
    // `left` counts bytes of the medium.
    const room = raw ? Math.floor(bufferBytes / rawBlockBytes) * cdBlockBytes : bufferBytes;
    const bytes = Math.min(state.left, most, room);
    if (!fitsMedium(drive, state.offset, bytes)) {
      this.#readFailed();
      return;
    }
    const target = this.#buffer.subarray(0, bytes);
    this.#hear(
      (done) => drive.backend.read(state.offset, [target], done),
      (failure) => {
        if (failure !== undefined) {
          const least = state.data === data.sectors ? Math.min(state.block, state.left) : unit;
          if (bytes > least) this.#fill(least);
          else this.#readFailed();
          return;
        }
        state.at = 0;
        state.end = raw ? rawBlocks(this.#buffer, state.offset / cdBlockBytes, bytes / cdBlockBytes) : bytes;
        state.offset += bytes;
        state.left -= bytes;
        this.#nextBlock();
      },
    );
  }

  #readFailed(): void {
    const drive = this.#active;
    if (!drive.isPacket) {
      this.#fail(ataError.aborted);
      return;
    }
    drive.packetFailed();
    this.#failPacket();
  }

  /** The next block of the buffer goes to the host, or the next of the medium to the buffer; or the command ends. */
  #nextBlock(): void {
    const { state } = this;
    const drive = this.#active;
    const r = drive.registers;
    if (state.at === state.end) {
      if (state.left > 0) this.#fill();
      else if (this.#isPacketCommand) this.#endPacket();
      else {
        // The last block of a disk's data is followed by no interrupt.
        state.phase = phase.idle;
        this.#ready(drive);
      }
      return;
    }
    const bytes = Math.min(state.block, state.end - state.at);
    state.blockEnd = state.at + bytes;
    state.phase = phase.dataIn;
    if (this.#isPacketCommand) {
      r.count = reason.toHost;
      r.lbaMid = bytes & 0xff;
      r.lbaHigh = bytes >> 8;
    } else if (state.data === data.sectors && drive instanceof AtaDisk)
      drive.advance(bytes / sectorBytes, state.command);
    r.status = ataStatus.ready | ataStatus.seek | ataStatus.dataRequest;
    this.#raise();
  }

  get #isPacketCommand(): boolean {
    return this.state.command === driveCommand.packet;
  }

  readData(size: 1 | 2 | 4): number {
    const { state } = this;
    if (size === 1) return 0xff;
    if (state.phase !== phase.dataIn || state.unit !== state.active) return 0;
    let value = 0;
    for (let i = 0; i < size && state.at < state.blockEnd; i++) value |= this.#buffer[state.at++]! << (8 * i);
    if (state.at === state.blockEnd) this.#nextBlock();
    return value >>> 0;
  }

  // --- PIO to the drive

  writeData(size: 1 | 2 | 4, value: number): void {
    const { state } = this;
    const takes = state.phase === phase.dataOut || state.phase === phase.packetOut;
    if (size === 1 || !takes || state.unit !== state.active) return;
    for (let i = 0; i < size && state.at < state.blockEnd; i++) this.#buffer[state.at++] = (value >>> (8 * i)) & 0xff;
    if (state.at < state.blockEnd) return;
    if (state.phase === phase.packetOut) this.#packet();
    else this.#writeBlock();
  }

  #writeBlock(): void {
    const { state } = this;
    const drive = this.#active;
    this.#busy(phase.writing);
    const bytes = state.blockEnd;
    if (
      !(drive instanceof AtaDisk) ||
      !fitsMedium(drive, state.offset, bytes) ||
      bytes > state.left ||
      bytes % sectorBytes !== 0
    ) {
      this.#fail(ataError.aborted);
      return;
    }
    this.#hear(
      (done) => writeMedium(drive, state.offset, [this.#buffer.subarray(0, bytes)], bytes, done),
      (failure) => {
        if (failure !== undefined) {
          this.#fail(ataError.aborted);
          return;
        }
        state.offset += bytes;
        state.left -= bytes;
        drive.advance(bytes / sectorBytes, state.command);
        if (state.left === 0) {
          this.#succeed();
          return;
        }
        this.#offer(phase.dataOut, Math.min(state.block, state.left));
        this.#raise();
      },
    );
  }

  // --- packets

  #packet(): void {
    const { state } = this;
    const drive = this.#active;
    const r = drive.registers;
    // The byte count register: what the host takes at once.
    const limit = r.lbaMid | (r.lbaHigh << 8);
    const work = drive.packet(this.#buffer.slice(0, packetBytes));
    const byPio = !state.packetDma;
    if (byPio && limit === 0 && (work.kind === 'bytes' || work.kind === 'blocks')) {
      this.#fail(ataError.aborted);
      return;
    }
    const block = (total: number) => {
      const most = limit === 0xffff ? 0xfffe : limit;
      return Math.max(2, total <= most ? most : most & ~1);
    };
    switch (work.kind) {
      case 'done':
        this.#endPacket();
        return;
      case 'failed':
        this.#failPacket();
        return;
      case 'bytes':
        if (byPio) this.#answer(work.bytes, block(work.bytes.length));
        else {
          this.#buffer.set(work.bytes);
          state.data = data.answer;
          state.end = work.bytes.length;
          state.left = work.bytes.length;
          this.#awaitDma();
        }
        return;
      case 'blocks':
        state.data = work.raw ? data.rawBlocks : data.blocks;
        state.offset = work.firstBlock * cdBlockBytes;
        state.left = work.blocks * cdBlockBytes;
        state.block = block(work.blocks * (work.raw ? rawBlockBytes : cdBlockBytes));
        state.write = false;
        if (byPio) this.#fill();
        else this.#awaitDma();
    }
  }

  #endPacket(): void {
    this.#registers.count = reason.command | reason.toHost;
    this.#succeed();
  }

  #failPacket(): void {
    this.state.phase = phase.idle;
    const r = this.#registers;
    r.error = r.senseKey << 4;
    r.status = ataStatus.ready | ataStatus.error;
    r.count = reason.command | reason.toHost;
    this.#raise();
  }

  // --- the bus master

  readBusMaster(at: number): number {
    switch (at) {
      case 0:
        return this.busMaster.command;
      case 2:
        return this.busMaster.status;
      default:
        return 0xff;
    }
  }

  writeBusMaster(at: number, value: number): void {
    const { busMaster } = this;
    if (at === 2) {
      const { drives, active, error, interrupt } = busMasterStatus;
      const cleared = busMaster.status & ~(value & (error | interrupt));
      busMaster.status = (value & drives) | (cleared & (active | error | interrupt));
      return;
    }
    if (at !== 0) return;
    const starts = (value & ~busMaster.command & busMasterCommand.start) !== 0;
    const stops = (busMaster.command & ~value & busMasterCommand.start) !== 0;
    busMaster.command = value & (busMasterCommand.start | busMasterCommand.toMemory);
    if (starts) {
      busMaster.status |= busMasterStatus.active;
      if (this.state.phase === phase.dmaWaiting) this.#startDma();
    }
    if (stops) {
      // What is under way ends first, as the memory is the host's again afterwards.
      if (this.state.phase === phase.dmaActive) this.#active.backend.drain();
      busMaster.status &= ~busMasterStatus.active;
    }
  }

  #awaitDma(): void {
    this.state.phase = phase.dmaWaiting;
    this.#registers.status = ataStatus.ready | ataStatus.seek | ataStatus.dataRequest;
    if ((this.busMaster.status & busMasterStatus.active) !== 0) this.#startDma();
  }

  /** Ends the bus master's part. `stays`: the table named more than the drive had. */
  #endDma(stays: boolean): void {
    if (!stays) this.busMaster.status &= ~busMasterStatus.active;
  }

  #startDma(): void {
    if (!this.#busMasterEnabled()) return;
    const { state } = this;
    this.#busy(phase.dmaActive);
    const raw = state.data === data.rawBlocks;
    const wanted = raw ? (state.left / cdBlockBytes) * rawBlockBytes : state.left;
    const { list, longer, fault } = gatherTable(this.#dma, this.busMaster.table, !state.write, wanted);
    if (fault) {
      this.busMaster.status |= busMasterStatus.error;
      this.#endDma(false);
      if (this.#isPacketCommand) this.#readFailed();
      else this.#fail(ataError.aborted);
      return;
    }
    switch (state.data) {
      case data.answer:
        list.fill(this.#buffer.subarray(0, Math.min(state.left, list.length, this.#buffer.length)));
        this.#endDma(longer);
        this.#endPacket();
        return;
      case data.rawBlocks:
        this.#dmaRaw(list, longer);
        return;
      case data.trim:
        this.#trim(list, longer);
        return;
      default:
        this.#dmaData(list, longer);
    }
  }

  /** Sectors or blocks, straight between medium and guest memory. */
  #dmaData(list: ScatterList, longer: boolean): void {
    const { state } = this;
    const drive = this.#active;
    const bytes = Math.floor(Math.min(list.length, state.left) / sectorBytes) * sectorBytes;
    if (bytes === 0) {
      // The table was too short: the drive goes on waiting for one, and there is no interrupt.
      this.#endDma(false);
      state.phase = phase.idle;
      this.#ready(drive);
      return;
    }
    if (!fitsMedium(drive, state.offset, bytes)) {
      this.#endDma(false);
      this.#readFailed();
      return;
    }
    const { pieces } = list;
    this.#hear(
      (done) => {
        if (state.write) writeMedium(drive, state.offset, pieces, bytes, done);
        else transfer(drive.backend, false, state.offset, pieces, bytes, done);
      },
      (failure, doneBytes) => {
        if (!state.write) list.publish(0, failure === undefined ? bytes : list.length);
        if (drive instanceof AtaDisk) drive.advance(Math.floor(doneBytes / sectorBytes), state.command);
        this.#endDma(failure === undefined && longer);
        if (failure !== undefined) this.#readFailed();
        else if (bytes < state.left) {
          // Only so much had a place: the rest stays on the drive.
          state.phase = phase.idle;
          this.#ready(drive);
        } else if (this.#isPacketCommand) this.#endPacket();
        else this.#succeed();
      },
    );
  }

  /** Raw blocks of a CD are made in the buffer. */
  #dmaRaw(list: ScatterList, longer: boolean): void {
    const { state } = this;
    const drive = this.#active;
    this.#hear(
      (done) => readRawBlocks(drive, this.#buffer, list, state.offset, state.left / cdBlockBytes, done),
      (failure) => {
        this.#endDma(failure === undefined && longer);
        if (failure !== undefined) this.#readFailed();
        else this.#endPacket();
      },
    );
  }

  #trim(list: ScatterList, longer: boolean): void {
    const drive = this.#active;
    const bytes = new Uint8Array(Math.min(list.length, this.state.left));
    list.take(bytes);
    this.#hear(
      (done) => trimMedium(drive, bytes, done),
      (failure) => {
        this.#endDma(failure === undefined && longer);
        if (failure !== undefined) this.#fail(ataError.aborted);
        else this.#succeed();
      },
    );
  }
}
