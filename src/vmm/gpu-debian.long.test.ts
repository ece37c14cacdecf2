/**
 * Debian's drivers of virtio GPU and virtio input: the console that they make, typed at through VNC and read from its pixels; the tablet's
 * places, the mouse's steps and the keys as evdev tells them; a size that the client asks for reaches the driver.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VringError } from '../base/index.js';
import { RfbClient } from '../dev/rfb-client.js';
import { consoleInit, learnFont, refreshed, type, until } from '../dev/screen-text.js';
import { file, writeCpio } from '../distro/cpio.js';
import { prepareDebian } from '../distro/index.js';
import { nodeNetwork } from '../host/node/block-network.js';
import { createMachine, type DeviceOptions } from './index.js';

const limitMs = 240_000;
const modules = 'for each in virtio_pci virtio_gpu virtio_input evdev; do modprobe $each; done';

const machines: Readonly<Record<string, { suite: string; flavour: string; gpu: DeviceOptions }>> = {
  x86_64: { suite: 'bookworm', flavour: 'amd64', gpu: { type: 'virtio-gpu', vga: {} } },
  riscv64: { suite: 'trixie', flavour: 'riscv64', gpu: { type: 'virtio-gpu' } },
};

for (const [architecture, { suite, flavour, gpu }] of Object.entries(machines)) {
  test(`Debian's console by virtio-gpu, with virtio's keyboard, mouse and tablet: ${architecture}`, {
    timeout: 2 * limitMs,
  }, async (t) => {
    let system: Awaited<ReturnType<typeof prepareDebian>>;
    try {
      system = await prepareDebian({ suite, flavour });
    } catch (error) {
      if (error instanceof VringError && /^(network|offline|mirror|http)-/.test(error.code))
        return t.skip(`no Debian here: ${error.message}`);
      throw error;
    }
    await using machine = await createMachine({
      architecture,
      ramBytes: 256 << 20,
      accelerators: ['tcg'],
      kernel: system.kernel,
      initrd: Buffer.concat([system.initrd, writeCpio([file('init', consoleInit(modules), 0o755)])]),
      commandLine: 'console=tty0 quiet',
      devices: [gpu, { type: 'virtio-keyboard' }, { type: 'virtio-mouse' }, { type: 'virtio-tablet' }],
    });
    const { port } = await machine.serveVnc({ address: { type: 'inet', host: '127.0.0.1', port: 0 } });
    await machine.start();
    const client = new RfbClient(await nodeNetwork.connect({ type: 'inet', host: '127.0.0.1', port: port as number }));
    await client.handshake();
    await client.setEncodings(16, -223, -308, -257);
    await until('the mode that the monitor likes best', limitMs, async () => {
      await refreshed(client);
      return client.width === 1280 && client.height === 800 && client.pixels.some((pixel) => pixel !== 0);
    });
    const read = await learnFont(client, limitMs);
    const line = async (row: number, wanted: string | RegExp) => {
      let shown = '';
      try {
        await until('a line', 60_000, async () => {
          await refreshed(client);
          shown = read(row);
          return typeof wanted === 'string' ? shown === wanted : wanted.test(shown);
        });
      } catch {
        assert.fail(`row ${row} shows '${shown}', not ${wanted}`);
      }
    };
    await type(client, 'echo Fb_$((6*7)); cat /proc/fb\n');
    await line(2, 'Fb_42');
    await line(3, /^0 virtio_gpudrmfb/);

    // struct input_event: 16 bytes of time, then type, code and value, as words of 16 bits.
    const listen = async (kind: string) => {
      const find = `for e in /sys/class/input/event*; do grep -q ${kind} $e/device/name && n=\${e##*/}; done`;
      // From its opening on the device keeps what happens.
      await type(
        client,
        `${find}\nexec 3</dev/input/$n; clear; echo Ready; head -c 72 <&3 | od -v -An -tx2 -w24 | cut -c42-\n`,
      );
      await line(0, 'Ready');
    };
    await listen('Tablet');
    await client.pointer(0, 320, 600);
    await line(1, '0003 0000 2006 0000');
    await line(2, '0003 0001 601e 0000');
    await line(3, '0000 0000 0000 0000');
    await listen('Mouse');
    await machine.sendInput([{ type: 'move', dx: 5, dy: -3, dz: 0, buttons: 0 }], { timeoutMs: 10_000 });
    await line(1, '0002 0000 0005 0000');
    await line(2, '0002 0001 0003 0000');

    // The driver is told of another monitor.
    await client.write([251, 0, 1000 >> 8, 1000 & 255, 700 >> 8, 700 & 255, 1, 0, ...new Array(16).fill(0)]);
    await type(client, 'clear; head -1 /sys/class/drm/card0-Virtual-1/modes\n');
    await line(0, '1000x700');
    client.close();
  });
}
