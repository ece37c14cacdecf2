import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { gzipSync } from 'node:zlib';
import { listCache, type PrepareDebianOptions, parseDebianName, prepareDebian, pruneCache } from './index.js';
import { indexModules, parseModule } from './kernel-modules.js';
import {
  armour,
  clearsignText,
  makeKey,
  makeKeyring,
  makeSignature,
  now,
  packet,
} from './openpgp/signing-support.test.js';
import { isNeeded, type PackageEntry, readPackages, resolveKernel } from './packages.js';

// An archive of our own: index, packages and signature made here, served over HTTP.

function tarOf(files: Record<string, Uint8Array>): Buffer {
  const blocks: Buffer[] = [];
  for (const [path, content] of Object.entries(files)) {
    const header = Buffer.alloc(512);
    header.write(`./${path}`, 0);
    for (const [at, value] of [
      [100, '0000644\0'],
      [108, '0000000\0'],
      [116, '0000000\0'],
      [124, `${content.length.toString(8).padStart(11, '0')}\0`],
      [136, '00000000000\0'],
      [148, '        '],
      [156, '0'],
      [257, 'ustar\0'],
      [263, '00'],
    ] as const) {
      header.write(value, at);
    }
    header.write(
      `${header
        .reduce((sum, byte) => sum + byte, 0)
        .toString(8)
        .padStart(6, '0')}\0 `,
      148,
    );
    blocks.push(header, Buffer.from(content), Buffer.alloc(-content.length & 511));
  }
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

function debOf(files: Record<string, Uint8Array>): Buffer {
  const parts = [Buffer.from('!<arch>\n')];
  for (const [name, content] of [
    ['debian-binary', Buffer.from('2.0\n')],
    ['control.tar.gz', gzipSync(tarOf({}))],
    ['data.tar.gz', gzipSync(tarOf(files))],
  ] as const) {
    parts.push(
      Buffer.from(`${name.padEnd(16)}${'0'.padEnd(12)}0     0     100644  ${String(content.length).padEnd(10)}\`\n`),
      content,
    );
    if (content.length & 1) parts.push(Buffer.from('\n'));
  }
  return Buffer.concat(parts);
}

/** A relocatable ELF64 of three sections: none, .modinfo, names. */
function moduleOf(...modinfo: string[]): Buffer {
  const info = Buffer.from(modinfo.map((line) => `${line}\0`).join(''));
  const names = Buffer.from('\0.modinfo\0.shstrtab\0');
  const elf = Buffer.alloc(64 + info.length + names.length + 3 * 64);
  elf.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  const table = 64 + info.length + names.length;
  elf.writeBigUInt64LE(BigInt(table), 0x28);
  elf.writeUInt16LE(64, 0x3a);
  elf.writeUInt16LE(3, 0x3c);
  elf.writeUInt16LE(2, 0x3e);
  elf.set(info, 64);
  elf.set(names, 64 + info.length);
  for (const [index, name, offset, size] of [
    [1, 1, 64, info.length],
    [2, 10, 64 + info.length, names.length],
  ] as const) {
    elf.writeUInt32LE(name, table + index * 64);
    elf.writeBigUInt64LE(BigInt(offset), table + index * 64 + 0x18);
    elf.writeBigUInt64LE(BigInt(size), table + index * 64 + 0x20);
  }
  return elf;
}

const version = '6.99.1+deb99-cloud-amd64';
const moduleRoot = `usr/lib/modules/${version}`;
const kernelDeb = debOf({
  [`boot/vmlinuz-${version}`]: Buffer.from('the kernel'),
  [`${moduleRoot}/kernel/drivers/virtio_net.ko`]: moduleOf(
    'depends=net_failover',
    'alias=virtio:d00000001v*',
    'name=virtio_net',
  ),
  [`${moduleRoot}/kernel/net/net_failover.ko.gz`]: gzipSync(moduleOf('depends=surprise-lib', 'name=net_failover')),
  [`${moduleRoot}/kernel/lib/surprise-lib.ko`]: moduleOf('depends=', 'name=surprise_lib'),
  [`${moduleRoot}/kernel/sound/unwanted.ko`]: moduleOf('depends='),
  [`${moduleRoot}/kernel/fs/fuse.ko`]: moduleOf('depends=not_there'),
  [`${moduleRoot}/modules.builtin`]: Buffer.from('kernel/fs/ext4/ext4.ko\n'),
});
const busyboxDeb = debOf({ 'usr/bin/busybox': Buffer.from('\0[\0[[\0mount\0sh\0~') });
const oldKernelDeb = debOf({ 'boot/vmlinuz-6.98.0-cloud-amd64': Buffer.from('an older kernel') });

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

interface Changes {
  files?: Record<string, Uint8Array | undefined>;
  release?: (text: string) => string;
  document?: (text: string) => string;
  detached?: boolean;
}

const key = makeKey('ed25519', Math.floor(Date.now() / 1000) - 100_000);
const keyring = makeKeyring(key);

function archiveFiles(changes: Changes = {}): Record<string, Uint8Array> {
  const entry = (name: string, packageVersion: string, deb: Uint8Array | undefined, depends = ''): string => {
    const filename = `pool/main/${name}_${packageVersion.replace(/^\d+:/, '')}_amd64.deb`;
    const bytes = deb ?? Buffer.from('meta');
    return `Package: ${name}\nVersion: ${packageVersion}\nArchitecture: amd64\n${depends}Filename: ${filename}\nSize: ${bytes.length}\nSHA256: ${sha256(bytes)}\n\n`;
  };
  const packages = gzipSync(
    [
      'Package: zzz\nVersion: 1\nDescription: linux-image-cloud-amd64\n\n',
      entry('linux-image-cloud-amd64', '6.98.0-1', undefined, 'Depends: linux-image-6.98.0-cloud-amd64 (= 6.98.0-1)\n'),
      entry('linux-image-cloud-amd64', '6.99.1-1', undefined, `Depends: linux-image-${version} (= 6.99.1-1)\n`),
      entry('linux-image-6.98.0-cloud-amd64', '6.98.0-1', oldKernelDeb),
      entry(`linux-image-${version}`, '6.99.1-1', kernelDeb),
      entry('busybox-static', '1:1.37.0-6', busyboxDeb),
    ].join(''),
  );
  const path = 'main/binary-amd64/Packages.gz';
  const plain =
    'Origin: Debian\nSuite: stable\nCodename: trixie\nVersion: 99.1\n' +
    `Date: ${new Date().toUTCString()}\nAcquire-By-Hash: yes\nArchitectures: amd64\n` +
    `SHA256:\n ${sha256(packages)} ${packages.length} ${path}\n`;
  const release = changes.release?.(plain) ?? plain;
  const document = clearsignText(key, release);
  const files: Record<string, Uint8Array | undefined> = {
    'dists/stable/InRelease': Buffer.from(changes.document?.(document) ?? document),
    [`dists/stable/main/binary-amd64/by-hash/SHA256/${sha256(packages)}`]: packages,
    [`pool/main/linux-image-${version}_6.99.1-1_amd64.deb`]: kernelDeb,
    'pool/main/busybox-static_1.37.0-6_amd64.deb': busyboxDeb,
    ...(changes.detached && {
      'dists/stable/InRelease': undefined,
      'dists/stable/Release': Buffer.from(release),
      'dists/stable/Release.gpg': Buffer.from(
        armour('SIGNATURE', packet(2, makeSignature(key, 0, Buffer.from(release), now))),
      ),
    }),
    ...changes.files,
  };
  return Object.fromEntries(Object.entries(files).filter(([, bytes]) => bytes !== undefined)) as Record<
    string,
    Uint8Array
  >;
}

interface Archive {
  mirror: string;
  requests: string[];
  set(changes: Changes): void;
}

async function serveArchive(t: TestContext): Promise<Archive> {
  let files = archiveFiles();
  const requests: string[] = [];
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url!).replace(/^\/debian\//, '');
    requests.push(path);
    const bytes = files[path];
    if (bytes === undefined) response.writeHead(404).end();
    else response.end(bytes);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const mirror = `http://127.0.0.1:${(server.address() as AddressInfo).port}/debian`;
  return { mirror, requests, set: (changes) => (files = archiveFiles(changes)) };
}

function temporaryFolder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'vring débian-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function optionsFor(
  t: TestContext,
  more: PrepareDebianOptions,
): PrepareDebianOptions & { cacheDirectory: string; notices: string[] } {
  const folder = temporaryFolder(t);
  const notices: string[] = [];
  return {
    cacheDirectory: join(folder, 'cache'),
    aptDirectory: join(folder, 'no-apt'),
    env: {},
    keyring,
    notices,
    onNotice: (sentence) => notices.push(sentence),
    ...more,
  };
}

