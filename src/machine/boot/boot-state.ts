/**
 * What a boot loader takes and gives, as plain data: an image goes in, guest RAM is written through a BootTarget, and the
 * state in which the first vCPU starts comes out. The board applies the state to its vCPU; nothing here knows one.
 */

/** Address range types of the BIOS call INT 15h AX=E820h (ACPI 6.4 table 15.374). */
export const e820Type = { ram: 1, reserved: 2, acpi: 3, nvs: 4, unusable: 5 } as const;

export interface E820Entry {
  readonly start: number;
  readonly size: number;
  /** One of `e820Type`. */
  readonly type: number;
}

/** Guest memory as a loader sees it. */
export interface BootTarget {
  /** The map that the guest is told. Loaders place things only in entries of type RAM. */
  readonly e820: readonly E820Entry[];
  /** Writes guest RAM. Loaders call it only for ranges that lie in one RAM entry of `e820`. */
  write(gpa: number, bytes: Uint8Array): void;
  /** Zeroes guest RAM, under the same condition. RAM need not be zero before: a machine is also booted after a reset. */
  clear(gpa: number, size: number): void;
  /** Address of the ACPI RSDP, if the board has tables. */
  readonly rsdpGpa?: number;
}

export interface BootModule {
  readonly bytes: Uint8Array;
  readonly commandLine: string;
}

export interface BootImages {
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array;
  /** Multiboot modules; `initrd`, if given, is the first one, with an empty command line. */
  readonly modules?: readonly BootModule[] | undefined;
  /** The kernel's own name: Multiboot programs find it before their command line. */
  readonly name?: string | undefined;
  readonly commandLine: string;
  /** The vCPU has long mode: 64-bit kernels are entered in it. */
  readonly longMode: boolean;
  /** Handed to Linux as its first entropy (setup_data type SETUP_RNG_SEED). */
  readonly rngSeed?: Uint8Array;
}

/** One segment register, with its hidden part as the descriptor would give it. */
export interface SegmentState {
  readonly selector: number;
  readonly base: number;
  /** In bytes, granularity applied. */
  readonly limit: number;
  /** Descriptor type field, 4 bits (Intel SDM vol. 3, 3.4.5.1). */
  readonly type: number;
  /** False for system segments (TSS, LDT). */
  readonly codeOrData: boolean;
  readonly dpl: number;
  readonly present: boolean;
  /** L bit: 64-bit code. */
  readonly long: boolean;
  /** D/B bit. */
  readonly big: boolean;
  readonly granular: boolean;
}

export type SegmentName = 'cs' | 'ds' | 'es' | 'ss' | 'fs' | 'gs' | 'tr' | 'ldtr';

/** Registers not named are 0. `rflags` always has bit 1 set and IF clear. */
export interface VcpuBootState {
  /** `long64`: cr0.PG, cr4.PAE and efer.LMA are set and cr3 points to identity tables; `protected32`: paging is off. */
  readonly mode: 'long64' | 'protected32';
  /** `rip`, `rsi`, `rax`, …, `rflags`, `cr0`, `cr3`, `cr4`, `efer`, by the manual's 64-bit names in both modes. */
  readonly registers: Readonly<Record<string, number>>;
  readonly segments: Readonly<Record<SegmentName, SegmentState>>;
  readonly gdt: { readonly base: number; readonly limit: number };
  readonly idt: { readonly base: number; readonly limit: number };
}

/** What was found and where it went: for logs and `info`. */
export interface LoadedKernel {
  readonly format: 'linux' | 'pvh' | 'multiboot';
  readonly state: VcpuBootState;
  /** One line, e.g. "Linux 6.1.0 (bzImage, boot protocol 2.15), 64-bit entry". */
  readonly description: string;
}
