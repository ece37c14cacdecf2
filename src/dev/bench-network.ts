/**
 * TCP through the user network, side by side with QEMU's (`-nic user,model=virtio-net-pci`, its translator): one guest of
 * Debian's, with busybox's nc at both ends of a stream out and a stream in. Timed by this program's clock, from the guest's word
 * that it begins to the last byte (out) or the guest's word that it has ended (in). Arguments: `--runs=N` (default 3),
 * `--mebibytes=N` (default 64), `--only=vring`.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { file, writeCpio } from '../distro/cpio.js';
import { prepareDebian } from '../distro/index.js';

/** Seconds of one run. */
interface Measured {
  out: number;
  in: number;
}

const init = (outPort: number, inPort: number, bytes: number) => `#!/bin/busybox sh
[ -e /bin/mount ] || /bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
modprobe -qab virtio_pci $(cat /sys/bus/pci/devices/*/modalias) 2>/dev/null
modprobe -qab $(cat /sys/bus/virtio/devices/*/modalias) 2>/dev/null
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
# The first packet finds the neighbour.
echo | nc 10.0.2.2 ${outPort}
mkdir -p /tmp
head -c ${bytes} /dev/zero >/tmp/blob
sync
echo "@out"
nc 10.0.2.2 ${outPort} </tmp/blob
echo "@in"
nc 10.0.2.2 ${inPort} </dev/null >/tmp/blob
echo "@got $(stat -c %s /tmp/blob)"
poweroff -f
`;

function listen(server: net.Server): Promise<number> {
  return new Promise((resolve) =>
    server.listen(0, '127.0.0.1', () => resolve((server.address() as net.AddressInfo).port)),
  );
}

async function measure(command: readonly string[], kernel: string, base: Uint8Array, directory: string, bytes: number) {
  const result: Measured = { out: Number.NaN, in: Number.NaN };
  let outBegan = 0;
  let inBegan = 0;
  let taken = 0;
  const block = new Uint8Array(1 << 20);
  const taker = net.createServer((socket) => {
    socket.on('data', (piece) => {
      taken += piece.length;
      if (taken > bytes && Number.isNaN(result.out)) result.out = (performance.now() - outBegan) / 1000;
    });
    socket.on('error', () => {});
  });
  const giver = net.createServer({ allowHalfOpen: true }, (socket) => {
    let left = bytes;
    const give = () => {
      while (left > 0) {
        const piece = block.subarray(0, Math.min(left, block.length));
        left -= piece.length;
        if (!socket.write(piece)) return;
      }
      socket.end();
    };
    socket.on('drain', give);
    socket.on('error', () => {});
    give();
  });
  const initrd = join(directory, 'initrd');
  const extra = writeCpio([file('bench-init', init(await listen(taker), await listen(giver), bytes), 0o755)]);
  writeFileSync(initrd, Buffer.concat([base, extra]));
  const [program, ...leading] = command;
  const child = spawn(
    program,
    [
      ...leading,
      ...['-m', '256', '-nographic', '-no-reboot', '-nic', 'user,model=virtio-net-pci', '-kernel', kernel],
      ...['-initrd', initrd, '-append', 'console=ttyS0 quiet panic=-1 rdinit=/bench-init'],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let text = '';
  child.stdout.setEncoding('latin1');
  child.stdout.on('data', (chunk: string) => {
    const now = performance.now();
    text += chunk;
    if (outBegan === 0 && text.includes('@out')) outBegan = now;
    if (inBegan === 0 && text.includes('@in')) inBegan = now;
    if (Number.isNaN(result.in) && text.includes(`@got ${bytes}`)) result.in = (now - inBegan) / 1000;
  });
  await new Promise((resolve) => child.on('close', resolve));
  taker.close();
  giver.close();
  return result;
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1];

export async function printNetworkBench(words: readonly string[]): Promise<void> {
  const argument = (name: string, value: string) =>
    words.find((word) => word.startsWith(`--${name}=`))?.slice(name.length + 3) ?? value;
  const mebibytes = Number(argument('mebibytes', '64'));
  const hasQemu = argument('only', '') !== 'vring' && spawnSync('qemu-system-x86_64', ['--version']).status === 0;
  if (!hasQemu) console.log('skipped: ratios of the network (qemu-system-x86_64 is not installed)');
  const directory = mkdtempSync(join(tmpdir(), 'vring-bench-'));
  try {
    const debian = await prepareDebian({ suite: 'bookworm', onNotice: (line) => console.error(line) });
    const kernel = join(directory, 'kernel');
    writeFileSync(kernel, debian.kernel);
    const main = join(fileURLToPath(new URL('../..', import.meta.url)), 'dist/cli/main.js');
    const ours: Measured[] = [];
    const theirs: Measured[] = [];
    for (let i = 0; i < Number(argument('runs', '3')); i++) {
      const vring = [process.execPath, main, 'run', '-accel', 'tcg'];
      ours.push(await measure(vring, kernel, debian.initrd, directory, mebibytes << 20));
      if (!hasQemu) continue;
      const qemu = ['qemu-system-x86_64', '-accel', 'tcg'];
      theirs.push(await measure(qemu, kernel, debian.initrd, directory, mebibytes << 20));
    }
    for (const way of ['out', 'in'] as const) {
      const mine = median(ours.map((run) => run[way]));
      const other = median(theirs.map((run) => run[way]));
      console.log(
        `${`TCP ${way}, ${mebibytes} MiB`.padEnd(20)} vring ${mine.toFixed(2).padStart(7)} s` +
          (hasQemu ? `   qemu ${other.toFixed(2).padStart(7)} s   ratio ${(mine / other).toFixed(2)}` : ''),
      );
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
