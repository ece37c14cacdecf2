/**
 * A server of 9P2000.L (Linux's Documentation/filesystems/9p.rst; the messages of diod's protocol.md) for a folder of the host. Requests
 * are answered one after the other, at once.
 *
 * Deviations: no extended attributes (EOPNOTSUPP, as of a file system without them), no special files, locks are granted without
 * being kept (one client has the folder), one attach is as good as another (no authentication).
 */
import { FolderError, type HostFolder, linuxErrno, type OpenedFile, type Place } from './host-folder.js';
import { DamagedMessage, MessageReader, MessageWriter } from './message.js';

/** size[4] type[1] tag[2]. */
export const headerBytes = 7;
/** Largest message that a client may ask for. */
const MOST_MESSAGE = 1 << 20;
const LEAST_MESSAGE = 4096;
const MOST_FIDS = 16384;
const MOST_OPEN = 1024;
/** Folders whose names are kept between two requests. */
const MOST_LISTS = 16;
const MOST_NAMES_WALKED = 16;
const MOST_DEPTH = 1024;
/** Of an attach that does not say who. */
const NO_USER = 0xffffffff;
const NO_FID = 0xffffffff;

const request = {
  statfs: 8,
  lopen: 12,
  lcreate: 14,
  symlink: 16,
  mknod: 18,
  rename: 20,
  readlink: 22,
  getattr: 24,
  setattr: 26,
  xattrwalk: 30,
  xattrcreate: 32,
  readdir: 40,
  fsync: 50,
  lock: 52,
  getlock: 54,
  link: 70,
  mkdir: 72,
  renameat: 74,
  unlinkat: 76,
  version: 100,
  attach: 104,
  flush: 108,
  walk: 110,
  read: 116,
  write: 118,
  clunk: 120,
  remove: 122,
} as const;
const errorReply = 7;

const kindMask = 0o170000;
const folderKind = 0o040000;
const linkKind = 0o120000;
/** Bits of a qid's type. */
const qidFolder = 0x80;
const qidLink = 0x02;
/** All that `getattr` may be asked for, but birth, generation and data version. */
const basicAttributes = 0x7ffn;
const unlinkFolder = 0x200;
const lockReleased = 2;

/** Bits of what `setattr` sets. */
/** As makedev(3) has it. */
const deviceNumber = (major: number, minor: number): bigint =>
  BigInt((minor & 0xff) | ((major & 0xfff) << 8)) | (BigInt(minor >>> 8) << 20n) | (BigInt(major >>> 12) << 44n);

const sets = { mode: 1, uid: 2, gid: 4, size: 8, atime: 16, mtime: 32, atimeGiven: 128, mtimeGiven: 256 } as const;

interface Fid {
  /** Who has it, where the client has said so. */
  readonly uid: number | undefined;
  place: Place;
  file: OpenedFile | undefined;
  /** It has been opened, as what: the flags of a file, or that it is a folder. */
  opened: number | 'folder' | undefined;
}

export interface SavedFid {
  readonly fid: number;
  readonly place: Place;
  readonly opened: number | 'folder' | undefined;
  readonly uid?: number | undefined;
}

export class NinePServer {
  readonly #folder: HostFolder;
  readonly #fids = new Map<number, Fid>();
  /** Names of folders that are being listed, the last one asked for at the end. */
  readonly #lists = new Map<number, readonly string[]>();
  #messageBytes = LEAST_MESSAGE;
  #open = 0;

  constructor(folder: HostFolder) {
    this.#folder = folder;
  }

  /** The largest message either side may send. */
  get messageBytes(): number {
    return this.#messageBytes;
  }

