/** One disk as an NBD server offers it: a window of a block node, with what clients may do and learn of it. */
import { BlockError } from '../block/errors.js';
import type { BlockNode, DirtyBitmap, NodeUse } from '../block/node.js';
import { Permission } from '../block/node.js';
import { AllocationFlag, maxPayloadBytes, maxStringBytes, TransmissionFlag } from '../block/protocols/nbd/wire.js';

const sectorBytes = 512;
const defaultPreferredBytes = 4096;

export interface NbdExportOptions {
  /** At most 4096 bytes of UTF-8; the empty name is the default export. */
  readonly name?: string;
  readonly description?: string;
  /** Open; the export takes one reference and drops it when it is removed. */
  readonly node: BlockNode;
  readonly readOnly?: boolean;
  /** Writes are durable before they are answered, and clients are told that FUA costs them nothing. */
  readonly writeThrough?: boolean;
  /** The window of the node, in bytes; by default all of it, rounded up to 512 bytes as QEMU does. */
  readonly offsetBytes?: number;
  readonly lengthBytes?: number;
  /** Offer the context `qemu:allocation-depth`. */
  readonly allocationDepth?: boolean;
  /** Bitmaps of the node or its backing chain, each offered as `qemu:dirty-bitmap:NAME`. */
  readonly bitmaps?: readonly string[];
  /** Several connections see each other's writes. True of any node of this block layer; QEMU tells it only when several may come. */
  readonly multiConnection?: boolean;
  /** Offer the protocol's resize extension (writable exports of the whole node only). */
  readonly resizable?: boolean;
}

export interface Extent {
  readonly length: number;
  readonly flags: number;
}

/** What a client can ask the state of. Ids are those QEMU gives. */
export interface MetaContext {
  readonly id: number;
  readonly name: string;
  /** The run that begins at `offset`, at most `length` bytes of the export. */
  query(offset: number, length: number): Promise<Extent>;
}

export class NbdExport {
  readonly name: string;
  readonly description: string;
  readonly node: BlockNode;
  readonly readOnly: boolean;
  readonly writeThrough: boolean;
  readonly offsetBytes: number;
  readonly contexts: readonly MetaContext[];
  readonly resizable: boolean;
  readonly #fixedLength: number | undefined;
  readonly #multiConnection: boolean;
  readonly #bitmaps: readonly DirtyBitmap[];
  #use: NodeUse | undefined;

  private constructor(options: NbdExportOptions, bitmaps: readonly DirtyBitmap[]) {
    this.name = options.name ?? '';
    this.description = options.description ?? '';
    this.node = options.node;
    this.readOnly = options.readOnly ?? options.node.readOnly;
    this.writeThrough = options.writeThrough ?? false;
    this.offsetBytes = options.offsetBytes ?? 0;
    this.#fixedLength = options.lengthBytes;
    this.#multiConnection = options.multiConnection ?? false;
    this.#bitmaps = bitmaps;
    this.resizable =
      (options.resizable ?? false) &&
      !this.readOnly &&
      this.offsetBytes === 0 &&
      options.lengthBytes === undefined &&
      options.node.instance.resize !== undefined;
    this.contexts = this.#makeContexts(options.allocationDepth ?? false);
  }

