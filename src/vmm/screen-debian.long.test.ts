/**
 * Debian's kernel shows its text on the VGA, in text mode and, with the driver bochs, drawn by itself; commands are typed through VNC,
 * and what they print is read back from the pixels that a client of our own has been sent.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { VringError } from '../base/index.js';
import { RfbClient } from '../dev/rfb-client.js';
import { file, writeCpio } from '../distro/cpio.js';
import { prepareDebian } from '../distro/index.js';
import { nodeNetwork } from '../host/node/block-network.js';
import { findFirmware } from '../host/node/firmware-file.js';
import { createMachine, type Machine } from './index.js';

const limitMs = 180_000;
const firmware = findFirmware('bios-256k.bin', []);
const rom = findFirmware('vgabios-stdvga.bin', []);

/** A shell on the first virtual terminal, and nothing else. */
const init = `#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root PS1='# '
[ -e /bin/mount ] || /bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
exec setsid sh -c 'exec sh -i </dev/tty1 >/dev/tty1 2>&1'
`;

async function textLines(machine: Machine): Promise<string[] | undefined> {
  const screen = await machine.screenText();
  if (!screen) return undefined;
  const { columns, rows, cells } = screen;
  return Array.from({ length: rows }, (_, row) =>
    String.fromCharCode(...cells.subarray(row * columns, (row + 1) * columns).map((cell) => cell & 0xff)).trimEnd(),
  );
}

async function until<T>(what: string, look: () => Promise<T | undefined | false>): Promise<T> {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert.ok(Date.now() < deadline, what);
    await wait(100);
  }
}

async function type(client: RfbClient, text: string): Promise<void> {
  for (const character of text) {
    const keysym = character === '\n' ? 0xff0d : character.charCodeAt(0);
    await client.key(keysym, true);
    await client.key(keysym, false);
    await wait(20);
  }
}

/** Cells of 8x16 pixels, each as a text of its dots. */
function cellsOf({ width, height, pixels }: RfbClient, row: number): string[] {
  assert.ok((row + 1) * 16 <= height);
  return Array.from({ length: width >> 3 }, (_, column) => {
    let dots = '';
    for (let y = 0; y < 16; y++)
      for (let x = 0; x < 8; x++) dots += pixels[(row * 16 + y) * width + column * 8 + x] === 0 ? ' ' : '#';
    return dots;
  });
}

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.';

test("Debian's consoles by VGA text and by bochs-drm, typed at and read through VNC", {
  skip: firmware === undefined || rom === undefined ? 'SeaBIOS is not installed' : false,
  timeout: 4 * limitMs,
}, async (t) => {
  let system: Awaited<ReturnType<typeof prepareDebian>>;
  try {
    system = await prepareDebian({ suite: 'bookworm', flavour: 'amd64' });
  } catch (error) {
    if (error instanceof VringError && /^(network|offline|mirror|http)-/.test(error.code))
      return t.skip(`no Debian here: ${error.message}`);
    throw error;
  }
  await using machine = await createMachine({
    ramBytes: 256 << 20,
    accelerators: ['tcg'],
    firmware: { image: firmware as string },
    kernel: system.kernel,
    initrd: Buffer.concat([system.initrd, writeCpio([file('init', init, 0o755)])]),
    commandLine: 'console=tty0 quiet',
    devices: [{ type: 'vga', rom }],
  });
  const { port } = await machine.serveVnc({ address: { type: 'inet', host: '127.0.0.1', port: 0 } });
  await machine.start();
  await until('a prompt in text mode', async () => (await textLines(machine))?.includes('#'));
  const client = new RfbClient(await nodeNetwork.connect({ type: 'inet', host: '127.0.0.1', port: port as number }));
  await client.handshake();
  await client.setEncodings(16, -223, -308);
  assert.deepEqual([client.width, client.height], [720, 400]);
  await type(client, 'echo Text_$((6*7)) | tr a-z A-Z; uname -r\n');
  await until('the answers in text mode', async () => {
    const shown = await textLines(machine);
    return shown?.includes('TEXT_42') && shown.includes(system.kernelVersion);
  });

  await type(client, 'modprobe bochs\n');
  await until('the driver bochs takes the screen', async () => (await machine.screenText()) === undefined);
  const refreshed = async () => {
    await client.request(true);
    await client.update();
  };
  await until('the mode that the monitor likes best', async () => {
    await refreshed();
    return client.width === 1280 && client.height === 800;
  });
  await type(client, `clear; echo ${alphabet}\n`);
  // The alphabet says what its cells look like; after that, cells say what is written in them.
  const font = await until('the alphabet', async () => {
    await refreshed();
    const cells = cellsOf(client, 0).slice(0, alphabet.length);
    const learned = new Map(cells.map((dots, i) => [dots, alphabet[i]]));
    return learned.size === alphabet.length && !learned.has(' '.repeat(128)) && learned;
  });
  await type(client, 'echo Fb_$((6*7)); cat /proc/fb\n');
  const read = (row: number) =>
    cellsOf(client, row)
      .map((dots) => font.get(dots) ?? ' ')
      .join('')
      .trimEnd();
  await until('the answers', async () => {
    await refreshed();
    return read(2) === 'Fb_42' && /^0 bochs-drm/.test(read(3));
  });
  client.close();
});
