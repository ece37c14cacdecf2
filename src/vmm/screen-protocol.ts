/** What a machine's owner and the thread of its screen say to each other. */
import type { TextScreen } from '../display/index.js';

/** Shared by the vCPU's thread and the screen's: registers, and the way of keys and mouse to the guest. */
export interface ScreenShares {
  /** State of the keyboard controller and the VGA (`BoardOptions.sharedState`). */
  readonly state: SharedArrayBuffer;
  /** A `ByteRing` of input records: the screen's thread writes. */
  readonly input: SharedArrayBuffer;
}

/** Room for the VGA's option ROM. */
export const VGA_ROM_BYTES = 0x10000;
/** Enough for the state of both. */
export const SCREEN_STATE_BYTES = 8192;

/** Where video memory lies. */
export interface ScreenMemory {
  readonly memory: SharedArrayBuffer;
  readonly vramHva: number;
  readonly vramBytes: number;
}

export interface ScreenWorkerConfig extends ScreenShares, ScreenMemory {
  readonly doorbell: SharedArrayBuffer;
}

export type PictureFormat = 'png' | 'ppm';

export type ScreenRequest =
  | { readonly type: 'picture'; readonly format: PictureFormat }
  /** The characters on the screen, as a `TextScreen`; undefined while it shows graphics. */
  | { readonly type: 'text' };

export type ToScreen = { readonly id: number; readonly request: ScreenRequest };

export type FromScreen = {
  readonly type: 'reply';
  readonly id: number;
  readonly value?: Uint8Array | TextScreen | undefined;
  readonly error?: { readonly code: string; readonly message: string };
};
