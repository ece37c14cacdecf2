import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import {
  findLogin,
  parseAptOptions,
  parseDeb822Sources,
  parseLogins,
  parseOneLineSources,
  readAptConfiguration,
} from './apt-config.js';

test('apt.conf: scopes, lists, comments, quotes and #clear', () => {
  const options = new Map<string, string>();
  parseAptOptions(
    `// a comment
     Acquire::http::Proxy "http://one:3128/"; # another
     Acquire { https { Proxy "DIRECT"; Proxy::host.example "http://two:1"; }; Retries "3"; };
     /* APT::X "no"; */
     APT::NeverAutoRemove { "^a;}b$"; "c"; };
     Dir::Bin "/x"; Dir::Bin::y "z"; #clear Dir::Bin;
     Acquire::http { Proxy "http://later:80"; }`,
    options,
  );
  assert.deepEqual(Object.fromEntries(options), {
    'acquire::http::proxy': 'http://later:80',
    'acquire::https::proxy': 'DIRECT',
    'acquire::https::proxy::host.example': 'http://two:1',
    'acquire::retries': '3',
  });
});

test('sources.list: options, comments, types', () => {
  const sources = parseOneLineSources(
    [
      '# deb http://commented/debian stable main',
      'deb http://mirror.example/debian bookworm main contrib # tail',
      'deb-src http://mirror.example/debian bookworm main',
      'deb [arch=amd64,arm64 signed-by=/k.gpg,/l.asc check-valid-until=no] https://two.example/debian/ sid main',
      'deb http://flat.example ./',
      'deb broken',
    ].join('\n'),
  );
  assert.deepEqual(
    sources.map(({ uri, suite, components }) => [uri, suite, components.join('+')]),
    [
      ['http://mirror.example/debian', 'bookworm', 'main+contrib'],
      ['https://two.example/debian/', 'sid', 'main'],
      ['http://flat.example', './', ''],
    ],
  );
  assert.deepEqual(sources[1]!.architectures, ['amd64', 'arm64']);
  assert.deepEqual(sources[1]!.signedBy, ['/k.gpg', '/l.asc']);
  assert.equal(sources[1]!.checkValidUntil, false);
  assert.equal(sources[0]!.checkValidUntil, undefined);
});

test('deb822: several URIs and suites, Enabled, inline keys', () => {
  const sources = parseDeb822Sources(
    [
      'Types: deb deb-src',
      '# comment inside',
      'URIs: http://a.example/debian http://b.example/debian',
      'Suites: trixie',
      ' trixie-updates',
      'Components: main',
      'Signed-By:',
      ' -----BEGIN PGP PUBLIC KEY BLOCK-----',
      ' .',
      ' abcd',
      ' -----END PGP PUBLIC KEY BLOCK-----',
      '',
      'Enabled: no',
      'Types: deb',
      'URIs: http://off.example/debian',
      'Suites: trixie',
      '',
      'Types: deb-src',
      'URIs: http://source.example/debian',
      'Suites: trixie',
    ].join('\n'),
  );
  assert.deepEqual(
    sources.map(({ uri, suite }) => `${uri} ${suite}`),
    [
      'http://a.example/debian trixie',
      'http://a.example/debian trixie-updates',
      'http://b.example/debian trixie',
      'http://b.example/debian trixie-updates',
    ],
  );
  assert.deepEqual(sources[0]!.signedBy, [
    '-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabcd\n-----END PGP PUBLIC KEY BLOCK-----',
  ]);
});

test('logins are for their host and path, and for http only where they say so', () => {
  const logins = parseLogins(
    'machine a.example/private login me password secret\n# no\nmachine http://b.example login x\n password y',
  );
  assert.equal(findLogin(logins, new URL('https://a.example/private/dists'))?.password, 'secret');
  assert.equal(findLogin(logins, new URL('https://a.example/public')), undefined);
  assert.equal(findLogin(logins, new URL('http://a.example/private/')), undefined);
  assert.equal(findLogin(logins, new URL('http://b.example/x'))?.password, 'y');
});

test('a configuration directory is read in its order; a missing one is empty', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'vring-apt ü-'));
  t.after(() => rm(folder, { recursive: true }));
  assert.deepEqual(await readAptConfiguration(join(folder, 'none')), {
    sources: [],
    options: new Map(),
    logins: [],
    notices: [],
  });
  await mkdir(join(folder, 'apt.conf.d'));
  await mkdir(join(folder, 'sources.list.d'));
  await writeFile(join(folder, 'apt.conf.d', '10first'), 'Acquire::http::Proxy "http://first:1"; A::B "kept";');
  await writeFile(join(folder, 'apt.conf.d', '20second.conf'), 'Acquire::http::Proxy "http://second:2";');
  await writeFile(join(folder, 'apt.conf.d', '30old.dpkg-old'), 'Acquire::http::Proxy "http://old:3";');
  await writeFile(join(folder, 'apt.conf.d', '40detect'), 'Acquire::http::Proxy-Auto-Detect "/bin/find-proxy";');
  await writeFile(join(folder, 'sources.list'), 'deb http://one.example/debian stable main\n');
  await writeFile(join(folder, 'sources.list.d', 'x.list.disabled'), 'deb http://no.example/debian stable main\n');
  await writeFile(
    join(folder, 'sources.list.d', 'y.sources'),
    'Types: deb\nURIs: http://two.example/debian\nSuites: sid\n',
  );
  const { sources, options, notices } = await readAptConfiguration(folder);
  assert.equal(options.get('acquire::http::proxy'), 'http://second:2');
  assert.equal(options.get('a::b'), 'kept');
  assert.deepEqual(
    sources.map(({ uri }) => uri),
    ['http://one.example/debian', 'http://two.example/debian'],
  );
  assert.equal(notices.length, 1);
  assert.match(notices[0]!, /Proxy-Auto-Detect/);
});
