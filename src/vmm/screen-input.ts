/** What a person does at keyboard and mouse, on its way to the vCPU's thread: records of eight bytes in a ring. */
import type { BoardInput } from '../machine/board.js';
import type { ByteRing } from './byte-ring.js';

export type InputEvent =
  /** Set 1 code of the key, 0xe000 added for the extended keys. */
  | { readonly type: 'key'; readonly code: number; readonly down: boolean }
  /** Movement right, up and of the wheel, and the buttons held: bits for left, right, middle, fourth, fifth. */
  | {
      readonly type: 'move';
      readonly dx: number;
      readonly dy: number;
      readonly dz: number;
      readonly buttons: number;
    };

const RECORD_BYTES = 8;
const KEY = 1;
const MOVE = 2;
const MOST_STEP = 0x7fff;

/** False: there is no room, and the event is lost. */
export function putInput(ring: ByteRing, event: InputEvent): boolean {
  if (ring.space < RECORD_BYTES) return false;
  const record = new DataView(new ArrayBuffer(RECORD_BYTES));
  if (event.type === 'key') {
    record.setUint8(0, KEY);
    record.setUint8(1, event.down ? 1 : 0);
    record.setUint16(2, event.code);
  } else {
    const step = (value: number) => Math.max(-MOST_STEP, Math.min(MOST_STEP, Math.round(value)));
    record.setUint8(0, MOVE);
    record.setUint8(1, event.buttons);
    record.setInt16(2, step(event.dx));
    record.setInt16(4, step(event.dy));
    record.setInt16(6, step(event.dz));
  }
  ring.write(new Uint8Array(record.buffer));
  return true;
}

export function giveInput(event: InputEvent, to: BoardInput): void {
  if (event.type === 'key') to.key(event.code, event.down);
  else to.moveMouse(event.dx, event.dy, event.dz, event.buttons);
}

/** Hands on what waits. */
export function takeInput(ring: ByteRing, to: BoardInput): void {
  while (ring.available >= RECORD_BYTES) {
    const bytes = ring.read(RECORD_BYTES);
    const record = new DataView(bytes.buffer);
    const event: InputEvent =
      record.getUint8(0) === KEY
        ? { type: 'key', code: record.getUint16(2), down: record.getUint8(1) !== 0 }
        : {
            type: 'move',
            dx: record.getInt16(2),
            dy: record.getInt16(4),
            dz: record.getInt16(6),
            buttons: record.getUint8(1),
          };
    giveInput(event, to);
  }
}
