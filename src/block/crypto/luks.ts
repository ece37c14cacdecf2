/**
 * LUKS version 1 headers: reading, unlocking, creating, key slot changes. After the LUKS1 On-Disk Format Specification 1.2.3.
 * Shared by the `luks` format and by qcow2 (which keeps the same header inside its file). All fields are big-endian.
 */
import { BlockError } from '../errors.js';
import type { BlockHost, CryptoHost } from '../host.js';
import type { OptionValues } from '../options.js';
import { type CipherSpec, cipherKeyBytes, makeSectorCipher } from './sector-cipher.js';
import type { VolumeCipher } from './volume-cipher.js';

const magic = [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe];
export const luksHeadBytes = 592;
const slotCount = 8;
const slotActive = 0x00ac71f3;
const slotDisabled = 0x0000dead;
const stripesDefault = 4000;
const digestBytes = 20;
const saltBytes = 32;
const sector = 512;
const firstSlotOffset = 4096;
const minIterations = 1000;
/** More would let a header keep the reader busy for many minutes. */
const maxIterations = 2 ** 26;

export interface LuksSlot {
  isActive: boolean;
  iterations: number;
  salt: Uint8Array;
  /** Bytes from the header's start. */
  readonly offset: number;
  stripes: number;
}

export interface LuksHeader {
  readonly cipherName: string;
  readonly cipherMode: string;
  readonly hash: string;
  readonly payloadOffset: number;
  readonly keyBytes: number;
  readonly digest: Uint8Array;
  readonly digestSalt: Uint8Array;
  readonly digestIterations: number;
  readonly uuid: string;
  readonly slots: LuksSlot[];
  readonly spec: CipherSpec;
}

/** Reads and writes bytes of the area that holds header and key material. */
export interface LuksStorage {
  read(offset: number, length: number): Promise<Uint8Array>;
  write(offset: number, bytes: Uint8Array): Promise<void>;
}

export interface LuksOptions {
  readonly algorithm: string;
  readonly mode: CipherSpec['mode'];
  readonly ivgen: 'plain' | 'plain64' | 'essiv';
  readonly ivHash: string | undefined;
  readonly hash: string;
  readonly iterTimeMs: number;
}

function fail(message: string): never {
  throw new BlockError('EINVAL', message);
}

const knownHashes = ['md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512', 'ripemd160'];

/** Creation options, with `prefix` (`encrypt.` in qcow2) before their names; qemu-img's defaults and errors. */
export function parseLuksOptions(values: OptionValues, prefix: string): LuksOptions {
  const pick = (name: string, allowed: readonly string[], fallback: string): string => {
    const value = values.string(prefix + name);
    if (value === undefined) return fallback;
    if (!allowed.includes(value)) fail(`Parameter '${name}' does not accept value '${value}'`);
    return value;
  };
  const allCiphers = [
    'aes-128',
    'aes-192',
    'aes-256',
    'des',
    '3des',
    'cast5-128',
    'serpent-128',
    'serpent-192',
    'serpent-256',
    'twofish-128',
    'twofish-192',
    'twofish-256',
  ];
  const algorithm = pick('cipher-alg', allCiphers, 'aes-256');
  const mode = pick('cipher-mode', ['ecb', 'cbc', 'xts', 'ctr'], 'xts');
  const ivgen = pick('ivgen-alg', ['plain', 'plain64', 'essiv'], 'plain64');
  const ivHash =
    values.string(`${prefix}ivgen-hash-alg`) === undefined ? undefined : pick('ivgen-hash-alg', knownHashes, 'sha256');
  const hash = pick('hash-alg', knownHashes, 'sha256');
  if (cipherKeyBytes(algorithm) === undefined)
    throw new BlockError('ENOTSUP', `Algorithm '${algorithm}' not supported`);
  return {
    algorithm,
    mode: mode as LuksOptions['mode'],
    ivgen: ivgen as LuksOptions['ivgen'],
    ivHash: ivgen === 'essiv' ? (ivHash ?? 'sha256') : ivHash,
    hash,
    iterTimeMs: values.number(`${prefix}iter-time`) ?? 2000,
  };
}

