import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { gunzipSync } from 'node:zlib';
import { joinKeyrings, parseKeyring } from './keyring.js';
import {
  armour,
  born,
  clearsignText,
  flags,
  hashed,
  makeKey,
  makeKeyring,
  makeSignature,
  now,
  packet,
  subpacket,
  type TestKey,
  u32,
  uidHashed,
  userId,
} from './signing-support.test.js';
import { verifyCleartext, verifyDetached } from './verify.js';

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
test('the writer of clear signatures for other tests agrees with the verifier', () => {
  const { text: back } = verifyCleartext(bytes(clearsignText(ed, 'A: b\n- c\n')), parseKeyring(makeKeyring(ed)));
  assert.equal(back, 'A: b\n- c\n');
});
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
