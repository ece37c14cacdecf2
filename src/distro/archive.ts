/**
 * Debian's archive as a client sees it: InRelease, verified; the package index that it names, by hash where the archive
 * offers that; packages, checked against the index. Nothing that a mirror sends is used before its hash has been checked.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { VringError } from '../base/errors.js';
import { type AptConfiguration, findLogin } from '../host/node/apt-config.js';
import type { CacheDirectory } from '../host/node/cache-dir.js';
import { download } from '../host/node/download.js';
import { chooseProxy, type Environment } from '../host/node/proxy.js';
import { decompress } from './decompress.js';
import type { Mirror } from './mirrors.js';
import { verifyCleartext, verifyDetached } from './openpgp/verify.js';
import { type PackageEntry, readPackages } from './packages.js';
import { type IndexFile, parseRelease, type Release, requireSuite, staleness } from './release.js';

export interface FetchProgress {
  /** What is being fetched, for a person: `index`, or a package's name. */
  readonly what: string;
  readonly doneBytes: number;
  readonly totalBytes: number | undefined;
}

export interface ArchiveOptions {
  readonly mirrors: readonly Mirror[];
  readonly apt: AptConfiguration;
  readonly env: Environment;
  readonly nowMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress: (progress: FetchProgress) => void;
  readonly onNotice: (sentence: string) => void;
}

interface Expected {
  readonly sizeBytes: number;
  readonly sha256: string;
}

const releaseLimitBytes = 16 << 20;
const packageIndexLimitBytes = 256 << 20;
const retryDelayMs = 300;

/** Version of what `readPackages` keeps; part of the name of what is cached. */
const extractFormat = 2;

const transient = new Set(['download-truncated', 'network-timeout']);

export class Archive {
  readonly #options: ArchiveOptions;
  constructor(options: ArchiveOptions) {
    this.#options = options;
  }

