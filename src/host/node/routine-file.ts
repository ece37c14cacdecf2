/**
 * The module of the translator's routines, written by the build beside the program (`dist/routines/`). A file says what code it
 * was made of: after a change to that code alone it is passed over, and the module is made anew at each start.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const dist = fileURLToPath(new URL('../..', import.meta.url));
/** Layers whose code the routines are made of. */
const LAYERS = ['base', 'ir', 'wasm', 'guest', 'accel'];
const DIGEST_BYTES = 32;

function digestOfCode(): Buffer {
  const hash = createHash('sha256');
  for (const layer of LAYERS) {
    const names = readdirSync(join(dist, layer), { recursive: true, encoding: 'utf8' });
    for (const name of names.sort()) {
      if (!name.endsWith('.js') || name.endsWith('.test.js')) continue;
      hash.update(`${layer}/${name.replaceAll('\\', '/')}\n`).update(readFileSync(join(dist, layer, name)));
    }
  }
  return hash.digest();
}

const pathOf = (key: string) => join(dist, 'routines', `${key.replace(/[^a-z0-9]+/g, '-')}.wasm`);

/** The stored bytes, or undefined when there are none for the present code. */
export function readStoredRoutines(key: string): Uint8Array | undefined {
  try {
    const file = readFileSync(pathOf(key));
    if (!file.subarray(0, DIGEST_BYTES).equals(digestOfCode())) return undefined;
    return file.subarray(DIGEST_BYTES);
  } catch {
    return undefined;
  }
}

/** For the build. */
export function storeRoutines(key: string, bytes: Uint8Array): void {
  mkdirSync(join(dist, 'routines'), { recursive: true });
  writeFileSync(pathOf(key), Buffer.concat([digestOfCode(), bytes]));
}
