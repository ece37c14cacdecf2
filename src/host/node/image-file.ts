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
    // A pipe (a shell's <(…)) has no size.
    const chunks: Uint8Array[] = [];
    let total = 0;
    for (;;) {
      const room = status.isFile() ? status.size - total : 1 << 20;
      const chunk = new Uint8Array(Math.min(Math.max(room, 1), 16 << 20));
      const count = readSync(fd, chunk);
      if (count === 0) break;
      total += count;
      if (total > maxBytes) {
        throw new VringError('image-too-large', `${what} '${path}' is larger than ${maxBytes >> 20} MiB.`);
      }
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
