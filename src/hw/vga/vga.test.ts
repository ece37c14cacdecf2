/** The VGA's registers, planes and pictures against IBM's reference, and against a QEMU whose guest never runs. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import test from 'node:test';
import { ManualTime, MemorySpace, PortSpace } from '../../bus/index.js';
import { Surface } from '../../display/index.js';
import { StateArena, StateError } from '../../schema/index.js';
import { PciRoot } from '../pci/pci-root.js';
import { fuzzAccesses, seededRandom } from '../testing.js';
import { edid } from './edid.js';
import { dispi, PciVga, Vga, VgaRenderer } from './index.js';

const VRAM = 1 << 24;
const LFB = 0xe000_0000;
const MMIO = 0xe100_0000;

/** A VGA on a PCI bus with its BARs placed. */
function board() {
  const buffer = new SharedArrayBuffer(VRAM);
  const memory = new MemorySpace(buffer);
  const ports = new PortSpace();
  const clock = new ManualTime();
  const vram = new Uint8Array(buffer);
  let device: PciVga | undefined;
  const vga = new Vga({ clock, vram, windowChanged: () => device?.followWindow() });
  device = new PciVga({ vga, memory, ports, vramHva: 0 });
  const root = new PciRoot({ spaces: { memory, ports, msi: { send() {} } }, route: () => 0 });
  root.bus.add(device.function, 2);
  const place = () => {
    device.function.write(0x10, 4, LFB);
    device.function.write(0x18, 4, MMIO);
    device.function.setCommand(3);
  };
  place();
  return { vram, vga, device, memory, ports, clock, place };
}
type Board = ReturnType<typeof board>;

function indexed({ ports }: Pick<Board, 'ports'>, port: number, registers: Readonly<Record<number, number>>): void {
  for (const [index, value] of Object.entries(registers)) {
    ports.write(port, 1, Number(index));
    ports.write(port + 1, 1, value);
  }
}

function setDispi(
  { ports }: Pick<Board, 'ports'>,
  registers: readonly (readonly [index: number, value: number])[],
): void {
  for (const [index, value] of registers) {
    ports.write(0x1ce, 2, index);
    ports.write(0x1d0, 2, value);
  }
}

/** Register values of the BIOS modes (IBM's tables), as ports take them. */
interface ModeTable {
  readonly msr: number;
  readonly sr: readonly number[];
  readonly cr: readonly number[];
  readonly gr: readonly number[];
  readonly ar: readonly number[];
}
const linearPalette = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const modes = {
  text80: {
    msr: 0x67,
    sr: [3, 0, 3, 0, 2],
    cr: [
      0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x28, 0x1f,
      0x96, 0xb9, 0xa3, 0xff,
    ],
    gr: [0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff],
    ar: [...linearPalette, 0x0c, 0, 0x0f, 8, 0],
  },
  planar640: {
    msr: 0xe3,
    sr: [3, 1, 0x0f, 0, 6],
    cr: [
      0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0, 0x40, 0, 0, 0, 0, 0, 0, 0xea, 0x8c, 0xdf, 0x28, 0, 0xe7, 4,
      0xe3, 0xff,
    ],
    gr: [0, 0, 0, 0, 0, 0, 5, 0x0f, 0xff],
    ar: [...linearPalette, 1, 0, 0x0f, 0, 0],
  },
  chained320: {
    msr: 0x63,
    sr: [3, 1, 0x0f, 0, 0x0e],
    cr: [
      0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0, 0x41, 0, 0, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x28, 0x40, 0x96,
      0xb9, 0xa3, 0xff,
    ],
    gr: [0, 0, 0, 0, 0, 0x40, 5, 0x0f, 0xff],
    ar: [...linearPalette, 0x41, 0, 0x0f, 0, 0],
  },
  cga320: {
    msr: 0x63,
    sr: [3, 9, 3, 0, 2],
    cr: [
      0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0, 0xc1, 0, 0, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x14, 0, 0x96, 0xb9,
      0xa2, 0xff,
    ],
    gr: [0, 0, 0, 0, 0, 0x30, 0x0f, 0, 0xff],
    ar: [...linearPalette, 1, 0, 3, 0, 0],
  },
} satisfies Record<string, ModeTable>;

