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
import { type MappedOwner, MappedOwners } from './mapped-owners.js';
import { openFailure } from './open-failure.js';
import { OwnerFiles } from './owner-files.js';

const O_PATH = 0o10000000;
const { O_NOFOLLOW, O_DIRECTORY, O_NONBLOCK, O_CREAT, O_EXCL } = fs.constants;
/** Access, O_APPEND, O_TRUNC, O_DSYNC and O_SYNC: the others mean nothing here, or lead elsewhere. */
const openMask = 0o3 | 0o2000 | 0o1000 | 0o10000 | 0o4010000;
const mostBytes = 1 << 30;

/**
 * Who the files belong to. `passthrough`: to whom the guest says, which needs the right to do so. `none`: as that, but where it is not
 * allowed they are the process's own. `mapped-xattr`: they are the process's own, and what the guest says of them lies in extended
 * attributes; `mapped-file`: it lies in files beside them. Links and devices that it makes are plain files to the host.
 */
export type SecurityModel = 'passthrough' | 'none' | 'mapped-xattr' | 'mapped-file';

/** A file by its descriptor (O_PATH), with its folder's and its name there; of the shared folder itself they are no matter. */
export interface HeldFile {
  readonly fd: number;
  readonly folder: number | undefined;
  readonly name: string;
}

/** Where what guests say of their files is kept. Its calls throw FolderError. */
export interface OwnerStore {
  /** A name that guests do not see. */
  hides(name: string): boolean;
  read(file: HeldFile): MappedOwner;
  write(file: HeldFile, owner: MappedOwner): void;
  /** A file has another name, another name too, or is gone. Of `to` and of what is gone there is no descriptor. */
  moved(from: HeldFile, to: HeldFile): void;
  linked(from: HeldFile, to: HeldFile): void;
  removed(file: HeldFile): void;
  /** A folder without files is about to go. */
  emptied(folder: number): void;
}

const kind = { mask: 0o170000, file: 0o100000, folder: 0o40000, link: 0o120000 } as const;
/** Of a file and of a folder that hold what is mapped. */
const ownMode = { file: 0o600, folder: 0o700 } as const;
/** As long as Linux lets a link be. */
const mostLinkBytes = 4096;

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
  const stores = { 'mapped-xattr': () => new MappedOwners(), 'mapped-file': () => new OwnerFiles() };
  const mapped = model === 'passthrough' || model === 'none' ? undefined : stores[model]();
  let root: number;
  try {
    // Its own name may be a link: that is its owner's will.
    root = fs.openSync(path, O_PATH | O_DIRECTORY);
  } catch (error) {
    throw new VringError('shared-folder', `'${path}' cannot be shared: ${openFailure(error)}`);
  }
  return new SharedFolder(root, model, isReadOnly, mapped);
}

class SharedFolder implements HostFolder {
  readonly isReadOnly: boolean;
  readonly #root: number;
  readonly #model: SecurityModel;
  readonly #mapped: OwnerStore | undefined;

  constructor(root: number, model: SecurityModel, isReadOnly: boolean, mapped: OwnerStore | undefined) {
    this.#root = root;
    this.#mapped = mapped;
    this.#model = model;
    this.isReadOnly = isReadOnly;
  }

