/**
 * The standard VGA (IBM VGA XGA Technical Reference) with the Bochs display interface (DISPI, version 5) for linear modes of
 * 8 to 32 bits, as QEMU's `-device VGA`. The chip knows registers and video memory; drawing is `vga-renderer.ts`.
 *
 * Deviations: no external palette select, feature connector or light pen; the DAC's bytes are kept whole, as QEMU keeps them; CRTC
 * registers that no VGA has read as they were written. Skews, and smooth scrolling of text, are left out of the picture.
 */
import type { Clock } from '../../base/index.js';
import { assert } from '../../base/index.js';
import type { Device } from '../../bus/index.js';
import type { StateArena } from '../../schema/index.js';
import { isLinear, readPlanes, writePlanes } from './planes.js';
import {
  DISPI_ID,
  DISPI_REGISTERS,
  dispi,
  dispiEnable,
  dispiLimits,
  dispiPitch,
  dispiPixelBits,
  type VgaRegisters,
  VgaState,
} from './vga-state.js';

const MSR_COLOR = 0x01;
const STATUS1_DISPLAY_OFF = 0x01;
const STATUS1_VERTICAL_RETRACE = 0x08;
const SR_CLOCK = 1;
const SR_PLANES = 2;
const SR_MODE = 4;
const CR_PROTECT = 0x80;
/** Bits that each register has. */
const SR_BITS = Uint8Array.of(0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0x00, 0x00, 0xff);
const GR_BITS = Uint8Array.of(0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff, 0, 0, 0, 0, 0, 0, 0);
const AR_BITS = (index: number) => (index < 16 ? 0x3f : [0xef, 0xff, 0x3f, 0x0f, 0x0f][index - 16]!);
/** MHz by bits 2 and 3 of the miscellaneous output register. */
const DOT_CLOCKS = [25.175, 28.322, 25.175, 25.175];
const BANK_BYTES = 0x10000;

export interface VgaOptions {
  readonly clock: Clock;
  /** Video memory: a power of two, at least 256 KiB. */
  readonly vram: Uint8Array;
  readonly arena?: StateArena | undefined;
  readonly name?: string | undefined;
  /** The chip has written video memory itself: byte offset and count. */
  readonly written?: ((offset: number, count: number) => void) | undefined;
  /** What `linearWindow` gives may have changed. */
  readonly windowChanged?: (() => void) | undefined;
}

export class Vga implements Device {
  readonly name: string;
  readonly state: VgaRegisters;
  readonly vram: Uint8Array;
  readonly #view: DataView;
  readonly #options: VgaOptions;

  constructor(options: VgaOptions) {
    const { vram } = options;
    assert(vram.length >= 1 << 18 && (vram.length & (vram.length - 1)) === 0, 'video memory is a power of two');
    this.name = options.name ?? 'vga';
    this.#options = options;
    this.vram = vram;
    this.#view = new DataView(vram.buffer, vram.byteOffset, vram.length);
    this.state = VgaState.allocate(options.arena);
    if (!options.arena?.attached) this.state.DISPI[dispi.id] = DISPI_ID;
  }

  reset(): void {
    VgaState.reset(this.state);
    this.state.DISPI[dispi.id] = DISPI_ID;
    this.#options.windowChanged?.();
  }
  save(): Uint8Array {
    return VgaState.save(this.state);
  }
  load(saved: Uint8Array): void {
    VgaState.load(this.state, saved);
    // What a guest could not have set, the picture's limits among it, is brought into range.
    const { state } = this;
    for (let i = 0; i < SR_BITS.length; i++) state.SR[i]! &= SR_BITS[i]!;
    for (let i = 0; i < GR_BITS.length; i++) state.GR[i]! &= GR_BITS[i]!;
    for (let i = 0; i < state.AR.length; i++) state.AR[i]! &= AR_BITS(i);
    state.DISPI[dispi.bank]! &= this.vram.length / BANK_BYTES - 1;
    if (this.#dispiIsOn) this.#fitDispi();
    this.#options.windowChanged?.();
  }

  // ---- ports 3B0h to 3DFh

  /** True for the half of the CRTC's ports that the miscellaneous output register switches off. */
  #isOtherHalf(port: number): boolean {
    const color = (this.state.MSR & MSR_COLOR) !== 0;
    return color ? port < 0x3c0 : port >= 0x3d0;
  }

