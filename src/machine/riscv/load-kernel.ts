/** Kernels and firmware of RISC-V in guest RAM. */
import type { BootTarget } from '../boot/boot-state.js';
import { elfMachine } from '../boot/elf.js';
import { type ImageBoot, type ImageTarget, loadImages, type TreeBootImages } from '../boot/image-boot.js';
import { map } from './memory-map.js';

const riscv: ImageTarget = {
  elf: { machines: [elfMachine.riscv], name: 'RISC-V', bits: 64 },
  otherName: 'RV32',
  marks: [
    { at: 0x38, bytes: 'RSC\x05' },
    { at: 0x30, bytes: 'RISCV\0\0\0' },
  ],
  ramStart: map.ram.gpa,
  // U-Boot for S-mode is such a file, and made for this place.
  rawOffset: 0x20_0000,
  // Under firmware, the built-in one too, everything starts in S-mode.
  startsBare: false,
  // As QEMU has it, for kernels that reach so far only.
  treeLimit: 0xc000_0000,
};

/** Puts all of it into RAM. Throws VringError `boot-…`, `firmware-size`. */
export const loadRiscv = (images: TreeBootImages, target: BootTarget): ImageBoot => loadImages(images, riscv, target);