function setMode(on: Pick<Board, 'ports'>, { msr, sr, cr, gr, ar }: ModeTable): void {
  const { ports } = on;
  ports.write(0x3c2, 1, msr);
  indexed(on, 0x3c4, sr);
  indexed(on, 0x3d4, { 17: 0 });
  indexed(on, 0x3d4, cr);
  indexed(on, 0x3ce, gr);
  ports.read(0x3da, 1);
  for (const [index, value] of ar.entries()) {
    ports.write(0x3c0, 1, index);
    ports.write(0x3c0, 1, value);
  }
  ports.write(0x3c0, 1, 0x20);
  // A palette of which each entry tells its number.
  ports.write(0x3c8, 1, 0);
  for (let i = 0; i < 256; i++) for (const part of [i & 63, (i >> 2) & 63, 63 - (i & 63)]) ports.write(0x3c9, 1, part);
}

const wide = (six: number) => (six << 2) | ((six & 1) * 3);
const colorOf = (i: number) => (wide(i & 63) << 16) | (wide((i >> 2) & 63) << 8) | wide(63 - (i & 63));

function picture(vga: Vga, blinkOn = true): Surface {
  const surface = new Surface();
  new VgaRenderer(vga.state, vga.vram).draw(surface, blinkOn);
  return surface;
}

test('the CRTC answers at 3D4h or 3B4h, and protects its first registers but for one bit', () => {
  const { ports } = board();
  ports.write(0x3c2, 1, 0x67);
  assert.equal(ports.read(0x3cc, 1), 0x67);
  assert.equal(ports.read(0x3b4, 1), 0xff);
  indexed({ ports }, 0x3d4, { 0: 0x5f, 7: 0x0f, 17: 0x80 });
  indexed({ ports }, 0x3d4, { 0: 0x11, 7: 0xf0, 18: 0x33 });
  const read = (index: number) => {
    ports.write(0x3d4, 1, index);
    return ports.read(0x3d5, 1);
  };
  assert.deepEqual([read(0), read(7), read(0x12)], [0x5f, 0x1f, 0x33]);
  ports.write(0x3c2, 1, 0x66);
  assert.equal(ports.read(0x3d4, 1), 0xff);
  assert.equal(ports.read(0x3b4, 1), 0x12);
});

test('the vertical retrace is seen once a frame of 1/70 s in text mode', () => {
  const on = board();
  setMode(on, modes.text80);
  let [last, rises, displayed] = [false, 0, 0];
  for (let us = 0; us < 1_000_000; us += 20) {
    const status = on.ports.read(0x3da, 1);
    const now = (status & 8) !== 0;
    if (now && !last) rises++;
    if ((status & 1) === 0) displayed++;
    last = now;
    on.clock.advance(20_000);
  }
  assert.ok(rises >= 69 && rises <= 71, `${rises} frames`);
  // 400 of 449 lines, 80 of 100 characters of each.
  assert.ok(displayed > 50_000 * 0.68 && displayed < 50_000 * 0.76, `${displayed} of 50000`);
});

test('write modes 0 to 3, the logical functions, the bit mask and both read modes', () => {
  const on = board();
  const { memory, vram } = on;
  setMode(on, modes.planar640);
  const planes = (at: number) => [...vram.subarray(at * 4, at * 4 + 4)];
  memory.write(0xa0000, 1, 0x5a);
  assert.deepEqual(planes(0), [0x5a, 0x5a, 0x5a, 0x5a]);
  // Map mask: planes 1 and 3 alone. Rotation by four.
  indexed(on, 0x3c4, { 2: 0x0a });
  indexed(on, 0x3ce, { 3: 4 });
  memory.write(0xa0001, 1, 0x12);
  assert.deepEqual(planes(1), [0, 0x21, 0, 0x21]);
  indexed(on, 0x3c4, { 2: 0x0f });
  // Set/reset on planes 0 and 1, with the value 1 and 0.
  indexed(on, 0x3ce, { 3: 0, 0: 1, 1: 3 });
  memory.write(0xa0002, 1, 0x77);
  assert.deepEqual(planes(2), [0xff, 0, 0x77, 0x77]);
  // XOR with the latches under a bit mask.
  indexed(on, 0x3ce, { 1: 0, 3: 0x18, 8: 0xf0 });
  memory.read(0xa0002, 1);
  memory.write(0xa0003, 1, 0xff);
  assert.deepEqual(planes(3), [0x0f, 0xf0, 0x87, 0x87]);
  indexed(on, 0x3ce, { 3: 0, 8: 0xff });
  // Mode 1 copies latches; mode 2 spreads a colour; mode 3 takes the CPU's byte as the mask of the set/reset colour.
  indexed(on, 0x3ce, { 5: 1 });
  memory.read(0xa0003, 1);
  memory.write(0xa0010, 1, 0);
  assert.deepEqual(planes(0x10), [0x0f, 0xf0, 0x87, 0x87]);
  indexed(on, 0x3ce, { 5: 2 });
  memory.write(0xa0011, 1, 0x05);
  assert.deepEqual(planes(0x11), [0xff, 0, 0xff, 0]);
  indexed(on, 0x3ce, { 5: 3, 0: 2 });
  memory.read(0xa0011, 1);
  memory.write(0xa0012, 1, 0x0f);
  assert.deepEqual(planes(0x12), [0xf0, 0x0f, 0xf0, 0]);
  // Read mode 0 by plane; read mode 1: bits whose colour is 5 in the planes that count.
  indexed(on, 0x3ce, { 5: 0, 4: 1 });
  assert.equal(memory.read(0xa0012, 1), 0x0f);
  indexed(on, 0x3ce, { 5: 8, 2: 5, 7: 0x0f });
  assert.equal(memory.read(0xa0012, 1), 0xf0);
  indexed(on, 0x3ce, { 7: 0 });
  assert.equal(memory.read(0xa0012, 1), 0xff, 'no plane counts');
});

