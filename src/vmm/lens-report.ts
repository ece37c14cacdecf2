/** What the lens tells of a machine: the board's totals, and whose the memory is. */
import { mappingOfSize, residentBytes } from '../host/node/resident.js';
import type { Board } from '../machine/board.js';
import type { LensTotals } from '../machine/lens.js';

export interface MemoryUse {
  readonly bytes: number;
  /** What of it the host has given out, and nobody else has; undefined where the host does not tell. */
  readonly residentBytes: number | undefined;
}

export interface LensReport extends LensTotals {
  /** By owner: guest RAM, firmware, the translator's parts, and the whole process. */
  readonly memory: Readonly<Record<string, MemoryUse>>;
}

/** Where a page of guest RAM lies in this process, and whether the host has given memory for it. */
export interface HostPage {
  readonly gpa: number;
  /** Host address; undefined where it is not to be seen. */
  readonly hva: bigint | undefined;
  readonly resident: boolean | undefined;
}

export function hostPage(board: Board, gpa: number): HostPage {
  const page = gpa - (gpa % 4096);
  const offset = board.memory.hvaOf(page, 4096, false);
  const base = mappingOfSize(board.engine.memory.buffer.byteLength);
  if (base === undefined || offset < 0) return { gpa: page, hva: undefined, resident: undefined };
  const hva = base + BigInt(offset);
  const bytes = residentBytes(hva, 4096);
  return { gpa: page, hva, resident: bytes === undefined ? undefined : bytes > 0 };
}

/** Of a machine that was made with a lens. */
export function lensReport(board: Board): LensReport | undefined {
  const totals = board.lens();
  if (!totals) return undefined;
  const { buffer } = board.engine.memory;
  const base = mappingOfSize(buffer.byteLength);
  const memory: Record<string, MemoryUse> = {};
  for (const { owner, at, bytes } of board.memoryUse()) {
    const resident = base === undefined ? undefined : residentBytes(base + BigInt(at), bytes);
    const before = memory[owner];
    memory[owner] = {
      bytes: (before?.bytes ?? 0) + bytes,
      residentBytes: resident === undefined ? undefined : (before?.residentBytes ?? 0) + resident,
    };
  }
  memory['process'] = { bytes: process.memoryUsage.rss(), residentBytes: process.memoryUsage.rss() };
  return { ...totals, memory };
}
