/**
 * Who a file belongs to and what it is, as guests have said, beside the file itself: QEMU's security model `mapped-xattr` (its
 * documentation of 9pfs), extended attributes `user.virtfs.uid`, `.gid`, `.mode` (32 bits, little-endian) and `.rdev` (64).
 */
import { constants } from 'node:os';
import { VringError } from '../../base/index.js';
import { FolderError, linuxErrno } from '../../hw/ninep/host-folder.js';
import { loadKoffi } from './koffi.js';
import type { HeldFile, OwnerStore } from './shared-folder.js';

const sizes = { uid: 4, gid: 4, mode: 4, rdev: 8 } as const;
type Attribute = keyof typeof sizes;
const attributes = Object.keys(sizes) as Attribute[];

export type MappedOwner = Partial<Record<'uid' | 'gid' | 'mode', number> & { readonly rdev: bigint }>;

/** What a file system says that keeps none, and what a link says, or a pipe: there they cannot be. */
const without: readonly number[] = [constants.errno.ENODATA, constants.errno.ENOTSUP, constants.errno.EPERM];

export class MappedOwners implements OwnerStore {
  readonly #get: (path: string, name: string, value: Uint8Array, size: number) => number;
  readonly #set: (path: string, name: string, value: Uint8Array, size: number, flags: number) => number;
  readonly #errno: () => number;

  /** Throws VringError `shared-folder` where there is no koffi. */
  constructor() {
    try {
      const koffi = loadKoffi();
      const libc = koffi.load(null);
      this.#get = libc.func('int64_t getxattr(const char *path, const char *name, _Out_ uint8_t *value, size_t size)');
      this.#set = libc.func(
        'int setxattr(const char *path, const char *name, const uint8_t *value, size_t size, int flags)',
      );
      this.#errno = () => koffi.errno();
    } catch (error) {
      const why = 'security_model=mapped-xattr needs the module koffi, which calls the system, and it is not installed';
      throw new VringError('shared-folder', why, { cause: error });
    }
  }

  hides(): boolean {
    return false;
  }

  /** Throws FolderError. */
  read({ fd }: Pick<HeldFile, 'fd'>): MappedOwner {
    const path = `/proc/self/fd/${fd}`;
    const found: { -readonly [K in keyof MappedOwner]: MappedOwner[K] } = {};
    for (const name of attributes) {
      const bytes = new Uint8Array(sizes[name]);
      const length = Number(this.#get(path, `user.virtfs.${name}`, bytes, bytes.length));
      if (length < 0) {
        const errno = this.#errno();
        if (without.includes(errno)) continue;
        throw new FolderError(errno);
      }
      // What has another length is nobody's that knows what it means.
      if (length !== bytes.length) continue;
      const view = new DataView(bytes.buffer);
      if (name === 'rdev') found.rdev = view.getBigUint64(0, true);
      else found[name] = view.getUint32(0, true);
    }
    return found;
  }

  /** Throws FolderError. */
  write({ fd }: Pick<HeldFile, 'fd'>, owner: MappedOwner): void {
    const path = `/proc/self/fd/${fd}`;
    for (const name of attributes) {
      const value = owner[name];
      if (value === undefined) continue;
      const bytes = new Uint8Array(sizes[name]);
      const view = new DataView(bytes.buffer);
      if (typeof value === 'bigint') view.setBigUint64(0, value, true);
      else view.setUint32(0, value, true);
      if (this.#set(path, `user.virtfs.${name}`, bytes, bytes.length, 0) !== 0)
        throw new FolderError(this.#errno() || linuxErrno.io);
    }
  }

  // Attributes go with their file.
  moved(): void {}
  linked(): void {}
  removed(): void {}
  emptied(): void {}
}
