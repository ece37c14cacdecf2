/** What a disk tool prints reaches a reader that is slow or has gone, by a descriptor that does not wait either. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import test from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

const main = fileURLToPath(new URL('./main.js', import.meta.url));
const koffi = (() => {
  try {
    return createRequire(import.meta.url).resolve('koffi');
  } catch {
    return undefined;
  }
})();

/** Every other cluster is data: a map of so many lines. */
const extents = 4000;

function combedImage(directory: string): string {
  const image = path.join(directory, 'combed.raw');
  const file = fs.openSync(image, 'w');
  for (let index = 0; index < extents / 2; index++) fs.writeSync(file, 'x', index * 131_072);
  fs.ftruncateSync(file, (extents / 2) * 131_072);
  fs.closeSync(file);
  return image;
}

test('a long map arrives whole where standard output does not wait', { skip: koffi ? false : 'no koffi' }, async () => {
  const directory = fs.mkdtempSync(path.join(tmpdir(), 'vring-output-'));
  try {
    const image = combedImage(directory);
    const preload = path.join(directory, 'nonblocking.cjs');
    // fcntl(2): F_GETFL, F_SETFL, O_NONBLOCK of Linux.
    fs.writeFileSync(
      preload,
      `const call = require(${JSON.stringify(koffi)}).load(null).func('int fcntl(int fd, int command, int flags)');
       call(1, 4, call(1, 3, 0) | 2048);`,
    );
    const argv = ['--import', pathToFileURL(preload).href, main, 'img', 'map', '--output=json', '-f', 'raw', image];
    const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'pipe'] });
    let complaints = '';
    child.stderr.on('data', (chunk) => {
      complaints += chunk;
    });
    const ended = new Promise((resolve) => child.once('exit', (code) => resolve(code)));
    // The text is several times what a pipe holds.
    let text = '';
    for await (const chunk of child.stdout) text += chunk;
    assert.deepEqual([await ended, complaints], [0, '']);
    assert.ok(text.length > 2 * 65536, 'the map is too short to fill a pipe');
    const map = JSON.parse(text) as { start: number; length: number }[];
    assert.equal(
      map.reduce((sum, { length }) => sum + length, 0),
      (extents / 2) * 131_072,
    );
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
});

test('a command that waits for what can not come ends with an error', async () => {
  const directory = fs.mkdtempSync(path.join(tmpdir(), 'vring-output-'));
  try {
    const image = path.join(directory, 'disk.raw');
    fs.writeFileSync(image, new Uint8Array(65_536));
    const options = `driver=raw,file.driver=blkdebug,file.image.filename=${image}`;
    const words = ['io', '--image-opts', '-c', 'break l2_load A', '-c', 'wait_break A', '-c', 'read 0 4k', options];
    const child = spawn(process.execPath, [main, ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
    const read = async (stream: NodeJS.ReadableStream): Promise<string> => {
      let text = '';
      for await (const chunk of stream) text += chunk;
      return text;
    };
    const ended = new Promise((resolve) => child.once('exit', (code) => resolve(code)));
    const [out, complaints, status] = await Promise.all([read(child.stdout), read(child.stderr), ended]);
    assert.deepEqual([status, out], [1, '']);
    assert.match(complaints, /waits for what can no longer happen/);
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
});
