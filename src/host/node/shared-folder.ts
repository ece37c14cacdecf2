/**
 * A folder of the host that guests see by 9P, on Linux: each name is opened below the one before it without following links (O_PATH and
 * O_NOFOLLOW, by /proc/self/fd), so that no name and no link, however it is exchanged meanwhile, leads out of the folder.
 */
import * as fs from 'node:fs';
import { constants } from 'node:os';
import { VringError } from '../../base/index.js';
import {
  type FileChanges,
  type FileStat,
  FolderError,
  type FolderStat,
  type HostFolder,
  linuxErrno,
  type NewFile,
  type OpenedFile,
  type Place,
} from '../../hw/ninep/host-folder.js';
import { openFailure } from './open-failure.js';

const O_PATH = 0o10000000;
const { O_NOFOLLOW, O_DIRECTORY, O_NONBLOCK, O_CREAT, O_EXCL } = fs.constants;
/** Access, O_APPEND, O_TRUNC, O_DSYNC and O_SYNC: the others mean nothing here, or lead elsewhere. */
const openMask = 0o3 | 0o2000 | 0o1000 | 0o10000 | 0o4010000;
const mostBytes = 1 << 30;

/**
 * Who the files belong to. `passthrough`: to whom the guest says, which needs the right to do so. `none`: as that, but where it is not
 * allowed they are the process's own.
 */
export type SecurityModel = 'passthrough' | 'none';

/** What a failed call of the system's is for a guest. */
function call<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    const { errno, code } = error as NodeJS.ErrnoException;
    if (errno !== undefined) throw new FolderError(Math.abs(errno));
    const known = code === undefined ? undefined : constants.errno[code as keyof typeof constants.errno];
    throw new FolderError(known ?? linuxErrno.io);
  }
}

