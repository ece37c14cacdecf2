/** Kernels and firmware of AArch64 in guest RAM. */
import type { BootTarget } from '../boot/boot-state.js';
import { elfMachine } from '../boot/elf.js';
import { type ImageBoot, type ImageTarget, loadImages, type TreeBootImages } from '../boot/image-boot.js';
import { map } from './memory-map.js';

const aarch64: ImageTarget = {
  elf: { machines: [elfMachine.aarch64], name: 'AArch64' },
  marks: [{ at: 0x38, bytes: 'ARM\x64' }],
  ramStart: map.ram.gpa,
  treeLimit: Infinity,
};

/** Puts all of it into RAM. Throws VringError `boot-…`. */
export const loadArm = (images: TreeBootImages, target: BootTarget): ImageBoot => loadImages(images, aarch64, target);
