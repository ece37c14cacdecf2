/**
 * Format `luks`: a LUKS version 1 volume as an image. Header and key slots lie before the encrypted disk, which fills the rest of the file.
 * After the LUKS1 On-Disk Format Specification 1.2.3; the header's workings are in `src/block/crypto/luks.ts`.
 *
 * Left out, refused by name: LUKS version 2.
 */
import {
  amendLuks,
  createLuks,
  type LuksHeader,
  type LuksStorage,
  luksCipher,
  luksHeadBytes,
  luksInfo,
  luksPayloadOffset,
  parseLuksAmend,
  parseLuksHeader,
  parseLuksOptions,
  unlockLuks,
} from '../../crypto/luks.js';
import type { VolumeCipher } from '../../crypto/volume-cipher.js';
import { BlockError } from '../../errors.js';
import type { BlockHost } from '../../host.js';
import type {
  AmendRequest,
  BlockDriver,
  BlockNode,
  CreateContext,
  DriverNode,
  MeasureResult,
  NodeInfo,
  OpenContext,
  ResizeOptions,
  SpecificInfo,
} from '../../node.js';
import { RequestFlag } from '../../node.js';
import type { OptionRow, OptionValues } from '../../options.js';

const sectorBytes = 512;
/** Largest piece that is encrypted at once. */
const bounceBytes = 2 ** 20;
const keyMissing = "Parameter 'key-secret' is required for cipher";

function storageOf(file: BlockNode): LuksStorage {
  return {
    async read(offset, length) {
      const bytes = new Uint8Array(length);
      await file.read(offset, bytes);
      return bytes;
    },
    write: (offset, bytes) => file.write(offset, bytes),
  };
}

class LuksNode implements DriverNode {
  readonly #host: BlockHost;
  readonly #file: BlockNode;
  readonly #header: LuksHeader;
  /** Absent in an image that was opened for its description only. */
  readonly #cipher: VolumeCipher | undefined;
  readonly #secretId: string | undefined;
  readonly limits = { requestAlignment: sectorBytes };
  readonly writeFlags = RequestFlag.fua;
  readonly encrypted = true;

  constructor(
    host: BlockHost,
    file: BlockNode,
    header: LuksHeader,
    cipher: VolumeCipher | undefined,
    secretId: string | undefined,
  ) {
    this.#host = host;
    this.#file = file;
    this.#header = header;
    this.#cipher = cipher;
    this.#secretId = secretId;
  }

