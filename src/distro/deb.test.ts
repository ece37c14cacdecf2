import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { gzipSync } from 'node:zlib';
import { characterDevice, directory, file, symlink, writeCpio } from './cpio.js';
import { listAr, readDeb } from './deb.js';
import { compareDebianVersions } from './debian-version.js';
import { type Compression, decompress, decompressAll } from './decompress.js';
import { readTar, type TarFile } from './tar.js';

// Made by GNU tar 1.34 (--format=gnu and pax), xz 5.4 and zstd 1.5: boot/vmlinuz-1, lib/link -> ../boot/vmlinuz-1,
// lib/modules/a.ko (`seq 1 300`), lib/ with a name of 120 x.
const samples = {
  xz: Buffer.from(
    '/Td6WFoAAATm1rRGAgAhARwAAAAQz1jM4Cf/AfxdABcLvBx9AZXAHUo+eRW/ePpNnj3OTOpzG7tHTo59BovV/78mhDiFdYNGgSya7qttAIF66h' +
      'N7OFtPed7sTBmbww2eMZhO5oNslfOggfXu9L1PEHYyLriIKprbQ+esvsjDT5y1e5LLrmqAkcUBFn/1cDan/Uzoa3r3GiRiciG0Nq69k1S5Coix' +
      'MErAvVqZExeEMd8LF7NShNHZ/6cG9k2SIdGfkZVx6ubX2IsHlG5yiYXtP+ILs/PCb35qMvz1oUQ2IROFwmGdDnRB1sOYcnqf06aX+YYNqaLlgW' +
      'm2nRVGlCOcu+cuXliXvBNKKnGsmwxrmzG2afNlog7ne/Is6l5J5zMqXC1H0MytkW/LK/nhjOK86Y23oB8YfYvBQY/ydjL8zaA4VFrQlum+VTZB' +
      '46LdIhdMiXgGUozxU9htJugR7CiwnIuIRgzGw4Q+4eYhUziAO6tlTh73agLChPnfRjNsuPLYbjMO47QeykDdPc9kb6LFu+0Rp22TYtdcuiAQYz' +
      'AN9rCAOiGnUopb+dnRhlAgBCkojNO0+3Pn4WgaA2Rr8T35W7W5z9MgtoyRDp1M1aEOV+tkyd/NY3ljDNZxOWx1t5spjmSkwLt8wQqNFPS+Hw84' +
      '+TvpDFXB0LmrZMTHL+R95p86ms3Qjp2O8pV422JdZGBPEVAjmFpcbU5XqLEA88tCTxz34SsAAZgEgFAAALh+BUaxxGf7AgAAAAAEWVo=',
    'base64',
  ),
  paxXz: Buffer.from(
    '/Td6WFoAAAFpIt42AgAhARwAAAAQz1jM4E//AqZdABcLxoeSWjunj8clDrgP6rp13xCCykHKX2e/dzdbecxUz5PA4FH3Ox7Da/377LGEDE6Rc9' +
      '4SPCHjS6VwQX6iJ952sDjZIcF23FHrO5phSEZlojG90gJXS8ub3xer3Os/iDnX/YHPvJIsHccGYv1aeVm3FjOiUQ27ch1vs28HsN6ZaPRjt5yP' +
      'QDCr8cOBUoSc+GuWGhn9VmpkZmld7ppR2JhcNKCcSI1ABFnQesySWR+L+jTpLhKsjIFM8audoTJSZ9sqlsWSkiR0c+cJ8NgmouCf8+QALUHLIt' +
      'IIJfCheFmnT4/gMjwZa3VlYhKmZqrpFFuv8DYxHTjjLOeiZx7o83SYQB6LOQP83wC9CMiNAL6b/lOTvpFBmKhz0v4zaQPulk7BfgTUSrdes9Sf' +
      'PpAgwd0VJIKhlt/dxHFzTX+QQsPagGPKmEhpnuNsUe7s1D/qlaJTA6E5NYsrkCYVJD9+/n7wG29SRpM0snLdhCIr0YpcHy2sBJNfpkPr6ZDiqY' +
      'p34gjSnCONb93gGjkuNTTvnEf2Y2AdiuSsPfGUaCsD8Qs3MWSezHgMfgRuyDmdxWDd3vkZVWtL/dGIQweQGjT78f9UiKBpSnkYXJbT/VvNnmY+' +
      'rUsyiDb1qUggt6+Bwx5E6+bZ82FoZvYJ2nVMM7iSqa6jwAYklY+y2w4eMbgRiwPX9o1JiV6eIhFIHJosChOJrSKYLNQuZZBrpedIeg4AMpRjB+' +
      'WNTVj0sDTmMnguawK96FhDi/vwWqBBuYxe9B3rAjA9+q7ik/lv5pNMVZ5svyKASgYViICnJZRMQH31UGaJtQmlLg+PVwBINZSy57qFJDVyMqgp' +
      'MpNhNH6Rg+oSCeNSmlTheeYnEDzQjgPD2MhUC6Wwtv1aKmNc+WxnZr475Td4EOEsAAAAAJeZ3RwAAb4FgKABALLzTwY+MA2LAgAAAAABWVo=',
    'base64',
  ),
  zst: Buffer.from(
    'KLUv/WQAJ8UWAGpMNAkdUE0KmgMzAMYZPzCBqaqrBG0iIkKkbG83OxMmIdinAH4AfQD2qK+2umqqp5a6NWtRD/poo4smemihS5MW9Jhvtrlmmm' +
      'eWuTNnMQ/5ZJNLJnlkkStTFvLo161Xpz5deju76IMfN16c+HDh5eSCj2+7pme5U0yNYBsUKBAw0QUHBxggGGhYoNDpmCkQncNCgQQMCwqHGQ4w' +
      'aHBAgQBwMJPaTDHABAgMEjAsiEAswYUCCwqHBw0NDQ4AADQg8MABhAMBOJTKxIHIxGFBIVyIlziJC+Jj+A234TWchs9wGd7hHC6GD+En3ISXcB' +
      'I+wkV4hVO4ED7Kr9zKq5zKp1zKW85yUT7Ij9zIi5zIh1zIS05yQT4EP8FN8BKcBB/BRfAKTsGF4GN8YxvXmMYzlnHHHIvxuO+2u26655a7N29x' +
      'D/tss8sme2yxa9MWAUL6aL92a692ap92aW8720X7YD92Yy92Yh92YS872QX7EP1EN9FLdBJ9RBfRKzpFF6KPwW9wG7wGp8FncBm8g3NwMfg4fs' +
      'fteB2n43Ncjvc4j4vjw/gZN+NlnIyPcTFe4zQujI/iV9yKV3EqPsWleIuzuCg+iB9xI17EifhQDCRTQhIGsGgcgIBBwwABCwoLCkLIY/Qb3Uav' +
      '0Wn0GV1G7+gcXYw+rt91u17X6fpcl+u9zuvi+rB+1s16WSfrY12s1zqtC+uj+lW36lWdqk91qd7qrC6qD+pH3agXdaI+1IV6qZO6oD6m33SbXt' +
      'Np+kyX6Z3O6WL6kH7STXpJJ+kjXaRXOqUHMKBxrbKoAlWW/TvwSCSQIJJ5PDLap0u8VfgXyLFqsGzAkkMYoPRfD1EF5emAYARDtQEAUCH2gGQ6' +
      'DLj2P4QukKkdo/KR4gZ04rVa6hcGmFqV+qFCEuDEnGECwEIFK0PtxoBGXX1qAqNqxxAvE6lx1YsBmpIL4DmpcYjZVlCk3RMgNTigTw8PkMyQDA' +
      '==',
    'base64',
  ),
};

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function collect(source: AsyncIterable<TarFile>): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for await (const { path, kind, content, linkTarget } of source) {
    found[path] = kind === 'file' ? Buffer.from(content).toString() : `${kind} ${linkTarget}`.trim();
  }
  return found;
}

