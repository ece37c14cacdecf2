/**
 * U-Boot's legacy image ("uImage"; include/image.h of U-Boot): a header of 64 bytes in big-endian order, then the content. What is
 * packed has been unpacked before, and its header says so.
 */
import { VringError } from '../../base/index.js';

const MAGIC = 0x2705_1956;
const HEADER_BYTES = 64;
/** Offsets in the header. */
const at = { magic: 0, size: 12, load: 16, entry: 20, os: 28, type: 30, compression: 31 } as const;
const OS_LINUX = 5;
const NOT_PACKED = 0;

/** Kinds of images, those that a boot loader is given here. */
export const uBootType = { kernel: 2, ramDisk: 3, kernelAnywhere: 14 } as const;

export interface UBootImage {
  readonly content: Uint8Array;
  /** Where it lies, and where it is entered. */
  readonly load: number;
  readonly entry: number;
  readonly linux: boolean;
}

const viewOf = (image: Uint8Array): DataView => new DataView(image.buffer, image.byteOffset, image.length);

export const isUBootImage = (image: Uint8Array): boolean =>
  image.length >= HEADER_BYTES && viewOf(image).getUint32(at.magic) === MAGIC;

/** `anywhere`: where an image lies that may lie anywhere. Throws VringError `boot-kernel-damaged`, `boot-kernel-unsupported`. */
export function parseUBootImage(image: Uint8Array, type: number, anywhere: number): UBootImage {
  const view = viewOf(image);
  const kind = view.getUint8(at.type);
  const movable = type === uBootType.kernel && kind === uBootType.kernelAnywhere;
  if (kind !== type && !movable)
    throw new VringError(
      'boot-kernel-unsupported',
      `The U-Boot image is of another kind (${kind}): wanted is ${type}.`,
    );
  const packing = view.getUint8(at.compression);
  if (packing !== NOT_PACKED)
    throw new VringError(
      'boot-kernel-unsupported',
      `The U-Boot image is packed by method ${packing}: only gzip is unpacked.`,
    );
  const size = view.getUint32(at.size);
  if (size === 0 || size > image.length - HEADER_BYTES)
    throw new VringError('boot-kernel-damaged', 'The U-Boot image is cut short.');
  const load = movable ? anywhere : view.getUint32(at.load);
  // A movable one's entry is counted from its start.
  const entry = view.getUint32(at.entry) + (movable ? load : 0);
  return {
    content: image.subarray(HEADER_BYTES, HEADER_BYTES + size),
    load,
    entry,
    linux: view.getUint8(at.os) === OS_LINUX,
  };
}

/** The initial RAM disk in it; any other file as it is. */
export function withoutUBootHeader(initrd: Uint8Array): Uint8Array {
  if (!isUBootImage(initrd) || viewOf(initrd).getUint8(at.type) !== uBootType.ramDisk) return initrd;
  // Linux unpacks it: how it is packed does not matter.
  return initrd.subarray(HEADER_BYTES, HEADER_BYTES + viewOf(initrd).getUint32(at.size));
}