test('a text screen: font from plane 2, colours, nine dots, line graphics, cursor, blinking', () => {
  const on = board();
  const { memory, vram, vga } = on;
  setMode(on, modes.text80);
  // The glyph of each character: its code in every line.
  for (let code = 0; code < 256; code++) for (let line = 0; line < 32; line++) vram[(code * 32 + line) * 4 + 2] = code;
  memory.write(0xb8000, 2, 0x1f41);
  memory.write(0xb8002, 2, 0x07c5);
  memory.write(0xb8004, 2, 0x8f81);
  assert.deepEqual([vram[0], vram[1], vram[4], vram[5]], [0x41, 0x1f, 0xc5, 0x07]);
  // The cursor on the third cell of the second row, lines 13 and 14.
  indexed(on, 0x3d4, { 14: 0, 15: 82 });
  memory.write(0xb80a4, 2, 0x0700);
  const surface = picture(vga);
  assert.deepEqual([surface.width, surface.height], [720, 400]);
  const cell = (column: number, row: number, line: number, from = surface) => [
    ...from.pixels.subarray((row * 16 + line) * 720 + column * 9, (row * 16 + line) * 720 + column * 9 + 9),
  ];
  const bits = (byte: number, ninth: number, front: number, back: number) =>
    [7, 6, 5, 4, 3, 2, 1, 0]
      .map((bit) => colorOf((byte >> bit) & 1 ? front : back))
      .concat(colorOf(ninth ? front : back));
  assert.deepEqual(cell(0, 0, 5), bits(0x41, 0, 15, 1));
  assert.deepEqual(cell(1, 0, 5), bits(0xc5, 1, 7, 0), 'a box character goes on into the ninth dot');
  assert.deepEqual(cell(2, 0, 5), bits(0x81, 0, 15, 0), 'bit 7 of the attribute blinks');
  assert.deepEqual(cell(2, 0, 5, picture(vga, false)), bits(0, 0, 15, 0));
  assert.deepEqual(cell(2, 1, 12), bits(0, 0, 7, 0));
  assert.deepEqual(cell(2, 1, 13), bits(0xff, 1, 7, 0), 'the cursor');
  const text = new VgaRenderer(vga.state, vram).text();
  assert.deepEqual([text?.columns, text?.rows, text?.cursor], [80, 25, { column: 2, row: 1 }]);
  assert.deepEqual([...text!.cells.subarray(0, 3)], [0x1f41, 0x07c5, 0x8f81]);
  // Another font for attribute bit 3: map 1 at 16 KiB.
  vram[(0x4000 + 0x41 * 32 + 5) * 4 + 2] = 0x3c;
  indexed(on, 0x3c4, { 3: 0x04 });
  assert.deepEqual(cell(0, 0, 5, picture(vga)), bits(0x3c, 0, 15, 1));
});

