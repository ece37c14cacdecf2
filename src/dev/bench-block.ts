/**
 * Disk tools and the NBD server side by side with QEMU's, in one run: `node dist/dev/bench-block.js [words…] [--rounds=N] [--mebibytes=N]`,
 * where words select the rows whose names contain one of them. Each round runs every command with both tools, now the one first, now the
 * other; medians count. `best` is the ratio of the quickest runs: a host that takes free memory back lets whoever needs gigabytes wait for
 * it, now the one, now the other. CPU is user and system time of the tool (for NBD rows: of the server). `work` is the ratio of what is
 * left of both times when that of `img info` of a small image, the start-up, is taken off. What can't be measured is said by name.
 *
 * Both NBD servers are driven by the same client, `qemu-img bench`, whose "scattered" requests are a stride apart that is coprime
 * to the disk's number of blocks, so that they visit all of it far from each other.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../bundle/main.cjs', import.meta.url));
const blockBytes = 4096;
/** A prime. */
const strideBlocks = 99_991;

interface Sample {
  readonly wall: number;
  readonly cpu: number;
}

export interface BlockBenchResult {
  readonly name: string;
  readonly ours: Sample;
  /** Absent for rows that have no counterpart. */
  readonly theirs?: Sample;
  /** Ratio of the times without start-up; absent where there is none. */
  readonly work?: number;
  /** Ratio of the shortest times. */
  readonly best?: number;
}

export interface BlockBenchOptions {
  readonly rounds: number;
  /** Size of the full images. */
  readonly mebibytes: number;
  /** Parts of names of rows; empty: all. */
  readonly wanted: readonly string[];
  result(result: BlockBenchResult): void;
  /** What is left out and why, and figures that are no times. */
  note(line: string): void;
}

interface CommandRow {
  readonly name: string;
  readonly args: readonly string[];
}

const commandRows: readonly CommandRow[] = [
  { name: 'convert raw to qcow2, full', args: ['convert', '-O', 'qcow2', 'full.raw', 'out'] },
  { name: 'convert raw to qcow2, sparse', args: ['convert', '-O', 'qcow2', 'sparse.raw', 'out'] },
  { name: 'convert qcow2 to raw, full', args: ['convert', '-O', 'raw', 'full.qcow2', 'out'] },
  { name: 'convert qcow2 to raw, sparse', args: ['convert', '-O', 'raw', 'sparse.qcow2', 'out'] },
  { name: 'convert raw to raw with -C, full', args: ['convert', '-C', '-O', 'raw', 'full.raw', 'out'] },
  { name: 'convert to zlib, full', args: ['convert', '-c', '-O', 'qcow2', 'short.raw', 'out'] },
  { name: 'convert to zlib, sparse', args: ['convert', '-c', '-O', 'qcow2', 'short-sparse.raw', 'out'] },
  {
    name: 'convert to zstd, full',
    args: ['convert', '-c', '-O', 'qcow2', '-o', 'compression_type=zstd', 'text.raw', 'out'],
  },
  {
    name: 'convert to zstd, sparse',
    args: ['convert', '-c', '-O', 'qcow2', '-o', 'compression_type=zstd', 'text-sparse.raw', 'out'],
  },
  { name: 'convert from zlib, full', args: ['convert', '-O', 'raw', 'zlib.qcow2', 'out'] },
  { name: 'convert from zlib, sparse', args: ['convert', '-O', 'raw', 'zlib-sparse.qcow2', 'out'] },
  { name: 'convert from zstd, full', args: ['convert', '-O', 'raw', 'zstd.qcow2', 'out'] },
  { name: 'convert from zstd, sparse', args: ['convert', '-O', 'raw', 'zstd-sparse.qcow2', 'out'] },
  { name: 'compare raw and qcow2, full', args: ['compare', 'full.raw', 'full.qcow2'] },
  { name: 'create 100 GiB', args: ['create', '-f', 'qcow2', 'out', '100G'] },
  { name: 'check 100 GiB, all mapped', args: ['check', 'mapped.qcow2'] },
  { name: 'map 100 GiB, all mapped', args: ['map', '--output=json', 'mapped.qcow2'] },
  { name: 'map 100 GiB, every other cluster', args: ['map', '--output=json', 'combed.qcow2'] },
];

interface ClientRow {
  readonly name: string;
  readonly depth: number;
  readonly requests: number;
  readonly isWrite: boolean;
  readonly isScattered: boolean;
}

