/**
 * Draws the VGA's picture from its registers and video memory. It runs beside the guest, which may change both meanwhile: whatever
 * they hold, it stays inside video memory, and the next picture is right again. Scan lines and blinking are as IBM's reference
 * has them; the size of the picture is what QEMU shows: scan lines as they are repeated, each dot of a character.
 */
import type { ScreenSource, Surface, TextScreen } from '../../display/index.js';
import { dispi, dispiEnable, dispiPitch, dispiPixelBits, type VgaRegisters } from './vga-state.js';

const AR_SCREEN_ON = 0x20;
const AR_MODE = 0x10;
const AR_MODE_MONO = 0x02;
const AR_MODE_LINE_GRAPHICS = 0x04;
const AR_MODE_BLINK = 0x08;
const AR_MODE_PAN_TOP_ONLY = 0x20;
const AR_MODE_PALETTE_BITS = 0x80;
const SR_SCREEN_OFF = 0x20;
/** Shown when there is no picture. */
const BLANK_WIDTH = 640;
const BLANK_HEIGHT = 480;

/** Six bits of a colour as eight: 0 and 63 become 0 and 255. */
const wide = (six: number) => ((six & 63) << 2) | ((six & 1) * 3);

export class VgaRenderer implements ScreenSource {
  readonly #live: VgaRegisters;
  readonly #vram: Uint8Array;
  readonly #mask: number;
  // A picture is drawn from copies, so that it is of one piece.
  readonly #SR = new Uint8Array(8);
  readonly #GR = new Uint8Array(16);
  readonly #CR = new Uint8Array(256);
  readonly #AR = new Uint8Array(21);
  readonly #DISPI: Uint16Array;
  /** 0xRRGGBB of 256 colours, and of the 16 that the attribute controller selects. */
  readonly #colors = new Uint32Array(256);
  readonly #colors16 = new Uint32Array(16);
  #row = new Uint32Array(0);

  /** `vram.length` is a power of two. */
  constructor(registers: VgaRegisters, vram: Uint8Array) {
    this.#live = registers;
    this.#vram = vram;
    this.#mask = vram.length - 1;
    this.#DISPI = new Uint16Array(registers.DISPI.length);
  }

