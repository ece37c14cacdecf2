/** Encrypted qcow2 images: LUKS (header kept in the image) and the legacy AES-128-CBC with the password as key. */
import {
  amendLuks,
  createLuks,
  type LuksHeader,
  type LuksStorage,
  luksCipher,
  luksInfo,
  luksPayloadOffset,
  parseLuksAmend,
  parseLuksHeader,
  parseLuksOptions,
  unlockLuks,
} from '../../crypto/luks.js';
import { makeSectorCipher } from '../../crypto/sector-cipher.js';
import { BlockError } from '../../errors.js';
import type { BlockHost } from '../../host.js';
import type { OptionValues } from '../../options.js';
import type { CreateSettings } from './create.js';
import type { Qcow2Image } from './image.js';
import { CryptMethod } from './layout.js';

/** Largest LUKS header that is read whole for `info`. */
const headBytes = 592;

const headers = new WeakMap<Qcow2Image, LuksHeader>();
const secretIds = new WeakMap<Qcow2Image, string>();

function fail(message: string): never {
  throw new BlockError('EINVAL', message);
}

function storageOf(image: Qcow2Image): LuksStorage {
  const { encryption } = image.header;
  if (!encryption) return fail('Missing CRYPTO header for crypt method 2');
  const check = (offset: number, length: number): void => {
    if (offset + length > encryption.length)
      throw new BlockError('EINVAL', 'Request for data outside of extension header');
  };
  return {
    async read(offset, length) {
      check(offset, length);
      const bytes = new Uint8Array(length);
      await image.file.read(encryption.offset + offset, bytes);
      return bytes;
    },
    async write(offset, bytes) {
      check(offset, bytes.length);
      await image.file.write(encryption.offset + offset, bytes);
    },
  };
}

async function loadHeader(image: Qcow2Image): Promise<LuksHeader> {
  let header = headers.get(image);
  if (!header) {
    header = parseLuksHeader(await storageOf(image).read(0, headBytes));
    headers.set(image, header);
  }
  return header;
}

/** The legacy method takes the first 16 bytes of the password, padded with zeroes, as the key. */
export async function aesCipher(host: BlockHost, secret: Uint8Array) {
  const key = new Uint8Array(16);
  key.set(secret.subarray(0, 16));
  return makeSectorCipher(
    await host.crypto(),
    { algorithm: 'aes-128', mode: 'cbc', ivgen: 'plain64', ivHash: undefined },
    key,
  );
}

export async function openCipher(image: Qcow2Image, options: OptionValues): Promise<void> {
  const isLuks = image.header.cryptMethod === CryptMethod.luks;
  const format = options.string('encrypt.format');
  if (format !== undefined && format !== (isLuks ? 'luks' : 'aes')) {
    fail(`Header reported '${isLuks ? 'luks' : 'aes'}' encryption format but options specify '${format}'`);
  }
  const id = options.string('encrypt.key-secret');
  if (id === undefined) fail("Parameter 'encrypt.key-secret' is required for cipher");
  const secret = await image.host.secret(id);
  if (!isLuks) {
    image.cipher = await aesCipher(image.host, secret);
    return;
  }
  secretIds.set(image, id);
  const crypto = await image.host.crypto();
  const header = await loadHeader(image);
  const key = await unlockLuks(crypto, header, storageOf(image), secret);
  image.cipher = luksCipher(crypto, header, key);
}

export async function checkEncryptionOptions(
  host: BlockHost,
  settings: CreateSettings,
  options: OptionValues,
): Promise<void> {
  if (settings.encryption !== 'aes' && settings.encryption !== 'luks')
    fail(`Parameter 'format' does not accept value '${settings.encryption}'`);
  const id = options.string('encrypt.key-secret');
  if (settings.encryption === 'luks') parseLuksOptions(options, 'encrypt.');
  if (id === undefined) fail("Parameter 'encrypt.key-secret' is required for cipher");
  await host.secret(id);
}

/** Turns a fresh, empty image into an encrypted one; the caller writes the header. */
export async function createEncryption(
  image: Qcow2Image,
  settings: CreateSettings,
  options: OptionValues,
): Promise<void> {
  const secret = await image.host.secret(options.string('encrypt.key-secret')!);
  if (settings.encryption === 'aes') {
    image.header.cryptMethod = CryptMethod.aes;
    image.cipher = await aesCipher(image.host, secret);
    return;
  }
  const luks = parseLuksOptions(options, 'encrypt.');
  const length = luksPayloadOffset(luks);
  const clusters = Math.ceil(length / image.clusterBytes);
  const offset = await image.mutex.run(() => image.refcounts.allocate(clusters));
  await image.file.write(offset, new Uint8Array(clusters * image.clusterBytes));
  image.header.cryptMethod = CryptMethod.luks;
  image.header.encryption = { offset, length };
  const made = await createLuks(await image.host.crypto(), luks, storageOf(image), secret);
  headers.set(image, made.header);
  image.cipher = made.cipher;
}

export async function luksHeaderBytes(_host: BlockHost, options: OptionValues): Promise<number> {
  return luksPayloadOffset(parseLuksOptions(options, 'encrypt.'));
}

export async function amendEncryption(image: Qcow2Image, options: OptionValues, isForced: boolean): Promise<void> {
  await amendLuks(
    image.host,
    await loadHeader(image),
    storageOf(image),
    secretIds.get(image),
    parseLuksAmend(options, 'encrypt.'),
    isForced,
  );
}

/** `encrypt` of the format specific information. */
export async function encryptionInfo(image: Qcow2Image): Promise<Record<string, unknown>> {
  if (image.header.cryptMethod === CryptMethod.aes) return { format: 'aes' };
  const {
    'ivgen-alg': ivgen,
    'ivgen-hash-alg': ivHash,
    'hash-alg': hash,
    'cipher-alg': cipher,
    uuid,
    ...rest
  } = luksInfo(await loadHeader(image));
  return {
    'ivgen-alg': ivgen,
    ...(ivHash === undefined ? {} : { 'ivgen-hash-alg': ivHash }),
    'hash-alg': hash,
    'cipher-alg': cipher,
    uuid,
    format: 'luks',
    ...rest,
  };
}
