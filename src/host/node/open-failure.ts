/** Why a file or a socket could not be opened or read, in the words of the C library. */
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';

const sentences: Readonly<Record<string, string>> = {
  ENOENT: 'No such file or directory',
  ENOTDIR: 'Not a directory',
  EACCES: 'Permission denied',
  EPERM: 'Operation not permitted',
  EISDIR: 'Is a directory',
  EROFS: 'Read-only file system',
  EMFILE: 'Too many open files',
  ENFILE: 'Too many open files in system',
  ENAMETOOLONG: 'File name too long',
  ELOOP: 'Too many levels of symbolic links',
  ENOSPC: 'No space left on device',
  EIO: 'Input/output error',
  EBUSY: 'Device or resource busy',
  ETXTBSY: 'Text file busy',
  EADDRINUSE: 'Address already in use',
  EADDRNOTAVAIL: 'Cannot assign requested address',
  ECONNREFUSED: 'Connection refused',
  ECONNRESET: 'Connection reset by peer',
  ETIMEDOUT: 'Connection timed out',
  EHOSTUNREACH: 'No route to host',
  ENETUNREACH: 'Network is unreachable',
  ENOTFOUND: 'Name or service not known',
  ENXIO: 'No such device or address',
};

export function openFailure(error: unknown): string {
  const { code, message, syscall, address } = error as NodeJS.ErrnoException & { address?: string };
  // libuv says so of a unix socket in a folder that is not there.
  if (code === 'EACCES' && syscall === 'listen' && address?.includes('/') && !existsSync(dirname(address)))
    return sentences['ENOENT'];
  return sentences[code ?? ''] ?? message ?? String(error);
}
