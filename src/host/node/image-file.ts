/** Reads an image (kernel, initrd) for a machine: the whole in the thread that builds it, its head before. */
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { VringError } from '../../base/index.js';
import { openFailure } from './open-failure.js';

/** Throws VringError `image-open`. `what` names the image in the sentence. */
export function readImage(what: string, path: string, maxBytes: number): Uint8Array {
  let fd: number | undefined;
  try {
    fd = openSync(path, 'r');
    const status = fstatSync(fd);
    if (status.isDirectory()) throw Object.assign(new Error(), { code: 'EISDIR' });
    const tooLarge = () =>
      new VringError('image-too-large', `${what} '${path}' is larger than ${maxBytes / 2 ** 20} MiB.`);
    if (status.size > maxBytes) throw tooLarge();
    // A pipe (a shell's <(…)) has no size, and a file may grow.
    const chunks: Uint8Array[] = [];
    let total = 0;
    for (let room = status.isFile() ? status.size : 0; ; room = 0) {
      const chunk = new Uint8Array(Math.max(room, 1 << 20));
      const count = readSync(fd, chunk);
      if (count === 0) break;
      total += count;
      if (total > maxBytes) throw tooLarge();
      chunks.push(chunk.subarray(0, count));
    }
    return chunks.length === 1 ? chunks[0] : Buffer.concat(chunks, total);
  } catch (error) {
    if (error instanceof VringError) throw error;
    throw new VringError('image-open', `${what} '${path}' cannot be read: ${openFailure(error)}`, { cause: error });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** The first `most` bytes of a regular file, or what there are; undefined of anything else, for a pipe's would be gone. */
export function readHead(path: string, most: number): Uint8Array | undefined {
  let fd: number | undefined;
  try {
    if (!statSync(path).isFile()) return undefined;
    fd = openSync(path, 'r');
    const bytes = new Uint8Array(most);
    return bytes.subarray(0, readSync(fd, bytes, 0, most, 0));
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
