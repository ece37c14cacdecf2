/**
 * A VNC client for tests, written from RFC 6143 and the community's rfbproto alone: it decodes every encoding that the server has, into
 * pixels of the client's own format.
 */
import assert from 'node:assert/strict';
import { createInflate, type Inflate } from 'node:zlib';
import type { ByteStream } from '../block/host.js';

export interface ClientFormat {
  readonly bits: 8 | 16 | 32;
  readonly depth: number;
  readonly bigEndian: boolean;
  readonly max: readonly [number, number, number];
  readonly shift: readonly [number, number, number];
}

export const plainFormat: ClientFormat = {
  bits: 32,
  depth: 24,
  bigEndian: false,
  max: [255, 255, 255],
  shift: [16, 8, 0],
};

/** Inflates one stream piece by piece. */
class Inflater {
  readonly #stream: Inflate = createInflate();
  #chunks: Buffer[] = [];
  #at = 0;
  #bytes: Buffer = Buffer.alloc(0);
  constructor() {
    this.#stream.on('data', (chunk: Buffer) => this.#chunks.push(chunk));
    this.#stream.on('error', (error) => this.#fail(error));
  }
  #fail: (error: Error) => void = () => {};
  async push(bytes: Uint8Array): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#fail = reject;
      this.#stream.write(bytes, () => this.#stream.flush(() => resolve()));
    });
    assert.equal(this.#at, this.#bytes.length, 'the piece before was read whole');
    this.#bytes = Buffer.concat(this.#chunks.splice(0));
    this.#at = 0;
  }
  take(count: number): Buffer {
    assert.ok(this.#at + count <= this.#bytes.length, 'the stream has what the encoding says');
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }
  end(): void {
    assert.equal(this.#at, this.#bytes.length, 'nothing is left over');
  }
  close(): void {
    this.#stream.destroy();
  }
}

export interface Received {
  readonly encoding: number;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  /** Of pseudo-encodings. */
  readonly content?: Buffer;
}

export class RfbClient {
  stream: ByteStream;
  width = 0;
  height = 0;
  name = '';
  /** In the client's format, by rows. */
  pixels = new Uint32Array(0);
  readonly format: ClientFormat;
  #buffer: Buffer = Buffer.alloc(0);
  readonly #zlib = new Inflater();
  readonly #zrle = new Inflater();
  readonly #tight = [0, 1, 2, 3].map(() => new Inflater());

  constructor(stream: ByteStream, format = plainFormat) {
    this.stream = stream;
    this.format = format;
  }

  close(): void {
    this.stream.destroy();
    for (const each of [this.#zlib, this.#zrle, ...this.#tight]) each.close();
  }

  async read(count: number): Promise<Buffer> {
    while (this.#buffer.length < count) {
      const more = await this.stream.read(65536);
      if (more.length === 0) throw new Error('the server has closed the connection');
      this.#buffer = Buffer.concat([this.#buffer, more]);
    }
    const bytes = this.#buffer.subarray(0, count);
    this.#buffer = this.#buffer.subarray(count);
    return bytes;
  }

  async write(bytes: Uint8Array | readonly number[]): Promise<void> {
    await this.stream.write(Uint8Array.from(bytes));
  }

  /** VeNCrypt up to the end of TLS; gives the kind that was taken. */
  async #encrypt(encrypt: (stream: ByteStream) => Promise<ByteStream>): Promise<number> {
    assert.deepEqual([...(await this.read(2))], [0, 2]);
    await this.write([0, 2]);
    assert.deepEqual([...(await this.read(2))], [0, 1]);
    const kind = await this.read(4);
    await this.write(kind);
    assert.deepEqual([...(await this.read(1))], [1]);
    this.stream = await encrypt(this.stream);
    return kind.readUInt32BE();
  }

  /** Gives the security type that was taken, of VeNCrypt its kind; `respond` answers a challenge, `encrypt` begins TLS. */
  async handshake(
    options: {
      version?: string;
      respond?: (challenge: Buffer) => Uint8Array;
      encrypt?: (stream: ByteStream) => Promise<ByteStream>;
      shared?: boolean;
    } = {},
  ): Promise<number> {
    assert.equal((await this.read(12)).toString('latin1'), 'RFB 003.008\n');
    const version = options.version ?? '003.008';
    await this.write(Buffer.from(`RFB ${version}\n`));
    const minor = Number(version.slice(-1));
    let security: number;
    if (minor < 7) security = (await this.read(4)).readUInt32BE();
    else {
      const [count] = await this.read(1);
      [security] = await this.read(count);
      await this.write([security]);
    }
    if (security === 19) security = await this.#encrypt(options.encrypt!);
    const isAsked = [2, 258, 261].includes(security);
    if (isAsked) await this.write(options.respond!(await this.read(16)));
    if (isAsked || security > 255 || minor === 8) {
      const result = (await this.read(4)).readUInt32BE();
      if (result !== 0) {
        const reason = minor === 8 ? (await this.read((await this.read(4)).readUInt32BE())).toString() : '';
        throw new Error(`refused: ${reason}`);
      }
    }
    await this.write([options.shared === false ? 0 : 1]);
    const init = await this.read(24);
    this.#resize(init.readUInt16BE(0), init.readUInt16BE(2));
    assert.deepEqual([...init.subarray(4, 17)], [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0]);
    this.name = (await this.read(init.readUInt32BE(20))).toString();
    return security;
  }

  #resize(width: number, height: number): void {
    this.width = width;
    this.height = height;
    this.pixels = new Uint32Array(width * height);
  }

  async setFormat(): Promise<void> {
    const { bits, depth, bigEndian, max, shift } = this.format;
    const message = Buffer.alloc(20);
    message.set([0, 0, 0, 0, bits, depth, bigEndian ? 1 : 0, 1]);
    for (const [i, value] of max.entries()) message.writeUInt16BE(value, 8 + i * 2);
    message.set(shift, 14);
    await this.write(message);
  }

  async setEncodings(...codes: number[]): Promise<void> {
    const message = Buffer.alloc(4 + codes.length * 4);
    message[0] = 2;
    message.writeUInt16BE(codes.length, 2);
    for (const [i, code] of codes.entries()) message.writeInt32BE(code, 4 + i * 4);
    await this.write(message);
  }

  async request(incremental: boolean, x = 0, y = 0, width = this.width, height = this.height): Promise<void> {
    const message = Buffer.alloc(10);
    message.set([3, incremental ? 1 : 0]);
    for (const [i, value] of [x, y, width, height].entries()) message.writeUInt16BE(value, 2 + i * 2);
    await this.write(message);
  }

  async key(keysym: number, down: boolean): Promise<void> {
    const message = Buffer.alloc(8);
    message.set([4, down ? 1 : 0]);
    message.writeUInt32BE(keysym, 4);
    await this.write(message);
  }

  async scanCode(keysym: number, keycode: number, down: boolean): Promise<void> {
    const message = Buffer.alloc(12);
    message.set([255, 0, 0, down ? 1 : 0]);
    message.writeUInt32BE(keysym, 4);
    message.writeUInt32BE(keycode, 8);
    await this.write(message);
  }

  async pointer(mask: number, x: number, y: number): Promise<void> {
    await this.write([5, mask, x >> 8, x & 255, y >> 8, y & 255]);
  }

  /** The next update, decoded into `pixels`. */
  async update(): Promise<Received[]> {
    const [type] = await this.read(1);
    assert.equal(type, 0, 'a framebuffer update');
    const count = (await this.read(3)).readUInt16BE(1);
    const received: Received[] = [];
    for (let i = 0; i < count; i++) {
      const head = await this.read(12);
      const [x, y, width, height] = [0, 2, 4, 6].map((at) => head.readUInt16BE(at));
      received.push(await this.#rectangle(head.readInt32BE(8), x, y, width, height));
    }
    return received;
  }

  async #rectangle(encoding: number, x: number, y: number, width: number, height: number): Promise<Received> {
    const place = { encoding, x, y, width, height };
    switch (encoding) {
      case -223:
        this.#resize(width, height);
        return place;
      case -308: {
        const [screens] = await this.read(4);
        const content = await this.read(screens * 16);
        if (y === 0) this.#resize(width, height);
        return { ...place, content };
      }
      case -261:
        return { ...place, content: await this.read(1) };
      case -239:
        return { ...place, content: await this.read(width * height * this.#size + Math.ceil(width / 8) * height) };
      case -314:
        assert.equal((await this.read(4)).readInt32BE(), 0, 'raw pixels');
        return { ...place, content: await this.read(width * height * 4) };
      case -257:
      case -258:
        return place;
    }
    assert.ok(x + width <= this.width && y + height <= this.height, 'inside the picture');
    const pixels = new Uint32Array(width * height);
    if (encoding === 0) this.#raw(await this.read(pixels.length * this.#size), pixels);
    else if (encoding === 5) await this.#hextile(pixels, width, height);
    else if (encoding === 6) {
      await this.#zlib.push(await this.read((await this.read(4)).readUInt32BE()));
      this.#raw(this.#zlib.take(pixels.length * this.#size), pixels);
      this.#zlib.end();
    } else if (encoding === 7) await this.#tightRectangle(pixels, width, height);
    else if (encoding === 16) await this.#zrleRectangle(pixels, width, height);
    else assert.fail(`encoding ${encoding} was not asked for`);
    for (let row = 0; row < height; row++)
      this.pixels.set(pixels.subarray(row * width, (row + 1) * width), (y + row) * this.width + x);
    return place;
  }

  get #size(): number {
    return this.format.bits / 8;
  }

  #pixel(bytes: Buffer, at = 0): number {
    const { bits, bigEndian } = this.format;
    if (bits === 8) return bytes[at];
    if (bits === 16) return bigEndian ? bytes.readUInt16BE(at) : bytes.readUInt16LE(at);
    return bigEndian ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at);
  }

  #raw(bytes: Buffer, pixels: Uint32Array): void {
    for (let i = 0; i < pixels.length; i++) pixels[i] = this.#pixel(bytes, i * this.#size);
  }

  async #hextile(pixels: Uint32Array, width: number, height: number): Promise<void> {
    let [background, foreground] = [0, 0];
    for (let ty = 0; ty < height; ty += 16) {
      for (let tx = 0; tx < width; tx += 16) {
        const [w, h] = [Math.min(16, width - tx), Math.min(16, height - ty)];
        const fill = (x: number, y: number, fw: number, fh: number, color: number) => {
          assert.ok(x + fw <= w && y + fh <= h, 'a subrectangle lies in its tile');
          for (let row = 0; row < fh; row++)
            pixels.fill(color, (ty + y + row) * width + tx + x, (ty + y + row) * width + tx + x + fw);
        };
        const [flags] = await this.read(1);
        if (flags & 1) {
          const bytes = await this.read(w * h * this.#size);
          for (let i = 0; i < w * h; i++) fill(i % w, Math.floor(i / w), 1, 1, this.#pixel(bytes, i * this.#size));
          continue;
        }
        if (flags & 2) background = this.#pixel(await this.read(this.#size));
        fill(0, 0, w, h, background);
        if (flags & 4) foreground = this.#pixel(await this.read(this.#size));
        if ((flags & 8) === 0) continue;
        const [count] = await this.read(1);
        for (let i = 0; i < count; i++) {
          const color = flags & 16 ? this.#pixel(await this.read(this.#size)) : foreground;
          const [at, size] = await this.read(2);
          fill(at >> 4, at & 15, (size >> 4) + 1, (size & 15) + 1, color);
        }
      }
    }
  }

  async #tightRectangle(pixels: Uint32Array, width: number, height: number): Promise<void> {
    const { bits, depth, max, shift } = this.format;
    const packed = bits === 32 && depth === 24 && max.every((value) => value === 255);
    const size = packed ? 3 : this.#size;
    const color = (bytes: Buffer, at: number) =>
      packed
        ? ((bytes[at] << shift[0]) | (bytes[at + 1] << shift[1]) | (bytes[at + 2] << shift[2])) >>> 0
        : this.#pixel(bytes, at);
    const [control] = await this.read(1);
    assert.equal(control & 15, 0, 'no stream is reset');
    if (control >> 4 === 8) {
      pixels.fill(color(await this.read(size), 0));
      return;
    }
    assert.ok(control < 0x80, 'basic compression');
    const [filter] = control & 0x40 ? await this.read(1) : [0];
    const palette: number[] = [];
    if (filter === 1) {
      const count = (await this.read(1))[0] + 1;
      const bytes = await this.read(count * size);
      for (let i = 0; i < count; i++) palette.push(color(bytes, i * size));
    } else assert.equal(filter, 0);
    const rowBytes = filter === 0 ? width * size : palette.length === 2 ? Math.ceil(width / 8) : width;
    const length = rowBytes * height;
    let bytes: Buffer;
    if (length < 12) bytes = await this.read(length);
    else {
      let [compressed, more] = [0, true];
      for (let i = 0; more; i++) {
        const [byte] = await this.read(1);
        compressed |= (i === 2 ? byte : byte & 0x7f) << (7 * i);
        more = i < 2 && (byte & 0x80) !== 0;
      }
      const stream = this.#tight[(control >> 4) & 3];
      await stream.push(await this.read(compressed));
      bytes = stream.take(length);
      stream.end();
    }
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const at = y * rowBytes;
        pixels[y * width + x] =
          filter === 0
            ? color(bytes, at + x * size)
            : palette[palette.length === 2 ? (bytes[at + (x >> 3)] >> (7 - (x & 7))) & 1 : bytes[at + x]];
      }
    }
  }

  async #zrleRectangle(pixels: Uint32Array, width: number, height: number): Promise<void> {
    const { bits, depth, max, shift, bigEndian } = this.format;
    const used = max.reduce((sum, value, i) => sum + value * 2 ** shift[i], 0);
    const small = bits === 32 && depth <= 24;
    const skip = small && used < 2 ** 24 ? 'high' : small && used % 256 === 0 ? 'low' : undefined;
    const size = skip ? 3 : this.#size;
    const stream = this.#zrle;
    await stream.push(await this.read((await this.read(4)).readUInt32BE()));
    const pixel = () => {
      const bytes = stream.take(size);
      if (!skip) return this.#pixel(bytes);
      const value = bigEndian ? bytes.readUIntBE(0, 3) : bytes.readUIntLE(0, 3);
      return skip === 'low' ? value * 256 : value;
    };
    const length = () => {
      let total = 1;
      for (;;) {
        const [byte] = stream.take(1);
        total += byte;
        if (byte !== 255) return total;
      }
    };
    for (let ty = 0; ty < height; ty += 64) {
      for (let tx = 0; tx < width; tx += 64) {
        const [w, h] = [Math.min(64, width - tx), Math.min(64, height - ty)];
        const put = (i: number, value: number) => {
          pixels[(ty + Math.floor(i / w)) * width + tx + (i % w)] = value;
        };
        const [kind] = stream.take(1);
        const count = kind & 0x7f;
        if (kind === 0) for (let i = 0; i < w * h; i++) put(i, pixel());
        else if (kind === 128) {
          for (let i = 0; i < w * h; ) {
            const value = pixel();
            for (let end = i + length(); i < end; i++) put(i, value);
          }
        } else {
          const palette = Array.from({ length: count }, pixel);
          if (kind === 1) for (let i = 0; i < w * h; i++) put(i, palette[0]);
          else if (kind < 128) {
            assert.ok(count <= 16);
            const each = count === 2 ? 1 : count <= 4 ? 2 : 4;
            for (let y = 0; y < h; y++) {
              const row = stream.take(Math.ceil((w * each) / 8));
              for (let x = 0; x < w; x++)
                put(y * w + x, palette[(row[(x * each) >> 3] >> (8 - each - ((x * each) & 7))) & ((1 << each) - 1)]);
            }
          } else {
            for (let i = 0; i < w * h; ) {
              const [index] = stream.take(1);
              for (let end = i + (index & 0x80 ? length() : 1); i < end; i++) put(i, palette[index & 0x7f]);
            }
          }
        }
      }
    }
    stream.end();
  }
}
