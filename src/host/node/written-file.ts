/** A file that is written from its beginning, or its end on. */
import { fstat, write } from 'node:fs';
import { open } from 'node:fs/promises';
import { openSetMember } from './descriptor-sets.js';

export interface WrittenFile {
  /** All of it. Rejects with the system's errors. */
  write(bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

/** `append`: what is in it stays. Rejects with the system's errors, and VringError for `/dev/fdset/N`. */
export async function openWrittenFile(path: string, append: boolean): Promise<WrittenFile> {
  const member = openSetMember(path, { access: 'write', truncate: !append });
  if (!member) {
    const file = await open(path, append ? 'a' : 'w');
    return {
      async write(bytes) {
        for (let at = 0; at < bytes.length; ) at += (await file.write(bytes, at)).bytesWritten;
      },
      close: () => file.close(),
    };
  }
  const { fd } = member;
  // Whoever opened it may not have asked for appending.
  let end = append ? await sizeOf(fd) : 0;
  return {
    async write(bytes) {
      for (let at = 0; at < bytes.length; ) {
        const written = await new Promise<number>((resolve, reject) => {
          const done = (error: Error | null, count: number) => (error ? reject(error) : resolve(count));
          write(fd, bytes, at, bytes.length - at, end, done);
        });
        at += written;
        if (end !== null) end += written;
      }
    },
    close: async () => member.close(),
  };
}

/** Null: it has no places, a pipe for one. */
function sizeOf(fd: number): Promise<number | null> {
  return new Promise((resolve, reject) =>
    fstat(fd, (error, stats) => (error ? reject(error) : resolve(stats.isFile() ? stats.size : null))),
  );
}
