/**
 * What QEMU's loader device puts into memory when the machine starts: files as they stand, the segments of ELF programs, numbers; and where
 * a CPU begins. The files are hostile: an ELF file's parser checks them, and nothing is written but RAM.
 */
import { VringError } from '../../base/index.js';
import type { DmaSpace } from '../../bus/index.js';
import { elfMachine, isElf, parseElf } from './elf.js';

export interface Load {
  readonly bytes?: Uint8Array | undefined;
  /** For a person. */
  readonly name: string;
  /** Where it goes; an ELF program says so itself. Without bytes: where the CPU begins. */
  readonly gpa?: number | undefined;
  /** An ELF program too is taken as it stands. */
  readonly raw?: boolean | undefined;
  /** Begins at the program's entry, or at `gpa`. */
  readonly cpu?: number | undefined;
}
export interface LoadBoard {
  readonly memory: { readonly dma: DmaSpace };
  /** Throws VringError `load`. */
  enterAt(cpu: number, pc: number): void;
}

const PT_LOAD = 1;
const anything = { machines: Object.values(elfMachine), name: 'this machine' };

function put({ memory: { dma } }: LoadBoard, name: string, gpa: number, bytes: Uint8Array, size = bytes.length): void {
  if (size === 0) return;
  const view = dma.view(gpa, size, true);
  if (!view)
    throw new VringError('load', `'${name}' does not fit at 0x${gpa.toString(16)}: there is no RAM for ${size} bytes.`);
  view.set(bytes);
  view.fill(0, bytes.length);
  dma.publish(gpa, size);
}

/** In their order. Throws VringError `load`, and what the parser of ELF throws. */
export function applyLoads(board: LoadBoard, loads: readonly Load[]): void {
  for (const { bytes, name, gpa, raw, cpu } of loads) {
    let entry = gpa;
    if (bytes && !raw && isElf(bytes)) {
      const elf = parseElf(bytes, anything);
      for (const { type, offset, paddr, fileSize, memSize } of elf.segments)
        if (type === PT_LOAD) put(board, name, paddr, bytes.subarray(offset, offset + fileSize), memSize);
      entry = elf.entry;
    } else if (bytes) {
      if (gpa === undefined) throw new VringError('load', `'${name}' is no ELF file, and has no address.`);
      put(board, name, gpa, bytes);
    }
    if (cpu === undefined) continue;
    if (entry === undefined) throw new VringError('load', `'${name}' gives no address that CPU ${cpu} could begin at.`);
    board.enterAt(cpu, entry);
  }
}
