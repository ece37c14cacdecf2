/**
 * `npm run bench`: the same guest binaries on vring and on QEMU's translator (`qemu-system-x86_64 -accel tcg`), in turn in one run, timed by the
 * host's clock at lines on the guest's serial port. Prints seconds and the ratio of medians; the guest's own clock must agree.
 *
 * Arguments: names of programs (default: all, and the boot), `--runs=N` (default 3), `--suite=NAME` of Debian, `--arch=NAME`: x86_64,
 * riscv64, aarch64 or arm, whose programs a cross compiler makes.
 * Then interrupts (`interrupts` as the first argument runs these alone), VM exits of KVM (`exits`), the disk tools and the NBD server; `disks` runs those alone (`bench-block.ts` reads the rest),
 * TCP (`network`), a guest's disks (`guest-disks`), and the boot of an installed Debian (`installed`).
 * The guest programs are compiled from bench/suite.c; without a C compiler only the boot is measured. Without QEMU there are
 * no ratios. Each is said by name.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { file, writeCpio } from '../distro/cpio.js';
import { prepareDebian } from '../distro/index.js';
import { printBlockBench } from './bench-block.js';
import { printDiskBench } from './bench-disk.js';
import { printInstalledBench } from './bench-installed.js';
import { printKvmBench } from './bench-kvm.js';
import { printLatencies } from './bench-latency.js';
import { printNetworkBench } from './bench-network.js';

if (process.argv[2] === 'interrupts') {
  await printLatencies();
  process.exit();
}
if (process.argv[2] === 'exits') {
  printKvmBench();
  process.exit();
}
if (process.argv[2] === 'installed') {
  await printInstalledBench(process.argv.slice(3));
  process.exit();
}
if (process.argv[2] === 'network') {
  await printNetworkBench(process.argv.slice(3));
  process.exit();
}
if (process.argv[2] === 'guest-disks') {
  await printDiskBench(process.argv.slice(3));
  process.exit();
}
if (process.argv[2] === 'disks') {
  await printBlockBench(process.argv.slice(3));
  process.exit();
}

const unknown = process.argv.slice(2).find((word) => word.startsWith('--') && !/^--(runs|suite|arch)=/.test(word));
if (unknown !== undefined) {
  console.error(`bench: there is no ${unknown}; names of programs (none: the boot alone), --runs=N, --suite=NAME, --arch=NAME,
or one of interrupts, exits, disks, network, guest-disks, installed first`);
  process.exit(1);
}

const root = fileURLToPath(new URL('../..', import.meta.url));
const argument = (name: string, value: string) =>
  process.argv.find((word) => word.startsWith(`--${name}=`))?.slice(name.length + 3) ?? value;
const wanted = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const runs = Number(argument('runs', '3'));

interface Measured {
  /** Seconds by the host's clock. */
  readonly host: number;
  /** How far the guest's clock went from the host's, as a share of the time from the program's start to the start of the next one. */
  clockError: number;
}

/** What differs between the processors that are measured. */
const rows = {
  x86_64: { suite: 'bookworm', compiler: ['cc'], qemu: ['qemu-system-x86_64', '-accel', 'tcg'], console: 'ttyS0' },
  riscv64: {
    suite: 'trixie',
    compiler: ['riscv64-linux-gnu-gcc'],
    qemu: ['qemu-system-riscv64', '-M', 'virt'],
    console: 'ttyS0',
  },
  aarch64: {
    suite: 'trixie',
    compiler: ['aarch64-linux-gnu-gcc'],
    qemu: ['qemu-system-aarch64', '-M', 'virt', '-cpu', 'max,sve=off,pauth-impdef=on'],
    console: 'ttyAMA0',
  },
  arm: {
    suite: 'trixie',
    compiler: ['arm-linux-gnueabihf-gcc', '-mcpu=cortex-a15', '-mfpu=neon-vfpv4'],
    qemu: ['qemu-system-arm', '-M', 'virt', '-cpu', 'cortex-a15'],
    console: 'ttyAMA0',
  },
} as const;
const architecture = argument('arch', 'x86_64') as keyof typeof rows;
const { compiler, qemu, console: serialConsole } = rows[architecture] ?? rows.x86_64;
const [qemuCommand, ...qemuArguments] = qemu;
const [compilerCommand, ...compilerArguments] = compiler;

