import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { gunzipSync } from 'node:zlib';
import { joinKeyrings, parseKeyring } from './keyring.js';
import { verifyCleartext, verifyDetached } from './verify.js';

// A writer of OpenPGP for the tests: what it makes is also shown to gpgv, where that is installed.

const u16 = (n: number): Buffer => Buffer.from([(n >> 8) & 255, n & 255]);
const u32 = (n: number): Buffer => Buffer.from([n >>> 24, (n >> 16) & 255, (n >> 8) & 255, n & 255]);
function mpi(bytes: Uint8Array): Buffer {
  let start = 0;
  while (start < bytes.length && bytes[start] === 0) start++;
  const magnitude = bytes.subarray(start);
  const bits = magnitude.length === 0 ? 0 : magnitude.length * 8 - Math.clz32(magnitude[0]!) + 24;
  return Buffer.concat([u16(bits), magnitude]);
}
function packet(tag: number, body: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([0xc0 | tag, 255]), u32(body.length), body]);
}
function subpacket(type: number, body: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([255]), u32(body.length + 1), Buffer.from([type]), body]);
}

interface TestKey {
  algorithm: number;
  body: Buffer;
  secret: KeyObject;
  fingerprint: string;
}
function makeKey(kind: 'rsa' | 'rsa1024' | 'ed25519', created: number): TestKey {
  let algorithm: number;
  let material: Buffer;
  let secret: KeyObject;
  if (kind === 'ed25519') {
    const pair = generateKeyPairSync('ed25519');
    const point = Buffer.from(pair.publicKey.export({ format: 'jwk' }).x!, 'base64url');
    algorithm = 22;
    material = Buffer.concat([
      Buffer.from('092b06010401da470f01', 'hex'),
      mpi(Buffer.concat([Buffer.from([0x40]), point])),
    ]);
    secret = pair.privateKey;
  } else {
    const pair = generateKeyPairSync('rsa', { modulusLength: kind === 'rsa' ? 2048 : 1024 });
    const jwk = pair.publicKey.export({ format: 'jwk' });
    algorithm = 1;
    material = Buffer.concat([mpi(Buffer.from(jwk.n!, 'base64url')), mpi(Buffer.from(jwk.e!, 'base64url'))]);
    secret = pair.privateKey;
  }
  const body = Buffer.concat([Buffer.from([4]), u32(created), Buffer.from([algorithm]), material]);
  const fingerprint = createHash('sha1').update(hashed(body)).digest('hex').toUpperCase();
  return { algorithm, body, secret, fingerprint };
}
const hashed = (key: Buffer): Buffer => Buffer.concat([Buffer.from([0x99]), u16(key.length), key]);

function makeSignature(
  key: TestKey,
  type: number,
  object: Uint8Array,
  created: number,
  extra: Buffer[] = [],
  hashId = 8,
): Buffer {
  const issuer = subpacket(33, Buffer.concat([Buffer.from([4]), Buffer.from(key.fingerprint, 'hex')]));
  const area = Buffer.concat([subpacket(2, u32(created)), issuer, ...extra]);
  const head = Buffer.concat([Buffer.from([4, type, key.algorithm, hashId]), u16(area.length), area]);
  const hash = { 1: 'md5', 2: 'sha1', 8: 'sha256', 10: 'sha512' }[hashId]!;
  const message = Buffer.concat([object, head, Buffer.from([4, 255]), u32(head.length)]);
  const digest = createHash(hash).update(message).digest();
  let values: Buffer;
  if (key.algorithm === 22) {
    const both = sign(null, digest, key.secret);
    values = Buffer.concat([mpi(both.subarray(0, 32)), mpi(both.subarray(32))]);
  } else values = mpi(sign(hash, message, key.secret));
  const unhashed = subpacket(16, Buffer.from(key.fingerprint.slice(24), 'hex'));
  return Buffer.concat([head, u16(unhashed.length), unhashed, digest.subarray(0, 2), values]);
}

const now = Math.floor(Date.now() / 1000);
const born = now - 1000 * 86_400;
const userId = Buffer.from('Test Archive <test@example.org>');
const uidHashed = Buffer.concat([Buffer.from([0xb4]), u32(userId.length), userId]);
const flags = (value: number): Buffer => subpacket(27, Buffer.from([value]));

function makeKeyring(primary: TestKey, selfExtra: Buffer[] = [flags(3)], more: Buffer[] = []): Buffer {
  const self = makeSignature(primary, 0x13, Buffer.concat([hashed(primary.body), uidHashed]), born, selfExtra);
  return Buffer.concat([packet(6, primary.body), packet(13, userId), packet(2, self), ...more]);
}

