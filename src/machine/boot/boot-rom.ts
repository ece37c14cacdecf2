/**
 * Option ROMs that boot something under a BIOS: their code as bytes, and their header. Plug and Play BIOS Specification 1.0A, 3.2
 * (option ROM header, bootstrap entry vector).
 */
import { VringError } from '../../base/index.js';

/** Where a transfer's descriptor is put: free memory below the boot sector. */
export const DESCRIPTOR_GPA = 0x7000;
const DMA_READ = 2;
const DMA_SELECT = 8;
/** The header counts blocks of 512 bytes in one byte. */
const MOST_ROM_BYTES = 255 * 512;

/** What fw_cfg writes to guest memory. */
export interface Part {
  /** The item; undefined: the one before is read on, and past its end zeros. */
  readonly key: number | undefined;
  readonly gpa: number;
  readonly bytes: number;
}

export const u16 = (value: number) => [value & 255, (value >> 8) & 255];
export const u32 = (value: number) => [...u16(value & 0xffff), ...u16(value >>> 16)];
const swap = (value: number) => [...u32(value)].reverse();

/** mov dword [gpa], imm32, with DS at 0. */
export const store = (gpa: number, bytes: readonly number[]) => [0x66, 0xc7, 0x06, ...u16(gpa), ...bytes];

/** Real-mode code, interrupts off and DS at 0 from then on, that has fw_cfg write the parts by DMA. */
export function loadParts(parts: readonly Part[]): number[] {
  const code = [0xfa, 0xfc, 0x31, 0xc0, 0x8e, 0xd8]; // cli; cld; xor ax, ax; mov ds, ax
  const out = (port: number, bytes: readonly number[]) =>
    code.push(0xba, ...u16(port), 0x66, 0xb8, ...bytes, 0x66, 0xef); // mov dx, ..; mov eax, ..; out dx, eax
  for (const { key, gpa, bytes } of parts) {
    const control = key === undefined ? DMA_READ : (key << 16) | DMA_SELECT | DMA_READ;
    // The descriptor and the address of it are big endian.
    for (const [i, word] of [control >>> 0, bytes, 0, gpa].entries())
      code.push(...store(DESCRIPTOR_GPA + 4 * i, swap(word)));
    out(0x514, swap(0));
    out(0x518, swap(DESCRIPTOR_GPA));
  }
  return code;
}

/** An option ROM whose boot entry is `code`. Throws VringError `boot-kernel-unsupported`. */
export function optionRom(code: readonly number[], product: string): Uint8Array {
  const pnpAt = 0x20;
  const codeAt = 0x60;
  const initAt = 0x50;
  const size = Math.ceil((codeAt + code.length + 1) / 512) * 512;
  if (size > MOST_ROM_BYTES)
    throw new VringError('boot-kernel-unsupported', 'The kernel has more parts than an option ROM can load.');
  const rom = new Uint8Array(size);
  rom.set([0x55, 0xaa, size / 512, 0xe9, ...u16(initAt - 6)], 0);
  rom.set(u16(pnpAt), 0x1a);
  const nameAt = 0x40;
  // $PnP, revision 1.0, two paragraphs; a bootable device (class: mass storage), whose entry is the bootstrap vector.
  rom.set([0x24, 0x50, 0x6e, 0x50, 1, 2, ...u16(0), 0, 0, ...u32(0), ...u16(0), ...u16(nameAt)], pnpAt);
  rom.set([1, 0, 0, 0x14, ...u16(0), ...u16(0), ...u16(codeAt)], pnpAt + 0x12);
  rom.set(new TextEncoder().encode(`${product}\0`).subarray(0, initAt - nameAt), nameAt);
  rom.set([0xb8, 0x20, 0x00, 0xcb], initAt); // mov ax, 20h: a boot device is attached; retf
  rom.set(code, codeAt);
  rom[pnpAt + 9] = -rom.subarray(pnpAt, pnpAt + 32).reduce((sum, byte) => sum + byte, 0);
  rom[size - 1] = -rom.reduce((sum, byte) => sum + byte, 0);
  return rom;
}