  readPort(port: number): number {
    const { state } = this;
    if (this.#isOtherHalf(port)) return 0xff;
    switch (port) {
      case 0x3c0:
        return state.arData ? 0 : state.arIndex;
      case 0x3c1:
        return state.AR[state.arIndex & 0x1f] ?? 0;
      case 0x3c4:
        return state.srIndex;
      case 0x3c5:
        return state.SR[state.srIndex]!;
      case 0x3c6:
        return state.pelMask;
      case 0x3c7:
        return state.dacMode;
      case 0x3c8:
        return state.dacWriteIndex;
      case 0x3c9: {
        const value = state.DAC[state.dacReadIndex * 3 + state.dacPart]!;
        if (++state.dacPart === 3) {
          state.dacPart = 0;
          state.dacReadIndex++;
        }
        return value;
      }
      case 0x3ca:
        return state.FCR;
      case 0x3cc:
        return state.MSR;
      case 0x3ce:
        return state.grIndex;
      case 0x3cf:
        return state.GR[state.grIndex]!;
      case 0x3b4:
      case 0x3d4:
        return state.crIndex;
      case 0x3b5:
      case 0x3d5:
        return state.CR[state.crIndex]!;
      case 0x3ba:
      case 0x3da:
        state.arData = false;
        return this.#status1();
      default:
        return 0;
    }
  }

  writePort(port: number, value: number): void {
    const { state } = this;
    if (this.#isOtherHalf(port)) return;
    switch (port) {
      case 0x3c0: {
        if (!state.arData) state.arIndex = value & 0x3f;
        else {
          const index = state.arIndex & 0x1f;
          if (index < state.AR.length) state.AR[index] = value & AR_BITS(index);
        }
        state.arData = !state.arData;
        return;
      }
      case 0x3c2:
        state.MSR = value & ~0x10;
        return;
      case 0x3c4:
        state.srIndex = value & 7;
        return;
      case 0x3c5:
        state.SR[state.srIndex] = value & SR_BITS[state.srIndex]!;
        if (state.srIndex === SR_PLANES || state.srIndex === SR_MODE) this.#options.windowChanged?.();
        return;
      case 0x3c6:
        state.pelMask = value;
        return;
      case 0x3c7:
        state.dacReadIndex = value;
        state.dacPart = 0;
        state.dacMode = 3;
        return;
      case 0x3c8:
        state.dacWriteIndex = value;
        state.dacPart = 0;
        state.dacMode = 0;
        return;
      case 0x3c9:
        state.dacPending[state.dacPart] = value;
        if (++state.dacPart === 3) {
          state.DAC.set(state.dacPending, state.dacWriteIndex * 3);
          state.dacPart = 0;
          state.dacWriteIndex++;
        }
        return;
      case 0x3ce:
        state.grIndex = value & 15;
        return;
      case 0x3cf:
        state.GR[state.grIndex] = value & GR_BITS[state.grIndex]!;
        if (state.grIndex === 6) this.#options.windowChanged?.();
        return;
      case 0x3b4:
      case 0x3d4:
        state.crIndex = value;
        return;
      case 0x3b5:
      case 0x3d5:
        this.#writeCrtc(state.crIndex, value);
        return;
      case 0x3ba:
      case 0x3da:
        state.FCR = value & 0x10;
    }
  }

  /** Registers 0 to 7 can be protected, but for bit 8 of the line compare register. */
  #writeCrtc(index: number, value: number): void {
    const { CR } = this.state;
    if ((CR[0x11]! & CR_PROTECT) === 0 || index > 7) CR[index] = value;
    else if (index === 7) CR[7] = (CR[7]! & ~0x10) | (value & 0x10);
  }

  /** Where the beam is, by the machine's clock and the CRTC's totals. */
  #status1(): number {
    const { CR, SR, MSR } = this.state;
    const overflow = CR[7]!;
    const characterNs =
      ((((SR[SR_CLOCK]! & 1) !== 0 ? 8 : 9) * ((SR[SR_CLOCK]! & 8) !== 0 ? 2 : 1)) / DOT_CLOCKS[(MSR >> 2) & 3]!) *
      1000;
    const lineNs = (CR[0]! + 5) * characterNs;
    const lines = (CR[6]! | ((overflow & 1) << 8) | ((overflow & 0x20) << 4)) + 2;
    const inFrame = this.#options.clock.nowNs() % (lineNs * lines);
    const line = Math.floor(inFrame / lineNs);
    const retrace = CR[0x10]! | ((overflow & 4) << 6) | ((overflow & 0x80) << 2);
    const retraceLines = (CR[0x11]! - retrace) & 15 || 16;
    if (line >= retrace && line < retrace + retraceLines) return STATUS1_DISPLAY_OFF | STATUS1_VERTICAL_RETRACE;
    const end = CR[0x12]! | ((overflow & 2) << 7) | ((overflow & 0x40) << 3);
    return line > end || inFrame % lineNs > (CR[1]! + 1) * characterNs ? STATUS1_DISPLAY_OFF : 0;
  }

  // ---- the window at A0000h

