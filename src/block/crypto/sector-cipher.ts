/**
 * Disk encryption by sector: block ciphers in CBC, XTS, CTR or ECB mode with an IV made from the sector number (dm-crypt's `plain`,
 * `plain64`, `essiv`).
 *
 * XTS (IEEE 1619) is built here on ECB over the whole request, so that a request costs two calls of the host's cipher rather than one
 * per sector: ciphertext = ECB(plaintext xor T) xor T, where T of a sector begins with the encrypted sector number and doubles in
 * GF(2^128) from block to block.
 */
import { BlockError } from '../errors.js';
import type { BlockCipher, CryptoHost } from '../host.js';
import { softwareCipher } from './software-cipher.js';
import type { VolumeCipher } from './volume-cipher.js';

export interface CipherSpec {
  /** A key of `algorithms`. */
  readonly algorithm: string;
  readonly mode: 'cbc' | 'xts' | 'ctr' | 'ecb';
  readonly ivgen: 'plain' | 'plain64' | 'essiv' | undefined;
  readonly ivHash: string | undefined;
}

interface Algorithm {
  readonly family: string;
  readonly keyBytes: number;
  readonly blockBytes: number;
}

function ofAllKeySizes(family: string): [string, Algorithm][] {
  return [16, 24, 32].map((keyBytes) => [
    `${family.toLowerCase()}-${keyBytes * 8}`,
    { family, keyBytes, blockBytes: 16 },
  ]);
}

const algorithms: ReadonlyMap<string, Algorithm> = new Map([
  ...ofAllKeySizes('AES'),
  ...ofAllKeySizes('Serpent'),
  ...ofAllKeySizes('Twofish'),
  ['cast5-128', { family: 'CAST5', keyBytes: 16, blockBytes: 8 }],
]);

const xtsBlockBytes = 16;

/** Key length in bytes that the cipher itself takes; XTS needs twice that. */
export function cipherKeyBytes(algorithm: string): number | undefined {
  return algorithms.get(algorithm)?.keyBytes;
}

function primitive(crypto: CryptoHost, algorithm: string, mode: string, key: Uint8Array): BlockCipher {
  const cipher = crypto.cipher(`${algorithm}-${mode}`, key) ?? softwareCipher(algorithm, mode, key);
  if (!cipher) throw new BlockError('ENOTSUP', `Algorithm '${algorithm}' with mode ${mode} not supported`);
  return cipher;
}

/** Sector numbers as little-endian IVs of a block each, 64 bits wide (32 for `plain`). */
function sectorIvs(first: number, count: number, blockBytes: number, isNarrow: boolean): Uint8Array {
  const ivs = new Uint8Array(count * blockBytes);
  const view = new DataView(ivs.buffer);
  for (let index = 0; index < count; index++) {
    const sector = first + index;
    view.setUint32(index * blockBytes, sector % 2 ** 32, true);
    if (!isNarrow) view.setUint32(index * blockBytes + 4, Math.floor(sector / 2 ** 32), true);
  }
  return ivs;
}

function xorInto(target: Uint8Array, mask: Uint8Array): void {
  const words = target.length >> 2;
  if (target.byteOffset % 4 === 0 && mask.byteOffset % 4 === 0) {
    const a = new Uint32Array(target.buffer, target.byteOffset, words);
    const b = new Uint32Array(mask.buffer, mask.byteOffset, words);
    for (let index = 0; index < words; index++) a[index]! ^= b[index]!;
    return;
  }
  for (let index = 0; index < target.length; index++) target[index]! ^= mask[index]!;
}

/** Each sector's first tweak extended to all its blocks: times x, reduced by x^128 + x^7 + x^2 + x + 1, little-endian. */
function expandTweaks(first: Uint8Array, sectorBytes: number): Uint8Array {
  const sectors = first.length / xtsBlockBytes;
  const perSector = sectorBytes / xtsBlockBytes;
  const result = new Uint8Array(sectors * sectorBytes);
  const source = new DataView(first.buffer, first.byteOffset, first.byteLength);
  // Typed arrays are little-endian on every host that runs this.
  const words = new Uint32Array(result.buffer);
  let at = 0;
  for (let sector = 0; sector < sectors; sector++) {
    let a = source.getUint32(sector * 16, true);
    let b = source.getUint32(sector * 16 + 4, true);
    let c = source.getUint32(sector * 16 + 8, true);
    let d = source.getUint32(sector * 16 + 12, true);
    for (let block = 0; block < perSector; block++) {
      words[at] = a;
      words[at + 1] = b;
      words[at + 2] = c;
      words[at + 3] = d;
      at += 4;
      const carry = d >>> 31;
      d = (d << 1) | (c >>> 31);
      c = (c << 1) | (b >>> 31);
      b = (b << 1) | (a >>> 31);
      a = (a << 1) ^ (carry * 0x87);
    }
  }
  return result;
}

