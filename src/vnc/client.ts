/**
 * One client's connection (RFC 6143): handshake, its messages, and the updates it has asked for.
 *
 * **Strangers.** A client is not trusted. What it announces is checked before anything is allocated for it, text that it pastes is
 * dropped as it comes; a broken message ends its connection and no other. Nothing is sent that it has not asked for, and nothing
 * is drawn for it while what was sent before is on its way.
 */
import type { ByteStream } from '../block/host.js';
import { POINTER_SIZE, type Rectangle, TileSet } from '../display/index.js';
import { isEqual, vncResponse } from './authentication.js';
import { type Block, type Encoder, encoding, makeEncoder } from './encodings.js';
import type { VncHost, VncScreen, VncTls } from './host.js';
import { ClientKeyboard } from './keyboard.js';
import { formatBytes, mapEntries, mappedFormat, PixelWriter, parseFormat, serverFormat } from './pixel-format.js';
import { alphaPointer, maskedPointer } from './pointer.js';
import { ClientReader } from './reader.js';

const SECURITY_NONE = 1;
const SECURITY_VNC = 2;
/** VeNCrypt (the community's rfbproto), version 0.2, and what it then is of: with TLS by certificate 260 and 261. */
const SECURITY_VENCRYPT = 19;
const VENCRYPT_VERSION = [0, 2] as const;
const venCrypt = { anon: { none: 257, vnc: 258 }, x509: { none: 260, vnc: 261 } } as const;
const CHALLENGE_BYTES = 16;
const MOST_ENCODINGS = 4096;
const MOST_TEXT_BYTES = 1 << 20;
/** A rectangle is sent in pieces of so many pixels at most, and so wide. */
const MOST_PIXELS = 1 << 16;
const MOST_WIDTH = 2048;
/** With more rectangles than this the whole picture is sent. */
const MOST_RECTANGLES = 2000;
const MIDDLE = 0x7fff;
/** Answers to a client that asks for another size. */
const PROHIBITED = 1;
const FORWARDED = 4;

/** Pseudo-encodings: what a client can hear of beside pixels. */
const pseudo = {
  desktopSize: -223,
  cursor: -239,
  pointerMotion: -257,
  extendedKey: -258,
  ledState: -261,
  extendedDesktopSize: -308,
  alphaCursor: -314,
} as const;
const COMPRESSION_FIRST = -256;
const COMPRESSION_LAST = -247;
const DEFAULT_COMPRESSION = 6;
const known = new Set<number>(Object.values(encoding));

export interface ClientOptions {
  readonly host: VncHost;
  readonly screen: VncScreen;
  readonly stream: ByteStream;
  /** Of the guest's keyboard. */
  readonly layout?: string | undefined;
  readonly name: string;
  /** Undefined: whoever comes gets in; null: nobody does. */
  readonly password: Uint8Array | null | undefined;
  /** The connection is to be encrypted before anything else is said. */
  readonly tls: VncTls | undefined;
  /** The client wants an update, or has done something: the picture is looked at soon. */
  awake(): void;
  /** The handshake is over. `shared`: it lets others stay. */
  entered(shared: boolean): void;
}

/** A client that does not keep to the protocol. */
class BrokenClient extends Error {}

