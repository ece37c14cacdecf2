/**
 * The low-memory layout of direct boot and the CPU states that the boot protocols ask for. There is no firmware: the
 * loader leaves in RAM what a boot loader would have left.
 *
 *   0x00500  GDT (5 entries)
 *   0x01000  hvm_start_info or Multiboot information, with their lists
 *   0x07000  boot_params ("zero page")
 *   0x09000  identity page tables: PML4, PDPT, four page directories (64-bit entry only)
 *   0x10000  command lines
 */

import type { SegmentName, SegmentState, VcpuBootState } from './boot-state.js';
import type { RamPlan } from './ram-plan.js';

export const lowLayout = {
  gdt: 0x500,
  startInfo: 0x1000,
  startInfoEnd: 0x7000,
  bootParams: 0x7000,
  pageTables: 0x9000,
  commandLine: 0x10000,
  lowEnd: 0x9f000,
} as const;

/** Linux boot protocol: __BOOT_CS and __BOOT_DS; the others are free to choose. */
const selector = { code: 0x10, data: 0x18, tss: 0x20 } as const;

/** A flat 4 GiB (or 64-bit) segment. `type`: 11 = code, execute/read, accessed; 3 = data, read/write, accessed. */
function flat(sel: number, type: number, long: boolean): SegmentState {
  return {
    selector: sel,
    base: 0,
    limit: 0xffffffff,
    type,
    codeOrData: true,
    dpl: 0,
    present: true,
    long,
    big: !long,
    granular: true,
  };
}

/** Descriptor in memory, Intel SDM vol. 3, figure 3-8. */
function descriptorBytes(segment: SegmentState): Uint8Array {
  const limit = segment.granular ? segment.limit >>> 12 : segment.limit;
  const access = segment.type | (segment.codeOrData ? 0x10 : 0) | (segment.dpl << 5) | (segment.present ? 0x80 : 0);
  const flags = (segment.long ? 2 : 0) | (segment.big ? 4 : 0) | (segment.granular ? 8 : 0);
  return Uint8Array.of(
    limit & 0xff,
    (limit >>> 8) & 0xff,
    segment.base & 0xff,
    (segment.base >>> 8) & 0xff,
    (segment.base >>> 16) & 0xff,
    access,
    ((limit >>> 16) & 0xf) | (flags << 4),
    segment.base >>> 24,
  );
}

function segments(plan: RamPlan, long: boolean): Pick<VcpuBootState, 'segments' | 'gdt' | 'idt'> {
  const code = flat(selector.code, 11, long);
  const data = { ...flat(selector.data, 3, false), big: true };
  const tss: SegmentState = {
    selector: selector.tss,
    base: 0,
    limit: 0x67,
    type: 11,
    codeOrData: false,
    dpl: 0,
    present: true,
    long: false,
    big: false,
    granular: false,
  };
  const ldt: SegmentState = { ...tss, selector: 0, limit: 0, type: 2, present: false };
  const gdt = new Uint8Array(selector.tss + 16);
  gdt.set(descriptorBytes(code), selector.code);
  gdt.set(descriptorBytes(data), selector.data);
  gdt.set(descriptorBytes(tss), selector.tss);
  plan.place(lowLayout.gdt, gdt, 'the descriptor table');
  const all: Record<SegmentName, SegmentState> = {
    cs: code,
    ds: data,
    es: data,
    ss: data,
    fs: data,
    gs: data,
    tr: tss,
    ldtr: ldt,
  };
  return { segments: all, gdt: { base: lowLayout.gdt, limit: gdt.length - 1 }, idt: { base: 0, limit: 0 } };
}

const cr0 = { PE: 1, ET: 0x10, PG: 0x80000000 } as const;
const cr4PAE = 0x20;
const eferLME = 0x100;
const eferLMA = 0x400;
const rflagsReset = 2;

/** Protected mode, paging off, flat segments, interrupts off. */
export function protectedState(plan: RamPlan, registers: Record<string, number>): VcpuBootState {
  return {
    mode: 'protected32',
    registers: { ...registers, rflags: rflagsReset, cr0: cr0.PE | cr0.ET, cr3: 0, cr4: 0, efer: 0 },
    ...segments(plan, false),
  };
}

/** 64-bit mode with the first 4 GiB mapped one to one by 2 MiB pages. */
export function longState(plan: RamPlan, registers: Record<string, number>): VcpuBootState {
  const base = lowLayout.pageTables;
  const tables = new Uint8Array(6 * 0x1000);
  const view = new DataView(tables.buffer);
  const presentWritable = 3;
  const largePage = 0x80;
  view.setUint32(0, (base + 0x1000) | presentWritable, true);
  for (let gib = 0; gib < 4; gib++) {
    view.setUint32(0x1000 + gib * 8, (base + 0x2000 + gib * 0x1000) | presentWritable, true);
    for (let i = 0; i < 512; i++) {
      view.setUint32(0x2000 + gib * 0x1000 + i * 8, ((gib * 512 + i) * 0x200000) | presentWritable | largePage, true);
    }
  }
  plan.place(base, tables, 'the page tables');
  return {
    mode: 'long64',
    registers: {
      ...registers,
      rflags: rflagsReset,
      cr0: (cr0.PE | cr0.ET | cr0.PG) >>> 0,
      cr3: base,
      cr4: cr4PAE,
      efer: eferLME | eferLMA,
    },
    ...segments(plan, true),
  };
}

/** The bytes of a C string; a NUL in the text would end it early, so it is cut there. */
export function cString(text: string): Uint8Array {
  const nul = text.indexOf('\0');
  return new TextEncoder().encode((nul < 0 ? text : text.slice(0, nul)) + '\0');
}
