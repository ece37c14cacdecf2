/**
 * Commands of the floppy disk controller that move data: READ, WRITE, VERIFY, SCAN, FORMAT and READ ID (82078, section 5). A sector at a
 * time goes through its drive's buffer, by the DMA channel, or a byte at a time through the FIFO.
 *
 * As on QEMU a transfer without DMA that has moved all sectors up to the last one that the command names ends well, where the chip, which is
 * never told that it was the end, would say that it came upon the end of the cylinder.
 */
import type { BlockFailure } from '../disk/index.js';
import type { DmaChannel } from '../i8237/i8237.js';
import type { Fdc } from './fdc.js';
import { config, dor, dsr, operation, phase, st0, st1, st2 } from './fdc-codes.js';
import type { FloppyDrive } from './floppy-drive.js';
import { sectorBytes } from './floppy-format.js';

/** The sectors' size as the chip codes it: all media have 512 bytes. */
const SIZE_CODE = 2;
const MULTI_TRACK = 0x80;
const SKIP = 0x20;
/** VERIFY counts sectors. */
const COUNTED = 0x80;

export interface FdcTransferOptions {
  readonly fdc: Fdc;
  readonly drives: readonly (FloppyDrive | undefined)[];
  readonly buffers: readonly (Uint8Array | undefined)[];
  readonly channel: DmaChannel;
}

const isScan = (kind: number) =>
  kind === operation.scanEqual || kind === operation.scanLow || kind === operation.scanHigh;

export class FdcTransfer {
  readonly #fdc: Fdc;
  readonly #drives: readonly (FloppyDrive | undefined)[];
  readonly #buffers: readonly (Uint8Array | undefined)[];
  readonly #channel: DmaChannel;
  /** Counts what was begun: the end of anything older is nobody's. */
  #generation = 0;

  constructor({ fdc, drives, buffers, channel }: FdcTransferOptions) {
    this.#fdc = fdc;
    this.#drives = drives;
    this.#buffers = buffers;
    this.#channel = channel;
  }