const numbers = Array.from({ length: 300 }, (_, index) => `${index + 1}\n`).join('');
const expected = {
  '': 'directory',
  boot: 'directory',
  'boot/vmlinuz-1': 'kernel\n',
  lib: 'directory',
  'lib/link': 'symlink ../boot/vmlinuz-1',
  'lib/modules': 'directory',
  'lib/modules/a.ko': numbers,
  [`lib/${'x'.repeat(120)}`]: 'long\n',
};

test('tar archives of GNU tar are read through each compression, in pieces of any size', async () => {
  const plain = await decompressAll('xz', samples.xz, 1 << 20);
  const cases: [Compression, Uint8Array][] = [
    ['xz', samples.xz],
    ['xz', samples.paxXz],
    ['zst', samples.zst],
    ['gz', gzipSync(plain)],
    ['none', plain],
  ];
  for (const [compression, bytes] of cases) {
    for (const size of [7, 512, 1 << 20]) {
      const found = await collect(readTar(decompress(compression, inPieces(bytes, size)), () => true, 1 << 20));
      assert.deepEqual(found, expected, `${compression} in pieces of ${size}`);
    }
  }
});

test('only what is wanted is held, to a bound', async () => {
  const plain = await decompressAll('xz', samples.xz, 1 << 20);
  const kernelOnly = await collect(readTar(inPieces(plain, 100), ({ path }) => path.startsWith('boot/'), 7));
  assert.deepEqual(kernelOnly, { 'boot/vmlinuz-1': 'kernel\n' });
  await assert.rejects(collect(readTar(inPieces(plain, 100), ({ path }) => path.startsWith('boot/'), 6)), {
    code: 'archive-damaged',
  });
  await assert.rejects(decompressAll('xz', samples.xz, 1000), { code: 'archive-damaged' });
});