test('planes of 640x480, panning and a split screen', () => {
  const on = board();
  const { memory, vga } = on;
  setMode(on, modes.planar640);
  indexed(on, 0x3ce, { 5: 2 });
  for (let i = 0; i < 80 * 480; i++) memory.write(0xa0000 + i, 1, i & 15);
  let surface = picture(vga);
  assert.deepEqual([surface.width, surface.height], [640, 480]);
  const at = (x: number, y: number) => surface.pixels[y * 640 + x];
  for (const [x, y] of [
    [0, 0],
    [7, 0],
    [8, 0],
    [639, 0],
    [100, 321],
  ] as const)
    assert.equal(at(x, y), colorOf((y * 80 + (x >> 3)) & 15), `${x},${y}`);
  on.ports.read(0x3da, 1);
  on.ports.write(0x3c0, 1, 0x33);
  on.ports.write(0x3c0, 1, 3);
  // The screen begins ten rows down and is split at line 255.
  indexed(on, 0x3d4, { 12: (800 >> 8) & 255, 13: 800 & 255, 17: 0, 24: 255, 7: 0x2e, 9: 0 });
  surface = picture(vga);
  assert.equal(at(4, 0), colorOf(800 & 15));
  assert.equal(at(5, 0), colorOf(801 & 15));
  assert.equal(at(0, 255), colorOf((800 + 255 * 80) & 15));
  assert.equal(at(5, 256), colorOf(1));
});

test('256 colours of 320x200 and unchained, 4 colours as on a CGA', () => {
  const on = board();
  const { memory, vga, vram } = on;
  setMode(on, modes.chained320);
  for (let i = 0; i < 64000; i++) memory.write(0xa0000 + i, 1, (i * 7) & 255);
  let surface = picture(vga);
  assert.deepEqual([surface.width, surface.height], [640, 400]);
  for (const [x, y] of [
    [0, 0],
    [319, 0],
    [17, 199],
  ] as const) {
    for (const dot of [0, 1, 640, 641])
      assert.equal(surface.pixels[y * 1280 + x * 2 + dot], colorOf(((y * 320 + x) * 7) & 255), `${x},${y}`);
  }
  assert.equal(vga.linearWindow, 0, 'chain 4 with all planes is a piece of RAM');
  indexed(on, 0x3c4, { 4: 6 });
  assert.equal(vga.linearWindow, undefined);
  indexed(on, 0x3c4, { 2: 4 });
  memory.write(0xa0000 + 10, 1, 99);
  assert.equal(vram[42], 99, 'plane 2 of address 10');
  assert.equal(picture(vga).pixels[84], colorOf(99));

  setMode(on, modes.cga320);
  vram.fill(0);
  // Row 0 begins with the colours 0 1 2 3, row 1 (at B800h:2000h) with 3 2 1 0.
  memory.write(0xb8000, 1, 0b00011011);
  memory.write(0xba000, 1, 0b11100100);
  surface = picture(vga);
  assert.deepEqual([surface.width, surface.height], [640, 400]);
  const dots = (y: number) => [0, 2, 4, 6].map((x) => surface.pixels[y * 640 + x]);
  assert.deepEqual(dots(0), [0, 1, 2, 3].map(colorOf));
  assert.deepEqual(dots(1), dots(0));
  assert.deepEqual(dots(2), [3, 2, 1, 0].map(colorOf));
});

