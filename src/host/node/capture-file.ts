/** Frames into a file of libpcap's format, as they pass. */
import { createWriteStream } from 'node:fs';
import { VringError } from '../../base/index.js';
import { pcapHeader, pcapRecord } from '../../net/index.js';
import { openFailure } from './open-failure.js';

/** What waits to be written at most; frames beyond are left out. */
const MAX_WAITING = 16 << 20;

export interface CaptureFile {
  write(frame: Uint8Array): void;
  close(): Promise<void>;
}

/** Rejects with VringError `capture-open`. */
export async function openCapture(path: string, snapLength: number): Promise<CaptureFile> {
  const stream = createWriteStream(path);
  try {
    await new Promise<void>((resolve, reject) => {
      stream.once('open', () => resolve());
      stream.once('error', reject);
    });
  } catch (error) {
    throw new VringError('capture-open', `The capture file '${path}' cannot be opened: ${openFailure(error)}`);
  }
  stream.on('error', () => {});
  stream.write(pcapHeader(snapLength));
  return {
    write: (frame) => {
      if (stream.writableLength > MAX_WAITING) return;
      stream.write(pcapRecord(frame, Date.now() * 1000, snapLength));
    },
    close: () =>
      new Promise((resolve) => {
        stream.once('close', () => resolve());
        stream.end();
      }),
  };
}
