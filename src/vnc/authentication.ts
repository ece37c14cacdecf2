/** VNC authentication (RFC 6143, 7.2.2): DES of a challenge, with the password's first eight characters as the key. */
import type { VncHost } from './host.js';

/** In VNC each byte of the key has its bits the other way round. */
export function vncResponse(
  host: Pick<VncHost, 'desEncrypt'>,
  password: Uint8Array,
  challenge: Uint8Array,
): Uint8Array {
  const key = Uint8Array.from({ length: 8 }, (_, i) => {
    let reversed = 0;
    for (let bit = 0; bit < 8; bit++) if (((password[i] ?? 0) >> bit) & 1) reversed |= 0x80 >> bit;
    return reversed;
  });
  return host.desEncrypt(key, challenge);
}

/** Takes the same time wherever the first difference is. */
export function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  let different = a.length ^ b.length;
  for (let i = 0; i < a.length; i++) different |= a[i]! ^ (b[i] ?? 0);
  return different === 0;
}
