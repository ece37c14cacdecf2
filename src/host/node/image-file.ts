/** Reads a whole image (kernel, initrd) for a machine, in the thread that builds it. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { VringError } from '../../base/index.js';
import { openFailure } from './open-failure.js';

/** Throws VringError `image-open`. `what` names the image in the sentence. */
export function readImage(what: string, path: string, maxBytes: number): Uint8Array {
  let fd: number | undefined;
  try {
    fd = openSync(path, 'r');
    const status = fstatSync(fd);
    if (status.isDirectory()) throw Object.assign(new Error(), { code: 'EISDIR' });
    const tooLarge = () => new VringError('image-too-large', `${what} '${path}' is larger than ${maxBytes >> 20} MiB.`);
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