  reset(): void {
    for (const fid of this.#fids.keys()) this.#drop(fid);
    this.#messageBytes = LEAST_MESSAGE;
  }

  get saved(): readonly SavedFid[] {
    return [...this.#fids].map(([fid, { place, opened, uid }]) => ({ fid, place, opened, uid }));
  }

  /** A client goes on with what it had; a file that is no longer there gives errors. */
  restore(messageBytes: number, fids: readonly SavedFid[]): void {
    this.reset();
    this.#messageBytes = Math.max(LEAST_MESSAGE, Math.min(MOST_MESSAGE, messageBytes));
    for (const { fid, place, opened, uid } of fids) {
      if (this.#fids.size >= MOST_FIDS || place.length > MOST_DEPTH || !place.every(isName)) continue;
      const made: Fid = { place, file: undefined, opened, uid };
      this.#fids.set(fid, made);
      // Not truncated once more.
      if (typeof opened === 'number') this.#tryOpen(made, opened & ~0o1000);
    }
  }

  #tryOpen(fid: Fid, flags: number): void {
    try {
      if (this.#open >= MOST_OPEN) return;
      fid.file = this.#folder.open(fid.place, flags);
      this.#open++;
    } catch (error) {
      if (!(error instanceof FolderError)) throw error;
    }
  }

  /** The answer to one message, whose header is whole. `room`: bytes that the client has for it. */
  answer(message: Uint8Array, room: number): Uint8Array {
    const reader = new MessageReader(message, 0);
    reader.u32();
    const type = reader.u8();
    const tag = reader.u16();
    const out = new MessageWriter();
    out.u32(0);
    out.u8(type + 1).u16(tag);
    let reply = out;
    try {
      this.#carryOut(type, reader, out, Math.min(room, this.#messageBytes));
    } catch (error) {
      const errno =
        error instanceof FolderError ? error.errno : error instanceof DamagedMessage ? linuxErrno.proto : undefined;
      if (errno === undefined) throw error;
      reply = new MessageWriter();
      reply.u32(0).u8(errorReply).u16(tag).u32(errno);
    }
    reply.patch(0, reply.length);
    return reply.written;
  }

  #fid(number: number): Fid {
    const fid = this.#fids.get(number);
    if (!fid) throw new FolderError(linuxErrno.badFile);
    return fid;
  }

  #add(number: number, place: Place, uid: number | undefined): void {
    if (number === NO_FID || this.#fids.has(number)) throw new FolderError(linuxErrno.invalid);
    if (this.#fids.size >= MOST_FIDS) throw new FolderError(linuxErrno.tooManyFiles);
    this.#fids.set(number, { place, file: undefined, opened: undefined, uid });
  }

  #drop(number: number): void {
    const fid = this.#fids.get(number);
    this.#fids.delete(number);
    this.#lists.delete(number);
    if (!fid?.file) return;
    this.#open--;
    fid.file.close();
  }

  #writable(): void {
    if (this.#folder.isReadOnly) throw new FolderError(30);
  }

  #child(fid: number, name: string): Place {
    const { place } = this.#fid(fid);
    if (!isName(name)) throw new FolderError(name === '.' || name === '..' ? linuxErrno.exists : linuxErrno.noEntry);
    if (name.length > 255 || place.length >= MOST_DEPTH) throw new FolderError(linuxErrno.nameTooLong);
    return [...place, name];
  }

  #writeQid(out: MessageWriter, place: Place): void {
    const { mode, ino, dev, mtimeNs } = this.#folder.stat(place);
    const kind = mode & kindMask;
    out.u8(kind === folderKind ? qidFolder : kind === linkKind ? qidLink : 0);
    out.u32(Number(BigInt.asUintN(32, mtimeNs)));
    // Numbers are those of one file system; where the folder has others mounted in it, theirs are kept apart.
    out.u64(ino ^ (dev << 48n));
  }