function armour(kind: string, bytes: Buffer): string {
  let crc = 0xb704ce;
  for (const byte of bytes) {
    crc ^= byte << 16;
    for (let i = 0; i < 8; i++) crc = (crc << 1) & 0x1000000 ? (crc << 1) ^ 0x1864cfb : crc << 1;
  }
  const sum = u32(crc & 0xffffff)
    .subarray(1)
    .toString('base64');
  const lines = bytes
    .toString('base64')
    .match(/.{1,64}/g)!
    .join('\n');
  return `-----BEGIN PGP ${kind}-----\n\n${lines}\n=${sum}\n-----END PGP ${kind}-----\n`;
}

const text = 'Origin: Test\n- dashed line\nTrailing blanks \t\n\nFrom here: ä\n-----\nend';
const canonical = Buffer.from(
  text
    .split('\n')
    .map((line) => line.replace(/[ \t]+$/, ''))
    .join('\r\n'),
);
function clearsign(key: TestKey, created = now, extra: Buffer[] = [], hashId = 8, of = canonical): string {
  const escaped = text
    .split('\n')
    .map((line) => (line.startsWith('-') ? `- ${line}` : line))
    .join('\n');
  const signature = packet(2, makeSignature(key, 1, of, created, extra, hashId));
  return `-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n${escaped}\n${armour('SIGNATURE', signature)}`;
}
const bytes = (value: string): Uint8Array => Buffer.from(value);
const code = (expected: string, pattern?: RegExp) => (error: unknown) => {
  assert.equal((error as { code?: string }).code, expected, String(error));
  if (pattern) assert.match((error as Error).message, pattern);
  return true;
};

const rsa = makeKey('rsa', born);
const ed = makeKey('ed25519', born);

for (const [name, key] of [
  ['RSA', rsa],
  ['Ed25519', ed],
] as const) {
  test(`a text signed by ${name} verifies, and gpgv agrees`, (t) => {
    const keyring = makeKeyring(key);
    const document = clearsign(key);
    const result = verifyCleartext(bytes(document), parseKeyring(keyring));
    assert.equal(result.text, `${text.replace(/[ \t]+\n/g, '\n')}\n`);
    assert.deepEqual(result.signatures, [{ fingerprint: key.fingerprint, userId: userId.toString(), created: now }]);
    assert.equal(parseKeyring(bytes(armour('PUBLIC KEY BLOCK', keyring))).keys[0]!.fingerprint, key.fingerprint);

    const folder = mkdtempSync(join(tmpdir(), 'vring-pgp-'));
    t.after(() => rmSync(folder, { recursive: true }));
    writeFileSync(join(folder, 'ring.gpg'), keyring);
    writeFileSync(join(folder, 'document'), document);
    const gpgv = spawnSync('gpgv', [
      '--homedir',
      folder,
      '--keyring',
      join(folder, 'ring.gpg'),
      join(folder, 'document'),
    ]);
    if (gpgv.error !== undefined) t.diagnostic('gpgv is not installed: not compared');
    else assert.equal(gpgv.status, 0, gpgv.stderr.toString());
  });
}

test('every changed byte of the text, and text outside the signature, is refused', () => {
  const keyring = parseKeyring(makeKeyring(ed));
  const document = clearsign(ed);
  for (const [from, to] of [
    ['Origin', 'origin'],
    ['end\n', 'end!\n'],
    ['\n\nFrom', '\nFrom'],
  ] as const) {
    assert.throws(() => verifyCleartext(bytes(document.replace(from, to)), keyring), code('signature-bad'));
  }
  assert.throws(() => verifyCleartext(bytes(`x\n${document}`), keyring), code('openpgp-malformed'));
  assert.throws(() => verifyCleartext(bytes(`${document}x\n`), keyring), code('openpgp-malformed'));
  assert.throws(
    () => verifyCleartext(bytes(document.replace('- - dashed', '-- dashed')), keyring),
    code('openpgp-malformed'),
  );
  assert.throws(
    () => verifyCleartext(bytes(document.replace('Hash: SHA256', 'X: y')), keyring),
    code('openpgp-malformed'),
  );
  assert.ok(verifyCleartext(bytes(document.replaceAll('\n', '\r\n')), keyring));
});

