/** What the build writes beside the program (`dist/routines/`): the module of the translator's routines, the built-in guest. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isBuilt } from './bundles.js';

const directory = fileURLToPath(new URL('../../routines', import.meta.url));
const pathOf = (key: string) => join(directory, `${key.replace(/[^a-z0-9]+/g, '-')}.wasm`);

/** The stored bytes, or undefined when there are none for the present code: then the module is made anew at each start. */
export function readStoredRoutines(key: string): Uint8Array | undefined {
  try {
    return isBuilt() ? readFileSync(pathOf(key)) : undefined;
  } catch {
    return undefined;
  }
}

/** For the build. */
export function storeRoutines(key: string, bytes: Uint8Array): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(pathOf(key), bytes);
}

const guestPath = join(directory, 'built-in-guest.rom');

/** The built-in guest as the present code assembles it, or undefined where none is stored. */
export function readStoredGuest(): Uint8Array | undefined {
  try {
    return isBuilt() ? readFileSync(guestPath) : undefined;
  } catch {
    return undefined;
  }
}

/** For the build. */
export function storeGuest(image: Uint8Array): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(guestPath, image);
}
