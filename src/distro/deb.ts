/**
 * Debian binary packages: deb(5). An ar archive of `debian-binary`, `control.tar.*` and `data.tar.*`; only the last is read,
 * as a stream, so that memory holds no more than the files that are wanted.
 */
import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { VringError } from '../base/errors.js';
import { type Compression, decompress } from './decompress.js';
import { readTar, type TarEntry, type TarFile } from './tar.js';

export interface ArMember {
  readonly name: string;
  readonly offset: number;
  readonly sizeBytes: number;
}

const memberLimit = 64;

function damaged(path: string, what: string): VringError {
  return new VringError('archive-damaged', `The package ${path} is damaged: ${what}.`);
}

async function readAt(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(bytes, done, length - done, offset + done);
    if (bytesRead === 0) return bytes.subarray(0, done);
    done += bytesRead;
  }
  return bytes;
}

/** The members of an ar archive (common format, short names, as deb(5) asks). */
export async function listAr(path: string): Promise<ArMember[]> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    if ((await readAt(file, 0, 8)).toString('latin1') !== '!<arch>\n') throw damaged(path, 'it is no ar archive');
    const members: ArMember[] = [];
    let at = 8;
    while (at < size) {
      if (members.length === memberLimit) throw damaged(path, 'it has too many members');
      const header = (await readAt(file, at, 60)).toString('latin1');
      const match = /^(.{16}).{32}(\d{1,10}) *`\n$/s.exec(header);
      if (match === null) throw damaged(path, 'a member header is malformed');
      const sizeBytes = Number(match[2]);
      const offset = at + 60;
      if (offset + sizeBytes > size) throw damaged(path, 'a member runs past its end');
      members.push({ name: match[1]!.trimEnd().replace(/\/$/, ''), offset, sizeBytes });
      at = offset + sizeBytes + (sizeBytes & 1);
    }
    return members;
  } finally {
    await file.close();
  }
}

/** The files of a package that `want` accepts, at most `maxBytes` over all. */
export async function* readDeb(
  path: string,
  want: (entry: TarEntry) => boolean,
  maxBytes: number,
): AsyncGenerator<TarFile> {
  const members = await listAr(path);
  if (members[0]?.name !== 'debian-binary') throw damaged(path, 'it is no Debian package');
  const data = members.find(({ name }) => /^data\.tar(\.\w+)?$/.test(name));
  if (data === undefined) throw damaged(path, 'it has no data');
  const suffix = data.name.slice('data.tar'.length);
  const compressions: Record<string, Compression> = { '': 'none', '.xz': 'xz', '.zst': 'zst', '.gz': 'gz' };
  const compression = compressions[suffix];
  if (compression === undefined) {
    throw new VringError(
      'archive-unsupported',
      `The package ${path} is compressed as ${suffix.slice(1)}, which vring does not read.`,
    );
  }
  const stream = createReadStream(path, {
    start: data.offset,
    end: data.offset + Math.max(data.sizeBytes, 1) - 1,
    highWaterMark: 1 << 18,
  });
  try {
    yield* readTar(decompress(compression, stream as AsyncIterable<Buffer>), want, maxBytes);
  } finally {
    stream.destroy();
  }
}
