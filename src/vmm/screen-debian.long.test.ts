/**
 * Debian's kernel shows its text on the VGA, in text mode and, with the driver bochs, drawn by itself; commands are typed through VNC,
 * and what they print is read back from the pixels that a client of our own has been sent, and from TigerVNC's window.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { VringError } from '../base/index.js';
import { RfbClient } from '../dev/rfb-client.js';
import { consoleInit, learnFont, refreshed, textLines, type, until } from '../dev/screen-text.js';
import { TigerVnc, tigerVncLacks } from '../dev/tigervnc.js';
import { file, writeCpio } from '../distro/cpio.js';
import { prepareDebian } from '../distro/index.js';
import { nodeNetwork } from '../host/node/block-network.js';
import { findFirmware } from '../host/node/firmware-file.js';
import { createMachine } from './index.js';

const limitMs = 180_000;
const firmware = findFirmware('bios-256k.bin', []);
const rom = findFirmware('vgabios-stdvga.bin', []);

/** Undefined: there is none here, and the test is skipped. */
async function debian(t: TestContext) {
  try {
    return await prepareDebian({ suite: 'bookworm', flavour: 'amd64' });
  } catch (error) {
    if (error instanceof VringError && /^(network|offline|mirror|http)-/.test(error.code)) {
      t.skip(`no Debian here: ${error.message}`);
      return undefined;
    }
    throw error;
  }
}

test("Debian's consoles by VGA text and by bochs-drm, typed at and read through VNC", {
  skip: firmware === undefined || rom === undefined ? 'SeaBIOS is not installed' : false,
  timeout: 4 * limitMs,
}, async (t) => {
  const system = await debian(t);
  if (!system) return;
  await using machine = await createMachine({
    ramBytes: 256 << 20,
    accelerators: ['tcg'],
    firmware: { image: firmware as string },
    kernel: system.kernel,
    initrd: Buffer.concat([system.initrd, writeCpio([file('init', consoleInit(), 0o755)])]),
    commandLine: 'console=tty0 quiet',
    devices: [{ type: 'vga', rom }],
  });
  const { port } = await machine.serveVnc({ address: { type: 'inet', host: '127.0.0.1', port: 0 } });
  await machine.start();
  await until('a prompt in text mode', limitMs, async () => (await textLines(machine))?.includes('#'));
  const lacks = tigerVncLacks();
  await t.test(
    'typed at and read through TigerVNC',
    { skip: lacks ? `${lacks} is not installed` : false },
    async () => {
      const viewer = await TigerVnc.open(port as number, limitMs);
      try {
        viewer.typeLine('clear; echo Tiger_$((6*7)) | tr a-z A-Z');
        await until('the answer', limitMs, async () => (await textLines(machine))?.includes('TIGER_42'));
        await until('the same picture in the window', limitMs, async () => {
          const shown = (await machine.screendump('ppm')).subarray('P6\n720 400\n255\n'.length);
          const { width, height, rgb } = viewer.picture();
          // But for the cursor, which may be dark just then.
          let different = 0;
          for (let i = 0; i < shown.length; i += 3)
            if (rgb[i] !== shown[i] || rgb[i + 1] !== shown[i + 1] || rgb[i + 2] !== shown[i + 2]) different++;
          return width === 720 && height === 400 && different <= 9 * 16;
        });
      } finally {
        await viewer.close();
      }
    },
  );

  const client = new RfbClient(await nodeNetwork.connect({ type: 'inet', host: '127.0.0.1', port: port as number }));
  await client.handshake();
  await client.setEncodings(16, -223, -308);
  assert.deepEqual([client.width, client.height], [720, 400]);
  await type(client, 'echo Text_$((6*7)) | tr a-z A-Z; uname -r\n');
  await until('the answers in text mode', limitMs, async () => {
    const shown = await textLines(machine);
    return shown?.includes('TEXT_42') && shown.includes(system.kernelVersion);
  });

  await type(client, 'modprobe bochs\n');
  await until('the driver bochs takes the screen', limitMs, async () => (await machine.screenText()) === undefined);
  await until('the mode that the monitor likes best', limitMs, async () => {
    await refreshed(client);
    return client.width === 1280 && client.height === 800;
  });
  const read = await learnFont(client, limitMs);
  await type(client, 'echo Fb_$((6*7)); cat /proc/fb\n');
  await until('the answers', limitMs, async () => {
    await refreshed(client);
    return read(2) === 'Fb_42' && /^0 bochs-drm/.test(read(3));
  });
  client.close();
});

test('vga= on the command line: the setup code has the VGA BIOS set that mode', {
  skip: firmware === undefined || rom === undefined ? 'SeaBIOS is not installed' : false,
  timeout: limitMs,
}, async (t) => {
  const system = await debian(t);
  if (!system) return;
  const told = consoleInit('cat /proc/fb >/dev/ttyS0');
  await using machine = await createMachine({
    ramBytes: 256 << 20,
    accelerators: ['tcg'],
    firmware: { image: firmware as string },
    kernel: system.kernel,
    initrd: Buffer.concat([system.initrd, writeCpio([file('init', told, 0o755)])]),
    commandLine: 'console=tty0 quiet vga=791',
    devices: [{ type: 'vga', rom }],
  });
  await machine.start();
  await machine.serial().waitForText('VESA VGA', { timeoutMs: limitMs });
  const picture = Buffer.from(await machine.screendump('ppm'));
  assert.equal(picture.subarray(0, 16).toString(), 'P6\n1024 768\n255\n');
});