export function makeSectorCipher(
  crypto: CryptoHost,
  spec: CipherSpec,
  key: Uint8Array,
  sectorBytes = 512,
): VolumeCipher {
  const { algorithm, mode } = spec;
  const { family, blockBytes } = algorithms.get(algorithm)!;
  if (mode === 'xts' && blockBytes !== xtsBlockBytes) throw new BlockError('EINVAL', 'Unsupported cipher mode xts');
  const isNarrow = spec.ivgen === 'plain';
  const sectorOf = (offset: number): number => offset / sectorBytes;
  if (mode === 'ecb') {
    const cipher = primitive(crypto, algorithm, 'ecb', key);
    return {
      sectorBytes,
      encrypt: (_offset, bytes) => cipher.encrypt(undefined, bytes),
      decrypt: (_offset, bytes) => bytes.set(cipher.decrypt(undefined, bytes)),
    };
  }
  let makeIvs: (offset: number, count: number) => Uint8Array = (offset, count) =>
    sectorIvs(sectorOf(offset), count, blockBytes, isNarrow);
  if (spec.ivgen === 'essiv') {
    const salt = crypto.hash(spec.ivHash ?? 'sha256', key);
    if (!salt) throw new BlockError('ENOTSUP', `Hash algorithm '${spec.ivHash}' not supported`);
    if (blockBytes !== 16) throw new BlockError('EINVAL', `Cipher ${algorithm} not supported with essiv`);
    const ivAlgorithm = `${family.toLowerCase()}-${salt.length * 8}`;
    if (!algorithms.has(ivAlgorithm))
      throw new BlockError('EINVAL', `No ${family} cipher with key size ${salt.length} available`);
    const ivCipher = primitive(crypto, ivAlgorithm, 'ecb', salt);
    makeIvs = (offset, count) => ivCipher.encrypt(undefined, sectorIvs(sectorOf(offset), count, blockBytes, false));
  }
  if (mode === 'cbc' || mode === 'ctr') {
    const cipher = primitive(crypto, algorithm, mode, key);
    const each = (
      offset: number,
      bytes: Uint8Array,
      result: Uint8Array,
      step: (iv: Uint8Array, part: Uint8Array) => Uint8Array,
    ): void => {
      const ivs = makeIvs(offset, bytes.length / sectorBytes);
      for (let at = 0, index = 0; at < bytes.length; at += sectorBytes, index++) {
        result.set(
          step(ivs.subarray(index * blockBytes, (index + 1) * blockBytes), bytes.subarray(at, at + sectorBytes)),
          at,
        );
      }
    };
    return {
      sectorBytes,
      encrypt(offset, bytes) {
        const result = new Uint8Array(bytes.length);
        each(offset, bytes, result, (iv, part) => cipher.encrypt(iv, part));
        return result;
      },
      decrypt(offset, bytes) {
        each(offset, bytes, bytes, (iv, part) => cipher.decrypt(iv, part));
      },
    };
  }
  const half = key.length / 2;
  const data = primitive(crypto, algorithm, 'ecb', key.slice(0, half));
  const tweak = primitive(crypto, algorithm, 'ecb', key.slice(half));
  const tweaksFor = (offset: number, length: number): Uint8Array =>
    expandTweaks(tweak.encrypt(undefined, makeIvs(offset, length / sectorBytes)), sectorBytes);
  return {
    sectorBytes,
    encrypt(offset, bytes) {
      const tweaks = tweaksFor(offset, bytes.length);
      const masked = new Uint8Array(bytes);
      xorInto(masked, tweaks);
      const result = data.encrypt(undefined, masked);
      xorInto(result, tweaks);
      return result;
    },
    decrypt(offset, bytes) {
      const tweaks = tweaksFor(offset, bytes.length);
      xorInto(bytes, tweaks);
      bytes.set(data.decrypt(undefined, bytes));
      xorInto(bytes, tweaks);
    },
  };
}