test('weak and unknown algorithms are named', () => {
  const keyring = parseKeyring(makeKeyring(rsa));
  assert.throws(
    () => verifyCleartext(bytes(clearsign(rsa, now, [], 2)), keyring),
    code('signature-untrusted', /SHA-1/),
  );
  assert.throws(() => verifyCleartext(bytes(clearsign(rsa, now, [], 1)), keyring), code('signature-untrusted', /MD5/));
  const small = makeKey('rsa1024', born);
  assert.deepEqual(parseKeyring(makeKeyring(small)).keys, []);
  const critical = clearsign(rsa, now, [subpacket(0x80 | 99, Buffer.from([1]))]);
  assert.throws(() => verifyCleartext(bytes(critical), keyring), code('signature-untrusted', /subpacket 99/));
  const unknown = clearsign(rsa).replace(/\n\n[^-]+(-----END PGP SIGNATURE)/, (all, end: string) => {
    const body = makeSignature(rsa, 1, canonical, now);
    body[2] = 17;
    return all.startsWith('\n\n') ? `\n\n${packet(2, body).toString('base64')}\n${end}` : all;
  });
  assert.throws(() => verifyCleartext(bytes(unknown), keyring), code('signature-untrusted', /DSA/));
});

test('keys count only while they live, and only for what their flags allow', () => {
  const sentence = (ring: Buffer, document: string): string => {
    try {
      verifyCleartext(bytes(document), parseKeyring(ring));
    } catch (error) {
      return (error as Error).message;
    }
    return 'verified';
  };
  const life = (seconds: number): Buffer => subpacket(9, u32(seconds));
  assert.equal(sentence(makeKeyring(ed, [flags(2), life(1001 * 86_400)]), clearsign(ed)), 'verified');
  assert.match(sentence(makeKeyring(ed, [flags(2), life(999 * 86_400)]), clearsign(ed)), /key expired on \d{4}-/);
  assert.match(sentence(makeKeyring(ed, [flags(1)]), clearsign(ed)), /not in the keyring/);
  assert.match(sentence(makeKeyring(ed), clearsign(ed, now + 3 * 86_400)), /in the future/);
  assert.match(sentence(makeKeyring(ed), clearsign(ed, born - 5)), /older than its key/);
  assert.match(sentence(makeKeyring(ed), clearsign(ed, now - 100, [subpacket(3, u32(50))])), /expired on/);
  assert.match(sentence(makeKeyring(rsa), clearsign(ed)), new RegExp(`${ed.fingerprint} is not in the keyring`));
  const revocation = packet(2, makeSignature(ed, 0x20, hashed(ed.body), now));
  const revoked = Buffer.concat([packet(6, ed.body), revocation, makeKeyring(ed).subarray(packet(6, ed.body).length)]);
  assert.match(sentence(revoked, clearsign(ed)), /revoked/);
  const forged = packet(2, makeSignature({ ...rsa, fingerprint: ed.fingerprint }, 0x20, hashed(ed.body), now));
  const unrevoked = Buffer.concat([packet(6, ed.body), forged, makeKeyring(ed).subarray(packet(6, ed.body).length)]);
  assert.equal(sentence(unrevoked, clearsign(ed)), 'verified');
  // The user id's certification is by another key: the key has no valid self-signature then.
  const foreign = makeSignature(
    { ...rsa, fingerprint: ed.fingerprint },
    0x13,
    Buffer.concat([hashed(ed.body), uidHashed]),
    born,
  );
  assert.deepEqual(parseKeyring(Buffer.concat([packet(6, ed.body), packet(13, userId), packet(2, foreign)])).keys, []);
});

test('a subkey signs only when both keys agree', () => {
  const both = Buffer.concat([hashed(rsa.body), hashed(ed.body)]);
  const back = subpacket(32, makeSignature(ed, 0x19, both, born));
  const ring = (extra: Buffer[], after: Buffer[] = []): Buffer =>
    makeKeyring(
      rsa,
      [flags(1)],
      [packet(14, ed.body), packet(2, makeSignature(rsa, 0x18, both, born, extra)), ...after],
    );
  const good = parseKeyring(ring([flags(2), back]));
  assert.equal(good.keys[0]!.primaryFingerprint, rsa.fingerprint);
  assert.ok(verifyCleartext(bytes(clearsign(ed)), good));
  assert.deepEqual(parseKeyring(ring([flags(2)])).keys, []);
  assert.deepEqual(parseKeyring(ring([flags(4), back])).keys, []);
  assert.deepEqual(parseKeyring(ring([flags(2), subpacket(32, makeSignature(rsa, 0x19, both, born))])).keys, []);
  const revocation = packet(2, makeSignature(rsa, 0x28, both, now));
  assert.equal(parseKeyring(ring([flags(2), back], [revocation])).keys[0]!.revoked, true);
});

