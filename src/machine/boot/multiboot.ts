/**
 * Multiboot 1 (Multiboot Specification 0.6.96): header in the first 8 KiB, ELF32 or the address fields of the header
 * ("a.out kludge"), information structure with memory, command line, modules and memory map.
 *
 * A wish for a video mode (header flag 2) is not served: the information says so by leaving its bit clear.
 */
import { VringError } from '../../base/index.js';
import { type BootImages, type BootModule, type BootTarget, e820Type, type LoadedKernel } from './boot-state.js';
import { isElf, loadElfSegments, parseElf, physicalEntry } from './elf.js';
import { cString, lowLayout, protectedState } from './entry-state.js';
import { RamPlan } from './ram-plan.js';

const headerMagic = 0x1badb002;
const bootMagic = 0x2badb002;
/** The first hard disk as a whole, as QEMU says too: there is no telling. */
const bootDevice = 0x8000ffff;
const headerSearchBytes = 8192;

const headerFlag = { pageAlign: 1, memoryInfo: 2, videoMode: 4, addressFields: 0x10000 } as const;
const infoFlag = { memory: 1, bootDevice: 2, commandLine: 4, modules: 8, memoryMap: 0x40, loaderName: 0x200 } as const;

const infoSize = 0x78;
const moduleEntrySize = 16;
const memoryMapEntrySize = 24;
const maxModules = 256;

interface MultibootHeader {
  readonly offset: number;
  readonly flags: number;
}

function findHeader(image: Uint8Array): MultibootHeader | undefined {
  const view = new DataView(image.buffer, image.byteOffset, image.length);
  const end = Math.min(image.length, headerSearchBytes);
  for (let offset = 0; offset + 12 <= end; offset += 4) {
    if (view.getUint32(offset, true) !== headerMagic) continue;
    const flags = view.getUint32(offset + 4, true);
    if (((headerMagic + flags + view.getUint32(offset + 8, true)) & 0xffffffff) === 0) return { offset, flags };
  }
  return undefined;
}

/**
 * The modules that `-initrd` of QEMU names for a Multiboot kernel: with a comma between them (two stand for one in a name), and
 * behind a file's name what the module's command line says after it. Gives the files' names and the whole command lines.
 */
export function parseModules(text: string): { readonly path: string; readonly commandLine: string }[] {
  const commandLines = text.replaceAll(',,', '\0').split(',');
  return commandLines.map((each) => {
    const commandLine = each.replaceAll('\0', ',');
    return { path: commandLine.split(' ', 1)[0]!, commandLine };
  });
}

export function isMultiboot(image: Uint8Array): boolean {
  return findHeader(image) !== undefined;
}

function damaged(why: string): VringError {
  return new VringError('boot-kernel-damaged', `The kernel is a damaged Multiboot image: ${why}.`);
}

/** Loads by the header's address fields (specification 3.1.3). Returns the entry address and the end of what was loaded. */
function loadByAddressFields(image: Uint8Array, header: MultibootHeader, plan: RamPlan) {
  if (header.offset + 32 > image.length) throw damaged('it ends inside its header');
  const view = new DataView(image.buffer, image.byteOffset, image.length);
  const field = (index: number) => view.getUint32(header.offset + 12 + index * 4, true);
  const headerAddr = field(0);
  const loadAddr = field(1);
  const loadEndAddr = field(2);
  const bssEndAddr = field(3);
  const entry = field(4);
  const fileStart = header.offset - (headerAddr - loadAddr);
  if (headerAddr < loadAddr || fileStart < 0)
    throw damaged('its header address and load address contradict each other');
  const loadBytes = loadEndAddr === 0 ? image.length - fileStart : loadEndAddr - loadAddr;
  if (loadBytes <= 0 || fileStart + loadBytes > image.length)
    throw damaged('it is shorter than its load addresses say');
  const memBytes = bssEndAddr === 0 ? loadBytes : bssEndAddr - loadAddr;
  if (memBytes < loadBytes) throw damaged('its bss ends before its data');
  plan.reserve(loadAddr, memBytes, 'the kernel');
  plan.write(loadAddr, image.subarray(fileStart, fileStart + loadBytes));
  plan.clear(loadAddr + loadBytes, memBytes - loadBytes);
  return { entry, end: loadAddr + memBytes };
}

function loadElf(image: Uint8Array, plan: RamPlan) {
  if (!isElf(image)) throw damaged('it is neither ELF nor has it address fields');
  const elf = parseElf(image);
  if (elf.is64) {
    throw new VringError(
      'boot-kernel-unsupported',
      'The kernel is a 64-bit ELF file with a Multiboot header; Multiboot starts 32-bit files only.',
    );
  }
  const end = loadElfSegments(image, elf, plan);
  return { entry: physicalEntry(elf), end };
}

/** Bytes that go one after the other into a low area, each at a known address. */
class LowArea {
  #next: number;
  readonly #end: number;
  readonly #plan: RamPlan;
  constructor(plan: RamPlan, start: number, end: number) {
    this.#plan = plan;
    this.#next = start;
    this.#end = end;
  }
  put(bytes: Uint8Array, what: string): number {
    const gpa = this.#next;
    if (gpa + bytes.length > this.#end) {
      throw new VringError('boot-command-line-too-long', `The kernel and module command lines are too long (${what}).`);
    }
    this.#plan.place(gpa, bytes, what);
    this.#next = Math.ceil((gpa + bytes.length) / 16) * 16;
    return gpa;
  }
}

