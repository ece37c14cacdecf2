/** A command that is not queued, from what the drive asks for to its end. */
import type { DmaSpace } from '../../bus/index.js';
import {
  AtaDisk,
  type AtaDrive,
  type AtaWork,
  cdBlockBytes,
  fitsMedium,
  flushMedium,
  type PacketWork,
  packetBytes,
  rawBlockBytes,
  readRawBlocks,
  trimMedium,
  writeMedium,
} from '../ata/index.js';
import { ataError, reason } from '../ata/registers.js';
import { type BlockFailure, type ScatterList, transfer } from '../disk/index.js';
import { type Command, gather, writeByteCount } from './command-list.js';
import { portInterrupt } from './registers.js';

const sectorBytes = 512;

/** The port that the drive is on. */
export interface CommandPort {
  readonly dma: DmaSpace;
  hear(
    work: (done: (failure?: BlockFailure, doneBytes?: number) => void) => void,
    end: (failure: BlockFailure | undefined, doneBytes: number) => void,
  ): void;
  pioSetup(bytes: number, interrupt: boolean): void;
  descriptorDone(): void;
  succeed(): void;
  fail(error: number): void;
  silent(): void;
  fatal(interrupt: number): void;
}

export class CommandRun {
  readonly #port: CommandPort;
  readonly #drive: AtaDrive;
  readonly #command: Command;
  readonly #buffer: Uint8Array;

  /** `buffer`: where raw blocks are made. */
  constructor(port: CommandPort, drive: AtaDrive, command: Command, buffer: Uint8Array) {
    this.#port = port;
    this.#drive = drive;
    this.#command = command;
    this.#buffer = buffer;
  }

  carryOut(work: AtaWork): void {
    const port = this.#port;
    switch (work.kind) {
      case 'done':
        port.succeed();
        return;
      case 'silent':
        port.silent();
        return;
      case 'aborted':
        port.fail(ataError.aborted);
        return;
      case 'flush':
        port.hear(
          (done) => flushMedium(this.#drive, done),
          (failure) => this.#end(failure, ataError.aborted),
        );
        return;
      case 'bytes':
        this.#bytes(work.bytes, true);
        return;
      case 'packet':
        this.#packet(work.dma);
        return;
      case 'trim':
        this.#trim(work.sectors * sectorBytes);
        return;
      case 'sectors':
        this.#sectors(work);
    }
  }

  #end(failure: BlockFailure | undefined, error: number): void {
    if (failure === undefined) this.#port.succeed();
    else this.#port.fail(error);
  }

  /** So many bytes have moved. */
  #moved(bytes: number, interrupts: boolean): void {
    writeByteCount(this.#port.dma, this.#command, bytes);
    if (interrupts) this.#port.descriptorDone();
  }

  /** The memory for all of a transfer; where there is not so much the port has come to a halt. */
  #gather(intoGuest: boolean, bytes: number): { list: ScatterList; interrupts: boolean } | undefined {
    const { list, interrupts, fault } = gather(this.#port.dma, this.#command, intoGuest, bytes);
    if (!fault && list.length === bytes) return { list, interrupts };
    this.#port.fatal(fault ? portInterrupt.hostBusFatal : portInterrupt.overflow);
    return undefined;
  }

