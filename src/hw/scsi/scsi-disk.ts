/** A SCSI disk (SBC-3): its commands, one row each. What is accepted and how errors are told are as of QEMU's scsi-hd. */
import { defineState, type StateArena, type StateOf } from '../../schema/index.js';
import { type BlockFailure, type DriveBackend, transfer } from '../disk/index.js';
import { type StatePart, statePart } from '../pci/saved-parts.js';
import { be16, be32, be64, bytes16, bytes32, bytes64 } from './big-endian.js';
import type { UnitNames } from './inquiry.js';
import { blockRange } from './scsi-commands.js';
import {
  answerBytes,
  failureSense,
  good,
  modeSelectPages,
  refuse,
  type ScsiRow,
  type ScsiTask,
  ScsiUnit,
  takeOutput,
  unitFields,
} from './scsi-unit.js';
import { sense } from './sense.js';
import { SameWriter } from './write-same.js';

const ScsiDiskState = defineState('scsi-disk', 1, unitFields);

/** Limits that the guest is told of, as QEMU's: 1 GiB in one UNMAP, 255 descriptors, transfers below 2 GiB. */
const maxUnmapBytes = 2 ** 30;
const maxUnmapDescriptors = 255;
const maxTransferBytes = 2 ** 31 - 1;
/** What UNMAP is granular to. */
const discardBytes = 4096;

export interface ScsiDiskOptions extends UnitNames {
  readonly backend: DriveBackend;
  readonly logicalBlockSize?: number | undefined;
  readonly physicalBlockSize?: number | undefined;
  readonly rotationRate?: number | undefined;
  /** It says that it can be taken out. */
  readonly removable?: boolean | undefined;
  readonly arena?: StateArena | undefined;
}

const nothing = (_disk: ScsiDisk, task: ScsiTask): void => good(task);

const rows: readonly ScsiRow<ScsiDisk>[] = [
  { code: 0x00, name: 'TEST UNIT READY', run: nothing },
  { code: 0x08, name: 'READ (6)', run: (disk, task) => disk.read(task) },
  { code: 0x0a, name: 'WRITE (6)', run: (disk, task) => disk.write(task) },
  { code: 0x15, name: 'MODE SELECT (6)', run: (disk, task) => disk.modeSelect(task) },
  { code: 0x16, name: 'RESERVE (6)', run: nothing },
  { code: 0x17, name: 'RELEASE (6)', run: nothing },
  { code: 0x1a, name: 'MODE SENSE (6)', run: (disk, task) => disk.modeSense(task) },
  { code: 0x1b, name: 'START STOP UNIT', run: nothing },
  { code: 0x1d, name: 'SEND DIAGNOSTIC', run: (disk, task) => disk.sendDiagnostic(task) },
  { code: 0x1e, name: 'PREVENT ALLOW MEDIUM REMOVAL', run: nothing },
  { code: 0x25, name: 'READ CAPACITY (10)', run: (disk, task) => disk.readCapacity(task) },
  { code: 0x28, name: 'READ (10)', run: (disk, task) => disk.read(task) },
  { code: 0x2a, name: 'WRITE (10)', run: (disk, task) => disk.write(task) },
  { code: 0x2b, name: 'SEEK (10)', run: (disk, task) => disk.verify(task) },
  { code: 0x2e, name: 'WRITE AND VERIFY (10)', run: (disk, task) => disk.write(task, true) },
  { code: 0x2f, name: 'VERIFY (10)', run: (disk, task) => disk.verify(task) },
  { code: 0x35, name: 'SYNCHRONIZE CACHE (10)', run: (disk, task) => disk.flush(task) },
  { code: 0x41, name: 'WRITE SAME (10)', run: (disk, task) => disk.writeSame(task) },
  { code: 0x42, name: 'UNMAP', run: (disk, task) => disk.unmap(task) },
  { code: 0x55, name: 'MODE SELECT (10)', run: (disk, task) => disk.modeSelect(task) },
  { code: 0x56, name: 'RESERVE (10)', run: nothing },
  { code: 0x57, name: 'RELEASE (10)', run: nothing },
  { code: 0x5a, name: 'MODE SENSE (10)', run: (disk, task) => disk.modeSense(task) },
  { code: 0x88, name: 'READ (16)', run: (disk, task) => disk.read(task) },
  { code: 0x8a, name: 'WRITE (16)', run: (disk, task) => disk.write(task) },
  { code: 0x8e, name: 'WRITE AND VERIFY (16)', run: (disk, task) => disk.write(task, true) },
  { code: 0x8f, name: 'VERIFY (16)', run: (disk, task) => disk.verify(task) },
  { code: 0x91, name: 'SYNCHRONIZE CACHE (16)', run: (disk, task) => disk.flush(task) },
  { code: 0x93, name: 'WRITE SAME (16)', run: (disk, task) => disk.writeSame(task) },
  { code: 0x9e, name: 'READ CAPACITY (16)', run: (disk, task) => disk.readCapacity16(task) },
  { code: 0xa8, name: 'READ (12)', run: (disk, task) => disk.read(task) },
  { code: 0xaa, name: 'WRITE (12)', run: (disk, task) => disk.write(task) },
  { code: 0xae, name: 'WRITE AND VERIFY (12)', run: (disk, task) => disk.write(task, true) },
  { code: 0xaf, name: 'VERIFY (12)', run: (disk, task) => disk.verify(task) },
];
const byCode = new Map(rows.map((row) => [row.code, row]));

