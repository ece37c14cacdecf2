/** What the server needs of its host, and of the machine whose screen it shows. */
import type { ByteStream } from '../block/host.js';
import type { Pointer, Surface } from '../display/index.js';

/** One zlib stream that goes on over many pieces; each piece ends so that all of it can be read. */
export interface Deflater {
  deflate(bytes: Uint8Array): Promise<Uint8Array>;
  close(): void;
}

export interface VncHost {
  /** `level`: 0 to 9. */
  deflater(level: number): Deflater;
  randomBytes(count: number): Uint8Array;
  sha1(bytes: Uint8Array): Uint8Array;
  /** DES (FIPS 46-3) of whole blocks of 8 bytes, each by itself. */
  desEncrypt(key: Uint8Array, blocks: Uint8Array): Uint8Array;
  /** Runs something later; calling the result cancels it. */
  after(milliseconds: number, work: () => void): () => void;
}

/** TLS on the server's side of a connection. */
export interface VncTls {
  /** The server shows a certificate, or nobody does. */
  readonly kind: 'x509' | 'anon';
  /** The stream inside; rejects where the client cannot be agreed with, or is not let in. */
  accept(stream: ByteStream): Promise<ByteStream>;
}

export interface VncScreen {
  readonly surface: Surface;
  /** Draws the present picture into the surface. */
  refresh(): void;
  /** Of the guest's keyboard: scroll, num, caps lock in bits 0 to 2. */
  leds(): number;
  /** A key by its set 1 code, 0xe000 added for the extended keys. */
  key(code: number, down: boolean): void;
  /** Movement right, up, of the wheel away from the user; buttons left, right, middle in bits 0 to 2. */
  move(dx: number, dy: number, dz: number, buttons: number): void;
  /** The guest takes places of the pointer, by `point`, not steps. */
  readonly isAbsolute: boolean;
  /** The pointer is at a place, 0 to 1 from the left and from the top; the rest as above. */
  point(x: number, y: number, dz: number, buttons: number): void;
  /** Goes up with every change of `pointer`: what the guest's pointer looks like, where it tells. */
  readonly pointerChanges: number;
  readonly pointer: Pointer | undefined;
  /** Asks the guest for that size. Absent: it has a say alone. */
  readonly resize: ((width: number, height: number) => void) | undefined;
}
