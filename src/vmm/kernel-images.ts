/** What is booted by name: kernel, initrd or modules, read in the thread that builds the machine. */
import { readHead, readImage } from '../host/node/image-file.js';
import type { KernelImages } from '../machine/board.js';
import { startsInRealModeAlone } from '../machine/boot/linux.js';
import { isMultiboot, parseModules } from '../machine/boot/multiboot.js';
import type { Architecture } from './architectures.js';
import type { ImageSource, WorkerConfig } from './worker-protocol.js';

/** Images larger than this cannot be in the RAM that a machine can have. */
const MAX_IMAGE_BYTES = 2 ** 31;

/** Throws VringError `image-open`, `image-too-large`. */
export const imageOf = (what: string, source: ImageSource): Uint8Array =>
  typeof source === 'string' ? readImage(what, source, MAX_IMAGE_BYTES) : source;

/** Undefined without a kernel. Throws VringError as `imageOf`, and what unpacking throws. */
export async function readKernel(
  { code, loadUnpack }: Architecture,
  { kernel, initrd, commandLine }: Pick<WorkerConfig, 'kernel' | 'initrd' | 'commandLine'>,
): Promise<KernelImages | undefined> {
  if (kernel === undefined) return undefined;
  const unpack = await loadUnpack();
  const image = unpack(imageOf('The kernel', kernel));
  const name = typeof kernel === 'string' ? kernel : undefined;
  // As QEMU's: for a Multiboot kernel it is a list of modules.
  if (code === 'x86' && typeof initrd === 'string' && isMultiboot(image)) {
    const modules = parseModules(initrd).map(({ path, commandLine }) => ({
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
