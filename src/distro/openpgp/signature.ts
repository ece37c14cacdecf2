/**
 * Signature packets, version 4: RFC 4880 section 5.2, with EdDSA of draft-ietf-openpgp-rfc4880bis (algorithm 22) and
 * Ed25519 of RFC 9580 (algorithm 27). Checks are done by node:crypto.
 *
 * Refused by name: MD5, SHA-1 and RIPEMD-160 digests, RSA below 2048 bits, DSA and ElGamal, packet versions but 4.
 */
import { createHash, createPublicKey, verify as cryptoVerify, type KeyObject } from 'node:crypto';
import { malformed, parseSubpackets, Reader } from './packets.js';

const hashNames: Record<number, string> = { 8: 'sha256', 9: 'sha384', 10: 'sha512', 11: 'sha224' };
const weakHashNames: Record<number, string> = { 1: 'MD5', 2: 'SHA-1', 3: 'RIPEMD-160' };

const publicKeyAlgorithms: Record<number, string> = {
  1: 'RSA',
  2: 'RSA (encrypt only)',
  3: 'RSA (sign only)',
  16: 'ElGamal',
  17: 'DSA',
  18: 'ECDH',
  19: 'ECDSA',
  22: 'EdDSA',
  25: 'X25519',
  27: 'Ed25519',
  28: 'Ed448',
};

export function algorithmName(id: number): string {
  return publicKeyAlgorithms[id] ?? `public-key algorithm ${id}`;
}

/** RFC 4880bis section 9.2: curve object identifiers, without the DER tag and length. */
const curves: Record<string, { name: string; sizeBytes: number }> = {
  '2a8648ce3d030107': { name: 'P-256', sizeBytes: 32 },
  '2b81040022': { name: 'P-384', sizeBytes: 48 },
  '2b81040023': { name: 'P-521', sizeBytes: 66 },
};
const ed25519Oid = '2b06010401da470f01';

export interface Signature {
  readonly type: number;
  readonly algorithm: number;
  readonly hash: number;
  /** Seconds since 1970; a signature without it is unusable. */
  readonly created: number | undefined;
  /** Seconds after `created`, 0 for never. */
  readonly expiresAfter: number;
  readonly keyExpiresAfter: number;
  readonly keyFlags: number | undefined;
  readonly issuerKeyId: string | undefined;
  readonly issuerFingerprint: string | undefined;
  /** The primary-key binding that a signing subkey's binding carries. */
  readonly embedded: Signature | undefined;
  /** A critical subpacket of unknown type: the signature must then be held invalid. */
  readonly unknownCritical: number | undefined;
  /** What is hashed after the signed object: section 5.2.4. */
  readonly trailer: Uint8Array;
  readonly values: Uint8Array;
}

const handledSubpackets = new Set([2, 3, 4, 5, 7, 9, 11, 16, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 32, 33, 34]);

/** Undefined for a version other than 4: such a packet is somebody else's, not an error. */
export function parseSignature(body: Uint8Array, depth = 0): Signature | undefined {
  const reader = new Reader(body);
  if (reader.u8() !== 4) return undefined;
  const type = reader.u8();
  const algorithm = reader.u8();
  const hash = reader.u8();
  const hashedArea = reader.take(reader.u16());
  const hashedEnd = reader.offset;
  const unhashedArea = reader.take(reader.u16());
  reader.take(2); // The first two digest octets: a hint only.
  const values = reader.take(reader.left);

  let created: number | undefined;
  let expiresAfter = 0;
  let keyExpiresAfter = 0;
  let keyFlags: number | undefined;
  let issuerKeyId: string | undefined;
  let issuerFingerprint: string | undefined;
  let embedded: Signature | undefined;
  let unknownCritical: number | undefined;
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex').toUpperCase();
  for (const [area, hashed] of [
    [unhashedArea, false],
    [hashedArea, true],
  ] as const) {
    for (const { type: kind, critical, body: content } of parseSubpackets(area)) {
      const field = new Reader(content);
      // The issuer and an embedded signature prove themselves; all else counts only when it is signed.
      if (kind === 16) issuerKeyId = hex(field.take(8));
      else if (kind === 33 && field.u8() === 4) issuerFingerprint = hex(field.take(20));
      else if (kind === 32 && depth === 0) embedded = parseSignature(content, 1);
      if (!hashed) continue;
      if (kind === 2) created = field.u32();
      else if (kind === 3) expiresAfter = field.u32();
      else if (kind === 9) keyExpiresAfter = field.u32();
      else if (kind === 27) keyFlags = field.left > 0 ? field.u8() : 0;
      if (critical && (!handledSubpackets.has(kind) || kind === 20)) unknownCritical = kind;
    }
  }
  const trailer = new Uint8Array(hashedEnd + 6);
  trailer.set(body.subarray(0, hashedEnd));
  trailer.set(
    [4, 0xff, hashedEnd >>> 24, (hashedEnd >>> 16) & 255, (hashedEnd >>> 8) & 255, hashedEnd & 255],
    hashedEnd,
  );
  return {
    type,
    algorithm,
    hash,
    created,
    expiresAfter,
    keyExpiresAfter,
    keyFlags,
    issuerKeyId,
    issuerFingerprint,
    embedded,
    unknownCritical,
    trailer,
    values,
  };
}

