/**
 * Files that the process's thread pool reads into shared memory while a thread comes up that wants them: a kernel and its initrd are some
 * ten megabytes, which a machine's thread would otherwise read when it has nothing else left to do.
 */
import { close, fstatSync, openSync, read, statSync } from 'node:fs';

/** A file that is being read; can be sent to another thread. */
export interface ComingFile {
  readonly path: string;
  /** As many as the file had when it was opened. */
  readonly bytes: Uint8Array;
  /** One word of `comingState`. */
  readonly state: Int32Array;
}

const comingState = { reading: 0, read: 1, failed: 2 } as const;

/** Reading less takes no time worth saving. */
const LEAST_BYTES = 2 ** 18;

/** Opens a file of at most `mostBytes`; undefined where it had better be read by whoever wants it, who also says what is wrong with it. */
function open(path: string, mostBytes: number): { readonly fd: number; readonly file: ComingFile } | undefined {
  try {
    // To open a pipe would wait for its other end.
    if (!statSync(path).isFile()) return undefined;
    const fd = openSync(path, 'r');
    const { size } = fstatSync(fd);
    if (size >= LEAST_BYTES && size <= mostBytes) {
      const bytes = new Uint8Array(new SharedArrayBuffer(size));
      return { fd, file: { path, bytes, state: new Int32Array(new SharedArrayBuffer(4)) } };
    }
    close(fd);
  } catch {
    // Not there, or no memory for it.
  }
  return undefined;
}

function finish(fd: number, { state }: ComingFile, reached: number): void {
  close(fd);
  Atomics.store(state, 0, reached);
  Atomics.notify(state, 0);
}

function readFrom(fd: number, file: ComingFile, at: number, next: () => void): void {
  const { bytes } = file;
  if (at === bytes.length) {
    finish(fd, file, comingState.read);
    next();
    return;
  }
  read(fd, bytes, at, bytes.length - at, at, (error, count) => {
    if (!error && count > 0) {
      readFrom(fd, file, at + count, next);
      return;
    }
    finish(fd, file, comingState.failed);
    next();
  });
}

/**
 * Begins to read files, one after the other as they are listed. Each is undefined where it is not a file of a size worth it, at most
 * `mostBytes`.
 */
export function beginReading(
  paths: readonly (string | undefined)[],
  mostBytes: number,
): readonly (ComingFile | undefined)[] {
  const opened = paths.map((path) => (path === undefined ? undefined : open(path, mostBytes)));
  const left = opened.filter((each) => each !== undefined);
  const next = () => {
    const first = left.shift();
    if (first) readFrom(first.fd, first.file, 0, next);
  };
  next();
  return opened.map((each) => each?.file);
}

/** In another thread: waits for the file. Undefined: it could not be read, or not all of it. */
export function awaitFile({ bytes, state }: ComingFile): Uint8Array | undefined {
  Atomics.wait(state, 0, comingState.reading);
  return Atomics.load(state, 0) === comingState.read ? bytes : undefined;
}