  get length(): number {
    return Math.ceil((this.#file.length - this.#header.payloadOffset) / sectorBytes) * sectorBytes;
  }

  #opened(): VolumeCipher {
    if (!this.#cipher) throw new BlockError('EIO');
    return this.#cipher;
  }

  async read(offset: number, buffer: Uint8Array): Promise<void> {
    const cipher = this.#opened();
    // Deciphered in a copy: the buffer may be memory that a guest writes to meanwhile.
    const bounce = this.#host.allocate(Math.min(buffer.length, bounceBytes));
    for (let at = 0; at < buffer.length; at += bounceBytes) {
      const part = bounce.subarray(0, Math.min(bounceBytes, buffer.length - at));
      await this.#file.read(this.#header.payloadOffset + offset + at, part);
      cipher.decrypt(offset + at, part);
      buffer.set(part, at);
    }
  }

  async write(offset: number, buffer: Uint8Array, flags: number): Promise<void> {
    const cipher = this.#opened();
    for (let at = 0; at < buffer.length; at += bounceBytes) {
      const part = cipher.encrypt(offset + at, buffer.subarray(at, at + bounceBytes));
      await this.#file.write(this.#header.payloadOffset + offset + at, part, flags);
    }
  }

  async resize(length: number, options: ResizeOptions): Promise<void> {
    await this.#file.resize(this.#header.payloadOffset + length, options);
  }

  async getInfo(): Promise<NodeInfo> {
    return {};
  }

  async specificInfo(): Promise<SpecificInfo> {
    const {
      'ivgen-alg': ivgen,
      'ivgen-hash-alg': ivHash,
      'hash-alg': hash,
      'cipher-alg': cipher,
      uuid,
      ...rest
    } = luksInfo(this.#header);
    return {
      type: 'luks',
      data: {
        'ivgen-alg': ivgen,
        'hash-alg': hash,
        'cipher-alg': cipher,
        uuid,
        ...(ivHash === undefined ? {} : { 'ivgen-hash-alg': ivHash }),
        ...rest,
      },
    };
  }

  async amend(options: OptionValues, request: AmendRequest): Promise<void> {
    const { force } = request;
    await amendLuks(
      this.#host,
      this.#header,
      storageOf(this.#file),
      this.#secretId,
      parseLuksAmend(options, ''),
      force,
    );
  }

  async reopen(): Promise<void> {}

  async close(): Promise<void> {}
}

const createOptions: readonly OptionRow[] = [
  { name: 'size', type: 'size', help: 'Virtual disk size' },
  { name: 'key-secret', type: 'string', help: 'ID of the secret that provides the keyslot passphrase' },
  { name: 'cipher-alg', type: 'string', help: 'Name of encryption cipher algorithm' },
  { name: 'cipher-mode', type: 'string', help: 'Name of encryption cipher mode' },
  { name: 'ivgen-alg', type: 'string', help: 'Name of IV generator algorithm' },
  { name: 'ivgen-hash-alg', type: 'string', help: 'Name of IV generator hash algorithm' },
  { name: 'hash-alg', type: 'string', help: 'Name of encryption hash algorithm' },
  { name: 'iter-time', type: 'number', help: 'Time to spend in PBKDF in milliseconds' },
];

const amendOptions: readonly OptionRow[] = [
  { name: 'state', type: 'string', help: 'Select new state of affected keyslots (active/inactive)' },
  {
    name: 'new-secret',
    type: 'string',
    help: 'New secret to set in the matching keyslots. Empty string to erase',
  },
  { name: 'old-secret', type: 'string', help: 'Select all keyslots that match this password' },
  { name: 'keyslot', type: 'number', help: 'Select a single keyslot to modify explicitly' },
  { name: 'iter-time', type: 'number', help: 'Time to spend in PBKDF in milliseconds' },
];

async function open(context: OpenContext): Promise<DriverNode> {
  const file = await context.openFile();
  const secretId = context.options.string('key-secret');
  if (secretId === undefined && !context.flags.noIo) throw new BlockError('EINVAL', keyMissing);
  const storage = storageOf(file);
  const head = await storage.read(0, luksHeadBytes);
  const header = parseLuksHeader(head);
  let cipher: VolumeCipher | undefined;
  if (!context.flags.noIo) {
    const crypto = await context.host.crypto();
    const key = await unlockLuks(crypto, header, storage, await context.host.secret(secretId!));
    cipher = luksCipher(crypto, header, key);
  }
  if (file.length < header.payloadOffset)
    throw new BlockError('EIO', 'Could not refresh total sector count: Input/output error');
  return new LuksNode(context.host, file, header, cipher, secretId);
}

async function create(context: CreateContext): Promise<void> {
  const luks = parseLuksOptions(context.options, '');
  const secretId = context.options.string('key-secret');
  if (secretId === undefined) throw new BlockError('EINVAL', keyMissing);
  const secret = await context.host.secret(secretId);
  const total = luksPayloadOffset(luks) + (context.options.number('size') ?? 0);
  if (!Number.isSafeInteger(total)) throw new BlockError('EFBIG', 'The requested file size is too large');
  // Made in memory first: what the host's ciphers can't do is then refused before a file is touched.
  const made = new Map<number, Uint8Array>();
  const draft: LuksStorage = {
    read: () => Promise.reject(new BlockError('EIO')),
    write: async (offset, bytes) => void made.set(offset, bytes),
  };
  await createLuks(await context.host.crypto(), luks, draft, secret);
  await context.createFile(context.filename, total);
  const file = await context.openProtocol(context.filename);
  try {
    // The header last, at offset 0.
    for (const [offset, bytes] of [...made].sort(([a], [b]) => b - a)) await file.write(offset, bytes);
  } finally {
    await file.close();
  }
}

export const luksDriver: BlockDriver = {
  name: 'luks',
  kind: 'format',
  openOptions: [
    { name: 'key-secret', type: 'string', strong: true, help: 'ID of the secret that provides the encryption key' },
  ],
  createOptions,
  amendOptions,
  open,
  create,
  async measure(options, source): Promise<MeasureResult> {
    const luks = parseLuksOptions(options, '');
    if (options.string('key-secret') === undefined) throw new BlockError('EINVAL', keyMissing);
    const total = luksPayloadOffset(luks) + (source ? source.length : (options.number('size') ?? 0));
    return { required: total, fullyAllocated: total };
  },
};
