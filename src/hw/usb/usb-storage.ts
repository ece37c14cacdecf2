/**
 * A disk or CD drive behind USB (Mass Storage Class, Bulk-Only Transport 1.0): a command block, data, a status. Data pass through the
 * drive's buffer beside guest memory; of a longer read or write one piece after the other.
 *
 * Deviation: a command whose data the host expects otherwise than the command itself is ended by a short packet, never by a halted
 * endpoint; what the host sends too much is thrown away.
 */
import {
  bool,
  bytes,
  defineState,
  f64,
  type StateArena,
  StateError,
  type StateOf,
  u8,
  u32,
} from '../../schema/index.js';
import { type StatePart, statePart } from '../pci/saved-parts.js';
import { bytes32 } from '../scsi/big-endian.js';
import { blockRange, type DataExpected } from '../scsi/scsi-commands.js';
import { type ScsiResult, type ScsiUnit, scsiStatus } from '../scsi/scsi-unit.js';
import { fixedSense, type Sense, sense } from '../scsi/sense.js';
import { answer, kind, type Setup, transferType, type UsbSpeed, usbProducts } from './usb-codes.js';
import { configAttribute, UsbDevice } from './usb-device.js';

const bulkReset = 0xff;
const getMaxLun = 0xfe;
const bufferBytes = 0x20000;
const commandBytes = 31;
const statusBytes = 13;
const commandSignature = 0x43425355;
const statusSignature = 0x53425355;
const mode = { command: 0, dataIn: 1, dataOut: 2, status: 3, broken: 4 } as const;
const csw = { passed: 0, failed: 1 } as const;
const requestSense = 0x03;
const dataIn = 0x81;
const dataOut = 0x02;
/** Reads and writes that can be cut: to READ (16) and WRITE (16). */
const reads = [0x08, 0x28, 0x88, 0xa8];
const writes = [0x0a, 0x2a, 0x8a, 0xaa];

const UsbStorageState = defineState('usb-storage', 1, {
  mode: u8(mode.command, { max: mode.broken }),
  tag: u32(),
  /** Bytes that the host expects to move, and has moved. */
  expected: f64(0, { min: 0, max: 2 ** 32, integer: true }),
  moved: f64(0, { min: 0, max: 2 ** 32, integer: true }),
  isIn: bool(),
  cdb: bytes(16),
  /** Bytes of the command's data that are not in the buffer yet. */
  left: f64(0, { min: 0, max: 2 ** 45, integer: true }),
  /** Block that the next piece begins at. */
  lba: f64(0, { min: 0, max: 2 ** 53, integer: true }),
  /** In the buffer: bytes of the piece, and how many of them have passed. */
  filled: u32(0, { max: bufferBytes }),
  passed: u32(0, { max: bufferBytes }),
  status: u8(csw.passed, { max: 1 }),
  senseKey: u8(),
  senseCode: u8(),
  senseQualifier: u8(),
});

export interface UsbStorageOptions {
  readonly unit: ScsiUnit;
  readonly speed: UsbSpeed;
  readonly id?: string | undefined;
  readonly serial?: string | undefined;
  readonly arena?: StateArena | undefined;
}

export class UsbStorage extends UsbDevice {
  readonly unit: ScsiUnit;
  readonly #state: StateOf<typeof UsbStorageState>;
  readonly #buffer: Uint8Array;
  /** The unit works on a piece. */
  #isBusy = false;
  /** Goes up with every reset: a piece of before is nobody's, but the buffer is its until it ends. */
  #generation = 0;
  protected readonly ownParts: readonly StatePart[];