test('detached signatures, binary and text, armoured or not', () => {
  const keyring = parseKeyring(makeKeyring(ed));
  const document = Buffer.from('a\nb\n');
  const binary = packet(2, makeSignature(ed, 0, document, now));
  assert.equal(verifyDetached(document, binary, keyring).length, 1);
  assert.equal(verifyDetached(document, bytes(armour('SIGNATURE', binary)), keyring).length, 1);
  const ofText = packet(2, makeSignature(ed, 1, Buffer.from('a\r\nb\r\n'), now));
  assert.equal(verifyDetached(document, ofText, keyring).length, 1);
  assert.throws(() => verifyDetached(Buffer.from('a\nc\n'), binary, keyring), code('signature-bad'));
  assert.throws(() => verifyDetached(document, Buffer.alloc(0), keyring), code('openpgp-malformed'));
});

test('one good signature is enough beside an unknown one, none beside a bad one', () => {
  const keyring = parseKeyring(makeKeyring(ed));
  const document = Buffer.from('x');
  const good = packet(2, makeSignature(ed, 0, document, now));
  const unknown = packet(2, makeSignature(rsa, 0, document, now));
  const bad = packet(2, makeSignature(ed, 0, Buffer.from('y'), now));
  assert.equal(verifyDetached(document, Buffer.concat([unknown, good]), keyring).length, 1);
  assert.throws(() => verifyDetached(document, Buffer.concat([good, bad]), keyring), code('signature-bad'));
});

test('damaged keyrings and documents give the typed error or no key, and never hang', () => {
  const ring = makeKeyring(rsa);
  const document = clearsign(ed);
  const keyring = parseKeyring(makeKeyring(ed));
  let random = 12345;
  const next = (below: number): number => (random = (random * 1103515245 + 12345) & 0x7fffffff) % below;
  for (let round = 0; round < 400; round++) {
    const damagedRing = Buffer.from(ring);
    damagedRing[next(ring.length)]! ^= 1 << next(8);
    const damagedDocument = Buffer.from(document);
    damagedDocument[next(document.length)]! ^= 1 << next(8);
    for (const attempt of [
      () => parseKeyring(damagedRing),
      () => parseKeyring(ring.subarray(0, next(ring.length))),
      () => verifyCleartext(damagedDocument, keyring),
    ]) {
      try {
        attempt();
      } catch (error) {
        assert.match((error as { code?: string }).code ?? String(error), /^(openpgp-malformed|signature-)/);
      }
    }
  }
});

const shipped = readFileSync(new URL('../../../keys/debian-archive-keyring.gpg', import.meta.url));

test('the shipped keyring holds the keys that its README names, with their dates', () => {
  const readme = readFileSync(new URL('../../../keys/README.md', import.meta.url), 'utf8');
  const rows = [...readme.matchAll(/^\| ([0-9A-F]{40}) \| (.+?) \| (\S+) \|$/gm)].map(([, print, name, until]) => ({
    print,
    name,
    until,
  }));
  assert.equal(rows.length, 9);
  const { keys } = parseKeyring(shipped);
  const primaries = keys.filter((key) => key.fingerprint === key.primaryFingerprint);
  assert.deepEqual(
    primaries.map((key) => ({
      print: key.fingerprint,
      name: key.userId.replace(/ <.*/, ''),
      until: new Date(key.expires * 1000).toISOString().slice(0, 10),
    })),
    rows,
  );
  assert.equal(keys.length, 15); // Six of the nine sign with a subkey.
  assert.equal(joinKeyrings([{ keys }, { keys }]).keys.length, 15);
});

test("Debian's own InRelease verifies with the shipped keys, on the day it was recorded", () => {
  const file = new URL('../../../src/distro/testdata/bookworm-security-InRelease.gz', import.meta.url);
  const document = gunzipSync(readFileSync(file));
  const day = Date.UTC(2026, 10, 20);
  const { text: release, signatures } = verifyCleartext(document, parseKeyring(shipped, day), day);
  assert.match(release, /^Origin: Debian\n/);
  assert.ok(signatures.length >= 1);
  // Subkeys as `gpg --show-keys --with-subkey-fingerprint` lists them.
  const subkeys = ['ED541312A33F1128F10B1C6C54404762BBB6E853', 'B0CAB9266E8C3929798B3EEEBDE6D2B9216EC7A8'];
  assert.ok(
    signatures.every(({ fingerprint }) => subkeys.includes(fingerprint)),
    JSON.stringify(signatures),
  );
  const year2040 = Date.UTC(2040, 0, 1);
  assert.throws(
    () => verifyCleartext(document, parseKeyring(shipped), year2040),
    code('signature-untrusted', /expired/),
  );
});
