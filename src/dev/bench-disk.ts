/**
 * A guest's disks on the board q35, side by side with QEMU's translator: virtio-blk and AHCI, sequential (256 KiB) and random (4 KiB) reads
 * and writes past the guest's page cache, one request at a time (bench/disk.c), and the board's boot up to /init. Timed by this program's
 * clock at lines on the guest's serial port. Arguments: `--runs=N` (default 3), `--only=vring`.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { file, writeCpio } from '../distro/cpio.js';
import { prepareDebian } from '../distro/index.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const DISK_BYTES = 128 << 20;
const bootRow = 'q35-boot';

const init = `#!/bin/busybox sh
echo "@end ${bootRow}"
[ -e /bin/mount ] || /bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
modprobe -qab virtio_pci virtio_blk ahci sd_mod
for i in 1 2 3 4 5 6 7 8 9; do [ -b /dev/sda -a -b /dev/vda ] && break; sleep 1; done
/disk /dev/vda virtio-blk
/disk /dev/sda ahci
poweroff -f
`;

/** Seconds of each part. */
async function measure(command: readonly string[], directory: string): Promise<Map<string, number>> {
  const [program, ...leading] = command as [string, ...string[]];
  const drive = (name: string, type: string) => ['-drive', `file=${join(directory, name)},format=raw,if=${type}`];
  const begun = new Map([[bootRow, performance.now()]]);
  const seconds = new Map<string, number>();
  const child = spawn(
    program,
    [
      ...leading,
      ...['-M', 'q35', '-m', '256', '-nographic', '-no-reboot', '-nic', 'none'],
      ...[...drive('virtio', 'virtio'), ...drive('sata', 'ide')],
      ...['-kernel', join(directory, 'kernel'), '-initrd', join(directory, 'initrd')],
      ...['-append', 'console=ttyS0 quiet panic=-1 rdinit=/bench-init'],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let rest = '';
  child.stdout.setEncoding('latin1');
  child.stdout.on('data', (chunk: string) => {
    const now = performance.now();
    const lines = (rest + chunk).split('\n');
    rest = lines.pop()!;
    for (const line of lines) {
      const match = /@(begin|end) (\S+)/.exec(line);
      if (!match) continue;
      const [, what, part] = match as unknown as [string, string, string];
      if (what === 'begin') begun.set(part, now);
      else seconds.set(part, (now - begun.get(part)!) / 1000);
    }
  });
  await new Promise((resolve) => child.on('close', resolve));
  return seconds;
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1]!;

export async function printDiskBench(words: readonly string[]): Promise<void> {
  const argument = (name: string, value: string) =>
    words.find((word) => word.startsWith(`--${name}=`))?.slice(name.length + 3) ?? value;
  const hasQemu = argument('only', '') !== 'vring' && spawnSync('qemu-system-x86_64', ['--version']).status === 0;
  if (!hasQemu) console.log('skipped: ratios of guest disks (qemu-system-x86_64 is not installed)');
  const directory = mkdtempSync(join(tmpdir(), 'vring-bench-'));
  try {
    const program = join(directory, 'disk');
    const compiled = spawnSync('cc', ['-O2', '-static', '-o', program, join(root, 'bench/disk.c')]);
    if (compiled.status !== 0) {
      console.log('skipped: guest disks (there is no C compiler)');
      return;
    }
    const debian = await prepareDebian({
      suite: 'bookworm',
      flavour: 'amd64',
      onNotice: (line) => console.error(line),
    });
    writeFileSync(join(directory, 'kernel'), debian.kernel);
    const extra = writeCpio([file('bench-init', init, 0o755), file('disk', readFileSync(program), 0o755)]);
    writeFileSync(join(directory, 'initrd'), Buffer.concat([debian.initrd, extra]));
    const content = Buffer.alloc(DISK_BYTES, 'vring');
    for (const name of ['virtio', 'sata']) writeFileSync(join(directory, name), content);
    const ours: Map<string, number>[] = [];
    const theirs: Map<string, number>[] = [];
    for (let i = 0; i < Number(argument('runs', '3')); i++) {
      ours.push(await measure([process.execPath, join(root, 'dist/cli/main.js'), 'run', '-accel', 'tcg'], directory));
      if (hasQemu) theirs.push(await measure(['qemu-system-x86_64', '-accel', 'tcg'], directory));
    }
    for (const part of ours[0]?.keys() ?? []) {
      const at = (runs: Map<string, number>[]) => median(runs.map((run) => run.get(part) ?? Number.NaN));
      const [mine, other] = [at(ours), at(theirs)];
      console.log(
        `${part.padEnd(28)} vring ${mine.toFixed(2).padStart(7)} s` +
          (hasQemu ? `   qemu ${other.toFixed(2).padStart(7)} s   ratio ${(mine / other).toFixed(2)}` : ''),
      );
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
