import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { beginReading, type ComingFile } from './coming-file.js';

const directory = mkdtempSync(join(tmpdir(), 'vring coming files '));
after(() => rmSync(directory, { recursive: true, force: true }));
const MOST = 2 ** 24;
const put = (name: string, bytes: Uint8Array): string => {
  writeFileSync(join(directory, name), bytes);
  return join(directory, name);
};
const pattern = (length: number, factor: number) => Uint8Array.from({ length }, (_, i) => (i * factor) >> 3);

/** What another thread gets when it waits for a file. */
function inAnotherThread(file: ComingFile): Promise<Uint8Array | undefined> {
  const code = `
    const { parentPort, workerData: { address, file } } = require('node:worker_threads');
    import(address).then(({ awaitFile }) => parentPort.postMessage(awaitFile(file)));`;
  const address = new URL('./coming-file.js', import.meta.url).href;
  const worker = new Worker(code, { eval: true, workerData: { address, file } });
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

test('another thread waits for the files, which come one after the other', async () => {
  const [one, two] = [pattern(300_001, 7), pattern(2 ** 20, 11)];
  const [first, none, second] = beginReading([put('one', one), undefined, put('two', two)], MOST);
  assert.equal(none, undefined);
  assert.ok(first && second);
  const got = await Promise.all([inAnotherThread(second), inAnotherThread(first)]);
  assert.deepEqual(Buffer.from(got[0] ?? []), Buffer.from(two));
  assert.deepEqual(Buffer.from(got[1] ?? []), Buffer.from(one));
});

test('a file that became shorter is not given, and the next one comes nevertheless', async () => {
  const [first, last] = [pattern(2 ** 19, 5), pattern(2 ** 19, 3)];
  const shrinking = put('shrinks', pattern(2 ** 20, 5));
  const files = beginReading([put('before', first), shrinking, put('after', last)], MOST);
  // The second is not begun before this turn of the event loop ends.
  truncateSync(shrinking, 1000);
  const got = await Promise.all(files.map((file) => file && inAnotherThread(file)));
  assert.deepEqual(Buffer.from(got[0] ?? []), Buffer.from(first));
  assert.equal(got[1], undefined);
  assert.deepEqual(Buffer.from(got[2] ?? []), Buffer.from(last));
});

test('what is no file of a size worth it is left to whoever wants it', { skip: process.platform === 'win32' }, () => {
  const pipe = join(directory, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const paths = [join(directory, 'missing'), directory, pipe, put('small', new Uint8Array(100))];
  assert.deepEqual(beginReading(paths, MOST), [undefined, undefined, undefined, undefined]);
  assert.deepEqual(beginReading([put('large', new Uint8Array(2 ** 19))], 2 ** 18), [undefined]);
});
