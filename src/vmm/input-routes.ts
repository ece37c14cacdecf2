/**
 * Which device hears of keys and mouse: of those that take such events the one whose driver has begun last, else the board's own. Whoever
 * shows the screen is told by the frame whether places or steps are wanted, and which lights are on.
 */
import { VringError } from '../base/index.js';
import type { ScreenFrame } from '../display/index.js';
import { UsbHid, type UsbHidOptions, VirtioInput, type VirtioInputKind } from '../hw/index.js';
import type { BoardInput } from '../machine/board.js';

const BOARD_MOUSE = { kind: 'mouse' } as const;
/** As QEMU numbers them: a board's keyboard comes first. */
const BOARD_MOUSE_INDEX = 2;
const isBoards = (device: object): device is typeof BOARD_MOUSE => device === BOARD_MOUSE;

/** What a person does, and what they ask of the screen. */
export interface PersonInput extends BoardInput {
  /** The pointer is there: 0 to 0x7fff from the left, and from the top. */
  point(x: number, y: number, dz: number, buttons: number): void;
  /** The screen is to have this size, if the guest agrees. */
  resize(width: number, height: number): void;
}

/** A mouse or a tablet, as `info mice` shows it. */
export interface MouseDescription {
  readonly index: number;
  readonly name: string;
  /** It hears of the mouse. */
  readonly current: boolean;
  readonly absolute: boolean;
}

/** A device that hears of keys and mouse. */
type InputDevice = VirtioInput | UsbHid;

export class InputRoutes implements PersonInput {
  /** Of the board; set when it is there. */
  board: BoardInput | undefined;
  /** Of a display whose size can be chosen. */
  resizable: ((width: number, height: number) => void) | undefined;
  readonly #frame: ScreenFrame | undefined;
  /** Those in use, the latest first. */
  #used: (InputDevice | typeof BOARD_MOUSE)[] = [];
  /** All beside the board's own, by their indices. */
  readonly #all = new Map<number, InputDevice>();
  /** Of the next one, without the board's own two. */
  #nextIndex = 1;
  /** Where the pointer was last. */
  #place = { x: 0, y: 0 };

  constructor(frame: ScreenFrame | undefined) {
    this.#frame = frame;
  }

  add(kind: VirtioInputKind): VirtioInput {
    const device: VirtioInput = new VirtioInput(
      kind,
      this.#events(() => device),
    );
    this.#all.set(this.#nextIndex++, device);
    return device;
  }

  addUsb(options: Omit<UsbHidOptions, 'events'>): UsbHid {
    const device: UsbHid = new UsbHid({ ...options, events: this.#events(() => device) });
    this.#all.set(this.#nextIndex++, device);
    return device;
  }

  /** A device has been pulled out. */
  remove(device: object): void {
    for (const [index, each] of this.#all) if (each === device) this.#all.delete(index);
    this.#used = this.#used.filter((each) => each !== device);
    this.#tell();
  }

  /** The last that came first, those that hear of the mouse last, as QEMU tells them. */
  get mice(): readonly MouseDescription[] {
    const devices = this.#devices;
    const order = [...this.#used, ...[...devices.values()].filter((device) => !this.#used.includes(device))];
    const mice = order.filter(({ kind }) => kind !== 'keyboard');
    return mice
      .map((device, i) => ({
        index: [...devices].find((each) => each[1] === device)?.[0] ?? 0,
        name: nameOf(device),
        current: i === 0,
        absolute: device.kind === 'tablet',
      }))
      .reverse();
  }

  /** By the indices that they are told with. */
  get #devices(): ReadonlyMap<number, InputDevice | typeof BOARD_MOUSE> {
    if (!this.board) return this.#all;
    const others = [...this.#all].map(([index, device]) => [index + BOARD_MOUSE_INDEX, device] as const);
    return new Map<number, InputDevice | typeof BOARD_MOUSE>([[BOARD_MOUSE_INDEX, BOARD_MOUSE], ...others]);
  }

  /** It hears of the mouse from here on. Throws VringError `no-such-mouse`, in QEMU's words. */
  chooseMouse(index: number): void {
    const device = this.#devices.get(index);
    if (!device) throw new VringError('no-such-mouse', `Mouse at index '${index}' not found`);
    if (device.kind === 'keyboard')
      throw new VringError('no-such-mouse', `Input device '${nameOf(device)}' is not a mouse`);
    const at = this.#used.indexOf(device);
    if (at >= 0) this.#used.splice(at, 1);
    this.#used.unshift(device);
    this.#tell();
  }

  #events(find: () => InputDevice) {
    return {
      used: (isUsed: boolean) => {
        const device = find();
        const at = this.#used.indexOf(device);
        if (at >= 0) this.#used.splice(at, 1);
        if (isUsed) this.#used.unshift(device);
        this.#tell();
      },
      lit: () => this.#tell(),
    };
  }

  #first(...kinds: readonly VirtioInputKind[]): InputDevice | typeof BOARD_MOUSE | undefined {
    return this.#used.find(({ kind }) => kinds.includes(kind));
  }

  #tell(): void {
    const frame = this.#frame;
    if (!frame) return;
    frame.isAbsolute = this.#first('mouse', 'tablet')?.kind === 'tablet';
    frame.leds = this.#keyboard()?.leds;
  }

  #keyboard(): InputDevice | undefined {
    for (const each of this.#used) if (!isBoards(each) && each.kind === 'keyboard') return each;
    return undefined;
  }

  key(set1Code: number, down: boolean): void {
    (this.#keyboard() ?? this.board)?.key(set1Code, down);
  }

  moveMouse(dx: number, dy: number, dz: number, buttons: number): void {
    // Buttons and wheel alone are for a tablet as well, where it was last.
    const device = dx === 0 && dy === 0 ? this.#first('mouse', 'tablet') : this.#first('mouse');
    if (device === undefined || isBoards(device)) this.board?.moveMouse(dx, dy, dz, buttons);
    else if (device.kind === 'tablet') device.point(this.#place.x, this.#place.y, dz, buttons);
    else device.move(dx, dy, dz, buttons);
  }

  point(x: number, y: number, dz: number, buttons: number): void {
    this.#place = { x, y };
    const device = this.#first('tablet');
    if (device && !isBoards(device)) device.point(x, y, dz, buttons);
  }

  resize(width: number, height: number): void {
    this.resizable?.(width, height);
  }
}

const kindNames = { keyboard: 'Keyboard', mouse: 'Mouse', tablet: 'Tablet' } as const;

/** QEMU's. */
function nameOf(device: InputDevice | typeof BOARD_MOUSE): string {
  if (isBoards(device)) return 'QEMU PS/2 Mouse';
  return `QEMU ${device instanceof UsbHid ? 'HID' : 'Virtio'} ${kindNames[device.kind]}`;
}