  /** Data that are there already: as many as have a place. */
  #bytes(bytes: Uint8Array, byPio: boolean): void {
    const { list, interrupts, fault } = gather(this.#port.dma, this.#command, true, bytes.length);
    if (fault) {
      this.#port.fatal(portInterrupt.hostBusFatal);
      return;
    }
    list.fill(bytes.subarray(0, list.length));
    this.#moved(list.length, interrupts);
    if (byPio) this.#port.pioSetup(bytes.length, true);
    if (this.#drive.isPacket && this.#isPacketCommand) this.#endPacket();
    else this.#port.succeed();
  }

  get #code(): number {
    return this.#command.fis[2]!;
  }
  get #isPacketCommand(): boolean {
    return this.#code === 0xa0;
  }

  #sectors(work: Extract<AtaWork, { kind: 'sectors' }>): void {
    const { write, offset } = work;
    const bytes = work.sectors * sectorBytes;
    const drive = this.#drive;
    const gathered = this.#gather(!write, bytes);
    if (!gathered) return;
    const { list, interrupts } = gathered;
    this.#port.hear(
      (done) => {
        if (!fitsMedium(drive, offset, bytes)) done('io');
        else if (write) writeMedium(drive, offset, list.pieces, bytes, done);
        else transfer(drive.backend, false, offset, list.pieces, bytes, done);
      },
      (failure, doneBytes) => {
        if (!write) list.publish();
        const sectors = Math.floor(doneBytes / sectorBytes);
        const last = work.dma || failure !== undefined ? 0 : ((work.sectors - 1) % work.blockSectors) + 1;
        const advance = (count: number) => drive instanceof AtaDisk && drive.advance(count, this.#code);
        // The last block of a write is told of before it has come.
        if (last > 0) {
          advance(write ? sectors - last : sectors);
          this.#port.pioSetup(last * sectorBytes, true);
          if (write) advance(last);
        } else advance(sectors);
        if (failure === undefined) this.#moved(bytes, interrupts);
        this.#end(failure, ataError.aborted);
      },
    );
  }

  #trim(bytes: number): void {
    const gathered = this.#gather(false, bytes);
    if (!gathered) return;
    const ranges = new Uint8Array(bytes);
    gathered.list.take(ranges);
    this.#port.hear(
      (done) => trimMedium(this.#drive, ranges, done),
      (failure) => {
        if (failure === undefined) this.#moved(bytes, gathered.interrupts);
        this.#end(failure, ataError.aborted);
      },
    );
  }

  // --- packets

  #packet(dma: boolean): void {
    const r = this.#drive.registers;
    // The byte count register: what the host takes at once by PIO.
    const limit = r.lbaMid | (r.lbaHigh << 8);
    r.count = reason.command;
    this.#port.pioSetup(packetBytes, false);
    const work = this.#drive.packet(this.#command.packet.subarray(0, packetBytes));
    if (!dma && limit === 0 && (work.kind === 'bytes' || work.kind === 'blocks')) {
      this.#port.fail(ataError.aborted);
      return;
    }
    switch (work.kind) {
      case 'done':
        this.#endPacket();
        return;
      case 'failed':
        this.#failPacket();
        return;
      case 'bytes':
        r.count = reason.toHost;
        if (!dma) this.#setByteCount(work.bytes.length);
        this.#bytes(work.bytes, !dma);
        return;
      case 'blocks':
        this.#blocks(work, dma);
    }
  }

  #setByteCount(bytes: number): void {
    const r = this.#drive.registers;
    r.lbaMid = bytes & 0xff;
    r.lbaHigh = (bytes >> 8) & 0xff;
  }

  #blocks({ firstBlock, blocks, raw }: Extract<PacketWork, { kind: 'blocks' }>, dma: boolean): void {
    const drive = this.#drive;
    const bytes = blocks * (raw ? rawBlockBytes : cdBlockBytes);
    const offset = firstBlock * cdBlockBytes;
    const gathered = this.#gather(true, bytes);
    if (!gathered) return;
    const { list, interrupts } = gathered;
    this.#port.hear(
      (done) => {
        if (!fitsMedium(drive, offset, blocks * cdBlockBytes)) done('io');
        else if (raw) readRawBlocks(drive, this.#buffer, list, offset, blocks, done);
        else transfer(drive.backend, false, offset, list.pieces, bytes, done);
      },
      (failure) => {
        if (!raw) list.publish();
        if (failure !== undefined) {
          drive.packetFailed();
          this.#failPacket();
          return;
        }
        drive.registers.count = reason.toHost;
        if (!dma) {
          this.#setByteCount(Math.min(bytes, 0xfffe));
          this.#port.pioSetup(bytes, true);
        }
        this.#moved(bytes, interrupts);
        this.#endPacket();
      },
    );
  }

  #endPacket(): void {
    this.#drive.registers.count = reason.command | reason.toHost;
    this.#port.succeed();
  }

  #failPacket(): void {
    const r = this.#drive.registers;
    r.count = reason.command | reason.toHost;
    this.#port.fail(r.senseKey << 4);
  }
}