function placeModule(module: BootModule, from: number, plan: RamPlan): number {
  // An empty one lies on a page too: programs look.
  if (module.bytes.length === 0) return Math.ceil(from / 0x1000) * 0x1000;
  const gpa = plan.findLow(module.bytes.length, 0x1000, Math.max(from, 0x100000), 0x1_0000_0000);
  if (gpa === undefined) {
    throw new VringError(
      'boot-initrd-too-large',
      `A Multiboot module does not fit into RAM: it has ${module.bytes.length} bytes, ` +
        `the machine has ${Math.floor(plan.ramBytes / 0x100000)} MiB of RAM, the kernel included.`,
    );
  }
  plan.place(gpa, module.bytes, 'a Multiboot module');
  return gpa;
}

export function loadMultiboot(images: BootImages, target: BootTarget): LoadedKernel {
  const image = images.kernel;
  const header = findHeader(image);
  if (header === undefined) throw damaged('it has no header');
  const unknown = header.flags & 0xffff & ~(headerFlag.pageAlign | headerFlag.memoryInfo | headerFlag.videoMode);
  if (unknown !== 0) {
    throw new VringError(
      'boot-kernel-unsupported',
      `The kernel's Multiboot header asks for features that vring does not have (flags 0x${unknown.toString(16)}).`,
    );
  }
  const plan = new RamPlan(target);
  const modules: BootModule[] = [];
  if (images.initrd !== undefined) modules.push({ bytes: images.initrd, commandLine: '' });
  modules.push(...(images.modules ?? []));
  if (modules.length > maxModules) {
    throw new VringError(
      'boot-kernel-unsupported',
      `There are ${modules.length} Multiboot modules; at most ${maxModules} are taken.`,
    );
  }
  const memoryMap = target.e820;
  const modulesGpa = lowLayout.startInfo + infoSize;
  const memoryMapGpa = modulesGpa + modules.length * moduleEntrySize;
  const infoEnd = memoryMapGpa + memoryMap.length * memoryMapEntrySize;
  plan.reserve(lowLayout.startInfo, infoEnd - lowLayout.startInfo, 'the Multiboot information');
  const commandLineText = images.name === undefined ? images.commandLine : `${images.name} ${images.commandLine}`;
  const strings = new LowArea(plan, lowLayout.commandLine, lowLayout.lowEnd);
  const commandLineGpa = strings.put(cString(commandLineText), 'the command line');
  const loaderNameGpa = strings.put(cString('vring'), 'the loader name');
  const moduleStrings = modules.map((module) => strings.put(cString(module.commandLine), "a module's command line"));
  const state = protectedState(plan, {});

  const kernel =
    (header.flags & headerFlag.addressFields) !== 0 ? loadByAddressFields(image, header, plan) : loadElf(image, plan);
  if (plan.ramFrom(kernel.entry) === 0) throw damaged('its entry point lies outside RAM');

  const bytes = new Uint8Array(infoEnd - lowLayout.startInfo);
  const view = new DataView(bytes.buffer);
  const u32 = (at: number, value: number) => view.setUint32(at, value, true);
  u32(
    0,
    Object.values(infoFlag).reduce<number>((all, flag) => all | flag, 0),
  );
  u32(4, Math.min(Math.floor(plan.ramFrom(0) / 1024), 640));
  u32(8, Math.min(Math.floor(plan.ramFrom(0x100000) / 1024), 0xffffffff));
  u32(12, bootDevice);
  u32(16, commandLineGpa);
  u32(20, modules.length);
  u32(24, modules.length > 0 ? modulesGpa : 0);
  u32(44, memoryMap.length * memoryMapEntrySize);
  u32(48, memoryMapGpa);
  u32(64, loaderNameGpa);
  let from = kernel.end;
  modules.forEach((module, i) => {
    const gpa = placeModule(module, from, plan);
    from = gpa + module.bytes.length;
    const at = infoSize + i * moduleEntrySize;
    u32(at, gpa);
    u32(at + 4, gpa + module.bytes.length);
    u32(at + 8, moduleStrings[i]!);
  });
  memoryMap.forEach((entry, i) => {
    const at = memoryMapGpa - lowLayout.startInfo + i * memoryMapEntrySize;
    u32(at, memoryMapEntrySize - 4);
    view.setBigUint64(at + 4, BigInt(entry.start), true);
    view.setBigUint64(at + 12, BigInt(entry.size), true);
    // Multiboot knows 1 = available, 3 = ACPI, 4 = NVS, 5 = defective; all else is reserved: the e820 numbers.
    u32(at + 20, entry.type === e820Type.ram ? 1 : entry.type);
  });
  plan.write(lowLayout.startInfo, bytes);
  return {
    format: 'multiboot',
    state: { ...state, registers: { ...state.registers, rip: kernel.entry, rax: bootMagic, rbx: lowLayout.startInfo } },
    description: `Multiboot kernel, entry at 0x${kernel.entry.toString(16)}`,
  };
}
