/**
 * A writer of OpenPGP for the tests of this folder and of the archive: what it makes is also shown to gpgv, where that is
 * installed. No tests of its own.
 */
import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';

export const u16 = (n: number): Buffer => Buffer.from([(n >> 8) & 255, n & 255]);
export const u32 = (n: number): Buffer => Buffer.from([n >>> 24, (n >> 16) & 255, (n >> 8) & 255, n & 255]);
export function mpi(bytes: Uint8Array): Buffer {
  let start = 0;
  while (start < bytes.length && bytes[start] === 0) start++;
  const magnitude = bytes.subarray(start);
  const bits = magnitude.length === 0 ? 0 : magnitude.length * 8 - Math.clz32(magnitude[0]!) + 24;
  return Buffer.concat([u16(bits), magnitude]);
}
export function packet(tag: number, body: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([0xc0 | tag, 255]), u32(body.length), body]);
}
export function subpacket(type: number, body: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([255]), u32(body.length + 1), Buffer.from([type]), body]);
}

export interface TestKey {
  algorithm: number;
  body: Buffer;
  secret: KeyObject;
  fingerprint: string;
}
export function makeKey(kind: 'rsa' | 'rsa1024' | 'ed25519', created: number): TestKey {
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
export const hashed = (key: Buffer): Buffer => Buffer.concat([Buffer.from([0x99]), u16(key.length), key]);

export function makeSignature(
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

export const now = Math.floor(Date.now() / 1000);
export const born = now - 1000 * 86_400;
export const userId = Buffer.from('Test Archive <test@example.org>');
export const uidHashed = Buffer.concat([Buffer.from([0xb4]), u32(userId.length), userId]);
export const flags = (value: number): Buffer => subpacket(27, Buffer.from([value]));

export function makeKeyring(primary: TestKey, selfExtra: Buffer[] = [flags(3)], more: Buffer[] = []): Buffer {
  const self = makeSignature(primary, 0x13, Buffer.concat([hashed(primary.body), uidHashed]), born, selfExtra);
  return Buffer.concat([packet(6, primary.body), packet(13, userId), packet(2, self), ...more]);
}

export function armour(kind: string, bytes: Buffer): string {
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

/** Signs a text in the clear, as InRelease is. */
export function clearsignText(key: TestKey, text: string): string {
  const canonical = Buffer.from(
    text
      .replace(/\n$/, '')
      .split('\n')
      .map((line) => line.trimEnd())
      .join('\r\n'),
  );
  const escaped = text.replace(/\n?$/, '\n').replace(/^-/gm, '- -');
  return `-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n${escaped}${armour('SIGNATURE', packet(2, makeSignature(key, 1, canonical, now)))}`;
}
