/**
 * A test bed with a KVM of the hardware's kind, on hosts that have none: QEMU's translator runs a Debian kernel on a processor with
 * AMD's SVM, and in that guest Node runs vring on the guest's own KVM. Minutes rather than seconds: for long tests, and by hand:
 *
 *     node dist/dev/nested-bed.js COMMAND…     each argument a line for the guest's shell, or `boot OPTIONS`; vring lies in /vring
 */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { constants, homedir, tmpdir } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VringError } from '../base/index.js';
import { type CpioEntry, characterDevice, directory, file, symlink, writeCpio } from '../distro/cpio.js';
import { prepareDebian } from '../distro/index.js';
import { probeKvm } from '../host/node/kvm/probe.js';
import { answering, runBedMachine } from './bed-machine.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** In this order. */
const modules = ['virt/lib/irqbypass', 'arch/x86/kvm/kvm', 'drivers/crypto/ccp/ccp', 'arch/x86/kvm/kvm-amd'];

/**
 * A kernel that measures the time-stamp counter on a busy host finds a wrong rate, and then runs too fast or too slow by far. Its watchdogs,
 * which such a host sets off, would write in the middle of what is compared.
 */
function kernelLine(): string {
  let rate = '';
  try {
    rate = `tsc_early_khz=${Math.round(probeKvm().tscHz / 1000)}`;
  } catch (error) {
    // Without a KVM of the host's nobody says: the kernel measures.
    if (!(error instanceof VringError)) throw error;
  }
  return `console=ttyS0 quiet nokaslr mitigations=off panic=-1 tsc=reliable no_timer_check nowatchdog rcupdate.rcu_cpu_stall_suppress=1 ${rate}`;
}

const DONE = 'nested-bed: done';

const programs = ['qemu-system-x86_64', 'apt-get', 'apt-cache', 'dpkg-deb', 'ldd'];

function which(program: string): string | undefined {
  return (process.env['PATH'] ?? '')
    .split(':')
    .map((folder) => join(folder, program))
    .find((path) => existsSync(path));
}

/** What is missing for a bed, for a person; undefined: nothing. */
export function bedLacks(): string | undefined {
  for (const program of programs) if (!which(program)) return `${program} is not installed`;
  if (!which('busybox')) return 'busybox-static is not installed';
  return process.arch === 'x64' ? undefined : 'the bed is for x86-64';
}

const vringCache = () => join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'vring');

/** The kernel package, fetched by apt once. Throws where there is none to be had. */
export function kernelPackage(): string {
  const folder = join(vringCache(), 'test-bed');
  mkdirSync(folder, { recursive: true });
  const depends = execFileSync('apt-cache', ['depends', 'linux-image-amd64'], { encoding: 'utf8' });
  const name = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
  if (!name) throw new Error('apt knows no linux-image-amd64');
  const find = () => readdirSync(folder).find((each) => each.startsWith(`${name}_`) && each.endsWith('.deb'));
  if (!find()) execFileSync('apt-get', ['download', name], { cwd: folder, stdio: 'ignore' });
  return join(folder, find() as string);
}

