/**
 * Debian ready to boot: the kernel and the initramfs of a suite, fetched from the archive when the cache does not hold them.
 *
 *     debian/picks/SUITE-ARCH-FLAVOUR.json   which system a suite meant when the archive was last asked
 *     debian/systems/KEY/                    vmlinuz, initramfs.cpio and system.json, which is written last
 *     debian/index/HASH.json                 what was kept of a package index
 *
 * KEY is a hash over the packages' hashes and the format of the base initramfs. A pick is used without a look at the network
 * for a week; then the archive is asked again, and when it does not answer the pick serves on.
 *
 * Only the suite itself is read, not its -security or -updates companions.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { setImmediate as breathe } from 'node:timers/promises';
import { VringError } from '../base/errors.js';
import { readAptConfiguration } from '../host/node/apt-config.js';
import { CacheDirectory, defaultCacheRoot } from '../host/node/cache-dir.js';
import type { Environment } from '../host/node/proxy.js';
import { chooseArchitecture } from './architectures.js';
import { Archive, type FetchProgress } from './archive.js';
import { readDeb } from './deb.js';
import { baseFormat, buildBase, buildRunPart, joinInitramfs } from './initramfs.js';
import { indexModules, type KernelModule, missingDependencies, moduleName, parseModule } from './kernel-modules.js';
import { chooseMirrors, type Mirror } from './mirrors.js';
import { moduleGroups } from './module-list.js';
import { parseKeyring } from './openpgp/keyring.js';
import { findPackage, type PackageEntry, resolveKernel } from './packages.js';
import type { Release } from './release.js';
import type { TarEntry } from './tar.js';

export interface PrepareDebianOptions {
  /** `stable` by default; any suite or codename of the archive. */
  readonly suite?: string | undefined;
  /** `amd64` by default, or what `flavour` implies. */
  readonly architecture?: string | undefined;
  /** Kernel flavour as in `linux-image-FLAVOUR`; the architecture's first by default. */
  readonly flavour?: string | undefined;
  /** Never use the network. */
  readonly offline?: boolean | undefined;
  /** Ask the archive even if the cache has an answer that is still young. */
  readonly refresh?: boolean | undefined;
  /** Instead of `$XDG_CACHE_HOME/vring`. */
  readonly cacheDirectory?: string | undefined;
  /** For XDG_CACHE_HOME, HOME, HTTP_PROXY and so on; process.env by default. */
  readonly env?: Environment | undefined;
  /** Root URL of an archive to use instead of apt's and Debian's own. */
  readonly mirror?: string | undefined;
  /** Instead of /etc/apt. */
  readonly aptDirectory?: string | undefined;
  /** OpenPGP keys to trust instead of those that come with vring. */
  readonly keyring?: Uint8Array | undefined;
  /** What to run; a login shell on the console when undefined. */
  readonly command?: readonly string[] | undefined;
  /** Variables for the shell or command, such as TERM. */
  readonly guestEnvironment?: Readonly<Record<string, string>> | undefined;
  /** The guest's console device without /dev; the machine's serial line by default. */
  readonly console?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: FetchProgress) => void) | undefined;
  /** Sentences that a person should see but that stop nothing. */
  readonly onNotice?: ((sentence: string) => void) | undefined;
}

export interface PreparedDebian {
  /** As asked for. */
  readonly suite: string;
  readonly codename: string;
  /** Point release such as `13.7`; empty for testing and sid. */
  readonly release: string;
  readonly architecture: string;
  readonly flavour: string;
  /** As `uname -r` says. */
  readonly kernelVersion: string;
  readonly packageVersion: string;
  readonly kernel: Uint8Array;
  readonly initrd: Uint8Array;
  /** The kernel's command line. */
  readonly append: string;
  readonly console: string;
  /** False when something was fetched. */
  readonly fromCache: boolean;
}

interface StoredFile {
  readonly bytes: number;
  readonly sha256: string;
}