test('damaged data of every kind gives the typed error, and the next stream works', async () => {
  const plain = await decompressAll('xz', samples.xz, 1 << 20);
  let random = 99;
  const next = (below: number): number => (random = (random * 1103515245 + 12345) & 0x7fffffff) % below;
  for (const [compression, bytes] of [
    ['xz', samples.xz],
    ['zst', samples.zst],
    ['gz', gzipSync(plain)],
    ['none', plain],
  ] as const) {
    let failures = 0;
    for (let round = 0; round < 60; round++) {
      const broken = Buffer.from(round % 2 ? bytes.subarray(0, next(bytes.length)) : bytes);
      if (round % 2 === 0) broken[next(broken.length)]! ^= 1 << next(8);
      try {
        await collect(readTar(decompress(compression, inPieces(broken, 1000)), () => true, 1 << 20));
      } catch (error) {
        failures++;
        assert.equal(
          (error as { code?: string }).code,
          'archive-damaged',
          `${compression} round ${round}: ${String(error)}`,
        );
      }
    }
    assert.ok(failures >= 25, `${compression}: only ${failures} of 60 were found`);
  }
  assert.deepEqual(await collect(readTar(decompress('xz', inPieces(samples.xz, 999)), () => true, 1 << 20)), expected);
});

test('a stream that is left early lets the next one run', async () => {
  for (let round = 0; round < 3; round++) {
    for await (const part of decompress('xz', inPieces(samples.xz, 50))) {
      assert.ok(part.length > 0);
      break;
    }
  }
  assert.equal((await decompressAll('xz', samples.xz, 1 << 20)).length, 10240);
});

function ar(members: [string, Uint8Array][]): Buffer {
  const parts: Uint8Array[] = [Buffer.from('!<arch>\n')];
  for (const [name, content] of members) {
    const fields = `${name.padEnd(16)}${'0'.padEnd(12)}${'0'.padEnd(6)}${'0'.padEnd(6)}${'100644'.padEnd(8)}`;
    parts.push(Buffer.from(`${fields}${String(content.length).padEnd(10)}\`\n`), content);
    if (content.length & 1) parts.push(Buffer.from('\n'));
  }
  return Buffer.concat(parts);
}

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'vring-deb-'));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