function masterKeyBytes(options: LuksOptions): number {
  return cipherKeyBytes(options.algorithm)! * (options.mode === 'xts' ? 2 : 1);
}

function slotSectors(keyBytes: number, stripes: number): number {
  return Math.ceil(Math.ceil((keyBytes * stripes) / sector) / 8) * 8;
}

/** Bytes of header and key slots before the payload. */
export function luksPayloadOffset(options: LuksOptions): number {
  return firstSlotOffset + slotCount * slotSectors(masterKeyBytes(options), stripesDefault) * sector;
}

function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(bytes.slice(0, end < 0 ? bytes.length : end));
}

/** Does the file begin like a LUKS volume of version 1? */
export function isLuks(bytes: Uint8Array): boolean {
  return bytes.length >= 8 && magic.every((byte, index) => bytes[index] === byte) && bytes[6] === 0 && bytes[7] === 1;
}

export function parseLuksHeader(bytes: Uint8Array): LuksHeader {
  if (bytes.length < luksHeadBytes || !magic.every((byte, index) => bytes[index] === byte))
    fail('Volume is not in LUKS format');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = view.getUint16(6);
  if (version !== 1) throw new BlockError('ENOTSUP', `LUKS version ${version} is not supported`);
  const cipherName = text(bytes.subarray(8, 40));
  const cipherMode = text(bytes.subarray(40, 72));
  const hash = text(bytes.subarray(72, 104));
  const payloadOffset = view.getUint32(104) * sector;
  const keyBytes = view.getUint32(108);
  if (!knownHashes.includes(hash)) fail(`Hash algorithm '${hash}' not supported`);
  if (payloadOffset < luksHeadBytes) fail('LUKS payload is overlapping with the header');
  const slots: LuksSlot[] = [];
  for (let index = 0; index < slotCount; index++) {
    const at = 208 + index * 48;
    const state = view.getUint32(at);
    if (state !== slotActive && state !== slotDisabled) fail(`Keyslot ${index} state (active/disable) is corrupted`);
    const slot: LuksSlot = {
      isActive: state === slotActive,
      iterations: view.getUint32(at + 4),
      salt: bytes.slice(at + 8, at + 40),
      offset: view.getUint32(at + 40) * sector,
      stripes: view.getUint32(at + 44),
    };
    if (slot.stripes !== stripesDefault) fail(`Keyslot ${index} is corrupted (stripes ${slot.stripes} != 4000)`);
    if (slot.isActive && slot.iterations === 0) fail(`Keyslot ${index} iteration count is zero`);
    if (slot.isActive && slot.iterations > maxIterations)
      fail(`Keyslot ${index} iteration count ${slot.iterations} is too large`);
    const size = slotSectors(keyBytes, slot.stripes) * sector;
    if (slot.offset < luksHeadBytes) fail(`Keyslot ${index} is overlapping with the LUKS header`);
    if (slot.offset + keyBytes * stripesDefault > payloadOffset)
      fail(`Keyslot ${index} is overlapping with the encrypted payload`);
    for (const other of slots) {
      if (slot.offset < other.offset + size && other.offset < slot.offset + size)
        fail(`Keyslots ${slots.indexOf(other)} and ${index} are overlapping in the header`);
    }
    slots.push(slot);
  }
  if (keyBytes === 0 || keyBytes > 64) fail(`Key length ${keyBytes} is not supported`);
  const digestIterations = view.getUint32(164);
  if (digestIterations === 0) fail('LUKS key iteration count is zero');
  if (digestIterations > maxIterations) fail(`LUKS key iteration count ${digestIterations} is too large`);
  return {
    cipherName,
    cipherMode,
    hash,
    payloadOffset,
    keyBytes,
    digest: bytes.slice(112, 132),
    digestSalt: bytes.slice(132, 164),
    digestIterations,
    uuid: text(bytes.subarray(168, 208)),
    slots,
    spec: parseSpec(cipherName, cipherMode, keyBytes),
  };
}

