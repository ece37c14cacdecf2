/** A thread that decompresses: see decompress-threads.ts. */
import { parentPort } from 'node:worker_threads';
import type { DecompressJob } from './decompress-threads.js';
import { codecFor, decompressPieces } from './inflate.js';

const port = parentPort!;

port.on('message', async ({ kind, input, output, pieces, size }: DecompressJob) => {
  let isDone = false;
  try {
    decompressPieces(await codecFor(kind), input, output, pieces, size);
    isDone = true;
  } catch {
    // The other side does it again and tells what is wrong.
  }
  port.postMessage(isDone);
});
port.postMessage(true);