test('the display interface: modes of 8 to 32 bits, offsets, banks, limits, registers in MMIO', () => {
  const on = board();
  const { memory, ports, vga, vram } = on;
  vga.writePort(0x3c0, 0x20);
  const pixel = (x: number, y: number) => {
    const surface = picture(vga);
    return surface.pixels[y * surface.width + x];
  };
  const cases = [
    [15, 2, 0x7c1f, 0xf800f8],
    [16, 2, 0x07e0, 0x00fc00],
    [24, 3, 0x123456, 0x123456],
    [32, 4, 0xff654321, 0x654321],
  ] as const;
  for (const [bpp, bytes, value, rgb] of cases) {
    setDispi(on, [
      [dispi.enable, 0],
      [dispi.xres, 800],
      [dispi.yres, 600],
      [dispi.bpp, bpp],
      [dispi.enable, 0x41],
    ]);
    for (let i = 0; i < bytes; i++) memory.write(LFB + (10 * 800 + 5) * bytes + i, 1, (value >>> (8 * i)) & 255);
    assert.equal(pixel(5, 10), rgb, `${bpp} bits`);
    setDispi(on, [
      [dispi.xOffset, 5],
      [dispi.yOffset, 10],
    ]);
    assert.equal(pixel(0, 0), rgb, `${bpp} bits, moved`);
  }
  // 256 colours through the bank: 32 bits' last picture is cleared, then kept.
  setDispi(on, [
    [dispi.enable, 0],
    [dispi.bpp, 8],
    [dispi.enable, 1],
    [dispi.bank, 3],
  ]);
  assert.equal(
    vram.subarray(0, 800 * 600).some((byte) => byte !== 0),
    false,
  );
  memory.write(0xa0000 + 7, 1, 0xaa);
  assert.equal(vram[0x30007], 0xaa);
  setDispi(on, [
    [dispi.enable, 0],
    [dispi.enable, 0x81],
  ]);
  assert.equal(vram[0x30007], 0xaa, 'memory is kept where asked for');
  // What memory cannot hold is cut.
  setDispi(on, [
    [dispi.enable, 0],
    [dispi.bpp, 32],
    [dispi.xres, 9999],
    [dispi.yres, 0xffff],
    [dispi.enable, 0x41],
    [dispi.xOffset, 0xffff],
    [dispi.yOffset, 0xffff],
  ]);
  const { DISPI } = vga.state;
  assert.equal(DISPI[dispi.xres], 9992);
  assert.ok(DISPI[dispi.yres]! * 9992 * 4 <= VRAM);
  assert.deepEqual([DISPI[dispi.xOffset], DISPI[dispi.yOffset]], [0, 0]);
  assert.equal(picture(vga).width, 9992);
  // The same registers in BAR 2, and the monitor's description.
  assert.equal(memory.read(MMIO + 0x500, 2), 0xb0c5);
  assert.equal(memory.read(MMIO + 0x514, 2), VRAM / 65536);
  memory.write(MMIO + 0x508, 2, 0);
  memory.write(MMIO + 0x502, 2, 640);
  ports.write(0x1ce, 2, dispi.xres);
  assert.equal(ports.read(0x1cf, 2), 640);
  memory.write(MMIO + 0x402, 1, 0x67);
  assert.equal(ports.read(0x3cc, 1), 0x67);
  assert.equal(memory.read(MMIO, 4), 0xffffff00);
  let sum = 0;
  for (let i = 0; i < 128; i++) sum += memory.read(MMIO + i, 1);
  assert.equal(sum & 255, 0);
  assert.equal(memory.read(MMIO + 0x600, 4), 8);
});

test('the monitor description says its preferred mode', () => {
  const block = edid({ name: 'vring', width: 1280, height: 800 });
  assert.equal(block.length, 128);
  const timing = block.subarray(54);
  assert.equal(timing[2]! | ((timing[4]! >> 4) << 8), 1280);
  assert.equal(timing[5]! | ((timing[7]! >> 4) << 8), 800);
  const clock = (timing[0]! | (timing[1]! << 8)) * 10_000;
  const frame = (1280 + 160) * (800 + timing[6]!);
  assert.ok(Math.abs(clock / frame - 60) < 0.1);
});

test('saved in the middle and loaded elsewhere, it goes on: an index waits, a colour is half written, latches hold', () => {
  const one = board();
  setMode(one, modes.planar640);
  indexed(one, 0x3ce, { 5: 2 });
  for (let i = 0; i < 256; i++) one.memory.write(0xa0000 + i, 1, i & 15);
  one.memory.read(0xa0009, 1);
  indexed(one, 0x3ce, { 5: 1 });
  one.ports.write(0x3c8, 1, 77);
  one.ports.write(0x3c9, 1, 1);
  one.ports.write(0x3c9, 1, 2);
  one.ports.read(0x3da, 1);
  one.ports.write(0x3c0, 1, 0x25);
  const two = board();
  two.device.load(one.device.save());
  two.vram.set(one.vram);
  for (const { memory, ports } of [one, two]) {
    memory.write(0xa0020, 1, 0);
    ports.write(0x3c9, 1, 3);
    ports.write(0x3c0, 1, 0x3f);
  }
  assert.deepEqual(two.device.save(), one.device.save());
  assert.deepEqual(two.vram.subarray(0, 4096), one.vram.subarray(0, 4096));
  assert.deepEqual([...two.vga.state.DAC.subarray(231, 234)], [1, 2, 3]);
  assert.deepEqual([...two.vram.subarray(0x80, 0x84)], [0xff, 0, 0, 0xff]);
  assert.equal(two.memory.nameAt(LFB), 'VGA bar0');
});