  constructor({ unit, speed, id, serial, arena }: UsbStorageOptions) {
    const maxPacket = speed === 'high' ? 512 : 64;
    super(
      speed,
      {
        vendorId: 0x46f4,
        productId: 1,
        product: usbProducts.storage,
        serial: serial ?? '1-0000:00:00.0',
        interfaceClass: [8, 6, 0x50],
        endpoints: [
          { address: dataIn, type: transferType.bulk, maxPacket, interval: 0 },
          { address: dataOut, type: transferType.bulk, maxPacket, interval: 0 },
        ],
        attributes: configAttribute.selfPowered,
        maxPower: 0,
      },
      id,
      arena,
    );
    this.unit = unit;
    this.#state = UsbStorageState.allocate(arena);
    this.#buffer = unit.backend.allocate(bufferBytes);
    const buffer = this.#buffer;
    this.ownParts = [
      ...unit.parts,
      statePart(UsbStorageState, this.#state),
      {
        save: () => buffer.slice(),
        load: (saved) => {
          if (saved.length !== bufferBytes) throw new StateError('state-field', 'The buffer of a disk has 128 KiB.');
          buffer.set(saved);
        },
      },
    ];
  }

  override get pendingRequests(): number {
    return this.#isBusy ? 1 : 0;
  }

  protected resetOwn(): void {
    this.#generation++;
    UsbStorageState.reset(this.#state);
    this.unit.reset();
  }

  protected classRequest(setup: Setup): Uint8Array | undefined {
    if (setup.kind !== kind.classInterface) return undefined;
    if (setup.request === getMaxLun && setup.isIn) return Uint8Array.of(0);
    if (setup.request !== bulkReset || setup.isIn) return undefined;
    this.#generation++;
    this.#state.mode = mode.command;
    return new Uint8Array(0);
  }

  protected endpointPacket(_endpoint: number, isIn: boolean, data: Uint8Array): number {
    return isIn ? this.#give(data) : this.#take(data);
  }

  // From the host

  #take(data: Uint8Array): number {
    const state = this.#state;
    if (this.#isBusy) return answer.nak;
    if (state.mode === mode.command) return this.#command(data);
    if (state.mode !== mode.dataOut) return this.#fail();
    const room = state.filled - state.passed;
    const count = Math.min(data.length, room);
    this.#buffer.set(data.subarray(0, count), state.passed);
    state.passed += count;
    state.moved += data.length;
    if (count > 0 && state.passed === state.filled) this.#run();
    // What is more than the command takes goes nowhere.
    if (state.moved >= state.expected) this.#endData();
    return data.length;
  }

  /** Both endpoints are halted, until the host resets the device (6.6.1). */
  #fail(): number {
    this.#state.mode = mode.broken;
    this.halt(dataIn);
    this.halt(dataOut);
    return answer.stall;
  }

  protected override haltCleared(endpoint: number): void {
    if (this.#state.mode === mode.broken) this.halt(endpoint);
  }

  #command(data: Uint8Array): number {
    const state = this.#state;
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    const isFit =
      data.length === commandBytes &&
      view.getUint32(0, true) === commandSignature &&
      data[13] === 0 &&
      data[14]! >= 1 &&
      data[14]! <= 16;
    if (!isFit) return this.#fail();
    state.tag = view.getUint32(4, true);
    state.expected = view.getUint32(8, true);
    state.isIn = (data[12]! & 0x80) !== 0;
    state.moved = state.filled = state.passed = 0;
    state.status = csw.passed;
    state.cdb.fill(0);
    state.cdb.set(data.subarray(15, 15 + data[14]!));
    const wanted = this.unit.expects(state.cdb);
    const isAsExpected = wanted.direction === 'none' || (wanted.direction === 'in') === state.isIn;
    // What moves the other way than the host thinks is not begun.
    if (!isAsExpected) {
      state.status = csw.failed;
      state.left = 0;
      this.#remember(sense.invalidField);
    } else this.#begin(wanted);
    state.mode = state.expected === 0 ? mode.status : state.isIn ? mode.dataIn : mode.dataOut;
    return data.length;
  }

  #begin({ direction, bytes: length }: DataExpected): void {
    const state = this.#state;
    const isCut = [...reads, ...writes].includes(state.cdb[0]!);
    state.left = Math.min(length, state.expected, isCut ? Infinity : bufferBytes);
    if (isCut) {
      state.lba = blockRange(state.cdb).lba;
      // Whole blocks.
      state.left -= state.left % this.unit.blockBytes;
    }
    if (direction === 'out' && state.left > 0) this.#makeRoom();
    else this.#run();
  }