  #copyRegisters(): void {
    const { SR, GR, CR, AR, DISPI, DAC, pelMask } = this.#live;
    this.#SR.set(SR);
    this.#GR.set(GR);
    this.#CR.set(CR);
    this.#AR.set(AR);
    this.#DISPI.set(DISPI);
    const plain = this.#dispiIsOn && (DISPI[dispi.enable]! & dispiEnable.dac8Bit) !== 0;
    for (let i = 0; i < 256; i++) {
      const [red, green, blue] = [DAC[i * 3]!, DAC[i * 3 + 1]!, DAC[i * 3 + 2]!];
      this.#colors[i] = plain ? (red << 16) | (green << 8) | blue : (wide(red) << 16) | (wide(green) << 8) | wide(blue);
    }
    if (pelMask !== 0xff) {
      const all = this.#colors.slice();
      for (let i = 0; i < 256; i++) this.#colors[i] = all[i & pelMask]!;
    }
    const select = AR[0x14]!;
    for (let i = 0; i < 16; i++) {
      const entry = AR[i]!;
      const index =
        (AR[AR_MODE]! & AR_MODE_PALETTE_BITS) !== 0
          ? ((select & 15) << 4) | (entry & 15)
          : ((select & 12) << 4) | (entry & 63);
      this.#colors16[i] = this.#colors[index]!;
    }
  }

  get #dispiIsOn(): boolean {
    return (this.#DISPI[dispi.enable]! & dispiEnable.on) !== 0;
  }
  get #isGraphic(): boolean {
    return this.#dispiIsOn || (this.#GR[6]! & 1) !== 0;
  }
  get #isOff(): boolean {
    return (this.#live.arIndex & AR_SCREEN_ON) === 0 || (this.#SR[1]! & SR_SCREEN_OFF) !== 0;
  }

  /** Scan lines of the picture. */
  get #lines(): number {
    const overflow = this.#CR[7]!;
    return (this.#CR[0x12]! | ((overflow & 2) << 7) | ((overflow & 0x40) << 3)) + 1;
  }

  #start(surface: Surface, width: number, height: number): Uint32Array {
    surface.resize(width, height);
    if (this.#row.length !== width) this.#row = new Uint32Array(width);
    return this.#row;
  }

  draw(surface: Surface, blinkOn: boolean): void {
    this.#copyRegisters();
    if (this.#isOff) {
      if (surface.width === 0) surface.resize(BLANK_WIDTH, BLANK_HEIGHT);
      surface.fill(0);
    } else if (this.#dispiIsOn) this.#drawLinear(surface);
    else if (this.#isGraphic) this.#drawPlanar(surface);
    else this.#drawText(surface, blinkOn);
  }

  text(): TextScreen | undefined {
    this.#copyRegisters();
    if (this.#isOff || this.#isGraphic) return undefined;
    const { columns, rows, pitch, start } = this.#textLayout;
    const cells = new Uint16Array(columns * rows);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const at = (start + row * pitch + column * 4) & this.#mask;
        cells[row * columns + column] = this.#vram[at]! | (this.#vram[at + 1]! << 8);
      }
    }
    const at = this.#cursorAt - start;
    const column = (at % pitch) / 4;
    const row = Math.floor(at / pitch);
    const shown = (this.#CR[0x0a]! & 0x20) === 0 && at >= 0 && column < columns && row < rows;
    return { columns, rows, cells, cursor: shown ? { column, row } : undefined, colors: this.#colors16.slice() };
  }

  // ---- text

  get #textLayout() {
    const CR = this.#CR;
    const repeat = (CR[9]! & 0x80) !== 0 ? 2 : 1;
    const cellHeight = (CR[9]! & 31) + 1;
    return {
      columns: CR[1]! + 1,
      rows: Math.floor(this.#lines / (cellHeight * repeat)),
      cellHeight,
      repeat,
      pitch: Math.max(CR[0x13]! * 8, 8),
      start: ((CR[0x0c]! << 8) | CR[0x0d]!) * 4,
    };
  }
  get #cursorAt(): number {
    return ((this.#CR[0x0e]! << 8) | this.#CR[0x0f]!) * 4;
  }

  #drawText(surface: Surface, blinkOn: boolean): void {
    const [SR, CR, vram, mask] = [this.#SR, this.#CR, this.#vram, this.#mask];
    const { columns, rows, cellHeight, repeat, pitch, start } = this.#textLayout;
    const stretch = (SR[1]! & 8) !== 0 ? 2 : 1;
    const nine = (SR[1]! & 1) === 0 && stretch === 1;
    const cellWidth = nine ? 9 : 8 * stretch;
    const line = this.#start(surface, columns * cellWidth, Math.max(1, rows * cellHeight * repeat));
    const mode = this.#AR[AR_MODE]!;
    const blinks = (mode & AR_MODE_BLINK) !== 0;
    const lineGraphics = (mode & AR_MODE_LINE_GRAPHICS) !== 0;
    const fontMap = (select: number) => ((select & 3) << 14) | ((select & 4) << 11);
    const maps = SR[3]!;
    // Attribute bit 3 chooses between the two maps.
    const fonts = [
      fontMap((maps & 3) | ((maps & 0x10) >> 2)),
      fontMap(((maps >> 2) & 3) | ((maps & 0x20) >> 3)),
    ] as const;
    const cursorAt = this.#cursorAt & mask;
    const hasCursor = blinkOn && (CR[0x0a]! & 0x20) === 0;
    const [cursorFirst, cursorLast] = [CR[0x0a]! & 31, CR[0x0b]! & 31];
    const underline = (mode & AR_MODE_MONO) !== 0 ? CR[0x14]! & 31 : -1;
    for (let row = 0; row < rows; row++) {
      for (let scan = 0; scan < cellHeight; scan++) {
        let x = 0;
        for (let column = 0; column < columns; column++) {
          const at = (start + row * pitch + column * 4) & mask;
          const character = vram[at]!;
          const attribute = vram[at + 1]!;
          let bits = vram[((fonts[(attribute >> 3) & 1]! + character * 32 + scan) * 4 + 2) & mask]!;
          const blinking = blinks && (attribute & 0x80) !== 0;
          if (blinking && !blinkOn) bits = 0;
          if (scan === underline && (attribute & 7) === 1) bits = 0xff;
          let ninth = lineGraphics && character >= 0xc0 && character <= 0xdf ? bits & 1 : 0;
          if (hasCursor && at === cursorAt && scan >= cursorFirst && scan <= cursorLast) {
            bits = 0xff;
            ninth = 1;
          }
          const front = this.#colors16[attribute & 15]!;
          const back = this.#colors16[blinks ? (attribute >> 4) & 7 : attribute >> 4]!;
          for (let bit = 0x80; bit !== 0; bit >>= 1) {
            const color = (bits & bit) !== 0 ? front : back;
            line[x++] = color;
            if (stretch === 2) line[x++] = color;
          }
          if (nine) line[x++] = ninth !== 0 ? front : back;
        }
        for (let i = 0; i < repeat; i++) surface.putRow((row * cellHeight + scan) * repeat + i, line);
      }
    }
    if (rows === 0) surface.fill(0);
  }

  // ---- graphics of the VGA itself

  #drawPlanar(surface: Surface): void {
    const [SR, GR, CR, AR] = [this.#SR, this.#GR, this.#CR, this.#AR];
    const width = (CR[1]! + 1) * 8 * ((SR[1]! & 8) !== 0 && (GR[5]! & 0x40) === 0 ? 2 : 1);
    const height = this.#lines;
    const line = this.#start(surface, width, height);
    const shift = (GR[5]! >> 5) & 3;
    const repeats = shift === 1 ? CR[9]! >> 7 : (((CR[9]! & 31) + 1) << (CR[9]! >> 7)) - 1;
    const pitch = CR[0x13]! * 8;
    const split = CR[0x18]! | ((CR[7]! & 0x10) << 4) | ((CR[9]! & 0x40) << 3);
    const doubled = (SR[1]! & 8) !== 0;
    const draw = shift >= 2 ? this.#line256 : shift === 1 ? this.#line4 : this.#line16;
    let pan = AR[0x13]! & 7;
    let address = ((CR[0x0c]! << 8) | CR[0x0d]!) * 4;
    let rowScan = 0;
    let left = repeats;
    for (let y = 0; y < height; y++) {
      let from = address;
      // As on a CGA, and a Hercules card, odd rows lie elsewhere.
      const [bank13, bank14] = [(CR[0x17]! & 1) === 0, (CR[0x17]! & 2) === 0];
      if (bank13) {
        const bit = 1 << (14 + ((CR[0x17]! >> 6) & 1));
        from = (from & ~bit) | ((rowScan & 1) !== 0 ? bit : 0);
      }
      if (bank14) from = (from & ~0x8000) | ((rowScan & 2) << 14);
      draw.call(this, line, from, doubled, pan);
      surface.putRow(y, line);
      if (left > 0) left--;
      else {
        left = repeats;
        const rest = (bank13 ? 1 : 0) | (bank14 ? 2 : 0);
        if ((rowScan & rest) === rest) address += pitch;
        rowScan++;
      }
      if (y === split) {
        address = 0;
        rowScan = 0;
        left = repeats;
        if ((AR[AR_MODE]! & AR_MODE_PAN_TOP_ONLY) !== 0) pan = 0;
      }
    }
  }

  /** Four planes, a bit of each for a pixel. */
  #line16(line: Uint32Array, from: number, doubled: boolean, pan: number): void {
    const [vram, mask, colors] = [this.#vram, this.#mask, this.#colors16];
    const enabled = this.#AR[0x12]! & 15;
    let skip = pan;
    for (let x = 0, at = from; x < line.length; at += 4) {
      const [a, b] = [vram[at & mask]!, vram[(at + 1) & mask]!];
      const [c, d] = [vram[(at + 2) & mask]!, vram[(at + 3) & mask]!];
      for (let bit = 7 - skip; bit >= 0 && x < line.length; bit--) {
        const index = ((a >> bit) & 1) | (((b >> bit) & 1) << 1) | (((c >> bit) & 1) << 2) | (((d >> bit) & 1) << 3);
        const color = colors[index & enabled]!;
        line[x++] = color;
        if (doubled && x < line.length) line[x++] = color;
      }
      skip = 0;
    }
  }

  /** Two bits a pixel: four from planes 0 and 2, then four from 1 and 3. */
  #line4(line: Uint32Array, from: number, doubled: boolean, pan: number): void {
    const [vram, mask, colors] = [this.#vram, this.#mask, this.#colors16];
    const enabled = this.#AR[0x12]! & 15;
    let skip = pan;
    for (let x = 0, at = from; x < line.length; at += 4) {
      for (let i = skip; i < 8 && x < line.length; i++) {
        const bit = 6 - 2 * (i & 3);
        const low = (vram[(at + (i >> 2)) & mask]! >> bit) & 3;
        const high = (vram[(at + 2 + (i >> 2)) & mask]! >> bit) & 3;
        const color = colors[(low | (high << 2)) & enabled]!;
        line[x++] = color;
        if (doubled && x < line.length) line[x++] = color;
      }
      skip = 0;
    }
  }

  /** A byte for each pixel, which is two dots wide. */
  #line256(line: Uint32Array, from: number, _doubled: boolean, pan: number): void {
    const [vram, mask, colors] = [this.#vram, this.#mask, this.#colors];
    for (let x = 0, at = from + (pan >> 1); x < line.length; at++) {
      const color = colors[vram[at & mask]!]!;
      line[x++] = color;
      if (x < line.length) line[x++] = color;
    }
  }

  // ---- modes of the display interface

  #drawLinear(surface: Surface): void {
    const DISPI = this.#DISPI;
    const bpp = DISPI[dispi.bpp]!;
    const bits = dispiPixelBits(bpp);
    const pitch = dispiPitch(DISPI);
    const line = this.#start(surface, DISPI[dispi.xres]!, DISPI[dispi.yres]!);
    const start = ((DISPI[dispi.xOffset]! * bits) >> 3) + DISPI[dispi.yOffset]! * pitch;
    for (let y = 0; y < surface.height; y++) {
      const from = start + y * pitch;
      if (bpp === 4) this.#line16(line, from & ~3, false, 0);
      else this.#linearLine(line, from, bpp);
      surface.putRow(y, line);
    }
  }

  #linearLine(line: Uint32Array, from: number, bpp: number): void {
    const [vram, mask, colors] = [this.#vram, this.#mask, this.#colors];
    const byte = (at: number) => vram[at & mask]!;
    switch (bpp) {
      case 8:
        for (let x = 0, at = from; x < line.length; x++, at++) line[x] = colors[vram[at & mask]!]!;
        return;
      case 15:
        for (let x = 0, at = from; x < line.length; x++, at += 2) {
          const pixel = byte(at) | (byte(at + 1) << 8);
          line[x] = ((pixel & 0x7c00) << 9) | ((pixel & 0x3e0) << 6) | ((pixel & 31) << 3);
        }
        return;
      case 16:
        for (let x = 0, at = from; x < line.length; x++, at += 2) {
          const pixel = byte(at) | (byte(at + 1) << 8);
          line[x] = ((pixel & 0xf800) << 8) | ((pixel & 0x7e0) << 5) | ((pixel & 31) << 3);
        }
        return;
      default: {
        const step = bpp >> 3;
        for (let x = 0, at = from; x < line.length; x++, at += step)
          line[x] = byte(at) | (byte(at + 1) << 8) | (byte(at + 2) << 16);
      }
    }
  }
}