  /**
   * Runs `work` with the first mirror whose Release verifies, and again with the next one when that mirror fails it. When all
   * fail, throws the first one's error: it is the mirror that the host's configuration asked for.
   */
  async withRelease<T>(suite: string, work: (mirror: Mirror, release: Release) => Promise<T>): Promise<T> {
    const { mirrors, onNotice } = this.#options;
    let first: VringError | undefined;
    for (const mirror of mirrors) {
      try {
        const result = await work(mirror, await this.#releaseOf(mirror, suite));
        if (first !== undefined) onNotice(`${first.message} ${mirror.name} was used instead.`);
        return result;
      } catch (error) {
        if (!(error instanceof VringError) || !isMirrorsFault(error)) throw error;
        first ??= error;
      }
    }
    throw first;
  }

  /** The packages that vring can need, from the index of one architecture; kept in the cache by the index's hash. */
  async fetchPackages(
    mirror: Mirror,
    suite: string,
    release: Release,
    architecture: string,
    cache: CacheDirectory,
  ): Promise<PackageEntry[]> {
    const base = `main/binary-${architecture}/Packages`;
    const index = release.files.get(`${base}.xz`) ?? release.files.get(`${base}.gz`);
    if (index === undefined) {
      throw new VringError(
        'archive-no-architecture',
        `Debian's ${release.codename} has no packages for ${architecture}.`,
      );
    }
    const name = `debian/index/${index.sha256}-${extractFormat}.json`;
    const cached = parseExtract(await cache.read(name));
    if (cached !== undefined) return cached;
    if (index.sizeBytes > packageIndexLimitBytes) {
      throw new VringError('archive-damaged', `The package index of ${release.codename} is larger than 256 MiB.`);
    }
    const compression = index.path.endsWith('.xz') ? 'xz' : 'gz';
    // To a file first: nothing unverified is decompressed.
    const entries = await cache.withScratch(index.sizeBytes, async (writer) => {
      await this.#fetchIndexFile(mirror, suite, release, index, (chunk) => writer.write(chunk));
      return await readPackages(decompress(compression, createReadStream(writer.path, { highWaterMark: 1 << 18 })));
    });
    await cache.write(name, 0, (writer) => writer.write(Buffer.from(JSON.stringify(entries))));
    return entries;
  }

  /** Fetches a package, checked, into `write`. */
  async fetchPackage(mirror: Mirror, entry: PackageEntry, write: (chunk: Uint8Array) => Promise<void>): Promise<void> {
    await this.#fetchChecked(mirror, entry.filename, entry.name, entry, write);
  }

  async #releaseOf(mirror: Mirror, suite: string): Promise<Release> {
    const { nowMs, onNotice } = this.#options;
    const folder = `dists/${suite}`;
    let text: string;
    try {
      const document = await this.#fetchSmall(mirror, `${folder}/InRelease`);
      text = this.#verified(mirror, () => verifyCleartext(document, mirror.keyring, nowMs).text);
    } catch (error) {
      if (!isAbsent(error)) throw error;
      // An archive may have the detached form alone.
      const document = await this.#fetchSmall(mirror, `${folder}/Release`).catch((second: unknown) => {
        if (!isAbsent(second)) throw second;
        throw new VringError('archive-no-suite', `${mirror.name} has no suite '${suite}'.`, { cause: second });
      });
      const signature = await this.#fetchSmall(mirror, `${folder}/Release.gpg`);
      this.#verified(mirror, () => verifyDetached(document, signature, mirror.keyring, nowMs));
      text = Buffer.from(document).toString('utf8');
    }
    const release = parseRelease(text);
    requireSuite(release, suite, mirror.name);
    const stale = staleness(release, nowMs);
    if (stale !== undefined) {
      if (mirror.checkValidUntil) throw new VringError('archive-stale', stale);
      onNotice(`${stale} apt's settings allow that.`);
    }
    return release;
  }

  #verified<T>(mirror: Mirror, verify: () => T): T {
    try {
      return verify();
    } catch (error) {
      if (!(error instanceof VringError)) throw error;
      throw new VringError(error.code, `The index from ${mirror.name} cannot be trusted. ${error.message}`, {
        cause: error,
      });
    }
  }

  async #fetchIndexFile(
    mirror: Mirror,
    suite: string,
    release: Release,
    index: IndexFile,
    write: (chunk: Uint8Array) => Promise<void>,
  ): Promise<void> {
    const plain = `dists/${suite}/${index.path}`;
    const byHash = `${plain.slice(0, plain.lastIndexOf('/'))}/by-hash/SHA256/${index.sha256}`;
    if (release.acquireByHash) {
      try {
        await this.#fetchChecked(mirror, byHash, 'index', index, write);
        return;
      } catch (error) {
        if (!isAbsent(error)) throw error;
      }
    }
    await this.#fetchChecked(mirror, plain, 'index', index, write);
  }

  async #fetchSmall(mirror: Mirror, path: string): Promise<Uint8Array> {
    for (let attempt = 0; ; attempt++) {
      const chunks: Uint8Array[] = [];
      try {
        await this.#transfer(mirror, path, releaseLimitBytes, (chunk) => void chunks.push(chunk));
        return Buffer.concat(chunks);
      } catch (error) {
        if (attempt > 0 || !isTransient(error)) throw error;
        await sleep(retryDelayMs);
      }
    }
  }

  async #fetchChecked(
    mirror: Mirror,
    path: string,
    what: string,
    expected: Expected,
    write: (chunk: Uint8Array) => Promise<void>,
  ): Promise<void> {
    const { onProgress } = this.#options;
    const hash = createHash('sha256');
    let doneBytes = 0;
    onProgress({ what, doneBytes, totalBytes: expected.sizeBytes });
    await this.#transfer(mirror, path, expected.sizeBytes, async (chunk) => {
      hash.update(chunk);
      await write(chunk);
      doneBytes += chunk.length;
      onProgress({ what, doneBytes, totalBytes: expected.sizeBytes });
    });
    const wrong = (why: string): VringError =>
      new VringError('archive-hash-mismatch', `${mirror.name}/${path} is not what the archive's index says: ${why}.`);
    if (doneBytes !== expected.sizeBytes) throw wrong(`${doneBytes} bytes instead of ${expected.sizeBytes}`);
    if (hash.digest('hex') !== expected.sha256) throw wrong('its SHA-256 differs');
  }

  async #transfer(
    mirror: Mirror,
    path: string,
    maxBytes: number,
    onData: (chunk: Uint8Array) => void | Promise<void>,
  ): Promise<void> {
    const { apt, env, signal } = this.#options;
    const url = new URL(`${mirror.root}/${path.split('/').map(encodeURIComponent).join('/')}`);
    if (url.protocol === 'file:') {
      await transferFile(fileURLToPath(url), maxBytes, onData);
      return;
    }
    await download(url.href, {
      maxBytes,
      proxyFor: (target) => chooseProxy(target, apt.options, env),
      loginFor: (target) => findLogin(apt.logins, target),
      signal,
      onData,
    });
  }
}

async function transferFile(
  path: string,
  maxBytes: number,
  onData: (chunk: Uint8Array) => void | Promise<void>,
): Promise<void> {
  try {
    const { size } = await stat(path);
    if (size > maxBytes)
      throw new VringError('download-too-large', `${path} is larger than the ${maxBytes} bytes expected.`);
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 18 })) await onData(chunk as Buffer);
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (syscall === undefined || !['open', 'stat', 'read'].includes(syscall)) throw error;
    const cause = code === 'ENOENT' || code === 'ENOTDIR' ? { status: 404 } : error;
    throw new VringError('mirror-unreadable', `${path} cannot be read: ${(error as Error).message}.`, { cause });
  }
}

function isAbsent(error: unknown): boolean {
  const { cause } = error as { cause?: { status?: number } };
  return error instanceof VringError && (cause?.status === 404 || cause?.status === 410);
}

/** Whether another mirror may do better: not when the caller, the cache or the signed index itself says no. */
function isMirrorsFault({ code }: VringError): boolean {
  return (
    !/^(aborted|cache-|proxy-)/.test(code) &&
    !['archive-no-architecture', 'archive-no-package', 'archive-unsupported'].includes(code)
  );
}

function isTransient(error: unknown): boolean {
  return error instanceof VringError && transient.has(error.code);
}

function parseExtract(bytes: Uint8Array | undefined): PackageEntry[] | undefined {
  if (bytes === undefined) return undefined;
  try {
    const entries = JSON.parse(Buffer.from(bytes).toString('utf8')) as PackageEntry[];
    const sound =
      Array.isArray(entries) &&
      entries.every((entry) => typeof entry.filename === 'string' && /^[0-9a-f]{64}$/.test(entry.sha256));
    return sound ? entries : undefined;
  } catch {
    return undefined;
  }
}
