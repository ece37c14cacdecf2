/** What a person does at keyboard and mouse, on its way to the vCPU's thread: records of eight bytes in a ring. */
import type { ByteRing } from './byte-ring.js';
import type { PersonInput } from './input-routes.js';

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
    }
  /** The pointer of a tablet is at a place, 0 to 0x7fff from the left and from the top; wheel and buttons as above. */
  | {
      readonly type: 'point';
      readonly x: number;
      readonly y: number;
      readonly dz: number;
      readonly buttons: number;
    };

/** What the screen's thread sends: beside that, the size that somebody would like the screen to have. */
export type ScreenEvent = InputEvent | { readonly type: 'resize'; readonly width: number; readonly height: number };

const RECORD_BYTES = 8;
const KEY = 1;
const MOVE = 2;
const POINT = 3;
const RESIZE = 4;
const MOST_STEP = 0x7fff;

/** False: there is no room, and the event is lost. */
export function putInput(ring: ByteRing, event: ScreenEvent): boolean {
  if (ring.space < RECORD_BYTES) return false;
  const record = new DataView(new ArrayBuffer(RECORD_BYTES));
  const step = (value: number) => Math.max(-MOST_STEP, Math.min(MOST_STEP, Math.round(value)));
  const place = (value: number) => Math.max(0, Math.min(MOST_STEP, Math.round(value)));
  if (event.type === 'key') {
    record.setUint8(0, KEY);
    record.setUint8(1, event.down ? 1 : 0);
    record.setUint16(2, event.code);
  } else if (event.type === 'point') {
    record.setUint8(0, POINT);
    record.setUint8(1, event.buttons);
    record.setUint16(2, place(event.x));
    record.setUint16(4, place(event.y));
    record.setInt16(6, step(event.dz));
  } else if (event.type === 'resize') {
    record.setUint8(0, RESIZE);
    record.setUint16(2, event.width);
    record.setUint16(4, event.height);
  } else {
    record.setUint8(0, MOVE);
    record.setUint8(1, event.buttons);
    record.setInt16(2, step(event.dx));
    record.setInt16(4, step(event.dy));
    record.setInt16(6, step(event.dz));
  }
  ring.write(new Uint8Array(record.buffer));
  return true;
}

export function giveInput(event: ScreenEvent, to: PersonInput): void {
  switch (event.type) {
    case 'key':
      to.key(event.code, event.down);
      return;
    case 'move':
      to.moveMouse(event.dx, event.dy, event.dz, event.buttons);
      return;
    case 'point':
      to.point(event.x, event.y, event.dz, event.buttons);
      return;
    case 'resize':
      to.resize(event.width, event.height);
  }
}

function readRecord(record: DataView): ScreenEvent {
  switch (record.getUint8(0)) {
    case KEY:
      return { type: 'key', code: record.getUint16(2), down: record.getUint8(1) !== 0 };
    case POINT:
      return {
        type: 'point',
        x: record.getUint16(2),
        y: record.getUint16(4),
        dz: record.getInt16(6),
        buttons: record.getUint8(1),
      };
    case RESIZE:
      return { type: 'resize', width: record.getUint16(2), height: record.getUint16(4) };
    default:
      return {
        type: 'move',
        dx: record.getInt16(2),
        dy: record.getInt16(4),
        dz: record.getInt16(6),
        buttons: record.getUint8(1),
      };
  }
}

/** Hands on what waits. */
export function takeInput(ring: ByteRing, to: PersonInput): void {
  while (ring.available >= RECORD_BYTES) giveInput(readRecord(new DataView(ring.read(RECORD_BYTES).buffer)), to);
}