/** `aes` and `xts-plain64` or `cbc-essiv:sha256` with a key length, as one specification. */
function parseSpec(name: string, modeText: string, keyBytes: number): CipherSpec {
  const match = /^([^-]*)-([^:]*)(?::(.*))?$/.exec(modeText);
  if (!match) throw new BlockError('ENOTSUP', `Unexpected cipher mode string format '${modeText}'`);
  const modes: readonly CipherSpec['mode'][] = ['ecb', 'cbc', 'xts', 'ctr'];
  const mode = modes.find((known) => known === match[1]) ?? fail(`Cipher mode '${match[1]}' not supported`);
  const each = mode === 'xts' ? Math.floor(keyBytes / 2) : keyBytes;
  const algorithm = `${name}-${each * 8}`;
  if (cipherKeyBytes(algorithm) === undefined || (mode === 'xts' && keyBytes % 2 !== 0))
    throw new BlockError('ENOTSUP', `Algorithm '${name}' with key size ${each} bytes not supported`);
  const ivgen = match[2];
  if (ivgen !== 'plain' && ivgen !== 'plain64' && ivgen !== 'essiv') fail(`IV generator '${ivgen}' not supported`);
  if (match[3] !== undefined && !knownHashes.includes(match[3])) fail(`Hash algorithm '${match[3]}' not supported`);
  if (ivgen === 'essiv' && match[3] === undefined) fail('Missing IV generator hash specification');
  return { algorithm, mode, ivgen, ivHash: match[3] };
}

function serializeHeader(header: LuksHeader): Uint8Array {
  const bytes = new Uint8Array(luksHeadBytes);
  const view = new DataView(bytes.buffer);
  const encoder = new TextEncoder();
  bytes.set(magic);
  view.setUint16(6, 1);
  bytes.set(encoder.encode(header.cipherName), 8);
  bytes.set(encoder.encode(header.cipherMode), 40);
  bytes.set(encoder.encode(header.hash), 72);
  view.setUint32(104, header.payloadOffset / sector);
  view.setUint32(108, header.keyBytes);
  bytes.set(header.digest, 112);
  bytes.set(header.digestSalt, 132);
  view.setUint32(164, header.digestIterations);
  bytes.set(encoder.encode(header.uuid), 168);
  header.slots.forEach((slot, index) => {
    const at = 208 + index * 48;
    view.setUint32(at, slot.isActive ? slotActive : slotDisabled);
    view.setUint32(at + 4, slot.iterations);
    bytes.set(slot.salt, at + 8);
    view.setUint32(at + 40, slot.offset / sector);
    view.setUint32(at + 44, slot.stripes);
  });
  return bytes;
}

// ---- anti-forensic splitter (specification, section 2.4)

function hashOf(crypto: CryptoHost, algorithm: string, bytes: Uint8Array): Uint8Array {
  const digest = crypto.hash(algorithm, bytes);
  if (!digest) throw new BlockError('ENOTSUP', `Hash algorithm '${algorithm}' not supported`);
  return digest;
}

/** Each digest-sized piece becomes the hash of its index and itself. */
function diffuse(crypto: CryptoHost, algorithm: string, block: Uint8Array): Uint8Array {
  const size = hashOf(crypto, algorithm, new Uint8Array(0)).length;
  const result = new Uint8Array(block.length);
  for (let at = 0, index = 0; at < block.length; at += size, index++) {
    const piece = block.subarray(at, at + size);
    const input = new Uint8Array(4 + piece.length);
    new DataView(input.buffer).setUint32(0, index);
    input.set(piece, 4);
    result.set(hashOf(crypto, algorithm, input).subarray(0, piece.length), at);
  }
  return result;
}

