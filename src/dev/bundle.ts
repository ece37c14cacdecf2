/**
 * Part of the build, after the compiler: what makes the program start quickly. The module of the translator's routines for the
 * usual options, and the program and its threads as one file each with V8's code cache of what they run at first. Nothing is
 * done where all of it is there for the present code and the present Node.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';
import { type BundleName, bundledMain, bundleStamp, bundlesDirectory, compiledState } from '../host/node/bundles.js';
import { earlyThreadSymbol, earlyWord } from '../host/node/machine-thread.js';
import { warmUpGuest } from './warm-up-guest.js';

const dist = fileURLToPath(new URL('..', import.meta.url));

const entries: Readonly<Record<BundleName, string>> = {
  vring: 'cli/program.js',
  'disk-tools': 'cli/disk-program.js',
  'machine-worker': 'vmm/machine-worker.js',
  'region-worker': 'vmm/region-worker.js',
  'disk-worker': 'vmm/disk-worker.js',
  'screen-worker': 'vmm/screen-worker.js',
  'network-worker': 'vmm/network-worker.js',
};
const names = Object.keys(entries) as BundleName[];

/** The code finds the package's other files by `import.meta.url`: that stays the address of the file each module came from. */
const addresses: Plugin = {
  name: 'addresses',
  setup: ({ onLoad }) =>
    onLoad({ filter: /\.js$/ }, ({ path }) => {
      const text = readFileSync(path, 'utf8');
      if (!text.includes('import.meta.url')) return undefined;
      const address = `__addressOf(${JSON.stringify(relative(dist, path).replaceAll('\\', '/'))})`;
      return { contents: text.replaceAll('import.meta.url', address), loader: 'js' };
    }),
};

/** The program that is no bundle's: left where it is. */
const singleFiles: Plugin = {
  name: 'single-files',
  setup: ({ onResolve }) =>
    onResolve({ filter: /^\.\/program\.js$/ }, () => ({ path: '../cli/program.js', external: true })),
};

/** What starts the program (`src/cli/main.ts`), as CommonJS. */
async function buildMain(): Promise<void> {
  await build({
    entryPoints: [join(dist, 'cli', 'main.js')],
    outfile: bundledMain,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    sourcemap: 'linked',
    sourcesContent: false,
    banner: {
      js: `const __addressOf = (path) => require('node:url').pathToFileURL(require('node:path').join(__dirname, '..', path)).href;`,
    },
    plugins: [addresses, singleFiles],
    logLevel: 'error',
  });
  chmodSync(bundledMain, 0o755);
}

/**
 * Runs a bundle. There is a cache for each state of V8's flags that the bundle is loaded in: a machine's thread may be begun before
 * they are set, or later. V8 itself looks whether a cache is for its version and flags. `record` is more code, which sees the script.
 */
const launcher = (name: BundleName, record = ''): string => `'use strict';
const { readFileSync } = require('node:fs');
const { pathToFileURL } = require('node:url');
const { Script } = require('node:vm');
const filename = __dirname + '/${name}.js';
const early = ${name.endsWith('-worker') ? "require('node:worker_threads').workerData?.early" : 'undefined'};
const cache = __dirname + '/${name}' + (early ? '.early' : '') + '.cache';
let cachedData;
try {
  cachedData = readFileSync(cache);
} catch {}
const script = new Script(readFileSync(filename, 'latin1'), { filename, cachedData });
if (early) {
  const words = new Int32Array(early);
  Atomics.store(words, ${earlyWord.loaded}, 1);
  Atomics.notify(words, ${earlyWord.loaded});
}
${record}const base = pathToFileURL(__dirname);
script.runInThisContext()(require, module, exports, (path) => new URL(path, base).href);
`;

/** Writes the cache of what has been compiled so far when the thread says something, and when it ends. */
const recorder = `const save = () => require('node:fs').writeFileSync(cache, script.createCachedData());
process.on('exit', save);
const port = require('node:worker_threads').workerData?.port;
const post = port?.postMessage;
if (port) port.postMessage = (...message) => (save(), post.apply(port, message));
`;

/** Lets the machine have a thread that is begun when flags are set. */
const beginLate = `globalThis[Symbol.for('${earlyThreadSymbol}')]?.worker.terminate();
globalThis[Symbol.for('${earlyThreadSymbol}')] = undefined;
`;