  close(): void {
    fs.closeSync(this.#root);
  }

  /** Does something with a place held by its descriptor, whatever is there. */
  #at<T>(place: Place, work: (fd: number, held: HeldFile) => T): T {
    let at = this.#root;
    let folder: number | undefined;
    const close = (fd: number | undefined) => {
      if (fd !== undefined && fd !== this.#root) fs.closeSync(fd);
    };
    try {
      for (const [i, name] of place.entries()) {
        const isLast = i === place.length - 1;
        const next = call(() => fs.openSync(this.#below(at, name), O_PATH | O_NOFOLLOW | (isLast ? 0 : O_DIRECTORY)));
        close(folder);
        folder = at;
        at = next;
      }
      return call(() => work(at, { fd: at, folder, name: place.at(-1) ?? '' }));
    } finally {
      if (folder !== at) close(folder);
      close(at);
    }
  }

  /** A name in a folder. Throws FolderError for one that guests do not see. */
  #below(fd: number, name: string): Buffer {
    if (this.#mapped?.hides(name)) throw new FolderError(linuxErrno.invalid);
    return below(fd, name);
  }

  /** Does something with a name in a folder. */
  #in<T>(place: Place, work: (path: Buffer, held: HeldFile) => T): T {
    const name = place.at(-1);
    if (name === undefined) throw new FolderError(linuxErrno.invalid);
    return this.#at(place.slice(0, -1), (fd) => work(this.#below(fd, name), { fd: -1, folder: fd, name }));
  }

  stat(place: Place): FileStat {
    const [s, mapped] = this.#at(place, (fd, held) => [
      fs.fstatSync(fd, { bigint: true }),
      this.#mapped?.read(held) ?? {},
    ]);
    return {
      ...{ dev: s.dev, ino: s.ino, mode: Number(s.mode), links: s.nlink, uid: Number(s.uid), gid: Number(s.gid) },
      ...{ rdev: s.rdev, size: s.size, blockSize: s.blksize, blocks: s.blocks },
      ...{ atimeNs: s.atimeNs, mtimeNs: s.mtimeNs, ctimeNs: s.ctimeNs },
      ...mapped,
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
    return this.#at(place, (fd, held) => {
      // A pipe or a device would be the host's.
      if (!fs.fstatSync(fd).isFile() || !this.#isMappedFile(held)) throw new FolderError(linuxErrno.access);
      return new File(fs.openSync(itself(fd), (flags & openMask) | O_NONBLOCK));
    });
  }