  /** Room for the next piece from the host. */
  #makeRoom(): void {
    const state = this.#state;
    state.filled = Math.min(state.left, bufferBytes);
    state.passed = 0;
  }

  /** Carries the command out, or the next piece of it. */
  #run(): void {
    const state = this.#state;
    const piece = Math.min(state.left, bufferBytes);
    const told = this.#takeSense();
    if (told) {
      const report = fixedSense(told).subarray(0, piece);
      this.#buffer.set(report);
      this.#ran(true, piece, report.length);
      return;
    }
    const isRead = reads.includes(state.cdb[0]!);
    const isWrite = writes.includes(state.cdb[0]!);
    const cdb = isRead || isWrite ? this.#pieceCommand(isRead, piece) : state.cdb.slice();
    const isInput = isRead || this.unit.expects(cdb).direction === 'in';
    const space = piece > 0 ? [this.#buffer.subarray(0, piece)] : [];
    const generation = this.#generation;
    this.#isBusy = true;
    this.unit.execute({
      cdb,
      input: isInput ? space : [],
      output: isInput ? [] : space,
      end: (result) => {
        this.#isBusy = false;
        if (generation === this.#generation) this.#ended(result, isInput, piece);
        this.tellReady(dataIn);
        this.tellReady(dataOut);
      },
    });
  }

  /** READ (16) or WRITE (16) of a piece; a command without blocks stays as it is. */
  #pieceCommand(isRead: boolean, piece: number): Uint8Array {
    const state = this.#state;
    if (piece === 0) return state.cdb.slice();
    const high = Math.floor(state.lba / 2 ** 32);
    const blocks = bytes32(piece / this.unit.blockBytes);
    // CD drives know READ (12), but not READ (16).
    if (high === 0) return Uint8Array.of(isRead ? 0xa8 : 0xaa, 0, ...bytes32(state.lba), ...blocks, 0, 0, 0, 0, 0, 0);
    return Uint8Array.of(isRead ? 0x88 : 0x8a, 0, ...bytes32(high), ...bytes32(state.lba % 2 ** 32), ...blocks, 0, 0);
  }

  #ended(result: ScsiResult, isInput: boolean, piece: number): void {
    const isGood = result.status === scsiStatus.good;
    if (!isGood) {
      this.#state.status = csw.failed;
      this.#remember(result.sense);
    }
    this.#ran(isInput, piece, isInput ? result.transferred : 0);
    if (!isGood) this.#state.left = 0;
  }

  /** A piece has been carried out; so many bytes are for the host. */
  #ran(isInput: boolean, piece: number, available: number): void {
    const state = this.#state;
    state.left -= piece;
    state.lba += Math.floor(piece / this.unit.blockBytes);
    state.passed = 0;
    state.filled = isInput ? Math.min(available, piece) : 0;
    // A piece that came out shorter is the last.
    if (isInput && available < piece) state.left = 0;
    if (!isInput && state.left > 0 && state.status === csw.passed) this.#makeRoom();
  }

  #remember({ key, code, qualifier }: Sense): void {
    Object.assign(this.#state, { senseKey: key, senseCode: code, senseQualifier: qualifier });
  }

  /** What REQUEST SENSE is to tell of the last command that failed. */
  #takeSense(): Sense | undefined {
    const state = this.#state;
    const found = { key: state.senseKey, code: state.senseCode, qualifier: state.senseQualifier };
    this.#remember(sense.none);
    return state.cdb[0] === requestSense && found.key !== 0 ? found : undefined;
  }

  #endData(): void {
    this.#state.mode = mode.status;
  }

  // To the host

  #give(data: Uint8Array): number {
    const state = this.#state;
    if (state.mode === mode.status) return this.#tellStatus(data);
    if (state.mode !== mode.dataIn) return state.mode === mode.dataOut ? answer.nak : this.#fail();
    if (this.#isBusy) return answer.nak;
    if (state.passed === state.filled && state.left > 0) {
      this.#run();
      if (this.#isBusy) return answer.nak;
    }
    const room = Math.min(data.length, state.expected - state.moved);
    const count = Math.min(room, state.filled - state.passed);
    data.set(this.#buffer.subarray(state.passed, state.passed + count));
    state.passed += count;
    state.moved += count;
    // A short packet says that no more comes.
    if (count < data.length || state.moved === state.expected) this.#endData();
    return count;
  }

  #tellStatus(data: Uint8Array): number {
    const state = this.#state;
    if (this.#isBusy) return answer.nak;
    if (data.length < statusBytes) return this.#fail();
    const view = new DataView(data.buffer, data.byteOffset, statusBytes);
    view.setUint32(0, statusSignature, true);
    view.setUint32(4, state.tag, true);
    view.setUint32(8, Math.max(0, state.expected - state.moved), true);
    view.setUint8(12, state.status);
    state.mode = mode.command;
    return statusBytes;
  }
}
