/**
 * What every SCSI logical unit does (SPC-4): unit attention, sense data, INQUIRY, REQUEST SENSE, MODE SELECT's frame. A kind of unit
 * brings the rows of its own commands. Data move between the medium and the pieces of guest memory that the controller names.
 */
import { bool, u8 } from '../../schema/index.js';
import type { BlockFailure, DriveBackend } from '../disk/index.js';
import type { StatePart } from '../pci/saved-parts.js';
import { be16 } from './big-endian.js';
import { inquiryAnswer, type UnitNames } from './inquiry.js';
import { type DataExpected, dataExpected } from './scsi-commands.js';
import { descriptorSense, fixedSense, type Sense, sense } from './sense.js';

export const scsiStatus = { good: 0, checkCondition: 2 } as const;

export interface ScsiResult {
  readonly status: number;
  readonly sense: Sense;
  /** Bytes that were moved. */
  readonly transferred: number;
}

/** A command under way. `end` is called exactly once, perhaps before `execute` returns. */
export interface ScsiTask {
  readonly cdb: Uint8Array;
  /** Guest memory for data to the host, and with data from the host: as many bytes as the command moves, or more. */
  readonly input: readonly Uint8Array[];
  readonly output: readonly Uint8Array[];
  end(result: ScsiResult): void;
}

export interface ScsiRow<U> {
  readonly code: number;
  readonly name: string;
  /** Runs while a unit attention waits. */
  readonly always?: boolean;
  readonly needsMedium?: boolean;
  run(unit: U, task: ScsiTask): void;
}

/** State of every unit, as declared in its schema. */
export const unitFields = {
  attentionKey: u8(sense.reset.key, { max: 15 }),
  attentionCode: u8(sense.reset.code),
  attentionQualifier: u8(sense.reset.qualifier),
  /** REPORT LUNS would tell something new. */
  lunsChanged: bool(),
  writeCache: bool(true),
};
export interface UnitState {
  attentionKey: number;
  attentionCode: number;
  attentionQualifier: number;
  lunsChanged: boolean;
  writeCache: boolean;
}

/** Commands that no unit attention stops (SAM-5, 5.14), and those that ask for it. */
const inquiry = 0x12;
const requestSense = 0x03;
const reportLuns = 0xa0;

export abstract class ScsiUnit {
  readonly names: UnitNames;
  readonly backend: DriveBackend;
  abstract readonly state: UnitState;
  abstract readonly parts: readonly StatePart[];
  /** Peripheral device type: 0 disk, 5 CD. */
  abstract readonly deviceType: number;
  abstract readonly removable: boolean;
  /** Bytes of a logical block. */
  abstract readonly blockBytes: number;
  /** Commands under way. */
  pending = 0;

  constructor(names: UnitNames, backend: DriveBackend) {
    this.names = names;
    this.backend = backend;
  }

  /** Power-on state: the next command meets a unit attention. */
  abstract reset(): void;
  /** A vital product data page's content; undefined: there is none. */
  abstract vitalPage(code: number): readonly number[] | undefined;
  /** Codes of those pages, ascending. */
  abstract readonly vitalPages: readonly number[];
  /** Whether attentions spare this command. */
  protected abstract isAlways(code: number): boolean;
  protected abstract run(task: ScsiTask): void;

  expects(cdb: Uint8Array): DataExpected {
    return dataExpected(cdb, this.blockBytes);
  }

  /** The next command ends with this. */
  attention({ key, code, qualifier }: Sense): void {
    const { state } = this;
    state.attentionKey = key;
    state.attentionCode = code;
    state.attentionQualifier = qualifier;
  }

  #takeAttention(): Sense {
    const { state } = this;
    if (state.attentionKey !== 0) {
      const found = { key: state.attentionKey, code: state.attentionCode, qualifier: state.attentionQualifier };
      state.attentionKey = state.attentionCode = state.attentionQualifier = 0;
      return found;
    }
    if (!state.lunsChanged) return sense.none;
    state.lunsChanged = false;
    return sense.lunsChanged;
  }

  get #hasAttention(): boolean {
    return this.state.attentionKey !== 0 || this.state.lunsChanged;
  }

  /** Begins a command. */
  execute(given: ScsiTask): void {
    this.pending++;
    const task: ScsiTask = {
      cdb: given.cdb,
      input: given.input,
      output: given.output,
      end: (result) => {
        this.pending--;
        given.end(result);
      },
    };
    const code = task.cdb[0]!;
    if (code === requestSense) {
      const told = this.#takeAttention();
      answerBytes(task, (task.cdb[1]! & 1) !== 0 ? descriptorSense(told) : fixedSense(told));
      return;
    }
    if (code === inquiry) {
      const bytes = inquiryAnswer(this, task.cdb);
      if (bytes) answerBytes(task, bytes);
      else refuse(task, sense.invalidField);
      return;
    }
    if (this.#hasAttention && code !== reportLuns && !this.isAlways(code)) {
      refuse(task, this.#takeAttention());
      return;
    }
    this.run(task);
  }

  /** REPORT LUNS has told what is there. */
  lunsReported(): void {
    this.state.lunsChanged = false;
  }
}

export const good = (task: ScsiTask, transferred = 0): void =>
  task.end({ status: scsiStatus.good, sense: sense.none, transferred });

export const refuse = (task: ScsiTask, why: Sense, transferred = 0): void =>
  task.end({ status: scsiStatus.checkCondition, sense: why, transferred });

/** Ends with the answer, cut to the bytes that the host has asked for. */
export function answerBytes(task: ScsiTask, bytes: Uint8Array | readonly number[]): void {
  const all = bytes instanceof Uint8Array ? bytes : Uint8Array.from(bytes);
  let at = 0;
  for (const piece of task.input) {
    const part = all.subarray(at, at + piece.length);
    piece.set(part);
    at += part.length;
  }
  good(task, at);
}

/** What the host has sent. */
export function takeOutput(task: ScsiTask): Uint8Array {
  const length = task.output.reduce((sum, piece) => sum + piece.length, 0);
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const piece of task.output) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

export function failureSense(failure: BlockFailure): Sense {
  switch (failure) {
    case 'no-space':
      return sense.noSpace;
    case 'unsupported':
      return sense.invalidField;
    default:
      return sense.ioError;
  }
}

/** The mode pages that MODE SELECT brings, page code and content; a sense: why it is refused. */
export function modeSelectPages(cdb: Uint8Array, list: Uint8Array): { code: number; content: Uint8Array }[] | Sense {
  const long = cdb[0] === 0x55;
  // Pages in the standard's format only, none saved.
  if ((cdb[1]! & 0x11) !== 0x10) return sense.invalidField;
  if (list.length === 0) return [];
  const header = long ? 8 : 4;
  if (list.length < header) return sense.parameterListLength;
  const descriptors = long ? be16(list, 6) : list[3]!;
  if (header + descriptors > list.length) return sense.parameterListLength;
  const pages: { code: number; content: Uint8Array }[] = [];
  for (let at = header + descriptors; at < list.length; ) {
    const first = list[at]!;
    // Sub-pages: we have none.
    const [head, length] = (first & 0x40) !== 0 ? [4, be16(list, at + 2)] : [2, list[at + 1]!];
    if (at + head + length > list.length || Number.isNaN(length)) return sense.parameterListLength;
    if ((first & 0x40) !== 0) return sense.invalidParameter;
    pages.push({ code: first & 0x3f, content: list.subarray(at + head, at + head + length) });
    at += head + length;
  }
  return pages;
}