function split(crypto: CryptoHost, algorithm: string, key: Uint8Array, stripes: number): Uint8Array {
  const result = new Uint8Array(key.length * stripes);
  result.set(crypto.randomBytes(key.length * (stripes - 1)));
  let block: Uint8Array = new Uint8Array(key.length);
  for (let index = 0; index < stripes - 1; index++) {
    for (let at = 0; at < key.length; at++) block[at]! ^= result[index * key.length + at]!;
    block = diffuse(crypto, algorithm, block);
  }
  for (let at = 0; at < key.length; at++) result[(stripes - 1) * key.length + at] = block[at]! ^ key[at]!;
  return result;
}

function merge(
  crypto: CryptoHost,
  algorithm: string,
  material: Uint8Array,
  keyBytes: number,
  stripes: number,
): Uint8Array {
  let block: Uint8Array = new Uint8Array(keyBytes);
  for (let index = 0; index < stripes; index++) {
    for (let at = 0; at < keyBytes; at++) block[at]! ^= material[index * keyBytes + at]!;
    if (index < stripes - 1) block = diffuse(crypto, algorithm, block);
  }
  return block;
}

// ---- keys

async function unlockSlot(
  crypto: CryptoHost,
  header: LuksHeader,
  slot: LuksSlot,
  storage: LuksStorage,
  secret: Uint8Array,
): Promise<Uint8Array | undefined> {
  if (!slot.isActive) return undefined;
  const slotKey = await crypto.pbkdf2(header.hash, secret, slot.salt, slot.iterations, header.keyBytes);
  const size = Math.ceil((header.keyBytes * slot.stripes) / sector) * sector;
  const material = (await storage.read(slot.offset, size)).slice();
  makeSectorCipher(crypto, header.spec, slotKey).decrypt(0, material);
  const key = merge(crypto, header.hash, material, header.keyBytes, slot.stripes);
  const digest = await crypto.pbkdf2(header.hash, key, header.digestSalt, header.digestIterations, digestBytes);
  return digest.every((byte, index) => byte === header.digest[index]) ? key : undefined;
}

/** The master key that `secret` opens. */
export async function unlockLuks(
  crypto: CryptoHost,
  header: LuksHeader,
  storage: LuksStorage,
  secret: Uint8Array,
): Promise<Uint8Array> {
  for (const slot of header.slots) {
    const key = await unlockSlot(crypto, header, slot, storage, secret);
    if (key) return key;
  }
  return fail('Invalid password, cannot unlock any keyslot');
}

export function luksCipher(crypto: CryptoHost, header: LuksHeader, key: Uint8Array): VolumeCipher {
  return makeSectorCipher(crypto, header.spec, key);
}

/** PBKDF2 rounds that take about `ms` of CPU time here. */
async function iterationsFor(crypto: CryptoHost, hash: string, keyBytes: number, ms: number): Promise<number> {
  let rounds = 10_000;
  for (;;) {
    const before = crypto.threadCpuMs();
    await crypto.pbkdf2(hash, new Uint8Array(16).fill(1), new Uint8Array(32), rounds, keyBytes);
    const spent = crypto.threadCpuMs() - before;
    if (spent >= 20) return Math.min(maxIterations, Math.floor((rounds / spent) * ms));
    rounds *= spent < 5 ? 10 : 2;
  }
}

