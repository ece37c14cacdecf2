/** Kernels as packages have them: Image.gz, U-Boot images, EFI programs that carry a packed Image ("zboot"). */
import { gunzipSync } from 'node:zlib';
import { VringError } from '../../base/index.js';

/** What no kernel exceeds when it is unpacked. */
const MOST_BYTES = 1 << 30;
const ZBOOT = 'zimg';

const textAt = (bytes: Uint8Array, at: number, length: number): string =>
  String.fromCharCode(...bytes.subarray(at, at + length));

function gunzip(bytes: Uint8Array): Uint8Array {
  try {
    return gunzipSync(bytes, { maxOutputLength: MOST_BYTES });
  } catch (error) {
    throw new VringError('boot-kernel-damaged', `The kernel is a damaged gzip file: ${(error as Error).message}.`, {
      cause: error,
    });
  }
}

const U_BOOT_MAGIC = 0x2705_1956;
const U_BOOT_HEADER_BYTES = 64;
/** Offsets in a U-Boot image's header, which is in big-endian order: size of the content, how it is packed. */
const uBoot = { size: 12, packing: 31, gzip: 1 } as const;

/** The same with its content unpacked. */
function unpackUBootImage(image: Uint8Array, view: DataView): Uint8Array {
  if (view.getUint8(uBoot.packing) !== uBoot.gzip) return image;
  const content = gunzip(image.subarray(U_BOOT_HEADER_BYTES, U_BOOT_HEADER_BYTES + view.getUint32(uBoot.size)));
  const whole = new Uint8Array(U_BOOT_HEADER_BYTES + content.length);
  whole.set(image.subarray(0, U_BOOT_HEADER_BYTES));
  whole.set(content, U_BOOT_HEADER_BYTES);
  const header = new DataView(whole.buffer);
  header.setUint32(uBoot.size, content.length);
  header.setUint8(uBoot.packing, 0);
  return whole;
}

/** The kernel itself; what is not packed comes back as it is. Throws VringError `boot-kernel-damaged`, `boot-kernel-unsupported`. */
export function unpackKernel(image: Uint8Array): Uint8Array {
  if (image[0] === 0x1f && image[1] === 0x8b) return gunzip(image);
  if (image.length < 64) return image;
  const view = new DataView(image.buffer, image.byteOffset, image.length);
  if (view.getUint32(0) === U_BOOT_MAGIC) return unpackUBootImage(image, view);
  if (textAt(image, 0, 2) !== 'MZ' || textAt(image, 4, 4) !== ZBOOT) return image;
  // struct linux_efi_zboot_header: offset and size of what is packed, and how.
  const [offset, size] = [view.getUint32(8, true), view.getUint32(12, true)];
  const kind = textAt(image, 24, 32).replace(/\0.*$/s, '');
  if (kind !== 'gzip')
    throw new VringError('boot-kernel-unsupported', `The kernel is packed with ${kind}: only gzip is unpacked.`);
  if (offset + size > image.length) throw new VringError('boot-kernel-damaged', 'The kernel is cut short.');
  return gunzip(image.subarray(offset, offset + size));
}
