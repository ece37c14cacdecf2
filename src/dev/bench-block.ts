/**
 * Disk tools side by side with QEMU's, in one run: `node dist/dev/bench-block.js [rounds] [mebibytes]`. Each command runs alternately with both
 * tools; the best wall time of each counts, and the CPU time beside it tells how much of it was the machine's other load.
 */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import { fileURLToPath } from 'node:url';

export interface BlockBenchResult {
  readonly name: string;
  readonly seconds: number;
  readonly referenceSeconds: number;
  /** User and system time of all threads, from the resource usage of the child. */
  readonly cpuSeconds: number;
  readonly referenceCpuSeconds: number;
}

const main = fileURLToPath(new URL('../cli/main.js', import.meta.url));

interface Case {
  readonly name: string;
  readonly args: readonly string[];
}

const cases: readonly Case[] = [
  { name: 'convert raw to qcow2, full', args: ['convert', '-O', 'qcow2', 'full.raw', 'out'] },
  { name: 'convert qcow2 to raw, full', args: ['convert', '-O', 'raw', 'full.qcow2', 'out'] },
  { name: 'convert raw to qcow2, sparse', args: ['convert', '-O', 'qcow2', 'sparse.raw', 'out'] },
  { name: 'convert qcow2 to raw, sparse', args: ['convert', '-O', 'raw', 'sparse.qcow2', 'out'] },
  { name: 'convert with compression (zlib)', args: ['convert', '-c', '-O', 'qcow2', 'text.raw', 'out'] },
  {
    name: 'convert with compression (zstd)',
    args: ['convert', '-c', '-O', 'qcow2', '-o', 'compression_type=zstd', 'text.raw', 'out'],
  },
  { name: 'convert from compressed (zlib)', args: ['convert', '-O', 'raw', 'packed.qcow2', 'out'] },
  { name: 'compare, full', args: ['compare', 'full.raw', 'full.qcow2'] },
  { name: 'create 100 GiB', args: ['create', '-f', 'qcow2', 'out', '100G'] },
  { name: 'check 100 GiB, all mapped', args: ['check', 'mapped.qcow2'] },
  { name: 'map 100 GiB, all mapped', args: ['map', '--output=json', 'mapped.qcow2'] },
];

/** Wall and CPU seconds of one run; `time -f` is not everywhere, the shell's `times` is. */
function run(command: readonly string[], directory: string): { readonly wall: number; readonly cpu: number } {
  fs.rmSync(path.join(directory, 'out'), { force: true });
  const started = performance.now();
  const quoted = command.map((word) => `'${word}'`).join(' ');
  const result = spawnSync('sh', ['-c', `${quoted} >/dev/null; code=$?; times; exit $code`], {
    cwd: directory,
    encoding: 'utf8',
  });
  const wall = (performance.now() - started) / 1000;
  if (result.status !== 0) throw new Error(`${quoted}: ${result.stderr}`);
  const cpu = [...result.stdout.split('\n')[1]!.matchAll(/(\d+)m([\d.]+)s/g)].reduce(
    (sum, match) => sum + Number(match[1]) * 60 + Number(match[2]),
    0,
  );
  return { wall, cpu };
}

function prepare(directory: string, mebibytes: number): void {
  const noise = new Uint8Array(2 ** 20);
  const fill = (): Uint8Array => {
    for (let at = 0; at < noise.length; at += 65536) crypto.getRandomValues(noise.subarray(at, at + 65536));
    return noise;
  };
  const write = (name: string, step: (file: number) => void): void => {
    const file = fs.openSync(path.join(directory, name), 'w');
    step(file);
    fs.closeSync(file);
  };
  write('full.raw', (file) => {
    for (let index = 0; index < mebibytes; index++) fs.writeSync(file, fill());
  });
  write('sparse.raw', (file) => {
    fs.ftruncateSync(file, 20 * 2 ** 30);
    for (let index = 0; index < mebibytes / 2; index++)
      fs.writeSync(file, fill(), 0, noise.length, index * 32 * 2 ** 20);
  });
  write('text.raw', (file) => {
    const words = Array.from({ length: 500 }, (_none, index) => `word${(index * 7919) % 4001} `);
    for (let index = 0; index < mebibytes / 8; index++) {
      let text = '';
      for (let at = 0; text.length < 2 ** 20; at++) text += words[(at * at * 31 + index * 17 + at) % words.length]!;
      fs.writeSync(file, text.slice(0, 2 ** 20));
    }
  });
  for (const [from, to] of [
    ['full.raw', 'full.qcow2'],
    ['sparse.raw', 'sparse.qcow2'],
  ] as const) {
    spawnSync('qemu-img', ['convert', '-O', 'qcow2', from, to], { cwd: directory });
  }
  spawnSync('qemu-img', ['convert', '-c', '-O', 'qcow2', 'text.raw', 'packed.qcow2'], { cwd: directory });
  spawnSync('qemu-img', ['create', '-f', 'qcow2', '-o', 'preallocation=metadata', 'mapped.qcow2', '100G'], {
    cwd: directory,
  });
}

/** Empty when qemu-img is not installed. */
export function benchBlock(
  rounds: number,
  mebibytes: number,
  report: (result: BlockBenchResult) => void,
): readonly BlockBenchResult[] {
  if (spawnSync('qemu-img', ['--version']).status !== 0) return [];
  const directory = fs.mkdtempSync(path.join(process.env.VRING_BENCH_DIRECTORY ?? tmpdir(), 'vring-bench-'));
  const results: BlockBenchResult[] = [];
  try {
    prepare(directory, mebibytes);
    for (const { name, args } of cases) {
      const best = {
        ours: Number.POSITIVE_INFINITY,
        theirs: Number.POSITIVE_INFINITY,
        ourCpu: Number.POSITIVE_INFINITY,
        theirCpu: Number.POSITIVE_INFINITY,
      };
      for (let round = 0; round < rounds; round++) {
        const theirs = run(['qemu-img', ...args], directory);
        const ours = run([process.execPath, main, 'img', ...args], directory);
        best.theirs = Math.min(best.theirs, theirs.wall);
        best.ours = Math.min(best.ours, ours.wall);
        best.theirCpu = Math.min(best.theirCpu, theirs.cpu);
        best.ourCpu = Math.min(best.ourCpu, ours.cpu);
      }
      const result = {
        name,
        seconds: best.ours,
        referenceSeconds: best.theirs,
        cpuSeconds: best.ourCpu,
        referenceCpuSeconds: best.theirCpu,
      };
      results.push(result);
      report(result);
    }
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
  return results;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [rounds = 3, mebibytes = 512] = process.argv.slice(2).map(Number);
  console.log(`${'command'.padEnd(36)} vring s  qemu s   ratio   cpu ratio`);
  const results = benchBlock(rounds, mebibytes, (result) => {
    const ratio = result.seconds / result.referenceSeconds;
    const cpuRatio = result.cpuSeconds / Math.max(0.01, result.referenceCpuSeconds);
    console.log(
      `${result.name.padEnd(36)} ${result.seconds.toFixed(3).padStart(7)} ${result.referenceSeconds.toFixed(3).padStart(7)} ${ratio.toFixed(2).padStart(7)} ${cpuRatio.toFixed(2).padStart(11)}`,
    );
  });
  if (results.length === 0) console.log('qemu-img is not installed: nothing to compare with');
}
