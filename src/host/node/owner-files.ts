/**
 * Who a file belongs to and what it is, as guests have said, in files beside it: QEMU's security model `mapped-file` (its documentation of
 * 9pfs). A folder's `.virtfs_metadata` has a file for each name, with a line `virtfs.uid=N`, `.gid`, `.mode` or `.rdev` for each attribute;
 * for the shared folder itself it is `.virtfs_metadata_root`. Guests see neither.
 */
import * as fs from 'node:fs';
import { FolderError, linuxErrno } from '../../hw/ninep/host-folder.js';
import type { MappedOwner } from './mapped-owners.js';
import type { HeldFile, OwnerStore } from './shared-folder.js';

const folderName = '.virtfs_metadata';
const rootName = '.virtfs_metadata_root';
const O_PATH = 0o10000000;
const { O_NOFOLLOW, O_DIRECTORY, O_NONBLOCK, O_RDONLY, O_WRONLY, O_CREAT, O_TRUNC } = fs.constants;
const attributes = ['uid', 'gid', 'mode', 'rdev'] as const;
/** More than four lines take. */
const mostBytes = 512;

const below = (fd: number, name: string): Buffer => Buffer.from(`/proc/self/fd/${fd}/${name}`, 'latin1');
const isMissing = (error: unknown) => (error as NodeJS.ErrnoException).code === 'ENOENT';

export class OwnerFiles implements OwnerStore {
  hides(name: string): boolean {
    return name === folderName || name === rootName;
  }

  read(file: HeldFile): MappedOwner {
    const text = this.#beside(file, false, (path) => {
      const fd = fs.openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
      try {
        if (!fs.fstatSync(fd).isFile()) return '';
        const bytes = Buffer.alloc(mostBytes);
        return bytes.toString('latin1', 0, fs.readSync(fd, bytes, 0, mostBytes, 0));
      } finally {
        fs.closeSync(fd);
      }
    });
    const found: { -readonly [K in keyof MappedOwner]: MappedOwner[K] } = {};
    for (const [, name, digits] of (text ?? '').matchAll(/^virtfs\.(uid|gid|mode|rdev)=(\d{1,20})$/gm)) {
      if (name === 'rdev') found.rdev = BigInt.asUintN(64, BigInt(digits!));
      else found[name as 'uid' | 'gid' | 'mode'] = Number(BigInt.asUintN(32, BigInt(digits!)));
    }
    return found;
  }

  write(file: HeldFile, owner: MappedOwner): void {
    const all: MappedOwner = { ...this.read(file), ...owner };
    const lines = attributes.flatMap((name) => (all[name] === undefined ? [] : [`virtfs.${name}=${all[name]}\n`]));
    this.#beside(file, true, (path) => {
      const fd = fs.openSync(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK, 0o600);
      try {
        fs.writeSync(fd, lines.join(''));
      } finally {
        fs.closeSync(fd);
      }
    });
  }

  moved(from: HeldFile, to: HeldFile): void {
    this.#pass(from, to, fs.renameSync);
  }

  linked(from: HeldFile, to: HeldFile): void {
    this.#pass(from, to, fs.linkSync);
  }

  /** What was there under the other name is not the new one's. */
  #pass(from: HeldFile, to: HeldFile, work: (old: Buffer, path: Buffer) => void): void {
    this.removed(to);
    const isKnown = this.#beside(from, false, (path) => fs.lstatSync(path)) !== undefined;
    if (isKnown) this.#beside(from, true, (old) => this.#beside(to, true, (path) => work(old, path)));
  }

  removed(file: HeldFile): void {
    this.#beside(file, false, (path) => fs.unlinkSync(path));
  }

  emptied(fd: number): void {
    try {
      fs.rmdirSync(below(fd, folderName));
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }

  /** Does something with the file beside a file; undefined: it, or its folder, is not there. */
  #beside<T>({ fd, folder, name }: HeldFile, make: boolean, work: (path: Buffer) => T): T | undefined {
    try {
      if (folder === undefined) return work(below(fd, rootName));
      if (make)
        try {
          fs.mkdirSync(below(folder, folderName), 0o700);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
        }
      const held = fs.openSync(below(folder, folderName), O_PATH | O_NOFOLLOW | O_DIRECTORY);
      try {
        return work(below(held, name));
      } finally {
        fs.closeSync(held);
      }
    } catch (error) {
      if (!make && isMissing(error)) return undefined;
      if (error instanceof FolderError) throw error;
      throw new FolderError(Math.abs((error as NodeJS.ErrnoException).errno ?? linuxErrno.io));
    }
  }
}