const clientRows: readonly ClientRow[] = [false, true].flatMap((isWrite) =>
  [false, true].flatMap((isScattered) =>
    [1, 16].map((depth) => ({
      name: `4 KiB ${isWrite ? 'writes' : 'reads'}, ${isScattered ? 'scattered' : 'sequential'}, depth ${depth}`,
      depth,
      requests: depth === 1 ? 20_000 : 60_000,
      isWrite,
      isScattered,
    })),
  ),
);

const hasProgram = (name: string): boolean => spawnSync(name, ['--version']).status === 0;

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1]!;
}

function middle(samples: readonly Sample[]): Sample {
  return { wall: median(samples.map(({ wall }) => wall)), cpu: median(samples.map(({ cpu }) => cpu)) };
}

/** Node reads the certificates that this names at each start, some 50 ms whatever it is started for: a setting of the host, not of the tools. */
const { NODE_EXTRA_CA_CERTS: extraCertificates, ...environment } = process.env;

/** One run; `time -f` is not everywhere, the shell's `times` is. */
function run(command: readonly string[], directory: string): Sample {
  fs.rmSync(path.join(directory, 'out'), { force: true });
  const quoted = command.map((word) => `'${word}'`).join(' ');
  const started = performance.now();
  const result = spawnSync('sh', ['-c', `${quoted} >/dev/null; code=$?; times; exit $code`], {
    cwd: directory,
    encoding: 'utf8',
    env: environment,
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
  const words = Array.from({ length: 500 }, (_none, index) => `word${(index * 7919) % 4001} `);
  const prose = (index: number): Uint8Array => {
    let text = '';
    for (let at = 0; text.length < 2 ** 20; at++) text += words[(at * at * 31 + index * 17 + at) % words.length]!;
    return Buffer.from(text.slice(0, 2 ** 20), 'latin1');
  };
  /** One MiB after the other, or one at the start of each 32. */
  const write = (name: string, count: number, isSparse: boolean, contents: (index: number) => Uint8Array): void => {
    const file = fs.openSync(path.join(directory, name), 'w');
    const step = (isSparse ? 32 : 1) * 2 ** 20;
    fs.ftruncateSync(file, count * step);
    for (let index = 0; index < count; index++) fs.writeSync(file, contents(index), 0, 2 ** 20, index * step);
    fs.closeSync(file);
  };
  write('full.raw', mebibytes, false, fill);
  write('sparse.raw', mebibytes / 2, true, fill);
  write('text.raw', mebibytes / 2, false, prose);
  write('text-sparse.raw', mebibytes / 2, true, prose);
  // Deflating takes both tools some ten times as long as all else.
  write('short.raw', mebibytes / 8, false, prose);
  write('short-sparse.raw', mebibytes / 8, true, prose);
  const qemu = (...args: string[]): void => {
    const result = spawnSync('qemu-img', args, { cwd: directory, encoding: 'utf8' });
    if (result.status !== 0) throw new Error(`qemu-img ${args.join(' ')}: ${result.stderr}`);
  };
  for (const name of ['full', 'sparse']) qemu('convert', '-O', 'qcow2', `${name}.raw`, `${name}.qcow2`);
  for (const type of ['zlib', 'zstd']) {
    for (const [from, to] of [
      ['text.raw', type],
      ['text-sparse.raw', `${type}-sparse`],
    ] as const)
      qemu('convert', '-c', '-W', '-O', 'qcow2', '-o', `compression_type=${type}`, from, `${to}.qcow2`);
  }
  qemu('create', '-f', 'qcow2', '-o', 'preallocation=metadata', 'mapped.qcow2', '100G');
  qemu('create', '-f', 'qcow2', 'combed.qcow2', '100G');
  // Zero clusters apart: the longest map there is without writing data.
  const script = Array.from({ length: 50_000 }, (_none, index) => `write -z ${index * 131_072} 64k`).join('\n');
  const filled = spawnSync('qemu-io', ['-t', 'unsafe', 'combed.qcow2'], {
    cwd: directory,
    input: script,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  if (filled.status !== 0) throw new Error('qemu-io failed');
}

/** User and system seconds that a process has used (proc(5): fields 14 and 15 of `stat`, in ticks of 10 ms). */
function cpuSecondsOf(pid: number): number {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

class Server {
  readonly child: ChildProcess;
  readonly uri: string;
  readonly #socket: string;
  readonly #directory: string;

  constructor(command: readonly string[], directory: string, image: string, format: string) {
    this.#directory = directory;
    this.#socket = path.join(directory, `${image}.sock`);
    this.uri = `nbd+unix:///?socket=${this.#socket}`;
    this.child = spawn(
      command[0]!,
      [...command.slice(1), '-k', this.#socket, '-t', '-e', '8', '-f', format, path.join(directory, image)],
      { stdio: ['ignore', 'ignore', 'inherit'], env: environment },
    );
  }

  async ready(): Promise<void> {
    for (let tries = 0; tries < 400 && !fs.existsSync(this.#socket); tries++)
      await new Promise((resolve) => setTimeout(resolve, 25));
    // The first client waits until the image is open.
    this.drive(['qemu-img', 'info', '-f', 'raw', this.uri]);
  }

  /** Runs a client; its wall time and the server's CPU time. */
  drive(command: readonly string[]): Sample {
    const before = cpuSecondsOf(this.child.pid!);
    const { wall } = run(command, this.#directory);
    return { wall, cpu: cpuSecondsOf(this.child.pid!) - before };
  }

  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.child.once('close', resolve));
    this.child.kill('SIGTERM');
    await ended;
  }
}

async function benchServers(directory: string, format: 'raw' | 'qcow2', options: BlockBenchOptions): Promise<void> {
  const isWanted = (name: string): boolean => matches(options, name);
  const rows = clientRows.map((row) => ({ ...row, name: `nbd ${format}: ${row.name}` }));
  const copies = ['nbdcopy from it', 'nbdcopy to it'].map((name) => `nbd ${format}: ${name}`);
  if (!rows.some(({ name }) => isWanted(name)) && !copies.some(isWanted)) return;
  for (const name of ['ours', 'theirs'])
    fs.copyFileSync(path.join(directory, `full.${format}`), path.join(directory, `${name}.${format}`));
  const ours = new Server([process.execPath, main, 'nbd'], directory, `ours.${format}`, format);
  const theirs = new Server(['qemu-nbd'], directory, `theirs.${format}`, format);
  const compare = (name: string, command: (server: Server) => readonly string[]): void => {
    if (!isWanted(name)) return;
    const samples: { ours: Sample[]; theirs: Sample[] } = { ours: [], theirs: [] };
    for (let round = 0; round < options.rounds; round++) {
      samples.theirs.push(theirs.drive(command(theirs)));
      samples.ours.push(ours.drive(command(ours)));
    }
    options.result({ name, ours: middle(samples.ours), theirs: middle(samples.theirs) });
  };
  try {
    await Promise.all([ours.ready(), theirs.ready()]);
    for (const row of rows) {
      compare(row.name, ({ uri }) => [
        ...['qemu-img', 'bench', '-f', 'raw', '-s', String(blockBytes), '-c', String(row.requests)],
        ...['-d', String(row.depth), '-S', String(blockBytes * (row.isScattered ? strideBlocks : 1))],
        ...(row.isWrite ? ['-w'] : []),
        uri,
      ]);
    }
    if (hasProgram('nbdcopy')) {
      compare(copies[0]!, ({ uri }) => ['nbdcopy', uri, 'null:']);
      compare(copies[1]!, ({ uri }) => ['nbdcopy', 'full.raw', uri]);
    } else if (copies.some(isWanted)) options.note(`skipped: ${copies.join(', ')} (nbdcopy is not installed)`);
  } finally {
    await Promise.all([ours.end(), theirs.end()]);
    for (const name of ['ours', 'theirs']) fs.rmSync(path.join(directory, `${name}.${format}`), { force: true });
  }
}

/** Peak memory of vring's commands on a disk of 1 TiB with data at both ends, and of 1 TiB of mapped clusters. */
function benchMemory(directory: string, options: BlockBenchOptions): void {
  const name = 'memory, 1 TiB';
  if (!matches(options, name)) return;
  const hook =
    'data:text/javascript,process.on("exit",()=>process.stderr.write("@"+process.resourceUsage().maxRSS+"\\n"))';
  const peak = (...args: string[]): number => {
    const result = spawnSync(process.execPath, ['--import', hook, main, 'img', ...args], {
      cwd: directory,
      encoding: 'utf8',
      maxBuffer: 2 ** 28,
    });
    const told = /@(\d+)\n/.exec(result.stderr);
    if (result.status !== 0 || !told) throw new Error(`img ${args.join(' ')}: ${result.stderr}`);
    return Number(told[1]) / 1024;
  };
  peak('create', '-f', 'qcow2', 'tebi.qcow2', '1T');
  peak('create', '-f', 'qcow2', '-o', 'preallocation=metadata', 'tebi-mapped.qcow2', '1T');
  for (const [file, args] of [
    ['empty', ['info', 'tebi.qcow2']],
    ['empty', ['map', '--output=json', 'tebi.qcow2']],
    ['all mapped', ['info', 'tebi-mapped.qcow2']],
    ['all mapped', ['map', '--output=json', 'tebi-mapped.qcow2']],
    ['all mapped', ['check', 'tebi-mapped.qcow2']],
  ] as const)
    options.note(`${`${name}, ${file}: img ${args[0]}`.padEnd(48)} ${peak(...args).toFixed(0)} MB at most`);
}

function matches(options: BlockBenchOptions, name: string): boolean {
  return options.wanted.length === 0 || options.wanted.some((word) => name.includes(word));
}

export async function benchBlock(options: BlockBenchOptions): Promise<void> {
  const base = process.env['VRING_BENCH_DIRECTORY'] ?? tmpdir();
  const directory = fs.mkdtempSync(path.join(base, 'vring-bench-disks-'));
  try {
    if (extraCertificates !== undefined)
      options.note('NODE_EXTRA_CA_CERTS is taken out of the environment of what is run');
    const hasQemu = hasProgram('qemu-img');
    const startUp: Record<'plain' | 'ours' | 'theirs', Sample[]> = { plain: [], ours: [], theirs: [] };
    run([process.execPath, main, 'img', 'create', '-f', 'qcow2', 'small.qcow2', '1G'], directory);
    for (let round = 0; round < Math.max(9, options.rounds); round++) {
      startUp.plain.push(run([process.execPath, '-e', '0'], directory));
      startUp.ours.push(run([process.execPath, main, 'img', 'info', 'small.qcow2'], directory));
      if (hasQemu) startUp.theirs.push(run(['qemu-img', 'info', 'small.qcow2'], directory));
    }
    const starts = { ours: middle(startUp.ours), ...(hasQemu ? { theirs: middle(startUp.theirs) } : {}) };
    options.result({ name: 'start-up: img info', ...starts });
    options.result({ name: 'start-up: node alone', ours: middle(startUp.plain) });
    benchMemory(directory, options);
    const missing = ['qemu-img', 'qemu-io', 'qemu-nbd'].filter((program) => !hasProgram(program));
    if (missing.length > 0) {
      options.note(`skipped: all rows that compare (${missing.join(', ')} not installed)`);
      return;
    }
    prepare(directory, options.mebibytes);
    for (const { name, args } of commandRows) {
      if (!matches(options, name)) continue;
      const ours: Sample[] = [];
      const theirs: Sample[] = [];
      const both = [
        () => theirs.push(run(['qemu-img', ...args], directory)),
        () => ours.push(run([process.execPath, main, 'img', ...args], directory)),
      ];
      for (let round = 0; round < options.rounds; round++) {
        for (const one of round % 2 === 0 ? both : [...both].reverse()) {
          // What the one before has written would be written to the disk under the next one, and its memory not be free.
          fs.rmSync(path.join(directory, 'out'), { force: true });
          spawnSync('sync');
          one();
        }
      }
      const [one, other] = [middle(ours), middle(theirs)];
      const left = other.wall - starts.theirs!.wall;
      const work = left > 0.001 ? { work: Math.max(0, one.wall - starts.ours.wall) / left } : {};
      const least = (samples: readonly Sample[]): number => Math.min(...samples.map(({ wall }) => wall));
      options.result({ name, ours: one, theirs: other, ...work, best: least(ours) / least(theirs) });
    }
    for (const format of ['raw', 'qcow2'] as const) await benchServers(directory, format, options);
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

/** Prints a table; `words` as on the command line. */
export async function printBlockBench(words: readonly string[]): Promise<void> {
  const option = (name: string, value: number): number => {
    const given = words.find((word) => word.startsWith(`--${name}=`));
    return given === undefined ? value : Number(given.slice(name.length + 3));
  };
  console.log(`${'disks'.padEnd(48)} vring s  qemu s   ratio   cpu ratio    work    best`);
  await benchBlock({
    rounds: option('rounds', 5),
    mebibytes: option('mebibytes', 2048),
    wanted: words.filter((word) => !word.startsWith('--')),
    note: (line) => console.log(line),
    result: ({ name, ours, theirs, work, best }) => {
      const figures = theirs
        ? [
            theirs.wall.toFixed(3),
            (ours.wall / theirs.wall).toFixed(2),
            (ours.cpu / Math.max(0.01, theirs.cpu)).toFixed(2),
            work?.toFixed(2) ?? '',
            best?.toFixed(2) ?? '',
          ]
        : [];
      console.log(
        [
          name.padEnd(48),
          ours.wall.toFixed(3).padStart(7),
          ...figures.map((text, at) => text.padStart([7, 7, 11, 7, 7][at]!)),
        ].join(' '),
      );
    },
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await printBlockBench(process.argv.slice(2));
