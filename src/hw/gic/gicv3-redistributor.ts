/** Registers of a GICv3's redistributors (IHI 0069, 12.11 and 12.12): two frames of 64 KiB for each CPU, one behind the other. */
import type { IoHandler } from '../../bus/index.js';
import { FIRST_SPI } from './gicv2.js';
import type { GicV3 } from './gicv3.js';
import {
  bitFile,
  IDENTIFICATION,
  IIDR,
  identification,
  part,
  readBits,
  readPriorities,
  readTriggers,
  widen,
  writeBits,
  writePriorities,
  writeTriggers,
} from './gicv3-bit-files.js';
import type { GicV3Struct } from './gicv3-state.js';
import type { LpiTables } from './pending-lpis.js';

const FRAME = 0x1_0000;
export const REDISTRIBUTOR_BYTES = 2 * FRAME;
const reg = {
  CTLR: 0x0000,
  IIDR: 0x0004,
  TYPER: 0x0008,
  WAKER: 0x0014,
  PROPBASER: 0x0070,
  PENDBASER: 0x0078,
  IPRIORITYR: 0x0400,
  ICFGR: 0x0c00,
} as const;
/** GICR_CTLR: LPIs are enabled; they can be disabled again. */
const ctlr = { ENABLE_LPIS: 1, CES: 2 } as const;
/** GICR_WAKER: it is to sleep; it does. */
const waker = { SLEEP: 2, ASLEEP: 4 } as const;
/** GICR_TYPER: LPIs, the last one of the region, CPUs with the same Aff3 share the table of priorities. */
const typer = { PLPIS: 1, LAST: 1 << 4, PROCESSOR_SHIFT: 8, COMMON_AFFINITY: 1 << 24 } as const;
/** Bits of GICR_PROPBASER and GICR_PENDBASER, lower and upper half; the rest (PTZ: the table is zero) reads as zero. */
const writable = {
  property: [0xffff_ff9f, 0x070f_ffff],
  pending: [0xffff_0f80, 0x070f_ffff],
} as const;
const idBytes = identification(0x93);

/** Where a CPU's tables of LPIs lie; undefined while they are disabled. */
export function lpiTables(state: GicV3Struct, cpu: number): LpiTables | undefined {
  if ((state.redistributorControl[cpu] & ctlr.ENABLE_LPIS) === 0) return undefined;
  const [property, pending] = [state.propertyBase, state.pendingBase];
  const at = 2 * cpu;
  return {
    propertyGpa: (property[at + 1] & 0xfffff) * 2 ** 32 + (property[at] - (property[at] & 0xfff)),
    pendingGpa: (pending[at + 1] & 0xfffff) * 2 ** 32 + (pending[at] - (pending[at] & 0xffff)),
    idBits: (property[at] & 31) + 1,
  };
}

/** The frame of control registers. */
function readControl(gic: GicV3, cpu: number, offset: number): number {
  const { state } = gic;
  const hasLpis = gic.lpis.length > 0;
  switch (offset) {
    case reg.CTLR:
      return state.redistributorControl[cpu] | (hasLpis ? ctlr.CES : 0);
    case reg.IIDR:
      return IIDR;
    case reg.TYPER: {
      const last = cpu === gic.cpus - 1 ? typer.LAST : 0;
      return (hasLpis ? typer.PLPIS : 0) | last | (cpu << typer.PROCESSOR_SHIFT) | typer.COMMON_AFFINITY;
    }
    case reg.TYPER + 4:
      return gic.affinities[cpu];
    case reg.WAKER:
      return state.waker[cpu];
    case reg.PROPBASER:
    case reg.PROPBASER + 4:
      return state.propertyBase[2 * cpu + ((offset >> 2) & 1)];
    case reg.PENDBASER:
    case reg.PENDBASER + 4:
      return state.pendingBase[2 * cpu + ((offset >> 2) & 1)];
  }
  return offset >= IDENTIFICATION ? (idBytes[(offset - IDENTIFICATION) >> 2] ?? 0) : 0;
}

function writeControl(gic: GicV3, cpu: number, offset: number, value: number, mask: number): void {
  const { state } = gic;
  const hasLpis = gic.lpis.length > 0;
  switch (offset) {
    case reg.CTLR: {
      if ((mask & ctlr.ENABLE_LPIS) === 0 || !hasLpis) return;
      const next = value & ctlr.ENABLE_LPIS;
      if (state.redistributorControl[cpu] === next) return;
      state.redistributorControl[cpu] = next;
      gic.lpisChanged(cpu);
      return;
    }
    case reg.WAKER:
      if ((mask & waker.SLEEP) !== 0) state.waker[cpu] = (value & waker.SLEEP) !== 0 ? waker.SLEEP | waker.ASLEEP : 0;
      return;
    case reg.PROPBASER:
    case reg.PROPBASER + 4:
    case reg.PENDBASER:
    case reg.PENDBASER + 4: {
      // While LPIs are enabled the tables stay where they are.
      if (!hasLpis || (state.redistributorControl[cpu] & ctlr.ENABLE_LPIS) !== 0) return;
      const half = (offset >> 2) & 1;
      const isProperty = offset < reg.PENDBASER;
      const base = isProperty ? state.propertyBase : state.pendingBase;
      const bits = writable[isProperty ? 'property' : 'pending'][half];
      base[2 * cpu + half] = ((base[2 * cpu + half] & ~mask) | value) & bits;
    }
  }
}

/** The frame of SGIs and PPIs. */
function readPrivate(gic: GicV3, cpu: number, offset: number): number {
  const register = offset & 0x7f;
  if (offset >= bitFile.IGROUPR && offset < bitFile.end)
    return register === 0 ? readBits(gic, offset & ~0x7f, gic.wordOf(0, cpu)) : 0;
  if (offset >= reg.IPRIORITYR && offset < reg.IPRIORITYR + FIRST_SPI)
    return readPriorities(gic, gic.priorityAt(offset - reg.IPRIORITYR, cpu));
  if (offset === reg.ICFGR) return readTriggers(gic, cpu, 0);
  return offset === reg.ICFGR + 4 ? readTriggers(gic, cpu, 1) : 0;
}

function writePrivate(gic: GicV3, cpu: number, offset: number, value: number, mask: number): void {
  if (offset >= bitFile.IGROUPR && offset < bitFile.end) {
    if ((offset & 0x7f) === 0) writeBits(gic, offset, gic.wordOf(0, cpu), value, mask);
  } else if (offset >= reg.IPRIORITYR && offset < reg.IPRIORITYR + FIRST_SPI)
    writePriorities(gic, gic.priorityAt(offset - reg.IPRIORITYR, cpu), value, mask);
  else if (offset === reg.ICFGR + 4) writeTriggers(gic, cpu, 1, value, mask);
}

export const redistributorRegisters = (gic: GicV3): IoHandler => ({
  read: (offset, size) => {
    const cpu = Math.floor(offset / REDISTRIBUTOR_BYTES);
    if (cpu >= gic.cpus) return 0;
    const at = (offset % FRAME) & ~3;
    const isControl = offset % REDISTRIBUTOR_BYTES < FRAME;
    return part((isControl ? readControl : readPrivate)(gic, cpu, at), offset, size);
  },
  write: (offset, size, value) => {
    const cpu = Math.floor(offset / REDISTRIBUTOR_BYTES);
    if (cpu >= gic.cpus) return;
    const at = (offset % FRAME) & ~3;
    const isControl = offset % REDISTRIBUTOR_BYTES < FRAME;
    (isControl ? writeControl : writePrivate)(gic, cpu, at, ...widen(offset, size, value));
    gic.refresh(cpu);
  },
});
