/** What a machine's owner and the thread of its screen say to each other. */
import type { TlsCredentials } from '../block/index.js';
import type { TextScreen } from '../display/index.js';

/** Shared by the vCPU's thread and the screen's: registers, and the way of keys and mouse to the guest. */
export interface ScreenShares {
  /** State of the keyboard controller and the VGA (`BoardOptions.sharedState`). */
  readonly state: SharedArrayBuffer;
  /** A `ByteRing` of input records: the screen's thread writes. */
  readonly input: SharedArrayBuffer;
  /** A `ScreenFrame`: what a GPU shows, and what is to be known of the devices for input. */
  readonly frame: SharedArrayBuffer;
}

/** Room for the VGA's option ROM. */
export const VGA_ROM_BYTES = 0x10000;
/** Enough for the state of both. */
export const SCREEN_STATE_BYTES = 8192;

/** Pixels that a GPU's picture may have: 4096 x 4096. */
export const FRAME_PIXELS = 1 << 24;

/** What shows something, and where its memory lies. */
export interface ScreenMemory {
  readonly memory: SharedArrayBuffer;
  /** Absent: there is no VGA. */
  readonly vga?: { readonly vramHva: number; readonly vramBytes: number } | undefined;
  /** The size of the picture can be asked for. */
  readonly isResizable: boolean;
  /** The board has a keyboard controller. */
  readonly hasKeyboard: boolean;
}

export interface ScreenWorkerConfig extends ScreenShares, ScreenMemory {
  readonly doorbell: SharedArrayBuffer;
}

/** Who may see the screen by VNC, and where. */
export interface VncOptions {
  /** Tried in turn from `port` to `lastPort`; a unix socket has a path. Port 0: one that is free. */
  readonly address:
    | { readonly type: 'inet'; readonly host: string; readonly port: number; readonly lastPort?: number | undefined }
    | { readonly type: 'unix'; readonly path: string };
  /** Clients that come by websocket connect here, at the same host. */
  readonly websocketPort?: number | undefined;
  /** Clients need a password: until there is one nobody gets in. Its first eight characters count. */
  readonly needsPassword?: boolean | undefined;
  readonly password?: Uint8Array | undefined;
  /** Clients have to use TLS: VeNCrypt with a certificate, or anonymous. A server's credentials, not of pre-shared keys. */
  readonly tls?: TlsCredentials | undefined;
  /** What happens when a client wants the screen for itself: the others go (unless given), it goes, or nothing. */
  readonly sharing?: 'allow-exclusive' | 'force-shared' | 'ignore' | undefined;
  /** Of the guest's keyboard, for clients that do not tell of keys themselves (`keyboardLayouts`); `en-us` unless given. */
  readonly layout?: string | undefined;
  /** Of the desktop. */
  readonly name?: string | undefined;
}

export interface VncPlace {
  /** Undefined for a unix socket. */
  readonly port: number | undefined;
  readonly websocketPort: number | undefined;
}

/** How the screen is served by VNC, and to whom. */
export interface VncState extends VncPlace {
  readonly address: VncOptions['address'];
  /** QEMU's word for what a client has to do: `none`, `vnc`, `vencrypt+x509+vnc` and the like. */
  readonly authentication: string;
  /** A client by a unix socket has neither host nor port. */
  readonly clients: readonly {
    readonly host: string | undefined;
    readonly port: number | undefined;
    readonly websocket: boolean;
  }[];
}

export type PictureFormat = 'png' | 'ppm';

export type ScreenRequest =
  | { readonly type: 'picture'; readonly format: PictureFormat }
  /** The characters on the screen, as a `TextScreen`; undefined while it shows graphics. */
  | { readonly type: 'text' }
  | { readonly type: 'serveVnc'; readonly options: VncOptions }
  | { readonly type: 'vncState' }
  | { readonly type: 'vncPassword'; readonly password: Uint8Array | undefined };

export type ToScreen = { readonly id: number; readonly request: ScreenRequest };

export type FromScreen = {
  readonly type: 'reply';
  readonly id: number;
  readonly value?: Uint8Array | TextScreen | VncPlace | VncState | undefined;
  readonly error?: { readonly code: string; readonly message: string };
};
