import { VringError } from '../base/index.js';

/** What the host's strerror says, for the errors the block layer can meet: tools print exactly these. */
const errorTexts: Readonly<Record<string, string>> = {
  EPERM: 'Operation not permitted',
  ENOENT: 'No such file or directory',
  EIO: 'Input/output error',
  ENXIO: 'No such device or address',
  E2BIG: 'Argument list too long',
  EBADF: 'Bad file descriptor',
  EAGAIN: 'Resource temporarily unavailable',
  ENOMEM: 'Cannot allocate memory',
  EACCES: 'Permission denied',
  EBUSY: 'Device or resource busy',
  EEXIST: 'File exists',
  ENODEV: 'No such device',
  ENOTDIR: 'Not a directory',
  EISDIR: 'Is a directory',
  EINVAL: 'Invalid argument',
  ENFILE: 'Too many open files in system',
  EMFILE: 'Too many open files',
  ENOTTY: 'Inappropriate ioctl for device',
  EFBIG: 'File too large',
  ENOSPC: 'No space left on device',
  ESPIPE: 'Illegal seek',
  EROFS: 'Read-only file system',
  EPIPE: 'Broken pipe',
  ERANGE: 'Numerical result out of range',
  EDEADLK: 'Resource deadlock avoided',
  ENAMETOOLONG: 'File name too long',
  ENOSYS: 'Function not implemented',
  ELOOP: 'Too many levels of symbolic links',
  EDOM: 'Numerical argument out of domain',
  ENOMEDIUM: 'No medium found',
  EMEDIUMTYPE: 'Wrong medium type',
  ECANCELED: 'Operation canceled',
  ENOTSUP: 'Operation not supported',
  EOPNOTSUPP: 'Operation not supported',
  EOVERFLOW: 'Value too large for defined data type',
  EPROTO: 'Protocol error',
  EBADMSG: 'Bad message',
  EILSEQ: 'Invalid or incomplete multibyte or wide character',
  ECONNREFUSED: 'Connection refused',
  ECONNRESET: 'Connection reset by peer',
  ECONNABORTED: 'Software caused connection abort',
  ENOTCONN: 'Transport endpoint is not connected',
  ESHUTDOWN: 'Cannot send after transport endpoint shutdown',
  ETIMEDOUT: 'Connection timed out',
  EHOSTUNREACH: 'No route to host',
  ENETUNREACH: 'Network is unreachable',
  EADDRINUSE: 'Address already in use',
  EDQUOT: 'Disk quota exceeded',
  ESTALE: 'Stale file handle',
  ETXTBSY: 'Text file busy',
};

/** Linux errno numbers for those the tools must number (blkdebug rules, NBD replies). */
export const errnoNumbers: Readonly<Record<string, number>> = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ENOTTY: 25,
  ETXTBSY: 26,
  EFBIG: 27,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  EPIPE: 32,
  EDOM: 33,
  ERANGE: 34,
  EDEADLK: 35,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ELOOP: 40,
  EPROTO: 71,
  EBADMSG: 74,
  EOVERFLOW: 75,
  EILSEQ: 84,
  EOPNOTSUPP: 95,
  ENOTSUP: 95,
  EADDRINUSE: 98,
  ENETUNREACH: 101,
  ECONNABORTED: 103,
  ECONNRESET: 104,
  ENOTCONN: 107,
  ESHUTDOWN: 108,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  EHOSTUNREACH: 113,
  ESTALE: 116,
  EDQUOT: 122,
  ENOMEDIUM: 123,
  EMEDIUMTYPE: 124,
  ECANCELED: 125,
};

export function errorText(code: string): string {
  return errorTexts[code] ?? `Unknown error ${errnoNumbers[code] ?? code}`;
}

/** The errno name for a Linux number (either sign); `EIO` when unknown. */
export function errnoName(number: number): string {
  const positive = Math.abs(number);
  for (const [name, value] of Object.entries(errnoNumbers)) if (value === positive) return name;
  return 'EIO';
}

/**
 * An error of the block layer. `code` is an errno name (`EIO`, `ENOSPC`, `ENOTSUP`, …): what drivers and guests act on.
 * `message` is the sentence for a person; when none is given it is strerror's, and `bare` says so: a tool then adds what it
 * was doing ("Could not open 'x': …").
 */
export class BlockError extends VringError {
  readonly bare: boolean;
  constructor(code: string, message?: string, options?: { cause?: unknown }) {
    super(code, message ?? errorText(code), options);
    this.name = 'BlockError';
    this.bare = message === undefined;
  }
}

/** Any thrown value as a BlockError; an error with an errno-like `code` keeps it, all else becomes EIO with its message. */
export function toBlockError(error: unknown): BlockError {
  if (error instanceof BlockError) return error;
  const code = (error as { code?: unknown } | undefined)?.code;
  if (typeof code === 'string' && code in errnoNumbers) return new BlockError(code, undefined, { cause: error });
  const message = error instanceof Error ? error.message : String(error);
  return new BlockError('EIO', message, { cause: error });
}

export function errorCode(error: unknown): string {
  return toBlockError(error).code;
}