  static async open(options: NbdExportOptions): Promise<NbdExport> {
    const encoder = new TextEncoder();
    if (encoder.encode(options.name ?? '').length > maxStringBytes)
      throw new BlockError('EINVAL', `export name '${options.name}' too long`);
    if (encoder.encode(options.description ?? '').length > maxStringBytes)
      throw new BlockError('EINVAL', `description '${options.description}' too long`);
    const { node } = options;
    if (options.readOnly === false && node.readOnly)
      throw new BlockError('EPERM', 'Cannot export read-only node as writable');
    const offset = options.offsetBytes ?? 0;
    const end = offset + (options.lengthBytes ?? 0);
    if (!Number.isSafeInteger(end) || offset < 0 || (options.lengthBytes ?? 0) < 0 || end > node.length) {
      throw new BlockError(
        'EINVAL',
        `The export of ${options.lengthBytes ?? 0} bytes at ${offset} does not lie within the image of ${node.length} bytes`,
      );
    }
    const bitmaps = (options.bitmaps ?? []).map((name) => findBitmap(node, name, options.readOnly ?? node.readOnly));
    const made = new NbdExport(options, bitmaps);
    made.#use = await node.acquire(
      `NBD export '${made.name}'`,
      Permission.consistentRead | (made.readOnly ? 0 : Permission.write) | (made.resizable ? Permission.resize : 0),
      Permission.all,
    );
    node.retain();
    for (const bitmap of bitmaps) bitmap.busy = true;
    return made;
  }

  /** Releases the node. Rejects if its last flush failed. */
  async close(): Promise<void> {
    for (const bitmap of this.#bitmaps) bitmap.busy = false;
    await this.#use?.release();
    await this.node.close();
  }

  get lengthBytes(): number {
    if (this.#fixedLength !== undefined) return this.#fixedLength;
    const length = Math.max(0, this.node.length - this.offsetBytes);
    return Math.ceil(length / sectorBytes) * sectorBytes;
  }

  transmissionFlags(hasStructuredReplies: boolean, isExtended: boolean): number {
    let flags =
      TransmissionFlag.hasFlags | TransmissionFlag.sendFlush | TransmissionFlag.sendFua | TransmissionFlag.sendCache;
    if (this.readOnly) flags |= TransmissionFlag.readOnly;
    else flags |= TransmissionFlag.sendTrim | TransmissionFlag.sendWriteZeroes | TransmissionFlag.sendFastZero;
    if (this.#multiConnection) flags |= TransmissionFlag.canMultiConn;
    if (this.resizable) flags |= TransmissionFlag.sendResize;
    if (hasStructuredReplies) flags |= TransmissionFlag.sendDf;
    if (isExtended) flags |= TransmissionFlag.blockStatusPayload;
    return flags;
  }

  /** Smallest, best and largest request. Who does not ask is promised that any size will do, which the node's alignment makes true. */
  blockSizes(): { readonly minimum: number; readonly preferred: number; readonly maximum: number } {
    const minimum = this.node.limits.requestAlignment;
    const preferred = Math.max(
      defaultPreferredBytes,
      minimum,
      Math.min(this.node.limits.optimalTransfer, maxPayloadBytes),
    );
    return { minimum, preferred, maximum: maxPayloadBytes };
  }

  #makeContexts(hasDepth: boolean): MetaContext[] {
    const { node } = this;
    const base = this.offsetBytes;
    const contexts: MetaContext[] = [
      {
        id: 0,
        name: 'base:allocation',
        async query(offset, length) {
          const status = await node.chainStatus(base + offset, length);
          const flags = (status.data ? 0 : AllocationFlag.hole) | (status.zero ? AllocationFlag.zero : 0);
          return { length: status.length, flags };
        },
      },
    ];
    if (hasDepth) {
      contexts.push({
        id: 1,
        name: 'qemu:allocation-depth',
        async query(offset, length) {
          const status = await node.chainStatus(base + offset, length);
          return { length: status.length, flags: status.allocated ? status.depth + 1 : 0 };
        },
      });
    }
    this.#bitmaps.forEach((bitmap, index) => {
      contexts.push({
        id: 2 + index,
        name: `qemu:dirty-bitmap:${bitmap.name}`,
        async query(offset, length) {
          const at = base + offset;
          if (at >= bitmap.length) return { length, flags: 0 };
          const run = bitmap.run(at, Math.min(length, bitmap.length - at));
          return { length: run.length, flags: run.dirty ? 1 : 0 };
        },
      });
    });
    return contexts;
  }
}

function findBitmap(node: BlockNode, name: string, isReadOnly: boolean): DirtyBitmap {
  for (let at: BlockNode | undefined = node; at; at = at.skipFilters().backing) {
    const found =
      at.bitmaps.find((bitmap) => bitmap.name === name) ??
      at.skipFilters().bitmaps.find((bitmap) => bitmap.name === name);
    if (!found) continue;
    if (found.busy)
      throw new BlockError('EBUSY', `Bitmap '${name}' is currently in use by another operation and cannot be used`);
    if (found.inconsistent) {
      throw new BlockError(
        'EINVAL',
        `Bitmap '${name}' is inconsistent and cannot be used\nTry block-dirty-bitmap-remove to delete this bitmap from disk`,
      );
    }
    // A bitmap that records would change under the client's eyes.
    if (found.enabled && isReadOnly && !at.readOnly)
      throw new BlockError('EINVAL', `Enabled bitmap '${name}' incompatible with readonly export`);
    return found;
  }
  throw new BlockError('ENOENT', `Bitmap '${name}' is not found`);
}
