/**
 * Programs and threads as the build bundles them (`dist/bundle/`, written by `src/dev/bundle.ts`): one file for each, with V8's
 * code cache beside it. They start several times faster than from single files, and are taken only if they were made of the
 * code that is there now.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export type BundleName =
  | 'vring'
  | 'disk-tools'
  | 'machine-worker'
  | 'region-worker'
  | 'disk-worker'
  | 'network-worker'
  | 'screen-worker';

const dist = fileURLToPath(new URL('../..', import.meta.url));
/** What the compiler keeps of each layer, rewritten with its output. An installed package is without it. */
const records = join(dist, '.build');

export const bundlesDirectory = join(dist, 'bundle');
/** What starts the program, as the build has bundled it. */
export const bundledMain = join(bundlesDirectory, 'main.cjs');
/** Written last: the `compiledState` that the build's products were made of. */
export const bundleStamp = join(bundlesDirectory, 'built');

/** Changes whenever the compiler has written something; undefined where nothing is compiled. */
export function compiledState(): string | undefined {
  try {
    const names = readdirSync(records).sort();
    return names.map((name) => `${name} ${statSync(join(records, name)).mtimeMs}\n`).join('');
  } catch {
    return undefined;
  }
}

let built: boolean | undefined;

/** True: what the build makes of the compiled code was made of the code that is there now. */
export function isBuilt(): boolean {
  if (built === undefined) {
    try {
      const stamp = readFileSync(bundleStamp, 'latin1');
      built = stamp === (compiledState() ?? stamp);
    } catch {
      built = false;
    }
  }
  return built;
}

/** Path of a program or thread as the build has bundled it, or undefined: then its single files are to be run. */
export function bundle(name: BundleName): string | undefined {
  return isBuilt() ? join(bundlesDirectory, `${name}.cjs`) : undefined;
}
