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

/** arch/arm's zImage, which unpacks itself to the start of RAM; tree and initial RAM disk lie where it maps them at once. */
export const zImages: ImageTarget = {
  elf: { machines: [elfMachine.aarch64], name: 'Arm (32 bits)' },
  marks: [],
  zImages: true,
  ramStart: map.ram.gpa,
  treeLimit: map.ram.gpa + 0x2000_0000,
};

/** Puts all of it into RAM. Throws VringError `boot-…`. */
export const loadArm = (images: TreeBootImages, target: BootTarget, kind = aarch64): ImageBoot =>
  loadImages(images, kind, target);
