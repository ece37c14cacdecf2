/**
 * A cache directory that several processes use at once. Every file in it is whole: it is written under a temporary name,
 * flushed to the disk and renamed. Locks only spare double work: should one be broken wrongly, both processes write the same
 * content and the later rename wins.
 *
 *     ROOT/CACHEDIR.TAG        says that backups may leave it out
 *     ROOT/tmp/                files being written; what is older than a day is left over and removed
 *     ROOT/locks/              one file per lock: host name, process id
 *     ROOT/…                   what callers put there
 *
 * Where the root cannot be written (a read-only home, say), what is written goes to a temporary directory of this process,
 * which `close` removes, and `onNotice` hears of it once. What the root already holds is used all the same.
 */
import { randomBytes } from 'node:crypto';
import {
  type FileHandle,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  statfs,
  unlink,
  utimes,
} from 'node:fs/promises';
import { homedir, hostname, tmpdir } from 'node:os';
import { dirname, isAbsolute, join, relative, sep } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { VringError } from '../../base/errors.js';

/** `XDG_CACHE_HOME`/vring, or ~/.cache/vring. A relative XDG_CACHE_HOME is to be ignored, says its specification. */
export function defaultCacheRoot(env: Readonly<Record<string, string | undefined>>): string {
  const base = env['XDG_CACHE_HOME'];
  if (base !== undefined && isAbsolute(base)) return join(base, 'vring');
  const home = env['HOME'];
  return join(home !== undefined && isAbsolute(home) ? home : homedir(), '.cache', 'vring');
}

export interface CacheFile {
  /** Relative to the root, with `/`. */
  readonly name: string;
  readonly bytes: number;
  readonly modifiedMs: number;
}

/** Where a file's content goes while it is produced. */
export interface CacheFileWriter {
  readonly path: string;
  write(chunk: Uint8Array): Promise<void>;
}

const heartbeatMs = 2_000;
const staleMs = 20_000;
const leftOverMs = 86_400_000;
/** Kept free beside what is asked for, so that a download does not fill the disk to the brim. */
const reserveBytes = 16 << 20;

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException | undefined)?.code ?? '';
}

/**
 * A folder and those above it. Node's own recursive mkdir never ends where a file system answers ENOENT to a name in a folder that
 * is there, as /proc does.
 */
async function makeFolder(path: string): Promise<void> {
  const make = async () => {
    await mkdir(path).catch(async (error: unknown) => {
      if (codeOf(error) !== 'EEXIST' || !(await stat(path)).isDirectory()) throw error;
    });
  };
  try {
    await make();
  } catch (error) {
    if (codeOf(error) !== 'ENOENT' || dirname(path) === path) throw error;
    await makeFolder(dirname(path));
    await make();
  }
}

const isAbsent = (error: unknown): boolean => ['ENOENT', 'ENOTDIR'].includes(codeOf(error));
const isUnwritable = (error: unknown): boolean =>
  ['EACCES', 'EROFS', 'EPERM', 'ENOTDIR', 'EEXIST', 'ENOENT', 'ELOOP', 'ENAMETOOLONG'].includes(codeOf(error));