interface System {
  readonly kernelVersion: string;
  readonly packageVersion: string;
  readonly kernel: StoredFile;
  readonly initramfs: StoredFile;
}

interface Pick {
  readonly suite: string;
  readonly codename: string;
  readonly release: string;
  readonly architecture: string;
  readonly flavour: string;
  readonly system: string;
  readonly checkedMs: number;
}

interface Loaded {
  readonly pick: Pick;
  readonly system: System;
  readonly kernel: Uint8Array;
  readonly base: Uint8Array;
}

const pickLifeMs = 7 * 86_400_000;
const unpackedLimitBytes = 512 << 20;
const shippedKeyring = new URL('../../keys/debian-archive-keyring.gpg', import.meta.url);

/** `debian` or `debian:SUITE` to a suite; undefined for the name of something else. */
export function parseDebianName(name: string): string | undefined {
  const match = /^debian(?::(.*))?$/s.exec(name);
  if (match === null) return undefined;
  const suite = match[1] ?? 'stable';
  if (!/^[a-z][a-z0-9-]{0,40}$/.test(suite)) {
    throw new VringError(
      'suite-invalid',
      `'${suite}' is not the name of a Debian suite, such as stable, bookworm or sid.`,
    );
  }
  return suite;
}

/** Hashes without holding the event loop for long. */
async function sha256(bytes: Uint8Array): Promise<string> {
  const hash = createHash('sha256');
  for (let at = 0; at < bytes.length; at += 1 << 20) {
    hash.update(bytes.subarray(at, at + (1 << 20)));
    await breathe();
  }
  return hash.digest('hex');
}

const pickName = (suite: string, architecture: string, flavour: string): string =>
  `debian/picks/${suite}-${architecture}-${flavour}.json`;
const systemName = (key: string, file: 'vmlinuz' | 'initramfs.cpio' | 'system.json'): string =>
  `debian/systems/${key}/${file}`;

