/** Disks, network cards and USB devices that come and go by QMP under Debian's kernel, with what its driver reads and writes, and QEMU's events. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { file, writeCpio } from '../../../distro/cpio.js';
import { prepareDebian } from '../../../distro/index.js';
import { VringError } from '../../../vmm/index.js';
import { socketClient } from './testing/qmp-client.js';

const limitMs = 900_000;
const main = fileURLToPath(new URL('../../main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'vring-qmp-plug-'));
after(() => rmSync(folder, { recursive: true }));

/** Debian's kernel, or why it cannot be had here. */
const debian = await prepareDebian({ suite: 'bookworm', flavour: 'amd64' }).catch((error: unknown) => {
  if (error instanceof VringError && /^(network|offline|mirror|http)-/.test(error.code)) return error;
  throw error;
});
const skip = debian instanceof Error && `no Debian here: ${debian.message}`;

const content = Buffer.alloc(1 << 20);
for (let i = 0; i < content.length; i += 4) content.writeUInt32LE(Math.imul(i + 3, 2246822519) >>> 0, i);
const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
/** What the guest writes behind the content: 64 KiB of a letter. */
const letters = { blk: 'b', scsi: 's', uhci: 'u', xhci: 'x', late: 'l' } as const;

/** The guest waits for a line before each step, and says when it has seen it. */
const guest = (url: string) => `#!/bin/busybox sh
[ -e /bin/mount ] || /bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
stty -echo
until_block() { for try in $(seq 1 120); do [ -b $1 ] && return; sleep 0.5; done; }
until_gone() { for try in $(seq 1 120); do [ -e $1 ] || break; sleep 0.5; done; [ -e $1 ] || echo "gone $2"; }
disk() {
  echo "plug $1"; until_block $2
  echo "$1 $(head -c 1048576 $2 | sha256sum)"
  head -c 65536 /dev/zero | tr '\\0' $3 | dd of=$2 bs=65536 seek=16 conv=fsync 2>/dev/null
  echo "unplug $1"; until_gone $2 $1
  read line
}
# Of a stick, which is read until it is gone: SCSI disks are counted on while an earlier one is not all gone.
stick() {
  echo "plug $1"
  for try in $(seq 1 120); do ls /sys/block | grep -q '^sd' && break; sleep 0.5; done
  disk=/dev/$(ls /sys/block | grep '^sd'); until_block $disk
  echo "$1 $(head -c 1048576 $disk | sha256sum)"
  head -c 65536 /dev/zero | tr '\\0' $2 | dd of=$disk bs=65536 seek=16 conv=fsync 2>/dev/null
  ( while dd if=$disk of=/dev/null bs=65536 iflag=direct 2>/dev/null; do :; done; echo read > /read-$1 ) &
  echo "unplug $1"; until_gone $disk $1; wait; [ -e /read-$1 ] || echo "$1 is read on"
  read line
}
modprobe -ab virtio_pci virtio_blk virtio_scsi sd_mod virtio_net uhci_hcd xhci_pci usb_storage usbhid hid_generic
disk blk /dev/vda b
disk scsi /dev/sda s
stick uhci u
stick xhci x
stick late l
echo "plug hub"
for try in $(seq 1 120); do grep -qs 'USB Tablet' /sys/bus/usb/devices/*/product && break; sleep 0.5; done
echo "hub $(cat /sys/bus/usb/devices/*/product | grep VRING | sort | tr '\\n' ' ')"
for try in $(seq 1 120); do grep -q 'USB Tablet' /proc/bus/input/devices && break; sleep 0.5; done
echo "unplug hub"
for try in $(seq 1 120); do grep -qs VRING /sys/bus/usb/devices/*/product || break; sleep 0.5; done
grep -q 'USB Tablet' /proc/bus/input/devices || echo "gone hub"
read line
echo "plug card"
for try in $(seq 1 120); do ls /sys/class/net | grep -q '^e' && break; sleep 0.5; done
card=$(ls /sys/class/net | grep '^e')
echo "card $(cat /sys/class/net/$card/address)"
ip link set $card up; ip address add 10.0.2.15/24 dev $card
echo "fetched $(wget -q -O - ${url} | sha256sum)"
echo "unplug card"; until_gone /sys/class/net/$card card
read line
poweroff -f
`;