export class VncClient {
  readonly #options: ClientOptions;
  #stream: ByteStream;
  #reader: ClientReader;
  readonly #keyboard: ClientKeyboard;
  #writer = new PixelWriter(serverFormat);
  readonly #encoders = new Map<number, Encoder>();
  #encoding: number = encoding.raw;
  #pseudo = new Set<number>();
  #compression = DEFAULT_COMPRESSION;
  /** What the client knows the picture's size to be. */
  #width = 0;
  #height = 0;
  #sizes = -1;
  #tiles = new TileSet(0, 0);
  #wanted: Rectangle | undefined;
  /** Rectangles without pixels that are due, by their encoding: the latest of each, made when it is sent. */
  readonly #notes = new Map<number, () => Uint8Array>();
  /** The client is to be told the colours of its map. */
  #mapIsDue = false;
  #leds = -1;
  /** Of the guest's pointer, what the client has last been told of; and whether it has been shown one. */
  #pointerChanges = 0;
  #hasPointer = false;
  #isAbsolute = false;
  #isSending = false;
  #isIn = false;
  #pointer: { x: number; y: number } | undefined;
  #buttons = 0;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#stream = options.stream;
    this.#reader = new ClientReader(options.stream);
    this.#keyboard = new ClientKeyboard(options.screen, options.layout);
  }

  /** Serves the client to its end. Rejects with what ended it, if that was not the client's own wish. */
  async serve(): Promise<void> {
    try {
      if (!(await this.#handshake())) return;
      for (;;) await this.#message();
    } catch (error) {
      if (!(error instanceof BrokenClient)) throw error;
    } finally {
      this.#keyboard.release();
      if (this.#buttons !== 0) this.#options.screen.move(0, 0, 0, 0);
      for (const encoder of this.#encoders.values()) encoder.close();
      this.#encoders.clear();
      this.#wanted = undefined;
      this.#isIn = false;
    }
  }

  close(): void {
    this.#stream.destroy();
  }

  async #write(...parts: readonly Uint8Array[]): Promise<void> {
    await this.#stream.write(...parts);
  }

  // ---- handshake

  /** False: the client has been turned away. */
  async #handshake(): Promise<boolean> {
    const { screen, password, tls } = this.#options;
    await this.#write(ascii('RFB 003.008\n'));
    const version = /^RFB 003\.(\d{3})\n$/.exec(latin1(await this.#reader.bytes(12)));
    if (!version) return false;
    // Versions that were never published are 3.3.
    const minor = [7, 8].includes(Number(version[1])) ? Number(version[1]) : 3;
    const plain = password === undefined ? SECURITY_NONE : SECURITY_VNC;
    const security = tls ? SECURITY_VENCRYPT : plain;
    if (minor === 3) {
      if (tls) return await this.#refuse(minor, 0);
      await this.#write(u32(security));
    } else {
      await this.#write(Uint8Array.of(1, security));
      if ((await this.#reader.u8()) !== security)
        return await this.#refuse(minor, 1, 'This kind of security is not offered');
    }
    if (tls && !(await this.#encrypt(tls))) return false;
    if (password !== undefined && !(await this.#authenticate(password)))
      return await this.#refuse(minor, 1, 'Authentication failed');
    if (password !== undefined || tls || minor === 8) await this.#write(u32(0));
    const shared = (await this.#reader.u8()) !== 0;
    screen.refresh();
    this.#takeSize();
    const name = new TextEncoder().encode(this.#options.name);
    const size = new Uint8Array(4);
    new DataView(size.buffer).setUint16(0, this.#width);
    new DataView(size.buffer).setUint16(2, this.#height);
    await this.#write(size, formatBytes(serverFormat), u32(name.length), name);
    this.#isIn = true;
    this.#options.entered(shared);
    return true;
  }

  async #authenticate(password: Uint8Array | null): Promise<boolean> {
    const { host } = this.#options;
    const challenge = host.randomBytes(CHALLENGE_BYTES);
    await this.#write(challenge);
    const response = await this.#reader.bytes(CHALLENGE_BYTES);
    return password !== null && isEqual(response, vncResponse(host, password, challenge));
  }

  /** VeNCrypt: agrees on its version and on the one kind that is offered, then goes on inside TLS. */
  async #encrypt(tls: VncTls): Promise<boolean> {
    await this.#write(Uint8Array.from(VENCRYPT_VERSION));
    const version = await this.#reader.bytes(2);
    if (!isEqual(version, Uint8Array.from(VENCRYPT_VERSION))) {
      await this.#write(Uint8Array.of(255));
      await this.#stream.end();
      return false;
    }
    const kind = venCrypt[tls.kind][this.#options.password === undefined ? 'none' : 'vnc'];
    await this.#write(Uint8Array.of(0, 1), u32(kind));
    if ((await this.#reader.view(4)).getUint32(0) !== kind) {
      await this.#write(Uint8Array.of(0));
      await this.#stream.end();
      return false;
    }
    // TLS begins with what comes after this; who could not wait has said it to nobody.
    if (!this.#reader.isEmpty) throw new BrokenClient();
    await this.#write(Uint8Array.of(1));
    this.#stream = await tls.accept(this.#stream);
    this.#reader = new ClientReader(this.#stream);
    return true;
  }

  /** `result`: 1 where the client waits for one; 0 where it waits for a list of kinds of security, or for the one that is taken. */
  async #refuse(minor: number, result: number, why?: string): Promise<false> {
    const text = ascii(why ?? 'This server wants TLS');
    await this.#write(u32(result), ...(minor === 8 || result === 0 ? [u32(text.length), text] : []));
    await this.#stream.end();
    return false;
  }

  #takeSize(): void {
    const { surface } = this.#options.screen;
    this.#sizes = surface.sizes;
    this.#width = Math.min(surface.width, 0xffff);
    this.#height = Math.min(surface.height, 0xffff);
    this.#tiles = new TileSet(surface.width, surface.height);
    this.#tiles.bits.fill(1);
  }

  // ---- messages

  async #message(): Promise<void> {
    const reader = this.#reader;
    const type = await reader.u8();
    switch (type) {
      case 0: {
        const format = parseFormat((await reader.bytes(19)).subarray(3));
        if (!format) throw new BrokenClient();
        this.#writer = new PixelWriter(format === 'mapped' ? mappedFormat : format);
        this.#mapIsDue = format === 'mapped';
        return;
      }
      case 2: {
        const count = (await reader.view(3)).getUint16(1);
        if (count > MOST_ENCODINGS) throw new BrokenClient();
        const view = await reader.view(count * 4);
        this.#setEncodings(Array.from({ length: count }, (_, i) => view.getInt32(i * 4)));
        return;
      }
      case 3: {
        const view = await reader.view(9);
        const area = {
          x: view.getUint16(1),
          y: view.getUint16(3),
          width: view.getUint16(5),
          height: view.getUint16(7),
        };
        if (view.getUint8(0) === 0) this.#tiles.add(area);
        this.#wanted = area;
        this.#options.awake();
        return;
      }
      case 4: {
        const view = await reader.view(7);
        this.#keyboard.keysym(view.getUint32(3), view.getUint8(0) !== 0);
        this.#options.awake();
        return;
      }
      case 5: {
        const view = await reader.view(5);
        this.#movePointer(view.getUint8(0), view.getUint16(1), view.getUint16(3));
        this.#options.awake();
        return;
      }
      case 6: {
        // The guest has no clipboard of ours: text is dropped. A length with bit 31 set is of an extension that is not offered.
        const length = (await reader.view(7)).getUint32(3);
        if (length > MOST_TEXT_BYTES) throw new BrokenClient();
        await reader.skip(length);
        return;
      }
      case 251: {
        const view = await reader.view(7);
        await reader.skip(view.getUint8(5) * 16);
        // The guest sets modes; where it can be asked to, it answers by a new size, or not at all.
        const { resize } = this.#options.screen;
        resize?.(view.getUint16(1), view.getUint16(3));
        if (this.#pseudo.has(pseudo.extendedDesktopSize))
          this.#notes.set(pseudo.extendedDesktopSize, () => this.#desktopSize(1, resize ? FORWARDED : PROHIBITED));
        this.#options.awake();
        return;
      }
      case 255: {
        if ((await reader.u8()) !== 0) throw new BrokenClient();
        const view = await reader.view(10);
        const down = view.getUint16(0) !== 0;
        const keycode = view.getUint32(6);
        if (keycode === 0) this.#keyboard.keysym(view.getUint32(2), down);
        else this.#keyboard.scanCode(keycode, down);
        this.#options.awake();
        return;
      }
      default:
        throw new BrokenClient();
    }
  }

  #setEncodings(codes: readonly number[]): void {
    this.#encoding = codes.find((code) => known.has(code)) ?? encoding.raw;
    const before = this.#pseudo;
    this.#pseudo = new Set(codes.filter((code) => Object.values<number>(pseudo).includes(code)));
    for (const code of codes)
      if (code >= COMPRESSION_FIRST && code <= COMPRESSION_LAST) this.#compression = code - COMPRESSION_FIRST;
    const isNew = (code: number) => this.#pseudo.has(code) && !before.has(code);
    if (isNew(pseudo.extendedKey)) this.#note(pseudo.extendedKey, 0);
    if (isNew(pseudo.pointerMotion)) this.#notePointerMotion();
    if (isNew(pseudo.cursor) || isNew(pseudo.alphaCursor)) this.#pointerChanges = -1;
    if (isNew(pseudo.extendedDesktopSize)) this.#notes.set(pseudo.extendedDesktopSize, () => this.#desktopSize(0, 0));
    if (isNew(pseudo.ledState)) this.#leds = -1;
    this.#options.awake();
  }

  #note(code: number, x: number): void {
    this.#notes.set(code, () => header(x, 0, this.#width, this.#height, code));
  }

  /** x: 1 where the guest takes places, 0 where it takes steps. */
  #notePointerMotion(): void {
    this.#isAbsolute = this.#options.screen.isAbsolute;
    this.#note(pseudo.pointerMotion, this.#isAbsolute ? 1 : 0);
  }

  /** The guest's pointer has another picture, or none: a client that draws it hears of that. */
  #notePointer(): void {
    const { screen } = this.#options;
    this.#pointerChanges = screen.pointerChanges;
    const { pointer } = screen;
    if (!pointer && !this.#hasPointer) return;
    this.#hasPointer = pointer !== undefined;
    const code = this.#pseudo.has(pseudo.alphaCursor) ? pseudo.alphaCursor : pseudo.cursor;
    const writer = this.#writer;
    const picture = (): Uint8Array => {
      if (!pointer) return code === pseudo.cursor ? new Uint8Array(0) : new Uint8Array(4);
      return code === pseudo.cursor ? maskedPointer(pointer, writer) : alphaPointer(pointer);
    };
    const size = pointer ? POINTER_SIZE : 0;
    this.#notes.set(code, () => joined(header(pointer?.hotX ?? 0, pointer?.hotY ?? 0, size, size, code), picture()));
  }

  /** `reason`: 0 the server, 1 this client. `status`: 0 done, PROHIBITED, FORWARDED. */
  #desktopSize(reason: number, status: number): Uint8Array {
    const bytes = new Uint8Array(12 + 4 + 16);
    bytes.set(header(reason, status, this.#width, this.#height, pseudo.extendedDesktopSize));
    bytes[12] = 1;
    const view = new DataView(bytes.buffer);
    view.setUint16(24, this.#width);
    view.setUint16(26, this.#height);
    return bytes;
  }

  #movePointer(mask: number, x: number, y: number): void {
    const { screen } = this.#options;
    const relative = this.#pseudo.has(pseudo.pointerMotion) && !this.#isAbsolute;
    const last = this.#pointer ?? { x, y };
    const dx = relative ? x - MIDDLE : x - last.x;
    const dy = relative ? y - MIDDLE : y - last.y;
    this.#pointer = { x, y };
    // Each notch of the wheel is a press of the fourth or fifth button.
    const pressed = mask & ~this.#buttonMask;
    const dz = (pressed & 8 ? 1 : 0) - (pressed & 16 ? 1 : 0);
    this.#buttonMask = mask;
    this.#buttons = (mask & 1) | ((mask & 2) << 1) | ((mask & 4) >> 1);
    if (screen.isAbsolute && !relative) {
      const part = (at: number, size: number) => Math.min(1, at / Math.max(1, size - 1));
      screen.point(part(x, this.#width), part(y, this.#height), dz, this.#buttons);
    } else screen.move(dx, -dy, dz, this.#buttons);
  }
  #buttonMask = 0;

  // ---- updates

  /** An update has been asked for that has not been sent. */
  get wants(): boolean {
    return this.#isIn && this.#wanted !== undefined;
  }

  /** The picture has been drawn anew. */
  note(): void {
    const { surface } = this.#options.screen;
    if (this.#isIn && surface.sizes === this.#sizes) this.#tiles.addAll(surface.damage);
  }

  /** Sends an update, if one is wanted, there is something in it, and none is under way. */
  sendIfDue(): void {
    if (!this.wants || this.#isSending) return;
    const rectangles = this.#collect();
    if (!rectangles) return;
    this.#wanted = undefined;
    this.#isSending = true;
    this.#send(rectangles).then(
      () => {
        this.#isSending = false;
        if (this.wants) this.#options.awake();
      },
      () => this.close(),
    );
  }

  /** Notes, and rectangles of pixels. Undefined: there is nothing to tell. */
  #collect(): { readonly notes: readonly Uint8Array[]; readonly areas: readonly Rectangle[] } | undefined {
    const { surface } = this.#options.screen;
    if (surface.sizes !== this.#sizes) {
      const [width, height] = [this.#width, this.#height];
      this.#takeSize();
      if (this.#pseudo.has(pseudo.extendedDesktopSize)) return { notes: [this.#desktopSize(0, 0)], areas: [] };
      if (this.#pseudo.has(pseudo.desktopSize))
        return { notes: [header(0, 0, this.#width, this.#height, pseudo.desktopSize)], areas: [] };
      // This client keeps the size it was told first.
      this.#width = width;
      this.#height = height;
    }
    const leds = this.#options.screen.leds();
    if (this.#pseudo.has(pseudo.ledState) && leds !== this.#leds) {
      this.#leds = leds;
      const bytes = new Uint8Array(13);
      bytes.set(header(0, 0, 0, 0, pseudo.ledState));
      bytes[12] = leds;
      this.#notes.set(pseudo.ledState, () => bytes);
    }
    if (this.#pseudo.has(pseudo.pointerMotion) && this.#options.screen.isAbsolute !== this.#isAbsolute)
      this.#notePointerMotion();
    const drawsPointer = this.#pseudo.has(pseudo.cursor) || this.#pseudo.has(pseudo.alphaCursor);
    if (drawsPointer && this.#options.screen.pointerChanges !== this.#pointerChanges) this.#notePointer();
    const notes = [...this.#notes.values()].map((make) => make());
    this.#notes.clear();
    const limit = { width: Math.min(this.#width, surface.width), height: Math.min(this.#height, surface.height) };
    let taken = this.#tiles.take(this.#wanted!);
    if (taken.length > MOST_RECTANGLES) taken = [{ x: 0, y: 0, ...limit }];
    const areas = taken.flatMap((area) => pieces(area, limit));
    return areas.length === 0 && notes.length === 0 ? undefined : { notes, areas };
  }

  async #send({ notes, areas }: { readonly notes: readonly Uint8Array[]; readonly areas: readonly Rectangle[] }) {
    const count = new Uint8Array(4);
    new DataView(count.buffer).setUint16(2, notes.length + areas.length);
    if (this.#mapIsDue) {
      this.#mapIsDue = false;
      await this.#write(Uint8Array.of(1, 0, 0, 0, 1, 0), mapEntries());
    }
    await this.#write(count, ...notes);
    // Of one kind and format throughout, whatever the client says meanwhile.
    const [encoder, writer] = [this.#encoder(), this.#writer];
    for (const { x, y, width, height } of areas) {
      const bytes = await encoder.encode(this.#block({ x, y, width, height }), writer);
      await this.#write(header(x, y, width, height, encoder.code), bytes);
    }
  }

  #encoder(): Encoder {
    let encoder = this.#encoders.get(this.#encoding);
    if (!encoder) {
      encoder = makeEncoder(this.#encoding, () => this.#options.host.deflater(this.#compression));
      if (!encoder) throw new BrokenClient();
      this.#encoders.set(this.#encoding, encoder);
    }
    return encoder;
  }

  /** A copy of the pixels; black where the picture has become smaller meanwhile. */
  #block({ x, y, width, height }: Rectangle): Block {
    const { surface } = this.#options.screen;
    const pixels = new Uint32Array(width * height);
    for (let row = 0; row < height && y + row < surface.height; row++) {
      const from = (y + row) * surface.width + x;
      const end = Math.min(from + width, (y + row + 1) * surface.width);
      if (from < end) pixels.set(surface.pixels.subarray(from, end), row * width);
    }
    return { width, height, pixels };
  }
}

function pieces(area: Rectangle, limit: { readonly width: number; readonly height: number }): Rectangle[] {
  const found: Rectangle[] = [];
  const right = Math.min(area.x + area.width, limit.width);
  const bottom = Math.min(area.y + area.height, limit.height);
  for (let x = area.x; x < right; x += MOST_WIDTH) {
    const width = Math.min(MOST_WIDTH, right - x);
    const rows = Math.floor(MOST_PIXELS / width);
    for (let y = area.y; y < bottom; y += rows) found.push({ x, y, width, height: Math.min(rows, bottom - y) });
  }
  return found;
}

function header(x: number, y: number, width: number, height: number, code: number): Uint8Array {
  const bytes = new Uint8Array(12);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, x);
  view.setUint16(2, y);
  view.setUint16(4, width);
  view.setUint16(6, height);
  view.setInt32(8, code);
  return bytes;
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(first.length + second.length);
  bytes.set(first);
  bytes.set(second, first.length);
  return bytes;
}

const ascii = (text: string) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
const latin1 = (bytes: Uint8Array) => String.fromCharCode(...bytes);

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}
