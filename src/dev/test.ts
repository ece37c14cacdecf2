/**
 * Runs the tests that have been built into dist/. `--long`: those named *.long.test.js instead. Names of files given as
 * arguments choose among them. Ends with a line that names what was skipped and a line `N passed, N failed`.
 *
 * With VRING_NO_SKIP set, a skipped test counts as failed unless `.ci/allowed-skips` lists it with a reason.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { run } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const dist = join(root, 'dist');
const long = process.argv.includes('--long');
const wanted = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));

const files = readdirSync(dist, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.test.js') && name.endsWith('.long.test.js') === long)
  .filter((name) => wanted.length === 0 || wanted.some((part) => name.includes(part)))
  // A built file whose source is gone is no test any more.
  .filter((name) => existsSync(join(root, 'src', name.replace(/\.js$/, '.ts'))))
  .map((name) => join(dist, name))
  .sort();

const allowed = new Map<string, string>();
const allowedFile = join(root, '.ci', 'allowed-skips');
if (existsSync(allowedFile)) {
  for (const line of readFileSync(allowedFile, 'utf8').split('\n')) {
    const [name, reason] = line.split('|').map((part) => part.trim());
    if (name && reason && !name.startsWith('#')) allowed.set(name, reason);
  }
}

let passed = 0;
let failed = 0;
let finished = 0;
const skipped: string[] = [];
const stream = run({ files, concurrency: 2, timeout: long ? 3_600_000 : 300_000 });
stream.on('test:pass', (event) => {
  if (event.details.type === 'suite') return;
  if (event.skip !== undefined && event.skip !== false) {
    const reason = typeof event.skip === 'string' ? event.skip : '';
    skipped.push(`${event.name}${reason ? ` (${reason})` : ''}`);
    if (process.env['VRING_NO_SKIP'] && ![...allowed.keys()].some((name) => event.name.includes(name))) {
      failed++;
      console.log(`not ok: ${event.name}: skipped, and .ci/allowed-skips gives no reason`);
    }
    return;
  }
  // A file is a test too; it counts only if it has none of its own.
  if (files.includes(event.name)) return;
  passed++;
});
stream.on('test:fail', (event) => {
  if (event.details.type === 'suite') return;
  const { error } = event.details;
  const cause =
    error.cause instanceof Error ? (error.cause.stack ?? error.cause.message) : String(error.cause ?? error);
  if (files.includes(event.name) && /subtests? failed/.test(cause)) return;
  failed++;
  console.log(
    `not ok: ${event.file ? relative(dist, event.file) : ''}: ${event.name}\n${cause.replace(/^/gm, '    ')}`,
  );
});
stream.on('test:stderr', ({ message }) => process.stderr.write(message));
stream.on('test:complete', (event) => {
  if (!files.includes(event.name)) return;
  finished++;
  if (process.stderr.isTTY || long)
    process.stderr.write(`[${finished}/${files.length}] ${relative(dist, event.name)}\n`);
});
stream.resume();
stream.on('end', () => {
  console.log(`skipped: ${skipped.length === 0 ? 'nothing' : skipped.join('; ')}`);
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
});
