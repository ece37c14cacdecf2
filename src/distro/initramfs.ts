/**
 * The initramfs of the Debian guest, in two archives that the kernel unpacks one over the other. The base holds busybox, its
 * links and the kernel's modules: it depends on the packages alone and is kept in the cache. The run part holds `/init` and
 * what it is to do, and is made for each run.
 */
import { type CpioEntry, characterDevice, directory, file, symlink, writeCpio } from './cpio.js';
import { type GuestRun, guestInit, guestRunFiles, guestSession } from './guest-init.js';
import type { ModuleIndex } from './kernel-modules.js';

/** Version of what `buildBase` makes; part of the name under which it is cached. */
export const baseFormat = 1;

/**
 * The applets of a busybox binary: its table of names, NUL-terminated and in the order of strcmp, which starts with `[` and
 * `[[`. Empty when there is no such table; /init then has busybox install its links itself.
 */
export function findApplets(busybox: Uint8Array): string[] {
  const bytes = Buffer.from(busybox.buffer, busybox.byteOffset, busybox.length);
  for (let at = bytes.indexOf('[\0[[\0', 0, 'latin1'); at >= 0; at = bytes.indexOf('[\0[[\0', at + 1, 'latin1')) {
    const names: string[] = [];
    for (let start = at; start < bytes.length; ) {
      const end = bytes.indexOf(0, start);
      if (end < 0 || end - start > 32) break;
      const name = bytes.toString('latin1', start, end);
      if (!/^[a-z0-9[][a-z0-9_.+[-]*$/.test(name) || name <= (names.at(-1) ?? '')) break;
      names.push(name);
      start = end + 1;
    }
    if (names.includes('sh') && names.includes('mount')) return names;
  }
  return [];
}

const profile = `export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
PS1='\\u@\\h:\\w\\$ '
`;

export interface BaseParts {
  readonly busybox: Uint8Array;
  /** As `uname -r` says. */
  readonly kernelVersion: string;
  readonly modules: ModuleIndex;
  /** The package's own modules.builtin, by which modprobe knows what needs no loading. */
  readonly builtin: Uint8Array;
}

export function buildBase(parts: BaseParts): Uint8Array<ArrayBuffer> {
  const moduleRoot = `lib/modules/${parts.kernelVersion}`;
  const entries: CpioEntry[] = [
    ...['bin', 'dev', 'etc', 'lib', 'lib/modules', moduleRoot, 'mnt', 'proc', 'run', 'sys', 'usr', 'var', 'vring'].map(
      (path) => directory(path),
    ),
    directory('root', 0o700),
    directory('tmp', 0o1777),
    symlink('sbin', 'bin'),
    symlink('usr/bin', '../bin'),
    symlink('usr/sbin', '../bin'),
    symlink('var/run', '../run'),
    characterDevice('dev/console', 5, 1),
    characterDevice('dev/null', 1, 3, 0o666),
    file('bin/busybox', parts.busybox, 0o755),
    ...findApplets(parts.busybox)
      .filter((name) => name !== 'busybox')
      .map((name) => symlink(`bin/${name}`, 'busybox')),
    file('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n'),
    file('etc/group', 'root:x:0:\ntty:x:5:\ndisk:x:6:\nnogroup:x:65534:\n'),
    file('etc/shadow', 'root:*:::::::\n', 0o600),
    file('etc/hostname', 'vring\n'),
    file('etc/hosts', '127.0.0.1\tlocalhost\n127.0.1.1\tvring\n::1\tlocalhost ip6-localhost ip6-loopback\n'),
    file('etc/resolv.conf', ''),
    file('etc/profile', profile),
    symlink('etc/mtab', '/proc/self/mounts'),
    file(`${moduleRoot}/modules.dep`, parts.modules.dep),
    file(`${moduleRoot}/modules.alias`, parts.modules.alias),
    file(`${moduleRoot}/modules.softdep`, parts.modules.softdep),
    file(`${moduleRoot}/modules.symbols`, ''),
    file(`${moduleRoot}/modules.builtin`, parts.builtin),
    file(`${moduleRoot}/modules.order`, parts.modules.modules.map(({ path }) => `${path}\n`).join('')),
  ];
  const folders = new Set<string>();
  for (const { path, content } of parts.modules.modules) {
    const steps = path.split('/');
    for (let depth = 1; depth < steps.length; depth++) {
      const folder = steps.slice(0, depth).join('/');
      if (folders.has(folder)) continue;
      folders.add(folder);
      entries.push(directory(`${moduleRoot}/${folder}`));
    }
    entries.push(file(`${moduleRoot}/${path}`, content));
  }
  return writeCpio(entries);
}

/** The second archive: /init and this run's mode, command and environment. */
export function buildRunPart(run: GuestRun): Uint8Array<ArrayBuffer> {
  const files = guestRunFiles(run);
  return writeCpio([
    directory('vring'),
    file('init', guestInit, 0o755),
    file('vring/session', guestSession),
    ...Object.entries(files).map(([name, content]) => file(`vring/${name}`, content, 0o600)),
  ]);
}

export function joinInitramfs(base: Uint8Array, runPart: Uint8Array): Uint8Array {
  // Both are padded to 512 bytes; the kernel wants 4. A machine's thread sees shared memory without a copy.
  const joined = new Uint8Array(new SharedArrayBuffer(base.length + runPart.length));
  joined.set(base);
  joined.set(runPart, base.length);
  return joined;
}