export class ScsiDisk extends ScsiUnit {
  readonly state: StateOf<typeof ScsiDiskState>;
  readonly parts: readonly StatePart[];
  readonly deviceType = 0;
  readonly removable: boolean;
  readonly blockBytes: number;
  readonly vitalPages = [0xb0, 0xb1, 0xb2];
  readonly #physicalBytes: number;
  readonly #rotationRate: number;
  readonly #sameWriter: SameWriter;

  constructor(options: ScsiDiskOptions) {
    super(options, options.backend);
    this.state = ScsiDiskState.allocate(options.arena);
    this.parts = [statePart(ScsiDiskState, this.state)];
    this.removable = options.removable ?? false;
    this.blockBytes = options.logicalBlockSize ?? 512;
    this.#physicalBytes = Math.max(options.physicalBlockSize ?? this.blockBytes, this.blockBytes);
    this.#rotationRate = options.rotationRate ?? 0;
    this.#sameWriter = new SameWriter(options.backend, this.blockBytes);
  }

  reset(): void {
    ScsiDiskState.reset(this.state);
  }

  protected isAlways(): boolean {
    return false;
  }

  protected run(task: ScsiTask): void {
    const row = byCode.get(task.cdb[0]!);
    if (row) row.run(this, task);
    else refuse(task, sense.invalidCommand);
  }

