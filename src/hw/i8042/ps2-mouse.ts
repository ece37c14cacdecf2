/**
 * A PS/2 mouse with the wheel and five-button extensions (IBM PS/2 Hardware Interface Technical Reference, "Auxiliary
 * device"; the extensions as Microsoft's IntelliMouse has them).
 */
import { bool, bytes, i32, type StructOf, u8 } from '../../schema/index.js';
import { Ps2Queue, queueFields } from './ps2-queue.js';

const ACK = 0xfa;
const NAK = 0xfe;

export const mouseFields = {
  ...queueFields,
  /** The command whose parameter is awaited, or 0. */
  command: u8(),
  /** Device ID: 0 plain, 3 with wheel, 4 with wheel and five buttons. */
  deviceId: u8(0, { max: 4 }),
  reporting: bool(),
  remote: bool(),
  wrap: bool(),
  scaling2: bool(),
  resolution: u8(2, { max: 3 }),
  sampleRate: u8(100),
  /** The last three sample rates that were set: the knock by which the extensions are asked for. */
  knock: bytes(3),
  /** Left, right, middle, fourth, fifth. */
  buttons: u8(0, { max: 31 }),
  dx: i32(),
  dy: i32(),
  dz: i32(),
};

export class Ps2Mouse extends Ps2Queue {
  readonly #state: StructOf<typeof mouseFields>;
  constructor(state: StructOf<typeof mouseFields>) {
    super(state);
    this.#state = state;
  }

  /** Movement (right, up, wheel away from the user) since the last call and the buttons now held. */
  move(dx: number, dy: number, dz: number, buttons: number): void {
    const state = this.#state;
    const limit = (v: number) => Math.max(-10000, Math.min(10000, v | 0));
    state.dx = limit(state.dx + dx);
    state.dy = limit(state.dy + dy);
    state.dz = limit(state.dz + dz);
    state.buttons = buttons & 31;
    if (!state.reporting || state.remote) return;
    // While the host is slow, movement adds up and is sent when there is room.
    do this.#report();
    while ((state.dx !== 0 || state.dy !== 0) && this.hasRoom(8));
  }

  #report(): void {
    const state = this.#state;
    if (!this.hasRoom(4)) return;
    const clamp = (v: number, most: number) => Math.max(-most, Math.min(most, v));
    const dx = clamp(state.dx, 255);
    const dy = clamp(state.dy, 255);
    state.dx -= dx;
    state.dy -= dy;
    this.push((state.buttons & 7) | 0x08 | (dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0));
    this.push(dx & 0xff);
    this.push(dy & 0xff);
    const dz = clamp(state.dz, 7);
    state.dz = state.deviceId === 0 ? 0 : state.dz - dz;
    // The wheel counts towards the user.
    if (state.deviceId === 3) this.push(-dz & 0xff);
    else if (state.deviceId === 4) this.push((-dz & 0x0f) | ((state.buttons & 0x18) << 1));
  }

  #setDefaults(): void {
    const state = this.#state;
    state.reporting = false;
    state.remote = false;
    state.wrap = false;
    state.scaling2 = false;
    state.resolution = 2;
    state.sampleRate = 100;
    state.dx = 0;
    state.dy = 0;
    state.dz = 0;
    this.clear();
  }

  #setSampleRate(rate: number): void {
    const state = this.#state;
    state.sampleRate = rate;
    state.knock.copyWithin(0, 1);
    state.knock[2] = rate;
    const [a, b, c] = state.knock as unknown as [number, number, number];
    if (a === 200 && b === 100 && c === 80) state.deviceId = 3;
    else if (a === 200 && b === 200 && c === 80) state.deviceId = 4;
  }

  /** A byte from the host. */
  receive(byte: number): void {
    const state = this.#state;
    if (state.wrap && byte !== 0xec && byte !== 0xff) {
      this.push(byte);
      return;
    }
    const { command } = state;
    if (command !== 0) {
      state.command = 0;
      if (command === 0xe8) state.resolution = byte & 3;
      else this.#setSampleRate(byte);
      this.push(ACK);
      return;
    }
    switch (byte) {
      case 0xe6:
      case 0xe7:
        state.scaling2 = byte === 0xe7;
        break;
      case 0xe8:
      case 0xf3:
        state.command = byte;
        break;
      case 0xe9: {
        this.push(ACK);
        const { buttons } = state;
        const held = ((buttons & 1) << 2) | (buttons & 4 ? 2 : 0) | (buttons & 2 ? 1 : 0);
        const modes = (state.remote ? 0x40 : 0) | (state.reporting ? 0x20 : 0) | (state.scaling2 ? 0x10 : 0);
        this.push(modes | held);
        this.push(state.resolution);
        this.push(state.sampleRate);
        return;
      }
      case 0xea:
        state.remote = false;
        break;
      case 0xeb:
        this.push(ACK);
        this.#report();
        return;
      case 0xec:
        state.wrap = false;
        break;
      case 0xee:
        state.wrap = true;
        break;
      case 0xf0:
        state.remote = true;
        break;
      case 0xf2:
        this.push(ACK);
        this.push(state.deviceId);
        return;
      case 0xf4:
        state.reporting = true;
        break;
      case 0xf5:
        state.reporting = false;
        break;
      case 0xf6:
        this.#setDefaults();
        break;
      case 0xff:
        this.#setDefaults();
        state.deviceId = 0;
        state.knock.fill(0);
        this.push(ACK);
        this.push(0xaa);
        this.push(0x00);
        return;
      default:
        this.push(NAK);
        return;
    }
    this.push(ACK);
  }
}