for (const board of ['pc', 'q35'] as const) {
  test(`QMP plugs and unplugs on ${board} under Linux`, { skip, timeout: limitMs }, async () => {
    const image = join(folder, `${board}.raw`);
    writeFileSync(image, Buffer.concat([content, Buffer.alloc(1 << 20)]));
    const server = createServer((_request, response) => response.end(content)).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const path = join(folder, `${board}.sock`);
    const ports = board === 'q35' ? ['-device', 'pcie-root-port,id=port1,slot=1,chassis=1'] : [];
    const url = `http://10.0.2.2:${(server.address() as AddressInfo).port}/`;
    assert.ok(!(debian instanceof Error));
    writeFileSync(join(folder, 'kernel'), debian.kernel);
    const init = writeCpio([file('plug-init', guest(url), 0o755)]);
    writeFileSync(join(folder, 'initrd'), Buffer.concat([debian.initrd, init]));
    const vring = spawn(
      process.execPath,
      [
        ...[main, 'run', '-accel', 'tcg', '-M', board, '-m', '256', ...ports, '-device', 'virtio-scsi-pci,id=scsi0'],
        ...['-usb', '-device', 'qemu-xhci,id=x'],
        ...['-display', 'none', '-no-reboot', '-nic', 'none', '-serial', 'stdio'],
        ...['-kernel', join(folder, 'kernel'), '-initrd', join(folder, 'initrd')],
        ...['-append', 'console=ttyS0 quiet loglevel=1 panic=-1 rdinit=/plug-init'],
        ...['-qmp', `unix:${path},server=on,wait=on`],
      ],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    const ended = new Promise((resolve) => vring.on('exit', resolve));
    try {
      const { client, socket } = await connected(path);
      await client.next();
      await client.ask('{"execute":"qmp_capabilities"}');
      const say = async (execute: string, given: object) => {
        const answer = await client.ask(JSON.stringify({ execute, arguments: given }));
        assert.deepEqual(answer, { return: {} }, `${execute} ${JSON.stringify(given)}`);
      };
      const behind = board === 'q35' ? { bus: 'port1' } : {};
      const node = (name: string) => ({
        ...{ driver: 'raw', 'node-name': name },
        file: { driver: 'file', filename: image },
      });
      const steps: Readonly<Record<string, () => Promise<void>>> = {
        'plug blk': async () => {
          await say('blockdev-add', node('n1'));
          await say('device_add', { driver: 'virtio-blk-pci', id: 'blk', drive: 'n1', ...behind });
        },
        'plug scsi': async () => {
          await say('blockdev-add', node('n2'));
          await say('device_add', { driver: 'scsi-hd', id: 'scsi', drive: 'n2', bus: 'scsi0.0' });
        },
        'plug card': async () => {
          await say('netdev_add', { type: 'user', id: 'net1', ipv6: false });
          const card = { driver: 'virtio-net-pci', id: 'card', netdev: 'net1', mac: '52:54:00:aa:bb:cc' };
          await say('device_add', { ...card, ...behind });
        },
        'plug uhci': async () => {
          await say('blockdev-add', node('n3'));
          await say('device_add', { driver: 'usb-storage', id: 'uhci', drive: 'n3', bus: 'usb-bus.0' });
        },
        'plug xhci': async () => {
          await say('blockdev-add', node('n4'));
          await say('device_add', { driver: 'usb-storage', id: 'xhci', drive: 'n4', bus: 'x.0' });
        },
        // A controller of its own, which goes with all that is plugged into it.
        'plug late': async () => {
          await say('device_add', { driver: 'qemu-xhci', id: 'y', ...behind });
          await say('blockdev-add', node('n5'));
          await say('device_add', { driver: 'usb-storage', id: 'late', drive: 'n5' });
        },
        'plug hub': async () => {
          await say('device_add', { driver: 'usb-hub', id: 'hub', bus: 'x.0', port: '2' });
          await say('device_add', { driver: 'usb-tablet', id: 'tablet', bus: 'x.0', port: '2.4' });
        },
        'unplug uhci': () => say('device_del', { id: 'uhci' }),
        'unplug xhci': () => say('device_del', { id: 'xhci' }),
        'unplug late': () => say('device_del', { id: 'y' }),
        'unplug hub': () => say('device_del', { id: 'hub' }),
        'unplug blk': () => say('device_del', { id: 'blk' }),
        'unplug scsi': () => say('device_del', { id: 'scsi' }),
        'unplug card': () => say('device_del', { id: 'card' }),
      };
      const deleted = async (device: string): Promise<void> => {
        for (;;) {
          const event = client.events.shift() ?? (await client.next());
          if (event.event === 'DEVICE_DELETED') paths.push(event.data);
          if (event.data?.device === device || event.closed) return;
        }
      };
      const paths: object[] = [];
      const lines: string[] = [];
      let rest = '';
      vring.stdout.setEncoding('latin1');
      for await (const chunk of vring.stdout) {
        const parts = (rest + chunk).split(/\r*\n/);
        rest = parts.pop() as string;
        for (const line of parts) {
          // The kernel's word at power-off.
          if (line.startsWith('[')) continue;
          lines.push(line);
          await steps[line]?.();
          if (!line.startsWith('gone ')) continue;
          const device = line.slice(5);
          await deleted(device);
          if (device === 'card') await say('netdev_del', { id: 'net1' });
          if (device in letters) {
            await say('blockdev-del', { 'node-name': `n${Object.keys(letters).indexOf(device) + 1}` });
            const written = readFileSync(image).subarray(1 << 20, (1 << 20) + 65536);
            assert.ok(written.equals(Buffer.alloc(65536, letters[device as keyof typeof letters])), `${device} wrote`);
          }
          vring.stdin.write('\n');
        }
      }
      assert.equal(await ended, 0, lines.join('\n'));
      socket.destroy();
      const hash = hashOf(content);
      assert.deepEqual(lines, [
        ...['plug blk', `blk ${hash}  -`, 'unplug blk', 'gone blk'],
        ...['plug scsi', `scsi ${hash}  -`, 'unplug scsi', 'gone scsi'],
        ...['plug uhci', `uhci ${hash}  -`, 'unplug uhci', 'gone uhci'],
        ...['plug xhci', `xhci ${hash}  -`, 'unplug xhci', 'gone xhci'],
        ...['plug late', `late ${hash}  -`, 'unplug late', 'gone late'],
        ...['plug hub', 'hub VRING USB Hub VRING USB Tablet ', 'unplug hub', 'gone hub'],
        ...['plug card', 'card 52:54:00:aa:bb:cc', `fetched ${hash}  -`, 'unplug card', 'gone card'],
      ]);
      const peripheral = '/machine/peripheral';
      assert.deepEqual(paths, [
        { path: `${peripheral}/blk/virtio-backend` },
        { device: 'blk', path: `${peripheral}/blk` },
        { device: 'scsi', path: `${peripheral}/scsi` },
        { path: `${peripheral}/uhci/uhci.0/legacy[0]` },
        { device: 'uhci', path: `${peripheral}/uhci` },
        { path: `${peripheral}/xhci/xhci.0/legacy[0]` },
        { device: 'xhci', path: `${peripheral}/xhci` },
        { path: `${peripheral}/late/late.0/legacy[0]` },
        { device: 'late', path: `${peripheral}/late` },
        { device: 'y', path: `${peripheral}/y` },
        { device: 'tablet', path: `${peripheral}/tablet` },
        { device: 'hub', path: `${peripheral}/hub` },
        { path: `${peripheral}/card/virtio-backend` },
        { device: 'card', path: `${peripheral}/card` },
      ]);
    } finally {
      vring.kill();
      await ended;
      server.close();
    }
  });
}

/** A client of a socket that may come later. */
async function connected(path: string) {
  for (;;) {
    const found = socketClient(path);
    await new Promise((resolve) => setTimeout(resolve, 200));
    if (!found.client.closed) return found;
  }
}
