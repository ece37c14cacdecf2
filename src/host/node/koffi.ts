/**
 * koffi, an optional dependency, by which the system's C functions are called. Its own start looks for the binary in many places and wraps
 * calls of older versions, some 6 ms; the package of this platform's binary, which npm installs beside it, is the same without that.
 */
import { createRequire } from 'node:module';

type Koffi = typeof import('koffi').default;

/** Throws where it is not installed, or not wanted (the variable VRING_NO_FFI is set). */
export function loadKoffi(): Koffi {
  if (process.env['VRING_NO_FFI']) throw new Error('VRING_NO_FFI is set');
  const require = createRequire(import.meta.url);
  try {
    const native = require(`@koromix/koffi-${process.platform}-${process.arch}`) as Koffi;
    if (typeof native.load === 'function') return native;
  } catch {
    // Elsewhere, where packages are not laid side by side.
  }
  return require('koffi') as Koffi;
}