/** Names and contents of the newc archives in a row. */
function unpackCpio(bytes: Uint8Array): Map<string, string> {
  const files = new Map<string, string>();
  const buffer = Buffer.from(bytes);
  for (let at = 0; at < buffer.length; ) {
    if (buffer[at] === 0) {
      at += 4;
      continue;
    }
    assert.equal(buffer.toString('latin1', at, at + 6), '070701');
    const field = (index: number): number =>
      Number.parseInt(buffer.toString('latin1', at + 6 + index * 8, at + 14 + index * 8), 16);
    const [sizeBytes, nameBytes] = [field(6), field(11)];
    const name = buffer.toString('utf8', at + 110, at + 110 + nameBytes - 1);
    const start = (at + 110 + nameBytes + 3) & ~3;
    if (name !== 'TRAILER!!!') files.set(name, buffer.toString('latin1', start, start + sizeBytes));
    at = (start + sizeBytes + 3) & ~3;
  }
  return files;
}

test('a suite is fetched, verified and made into kernel, initramfs and command line', async (t) => {
  const archive = await serveArchive(t);
  const stages = new Set<string>();
  const options = optionsFor(t, {
    mirror: archive.mirror,
    command: ['echo', "it's"],
    guestEnvironment: { TERM: 'xterm' },
    onProgress: ({ what }) => stages.add(what),
  });
  const result = await prepareDebian(options);
  assert.equal(Buffer.from(result.kernel).toString(), 'the kernel');
  assert.deepEqual(
    [result.suite, result.codename, result.release, result.kernelVersion, result.packageVersion, result.fromCache],
    ['stable', 'trixie', '99.1', version, '6.99.1-1', false],
  );
  assert.equal(result.append, 'console=ttyS0 quiet panic=-1');
  const files = unpackCpio(result.initrd);
  const modules = `lib/modules/${version}`;
  assert.equal(
    files.get(`${modules}/modules.dep`),
    'kernel/drivers/virtio_net.ko: kernel/net/net_failover.ko kernel/lib/surprise-lib.ko\n' +
      'kernel/lib/surprise-lib.ko:\nkernel/net/net_failover.ko: kernel/lib/surprise-lib.ko\n',
  );
  assert.equal(files.get(`${modules}/modules.alias`), 'alias virtio:d00000001v* virtio_net\n');
  assert.equal(files.get(`${modules}/modules.builtin`), 'kernel/fs/ext4/ext4.ko\n');
  assert.ok(files.get(`${modules}/kernel/net/net_failover.ko`)!.startsWith('\x7fELF'));
  assert.equal(files.get('bin/mount'), 'busybox');
  assert.equal(files.get('vring/command'), `set -- 'echo' 'it'\\''s'\n`);
  assert.equal(files.get('vring/environment'), "export TERM='xterm'\n");
  assert.match(files.get('init')!, /^#!\/bin\/busybox sh\n/);
  for (const name of files.keys())
    assert.ok(dirname(name) === '.' || files.has(dirname(name)), `${name} has its directory`);
  assert.ok(!archive.requests.some((path) => path.includes('6.98')));
  assert.deepEqual([...stages], ['index', 'busybox-static', `linux-image-${version}`, 'modules']);
  assert.deepEqual(options.notices, []);

  archive.requests.length = 0;
  const again = await prepareDebian({ ...options, command: undefined });
  assert.equal(again.fromCache, true);
  assert.equal(unpackCpio(again.initrd).get('vring/run'), "mode=shell\nconsole='ttyS0'\n");
  assert.equal((await prepareDebian({ ...options, suite: 'trixie', offline: true })).fromCache, true);
  assert.deepEqual(archive.requests, []);
  const refreshed = await prepareDebian({ ...options, refresh: true });
  assert.equal(refreshed.fromCache, false);
  assert.deepEqual(archive.requests, ['dists/stable/InRelease']);
});

test('two processes, and two calls, at once fetch once', async (t) => {
  const archive = await serveArchive(t);
  const options = optionsFor(t, { mirror: archive.mirror });
  const results = await Promise.all([prepareDebian(options), prepareDebian(options), prepareDebian(options)]);
  assert.deepEqual(results.map(({ fromCache }) => fromCache).sort(), [false, true, true]);
  assert.equal(archive.requests.filter((path) => path.endsWith('.deb')).length, 2);
});

test('what is wrong with an archive is a typed error, and nothing is kept', async (t) => {
  const archive = await serveArchive(t);
  const other = makeKeyring(makeKey('ed25519', 1_000_000));
  const kernelPath = `pool/main/linux-image-${version}_6.99.1-1_amd64.deb`;
  const changedDeb = Buffer.from(kernelDeb);
  changedDeb[changedDeb.length - 20]! ^= 1;
  const day = 86_400_000;
  const stale = `Date: ${new Date(Date.now() - 9 * day).toUTCString()}\nValid-Until: ${new Date(Date.now() - 2 * day).toUTCString()}`;
  const cases: [string, Changes, PrepareDebianOptions, string, RegExp?][] = [
    ['a changed index', { document: (text) => text.replace('99.1', '99.2') }, {}, 'signature-bad'],
    ['an unknown key', {}, { keyring: other }, 'signature-untrusted', /not in the keyring/],
    ['an unsigned page', { document: () => '<html>Log in</html>' }, {}, 'openpgp-malformed', /cannot be trusted/],
    ['another archive', { release: (text) => text.replace('Origin: Debian', 'Origin: Other') }, {}, 'archive-foreign'],
    [
      'another suite',
      { release: (text) => text.replace('stable', 'testing').replace('trixie', 'forky') },
      {},
      'archive-wrong-suite',
    ],
    ['an old index', { release: (text) => text.replace(/Date: .*/, stale) }, {}, 'archive-stale', /was valid until/],
    ['no such suite', {}, { suite: 'forky' }, 'archive-no-suite', /no suite 'forky'/],
    ['no such flavour', {}, { flavour: 'rt-amd64' }, 'archive-no-package', /no linux-image-rt-amd64/],
    ['no such architecture', {}, { architecture: 'riscv64' }, 'archive-no-architecture', /riscv64/],
    ['a missing package', { files: { [kernelPath]: undefined } }, {}, 'http-status', /404/],
    ['a changed package', { files: { [kernelPath]: changedDeb } }, {}, 'archive-hash-mismatch', /SHA-256/],
    ['a longer package', { files: { [kernelPath]: Buffer.concat([kernelDeb, kernelDeb]) } }, {}, 'download-too-large'],
    [
      'a shorter package',
      { files: { [kernelPath]: kernelDeb.subarray(9) } },
      {},
      'archive-hash-mismatch',
      /bytes instead of/,
    ],
    ['a nonsense suite', {}, { suite: '../etc' }, 'suite-invalid'],
    ['a nonsense architecture', {}, { architecture: 'pdp11' }, 'architecture-unknown', /amd64, i386/],
    ['a nonsense flavour', {}, { flavour: 'cherry' }, 'flavour-unknown', /cloud-amd64/],
    ['a nonsense mirror', {}, { mirror: 'gopher://x' }, 'mirror-invalid'],
    ['an empty command', {}, { command: [] }, 'command-invalid'],
    ['nothing cached', {}, { offline: true }, 'offline-missing', /not in the cache/],
    ['a cancelled start', {}, { signal: AbortSignal.abort() }, 'aborted'],
  ];
  for (const [what, changes, more, code, message] of cases) {
    archive.set(changes);
    const options = optionsFor(t, { mirror: archive.mirror, ...more });
    await assert.rejects(prepareDebian(options), (error: Error & { code?: string }) => {
      assert.equal(error.code, code, `${what}: ${error.message}`);
      if (message) assert.match(error.message, message, what);
      assert.match(error.message, /^[^\n]+[.]$/, what);
      return true;
    });
    const left = (await listCache(options)).systems;
    assert.deepEqual(left, [], what);
    const tmp = join(options.cacheDirectory, 'tmp');
    assert.deepEqual(
      await Promise.resolve()
        .then(() => readdirSync(tmp))
        .catch(() => []),
      [],
      what,
    );
  }
});

test('a stale index is used where apt is told so, with a notice', async (t) => {
  const archive = await serveArchive(t);
  archive.set({
    release: (text) =>
      text.replace(/Date: .*/, 'Date: Mon, 01 Jan 2024 00:00:00 UTC\nValid-Until: Mon, 08 Jan 2024 00:00:00 UTC'),
  });
  const options = optionsFor(t, { mirror: archive.mirror });
  mkdirSync(options.aptDirectory!, { recursive: true });
  writeFileSync(join(options.aptDirectory!, 'apt.conf'), 'Acquire::Check-Valid-Until "false";');
  assert.equal((await prepareDebian(options)).kernelVersion, version);
  assert.match(options.notices.join(), /valid until 2024-01-08/);
});

test("apt's mirror is used with its keys; by-hash is optional", async (t) => {
  const archive = await serveArchive(t);
  const options = optionsFor(t, { keyring: makeKeyring(makeKey('ed25519', 1_000_000)) });
  const sources = join(options.aptDirectory!, 'sources.list.d');
  mkdirSync(sources, { recursive: true });
  // Signed-By is a list of words: its paths hold no spaces.
  const keyFolder = mkdtempSync(join(tmpdir(), 'vring-keys-'));
  t.after(() => rmSync(keyFolder, { recursive: true }));
  const keyFile = join(keyFolder, 'mirror.gpg');
  writeFileSync(keyFile, keyring);
  writeFileSync(
    join(sources, 'x.sources'),
    `Types: deb\nURIs: http://third.invalid/chrome\nSuites: stable\nComponents: main\n\n` +
      `Types: deb\nURIs: ${archive.mirror}\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: ${keyFile}\n`,
  );
  archive.set({ release: (text) => text.replace('Acquire-By-Hash: yes\n', '') });
  await assert.rejects(prepareDebian({ ...options, mirror: archive.mirror }), { code: 'signature-untrusted' });
  // Without by-hash the index lies under its plain name.
  const packages = Object.entries(archiveFiles()).find(([path]) => path.includes('by-hash'))![1];
  archive.set({
    release: (text) => text.replace('Acquire-By-Hash: yes\n', ''),
    files: { 'dists/stable/main/binary-amd64/Packages.gz': packages },
  });
  const result = await prepareDebian(options);
  assert.equal(result.kernelVersion, version);
  assert.deepEqual(options.notices, []);
  assert.ok(archive.requests.includes('dists/stable/main/binary-amd64/Packages.gz'));
});

test('when a mirror fails, the next one serves, and a notice says so', async (t) => {
  const archive = await serveArchive(t);
  const options = optionsFor(t, {});
  mkdirSync(options.aptDirectory!, { recursive: true });
  const lines = ['http://127.0.0.1:1/debian', archive.mirror].map((uri) => `deb ${uri} stable main\n`);
  writeFileSync(join(options.aptDirectory!, 'sources.list'), lines.join(''));
  assert.equal((await prepareDebian(options)).kernelVersion, version);
  assert.equal(options.notices.length, 1);
  assert.match(options.notices[0]!, /127\.0\.0\.1:1: it refuses the connection\. .* was used instead\.$/);
});

test('an archive with a detached signature alone will do', async (t) => {
  const archive = await serveArchive(t);
  archive.set({ detached: true });
  assert.equal((await prepareDebian(optionsFor(t, { mirror: archive.mirror }))).kernelVersion, version);
  archive.set({ detached: true, files: { 'dists/stable/Release': Buffer.from('Origin: Debian\n') } });
  await assert.rejects(prepareDebian(optionsFor(t, { mirror: archive.mirror })), { code: 'signature-bad' });
});

test('a kernel in several packages is found by their dependencies', () => {
  const entry = (name: string, depends = '', packageVersion = '7'): PackageEntry => ({
    ...{
      name,
      depends,
      version: packageVersion,
      architecture: 'amd64',
      filename: `pool/${name}.deb`,
      sizeBytes: 1,
      sha256: '',
    },
  });
  const entries = [
    entry('linux-image-cloud-amd64', 'linux-base-cloud-amd64 (= 7), linux-image-7-cloud-amd64 (= 7)'),
    entry(
      'linux-image-7-cloud-amd64',
      'dracut | initramfs-tools, linux-binary-7-cloud-amd64 (= 7), linux-modules-7-cloud-amd64 (= 7)',
    ),
    entry('linux-binary-7-cloud-amd64'),
    entry('linux-modules-7-cloud-amd64', 'kmod, linux-image-7-cloud-amd64', '6'),
    entry('linux-modules-7-cloud-amd64', 'kmod, linux-image-7-cloud-amd64'),
    entry('linux-modules-8-cloud-amd64'),
  ];
  const found = resolveKernel(entries, 'linux-image-cloud-amd64')!;
  assert.deepEqual(
    found.map((each) => `${each.name} ${each.version}`),
    ['linux-image-7-cloud-amd64 7', 'linux-binary-7-cloud-amd64 7', 'linux-modules-7-cloud-amd64 7'],
  );
});

test('an archive on disk serves as well', async (t) => {
  const root = join(temporaryFolder(t), 'my archive', 'debian');
  for (const [path, bytes] of Object.entries(archiveFiles())) {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    writeFileSync(join(root, path), bytes);
  }
  const url = new URL(`file://${root}`).href;
  assert.equal((await prepareDebian(optionsFor(t, { mirror: url }))).kernelVersion, version);
  await assert.rejects(prepareDebian(optionsFor(t, { mirror: url, suite: 'sid' })), { code: 'archive-no-suite' });
});

test('an old pick is asked again, and serves on when nobody answers; damage is noticed', async (t) => {
  const archive = await serveArchive(t);
  const options = optionsFor(t, { mirror: archive.mirror });
  await prepareDebian(options);
  const pickPath = join(options.cacheDirectory, 'debian', 'picks', 'stable-amd64-cloud-amd64.json');
  const pick = JSON.parse(readFileSync(pickPath, 'utf8')) as { checkedMs: number; system: string };
  writeFileSync(pickPath, JSON.stringify({ ...pick, checkedMs: Date.now() - 8 * 86_400_000 }));
  const unreachable = { ...options, mirror: 'http://127.0.0.1:1/debian' };
  assert.equal((await prepareDebian(unreachable)).fromCache, true);
  assert.match(options.notices.join(), /refuses the connection.*fetched on \d{4}-\d\d-\d\d is used/);
  await assert.rejects(prepareDebian({ ...unreachable, refresh: true }), { code: 'network-unreachable' });
  assert.equal((await prepareDebian(options)).fromCache, false);

  const base = join(options.cacheDirectory, 'debian', 'systems', pick.system, 'initramfs.cpio');
  const bytes = readFileSync(base);
  bytes[1000]! ^= 1;
  writeFileSync(base, bytes);
  await assert.rejects(prepareDebian({ ...options, offline: true }), { code: 'offline-missing' });
  assert.match(options.notices.join(), /damaged/);
  assert.equal((await prepareDebian(options)).fromCache, false);
  assert.equal((await prepareDebian({ ...options, offline: true })).fromCache, true);
});

test('a cache that cannot be written is replaced for the run', async (t) => {
  const archive = await serveArchive(t);
  const options = optionsFor(t, { mirror: archive.mirror });
  mkdirSync(dirname(options.cacheDirectory), { recursive: true });
  writeFileSync(options.cacheDirectory, 'a file where the directory should be');
  assert.equal((await prepareDebian(options)).kernelVersion, version);
  assert.match(options.notices.join(), /for this run only/);
});

test('the cache is listed and pruned', async (t) => {
  const archive = await serveArchive(t);
  const options = optionsFor(t, { mirror: archive.mirror });
  assert.deepEqual((await listCache(options)).systems, []);
  await prepareDebian(options);
  const listing = await listCache(options);
  assert.deepEqual(
    listing.systems.map(({ name, codename, flavour }) => [name, codename, flavour]),
    [
      ['debian:stable', 'trixie', 'cloud-amd64'],
      ['debian:trixie', 'trixie', 'cloud-amd64'],
    ],
  );
  assert.ok(listing.systems[0]!.bytes > 1000 && listing.totalBytes > listing.systems[0]!.bytes);
  // An older kernel that nothing refers to goes; what is in use stays.
  const systems = join(options.cacheDirectory, 'debian', 'systems');
  cpSync(join(systems, readdirSync(systems)[0]!), join(systems, 'f'.repeat(32)), { recursive: true });
  const first = await pruneCache(options);
  assert.ok(first.removed.filter((name) => name.includes('f'.repeat(32))).length === 3 && first.freedBytes > 0);
  assert.equal((await prepareDebian({ ...options, offline: true })).fromCache, true);
  const picks = join(options.cacheDirectory, 'debian', 'picks');
  const longAgo = new Date(Date.now() - 40 * 86_400_000);
  utimesSync(join(picks, 'trixie-amd64-cloud-amd64.json'), longAgo, longAgo);
  assert.deepEqual((await pruneCache(options)).removed, ['debian/picks/trixie-amd64-cloud-amd64.json']);
  assert.equal((await pruneCache({ ...options, all: true })).removed.length, 4);
  assert.deepEqual(await listCache(options), { root: options.cacheDirectory, systems: [], totalBytes: 0 });
});

test('names: debian, debian:SUITE, and others', () => {
  assert.equal(parseDebianName('debian'), 'stable');
  assert.equal(parseDebianName('debian:bookworm'), 'bookworm');
  assert.equal(parseDebianName('disk.img'), undefined);
  assert.throws(() => parseDebianName('debian:'), { code: 'suite-invalid' });
  assert.throws(() => parseDebianName('debian:a/b'), { code: 'suite-invalid' });
});

test('the package index is read in pieces of any size, whatever else it holds', async () => {
  const text = `${'Package: other\nDescription: Package: busybox-static\n\n'.repeat(50)}Package: busybox-static\nVersion: 1\nFilename: pool/b.deb\nSize: 5\nSHA256: ${'a'.repeat(64)}\n\nPackage: linux-image-1-amd64\nVersion: 1\nFilename: ../../etc/passwd.deb\nSize: 5\nSHA256: ${'a'.repeat(64)}\n\nPackage: linux-image-2-amd64\nVersion: 3\nDepends: a,\n b\nFilename: pool/k.deb\nSize: 6\nSHA256: ${'b'.repeat(64)}\n`;
  for (const size of [1, 13, 4096]) {
    async function* pieces(): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < text.length; at += size) yield Buffer.from(text.slice(at, at + size));
    }
    const entries = await readPackages(pieces());
    assert.deepEqual(
      entries.map(({ name, depends, sizeBytes }) => [name, depends, sizeBytes]),
      [
        ['busybox-static', '', 5],
        ['linux-image-2-amd64', 'a, b', 6],
      ],
    );
    assert.deepEqual(
      resolveKernel(entries, 'linux-image-2-amd64')?.map((each) => each.version),
      ['3'],
    );
    assert.equal(resolveKernel(entries, 'linux-image-amd64'), undefined);
  }
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (;;) yield Buffer.alloc(65_536, 'x');
  }
  await assert.rejects(readPackages(endless()), { code: 'archive-damaged' });
  assert.equal(isNeeded('linux-image-6.1.0-1-amd64-dbg'), false);
});

test('kernel modules: damaged files are refused, cycles end', async () => {
  const good = moduleOf('depends=b', 'alias=with space', 'alias=pci:v1', 'softdep=pre: crypto-x y post: z');
  const module = await parseModule('kernel/a.ko', good);
  assert.deepEqual([module.depends, module.aliases, module.softDependencies], [['b'], ['pci:v1'], ['crypto-x', 'y']]);
  for (const broken of [
    Buffer.alloc(0),
    good.subarray(0, 40),
    good.subarray(0, good.length - 70),
    Buffer.from('\x7fELF'),
  ]) {
    await assert.rejects(parseModule('kernel/a.ko', broken), { code: 'archive-damaged' });
  }
  const cyclic = await parseModule('kernel/b.ko', moduleOf('depends=a'));
  const index = indexModules(
    new Map([
      ['a', module],
      ['b', cyclic],
    ]),
  );
  assert.equal(index.dep, 'kernel/a.ko: kernel/b.ko\nkernel/b.ko: kernel/a.ko\n');
});
