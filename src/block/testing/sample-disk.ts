/** Contents for images that tests build themselves: blocks of zero, of text, of noise. */
import { randomFrom } from './memory-host.js';

export function sampleDisk(length: number, seed = 1): Uint8Array {
  const random = randomFrom(seed);
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 4096) {
    const end = Math.min(length, at + 4096);
    const kind = random(4);
    if (kind === 1) for (let index = at; index < end; index++) bytes[index] = random(256);
    else if (kind === 2) for (let index = at; index < end; index++) bytes[index] = 97 + ((index * 7) % 23);
  }
  return bytes;
}