/** Leaves V8's flags as they are. */
const keepFlags = "require('node:v8').setFlagsFromString = () => {};\n";

function writeLaunchers(extra: (name: BundleName) => string): void {
  for (const name of names) writeFileSync(join(bundlesDirectory, `${name}.cjs`), launcher(name, extra(name)));
}

/** A guest may end before the last of its threads is up, where other programs want the processors too. */
const GUEST_RUNS = 5;

/** Runs the program as people do, so that the caches hold what a start compiles; `expected` are to have one then. */
function warmUp(expected: readonly BundleName[]): void {
  const directory = mkdtempSync(join(tmpdir(), 'vring-build-'));
  const image = join(directory, 'image');
  const guest = join(directory, 'guest');
  writeFileSync(guest, warmUpGuest());
  const run = (status: number, ...argv: string[]) => {
    const ran = spawnSync(process.execPath, [bundledMain, ...argv], { encoding: 'utf8', timeout: 120_000 });
    if (ran.status !== status) throw new Error(`vring ${argv.join(' ')}: ${ran.error ?? ran.stderr}`);
  };
  try {
    run(0, 'img', 'create', '-f', 'qcow2', image, '1M');
    // Data and holes, so that what copies them is compiled.
    const raw = `${image}.raw`;
    const sparse = new Uint8Array(2 ** 20).fill(1, 0, 2 ** 18).fill(1, 2 ** 19);
    writeFileSync(raw, sparse);
    truncateSync(raw, 2 ** 23);
    run(0, 'img', 'convert', '-O', 'qcow2', raw, image);
    run(0, 'img', 'convert', '-O', 'raw', image, raw);
    run(0, 'img', 'compare', image, raw);
    for (const command of ['info', 'check', 'map']) run(0, 'img', command, image);
    const drive = `file=${image},format=qcow2,if=virtio`;
    const isMissing = (name: BundleName) => !existsSync(join(bundlesDirectory, `${name}.cache`));
    for (let runs = 0; runs === 0 || (runs < GUEST_RUNS && expected.some(isMissing)); runs++) {
      run(85, 'run', '-kernel', guest, '-drive', drive, '-device', 'isa-debug-exit', '-nographic');
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const stamp = `${compiledState()}`;
const made = `${process.version} ${process.arch}\n`;
const madeBy = join(bundlesDirectory, 'made-by');

function isThere(): boolean {
  try {
    return readFileSync(bundleStamp, 'latin1') === stamp && readFileSync(madeBy, 'latin1') === made;
  } catch {
    return false;
  }
}

if (!isThere()) {
  rmSync(bundlesDirectory, { recursive: true, force: true });
  // What an earlier build has stored is of other routines.
  rmSync(join(dist, 'routines'), { recursive: true, force: true });
  // In a process of its own: routines are numbered as their modules are loaded, and this one has loaded others first.
  execFileSync(process.execPath, [join(dist, 'dev', 'write-routines.js')]);
  execFileSync(process.execPath, [join(dist, 'dev', 'write-routines.js'), 'arm']);
  await build({
    entryPoints: Object.fromEntries(names.map((name) => [name, join(dist, entries[name])])),
    outdir: bundlesDirectory,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    supported: { 'dynamic-import': false },
    // One byte a character: V8 takes the text as it is.
    charset: 'ascii',
    sourcemap: 'linked',
    sourcesContent: false,
    banner: { js: '(function (require, module, exports, __addressOf) {' },
    footer: { js: '})' },
    plugins: [addresses],
    logLevel: 'error',
  });
  await buildMain();
  writeFileSync(join(bundlesDirectory, 'package.json'), '{ "type": "commonjs" }\n');
  try {
    writeFileSync(bundleStamp, stamp);
    // The program is loaded before it sets flags, and so is a machine's thread that is begun at once; other threads after that.
    writeLaunchers((name) => keepFlags + (['vring', 'disk-tools', 'machine-worker'].includes(name) ? recorder : ''));
    warmUp([]);
    writeLaunchers((name) => (name === 'vring' ? beginLate : name === 'disk-tools' ? '' : recorder));
    warmUp(['vring', 'disk-tools', 'machine-worker', 'region-worker', 'disk-worker']);
  } finally {
    rmSync(bundleStamp, { force: true });
  }
  writeLaunchers(() => '');
  writeFileSync(madeBy, made);
  writeFileSync(bundleStamp, stamp);
}
