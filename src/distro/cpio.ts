/**
 * Writes initramfs archives: the `newc` cpio format, Documentation/driver-api/early-userspace/buffer-format.rst of Linux.
 * The kernel unpacks several archives one behind the other, later files over earlier ones, so that a large part can be kept
 * and a small one made for each run.
 */
import { assert } from '../base/errors.js';

export interface CpioEntry {
  /** Without a leading `/`. Directories stand before what they hold. */
  readonly path: string;
  /** Type and permission bits, as in stat(2). */
  readonly mode: number;
  /** A file's content or a link's target. */
  readonly content?: Uint8Array | undefined;
  /** Device number of a node. */
  readonly device?: { readonly major: number; readonly minor: number } | undefined;
}

export const FileType = {
  directory: 0o040000,
  characterDevice: 0o020000,
  regular: 0o100000,
  symlink: 0o120000,
} as const;

export function directory(path: string, permissions = 0o755): CpioEntry {
  return { path, mode: FileType.directory | permissions };
}

export function file(path: string, content: Uint8Array | string, permissions = 0o644): CpioEntry {
  const bytes = typeof content === 'string' ? Buffer.from(content, 'utf8') : content;
  return { path, mode: FileType.regular | permissions, content: bytes };
}

export function symlink(path: string, target: string): CpioEntry {
  return { path, mode: FileType.symlink | 0o777, content: Buffer.from(target, 'utf8') };
}

export function characterDevice(path: string, major: number, minor: number, permissions = 0o600): CpioEntry {
  return { path, mode: FileType.characterDevice | permissions, device: { major, minor } };
}

const headerBytes = 110;
const pad4 = (length: number): number => (length + 3) & ~3;

function entryBytes(nameBytes: number, contentBytes: number): number {
  return pad4(headerBytes + nameBytes + 1) + pad4(contentBytes);
}

/** The archive, with its trailer, padded to 512 bytes. Owner root, time 0: the same entries give the same bytes. */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array<ArrayBuffer> {
  const names = entries.map(({ path }) => Buffer.from(path, 'utf8'));
  const trailer = Buffer.from('TRAILER!!!');
  let total = entryBytes(trailer.length, 0);
  entries.forEach((entry, index) => {
    total += entryBytes(names[index]!.length, entry.content?.length ?? 0);
  });
  const archive = new Uint8Array((total + 511) & ~511);
  const view = Buffer.from(archive.buffer);
  let at = 0;
  const put = (name: Buffer, inode: number, mode: number, entry: CpioEntry | undefined): void => {
    const content = entry?.content ?? new Uint8Array(0);
    assert(name.length < 4096 && content.length < 2 ** 32, 'a cpio entry fits its fields');
    const fields = [
      inode,
      mode,
      0,
      0,
      1,
      0,
      content.length,
      0,
      0,
      entry?.device?.major ?? 0,
      entry?.device?.minor ?? 0,
      name.length + 1,
      0,
    ];
    view.write(
      `070701${fields.map((field) => field.toString(16).toUpperCase().padStart(8, '0')).join('')}`,
      at,
      'latin1',
    );
    archive.set(name, at + headerBytes);
    at += pad4(headerBytes + name.length + 1);
    archive.set(content, at);
    at += pad4(content.length);
  };
  for (const [index, entry] of entries.entries()) put(names[index]!, index + 1, entry.mode, entry);
  put(trailer, 0, 0, undefined);
  return archive;
}