test('random accesses to registers and memory, with pictures and damaged states in between', () => {
  const on = board();
  const { memory, ports, vga, device, place } = on;
  const random = seededRandom(20261129);
  const surface = new Surface();
  const renderer = new VgaRenderer(vga.state, vga.vram);
  const windows = [
    { size: 0x30, at: 0x3b0, space: ports },
    { size: 4, at: 0x1ce, space: ports },
    { size: 0x20000, at: 0xa0000, space: memory },
    { size: 0x1000, at: MMIO, space: memory },
    { size: VRAM, at: LFB, space: memory },
  ];
  for (let round = 0; round < 300; round++) {
    const window = windows[random(windows.length)]!;
    fuzzAccesses(random, 200, window.size, {
      read: (offset, size) => window.space.read(window.at + offset, size),
      write: (offset, size, value) => window.space.write(window.at + offset, size, value),
    });
    on.clock.advance(random(1e8));
    // Large pictures are rare, so that the test is short.
    const { DISPI } = vga.state;
    if ((DISPI[dispi.enable]! & 1) === 0 || DISPI[dispi.xres]! * DISPI[dispi.yres]! < 200_000 || random(40) === 0)
      renderer.draw(surface, random(2) === 0);
    renderer.text();
    if (random(10) !== 0) continue;
    const saved = device.save();
    saved[random(saved.length)] = random(256);
    try {
      device.load(saved);
    } catch (error) {
      assert.ok(error instanceof StateError, String(error));
    }
    device.reset();
    place();
  }
});

test('registers damaged in shared memory stay inside video memory', () => {
  const arena = new StateArena(new SharedArrayBuffer(8192));
  const vga = new Vga({ clock: new ManualTime(), vram: new Uint8Array(1 << 18), arena });
  const random = seededRandom(5);
  const bytes = new Uint8Array(arena.buffer, 0, arena.usedTo);
  const surface = new Surface();
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < bytes.length; i++) bytes[i] = random(256);
    vga.state.DISPI[dispi.enable] = round & 1;
    vga.state.DISPI[dispi.xres]! &= 1023;
    vga.state.DISPI[dispi.yres]! &= 255;
    vga.state.arIndex = 0x20;
    new VgaRenderer(vga.state, vga.vram).draw(surface, true);
    for (let i = 0; i < 100; i++) vga.writeMemory(random(0x20000), random(256));
  }
});

const QEMU = 'qemu-system-x86_64';
const skip = spawnSync(QEMU, ['--version']).status === 0 ? false : `${QEMU} is not installed`;