const directory = mkdtempSync(join(tmpdir(), 'vring-bench-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

const suite = join(directory, 'suite');
const compiled = spawnSync(
  compilerCommand,
  [
    ...compilerArguments,
    '-O2',
    '-fno-math-errno',
    '-static',
    '-nostdlib',
    '-ffreestanding',
    '-fno-stack-protector',
    '-o',
    suite,
    join(root, 'bench/suite.c'),
    '-lgcc',
  ],
  { encoding: 'utf8' },
);
// Which there are is in the source: a program for another processor does not run here.
const listed = [...readFileSync(join(root, 'bench/suite.c'), 'utf8').matchAll(/\{"(\w+)", \w+\}/g)].map(
  ([, name]) => name,
);
const programs = compiled.status === 0 ? listed.filter((name) => name !== 'x87' || architecture === 'x86_64') : [];
if (programs.length === 0)
  console.log(`skipped: all programs but the boot (no C compiler ${compilerCommand} for bench/suite.c)`);
const hasQemu = spawnSync(qemuCommand, ['--version']).status === 0;
if (!hasQemu) console.log(`skipped: ratios (${qemuCommand} is not installed)`);

const debian = await prepareDebian({
  suite: argument('suite', rows[architecture].suite),
  architecture,
  onNotice: (line) => console.error(line),
});
const init = `#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
echo "@boot $(/bin/busybox cut -d' ' -f1 /proc/uptime)"
for name in $(/bin/busybox sed 's/.*bench=\\([^ ]*\\).*/\\1/;s/,/ /g' /proc/cmdline); do
  [ "$name" = none ] && break
  /suite $name
done
[ "$name" = none ] || /suite clock
/bin/busybox poweroff -f
`;
const kernel = join(directory, 'kernel');
const initrd = join(directory, 'initrd');
writeFileSync(kernel, debian.kernel);
const extra = writeCpio([
  file('bench-init', init, 0o755),
  ...(programs.length > 0 ? [file('suite', readFileSync(suite), 0o755)] : []),
]);
writeFileSync(initrd, Buffer.concat([debian.initrd, extra]));

/** Boots and runs the programs; seconds of each, and of the boot to the first line of /init. */
async function measure(
  command: string,
  leading: readonly string[],
  names: readonly string[],
): Promise<Map<string, Measured>> {
  const results = new Map<string, Measured>();
  const append = `console=${serialConsole} quiet panic=-1 rdinit=/bench-init bench=${names.length > 0 ? names.join(',') : 'none'}`;
  const began = performance.now();
  const child = spawn(
    command,
    [
      ...leading,
      '-m',
      '256',
      '-nographic',
      '-no-reboot',
      '-nic',
      'none',
      '-kernel',
      kernel,
      '-initrd',
      initrd,
      '-append',
      append,
    ],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  let text = '';
  let started: { readonly name: string; readonly host: number; readonly guest: number } | undefined;
  child.stdout.setEncoding('latin1');
  child.stdout.on('data', (chunk: string) => {
    const now = performance.now();
    text += chunk;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      const line = text.slice(0, end).trim();
      text = text.slice(end + 1);
      // Firmware may have left control sequences before the first line.
      const [word, ...rest] = line.slice(Math.max(0, line.indexOf('@'))).split(' ');
      const [name] = rest;
      if (word === '@boot') results.set('boot', { host: (now - began) / 1000, clockError: Number.NaN });
      else if (word === '@start') {
        // The program says its own clock, in nanoseconds. Lines come at once where a program starts; where it ends, a guest's kernel lets
        // them wait for some 10 ms, under QEMU too.
        const start = { name, host: now, guest: Number(rest[1]) };
        const previous = started && results.get(started.name);
        if (started && previous)
          previous.clockError = Math.abs((start.guest - started.guest) / 1e6 / (start.host - started.host) - 1);
        started = start;
      } else if (word === '@end' && started) {
        results.set(name, { host: (now - started.host) / 1000, clockError: Number.NaN });
      }
    }
  });
  await new Promise((resolve) => child.on('close', resolve));
  return results;
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1];
const names = wanted.length > 0 ? programs.filter((name) => wanted.includes(name)) : programs;
const ours: Map<string, Measured>[] = [];
const theirs: Map<string, Measured>[] = [];
for (let i = 0; i < runs; i++) {
  console.error(`run ${i + 1} of ${runs}`);
  ours.push(
    await measure(
      process.execPath,
      [join(root, 'dist/cli/main.js'), 'run', '-arch', architecture, '-accel', 'tcg'],
      names,
    ),
  );
  if (hasQemu) theirs.push(await measure(qemuCommand, qemuArguments, names));
}
const logs: number[] = [];
for (const name of ['boot', ...names]) {
  const mine = median(ours.flatMap((run) => run.get(name)?.host ?? []));
  const other = median(theirs.flatMap((run) => run.get(name)?.host ?? []));
  const off = median(
    ours.flatMap((run) => {
      const error = run.get(name)?.clockError ?? Number.NaN;
      return Number.isNaN(error) ? [] : error;
    }),
  );
  const ratio = mine / other;
  if (name !== 'boot' && ratio > 0) logs.push(Math.log(ratio));
  console.log(
    `${name.padEnd(12)} vring ${mine?.toFixed(2).padStart(7)} s` +
      (hasQemu ? `   qemu ${other?.toFixed(2).padStart(7)} s   ratio ${ratio.toFixed(2)}` : '') +
      (off === undefined ? '' : `   guest clock off by ${(off * 100).toFixed(1)} %`),
  );
}
if (logs.length > 0)
  console.log(
    `geometric mean of ${logs.length} programs: ${Math.exp(logs.reduce((a, b) => a + b) / logs.length).toFixed(2)}`,
  );
if (wanted.length === 0 && architecture === 'x86_64') {
  await printLatencies();
  printKvmBench();
  await printBlockBench([]);
  await printNetworkBench([]);
  await printInstalledBench([]);
  await printDiskBench([]);
}
