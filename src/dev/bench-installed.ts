/**
 * Boot of an installed Debian (`installed-debian.ts`) from a qcow2 disk through SeaBIOS and GRUB to its login prompt, side by side with
 * QEMU's translator. Needs root, debootstrap and the archive; minutes of preparation. Arguments: `--runs=N` (default 3),
 * `--disk=FILE`: an image made before, whose prompt is `NAME login:`.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { installDebian, noDebootstrap } from './installed-debian.js';

const LIMIT_MS = 600_000;
const main = join(fileURLToPath(new URL('../..', import.meta.url)), 'dist/cli/main.js');

/** Seconds to the prompt; NaN: it did not come. */
async function measure(command: readonly string[], disk: string): Promise<number> {
  const [program, ...leading] = command;
  const began = performance.now();
  const words = ['-m', '512', '-display', 'none', '-serial', 'stdio', '-monitor', 'none', '-snapshot', '-hda', disk];
  const network = ['-netdev', 'user,id=n', '-device', 'virtio-net-pci,netdev=n,romfile='];
  const child = spawn(program, [...leading, ...words, ...network], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  let text = '';
  let seconds = Number.NaN;
  const timer = setTimeout(() => child.kill(), LIMIT_MS);
  child.stdout.setEncoding('latin1').on('data', (chunk: string) => {
    text = (text + chunk).slice(-4096);
    if (!Number.isNaN(seconds) || !text.includes(' login:')) return;
    seconds = (performance.now() - began) / 1000;
    child.kill();
  });
  await ended;
  clearTimeout(timer);
  return seconds;
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1];

export async function printInstalledBench(words: readonly string[]): Promise<void> {
  const argument = (name: string) => words.find((word) => word.startsWith(`--${name}=`))?.slice(name.length + 3);
  const given = argument('disk');
  const missing = given === undefined && noDebootstrap();
  if (missing) {
    console.log(`skipped: boot of an installed Debian (${missing})`);
    return;
  }
  const hasQemu = spawnSync('qemu-system-x86_64', ['--version']).status === 0;
  const folder = mkdtempSync(join(tmpdir(), 'vring-bench-'));
  try {
    let disk = given;
    if (disk === undefined) {
      disk = join(folder, 'disk.qcow2');
      const made = installDebian(folder).disk;
      const converted = spawnSync(process.execPath, [main, 'img', 'convert', '-O', 'qcow2', made, disk]);
      if (converted.status !== 0) throw new Error(String(converted.stderr));
    }
    const ours: number[] = [];
    const theirs: number[] = [];
    for (let i = 0; i < Number(argument('runs') ?? '3'); i++) {
      ours.push(await measure([process.execPath, main, 'run', '-accel', 'tcg'], disk));
      if (hasQemu) theirs.push(await measure(['qemu-system-x86_64', '-accel', 'tcg'], disk));
    }
    const mine = median(ours);
    const other = median(theirs);
    console.log(
      `${'installed Debian'.padEnd(20)} vring ${mine.toFixed(2).padStart(7)} s` +
        (hasQemu ? `   qemu ${other.toFixed(2).padStart(7)} s   ratio ${(mine / other).toFixed(2)}` : ''),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
