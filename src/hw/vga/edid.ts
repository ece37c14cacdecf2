/** What a monitor tells of itself: EDID 1.4 (VESA Enhanced EDID Standard), one block of 128 bytes. */

export interface MonitorModel {
  /** At most 13 ASCII characters. */
  readonly name: string;
  /** The mode that it likes best, at 60 Hz. */
  readonly width: number;
  readonly height: number;
}

const MANUFACTURER = 'VRG';
const DOTS_PER_MM = 100 / 25.4;
/** Coordinated video timings with reduced blanking: pixels and lines. */
const BLANK = { width: 160, front: 48, sync: 32, height: 29, frontLines: 3, syncLines: 6 } as const;
const REFRESH_HZ = 60;
/** Standard timings at 60 Hz: width, and the code of the aspect ratio. */
const STANDARD = [
  [1920, 0xc0],
  [1680, 0x00],
  [1600, 0x40],
  [1280, 0x80],
  [1440, 0x00],
  [1280, 0x40],
  [1024, 0x40],
  [800, 0x40],
] as const;

function detailedTiming({ width, height }: MonitorModel): number[] {
  const clock = Math.round(((width + BLANK.width) * (height + BLANK.height) * REFRESH_HZ) / 10_000);
  const [widthMm, heightMm] = [Math.round(width / DOTS_PER_MM), Math.round(height / DOTS_PER_MM)];
  return [
    clock & 0xff,
    clock >> 8,
    width & 0xff,
    BLANK.width & 0xff,
    ((width >> 8) << 4) | (BLANK.width >> 8),
    height & 0xff,
    BLANK.height,
    (height >> 8) << 4,
    BLANK.front,
    BLANK.sync,
    (BLANK.frontLines << 4) | BLANK.syncLines,
    0,
    widthMm & 0xff,
    heightMm & 0xff,
    ((widthMm >> 8) << 4) | (heightMm >> 8),
    0,
    0,
    // Digital separate sync, horizontal positive.
    0x1a,
  ];
}

function descriptor(type: number, content: readonly number[]): number[] {
  return [0, 0, 0, type, 0, ...content, ...new Array<number>(13 - content.length).fill(0x20)];
}

const ascii = (text: string) => [...text].map((letter) => letter.charCodeAt(0));

export function edid(model: MonitorModel): Uint8Array {
  const letters = ascii(MANUFACTURER).map((code) => code & 31);
  const manufacturer = (letters[0]! << 10) | (letters[1]! << 5) | letters[2]!;
  const name = ascii(model.name.slice(0, 13));
  if (name.length < 13) name.push(0x0a);
  const bytes = [
    ...[0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00],
    ...[manufacturer >> 8, manufacturer & 0xff, 0x01, 0x00, 0, 0, 0, 0],
    // Week 1 of 2026, EDID 1.4, digital with 8 bits a colour.
    ...[1, 36, 1, 4, 0xa0],
    ...[Math.round(model.width / DOTS_PER_MM / 10), Math.round(model.height / DOTS_PER_MM / 10)],
    // Gamma 2.2; sRGB, and the preferred mode is the first one.
    ...[120, 0x06],
    // sRGB's primaries and white (CIE 1931, ten bits each).
    ...[0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54],
    // Established: 640x480, 800x600 and 1024x768 at 60 Hz.
    ...[0x21, 0x08, 0x00],
    ...STANDARD.flatMap(([width, aspect]) => [width / 8 - 31, aspect]),
    ...detailedTiming(model),
    // Ranges: 50 to 125 Hz, 30 to 160 kHz, up to 600 MHz; no secondary formula.
    ...descriptor(0xfd, [50, 125, 30, 160, 60, 1, 0x0a]),
    ...descriptor(0xfc, name),
    ...descriptor(0x10, []),
    0,
  ];
  const block = Uint8Array.from(bytes);
  const sum = block.reduce((total, byte) => total + byte, 0);
  const out = new Uint8Array(128);
  out.set(block);
  out[127] = -sum & 0xff;
  return out;
}
