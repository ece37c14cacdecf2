/** Paths of unix sockets. */
import { lstatSync, unlinkSync } from 'node:fs';
import type { Server } from 'node:net';

/** What an address of the system holds beside its closing zero (unix(7)). libuv cuts longer ones without a word. */
const MAX_UNIX_PATH_BYTES = 107;

/** The path; throws an error of code ENAMETOOLONG where it has no room in an address. */
export function unixPath(path: string): string {
  if (Buffer.byteLength(path) <= MAX_UNIX_PATH_BYTES) return path;
  const message = `a unix socket's path has at most ${MAX_UNIX_PATH_BYTES} bytes`;
  throw Object.assign(new Error(message), { code: 'ENAMETOOLONG' });
}

/** The path to listen at, where a socket that a process before has left behind is gone. Throws as `unixPath`. */
export function freshUnixPath(path: string): string {
  unixPath(path);
  try {
    if (lstatSync(path).isSocket()) unlinkSync(path);
  } catch {
    // There is none, or listening will tell what is wrong.
  }
  return path;
}

/** What is wrong comes as the server's `error`, like everything else that keeps it from listening. */
export function listenAtUnixPath(server: Server, path: string, ready: () => void): void {
  try {
    server.listen({ path: freshUnixPath(path) }, ready);
  } catch (error) {
    server.emit('error', error);
  }
}