function parseJson(bytes: Uint8Array | undefined): Record<string, unknown> | undefined {
  if (bytes === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

export function parsePick(bytes: Uint8Array | undefined): Pick | undefined {
  const value = parseJson(bytes);
  const texts = ['suite', 'codename', 'release', 'architecture', 'flavour', 'system'];
  if (value === undefined || !texts.every((name) => typeof value[name] === 'string')) return undefined;
  if (typeof value['checkedMs'] !== 'number' || !/^[0-9a-f]{16,64}$/.test(value['system'] as string)) return undefined;
  return value as unknown as Pick;
}

function parseSystem(bytes: Uint8Array | undefined): System | undefined {
  const value = parseJson(bytes);
  const isFile = (file: unknown): boolean =>
    typeof (file as StoredFile | null)?.bytes === 'number' && typeof (file as StoredFile).sha256 === 'string';
  if (value === undefined || !isFile(value['kernel']) || !isFile(value['initramfs'])) return undefined;
  if (typeof value['kernelVersion'] !== 'string' || typeof value['packageVersion'] !== 'string') return undefined;
  return value as unknown as System;
}

/** What the cache holds for a pick, all hashes checked; undefined when something is missing or damaged. */
async function loadSystem(
  cache: CacheDirectory,
  pick: Pick,
  onNotice: (sentence: string) => void,
): Promise<Loaded | undefined> {
  const system = parseSystem(await cache.read(systemName(pick.system, 'system.json')));
  if (system === undefined) return undefined;
  const [kernel, base] = await Promise.all([
    cache.read(systemName(pick.system, 'vmlinuz')),
    cache.read(systemName(pick.system, 'initramfs.cpio')),
  ]);
  if (kernel === undefined || base === undefined) return undefined;
  const sound = async (bytes: Uint8Array, stored: StoredFile): Promise<boolean> =>
    bytes.length === stored.bytes && (await sha256(bytes)) === stored.sha256;
  if (!(await sound(kernel, system.kernel)) || !(await sound(base, system.initramfs))) {
    onNotice(`The cached kernel or initramfs in ${cache.root} is damaged and is not used.`);
    return undefined;
  }
  return { pick, system, kernel, base };
}

/**
 * Gives a suite's kernel, initramfs and command line. Errors are VringErrors: `suite-invalid`, `architecture-unknown`,
 * `flavour-unknown`, `command-invalid`, `offline-missing`, `mirror-*`, `network-*`, `http-*`, `proxy-*`, `download-*`,
 * `archive-*`, `signature-*`, `openpgp-malformed`, `cache-*`, `aborted`.
 */
export async function prepareDebian(options: PrepareDebianOptions = {}): Promise<PreparedDebian> {
  const suite = parseDebianName(`debian:${options.suite ?? 'stable'}`)!;
  const { architecture, flavour } = chooseArchitecture(options);
  const guestConsole = options.console ?? architecture.serialConsole;
  // First of all, because it needs nothing else to fail.
  const runPart = buildRunPart({
    command: options.command,
    console: guestConsole,
    environment: options.guestEnvironment ?? {},
  });
  const onNotice = options.onNotice ?? (() => {});
  const env = options.env ?? process.env;
  const cache = new CacheDirectory(options.cacheDirectory ?? defaultCacheRoot(env), onNotice);
  try {
    const { loaded, fetched } = await obtain(options, cache, suite, architecture.name, flavour);
    return {
      suite,
      codename: loaded.pick.codename,
      release: loaded.pick.release,
      architecture: architecture.name,
      flavour,
      kernelVersion: loaded.system.kernelVersion,
      packageVersion: loaded.system.packageVersion,
      kernel: loaded.kernel,
      initrd: joinInitramfs(loaded.base, runPart),
      append: `console=${guestConsole} quiet panic=-1`,
      console: guestConsole,
      fromCache: !fetched,
    };
  } finally {
    await cache.close();
  }
}

async function obtain(
  options: PrepareDebianOptions,
  cache: CacheDirectory,
  suite: string,
  architecture: string,
  flavour: string,
): Promise<{ loaded: Loaded; fetched: boolean }> {
  const onNotice = options.onNotice ?? (() => {});
  const name = pickName(suite, architecture, flavour);
  const fromCache = async (notice = onNotice): Promise<Loaded | undefined> => {
    const pick = parsePick(await cache.read(name));
    return pick === undefined ? undefined : await loadSystem(cache, pick, notice);
  };
  const isYoung = ({ pick }: Loaded): boolean => Math.abs(Date.now() - pick.checkedMs) < pickLifeMs;

  const cached = await fromCache();
  if (cached !== undefined && (options.offline === true || (isYoung(cached) && options.refresh !== true))) {
    await cache.touch(name);
    return { loaded: cached, fetched: false };
  }
  if (options.offline === true) {
    throw new VringError(
      'offline-missing',
      `Debian ${suite} with linux-image-${flavour} for ${architecture} is not in the cache ${cache.root}, and fetching is forbidden.`,
    );
  }
  try {
    const startMs = Date.now();
    return await cache.withLock(
      `debian-${suite}-${architecture}-${flavour}`,
      async () => {
        // Another process may have fetched it while this one waited.
        const meanwhile = await fromCache(() => {});
        if (meanwhile !== undefined && meanwhile.pick.checkedMs >= startMs)
          return { loaded: meanwhile, fetched: false };
        return { loaded: await fetchDebian(options, cache, suite, architecture, flavour), fetched: true };
      },
      options.signal,
      () => onNotice('Another vring is fetching the same; waiting for it.'),
    );
  } catch (error) {
    if (cached === undefined || options.refresh === true || (error as VringError).code === 'aborted') throw error;
    const date = new Date(cached.pick.checkedMs).toISOString().slice(0, 10);
    onNotice(`${(error as Error).message} The one fetched on ${date} is used.`);
    return { loaded: cached, fetched: false };
  }
}

async function fetchDebian(
  options: PrepareDebianOptions,
  cache: CacheDirectory,
  suite: string,
  architecture: string,
  flavour: string,
): Promise<Loaded> {
  const onNotice = options.onNotice ?? (() => {});
  const env = options.env ?? process.env;
  const nowMs = Date.now();
  const apt = await readAptConfiguration(options.aptDirectory, env['APT_CONFIG']);
  for (const sentence of apt.notices) onNotice(sentence);
  const shippedKeys = parseKeyring(options.keyring ?? (await readFile(shippedKeyring)), nowMs);
  const mirrors = await chooseMirrors({
    apt,
    suite,
    architecture,
    shippedKeys,
    given: options.mirror,
    nowMs,
    onNotice,
  });
  const { signal } = options;
  const archive = new Archive({
    mirrors,
    apt,
    env,
    nowMs,
    signal,
    onProgress: options.onProgress ?? (() => {}),
    onNotice,
  });
  return await archive.withRelease(suite, async (mirror, release) => {
    const entries = await archive.fetchPackages(mirror, suite, release, architecture, cache);
    const kernel = resolveKernel(entries, `linux-image-${flavour}`);
    const busybox = findPackage(entries, 'busybox-static');
    const absent = kernel === undefined ? `linux-image-${flavour}` : 'busybox-static';
    if (kernel === undefined || busybox === undefined) {
      throw new VringError('archive-no-package', `Debian's ${release.codename} has no ${absent} for ${architecture}.`);
    }
    const key = createHash('sha256')
      .update([...kernel, busybox].map((entry) => entry.sha256).join(' ') + ` ${baseFormat}`)
      .digest('hex')
      .slice(0, 32);
    const { codename, version } = release;
    const pick: Pick = { suite, codename, release: version, architecture, flavour, system: key, checkedMs: nowMs };
    // Another suite or an older pick may have brought it already.
    const loaded =
      (await loadSystem(cache, pick, () => {})) ??
      (await buildSystem(options, cache, archive, mirror, pick, kernel, busybox));
    await writePicks(cache, pick, release);
    return loaded;
  });
}

/** The pick under the name that was asked for, and under the suite's other name. */
async function writePicks(cache: CacheDirectory, pick: Pick, release: Release): Promise<void> {
  const names = new Set([pick.suite, release.suite, release.codename]);
  for (const suite of names) {
    if (!/^[a-z][a-z0-9-]*$/.test(suite)) continue;
    const text = JSON.stringify({ ...pick, suite }, null, 1);
    await cache.write(pickName(suite, pick.architecture, pick.flavour), 0, (writer) =>
      writer.write(Buffer.from(`${text}\n`)),
    );
  }
}

async function buildSystem(
  options: PrepareDebianOptions,
  cache: CacheDirectory,
  archive: Archive,
  mirror: Mirror,
  pick: Pick,
  kernelPackages: readonly PackageEntry[],
  busyboxPackage: PackageEntry,
): Promise<Loaded> {
  const busybox = await withPackage(cache, archive, mirror, busyboxPackage, async (path) => {
    for await (const { path: name, content } of readDeb(
      path,
      (entry) => /^(usr\/)?bin\/busybox$/.test(entry.path),
      64 << 20,
    )) {
      if (name.endsWith('busybox') && content.length > 0) return content;
    }
    throw new VringError('archive-damaged', `The package ${busyboxPackage.name} holds no busybox.`);
  });
  const withPackages = async <T>(
    entries: readonly PackageEntry[],
    paths: string[],
    use: (paths: string[]) => Promise<T>,
  ): Promise<T> =>
    entries.length === 0
      ? await use(paths)
      : await withPackage(cache, archive, mirror, entries[0]!, (path) =>
          withPackages(entries.slice(1), [...paths, path], use),
        );
  const unpacked = await withPackages(kernelPackages, [], (paths) => unpackKernel(paths, options));
  const base = buildBase({ ...unpacked, busybox });
  const { kernel, kernelVersion } = unpacked;
  const system: System = {
    kernelVersion,
    packageVersion: kernelPackages.find(({ name }) => name.startsWith('linux-image-'))!.version,
    kernel: { bytes: kernel.length, sha256: await sha256(kernel) },
    initramfs: { bytes: base.length, sha256: await sha256(base) },
  };
  await cache.write(systemName(pick.system, 'vmlinuz'), kernel.length, (writer) => writer.write(kernel));
  await cache.write(systemName(pick.system, 'initramfs.cpio'), base.length, (writer) => writer.write(base));
  const text = `${JSON.stringify(system, null, 1)}\n`;
  await cache.write(systemName(pick.system, 'system.json'), text.length, (writer) => writer.write(Buffer.from(text)));
  return { pick, system, kernel, base };
}

async function withPackage<T>(
  cache: CacheDirectory,
  archive: Archive,
  mirror: Mirror,
  entry: PackageEntry,
  use: (path: string) => Promise<T>,
): Promise<T> {
  return await cache.withScratch(entry.sizeBytes, async (writer) => {
    await archive.fetchPackage(mirror, entry, (chunk) => writer.write(chunk));
    return await use(writer.path);
  });
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted)
    throw new VringError('aborted', 'The preparation of Debian was cancelled.', { cause: signal.reason });
}

/** Where packages have the kernel itself: /boot, and since Linux 7 beside its modules. */
function kernelVersionOf(path: string): string | undefined {
  return (/^boot\/vmlinu[xz]-([^/]+)$/.exec(path) ?? /^usr\/lib\/modules\/([^/]+)\/vmlinu[xz]$/.exec(path))?.[1];
}

/** The kernel, the wanted modules with all that they depend on, and the list of what is built in. */
async function unpackKernel(paths: readonly string[], options: PrepareDebianOptions) {
  const what = 'modules';
  let wanted: Set<string> = new Set(Object.values(moduleGroups).flat());
  const modules = new Map<string, KernelModule>();
  let kernel: Uint8Array | undefined;
  let kernelVersion = '';
  let builtin: Uint8Array = new Uint8Array(0);
  const asked = new Set<string>();
  for (let first = true; first || wanted.size > 0; first = false) {
    const packed: { path: string; content: Uint8Array }[] = [];
    const want = (entry: TarEntry): boolean => {
      if (entry.kind !== 'file') return false;
      const module = moduleName(entry.path);
      if (module !== undefined) return wanted.has(module);
      return first && (kernelVersionOf(entry.path) !== undefined || entry.path.endsWith('/modules.builtin'));
    };
    for (const path of paths) {
      for await (const file of readDeb(path, want, unpackedLimitBytes)) {
        throwIfAborted(options.signal);
        const version = kernelVersionOf(file.path);
        if (version !== undefined) [kernel, kernelVersion] = [file.content, version];
        else if (file.path.endsWith('/modules.builtin')) builtin = file.content;
        else packed.push(file);
      }
    }
    // Only now: one xz stream runs at a time.
    for (const [index, file] of packed.entries()) {
      throwIfAborted(options.signal);
      const module = await parseModule(file.path.replace(/^(usr\/)?lib\/modules\/[^/]+\//, ''), file.content);
      modules.set(module.name, module);
      options.onProgress?.({ what, doneBytes: index + 1, totalBytes: packed.length });
    }
    for (const name of wanted) asked.add(name);
    wanted = new Set([...missingDependencies(modules)].filter((name) => !asked.has(name)));
  }
  if (kernel === undefined || !/^[A-Za-z0-9][A-Za-z0-9.+~_-]*$/.test(kernelVersion)) {
    throw new VringError('archive-damaged', 'The kernel package holds no kernel.');
  }
  return { kernel, kernelVersion, builtin, modules: indexModules(modules) };
}
