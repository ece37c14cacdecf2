/** A machine's screen: SeaBIOS writes on it, and what is seen there is what it writes. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { inflateSync } from 'node:zlib';
import { RfbClient } from '../dev/rfb-client.js';
import { nodeNetwork } from '../host/node/block-network.js';
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
    // Its memory as a vCPU reads it through the window: a letter and its colours.
    assert.equal(new TextDecoder().decode(await machine.readMemory(0xb8000, 8)), 'S\x07e\x07a\x07B\x07');
    assert.equal((await machine.readMemory(0xb7fff, 4))[1], 0x53);
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

const isThere = (program: string) => spawnSync(program, ['--help']).error === undefined;

test('VNC: a client of our own types, and sees what screendump shows; so do gvnccapture and vncsnapshot', {
  skip,
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vring-screen-'));
  const machine = await createMachine({
    ramBytes: 32 << 20,
    accelerators: ['tcg'],
    firmware: { image: firmware as string, bootMenuMs: 60_000 },
    devices: [{ type: 'vga', rom }],
  });
  try {
    await machine.start();
    const { port } = await machine.serveVnc({ address: { type: 'inet', host: '127.0.0.1', port: 0 }, name: 'seen' });
    await assert.rejects(machine.serveVnc({ address: { type: 'unix', path: join(folder, 'x') } }), {
      code: 'vnc-served',
    });
    const client = new RfbClient(await nodeNetwork.connect({ type: 'inet', host: '127.0.0.1', port: port as number }));
    await client.handshake();
    assert.equal(client.name, 'seen');
    const state = await machine.vncState();
    assert.deepEqual([state?.port, state?.authentication, state?.clients.length], [port, 'none', 1]);
    assert.equal(state?.clients[0]?.host, '127.0.0.1');
    await client.setEncodings(16, -223);
    await untilShown(machine, /Press ESC for boot menu/);
    await client.key(0xff1b, true);
    await client.key(0xff1b, false);
    await untilShown(machine, /Select boot device/);
    // Until the picture is the one that screendump has: the cursor blinks, and the menu's last lines may still come.
    let shown = await machine.screendump('ppm');
    const width = 720;
    const matches = () =>
      client.width === width &&
      client.pixels.every(
        (pixel, i) => pixel === ((shown[15 + i * 3] << 16) | (shown[16 + i * 3] << 8) | shown[17 + i * 3]),
      );
    for (let i = 0; i < 40 && !matches(); i++) {
      await client.request(true);
      await client.update();
      shown = await machine.screendump('ppm');
    }
    assert.ok(matches(), 'the client has the same pixels');
    client.close();
    const seen = `127.0.0.1::${port}`;
    await t.test('gvnccapture', { skip: isThere('gvnccapture') ? false : 'not installed' }, () => {
      const file = join(folder, 'g.png');
      const ran = spawnSync('gvnccapture', [`127.0.0.1:${(port as number) - 5900}`, file], {
        encoding: 'utf8',
        timeout: 20_000,
      });
      assert.equal(ran.status, 0, ran.stderr);
      const { width, height, rgb } = readPng(readFileSync(file));
      assert.deepEqual([width, height], [720, 400]);
      // But for the cursor's cell, in which it may be dark just then.
      let different = 0;
      for (let i = 0; i < 720 * 400; i++)
        if (![0, 1, 2].every((k) => rgb[i * 3 + k] === shown[15 + i * 3 + k])) different++;
      assert.ok(different <= 9 * 16, `${different} pixels differ`);
    });
    await t.test('vncsnapshot', { skip: isThere('vncsnapshot') ? false : 'not installed' }, () => {
      for (const encoding of ['raw', 'hextile', 'zlib', 'tight']) {
        const file = join(folder, `${encoding}.jpg`);
        const ran = spawnSync('vncsnapshot', ['-encodings', encoding, seen, file], {
          encoding: 'utf8',
          timeout: 20_000,
        });
        assert.equal(ran.status, 0, ran.stderr);
        assert.match(ran.stderr + ran.stdout, /720x400/);
        assert.ok(readFileSync(file).length > 5000);
      }
    });
  } finally {
    await machine.close();
    rmSync(folder, { recursive: true });
  }
});

/** Of eight bits a sample, without interlace (ISO/IEC 15948): enough for what capturing programs write. */
function readPng(file: Buffer): { width: number; height: number; rgb: Uint8Array } {
  const [width, height, kind] = [file.readUInt32BE(16), file.readUInt32BE(20), file[25]];
  const chunks: Buffer[] = [];
  for (let at = 8; at < file.length; at += 12 + file.readUInt32BE(at))
    if (file.toString('latin1', at + 4, at + 8) === 'IDAT')
      chunks.push(file.subarray(at + 8, at + 8 + file.readUInt32BE(at)));
  const raw = inflateSync(Buffer.concat(chunks));
  const size = kind === 6 ? 4 : 3;
  const row = width * size;
  const out = new Uint8Array(row * height);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (row + 1)];
    for (let x = 0; x < row; x++) {
      const left = x >= size ? out[y * row + x - size] : 0;
      const up = y > 0 ? out[(y - 1) * row + x] : 0;
      const corner = x >= size && y > 0 ? out[(y - 1) * row + x - size] : 0;
      const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
      const paeth = a <= b && a <= c ? left : b <= c ? up : corner;
      out[y * row + x] = raw[y * (row + 1) + 1 + x] + [0, left, up, (left + up) >> 1, paeth][filter];
    }
  }
  const rgb = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; i++) rgb.set(out.subarray(i * size, i * size + 3), i * 3);
  return { width, height, rgb };
}

test('a machine without a VGA has no screen', async () => {
  const machine = await createMachine({ builtInGuest: true, accelerators: ['tcg'] });
  try {
    await assert.rejects(machine.screendump('png'), { code: 'no-screen' });
  } finally {
    await machine.close();
  }
});