/** A public key's algorithm fields, ready for node:crypto, or why they cannot be used. */
export interface KeyMaterial {
  readonly algorithm: number;
  readonly key: KeyObject | undefined;
  /** Set when `key` is not: what is unsupported, by name. */
  readonly unusable: string | undefined;
  readonly sizeBytes: number;
}

function base64url(bytes: Uint8Array, sizeBytes = bytes.length): string {
  const padded = new Uint8Array(Math.max(sizeBytes, bytes.length));
  padded.set(bytes, padded.length - bytes.length);
  return Buffer.from(padded).toString('base64url');
}

/** Reads the algorithm-specific part of a v4 public key packet (RFC 4880 section 5.5.2). */
export function parseKeyMaterial(algorithm: number, reader: Reader): KeyMaterial {
  const unusable = (why: string): KeyMaterial => ({ algorithm, key: undefined, unusable: why, sizeBytes: 0 });
  const imported = (jwk: Record<string, string>, sizeBytes: number): KeyMaterial => {
    try {
      return { algorithm, key: createPublicKey({ key: jwk, format: 'jwk' }), unusable: undefined, sizeBytes };
    } catch {
      return unusable(`an invalid ${algorithmName(algorithm)} key`);
    }
  };
  switch (algorithm) {
    case 1:
    case 3: {
      const n = reader.mpi();
      const e = reader.mpi();
      const bits = n.length === 0 ? 0 : n.length * 8 - Math.clz32(n[0]!) + 24;
      if (bits < 2048) return unusable(`an RSA key of only ${bits} bits`);
      if (bits > 16384 || e.length > 8) return unusable('an RSA key of unreasonable size');
      return imported({ kty: 'RSA', n: base64url(n), e: base64url(e) }, n.length);
    }
    case 19: {
      const oid = Buffer.from(reader.take(reader.u8())).toString('hex');
      const point = reader.mpi();
      const curve = curves[oid];
      if (curve === undefined) return unusable(`ECDSA on the curve with object identifier ${oid}`);
      if (point.length !== 1 + 2 * curve.sizeBytes || point[0] !== 4) return unusable('an invalid ECDSA point');
      const x = base64url(point.subarray(1, 1 + curve.sizeBytes));
      const y = base64url(point.subarray(1 + curve.sizeBytes));
      return imported({ kty: 'EC', crv: curve.name, x, y }, curve.sizeBytes);
    }
    case 22: {
      const oid = Buffer.from(reader.take(reader.u8())).toString('hex');
      const point = reader.mpi();
      if (oid !== ed25519Oid) return unusable(`EdDSA on the curve with object identifier ${oid}`);
      if (point.length !== 33 || point[0] !== 0x40) return unusable('an invalid EdDSA point');
      return imported({ kty: 'OKP', crv: 'Ed25519', x: base64url(point.subarray(1)) }, 32);
    }
    case 27:
      return imported({ kty: 'OKP', crv: 'Ed25519', x: base64url(reader.take(32)) }, 32);
    default:
      return unusable(`${algorithmName(algorithm)}, which vring does not verify`);
  }
}

/** Undefined when the signature is cryptographically right over `signed`, else why it is not. */
export function checkSignature(signature: Signature, material: KeyMaterial, signed: Uint8Array[]): string | undefined {
  const weak = weakHashNames[signature.hash];
  if (weak !== undefined) return `it uses ${weak}, which is no longer safe`;
  const hash = hashNames[signature.hash];
  if (hash === undefined) return `it uses hash algorithm ${signature.hash}, which is unknown`;
  if (material.key === undefined) return `its key is ${material.unusable}`;
  if (signature.algorithm !== material.algorithm && !(signature.algorithm === 3 && material.algorithm === 1)) {
    return `it is made by ${algorithmName(signature.algorithm)} but its key is for ${algorithmName(material.algorithm)}`;
  }
  if (signature.unknownCritical !== undefined) {
    return `it has critical subpacket ${signature.unknownCritical}, which is unknown`;
  }
  const message = Buffer.concat([...signed, signature.trailer]);
  const size = material.sizeBytes;
  const reader = new Reader(signature.values);
  let right: boolean;
  const pair = (): Buffer => {
    const both = Buffer.alloc(2 * size);
    for (let which = 1; which <= 2; which++) {
      const value = reader.mpi();
      if (value.length > size) throw malformed('a signature value is too long');
      both.set(value, which * size - value.length);
    }
    return both;
  };
  switch (signature.algorithm) {
    case 1:
    case 3: {
      const value = reader.mpi();
      if (value.length > size) return 'its value is longer than its key';
      const padded = Buffer.alloc(size);
      padded.set(value, size - value.length);
      right = cryptoVerify(hash, message, material.key, padded);
      break;
    }
    case 19:
      right = cryptoVerify(hash, message, { key: material.key, dsaEncoding: 'ieee-p1363' }, pair());
      break;
    case 22:
      right = cryptoVerify(null, createHash(hash).update(message).digest(), material.key, pair());
      break;
    case 27:
      right = cryptoVerify(null, createHash(hash).update(message).digest(), material.key, reader.take(64));
      break;
    default:
      return `it uses ${algorithmName(signature.algorithm)}, which vring does not verify`;
  }
  return right ? undefined : 'it does not match the text';
}
