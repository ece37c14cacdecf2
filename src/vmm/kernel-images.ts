/** What is booted by name: kernel and initrd, read while the machine's thread comes up, or by that thread, as modules are. */
import { awaitFile, beginReading } from '../host/node/coming-file.js';
import { readHead, readImage } from '../host/node/image-file.js';
import type { KernelImages } from '../machine/board.js';
import { startsInRealModeAlone } from '../machine/boot/linux.js';
import { isMultiboot, parseModules } from '../machine/boot/multiboot.js';
import type { Architecture } from './architectures.js';
import type { ImageSource, WorkerConfig } from './worker-protocol.js';

/** Images larger than this cannot be in the RAM that a machine can have. */
const MAX_IMAGE_BYTES = 2 ** 31;

/** Throws VringError `image-open`, `image-too-large`. */
export function imageOf(what: string, source: ImageSource): Uint8Array {
  if (source instanceof Uint8Array) return source;
  if (typeof source === 'string') return readImage(what, source, MAX_IMAGE_BYTES);
  return awaitFile(source) ?? readImage(what, source.path, MAX_IMAGE_BYTES);
}

/** Of a file. */
function pathOf(source: ImageSource | undefined): string | undefined {
  if (source === undefined || source instanceof Uint8Array) return undefined;
  return typeof source === 'string' ? source : source.path;
}

/** Begins to read those that are files while the thread comes up that is to boot them. */
export function beginImages<T extends ImageSource | undefined>(images: readonly T[]): readonly (T | ImageSource)[] {
  const coming = beginReading(images.map(pathOf), MAX_IMAGE_BYTES);
  return images.map((image, i) => coming[i] ?? image);
}

/** Undefined without a kernel. Throws VringError as `imageOf`, and what unpacking throws. */
export async function readKernel(
  { code, loadUnpack }: Architecture,
  { kernel, initrd, commandLine }: Pick<WorkerConfig, 'kernel' | 'initrd' | 'commandLine'>,
): Promise<KernelImages | undefined> {
  if (kernel === undefined) return undefined;
  const unpack = await loadUnpack();
  const image = unpack(imageOf('The kernel', kernel));
  const name = pathOf(kernel);
  const initrdPath = pathOf(initrd);
  // As QEMU's: for a Multiboot kernel it is a list of modules.
  if (code === 'x86' && initrdPath !== undefined && isMultiboot(image)) {
    const modules = parseModules(initrdPath).map(({ path, commandLine }) => ({
      bytes: imageOf('The module', path),
      commandLine,
    }));
    return { kernel: image, name, modules, commandLine };
  }
  return { kernel: image, name, initrd: initrd === undefined ? undefined : imageOf('The initrd', initrd), commandLine };
}

/** Whether a file's kernel can be started by a PC's BIOS alone. What cannot be read is told of when it is loaded. */
export function needsBios(path: string): boolean {
  const head = readHead(path, 0x400);
  return head !== undefined && startsInRealModeAlone(head);
}
