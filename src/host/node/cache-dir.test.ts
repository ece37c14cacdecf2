import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { CacheDirectory, defaultCacheRoot } from './cache-dir.js';

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'vring cäche-'));
  t.after(async () => {
    await chmod(path, 0o755);
    await rm(path, { recursive: true, force: true });
  });
  return path;
}

const bytes = (text: string): Uint8Array => Buffer.from(text);

test('the root follows XDG_CACHE_HOME when it is absolute, else the home', () => {
  assert.equal(defaultCacheRoot({ XDG_CACHE_HOME: '/x y', HOME: '/h' }), join('/x y', 'vring'));
  assert.equal(defaultCacheRoot({ XDG_CACHE_HOME: 'relative', HOME: '/h' }), join('/h', '.cache', 'vring'));
  assert.equal(defaultCacheRoot({ HOME: '/h' }), join('/h', '.cache', 'vring'));
});

test('a file appears whole or not at all', async (t) => {
  const root = join(await folder(t), 'deep', 'vring');
  const cache = new CacheDirectory(root);
  assert.equal(await cache.read('a/b'), undefined);
  await cache.write('a/b', 6, async (writer) => {
    await writer.write(bytes('one'));
    assert.equal(await cache.read('a/b'), undefined);
    assert.equal(await readFile(writer.path, 'utf8'), 'one');
    await writer.write(bytes('two'));
  });
  assert.equal(String(await cache.read('a/b')), 'onetwo');
  const failing = cache.write('a/c', 6, async (writer) => {
    await writer.write(bytes('half'));
    throw new Error('broken off');
  });
  await assert.rejects(failing, /broken off/);
  assert.equal(await cache.read('a/c'), undefined);
  assert.deepEqual(await readdir(join(root, 'tmp')), []);
  assert.deepEqual(
    (await cache.list()).map(({ name, bytes: size }) => [name, size]),
    [['a/b', 6]],
  );
  assert.match(await readFile(join(root, 'CACHEDIR.TAG'), 'utf8'), /^Signature: 8a477f597d28d172789f06886806bc55\n/);
  await cache.remove(['a/b', 'a/none']);
  assert.deepEqual(await cache.list(), []);
});

test('too little free space is said before anything is written', async (t) => {
  const cache = new CacheDirectory(await folder(t));
  const attempt = cache.write('x', 1e18, () => assert.fail('must not start'));
  await assert.rejects(attempt, { code: 'cache-full', message: /MB free, but 10000000000\d\d MB are needed/ });
});

test('a full disk in the middle is a typed error and leaves nothing', async (t) => {
  const root = await folder(t);
  const cache = new CacheDirectory(root);
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC', syscall: 'write' });
  await assert.rejects(
    cache.write('x', 1, () => Promise.reject(full)),
    { code: 'cache-full' },
  );
  assert.deepEqual(await readdir(join(root, 'tmp')), []);
});

test('where the root cannot be written, a temporary directory serves, with one notice', async (t) => {
  const home = await folder(t);
  await writeFile(join(home, 'file'), '');
  const notices: string[] = [];
  const cache = new CacheDirectory(join(home, 'file', 'vring'), (sentence) => notices.push(sentence));
  await cache.write('a', 1, (writer) => writer.write(bytes('1')));
  await cache.write('b', 1, (writer) => writer.write(bytes('2')));
  assert.equal(String(await cache.read('a')) + String(await cache.read('b')), '12');
  assert.equal(notices.length, 1);
  assert.match(notices[0]!, /cannot be used .* for this run only/);
  await cache.close();
  assert.equal(await cache.read('a'), undefined);
});

test('a root where folders cannot exist ends in the temporary directory too', {
  skip: existsSync('/proc/self') ? false : 'no /proc',
  timeout: 20_000,
}, async () => {
  const notices: string[] = [];
  const cache = new CacheDirectory('/proc/vring/cache', (sentence) => notices.push(sentence));
  await cache.write('a', 1, async (writer) => writer.write(bytes('x')));
  assert.equal(String(await cache.read('a')), 'x');
  assert.equal(notices.length, 1);
  await cache.close();
});

test('what a root that cannot be written holds is still read', async (t) => {
  const root = await folder(t);
  await new CacheDirectory(root).write('a', 1, (writer) => writer.write(bytes('old')));
  // A file in its place stops writing for root too, which permissions do not.
  await rm(join(root, 'tmp'), { recursive: true });
  await writeFile(join(root, 'tmp'), '');
  const cache = new CacheDirectory(root);
  t.after(() => cache.close());
  await cache.write('b', 1, (writer) => writer.write(bytes('new')));
  assert.equal(String(await cache.read('a')) + String(await cache.read('b')), 'oldnew');
});

test('a lock admits one at a time, in one process and in several', async (t) => {
  const root = await folder(t);
  const script = `
    import { CacheDirectory } from ${JSON.stringify(new URL('./cache-dir.js', import.meta.url).href)};
    import { readFile, writeFile } from 'node:fs/promises';
    const [root, count] = process.argv.slice(1);
    const cache = new CacheDirectory(root);
    const one = () => cache.withLock('counter', async () => {
      const value = Number(await readFile(root + '/counter', 'utf8'));
      await new Promise((resolve) => setTimeout(resolve, 5));
      await writeFile(root + '/counter', String(value + 1));
    });
    await Promise.all(Array.from({ length: Number(count) }, one));`;
  await writeFile(join(root, 'counter'), '0');
  const run = (): Promise<number | null> =>
    new Promise((resolve) => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', script, root, '4'], { stdio: 'inherit' });
      child.on('exit', resolve);
    });
  assert.deepEqual(await Promise.all([run(), run()]), [0, 0]);
  assert.equal(await readFile(join(root, 'counter'), 'utf8'), '8');
  assert.deepEqual(await readdir(join(root, 'locks')), []);
});

test('a dead holder does not block; a living one does', async (t) => {
  const root = await folder(t);
  const cache = new CacheDirectory(root);
  await mkdir(join(root, 'locks'));
  const lock = join(root, 'locks', 'x');
  const finished = spawn(process.execPath, ['-e', '']);
  await new Promise((resolve) => finished.on('exit', resolve));
  await writeFile(lock, `${hostname()}\n${finished.pid}\n`);
  assert.equal(await cache.withLock('x', async () => 'dead'), 'dead');
  await writeFile(lock, `another-host\n1\n`);
  await utimes(lock, new Date(), new Date(Date.now() - 60_000));
  assert.equal(await cache.withLock('x', async () => 'silent'), 'silent');
  await writeFile(lock, `${hostname()}\n${process.pid}\n`);
  const controller = new AbortController();
  let waits = 0;
  setTimeout(() => controller.abort(), 120);
  const attempt = cache.withLock(
    'x',
    async () => 'taken',
    controller.signal,
    () => waits++,
  );
  await assert.rejects(attempt, { code: 'aborted' });
  assert.equal(waits, 1);
});

test('what an interrupted process left in tmp is removed after a day', async (t) => {
  const root = await folder(t);
  const cache = new CacheDirectory(root);
  await mkdir(join(root, 'tmp'));
  await writeFile(join(root, 'tmp', 'old'), '12345');
  await writeFile(join(root, 'tmp', 'new'), '1');
  await utimes(join(root, 'tmp', 'old'), new Date(), new Date(Date.now() - 2 * 86_400_000));
  assert.equal(await cache.removeLeftOvers(), 5);
  assert.deepEqual(await readdir(join(root, 'tmp')), ['new']);
});