  get #state() {
    return this.#fdc.state;
  }
  get #drive(): FloppyDrive {
    return this.#drives[this.#state.drive]!;
  }
  get #buffer(): Uint8Array {
    return this.#buffers[this.#state.drive]!;
  }

  /** Nobody waits for what is under way. */
  abandon(): void {
    const { state } = this.#fdc;
    if (state.phase === phase.reading || state.phase === phase.writing) this.#drives[state.drive]?.backend.drain();
    this.#generation++;
    this.#channel.request(false);
    if (state.phase !== phase.command) {
      state.phase = phase.command;
      state.at = 0;
    }
  }

  /** After loading: what was under way begins anew. */
  restored(): void {
    const { state } = this.#fdc;
    this.#generation++;
    const room = state.operation === operation.format ? 4 * state.lastSector : sectorBytes;
    const moves = state.phase > phase.result;
    // A state that no controller reaches by itself is an idle one.
    const isOwn = this.#drives[state.drive] !== undefined && state.position <= room;
    const commandFits = state.at <= state.length && (state.phase !== phase.result || state.at < state.length);
    if ((moves && !isOwn) || !commandFits) this.#fdc.toCommandPhase();
    if (state.phase === phase.reading) this.#readSector();
    else if (state.phase === phase.writing) this.#writeSector();
    else if (state.phase === phase.dataIn || state.phase === phase.dataOut) {
      if (state.position >= room) this.#fdc.toCommandPhase();
      else this.#channel.request(state.dma);
    }
  }

  // ---- beginnings

  /** READ, WRITE, VERIFY and SCAN: the drive, and what of the medium. */
  begin(kind: number, options: { readonly deleted?: boolean; readonly track?: boolean }): void {
    const state = this.#state;
    const [code, select, cylinder, , sector, size, last, , lengthOrStep] = [...state.fifo.subarray(0, 9)] as [
      ...[number, number, number, number, number, number, number, number, number],
    ];
    const head = (select >> 2) & 1;
    this.#select(kind, select);
    state.multiTrack = (code & MULTI_TRACK) !== 0 && !options.track;
    state.cylinder = cylinder;
    state.head = head;
    state.sector = options.track ? 1 : sector;
    state.lastSector = last;
    state.step = isScan(kind) && lengthOrStep === 2 ? 2 : 1;
    state.counted = 0;
    if (options.track) state.counted = last;
    else if (kind === operation.verify && (select & COUNTED) !== 0)
      state.counted = lengthOrStep === 0 ? 256 : lengthOrStep;
    const drive = this.#ready();
    if (!drive) return;
    if ((state.config & config.impliedSeek) !== 0 && drive.mediumCylinder !== cylinder) {
      drive.seekMedium(cylinder);
      state.status0 |= st0.seekEnd;
    }
    if (kind === operation.write && drive.isProtected) {
      this.#end(st0.abnormal, st1.notWritable);
      return;
    }
    if (size !== SIZE_CODE || state.fifo[3] !== head) {
      this.#end(st0.abnormal, st1.noData);
      return;
    }
    if (drive.mediumCylinder !== cylinder) {
      this.#end(st0.abnormal, st1.noData, st2.wrongCylinder);
      return;
    }
    if (options.deleted) {
      // No sector has a deleted mark: all are skipped, or the first one ends the command.
      if ((code & SKIP) !== 0) {
        this.#end(st0.abnormal, st1.noData);
        return;
      }
      state.status2 = st2.controlMark;
      state.counted = 1;
    }
    this.#nextSector();
  }

  /** FORMAT TRACK: the host gives cylinder, head, number and size of each sector first. */
  beginFormat(): void {
    const state = this.#state;
    const [, select, , sectors] = state.fifo;
    this.#select(operation.format, select!);
    state.head = (select! >> 2) & 1;
    state.lastSector = sectors!;
    const drive = this.#ready();
    if (!drive) return;
    state.cylinder = drive.mediumCylinder;
    state.sector = 1;
    if (drive.isProtected) {
      this.#end(st0.abnormal, st1.notWritable);
      return;
    }
    if (sectors === 0) {
      this.#end(0);
      return;
    }
    this.#askForBytes();
  }

  /** READ ID: the next sector that comes by. */
  readId(): void {
    const state = this.#state;
    const select = state.fifo[1]!;
    this.#select(operation.read, select);
    state.head = (select >> 2) & 1;
    const drive = this.#ready();
    if (!drive) return;
    state.cylinder = drive.mediumCylinder;
    const sectors = drive.format!.sectors;
    state.sector = (state.sector % sectors) + 1;
    if (drive.offset(state.cylinder, state.head, state.sector) === undefined) this.#end(st0.abnormal, st1.missingMark);
    else this.#end(0);
  }

  #select(kind: number, select: number): void {
    const state = this.#state;
    state.operation = kind;
    state.drive = select & 3;
    state.dma = (state.headLoad & 1) === 0 && (state.dor & dor.dmaGate) !== 0;
    state.status0 = 0;
    state.status2 = 0;
    state.position = 0;
    state.ended = false;
    state.counted = 0;
    state.multiTrack = false;
  }

  /** The selected drive, with a medium that is read at the rate in use; otherwise the command has ended. */
  #ready(): FloppyDrive | undefined {
    const drive = this.#drives[this.#state.drive];
    if (!drive?.format) this.#end(st0.abnormal, drive?.backend.inserted ? st1.missingMark : 0);
    else if ((this.#state.dsr & dsr.rate) !== drive.rate) this.#end(st0.abnormal, st1.missingMark);
    else return drive;
    return undefined;
  }

  #end(ic: number, status1 = 0, status2 = 0): void {
    const state = this.#state;
    this.#channel.request(false);
    const first = ic | state.status0 | (state.head << 2) | state.drive;
    this.#fdc.finish(first, status1, status2 | state.status2, state.cylinder, state.head, state.sector, SIZE_CODE);
  }

  // ---- a sector

  /** Byte of the medium where the sector begins; where it has none the command has ended. */
  #place(): number | undefined {
    const { cylinder, head, sector } = this.#state;
    const drive = this.#drive;
    const offset = drive.offset(cylinder, head, sector);
    if (offset !== undefined) return offset;
    const { format } = drive;
    const noSide = !format || head >= format.heads || cylinder >= format.cylinders;
    this.#end(st0.abnormal, noSide ? st1.missingMark : st1.noData);
    return undefined;
  }

  #nextSector(): void {
    if (this.#place() === undefined) return;
    if (this.#state.operation === operation.write) this.#askForBytes();
    else this.#readSector();
  }

  #askForBytes(): void {
    const state = this.#state;
    state.phase = phase.dataOut;
    state.position = 0;
    state.equal = true;
    state.met = true;
    this.#channel.request(state.dma);
    this.#fdc.drive();
    this.pump();
  }

  #readSector(): void {
    const state = this.#state;
    const offset = this.#place();
    if (offset === undefined) return;
    state.phase = phase.reading;
    this.#fdc.drive();
    const generation = ++this.#generation;
    this.#drive.readSector(offset, this.#buffer, (failure) => {
      if (generation === this.#generation) this.#sectorRead(failure);
    });
  }

  #sectorRead(failure: BlockFailure | undefined): void {
    const state = this.#state;
    if (failure !== undefined) {
      this.#end(st0.abnormal, st1.dataError, st2.dataError);
      return;
    }
    if (state.operation === operation.verify) this.#sectorDone();
    else if (isScan(state.operation)) this.#askForBytes();
    else {
      state.phase = phase.dataIn;
      state.position = 0;
      this.#channel.request(state.dma);
      this.#fdc.drive();
      this.pump();
    }
  }

  #writeSector(): void {
    const state = this.#state;
    if (state.operation === operation.format && !this.#takeHeader()) return;
    const offset = this.#place();
    if (offset === undefined) return;
    if (this.#drive.isProtected) {
      this.#end(st0.abnormal, st1.notWritable);
      return;
    }
    state.phase = phase.writing;
    this.#fdc.drive();
    const generation = ++this.#generation;
    this.#drive.writeSector(offset, this.#buffer, (failure) => {
      if (generation === this.#generation) this.#sectorWritten(failure);
    });
  }

  #sectorWritten(failure: BlockFailure | undefined): void {
    const state = this.#state;
    if (failure !== undefined) this.#end(st0.abnormal, st1.dataError, st2.dataError);
    else if (state.operation !== operation.format) this.#sectorDone();
    else if (state.position + 4 >= 4 * state.lastSector) this.#end(0);
    else {
      state.position += 4;
      this.#writeSector();
    }
  }

  /** FORMAT: where the header at `position` says, with the filler. False: the medium has no such sector, and the command has ended. */
  #takeHeader(): boolean {
    const state = this.#state;
    const [cylinder, head, sector, size] = state.headers.subarray(state.position, state.position + 4);
    const { format, mediumCylinder } = this.#drive;
    const fits = size === SIZE_CODE && cylinder === mediumCylinder && head === state.head;
    if (!fits || format?.sectors !== state.lastSector) {
      this.#end(st0.abnormal, st1.noData);
      return false;
    }
    state.sector = sector!;
    this.#buffer.fill(state.fifo[5]!);
    return true;
  }

  /** All of a sector has been moved: to the next, or the end. */
  #sectorDone(): void {
    const state = this.#state;
    const counted = state.counted > 0 && --state.counted === 0;
    const byHost = state.ended;
    const last = state.sector + state.step > state.lastSector;
    const cylinderEnds = last && !(state.multiTrack && state.head === 0 && (this.#drive.format?.heads ?? 1) === 2);
    if (!state.dma && (counted || cylinderEnds) && !isScan(state.operation)) {
      this.#end(0);
      return;
    }
    if (!last) state.sector += state.step;
    else {
      state.sector = 1;
      if (!cylinderEnds) state.head = 1;
      else {
        if (state.multiTrack) state.head = 0;
        state.cylinder = (state.cylinder + 1) & 0xff;
      }
    }
    if (isScan(state.operation)) {
      if (cylinderEnds || byHost) this.#end(0, 0, st2.scanFailed);
      else this.#nextSector();
    } else if (byHost || counted) this.#end(0);
    else if (!cylinderEnds) this.#nextSector();
    else if (state.operation === operation.verify) this.#end(0);
    else this.#end(st0.abnormal, st1.endOfCylinder);
  }

  // ---- bytes

  /** Moves what the DMA channel lets through. */
  pump(): void {
    const state = this.#state;
    if (!state.dma) return;
    if (state.phase === phase.dataIn) {
      const moved = this.#channel.toMemory(this.#buffer.subarray(state.position, sectorBytes));
      if (moved === 0) return;
      state.position += moved;
      state.ended = this.#channel.ended;
      if (state.position >= sectorBytes || state.ended) this.#channel.request(false);
      if (state.position >= sectorBytes || state.ended) this.#sectorDone();
    } else if (state.phase === phase.dataOut) {
      const room = this.#room;
      const target = new Uint8Array(room.length - state.position);
      const moved = this.#channel.fromMemory(target);
      if (moved === 0) return;
      state.ended = this.#channel.ended;
      this.#take(target.subarray(0, moved));
    }
  }

  /** Where the host's bytes go. */
  get #room(): Uint8Array {
    const { operation: kind, headers, lastSector } = this.#state;
    return kind === operation.format ? headers.subarray(0, 4 * lastSector) : this.#buffer.subarray(0, sectorBytes);
  }

  takeByte(): number {
    const state = this.#state;
    const value = this.#buffer[state.position++]!;
    if (state.position >= sectorBytes) this.#sectorDone();
    return value;
  }

  giveByte(value: number): void {
    this.#take(Uint8Array.of(value));
  }

  /** Bytes of the host. */
  #take(given: Uint8Array): void {
    const state = this.#state;
    const room = this.#room;
    if (isScan(state.operation)) this.#compare(given);
    else room.set(given, state.position);
    state.position += given.length;
    if (state.position < room.length && !state.ended) return;
    this.#channel.request(false);
    if (isScan(state.operation)) {
      if (state.equal) this.#end(0, 0, st2.scanHit);
      else if (state.met && state.operation !== operation.scanEqual) this.#end(0);
      else this.#sectorDone();
      return;
    }
    // What the host leaves out of the last sector is zero; headers that it leaves out are none.
    room.fill(0, state.position);
    state.position = 0;
    this.#writeSector();
  }

  /** Bytes of the host beside those of the sector: FFh on either side fits all. */
  #compare(given: Uint8Array): void {
    const state = this.#state;
    for (const [i, host] of given.entries()) {
      const disk = this.#buffer[state.position + i]!;
      if (disk === host || disk === 0xff || host === 0xff) continue;
      state.equal = false;
      if (state.operation === operation.scanLow ? disk > host : disk < host) state.met = false;
    }
  }
}