function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1e6)} MB`;
}

export class CacheDirectory {
  readonly root: string;
  readonly #onNotice: (sentence: string) => void;
  #writeRoot: Promise<string> | undefined;
  #temporary: string | undefined;

  constructor(root: string, onNotice: (sentence: string) => void = () => {}) {
    this.root = root;
    this.#onNotice = onNotice;
  }

  /** Whole content of a file, or undefined when there is none. */
  async read(name: string): Promise<Buffer | undefined> {
    for (const root of this.#temporary === undefined ? [this.root] : [this.#temporary, this.root]) {
      try {
        return await readFile(join(root, name));
      } catch (error) {
        if (isAbsent(error) || codeOf(error) === 'EISDIR') continue;
        throw new VringError(
          'cache-unreadable',
          `The cache file ${join(root, name)} cannot be read: ${(error as Error).message}.`,
          {
            cause: error,
          },
        );
      }
    }
    return undefined;
  }

  /**
   * Writes `name` as a whole: `produce` gives its content, and may read it back through `path` before it gets its name. When
   * `produce` throws nothing is left. `expectedBytes` is checked against the free space before anything is done.
   */
  async write<T>(name: string, expectedBytes: number, produce: (writer: CacheFileWriter) => Promise<T>): Promise<T> {
    return await this.#produce(name, expectedBytes, produce);
  }

  /** As `write`, but the file is removed when `produce` is done with it. */
  async withScratch<T>(expectedBytes: number, produce: (writer: CacheFileWriter) => Promise<T>): Promise<T> {
    return await this.#produce(undefined, expectedBytes, produce);
  }

  async #produce<T>(
    name: string | undefined,
    expectedBytes: number,
    produce: (writer: CacheFileWriter) => Promise<T>,
  ): Promise<T> {
    const root = await this.#writable();
    await this.#requireFreeSpace(root, expectedBytes);
    const temporary = join(root, 'tmp', `${process.pid}-${randomBytes(6).toString('hex')}`);
    let file: FileHandle | undefined;
    try {
      file = await open(temporary, 'wx+', 0o644);
      const opened = file;
      const result = await produce({
        path: temporary,
        write: async (chunk) => {
          let done = 0;
          while (done < chunk.length) done += (await opened.write(chunk, done)).bytesWritten;
        },
      });
      if (name !== undefined) await file.sync();
      await file.close();
      file = undefined;
      if (name === undefined) {
        await unlink(temporary);
        return result;
      }
      const target = join(root, name);
      await makeFolder(dirname(target));
      await rename(temporary, target);
      await this.#syncFolder(dirname(target));
      return result;
    } catch (error) {
      await file?.close().catch(() => {});
      await unlink(temporary).catch(() => {});
      throw this.#asCacheError(error, root);
    }
  }

  /** Removes files; absent ones are no error. */
  async remove(names: readonly string[]): Promise<void> {
    for (const name of names) {
      try {
        await unlink(join(this.root, name));
      } catch (error) {
        if (!isAbsent(error)) throw this.#asCacheError(error, this.root);
      }
    }
  }

  /** Marks a file as used now, for `list`. Quiet where that cannot be done. */
  async touch(name: string): Promise<void> {
    const now = new Date();
    await utimes(join(this.root, name), now, now).catch(() => {});
  }

  /** Every file but locks and temporary ones. */
  async list(): Promise<CacheFile[]> {
    const files: CacheFile[] = [];
    const walk = async (folder: string): Promise<void> => {
      const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
        if (isAbsent(error)) return [];
        throw this.#asCacheError(error, this.root);
      });
      for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
        const path = join(folder, entry.name);
        if (entry.isDirectory()) {
          if (folder !== this.root || (entry.name !== 'tmp' && entry.name !== 'locks')) await walk(path);
        } else if (entry.isFile() && path !== join(this.root, 'CACHEDIR.TAG')) {
          const found = await stat(path).catch(() => undefined);
          if (found === undefined) continue;
          const name = relative(this.root, path).split(sep).join('/');
          files.push({ name, bytes: found.size, modifiedMs: found.mtimeMs });
        }
      }
    };
    await walk(this.root);
    return files;
  }

  /** Removes what interrupted processes left in tmp. Returns the bytes freed. */
  async removeLeftOvers(olderThanMs = leftOverMs, root = this.root): Promise<number> {
    let freed = 0;
    for (const name of await readdir(join(root, 'tmp')).catch(() => [])) {
      const path = join(root, 'tmp', name);
      const found = await stat(path).catch(() => undefined);
      if (found === undefined || Date.now() - found.mtimeMs < olderThanMs) continue;
      if (
        await unlink(path).then(
          () => true,
          () => false,
        )
      )
        freed += found.size;
    }
    return freed;
  }

  /**
   * Runs `work` while holding the lock `name`; waits while another process holds it. `onWait` is called once when it must.
   */
  async withLock<T>(name: string, work: () => Promise<T>, signal?: AbortSignal, onWait?: () => void): Promise<T> {
    const root = await this.#writable();
    const path = join(root, 'locks', name.replaceAll('/', '_'));
    let waited = false;
    while (!(await this.#tryLock(path, root))) {
      if (!waited) onWait?.();
      waited = true;
      if (signal?.aborted)
        throw new VringError('aborted', 'The wait for the cache was cancelled.', { cause: signal.reason });
      await sleep(50);
    }
    const heartbeat = setInterval(() => {
      const now = new Date();
      utimes(path, now, now).catch(() => {});
    }, heartbeatMs);
    heartbeat.unref();
    try {
      return await work();
    } finally {
      clearInterval(heartbeat);
      await unlink(path).catch(() => {});
    }
  }

  /** Removes the temporary directory, if there is one. The root stays as it is. */
  async close(): Promise<void> {
    if (this.#temporary !== undefined) await rm(this.#temporary, { recursive: true, force: true });
    this.#temporary = undefined;
    this.#writeRoot = undefined;
  }

  async #tryLock(path: string, root: string): Promise<boolean> {
    try {
      const file = await open(path, 'wx', 0o644);
      await file.writeFile(`${hostname()}\n${process.pid}\n`).finally(() => file.close());
      return true;
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw this.#asCacheError(error, root);
    }
    if (await isStale(path)) await unlink(path).catch(() => {});
    return false;
  }

  #writable(): Promise<string> {
    this.#writeRoot ??= this.#prepareWriting();
    return this.#writeRoot;
  }

  async #prepareWriting(): Promise<string> {
    try {
      await prepareRoot(this.root);
      await this.removeLeftOvers();
      return this.root;
    } catch (error) {
      if (!isUnwritable(error)) throw this.#asCacheError(error, this.root);
      const why = ['EACCES', 'EPERM'].includes(codeOf(error)) ? 'it is not writable' : describe(error);
      try {
        this.#temporary = await mkdtemp(join(tmpdir(), 'vring-cache-'));
        await prepareRoot(this.#temporary);
      } catch (second) {
        throw new VringError(
          'cache-unwritable',
          `Neither the cache directory ${this.root} (${why}) nor a temporary one (${describe(second)}) can be written.`,
          { cause: second },
        );
      }
      this.#onNotice(
        `The cache directory ${this.root} cannot be used (${why}): what is fetched is kept for this run only.`,
      );
      return this.#temporary;
    }
  }

  async #requireFreeSpace(root: string, expectedBytes: number): Promise<void> {
    const space = await statfs(root).catch(() => undefined);
    // Some file systems report no size at all.
    if (space === undefined || space.blocks === 0) return;
    const free = Number(space.bavail) * Number(space.bsize);
    if (free >= expectedBytes + reserveBytes) return;
    const need = megabytes(expectedBytes + reserveBytes);
    throw new VringError(
      'cache-full',
      `The disk of the cache ${root} has ${megabytes(free)} free, but ${need} are needed.`,
    );
  }

  async #syncFolder(folder: string): Promise<void> {
    // Not every system lets a directory be opened or flushed; the rename itself has been done.
    const opened = await open(folder, 'r').catch(() => undefined);
    await opened?.sync().catch(() => {});
    await opened?.close().catch(() => {});
  }

  #asCacheError(error: unknown, root: string): unknown {
    if (error instanceof VringError) return error;
    const code = codeOf(error);
    if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG') {
      return new VringError('cache-full', `The disk of the cache ${root} is full.`, { cause: error });
    }
    if (code !== '' && (error as NodeJS.ErrnoException).syscall !== undefined) {
      return new VringError('cache-unwritable', `The cache directory ${root} cannot be used: ${describe(error)}.`, {
        cause: error,
      });
    }
    return error;
  }
}

function describe(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'EROFS') return 'it is on a read-only file system';
  if (code === 'ENOTDIR' || code === 'EEXIST') return 'something on its path is not a directory';
  return message.replace(/^[A-Z0-9]+: /, '');
}

async function prepareRoot(root: string): Promise<void> {
  await makeFolder(join(root, 'tmp'));
  await makeFolder(join(root, 'locks'));
  const tag = join(root, 'CACHEDIR.TAG');
  const probe = join(root, 'tmp', `${process.pid}-${randomBytes(6).toString('hex')}`);
  // Also shows that the directory can be written; the text is that of the Cache Directory Tagging Specification.
  const file = await open(probe, 'wx', 0o644);
  await file.writeFile('Signature: 8a477f597d28d172789f06886806bc55\n# Made by vring; may be removed at any time.\n');
  await file.close();
  await rename(probe, tag);
}

async function isStale(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return false;
  const age = Date.now() - found.mtimeMs;
  if (age > staleMs) return true;
  const [host, pid] = (await readFile(path, 'utf8').catch(() => '')).split('\n');
  // A holder that has just made the file may not have written its name yet.
  if (host !== hostname() || !/^\d+$/.test(pid ?? '')) return false;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return codeOf(error) === 'ESRCH';
  }
}
