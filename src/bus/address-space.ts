/**
 * Guest-physical memory and port space: which device or RAM block answers at an address.
 *
 * Guest RAM is one shared WebAssembly memory (DESIGN §4); a RamBlock says which range of guest-physical addresses lies at
 * which byte offset of it. Everything else is MMIO (or unassigned: reads give all ones, writes are dropped).
 */

/** Access width in bytes. Wider accesses are split by the bus before they reach a device. */
export type AccessSize = 1 | 2 | 4 | 8;

/**
 * A device's register window. `offset` is from the start of the window. Values are unsigned numbers below 2^32; an
 * 8-byte access reaches the handler as two 4-byte ones (low half first) unless it implements `read64`/`write64`.
 * Handlers never throw on guest input.
 */
export interface IoHandler {
  read(offset: number, size: 1 | 2 | 4): number;
  write(offset: number, size: 1 | 2 | 4, value: number): void;
  /** Optional, for registers whose 64 bits must be read or written at once. */
  read64?(offset: number): bigint;
  write64?(offset: number, value: bigint): void;
}

/** A window of MMIO or port space that a handler answers for. */
export interface IoWindow {
  readonly name: string;
  readonly start: number;
  readonly size: number;
  readonly handler: IoHandler;
  /** The widest access that the handler takes; wider ones are split by the bus, low part first. 4 unless given. */
  readonly maxAccess?: 1 | 2 | 4;
  /**
   * Registers whose writes show in nothing but later accesses to devices. Who runs the guest may collect them and hand them over
   * in order before the next access that it does not collect.
   */
  readonly deferrable?: readonly { readonly offset: number; readonly size: number }[];
  /** The notify register that a write goes to; undefined: it goes to another. */
  readonly notifies?: ((offset: number, size: number, value: number) => NotifyRegister | undefined) | undefined;
}

/**
 * A register of which a device hears that it was written, and nothing more: a virtqueue's notification. Who writes need not wait
 * for that, and several writes may be one. It is one object as long as the device lives.
 */
export interface NotifyRegister {
  /** The value that means it; undefined: any does. */
  readonly value?: number | undefined;
  /** True: whoever runs the guest should let it write without an exit, if it can. Undefined: where that is of use. */
  readonly isAsked: boolean | undefined;
}

/** Addresses, of ports or of memory, whose writes may be handed over late. */
export interface DeferrableRange {
  readonly space: 'port' | 'memory';
  readonly start: number;
  readonly size: number;
}

export interface RamBlock {
  readonly name: string;
  /** First guest-physical address; a multiple of 4096. */
  readonly gpa: number;
  /** Bytes; a multiple of 4096. */
  readonly size: number;
  /** Byte offset of the block's first byte in the machine's memory. */
  readonly hva: number;
  /** Guest stores are dropped (ROM), or reach `stores`. */
  readonly readonly: boolean;
  /** What takes the stores to a read-only block (flash). Offsets are from the block's start. */
  readonly stores?: Pick<IoHandler, 'write'>;
}

/** DMA as devices see it. Ranges outside RAM read as ones and drop writes; nothing throws on a guest's address. */
export interface DmaSpace {
  read(gpa: number, target: Uint8Array): void;
  write(gpa: number, source: Uint8Array): void;
  readU16(gpa: number): number;
  readU32(gpa: number): number;
  /** Below 2^53; the top 11 bits of the guest's value are cut. */
  readU64(gpa: number): number;
  writeU8(gpa: number, value: number): void;
  writeU16(gpa: number, value: number): void;
  writeU32(gpa: number, value: number): void;
  /** value below 2^53 */
  writeU64(gpa: number, value: number): void;
  /**
   * The bytes of [gpa, gpa+length) if they lie in one RAM block that the device may use, else undefined. After writing to
   * a view the device calls `publish` before the guest can see the transfer as done.
   */
  view(gpa: number, length: number, forWrite: boolean): Uint8Array | undefined;
  /** Tells the machine that a device wrote here: translated code on these pages is dropped, dirty bits are set. */
  publish(gpa: number, length: number): void;
}