  #carryOut(type: number, reader: MessageReader, out: MessageWriter, room: number): void {
    const folder = this.#folder;
    switch (type) {
      case request.version: {
        const wanted = reader.u32();
        const version = reader.text();
        this.reset();
        this.#messageBytes = Math.max(LEAST_MESSAGE, Math.min(MOST_MESSAGE, wanted));
        out.u32(this.#messageBytes).text(version === '9P2000.L' ? version : 'unknown');
        return;
      }
      case request.attach: {
        const number = reader.u32();
        // Who is asked to prove it, by what name, and in which folder: all the same here.
        reader.u32();
        reader.text();
        reader.text();
        const uid = reader.u32();
        this.#add(number, [], uid === NO_USER ? undefined : uid);
        this.#writeQid(out, []);
        return;
      }
      case request.flush:
        // What it would flush has been answered.
        return;
      case request.walk:
        this.#walk(reader, out);
        return;
      case request.clunk: {
        const fid = reader.u32();
        this.#fid(fid);
        this.#drop(fid);
        return;
      }
      case request.remove: {
        const number = reader.u32();
        const { place } = this.#fid(number);
        this.#drop(number);
        this.#writable();
        folder.remove(place, (folder.stat(place).mode & kindMask) === folderKind);
        return;
      }
      case request.getattr:
        this.#getattr(reader, out);
        return;
      case request.setattr:
        this.#setattr(reader);
        return;
      case request.statfs: {
        const found = folder.folderStat(this.#fid(reader.u32()).place);
        out.u32(found.type).u32(found.blockSize).u64(found.blocks).u64(found.freeBlocks).u64(found.availableBlocks);
        out.u64(found.files).u64(found.freeFiles).u64(0n).u32(255);
        return;
      }
      case request.lopen: {
        const fid = this.#fid(reader.u32());
        this.#openFid(fid, reader.u32());
        this.#writeQid(out, fid.place);
        out.u32(0);
        return;
      }
      case request.lcreate: {
        const number = reader.u32();
        const name = reader.text();
        const [flags, mode, gid] = [reader.u32(), reader.u32(), reader.u32()];
        const fid = this.#fid(number);
        const place = this.#child(number, name);
        this.#writable();
        if (fid.opened !== undefined) throw new FolderError(linuxErrno.invalid);
        if (this.#open >= MOST_OPEN) throw new FolderError(linuxErrno.tooManyFiles);
        fid.file = folder.create(fid.place, { name, mode, uid: fid.uid, gid }, flags);
        this.#open++;
        fid.place = place;
        fid.opened = flags;
        this.#writeQid(out, place);
        out.u32(0);
        return;
      }
      case request.read:
        this.#read(reader, out, room);
        return;
      case request.write: {
        const { file } = this.#fid(reader.u32());
        const offset = reader.u64();
        const bytes = reader.bytes(reader.u32());
        if (!file) throw new FolderError(linuxErrno.badFile);
        out.u32(file.write(offset, bytes));
        return;
      }
      case request.fsync: {
        const { file } = this.#fid(reader.u32());
        // Older clients do not say it.
        file?.sync(false);
        return;
      }
      case request.readdir:
        this.#readdir(reader, out, room);
        return;
      case request.mkdir: {
        const number = reader.u32();
        const name = reader.text();
        const place = this.#child(number, name);
        this.#writable();
        const { place: at, uid } = this.#fid(number);
        folder.makeFolder(at, { name, mode: reader.u32(), uid, gid: reader.u32() });
        this.#writeQid(out, place);
        return;
      }
      case request.symlink: {
        const number = reader.u32();
        const [name, target] = [reader.text(), reader.text()];
        const place = this.#child(number, name);
        this.#writable();
        const { place: at, uid } = this.#fid(number);
        folder.makeLink(at, { name, mode: 0o777, uid, gid: reader.u32() }, target);
        this.#writeQid(out, place);
        return;
      }
      case request.mknod: {
        const number = reader.u32();
        const name = reader.text();
        const [mode, major, minor, gid] = [reader.u32(), reader.u32(), reader.u32(), reader.u32()];
        const place = this.#child(number, name);
        this.#writable();
        const { place: at, uid } = this.#fid(number);
        folder.makeNode(at, { name, mode, uid, gid }, deviceNumber(major, minor));
        this.#writeQid(out, place);
        return;
      }
      case request.link: {
        const number = reader.u32();
        const { place: of } = this.#fid(reader.u32());
        const name = reader.text();
        this.#child(number, name);
        this.#writable();
        folder.link(this.#fid(number).place, name, of);
        return;
      }
      case request.readlink:
        out.text(folder.readLink(this.#fid(reader.u32()).place));
        return;
      case request.rename: {
        const { place: from } = this.#fid(reader.u32());
        const to = this.#child(reader.u32(), reader.text());
        this.#rename(from, to);
        return;
      }
      case request.renameat: {
        const from = this.#child(reader.u32(), reader.text());
        this.#rename(from, this.#child(reader.u32(), reader.text()));
        return;
      }
      case request.unlinkat: {
        const place = this.#child(reader.u32(), reader.text());
        this.#writable();
        folder.remove(place, (reader.u32() & unlinkFolder) !== 0);
        return;
      }
      case request.lock:
        this.#fid(reader.u32());
        out.u8(0);
        return;
      case request.getlock: {
        this.#fid(reader.u32());
        reader.u8();
        const [start, length, process] = [reader.u64(), reader.u64(), reader.u32()];
        out.u8(lockReleased).u64(start).u64(length).u32(process).text(reader.text());
        return;
      }
      default:
        throw new FolderError(linuxErrno.notSupported);
    }
  }

  #walk(reader: MessageReader, out: MessageWriter): void {
    const { place: start, opened, uid } = this.#fid(reader.u32());
    const number = reader.u32();
    const count = reader.u16();
    if (count > MOST_NAMES_WALKED) throw new FolderError(linuxErrno.invalid);
    const names = Array.from({ length: count }, () => reader.text());
    if (opened !== undefined && count > 0) throw new FolderError(linuxErrno.invalid);
    const countAt = out.length;
    out.u16(0);
    let place = start;
    let walked = 0;
    for (const name of names) {
      if (name === '..') place = place.slice(0, -1);
      else if (name !== '.') {
        if (!isName(name) || place.length >= MOST_DEPTH) {
          if (walked === 0) throw new FolderError(linuxErrno.noEntry);
          break;
        }
        place = [...place, name];
      }
      try {
        this.#writeQid(out, place);
      } catch (error) {
        // The first tells why; later ones are told by their absence.
        if (walked === 0 || !(error instanceof FolderError)) throw error;
        break;
      }
      walked++;
    }
    new DataView(out.written.buffer, out.written.byteOffset).setUint16(countAt, walked, true);
    if (walked < count) return;
    const fid = this.#fids.get(number);
    // A fid may walk itself.
    if (fid && fid.place === start && fid.opened === undefined) fid.place = place;
    else this.#add(number, place, uid);
  }

  #openFid(fid: Fid, flags: number): void {
    const folder = this.#folder;
    if (fid.opened !== undefined) throw new FolderError(linuxErrno.invalid);
    if ((folder.stat(fid.place).mode & kindMask) === folderKind) {
      folder.list(fid.place);
      fid.opened = 'folder';
      return;
    }
    if ((flags & 3) !== 0 || (flags & 0o1000) !== 0) this.#writable();
    if (this.#open >= MOST_OPEN) throw new FolderError(linuxErrno.tooManyFiles);
    fid.file = folder.open(fid.place, flags);
    this.#open++;
    fid.opened = flags;
  }

  #read(reader: MessageReader, out: MessageWriter, room: number): void {
    const { file } = this.#fid(reader.u32());
    const offset = reader.u64();
    const count = Math.min(reader.u32(), room - headerBytes - 4);
    if (!file || count < 0) throw new FolderError(linuxErrno.badFile);
    const countAt = out.length;
    out.u32(0);
    const read = file.read(offset, out.room(count));
    out.shorten(count - read);
    out.patch(countAt, read);
  }

  #getattr(reader: MessageReader, out: MessageWriter): void {
    const { place } = this.#fid(reader.u32());
    const stat = this.#folder.stat(place);
    out.u64(basicAttributes);
    this.#writeQid(out, place);
    out.u32(stat.mode).u32(stat.uid).u32(stat.gid).u64(stat.links).u64(stat.rdev);
    out.u64(stat.size).u64(stat.blockSize).u64(stat.blocks);
    for (const time of [stat.atimeNs, stat.mtimeNs, stat.ctimeNs, 0n])
      out.u64(time / 1_000_000_000n).u64(time % 1_000_000_000n);
    // Generation and data version.
    out.u64(0n).u64(0n);
  }

  #setattr(reader: MessageReader): void {
    const { place } = this.#fid(reader.u32());
    const valid = reader.u32();
    const [mode, uid, gid, size] = [reader.u32(), reader.u32(), reader.u32(), reader.u64()];
    const time = () => reader.u64() * 1_000_000_000n + reader.u64();
    const [atime, mtime] = [time(), time()];
    this.#writable();
    this.#folder.change(place, {
      ...(valid & sets.mode ? { mode: mode & 0o7777 } : {}),
      ...(valid & sets.uid ? { uid } : {}),
      ...(valid & sets.gid ? { gid } : {}),
      ...(valid & sets.size ? { size } : {}),
      ...(valid & sets.atime ? { atimeNs: valid & sets.atimeGiven ? atime : 'now' } : {}),
      ...(valid & sets.mtime ? { mtimeNs: valid & sets.mtimeGiven ? mtime : 'now' } : {}),
    });
  }

  /** The names of an opened folder, as they were when it was read from its beginning. */
  #list(number: number, fresh: boolean): readonly string[] {
    const known = fresh ? undefined : this.#lists.get(number);
    this.#lists.delete(number);
    const names = known ?? ['.', '..', ...this.#folder.list(this.#fid(number).place)];
    this.#lists.set(number, names);
    for (const oldest of this.#lists.keys()) {
      if (this.#lists.size <= MOST_LISTS) break;
      this.#lists.delete(oldest);
    }
    return names;
  }

  #readdir(reader: MessageReader, out: MessageWriter, room: number): void {
    const number = reader.u32();
    const offset = reader.u64();
    const end = Math.min(reader.u32() + headerBytes + 4, room);
    const { place, opened } = this.#fid(number);
    if (opened !== 'folder') throw new FolderError(linuxErrno.badFile);
    const names = this.#list(number, offset === 0n);
    const countAt = out.length;
    out.u32(0);
    for (let i = Number(BigInt.asUintN(32, offset)); i < names.length; i++) {
      const name = names[i]!;
      // qid, cookie, kind, name.
      if (out.length + 13 + 8 + 1 + 2 + name.length > end) break;
      const at = name === '.' ? place : name === '..' ? place.slice(0, -1) : [...place, name];
      try {
        this.#writeQid(out, at);
      } catch (error) {
        if (!(error instanceof FolderError)) throw error;
        // It has gone since.
        continue;
      }
      const kind = (this.#folder.stat(at).mode & kindMask) >> 12;
      out
        .u64(BigInt(i + 1))
        .u8(kind)
        .text(name);
    }
    out.patch(countAt, out.length - countAt - 4);
  }

  /** Fids below what is renamed stand for what they stood for. */
  #rename(from: Place, to: Place): void {
    this.#writable();
    if (from.length === 0) throw new FolderError(linuxErrno.invalid);
    this.#folder.rename(from, to);
    for (const fid of this.#fids.values()) {
      if (fid.place.length >= from.length && from.every((name, i) => fid.place[i] === name))
        fid.place = [...to, ...fid.place.slice(from.length)];
    }
  }
}

/** A name in a folder, and nothing that leads elsewhere. */
export function isName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !/[/\0]/.test(name);
}
