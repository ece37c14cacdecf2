/** Format `qcow` (version 1): its options, open and creation. The rest: image.ts. */
import { BlockError } from '../../errors.js';
import type { BlockDriver, BlockStatus, CreateContext, DriverNode, NodeInfo, OpenContext } from '../../node.js';
import type { OptionRow } from '../../options.js';
import { headerBytes, l1EntryCount, maxL1Bytes, parseHeader, QcowImage, serializeHeader } from './image.js';

const keyMissing = "Parameter 'encrypt.key-secret' is required for cipher";

const openOptions: readonly OptionRow[] = [
  { name: 'encrypt.format', type: 'string', help: 'Encryption format' },
  { name: 'encrypt.key-secret', type: 'string', help: 'ID of secret providing the key' },
];

const createOptions: readonly OptionRow[] = [
  { name: 'size', type: 'size', help: 'Virtual disk size' },
  { name: 'backing_file', type: 'string', help: 'File name of a base image' },
  { name: 'backing_fmt', type: 'string', help: 'Format of the backing image' },
  {
    name: 'encryption',
    type: 'boolean',
    help: "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)",
  },
  { name: 'encrypt.format', type: 'string', help: "Encrypt the image, format choices: 'aes'" },
  {
    name: 'encrypt.key-secret',
    type: 'string',
    help: 'ID of the secret that provides the AES encryption key',
  },
];

class QcowNode implements DriverNode {
  readonly image: QcowImage;
  readonly zeroInit: boolean;
  readonly backingFile?: string;

  constructor(image: QcowImage, backingFile: string | undefined) {
    this.image = image;
    this.zeroInit = true;
    if (backingFile !== undefined) this.backingFile = backingFile;
  }

  get length(): number {
    return this.image.header.sizeBytes;
  }

  get limits() {
    return { requestAlignment: 512 };
  }

  get encrypted(): boolean {
    return this.image.header.isEncrypted;
  }

  #requireKey(): void {
    if (this.image.header.isEncrypted && !this.image.cipher) throw new BlockError('EIO');
  }

  async read(offset: number, buffer: Uint8Array): Promise<void> {
    this.#requireKey();
    await this.image.requests.read(offset, buffer);
  }

  async write(offset: number, buffer: Uint8Array): Promise<void> {
    this.#requireKey();
    await this.image.event('write_aio');
    await this.image.requests.write(offset, buffer);
  }

  async writeCompressed(offset: number, buffer: Uint8Array): Promise<void> {
    if (buffer.length > 0) await this.image.writeCompressed(offset, buffer);
  }

  flush(): Promise<void> {
    return this.image.flush();
  }

  blockStatus(offset: number, length: number): Promise<BlockStatus> {
    return this.image.requests.blockStatus(offset, length);
  }

  async getInfo(): Promise<NodeInfo> {
    return { clusterSizeBytes: this.image.clusterBytes };
  }

  makeEmpty(): Promise<void> {
    return this.image.makeEmpty();
  }

  async reopen(): Promise<void> {}

  async close(): Promise<void> {}
}

async function open(context: OpenContext): Promise<DriverNode> {
  const file = await context.openFile();
  const head = new Uint8Array(headerBytes);
  await file.read(0, head);
  const header = parseHeader(head);
  const { options, flags } = context;
  const format = options.string('encrypt.format');
  if (format !== undefined && !header.isEncrypted)
    throw new BlockError('EINVAL', 'No encryption in image header, but options specified format ' + `'${format}'`);
  if (format !== undefined && format !== 'aes')
    throw new BlockError('EINVAL', `Header reported 'aes' encryption format but options specify '${format}'`);
  const image = await QcowImage.open(context.host, context.node, file, header);
  if (header.isEncrypted && !flags.noIo) {
    const id = options.string('encrypt.key-secret');
    if (id === undefined) throw new BlockError('EINVAL', keyMissing);
    const { aesCipher } = await import('../qcow2/encryption.js');
    image.cipher = await aesCipher(context.host, await context.host.secret(id));
  }
  let backingFile: string | undefined;
  if (header.name) {
    const bytes = new Uint8Array(header.name.length);
    await file.read(header.name.offset, bytes);
    backingFile = new TextDecoder().decode(bytes);
  }
  return new QcowNode(image, backingFile);
}

async function create(context: CreateContext): Promise<void> {
  const { options } = context;
  const fail = (message: string): never => {
    throw new BlockError('EINVAL', message);
  };
  const format = options.string('encrypt.format') ?? (options.boolean('encryption') ? 'aes' : undefined);
  const sizeBytes = options.number('size') ?? 0;
  if (sizeBytes === 0) fail('Image size is too small, cannot be zero length');
  if (format !== undefined) {
    if (format !== 'aes')
      fail(
        format === 'luks' ? 'Unsupported encryption format' : `Parameter 'format' does not accept value '${format}'`,
      );
    const id = options.string('encrypt.key-secret') ?? fail(keyMissing);
    await context.host.secret(id);
  }
  const backingFile = options.string('backing_file') || undefined;
  // Small clusters over a backing file, so that little is copied up.
  const [clusterBits, l2Bits] = backingFile === undefined ? [12, 9] : [9, 12];
  const l1Bytes = l1EntryCount(sizeBytes, clusterBits, l2Bits) * 8;
  if (l1Bytes > maxL1Bytes) throw new BlockError('EFBIG', 'Image too large');
  const bytes = serializeHeader(sizeBytes, clusterBits, l2Bits, format !== undefined, backingFile);
  await context.createFile(context.filename, 0);
  const file = await context.openProtocol(context.filename);
  try {
    await file.writeZeroes(bytes.length, Math.ceil(l1Bytes / 512) * 512);
    await file.write(0, bytes);
  } finally {
    await file.close();
  }
}

export const qcowDriver: BlockDriver = {
  name: 'qcow',
  kind: 'format',
  openOptions,
  createOptions,
  supportsBacking: true,
  open,
  create,
};