/** Files of the host that a program needs, with their places: what `ldd` says. */
function librariesOf(program: string): string[] {
  const text = execFileSync('ldd', [program], { encoding: 'utf8' });
  return [...text.matchAll(/(\/\S+) \(0x/g)].map(([, path]) => path);
}

class Tree {
  readonly #entries = new Map<string, CpioEntry>();

  add(entry: CpioEntry): void {
    const parent = dirname(entry.path);
    if (parent !== '.' && !this.#entries.has(parent)) this.add(directory(parent));
    this.#entries.set(entry.path, entry);
  }

  addFile(place: string, from: string): void {
    this.add(file(place.replace(/^\//, ''), readFileSync(from), statSync(from).mode & 0o777));
  }

  addFolder(place: string, from: string, wanted: (path: string) => boolean = () => true): void {
    for (const name of readdirSync(from, { recursive: true, encoding: 'utf8' })) {
      const path = join(from, name);
      if (statSync(path).isFile() && wanted(name)) this.addFile(join(place, name), path);
    }
  }

  bytes(): Uint8Array {
    return writeCpio([...this.#entries.values()]);
  }
}

/** What a guest of the bed's own KVM boots: says that it has come to /init, which processor it sees, and switches off. */
function innerInitramfs(busybox: string): Uint8Array {
  const tree = new Tree();
  tree.addFile('bin/busybox', busybox);
  for (const name of ['dev', 'proc', 'sys']) tree.add(directory(name));
  tree.add(characterDevice('dev/console', 5, 1));
  const init = [
    '#!/bin/busybox sh',
    '/bin/busybox mount -t proc proc /proc',
    'echo "inner: /init, $(/bin/busybox uname -r)"',
    '/bin/busybox grep -m1 "model name" /proc/cpuinfo',
    'echo "inner: $(/bin/busybox grep -c ^processor /proc/cpuinfo) processors"',
    '/bin/busybox grep -E "LOC|timer" /proc/interrupts',
    'echo "inner: clock $(/bin/busybox date +%Y)"',
    '/bin/busybox poweroff -f',
    '',
  ];
  tree.add(file('init', init.join('\n'), 0o755));
  return tree.bytes();
}

/** What `vring run debian --offline` needs in the bed: the host's, fetched where it has it not. */
export async function debianFiles(): Promise<Record<string, Uint8Array>> {
  const { suite, architecture, flavour } = await prepareDebian();
  const pick = `debian/picks/${suite}-${architecture}-${flavour}.json`;
  const { system } = JSON.parse(readFileSync(join(vringCache(), pick), 'utf8')) as { system: string };
  const folder = `debian/systems/${system}`;
  const names = readdirSync(join(vringCache(), folder)).map((name) => `${folder}/${name}`);
  return Object.fromEntries(
    [pick, ...names].map((name) => [`/root/.cache/vring/${name}`, readFileSync(join(vringCache(), name))]),
  );
}

/** The line that boots Linux in the bed by vring, with more options before the others. */
export const bootInner = (options: string, append = ''): string =>
  `node dist/cli/main.js run ${options} -m 192 -kernel /boot/vmlinuz -initrd /boot/initramfs -nographic ` +
  `-append 'console=ttyS0 panic=-1 mitigations=off ${append}' </dev/null`;

export interface BedOptions {
  /** Lines for the guest's shell. */
  readonly commands: readonly string[];
  /** Files of the guest: place → bytes. */
  readonly files?: Readonly<Record<string, Uint8Array>>;
  readonly timeoutMs: number;
  /** Hears what the bed writes, as it comes. */
  readonly onOutput?: (text: string) => void;
}

function initScript(commands: readonly string[]): string {
  return [
    '#!/bin/busybox sh',
    'export PATH=/bin:/usr/bin HOME=/root',
    'mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp',
    ...modules.map((path) => `insmod /modules/${basename(path)}.ko ${path.endsWith('kvm-amd') ? 'nested=0' : ''}`),
    'ip link set lo up',
    answering,
    'cd /vring',
    ...commands,
    `echo; echo '${DONE}'`,
    'poweroff -f',
    '',
  ].join('\n');
}

/** Leaves nothing behind: what has to be ended or removed hears `exit`. */
const leave = (signal: NodeJS.Signals) => process.exit(128 + constants.signals[signal]);
const signals = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

/** Runs commands in the bed and gives all that was written to its console. Throws when it does not end in time. */
export async function runInBed(options: BedOptions): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'vring-bed-'));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  process.on('exit', remove);
  for (const signal of signals) process.on(signal, leave);
  try {
    execFileSync('dpkg-deb', ['-x', kernelPackage(), folder]);
    const boot = join(folder, 'boot');
    const kernel = join(boot, readdirSync(boot).find((name) => name.startsWith('vmlinuz')) as string);
    const [version] = readdirSync(join(folder, 'lib', 'modules'));
    const tree = new Tree();
    const busybox = realpathSync(which('busybox') as string);
    tree.addFile('bin/busybox', busybox);
    tree.addFile('boot/vmlinuz', kernel);
    tree.add(file('boot/initramfs', innerInitramfs(busybox)));
    for (const applet of execFileSync(busybox, ['--list'], { encoding: 'utf8' }).trim().split('\n'))
      if (applet !== 'busybox') tree.add(symlink(`bin/${applet}`, 'busybox'));
    for (const path of modules)
      tree.addFile(`modules/${basename(path)}.ko`, join(folder, 'lib', 'modules', version, 'kernel', `${path}.ko`));
    const node = join(folder, 'node');
    // Without its symbols it is a fifth smaller.
    if (which('strip')) execFileSync('strip', ['-o', node, process.execPath]);
    tree.addFile('usr/bin/node', which('strip') ? node : process.execPath);
    for (const library of librariesOf(process.execPath)) tree.addFile(library, realpathSync(library));
    for (const name of ['proc', 'sys', 'dev', 'tmp', 'root']) tree.add(directory(name));
    tree.add(characterDevice('dev/console', 5, 1));
    tree.addFolder(
      'vring/dist',
      join(root, 'dist'),
      (name) => /\.(js|cjs|json|wasm|bin)$/.test(name) || !name.includes('.'),
    );
    for (const name of ['package.json', 'keys']) {
      const from = join(root, name);
      if (statSync(from).isFile()) tree.addFile(`vring/${name}`, from);
    }
    // Modules that the program names, and koffi's binary for this host.
    for (const name of ['fzstd', 'xz-decompress', '@bokuweb/zstd-wasm', 'koffi'])
      tree.addFolder(
        `vring/node_modules/${name}`,
        join(root, 'node_modules', name),
        (path) => !/^(doc|vendor)\//.test(path),
      );
    tree.addFolder(
      'vring/node_modules/@koromix/koffi-linux-x64',
      join(root, 'node_modules/@koromix/koffi-linux-x64'),
      (path) => !path.startsWith('musl'),
    );
    for (const [place, bytes] of Object.entries(options.files ?? {})) tree.add(file(relative('/', place), bytes));
    tree.add(file('init', initScript(options.commands), 0o755));
    const initrd = join(folder, 'initramfs');
    writeFileSync(initrd, tree.bytes());
    return await runBedMachine({ ...options, kernel, initrd, kernelLine: kernelLine(), folder, done: DONE });
  } finally {
    process.off('exit', remove);
    for (const signal of signals) process.off(signal, leave);
    remove();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const lacks = bedLacks();
  if (lacks) throw new Error(lacks);
  await runInBed({
    commands: process.argv.slice(2).map((line) => (line.startsWith('boot ') ? bootInner(line.slice(5)) : line)),
    timeoutMs: 3_600_000,
    onOutput: (text) => process.stdout.write(text),
  });
}
