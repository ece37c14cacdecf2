/**
 * A folder of the host that guests see by 9P. Places are lists of names below it; no name is `.`, `..`, empty, or has a slash or a zero byte
 * in it. Whoever implements it follows no symbolic link and leaves the folder by none. Names are bytes, one character each.
 * Every failure is a FolderError with Linux's number.
 */
export type Place = readonly string[];

export class FolderError extends Error {
  readonly errno: number;
  constructor(errno: number) {
    super(`errno ${errno}`);
    this.errno = errno;
  }
}

/** Linux's numbers of errors, which 9P2000.L has. */
export const linuxErrno = {
  perm: 1,
  noEntry: 2,
  io: 5,
  badFile: 9,
  again: 11,
  access: 13,
  exists: 17,
  invalid: 22,
  tooManyFiles: 24,
  nameTooLong: 36,
  proto: 71,
  notSupported: 95,
} as const;

export interface FileStat {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly mode: number;
  readonly links: bigint;
  readonly uid: number;
  readonly gid: number;
  readonly rdev: bigint;
  readonly size: bigint;
  readonly blockSize: bigint;
  readonly blocks: bigint;
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

export interface FolderStat {
  readonly type: number;
  readonly blockSize: number;
  readonly blocks: bigint;
  readonly freeBlocks: bigint;
  readonly availableBlocks: bigint;
  readonly files: bigint;
  readonly freeFiles: bigint;
}

/** Changes of a file; what is absent stays. `now`: the time of the call. */
export interface FileChanges {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: bigint;
  readonly atimeNs?: bigint | 'now';
  readonly mtimeNs?: bigint | 'now';
}

export interface OpenedFile {
  /** Bytes read; fewer at the end of the file. */
  read(offset: bigint, target: Uint8Array): number;
  write(offset: bigint, source: Uint8Array): number;
  sync(dataOnly: boolean): void;
  close(): void;
}

/** A file that is made belongs to these, as far as the process may say so; without `uid` to whom it is otherwise. */
export interface NewFile {
  readonly name: string;
  readonly mode: number;
  readonly uid?: number | undefined;
  readonly gid: number;
}

export interface HostFolder {
  readonly isReadOnly: boolean;
  stat(place: Place): FileStat;
  folderStat(place: Place): FolderStat;
  /** `flags` are Linux's, of access, O_APPEND, O_TRUNC and O_SYNC. Regular files alone. */
  open(place: Place, flags: number): OpenedFile;
  /** As `open`, of a file that is made; O_EXCL among the flags too. */
  create(place: Place, file: NewFile, flags: number): OpenedFile;
  /** Names in a folder, without `.` and `..`. */
  list(place: Place): readonly string[];
  makeFolder(place: Place, file: NewFile): void;
  makeLink(place: Place, file: NewFile, target: string): void;
  /** A device, pipe or socket of the guest's, `mode` says which; `rdev` as Linux has it. Where the host's would be made it is refused. */
  makeNode(place: Place, file: NewFile, rdev: bigint): void;
  /** Another name for what lies at `of`. */
  link(place: Place, name: string, of: Place): void;
  readLink(place: Place): string;
  change(place: Place, changes: FileChanges): void;
  rename(from: Place, to: Place): void;
  remove(place: Place, isFolder: boolean): void;
  close(): void;
}
