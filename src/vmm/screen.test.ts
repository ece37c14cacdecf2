/** A machine's screen: SeaBIOS writes on it, and what is seen there is what it writes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { findFirmware } from '../host/node/firmware-file.js';
import { createMachine, type Machine, type TextScreen } from './index.js';

const firmware = findFirmware('bios-256k.bin', []);
const rom = findFirmware('vgabios-stdvga.bin', []);
const skip = firmware === undefined || rom === undefined ? 'SeaBIOS is not installed' : false;

function linesOf(screen: TextScreen | undefined): string[] {
  if (!screen) return [];
  const { columns, rows, cells } = screen;
  return Array.from({ length: rows }, (_, row) =>
    String.fromCharCode(...cells.subarray(row * columns, (row + 1) * columns).map((cell) => cell & 0xff)).trimEnd(),
  );
}

async function untilShown(machine: Machine, text: RegExp): Promise<string[]> {
  for (let i = 0; i < 600; i++) {
    const lines = linesOf(await machine.screenText());
    if (lines.some((line) => text.test(line))) return lines;
    await wait(50);
  }
  assert.fail(`${text} is not on the screen: ${linesOf(await machine.screenText()).join('|')}`);
}

test('SeaBIOS shows its lines; the picture has their letters; a key reaches it', { skip }, async () => {
  const machine = await createMachine({
    ramBytes: 32 << 20,
    accelerators: ['tcg'],
    firmware: { image: firmware as string, bootMenuMs: 60_000 },
    devices: [{ type: 'vga', rom }],
  });
  try {
    await machine.start();
    const [first] = await untilShown(machine, /Press ESC for boot menu/);
    assert.match(first, /^SeaBIOS \(version /);
    const ppm = await machine.screendump('ppm');
    assert.equal(new TextDecoder('latin1').decode(ppm.subarray(0, 15)), 'P6\n720 400\n255\n');
    // The first cell is an S: light grey dots on black, of the font that the VGA BIOS loaded.
    const colors = new Set<number>();
    const cell: string[] = [];
    for (let y = 0; y < 16; y++) {
      let row = '';
      for (let x = 0; x < 9; x++) {
        const at = 15 + (y * 720 + x) * 3;
        const color = (ppm[at] << 16) | (ppm[at + 1] << 8) | ppm[at + 2];
        colors.add(color);
        row += color === 0 ? '.' : '#';
      }
      cell.push(row);
    }
    assert.deepEqual([...colors].sort(), [0, 0xa8a8a8]);
    assert.deepEqual(cell.slice(2, 12), [
      '.#####...',
      '##...##..',
      '##...##..',
      '.##......',
      '..###....',
      '....##...',
      '.....##..',
      '##...##..',
      '##...##..',
      '.#####...',
    ]);
    const png = await machine.screendump('png');
    assert.deepEqual([...png.subarray(1, 4)], [0x50, 0x4e, 0x47]);
    await machine.sendInput([
      { type: 'key', code: 1, down: true },
      { type: 'key', code: 1, down: false },
    ]);
    await untilShown(machine, /Select boot device/);
  } finally {
    await machine.close();
  }
});

test('a machine without a VGA has no screen', async () => {
  const machine = await createMachine({ builtInGuest: true, accelerators: ['tcg'] });
  try {
    await assert.rejects(machine.screendump('png'), { code: 'no-screen' });
  } finally {
    await machine.close();
  }
});