  /** It is no link or device to the guest. */
  #isMappedFile(held: HeldFile): boolean {
    const mode = this.#mapped?.read(held).mode;
    return mode === undefined || (mode & kind.mask) === kind.file || (mode & kind.mask) === 0;
  }

  create(place: Place, file: NewFile, flags: number): OpenedFile {
    const { name, mode } = file;
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
      fs.openSync(
        this.#below(folder, name),
        (flags & openMask) | isNew | O_NOFOLLOW | O_NONBLOCK,
        this.#mapped ? ownMode.file : mode & 0o7777,
      ),
    );
    this.#settle(made, file, (mode & 0o7777) | kind.file);
    return new File(fd);
  }

  /** What was made has the mode that was asked for, whatever the process's mask, and its owner and group. */
  #settle(place: Place, { uid, gid }: NewFile, mode: number, rdev?: bigint): void {
    const mapped = this.#mapped;
    if (mapped) {
      const owner = { ...(uid === undefined ? {} : { uid }), gid, mode, ...(rdev === undefined ? {} : { rdev }) };
      try {
        this.#at(place, (_fd, held) => mapped.write(held, owner));
      } catch (error) {
        // Where no attributes are kept nothing is made.
        this.remove(place, (mode & kind.mask) === kind.folder);
        throw error;
      }
      return;
    }
    if ((mode & kind.mask) !== kind.link) this.#at(place, (fd) => fs.chmodSync(itself(fd), mode & 0o7777));
    this.#own(place, uid, gid);
  }

  /** A plain file of the host's that is something else to the guest. */
  #makePlain(place: Place, name: string, content: Uint8Array): void {
    this.#at(place, (folder) => {
      const fd = fs.openSync(
        this.#below(folder, name),
        fs.constants.O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
        ownMode.file,
      );
      try {
        fs.writeSync(fd, content);
      } finally {
        fs.closeSync(fd);
      }
    });
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
    const names = this.#at(place, (fd) => fs.readdirSync(itself(fd), { encoding: 'latin1' }));
    return names.filter((name) => !this.#mapped?.hides(name));
  }

  makeFolder(place: Place, file: NewFile): void {
    const { name, mode } = file;
    this.#at(place, (fd) => fs.mkdirSync(this.#below(fd, name), this.#mapped ? ownMode.folder : mode & 0o7777));
    this.#settle([...place, name], file, (mode & 0o7777) | kind.folder);
  }

  makeLink(place: Place, file: NewFile, target: string): void {
    if (target.includes('\0')) throw new FolderError(linuxErrno.invalid);
    const bytes = Buffer.from(target, 'latin1');
    if (bytes.length > mostLinkBytes) throw new FolderError(linuxErrno.nameTooLong);
    if (this.#mapped) this.#makePlain(place, file.name, bytes);
    else this.#at(place, (fd) => fs.symlinkSync(bytes, this.#below(fd, file.name)));
    this.#settle([...place, file.name], file, 0o777 | kind.link);
  }

  makeNode(place: Place, file: NewFile, rdev: bigint): void {
    // The host's own would be the host's devices.
    if (!this.#mapped) throw new FolderError(linuxErrno.notSupported);
    const which = file.mode & kind.mask;
    if (which === kind.folder || which === kind.link) throw new FolderError(linuxErrno.invalid);
    this.#makePlain(place, file.name, new Uint8Array(0));
    this.#settle([...place, file.name], file, file.mode, rdev);
  }

  link(place: Place, name: string, of: Place): void {
    this.#in(of, (from, held) =>
      this.#in([...place, name], (path, made) => {
        fs.linkSync(from, path);
        this.#mapped?.linked(held, made);
      }),
    );
  }

  readLink(place: Place): string {
    const mapped = this.#mapped;
    if (mapped) {
      const target = this.#at(place, (fd, held) => {
        if (((mapped.read(held).mode ?? 0) & kind.mask) !== kind.link || !fs.fstatSync(fd).isFile()) return undefined;
        const bytes = new Uint8Array(mostLinkBytes);
        const file = fs.openSync(itself(fd), fs.constants.O_RDONLY | O_NONBLOCK);
        try {
          return Buffer.from(bytes.subarray(0, fs.readSync(file, bytes, 0, bytes.length, 0))).toString('latin1');
        } finally {
          fs.closeSync(file);
        }
      });
      if (target !== undefined) return target;
    }
    return this.#in(place, (path) => fs.readlinkSync(path, { encoding: 'latin1' }));
  }

  change(place: Place, { mode, uid, gid, size, atimeNs, mtimeNs }: FileChanges): void {
    const mapped = this.#mapped;
    if (mapped) {
      const isKind = mode === undefined ? 0 : this.stat(place).mode & kind.mask;
      const owner = {
        ...(uid === undefined ? {} : { uid }),
        ...(gid === undefined ? {} : { gid }),
        ...(mode === undefined ? {} : { mode: (mode & 0o7777) | isKind }),
      };
      this.#at(place, (_fd, held) => mapped.write(held, owner));
    } else if (uid !== undefined || gid !== undefined) this.#own(place, uid, gid);
    if (mode !== undefined && !mapped)
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
    this.#in(from, (old, held) =>
      this.#in(to, (path, moved) => {
        fs.renameSync(old, path);
        this.#mapped?.moved(held, moved);
      }),
    );
  }

  remove(place: Place, isFolder: boolean): void {
    if (isFolder && this.#mapped) this.#at(place, (fd) => this.#mapped?.emptied(fd));
    this.#in(place, (path, held) => {
      if (isFolder) fs.rmdirSync(path);
      else fs.unlinkSync(path);
      this.#mapped?.removed(held);
    });
  }
}

const below = (fd: number, name: string): Buffer => Buffer.from(`/proc/self/fd/${fd}/${name}`, 'latin1');
/** What a descriptor of O_PATH stands for, to be opened or changed: a link it is, and stays. */
const itself = (fd: number): string => `/proc/self/fd/${fd}`;