test('registers, planes and display interface are those of QEMU', { skip }, async () => {
  const on = board();
  const { ports, memory } = on;
  const random = seededRandom(1234);
  const commands: string[] = [];
  const expected: (readonly [value: number, mask: number] | undefined)[] = [];
  const out = (port: number, value: number, size: 1 | 2 = 1) => {
    ports.write(port, size, value);
    commands.push(`out${size === 1 ? 'b' : 'w'} ${port} ${value}`);
    expected.push(undefined);
  };
  const inp = (port: number, size: 1 | 2 = 1) => {
    commands.push(`in${size === 1 ? 'b' : 'w'} ${port}`);
    expected.push([ports.read(port, size), 0xffff]);
  };
  // Theirs lies where its firmware would put it.
  const config = (register: number, value: number) => {
    commands.push(`outl 0xcf8 ${0x80001000 + register}`, `outl 0xcfc ${value}`);
    expected.push(undefined, undefined);
  };
  config(0x10, LFB);
  config(0x18, MMIO);
  config(0x04, 3);
  const theirMap = ({ msr, sr, cr, gr, ar }: ModeTable) => {
    out(0x3c2, msr);
    for (const [base, values] of [
      [0x3c4, sr],
      [0x3d4, cr],
      [0x3ce, gr],
    ] as const) {
      for (const [index, value] of values.entries()) {
        out(base, index);
        out(base + 1, value);
      }
    }
    ar.forEach((value, index) => {
      out(0x3c0, index);
      out(0x3c0, value);
    });
  };
  const store = (gpa: number, value: number) => {
    memory.write(gpa, 1, value);
    commands.push(`writeb ${gpa} ${value}`);
    expected.push(undefined);
  };
  const load = (gpa: number) => {
    commands.push(`readb ${gpa}`);
    expected.push([memory.read(gpa, 1), 0xff]);
  };
  // Every register of each bank takes and keeps the same bits.
  for (const value of [0xff, 0x55, 0xaa]) {
    for (const [base, count] of [
      [0x3c4, 8],
      [0x3ce, 9],
      [0x3d4, 0x19],
    ] as const) {
      for (let index = 0; index < count; index++) {
        out(0x3c2, 1);
        out(base, index);
        out(base + 1, value);
        inp(base);
        inp(base + 1);
      }
      out(0x3d4, 0x11);
      out(0x3d5, 0);
    }
    for (let index = 0; index < 21; index++) {
      out(0x3c0, index);
      out(0x3c0, value);
      out(0x3c0, index);
      inp(0x3c0);
      inp(0x3c1);
      out(0x3c0, value);
    }
    out(0x3c8, 200);
    for (let i = 0; i < 9; i++) out(0x3c9, (value + i) & 63);
    out(0x3c7, 200);
    inp(0x3c7);
    for (let i = 0; i < 9; i++) inp(0x3c9);
    inp(0x3c8);
  }
  // Random accesses to the window in each of the maps, and in modes that planes, odd/even and chain 4 decide.
  for (const mode of Object.values(modes)) {
    theirMap(mode);
    for (let i = 0; i < 600; i++) {
      if (random(4) === 0) {
        const index = random(9);
        out(0x3ce, index);
        out(0x3cf, index === 5 ? (mode.gr[5]! & 0x70) | (random(16) & 0x0b) : index === 6 ? mode.gr[6]! : random(256));
      }
      if (random(20) === 0) {
        out(0x3c4, 2);
        out(0x3c5, random(16));
      }
      const gpa = 0xa0000 + random(0x20000);
      const near = random(2) === 0 ? 0xb8000 + random(64) : 0xa0000 + random(64);
      const at = random(3) === 0 ? gpa : near;
      if (random(3) === 0) store(at, random(256));
      else load(at);
    }
    for (let i = 0; i < 64; i++) load(LFB + i);
  }
  // The display interface, in the order in which drivers set it.
  for (let i = 0; i < 60; i++) {
    const values = [
      [dispi.enable, 0],
      [dispi.xres, random(3000)],
      [dispi.yres, random(2000)],
      [dispi.bpp, [4, 8, 15, 16, 24, 32, 5][random(7)]!],
      [dispi.enable, 0xc1],
      [dispi.virtualWidth, random(4000)],
      [dispi.xOffset, random(100)],
      [dispi.yOffset, random(5000)],
    ] as const;
    for (const [index, value] of values) {
      out(0x1ce, index, 2);
      out(0x1d0, value, 2);
    }
    for (let index = 0; index <= 10; index++) {
      if (index === dispi.virtualHeight) continue;
      out(0x1ce, index, 2);
      inp(0x1cf, 2);
    }
    for (const [base, index] of [
      [0x3c4, 4],
      [0x3ce, 5],
      [0x3ce, 6],
    ] as const) {
      out(base, index);
      inp(base + 1);
    }
    for (const index of [1, 7, 9, 0x12, 0x13, 0x17, 0x18]) {
      out(0x3d4, index);
      inp(0x3d5);
    }
  }
  const machine = ['-M', 'pc', '-accel', 'tcg', '-S', '-display', 'none', '-nodefaults', '-m', '16'];
  const qemu = spawn(QEMU, [...machine, '-device', 'VGA,addr=2', '-qtest', 'stdio'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const replies: string[] = [];
  let rest = '';
  qemu.stdin.on('error', () => {});
  const done = new Promise<void>((resolve) => {
    qemu.once('exit', () => resolve());
    qemu.stdout.setEncoding('latin1').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop()!;
      for (const line of lines) if (line.startsWith('OK') || line.startsWith('FAIL')) replies.push(line);
      if (replies.length >= commands.length) resolve();
    });
  });
  qemu.stdin.write(`${commands.join('\n')}\n`);
  await done;
  qemu.kill();
  assert.equal(replies.length, commands.length, 'QEMU answered every command');
  for (const [i, each] of expected.entries()) {
    if (each === undefined) continue;
    const theirs = Number(replies[i]!.split(' ')[1]);
    const history = commands.slice(Math.max(0, i - 14), i + 1).join('; ');
    assert.equal(each[0] & each[1], theirs & each[1], `ours, QEMU's after: ${history}`);
  }
});