/** Encrypts the master key into a slot and writes its key material; the header is written by the caller. */
async function fillSlot(
  crypto: CryptoHost,
  header: LuksHeader,
  slot: LuksSlot,
  storage: LuksStorage,
  key: Uint8Array,
  secret: Uint8Array,
  iterTimeMs: number,
): Promise<void> {
  slot.iterations = Math.max(minIterations, await iterationsFor(crypto, header.hash, header.keyBytes, iterTimeMs));
  slot.salt = crypto.randomBytes(saltBytes);
  const slotKey = await crypto.pbkdf2(header.hash, secret, slot.salt, slot.iterations, header.keyBytes);
  const size = Math.ceil((header.keyBytes * slot.stripes) / sector) * sector;
  const material = new Uint8Array(size);
  material.set(split(crypto, header.hash, key, slot.stripes));
  await storage.write(slot.offset, makeSectorCipher(crypto, header.spec, slotKey).encrypt(0, material));
  slot.isActive = true;
}

function formatUuid(bytes: Uint8Array): string {
  const copy = bytes.slice();
  copy[6] = (copy[6]! & 0x0f) | 0x40;
  copy[8] = (copy[8]! & 0x3f) | 0x80;
  const hex = [...copy].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** Makes a new volume header with one key slot; gives it and the cipher. */
export async function createLuks(
  crypto: CryptoHost,
  options: LuksOptions,
  storage: LuksStorage,
  secret: Uint8Array,
): Promise<{ readonly header: LuksHeader; readonly cipher: VolumeCipher }> {
  const keyBytes = masterKeyBytes(options);
  const key = crypto.randomBytes(keyBytes);
  const digestSalt = crypto.randomBytes(saltBytes);
  const digestIterations = Math.max(
    minIterations,
    Math.floor((await iterationsFor(crypto, options.hash, digestBytes, options.iterTimeMs)) / 8),
  );
  const digest = await crypto.pbkdf2(options.hash, key, digestSalt, digestIterations, digestBytes);
  const each = slotSectors(keyBytes, stripesDefault) * sector;
  const slots: LuksSlot[] = [];
  for (let index = 0; index < slotCount; index++) {
    slots.push({
      isActive: false,
      iterations: 0,
      salt: new Uint8Array(saltBytes),
      offset: firstSlotOffset + index * each,
      stripes: stripesDefault,
    });
  }
  const cipherName = options.algorithm.slice(0, options.algorithm.lastIndexOf('-'));
  const cipherMode = `${options.mode}-${options.ivgen}${options.ivgen === 'essiv' ? `:${options.ivHash}` : ''}`;
  const header: LuksHeader = {
    cipherName,
    cipherMode,
    hash: options.hash,
    payloadOffset: luksPayloadOffset(options),
    keyBytes,
    digest,
    digestSalt,
    digestIterations,
    uuid: formatUuid(crypto.randomBytes(16)),
    slots,
    spec: parseSpec(cipherName, cipherMode, keyBytes),
  };
  await fillSlot(crypto, header, slots[0]!, storage, key, secret, options.iterTimeMs);
  await storage.write(0, serializeHeader(header));
  return { header, cipher: luksCipher(crypto, header, key) };
}

export interface LuksAmend {
  readonly state: 'active' | 'inactive';
  readonly newSecret: string | undefined;
  readonly oldSecret: string | undefined;
  readonly slot: number | undefined;
  readonly iterTimeMs: number;
}

/** `state` and secrets of `qemu-img amend`, with their option prefix. */
export function parseLuksAmend(values: OptionValues, prefix: string): LuksAmend {
  const state = values.string(`${prefix}state`);
  if (state === undefined) fail("Parameter 'state' is missing");
  if (state !== 'active' && state !== 'inactive') fail(`Parameter 'state' does not accept value '${state}'`);
  return {
    state,
    newSecret: values.string(`${prefix}new-secret`),
    oldSecret: values.string(`${prefix}old-secret`),
    slot: values.number(`${prefix}keyslot`),
    iterTimeMs: values.number(`${prefix}iter-time`) ?? 2000,
  };
}

/** Adds or erases key slots. `openSecret` is the one the volume was opened with. */
export async function amendLuks(
  host: BlockHost,
  header: LuksHeader,
  storage: LuksStorage,
  openSecretId: string | undefined,
  amend: LuksAmend,
  isForced: boolean,
): Promise<void> {
  const crypto = await host.crypto();
  if (amend.slot !== undefined && (amend.slot < 0 || amend.slot >= slotCount))
    fail(`Invalid keyslot ${amend.slot} specified, must be between 0 and ${slotCount - 1}`);
  if (amend.state === 'active') {
    if (amend.newSecret === undefined) fail("'new-secret' is required to activate a keyslot");
    if (amend.oldSecret !== undefined) fail("'old-secret' must not be given when activating keyslots");
    const slot =
      amend.slot === undefined ? header.slots.find((candidate) => !candidate.isActive) : header.slots[amend.slot];
    if (!slot) fail("Can't add a keyslot - all keyslots are in use");
    if (slot.isActive && !isForced) fail(`Refusing to overwrite active keyslot ${amend.slot} - please erase it first`);
    const open =
      openSecretId === undefined
        ? fail("Parameter 'key-secret' is required for cipher")
        : await host.secret(openSecretId);
    const key = await unlockLuks(crypto, header, storage, open).catch(() => fail('Failed to retrieve the master key'));
    await fillSlot(crypto, header, slot, storage, key, await host.secret(amend.newSecret), amend.iterTimeMs);
    await storage.write(0, serializeHeader(header));
    return;
  }
  if (amend.newSecret !== undefined) fail("'new-secret' must not be given when erasing keyslots");
  let doomed: LuksSlot[];
  if (amend.oldSecret !== undefined) {
    const secret = await host.secret(amend.oldSecret);
    doomed = [];
    const candidates = amend.slot === undefined ? header.slots : [header.slots[amend.slot]!];
    for (const slot of candidates) if (await unlockSlot(crypto, header, slot, storage, secret)) doomed.push(slot);
    if (doomed.length === 0)
      fail(
        amend.slot === undefined
          ? 'No keyslots match given (old) password for erase operation'
          : `Given keyslot ${amend.slot} doesn't contain the given old password for erase operation`,
      );
  } else if (amend.slot !== undefined) {
    doomed = [header.slots[amend.slot]!];
    if (!doomed[0]!.isActive && !isForced) fail(`Given keyslot ${amend.slot} is already erased (inactive) `);
  } else
    fail(
      'To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be given',
    );
  const left = header.slots.filter((slot) => slot.isActive && !doomed.includes(slot)).length;
  if (left === 0 && !isForced) {
    fail(
      amend.oldSecret !== undefined
        ? 'All the active keyslots match the (old) password that was given and erasing them will erase all the data in the image irreversibly - refusing operation'
        : 'Attempt to erase the only active keyslot ' +
            `${amend.slot} which will erase all the data in the image irreversibly - refusing operation`,
    );
  }
  for (const slot of doomed) {
    slot.isActive = false;
    slot.iterations = 0;
    slot.salt = new Uint8Array(saltBytes);
    await storage.write(0, serializeHeader(header));
    const size = Math.ceil((header.keyBytes * slot.stripes) / sector) * sector;
    await storage.write(slot.offset, crypto.randomBytes(size));
  }
}

/** Details for `info`, in QEMU's names and order. */
export function luksInfo(header: LuksHeader): Record<string, unknown> {
  return {
    'ivgen-alg': header.spec.ivgen ?? 'plain64',
    ...(header.spec.ivHash === undefined ? {} : { 'ivgen-hash-alg': header.spec.ivHash }),
    'hash-alg': header.hash,
    'cipher-alg': header.spec.algorithm,
    uuid: header.uuid,
    'cipher-mode': header.spec.mode,
    slots: header.slots.map((slot) =>
      slot.isActive
        ? { active: true, iters: slot.iterations, 'key-offset': slot.offset, stripes: slot.stripes }
        : { active: false, 'key-offset': slot.offset },
    ),
    'payload-offset': header.payloadOffset,
    'master-key-iters': header.digestIterations,
  };
}
