/** The items that boards fill in, in QEMU's layouts. */
import { type FwCfg, fwCfgKey } from './fw-cfg.js';

export interface FwCfgE820Entry {
  readonly start: number;
  readonly size: number;
  readonly type: number;
}

/** File etc/e820: u64 address, u64 length, u32 type, packed. Firmware merges its own reservations into it. */
export function e820File(entries: readonly FwCfgE820Entry[]): Uint8Array {
  const content = new Uint8Array(entries.length * 20);
  const view = new DataView(content.buffer);
  entries.forEach(({ start, size, type }, i) => {
    view.setBigUint64(i * 20, BigInt(start), true);
    view.setBigUint64(i * 20 + 8, BigInt(size), true);
    view.setUint32(i * 20 + 16, type, true);
  });
  return content;
}

/** A Linux image for firmware that boots `-kernel` by itself: its two parts, each with the address where it belongs. */
export interface FwCfgKernel {
  readonly setup: Uint8Array;
  readonly setupGpa: number;
  readonly kernel: Uint8Array;
  readonly kernelGpa: number;
  readonly initrd?: Uint8Array;
  readonly initrdGpa?: number;
  readonly commandLine: string;
  readonly commandLineGpa: number;
}

export function addKernel(fwCfg: FwCfg, image: FwCfgKernel): void {
  fwCfg.setU32(fwCfgKey.setupAddress, image.setupGpa);
  fwCfg.setU32(fwCfgKey.setupSize, image.setup.length);
  fwCfg.setItem(fwCfgKey.setupData, image.setup);
  fwCfg.setU32(fwCfgKey.kernelAddress, image.kernelGpa);
  fwCfg.setU32(fwCfgKey.kernelSize, image.kernel.length);
  fwCfg.setItem(fwCfgKey.kernelData, image.kernel);
  const commandLine = new TextEncoder().encode(`${image.commandLine}\0`);
  fwCfg.setU32(fwCfgKey.commandLineAddress, image.commandLineGpa);
  fwCfg.setU32(fwCfgKey.commandLineSize, commandLine.length);
  fwCfg.setItem(fwCfgKey.commandLineData, commandLine);
  fwCfg.setU32(fwCfgKey.initrdSize, image.initrd?.length ?? 0);
  if (image.initrd === undefined) return;
  fwCfg.setU32(fwCfgKey.initrdAddress, image.initrdGpa ?? 0);
  fwCfg.setItem(fwCfgKey.initrdData, image.initrd);
}

export interface FwCfgBoard {
  readonly ramBytes: number;
  readonly cpus: number;
  readonly maxCpus: number;
  readonly graphic: boolean;
  readonly uuid?: Uint8Array | undefined;
}

/** What every board has: memory size, CPU counts, boot menu off. */
export function addBoardItems(fwCfg: FwCfg, board: FwCfgBoard): void {
  fwCfg.setItem(fwCfgKey.uuid, board.uuid ?? new Uint8Array(16));
  fwCfg.setU64(fwCfgKey.ramSize, board.ramBytes);
  fwCfg.setU16(fwCfgKey.noGraphic, board.graphic ? 0 : 1);
  fwCfg.setU16(fwCfgKey.cpuCount, board.cpus);
  fwCfg.setU16(fwCfgKey.maxCpus, board.maxCpus);
  fwCfg.setU16(fwCfgKey.bootMenu, 0);
}

/** What a PC has beside that: where its timer interrupts, and the memory map. */
export function addPcItems(fwCfg: FwCfg, board: FwCfgBoard & { readonly e820: readonly FwCfgE820Entry[] }): void {
  addBoardItems(fwCfg, board);
  fwCfg.setItem(fwCfgKey.irq0Override, Uint8Array.of(1));
  fwCfg.setFile('etc/e820', e820File(board.e820));
}