  get #bankOffset(): number {
    return this.#dispiIsOn ? this.state.DISPI[dispi.bank]! * BANK_BYTES : 0;
  }

  /** `offset`: from A0000h, below 20000h. */
  readMemory(offset: number): number {
    return readPlanes(this.state, this.#view, offset, this.#bankOffset);
  }

  writeMemory(offset: number, value: number): void {
    const written = writePlanes(this.state, this.#view, offset, value, this.#bankOffset);
    if (written >= 0) this.#options.written?.(Math.floor(written / 8), written & 7);
  }

  /** The offset in video memory of the 64 KiB that lie at A0000h as they are; undefined while accesses go through planes. */
  get linearWindow(): number | undefined {
    return isLinear(this.state) ? this.#bankOffset : undefined;
  }

  // ---- the display interface

  get #dispiIsOn(): boolean {
    return (this.state.DISPI[dispi.enable]! & dispiEnable.on) !== 0;
  }

  readDispi(index: number): number {
    const { DISPI } = this.state;
    if (index === dispi.memory64k) return this.vram.length / BANK_BYTES;
    if (index >= DISPI_REGISTERS) return 0;
    if ((DISPI[dispi.enable]! & dispiEnable.capabilities) !== 0) {
      if (index === dispi.xres) return dispiLimits.xres;
      if (index === dispi.yres) return dispiLimits.yres;
      if (index === dispi.bpp) return dispiLimits.bpp;
    }
    return DISPI[index]!;
  }

  writeDispi(index: number, value: number): void {
    const { DISPI } = this.state;
    switch (index) {
      case dispi.id:
        if (value >= 0xb0c0 && value <= DISPI_ID) DISPI[index] = value;
        return;
      case dispi.bank:
        DISPI[index] = value & (this.vram.length / BANK_BYTES - 1);
        this.#options.windowChanged?.();
        return;
      case dispi.enable:
        this.#enableDispi(value);
        return;
      case dispi.xres:
      case dispi.yres:
      case dispi.bpp:
      case dispi.virtualWidth:
      case dispi.xOffset:
      case dispi.yOffset:
        DISPI[index] = value;
        if (this.#dispiIsOn) {
          this.#fitDispi();
          this.#setVgaMode();
        }
    }
  }

  #enableDispi(value: number): void {
    const { DISPI } = this.state;
    const comesOn = (value & dispiEnable.on) !== 0 && !this.#dispiIsOn;
    if (comesOn) {
      DISPI[dispi.virtualWidth] = 0;
      DISPI[dispi.xOffset] = 0;
      DISPI[dispi.yOffset] = 0;
      DISPI[dispi.bank] = 0;
      this.#fitDispi();
      this.#setVgaMode();
      if ((value & dispiEnable.keepMemory) === 0) {
        const count = Math.min(dispiPitch(DISPI) * DISPI[dispi.yres]!, this.vram.length);
        this.vram.fill(0, 0, count);
        this.#options.written?.(0, count);
      }
    } else if ((value & dispiEnable.on) === 0) DISPI[dispi.bank] = 0;
    DISPI[dispi.enable] = value;
    this.#options.windowChanged?.();
  }

  /** Brings sizes and offsets into what video memory can hold. */
  #fitDispi(): void {
    const { DISPI } = this.state;
    if (![4, 8, 15, 16, 24, 32].includes(DISPI[dispi.bpp]!)) DISPI[dispi.bpp] = 8;
    const bits = dispiPixelBits(DISPI[dispi.bpp]!);
    const width = (index: number) => Math.min(DISPI[index]! & ~7, dispiLimits.xres);
    DISPI[dispi.xres] = width(dispi.xres) || 8;
    DISPI[dispi.virtualWidth] = Math.max(width(dispi.virtualWidth), DISPI[dispi.xres]!);
    const pitch = dispiPitch(DISPI);
    const rows = Math.floor(this.vram.length / pitch);
    DISPI[dispi.yres] = Math.min(DISPI[dispi.yres]! || 1, dispiLimits.yres, rows);
    DISPI[dispi.virtualHeight] = Math.min(rows, 0xffff);
    DISPI[dispi.xOffset] = Math.min(DISPI[dispi.xOffset]!, dispiLimits.xres);
    DISPI[dispi.yOffset] = Math.min(DISPI[dispi.yOffset]!, dispiLimits.yres);
    const end = () => ((DISPI[dispi.xOffset]! * bits) >> 3) + (DISPI[dispi.yOffset]! + DISPI[dispi.yres]!) * pitch;
    if (end() > this.vram.length) DISPI[dispi.yOffset] = 0;
    if (end() > this.vram.length) DISPI[dispi.xOffset] = 0;
  }

  /** The VGA's own registers follow the display interface's mode, for those who read them. */
  #setVgaMode(): void {
    const { DISPI, GR, CR } = this.state;
    const planar = DISPI[dispi.bpp] === 4;
    const lastLine = DISPI[dispi.yres]! - 1;
    GR[6] = (GR[6]! & ~0x0c) | 0x05;
    GR[5] = (GR[5]! & ~0x60) | (planar ? 0 : 0x40);
    CR[0x17]! |= 3;
    CR[0x13] = dispiPitch(DISPI) >> 3;
    CR[0x01] = (DISPI[dispi.xres]! >> 3) - 1;
    CR[0x12] = lastLine;
    CR[0x07] = (CR[7]! & ~0x42) | ((lastLine >> 7) & 0x02) | ((lastLine >> 3) & 0x40);
    // No split screen, no repeated scan lines.
    CR[0x18] = 0xff;
    CR[0x07]! |= 0x10;
    CR[0x09] = (CR[9]! & ~0x9f) | 0x40;
    this.#options.windowChanged?.();
  }
}