  get #blocks(): number {
    return Math.floor(this.backend.sizeBytes / this.blockBytes);
  }

  vitalPage(code: number): readonly number[] | undefined {
    const { blockBytes } = this;
    switch (code) {
      case 0xb0: {
        // Block limits: WRITE SAME needs a count; no COMPARE AND WRITE.
        const page = new Uint8Array(0x3c);
        page[0] = 1;
        const most = Math.floor(maxTransferBytes / blockBytes);
        page.set(bytes32(most), 4);
        page.set(bytes32(Math.floor(maxUnmapBytes / blockBytes)), 16);
        page.set(bytes32(maxUnmapDescriptors), 20);
        page.set(bytes32(Math.max(1, discardBytes / blockBytes)), 24);
        page.set(bytes64(most), 32);
        return [...page];
      }
      case 0xb1: {
        const page = new Array<number>(0x3c).fill(0);
        [page[0], page[1]] = bytes16(this.#rotationRate);
        return page;
      }
      case 0xb2:
        // UNMAP, WRITE SAME (16) and (10) with the bit for it; thin provisioning.
        return [0, 0xe0, 2, 0];
      default:
        return undefined;
    }
  }

  // Transfers

  /** Where a transfer lies on the medium; undefined: it has been refused. */
  #place(task: ScsiTask): { offset: number; length: number } | undefined {
    const { lba, blocks } = blockRange(task.cdb);
    // Protection information: there is none.
    if (task.cdb[0]! >> 5 !== 0 && (task.cdb[1]! & 0xe0) !== 0) {
      refuse(task, sense.invalidField);
      return undefined;
    }
    if (lba + blocks > this.#blocks) {
      refuse(task, sense.outOfRange);
      return undefined;
    }
    return { offset: lba * this.blockBytes, length: blocks * this.blockBytes };
  }

  /** Force unit access: only 10, 12 and 16-byte commands have the bit. */
  #isForced(cdb: Uint8Array): boolean {
    return cdb[0]! >> 5 !== 0 && (cdb[1]! & 8) !== 0;
  }

  read(task: ScsiTask): void {
    const place = this.#place(task);
    if (!place) return;
    const run = () => {
      if (place.length === 0) {
        good(task);
        return;
      }
      transfer(this.backend, false, place.offset, task.input, place.length, (failure, done) => {
        if (failure === undefined) good(task, done);
        else refuse(task, failureSense(failure), done);
      });
    };
    // What a cache holds goes to the medium first, and is read from there.
    if (this.#isForced(task.cdb)) this.#flushThen(task, run);
    else run();
  }

  write(task: ScsiTask, verify = false): void {
    if (this.backend.readonly) {
      refuse(task, sense.writeProtected);
      return;
    }
    const place = this.#place(task);
    if (!place) return;
    if (place.length === 0) {
      good(task);
      return;
    }
    const through = verify || this.#isForced(task.cdb) || !this.state.writeCache;
    transfer(this.backend, true, place.offset, task.output, place.length, (failure, done) => {
      if (failure !== undefined) refuse(task, failureSense(failure), done);
      else if (through) this.#flushThen(task, () => good(task, done));
      else good(task, done);
    });
  }

  #flushThen(task: ScsiTask, next: () => void): void {
    this.backend.flush((failure) => {
      if (failure === undefined) next();
      else refuse(task, failureSense(failure));
    });
  }

  flush(task: ScsiTask): void {
    this.#flushThen(task, () => good(task));
  }

  /** The medium of an image has no surface that could have gone bad: what is there is good. */
  verify(task: ScsiTask): void {
    const isSeek = task.cdb[0] === 0x2b;
    if (!isSeek && (task.cdb[1]! & 6) !== 0) {
      refuse(task, sense.invalidField);
      return;
    }
    const { lba, blocks } = blockRange(task.cdb);
    if (lba + (isSeek ? 1 : blocks) > this.#blocks) refuse(task, sense.outOfRange);
    else good(task);
  }

  sendDiagnostic(task: ScsiTask): void {
    // The default self-test alone.
    if ((task.cdb[1]! & 0xe4) !== 4 && (task.cdb[1]! & 0xe4) !== 0) refuse(task, sense.invalidField);
    else good(task);
  }

  // Discarding

  unmap(task: ScsiTask): void {
    const { backend, blockBytes } = this;
    const length = be16(task.cdb, 7);
    if ((task.cdb[1]! & 1) !== 0) {
      refuse(task, sense.invalidField);
      return;
    }
    if (length === 0) {
      good(task);
      return;
    }
    if (backend.readonly) {
      refuse(task, sense.writeProtected);
      return;
    }
    const list = takeOutput(task).subarray(0, length);
    const descriptorBytes = list.length >= 8 ? be16(list, 2) : 0;
    if (
      list.length < 8 ||
      list.length < be16(list, 0) + 2 ||
      list.length < descriptorBytes + 8 ||
      descriptorBytes % 16 !== 0
    ) {
      refuse(task, sense.parameterListLength);
      return;
    }
    const ranges: [number, number][] = [];
    for (let at = 8; at < 8 + descriptorBytes; at += 16) {
      const [lba, blocks] = [be64(list, at), be32(list, at + 8)];
      if (lba + blocks > this.#blocks) {
        refuse(task, sense.outOfRange);
        return;
      }
      if (blocks > 0) ranges.push([lba * blockBytes, blocks * blockBytes]);
    }
    this.#discardAll(task, ranges, list.length);
  }

  #discardAll(task: ScsiTask, ranges: [number, number][], transferred: number): void {
    const { backend } = this;
    const next = ranges.shift();
    if (!next || !backend.discard) {
      good(task, transferred);
      return;
    }
    backend.discard(next[0], next[1], (failure) => {
      // Discarding is advice.
      if (failure === undefined || failure === 'unsupported') this.#discardAll(task, ranges, transferred);
      else refuse(task, failureSense(failure));
    });
  }

  writeSame(task: ScsiTask): void {
    const { backend } = this;
    const { cdb } = task;
    const { lba, blocks } = blockRange(cdb);
    // No NDOB in the ten-byte command; blocks of data that carry their address are of old.
    const noData = cdb[0] === 0x93 && (cdb[1]! & 1) !== 0;
    if (backend.readonly) refuse(task, sense.writeProtected);
    else if (blocks === 0 || (cdb[1]! & 0x16) !== 0) refuse(task, sense.invalidField);
    else if (lba + blocks > this.#blocks) refuse(task, sense.outOfRange);
    else {
      const block = noData ? new Uint8Array(this.blockBytes) : takeOutput(task).subarray(0, this.blockBytes);
      const mayUnmap = (cdb[1]! & 8) !== 0;
      const [offset, length] = [lba * this.blockBytes, blocks * this.blockBytes];
      this.#sameWriter.write(offset, length, block, mayUnmap, (failure?: BlockFailure) => {
        if (failure === undefined) good(task, noData ? 0 : this.blockBytes);
        else refuse(task, failureSense(failure));
      });
    }
  }

  // Capacity and modes

  readCapacity(task: ScsiTask): void {
    // PMI and an address without it are of old.
    if ((task.cdb[8]! & 1) === 0 && be32(task.cdb, 2) !== 0) {
      refuse(task, sense.invalidField);
      return;
    }
    const last = Math.min(Math.max(this.#blocks - 1, 0), 0xffffffff);
    answerBytes(task, [...bytes32(last), ...bytes32(this.blockBytes)]);
  }

  readCapacity16(task: ScsiTask): void {
    if ((task.cdb[1]! & 0x1f) !== 0x10) {
      refuse(task, sense.invalidField);
      return;
    }
    const answer = new Uint8Array(32);
    answer.set([...bytes64(Math.max(this.#blocks - 1, 0)), ...bytes32(this.blockBytes)]);
    answer[13] = Math.log2(this.#physicalBytes / this.blockBytes);
    // Thin provisioning.
    answer[14] = this.backend.discard ? 0x80 : 0;
    answerBytes(task, answer.subarray(0, be32(task.cdb, 10)));
  }

  /** Mode pages by their codes: content as it is, or which bits can be changed. */
  #modePage(code: number, changeable: boolean): number[] | undefined {
    const fixed = (content: number[]) => (changeable ? content.map(() => 0) : content);
    const cylinders = Math.min(Math.max(2, Math.floor((this.#blocks * this.blockBytes) / 512 / (16 * 63))), 16383);
    switch (code) {
      case 0x01: // read-write error recovery: automatic reallocation of writes
        return fixed([0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
      case 0x04: {
        // Rigid disk geometry: no head ever lifts, 5400 rotations.
        const cylinder24 = [0, ...bytes16(cylinders)];
        return fixed([
          ...cylinder24,
          16,
          ...cylinder24,
          ...cylinder24,
          0,
          200,
          0xff,
          0xff,
          0xff,
          0,
          0,
          0,
          0x15,
          0x18,
          0,
          0,
        ]);
      }
      case 0x05: {
        const page = new Array<number>(30).fill(0);
        page.splice(0, 8, ...bytes16(5000), 16, 63, ...bytes16(this.blockBytes), ...bytes16(cylinders));
        page.splice(8, 4, ...bytes16(cylinders), ...bytes16(cylinders));
        page.splice(12, 7, ...bytes16(1), 1, ...bytes16(1), 1, 1);
        page.splice(26, 2, ...bytes16(5400));
        return fixed(page);
      }
      case 0x08: // caching: the write cache can be turned off
        return [changeable || this.state.writeCache ? 4 : 0, ...new Array<number>(17).fill(0)];
      default:
        return undefined;
    }
  }

  modeSense(task: ScsiTask): void {
    const { cdb } = task;
    const long = cdb[0] === 0x5a;
    const control = cdb[2]! >> 6;
    const page = cdb[2]! & 0x3f;
    if (control === 3) {
      refuse(task, sense.savingNotSupported);
      return;
    }
    const codes = page === 0x3f ? [0x01, 0x04, 0x05, 0x08] : [page];
    const body: number[] = [];
    for (const code of codes) {
      const content = this.#modePage(code, control === 1);
      if (content) body.push(code, content.length, ...content);
      else {
        refuse(task, sense.invalidField);
        return;
      }
    }
    const noDescriptor = (cdb[1]! & 8) !== 0;
    const blocks = this.#blocks > 0xffffff ? 0 : this.#blocks;
    const descriptor = noDescriptor ? [] : [...bytes32(blocks), ...bytes32(this.blockBytes)];
    const specific = this.backend.readonly ? 0x80 : 0;
    const length = descriptor.length + body.length;
    const header = long
      ? [...bytes16(length + 6), 0, specific, 0, 0, ...bytes16(descriptor.length)]
      : [length + 3, 0, specific, descriptor.length];
    answerBytes(task, [...header, ...descriptor, ...body]);
  }

  /** Nothing but the write cache can be changed; what cannot must come as it is. */
  modeSelect(task: ScsiTask): void {
    const list = takeOutput(task);
    const pages = modeSelectPages(task.cdb, list);
    if (!Array.isArray(pages)) {
      refuse(task, pages as typeof sense.none);
      return;
    }
    for (const { code, content } of pages) {
      const current = this.#modePage(code, false);
      const mask = this.#modePage(code, true);
      if (
        !current ||
        !mask ||
        content.length !== current.length ||
        content.some((byte, i) => ((byte ^ current[i]!) & ~mask[i]!) !== 0)
      ) {
        refuse(task, sense.invalidParameter);
        return;
      }
    }
    const caching = pages.find(({ code }) => code === 0x08);
    if (!caching) {
      good(task, list.length);
      return;
    }
    const before = this.state.writeCache;
    this.state.writeCache = (caching.content[0]! & 4) !== 0;
    // What the cache holds is the medium's now.
    if (before && !this.state.writeCache) this.#flushThen(task, () => good(task, list.length));
    else good(task, list.length);
  }
}
