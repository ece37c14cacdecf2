/** Kernels and firmware of AArch64 in guest RAM. */
import type { BootTarget } from '../boot/boot-state.js';
import { elfMachine } from '../boot/elf.js';
import { type ImageBoot, type ImageTarget, loadImages, type TreeBootImages } from '../boot/image-boot.js';
import { map } from './memory-map.js';

const aarch64: ImageTarget = {
  elf: { machines: [elfMachine.aarch64], name: 'AArch64', bits: 64 },
  marks: [{ at: 0x38, bytes: 'ARM\x64' }],
  ramStart: map.ram.gpa,
  // Where Images lay before their headers said so.
  rawOffset: 0x8_0000,
  startsBare: true,
  treeLimit: Infinity,
};

/** arch/arm's zImage, which unpacks itself to the start of RAM; tree and initial RAM disk lie where it maps them at once. */
export const zImages: ImageTarget = {
  elf: { machines: [elfMachine.arm], name: 'Arm', bits: 32 },
  marks: [],
  zImages: true,
  ramStart: map.ram.gpa,
  rawOffset: 0x1_0000,
  startsBare: true,
  treeLimit: map.ram.gpa + 0x2000_0000,
};

/** Puts all of it into RAM. Throws VringError `boot-…`. */
export const loadArm = (images: TreeBootImages, target: BootTarget, kind = aarch64): ImageBoot =>
  loadImages(images, kind, target);
