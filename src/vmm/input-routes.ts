/**
 * Which device hears of keys and mouse: of those that take such events the one whose driver has begun last, else the board's own. Whoever
 * shows the screen is told by the frame whether places or steps are wanted, and which lights are on.
 */
import type { ScreenFrame } from '../display/index.js';
import { UsbHid, type UsbHidOptions, VirtioInput, type VirtioInputKind } from '../hw/index.js';
import type { BoardInput } from '../machine/board.js';

/** What a person does, and what they ask of the screen. */
export interface PersonInput extends BoardInput {
  /** The pointer is there: 0 to 0x7fff from the left, and from the top. */
  point(x: number, y: number, dz: number, buttons: number): void;
  /** The screen is to have this size, if the guest agrees. */
  resize(width: number, height: number): void;
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
  readonly #used: InputDevice[] = [];
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
    return device;
  }

  addUsb(options: Omit<UsbHidOptions, 'events'>): UsbHid {
    const device: UsbHid = new UsbHid({ ...options, events: this.#events(() => device) });
    return device;
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

  #first(...kinds: readonly VirtioInputKind[]): InputDevice | undefined {
    return this.#used.find(({ kind }) => kinds.includes(kind));
  }

  #tell(): void {
    const frame = this.#frame;
    if (!frame) return;
    frame.isAbsolute = this.#first('tablet') !== undefined;
    frame.leds = this.#first('keyboard')?.leds;
  }

  key(set1Code: number, down: boolean): void {
    (this.#first('keyboard') ?? this.board)?.key(set1Code, down);
  }

  moveMouse(dx: number, dy: number, dz: number, buttons: number): void {
    // Buttons and wheel alone are for a tablet as well, where it was last.
    const device = dx === 0 && dy === 0 ? this.#first('mouse', 'tablet') : this.#first('mouse');
    if (device?.kind === 'tablet') device.point(this.#place.x, this.#place.y, dz, buttons);
    else if (device) device.move(dx, dy, dz, buttons);
    else this.board?.moveMouse(dx, dy, dz, buttons);
  }

  point(x: number, y: number, dz: number, buttons: number): void {
    this.#place = { x, y };
    this.#first('tablet')?.point(x, y, dz, buttons);
  }

  resize(width: number, height: number): void {
    this.resizable?.(width, height);
  }
}
