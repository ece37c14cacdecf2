/**
 * Direct boot (`-kernel`): finds out what an image is and loads it. The order is QEMU's: Linux bzImage, Multiboot, PVH.
 */
import { VringError } from '../../base/index.js';
import type { BootImages, BootTarget, LoadedKernel } from './boot-state.js';
import { isElf } from './elf.js';
import { isLinux, loadLinux } from './linux.js';
import { isMultiboot, loadMultiboot } from './multiboot.js';
import { loadPvh } from './pvh.js';

/** What else people hand to `-kernel`, by the bytes at an offset, with the sentence that helps them. */
const known: readonly { readonly at: number; readonly bytes: string; readonly code: string; readonly text: string }[] =
  [
    { at: 0x38, bytes: 'ARM\x64', code: 'boot-kernel-arch', text: 'is for another architecture: AArch64, not x86' },
    { at: 0x38, bytes: 'RSC\x05', code: 'boot-kernel-arch', text: 'is for another architecture: RISC-V, not x86' },
    {
      at: 0x24,
      bytes: '\x18\x28\x6f\x01',
      code: 'boot-kernel-arch',
      text: 'is for another architecture: ARM, not x86',
    },
    { at: 0, bytes: '\x27\x05\x19\x56', code: 'boot-kernel-unsupported', text: 'is a U-Boot image, not an x86 kernel' },
    { at: 0, bytes: '\x1f\x8b', code: 'boot-kernel-unsupported', text: 'is a gzip file: unpack it first' },
    { at: 0, bytes: '\xfd7zXZ', code: 'boot-kernel-unsupported', text: 'is an xz file: unpack it first' },
    { at: 0, bytes: '\x28\xb5\x2f\xfd', code: 'boot-kernel-unsupported', text: 'is a zstd file: unpack it first' },
    { at: 0, bytes: '!<arch>', code: 'boot-kernel-unsupported', text: 'is an ar archive (a Debian package?)' },
    { at: 0, bytes: '070701', code: 'boot-kernel-unsupported', text: 'is a cpio archive: an initrd?' },
  ];

function matches(image: Uint8Array, at: number, bytes: string): boolean {
  for (let i = 0; i < bytes.length; i++) if (image[at + i] !== bytes.charCodeAt(i)) return false;
  return true;
}

/** Loads a kernel into guest RAM and returns the state in which the first vCPU starts. Throws VringError. */
export function loadKernel(images: BootImages, target: BootTarget): LoadedKernel {
  const image = images.kernel;
  if (image.length === 0) throw new VringError('boot-kernel-damaged', 'The kernel image is empty.');
  if (isLinux(image)) return loadLinux(images, target);
  if (isMultiboot(image)) return loadMultiboot(images, target);
  if (isElf(image)) return loadPvh(images, target);
  for (const { at, bytes, code, text } of known) {
    if (matches(image, at, bytes)) throw new VringError(code, `The kernel image ${text}.`);
  }
  throw new VringError(
    'boot-kernel-unsupported',
    'The kernel image is of no known kind: neither a Linux bzImage, nor an ELF file with a PVH entry, nor Multiboot.',
  );
}
