/**
 * ELF kernels with a PVH entry (Xen docs/misc/pvh.pandoc, public/arch-x86/hvm/start_info.h): the note
 * XEN_ELFNOTE_PHYS32_ENTRY gives the address at which the kernel starts in 32-bit protected mode with EBX pointing to
 * hvm_start_info.
 */
import { VringError } from '../../base/index.js';
import type { BootImages, BootTarget, LoadedKernel } from './boot-state.js';
import { elfNotes, loadElfSegments, parseElf } from './elf.js';
import { cString, lowLayout, protectedState } from './entry-state.js';
import { RamPlan } from './ram-plan.js';

const noteName = 'Xen';
const notePhys32Entry = 18;
const startInfoMagic = 0x336ec578;
const startInfoSize = 56;
const moduleEntrySize = 32;
const memmapEntrySize = 24;

/** hvm_start_info, its module list and its memory map in one piece at `gpa`. */
function startInfo(
  gpa: number,
  target: BootTarget,
  commandLineGpa: number,
  modules: readonly { gpa: number; size: number }[],
): Uint8Array {
  const modulesAt = startInfoSize;
  const memmapAt = modulesAt + modules.length * moduleEntrySize;
  const bytes = new Uint8Array(memmapAt + target.e820.length * memmapEntrySize);
  const view = new DataView(bytes.buffer);
  const u64 = (at: number, value: number) => view.setBigUint64(at, BigInt(value), true);
  view.setUint32(0, startInfoMagic, true);
  view.setUint32(4, 1, true); // version: has the memory map
  view.setUint32(12, modules.length, true);
  u64(16, modules.length > 0 ? gpa + modulesAt : 0);
  u64(24, commandLineGpa);
  u64(32, target.rsdpGpa ?? 0);
  u64(40, gpa + memmapAt);
  view.setUint32(48, target.e820.length, true);
  modules.forEach((module, i) => {
    u64(modulesAt + i * moduleEntrySize, module.gpa);
    u64(modulesAt + i * moduleEntrySize + 8, module.size);
  });
  target.e820.forEach((entry, i) => {
    const at = memmapAt + i * memmapEntrySize;
    u64(at, entry.start);
    u64(at + 8, entry.size);
    view.setUint32(at + 16, entry.type, true);
  });
  return bytes;
}

export function loadPvh(images: BootImages, target: BootTarget): LoadedKernel {
  const image = images.kernel;
  const elf = parseElf(image);
  const note = elfNotes(image, elf).find((n) => n.name === noteName && n.type === notePhys32Entry);
  if (note === undefined) {
    throw new VringError(
      'boot-kernel-unsupported',
      'The kernel is an ELF file without a PVH entry note (a Linux vmlinux needs CONFIG_PVH; else use its bzImage).',
    );
  }
  if (note.desc.length !== 4 && note.desc.length !== 8) {
    throw new VringError(
      'boot-kernel-damaged',
      'The kernel is a damaged ELF file: its PVH entry note has a wrong size.',
    );
  }
  const desc = new DataView(note.desc.buffer, note.desc.byteOffset, note.desc.length);
  const entry = desc.getUint32(0, true);

  const plan = new RamPlan(target);
  const listBytes = startInfoSize + moduleEntrySize + target.e820.length * memmapEntrySize;
  plan.reserve(lowLayout.startInfo, listBytes, 'the start information');
  const commandLine = cString(images.commandLine);
  if (lowLayout.commandLine + commandLine.length > lowLayout.lowEnd) {
    throw new VringError('boot-command-line-too-long', `The kernel command line has ${commandLine.length - 1} bytes.`);
  }
  plan.place(lowLayout.commandLine, commandLine, 'the command line');
  const state = protectedState(plan, { rip: entry, rbx: lowLayout.startInfo });
  const end = loadElfSegments(image, elf, plan);
  if (plan.ramFrom(entry) === 0) {
    throw new VringError('boot-kernel-damaged', 'The kernel is a damaged ELF file: its PVH entry lies outside RAM.');
  }
  const modules: { gpa: number; size: number }[] = [];
  const initrd = images.initrd;
  if (initrd !== undefined && initrd.length > 0) {
    // Highest below 2 GiB: the 64-bit kernel's own limit for a ramdisk (initrd_addr_max) is not part of this protocol.
    const gpa = plan.findHigh(initrd.length, 0x1000, end, 0x80000000);
    if (gpa === undefined) {
      throw new VringError(
        'boot-initrd-too-large',
        `The initrd does not fit into RAM: it has ${initrd.length} bytes, ` +
          `the machine has ${Math.floor(plan.ramBytes / 0x100000)} MiB of RAM, the kernel included.`,
      );
    }
    plan.place(gpa, initrd, 'the initrd');
    modules.push({ gpa, size: initrd.length });
  }
  plan.write(lowLayout.startInfo, startInfo(lowLayout.startInfo, target, lowLayout.commandLine, modules));
  return {
    format: 'pvh',
    state,
    description: `ELF${elf.is64 ? '64' : '32'} kernel, PVH entry at 0x${entry.toString(16)}`,
  };
}