test('packages: the data member is found and read, others are refused by name', async (t) => {
  const path = join(folder(t), 'a.deb');
  const version: [string, Uint8Array] = ['debian-binary', Buffer.from('2.0\n')];
  const control: [string, Uint8Array] = ['control.tar.xz', Buffer.from('odd')];
  writeFileSync(path, ar([version, control, ['data.tar.xz', samples.xz]]));
  assert.deepEqual(
    (await listAr(path)).map(({ name, sizeBytes }) => [name, sizeBytes]),
    [
      ['debian-binary', 4],
      ['control.tar.xz', 3],
      ['data.tar.xz', samples.xz.length],
    ],
  );
  assert.deepEqual(await collect(readDeb(path, () => true, 1 << 20)), expected);
  for (const [bytes, code] of [
    [ar([version, control]), 'archive-damaged'],
    [ar([version, ['data.tar.br', samples.xz]]), 'archive-unsupported'],
    [ar([['data.tar.xz', samples.xz]]), 'archive-damaged'],
    [ar([version, ['data.tar.xz', samples.xz]]).subarray(0, 300), 'archive-damaged'],
    [Buffer.from('<html>'), 'archive-damaged'],
    [Buffer.alloc(0), 'archive-damaged'],
    [ar([version, ['data.tar', Buffer.alloc(0)]]), 'archive-damaged'],
  ] as const) {
    writeFileSync(path, bytes);
    await assert.rejects(collect(readDeb(path, () => true, 1 << 20)), { code });
  }
});

test('Debian versions are ordered as dpkg orders them', (t) => {
  const ascending = [
    ['1.0~beta1~svn1245', '1.0~beta1'],
    ['1.0~beta1', '1.0'],
    ['1.0', '1.0-1'],
    ['6.1.9-1', '6.1.10-1'],
    ['6.12.94-1', '6.12.107-1'],
    ['6.1.170-3~deb11u1', '6.1.170-3'],
    ['9', '1:0'],
    ['1.0a', '1.0+'],
    ['1.0', '1.0a'],
    ['1:1.35.0-4+b3', '1:1.35.0-4+deb12u1+b1'],
    ['1.2-3-4', '1.2-3-5'],
    ['2.0~', '2.0'],
    ['a', 'a0a'],
  ] as const;
  const dpkg = spawnSync('dpkg', ['--version']).status === 0;
  if (!dpkg) t.diagnostic('dpkg is not installed: not compared');
  for (const [low, high] of ascending) {
    assert.equal(compareDebianVersions(low, high), -1, `${low} < ${high}`);
    assert.equal(compareDebianVersions(high, low), 1, `${high} > ${low}`);
    assert.equal(compareDebianVersions(low, low), 0);
    if (dpkg)
      assert.equal(spawnSync('dpkg', ['--compare-versions', low, 'lt', high]).status, 0, `dpkg: ${low} < ${high}`);
  }
  assert.equal(compareDebianVersions('1.00', '1.0'), 0);
  assert.equal(compareDebianVersions('0:1', '1'), 0);
  assert.equal(compareDebianVersions('1.0', '1.0-0'), 0);
});

test('cpio: header fields are those of the format, and busybox unpacks the archive', (t) => {
  const archive = writeCpio([
    directory('dir'),
    file('dir/text', 'hello\n', 0o755),
    file('empty', ''),
    symlink('link', 'dir/text'),
    characterDevice('dir/console', 5, 1),
  ]);
  assert.equal(archive.length % 512, 0);
  const first = Buffer.from(archive.buffer, 0, 114).toString('latin1');
  // newc: magic, inode, mode, uid, gid, links, time, size, device (2), node (2), name size, checksum; then the name.
  const fields = [
    '00000001',
    '000041ED',
    '00000000',
    '00000000',
    '00000001',
    '00000000',
    '00000000',
    '00000000',
    '00000000',
    '00000000',
    '00000000',
    '00000004',
    '00000000',
  ];
  assert.equal(first, `070701${fields.join('')}dir\0`);
  assert.match(Buffer.from(archive).toString('latin1'), /TRAILER!!!\0+$/);

  const path = folder(t);
  const list = spawnSync('busybox', ['cpio', '-idmv', '--quiet'], { cwd: path, input: archive });
  if (list.error !== undefined) {
    t.diagnostic('busybox is not installed: not compared');
    return;
  }
  assert.equal(readFileSync(join(path, 'dir', 'text'), 'utf8'), 'hello\n');
  assert.equal(readFileSync(join(path, 'link'), 'utf8'), 'hello\n');
  assert.equal(readFileSync(join(path, 'empty'), 'utf8'), '');
});