class File implements OpenedFile {
  readonly #fd: number;
  constructor(fd: number) {
    this.#fd = fd;
  }
  read(offset: bigint, target: Uint8Array): number {
    if (offset >= 2n ** 63n) throw new FolderError(linuxErrno.invalid);
    return call(() => fs.readSync(this.#fd, target, { position: offset }));
  }
  write(offset: bigint, source: Uint8Array): number {
    if (offset >= 2n ** 53n) throw new FolderError(linuxErrno.invalid);
    return call(() => fs.writeSync(this.#fd, source, 0, Math.min(source.length, mostBytes), Number(offset)));
  }
  sync(dataOnly: boolean): void {
    call(() => (dataOnly ? fs.fdatasyncSync(this.#fd) : fs.fsyncSync(this.#fd)));
  }
  close(): void {
    call(() => fs.closeSync(this.#fd));
  }
}

/** Throws VringError `shared-folder`. */
export function openSharedFolder(path: string, model: SecurityModel, isReadOnly: boolean): HostFolder {
  if (process.platform !== 'linux')
    throw new VringError('shared-folder', `'${path}' cannot be shared: on Linux alone folders are shared with guests.`);
  let root: number;
  try {
    // Its own name may be a link: that is its owner's will.
    root = fs.openSync(path, O_PATH | O_DIRECTORY);
  } catch (error) {
    throw new VringError('shared-folder', `'${path}' cannot be shared: ${openFailure(error)}`);
  }
  return new SharedFolder(root, model, isReadOnly);
}

class SharedFolder implements HostFolder {
  readonly isReadOnly: boolean;
  readonly #root: number;
  readonly #model: SecurityModel;

  constructor(root: number, model: SecurityModel, isReadOnly: boolean) {
    this.#root = root;
    this.#model = model;
    this.isReadOnly = isReadOnly;
  }

  close(): void {
    fs.closeSync(this.#root);
  }

  /** Does something with a place held by its descriptor, whatever is there. */
  #at<T>(place: Place, work: (fd: number) => T): T {
    let at = this.#root;
    try {
      for (const [i, name] of place.entries()) {
        const isLast = i === place.length - 1;
        const next = call(() => fs.openSync(below(at, name), O_PATH | O_NOFOLLOW | (isLast ? 0 : O_DIRECTORY)));
        if (at !== this.#root) fs.closeSync(at);
        at = next;
      }
      return call(() => work(at));
    } finally {
      if (at !== this.#root) fs.closeSync(at);
    }
  }

  /** Does something with a name in a folder. */
  #in<T>(place: Place, work: (path: Buffer) => T): T {
    const name = place.at(-1);
    if (name === undefined) throw new FolderError(linuxErrno.invalid);
    return this.#at(place.slice(0, -1), (fd) => work(below(fd, name)));
  }

  stat(place: Place): FileStat {
    const s = this.#at(place, (fd) => fs.fstatSync(fd, { bigint: true }));
    return {
      ...{ dev: s.dev, ino: s.ino, mode: Number(s.mode), links: s.nlink, uid: Number(s.uid), gid: Number(s.gid) },
      ...{ rdev: s.rdev, size: s.size, blockSize: s.blksize, blocks: s.blocks },
      ...{ atimeNs: s.atimeNs, mtimeNs: s.mtimeNs, ctimeNs: s.ctimeNs },
    };
  }

  folderStat(place: Place): FolderStat {
    const s = this.#at(place, (fd) => fs.statfsSync(itself(fd), { bigint: true }));
    return {
      ...{ type: Number(s.type), blockSize: Number(s.bsize), blocks: s.blocks, freeBlocks: s.bfree },
      ...{ availableBlocks: s.bavail, files: s.files, freeFiles: s.ffree },
    };
  }

  open(place: Place, flags: number): OpenedFile {
    return this.#at(place, (fd) => {
      // A pipe or a device would be the host's.
      if (!fs.fstatSync(fd).isFile()) throw new FolderError(linuxErrno.access);
      return new File(fs.openSync(itself(fd), (flags & openMask) | O_NONBLOCK));
    });
  }

  create(place: Place, { name, mode, gid }: NewFile, flags: number): OpenedFile {
    const made = [...place, name];
    const isNew = O_CREAT | O_EXCL;
    const exists = () => {
      try {
        this.stat(made);
        return true;
      } catch {
        return false;
      }
    };
    if ((flags & O_EXCL) === 0 && exists()) return this.open(made, flags);
    const fd = this.#at(place, (folder) =>
      fs.openSync(below(folder, name), (flags & openMask) | isNew | O_NOFOLLOW | O_NONBLOCK, mode & 0o7777),
    );
    this.#settle(made, mode, gid);
    return new File(fd);
  }

  /** What was made has the mode that was asked for, whatever the process's mask, and its group. */
  #settle(place: Place, mode: number | undefined, gid: number): void {
    if (mode !== undefined) this.#at(place, (fd) => fs.chmodSync(itself(fd), mode & 0o7777));
    this.#own(place, undefined, gid);
  }

  #own(place: Place, uid: number | undefined, gid: number | undefined): void {
    const keep = 0xffffffff;
    try {
      this.#in(place, (path) => fs.lchownSync(path, uid ?? keep, gid ?? keep));
    } catch (error) {
      if (this.#model !== 'none') throw error;
    }
  }

  list(place: Place): readonly string[] {
    return this.#at(place, (fd) => fs.readdirSync(itself(fd), { encoding: 'latin1' }));
  }

  makeFolder(place: Place, { name, mode, gid }: NewFile): void {
    this.#at(place, (fd) => fs.mkdirSync(below(fd, name), mode & 0o7777));
    this.#settle([...place, name], mode, gid);
  }

  makeLink(place: Place, { name, gid }: NewFile, target: string): void {
    if (target.includes('\0')) throw new FolderError(linuxErrno.invalid);
    this.#at(place, (fd) => fs.symlinkSync(Buffer.from(target, 'latin1'), below(fd, name)));
    this.#settle([...place, name], undefined, gid);
  }

  link(place: Place, name: string, of: Place): void {
    this.#in(of, (from) => this.#at(place, (fd) => fs.linkSync(from, below(fd, name))));
  }

  readLink(place: Place): string {
    return this.#in(place, (path) => fs.readlinkSync(path, { encoding: 'latin1' }));
  }

  change(place: Place, { mode, uid, gid, size, atimeNs, mtimeNs }: FileChanges): void {
    if (uid !== undefined || gid !== undefined) this.#own(place, uid, gid);
    if (mode !== undefined)
      this.#at(place, (fd) => {
        if (fs.fstatSync(fd).isSymbolicLink()) throw new FolderError(linuxErrno.notSupported);
        fs.chmodSync(itself(fd), mode);
      });
    if (size !== undefined) {
      if (size >= 2n ** 53n) throw new FolderError(linuxErrno.invalid);
      this.#at(place, (fd) => {
        if (!fs.fstatSync(fd).isFile()) throw new FolderError(linuxErrno.invalid);
        fs.truncateSync(itself(fd), Number(size));
      });
    }
    if (atimeNs === undefined && mtimeNs === undefined) return;
    const before = this.stat(place);
    const seconds = (time: bigint | 'now' | undefined, old: bigint) =>
      time === 'now' ? Date.now() / 1000 : Number(time ?? old) / 1e9;
    this.#in(place, (path) => fs.lutimesSync(path, seconds(atimeNs, before.atimeNs), seconds(mtimeNs, before.mtimeNs)));
  }

  rename(from: Place, to: Place): void {
    this.#in(from, (old) => this.#in(to, (path) => fs.renameSync(old, path)));
  }

  remove(place: Place, isFolder: boolean): void {
    this.#in(place, (path) => (isFolder ? fs.rmdirSync(path) : fs.unlinkSync(path)));
  }
}

const below = (fd: number, name: string): Buffer => Buffer.from(`/proc/self/fd/${fd}/${name}`, 'latin1');
/** What a descriptor of O_PATH stands for, to be opened or changed: a link it is, and stays. */
const itself = (fd: number): string => `/proc/self/fd/${fd}`;
