/** Registers of a GICv3's distributor (IHI 0069, 12.9). */
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
import { GICV3_INTERRUPTS, GICV3_SPIS, GICV3_WORDS, ID_BITS } from './gicv3-state.js';

export const GICV3_DISTRIBUTOR_BYTES = 0x1_0000;
const reg = {
  CTLR: 0x0000,
  TYPER: 0x0004,
  IIDR: 0x0008,
  IPRIORITYR: 0x0400,
  ITARGETSR: 0x0800,
  ICFGR: 0x0c00,
  IGRPMODR: 0x0d00,
  IROUTER: 0x6000,
} as const;
/** Affinity routing, one security state: both always. */
const CTLR_ONES = (1 << 4) | (1 << 6);
/** GICD_TYPER: message-signalled interrupts; Aff3; no SPI goes to one of several CPUs. */
const typer = { LPIS: 1 << 17, ID_BITS: (ID_BITS - 1) << 19, A3V: 1 << 24, NO_1_OF_N: 1 << 25 } as const;
const idBytes = identification(0x92);

function read(gic: GicV3, offset: number): number {
  const { state } = gic;
  if (offset < bitFile.IGROUPR) {
    if (offset === reg.CTLR) return state.ctlr | CTLR_ONES;
    if (offset === reg.IIDR) return IIDR;
    if (offset !== reg.TYPER) return 0;
    const lpis = gic.lpis.length > 0 ? typer.LPIS : 0;
    return (GICV3_WORDS - 1) | lpis | typer.ID_BITS | typer.A3V | typer.NO_1_OF_N;
  }
  if (offset < bitFile.end) {
    const word = (offset & 0x7f) >> 2;
    // Private interrupts are the redistributors'.
    return word === 0 || word >= GICV3_WORDS ? 0 : readBits(gic, offset & ~0x7f, gic.wordOf(word, 0));
  }
  if (offset < reg.ITARGETSR) {
    const irq = offset - reg.IPRIORITYR;
    return irq < FIRST_SPI || irq >= GICV3_INTERRUPTS ? 0 : readPriorities(gic, gic.priorityAt(irq, 0));
  }
  if (offset >= reg.ICFGR && offset < reg.IGRPMODR) {
    const irq = (offset - reg.ICFGR) * 4;
    if (irq < FIRST_SPI || irq >= GICV3_INTERRUPTS) return 0;
    return readTriggers(gic, gic.wordOf(irq >> 5, 0), ((irq >> 4) & 1) as 0 | 1);
  }
  const half = routeHalf(offset);
  if (half !== undefined) return state.route[half];
  return offset >= IDENTIFICATION ? (idBytes[(offset - IDENTIFICATION) >> 2] ?? 0) : 0;
}

/** Index of a half of GICD_IROUTER<n>. */
function routeHalf(offset: number): number | undefined {
  const half = (offset - reg.IROUTER) / 4 - 2 * FIRST_SPI;
  return half >= 0 && half < 2 * GICV3_SPIS ? half : undefined;
}

function write(gic: GicV3, offset: number, value: number, mask: number): void {
  const { state } = gic;
  if (offset < bitFile.IGROUPR) {
    if (offset === reg.CTLR && (mask & 1) !== 0) state.ctlr = value & 3;
  } else if (offset < bitFile.end) {
    const word = (offset & 0x7f) >> 2;
    if (word > 0 && word < GICV3_WORDS) writeBits(gic, offset & ~0x7f, gic.wordOf(word, 0), value, mask);
  } else if (offset < reg.ITARGETSR) {
    const irq = offset - reg.IPRIORITYR;
    if (irq >= FIRST_SPI && irq < GICV3_INTERRUPTS) writePriorities(gic, gic.priorityAt(irq, 0), value, mask);
  } else if (offset >= reg.ICFGR && offset < reg.IGRPMODR) {
    const irq = (offset - reg.ICFGR) * 4;
    if (irq >= FIRST_SPI && irq < GICV3_INTERRUPTS)
      writeTriggers(gic, gic.wordOf(irq >> 5, 0), ((irq >> 4) & 1) as 0 | 1, value, mask);
  } else {
    const half = routeHalf(offset);
    if (half === undefined) return;
    // No interrupt goes to one of several CPUs: bit 31 is zero.
    const writable = (half & 1) !== 0 ? 0xff : 0x00ffffff;
    state.route[half] = ((state.route[half] & ~mask) | value) & writable;
    gic.routeChanged(half >> 1);
  }
}

export const distributorRegisters = (gic: GicV3): IoHandler => ({
  read: (offset, size) => part(read(gic, offset & ~3), offset, size),
  write: (offset, size, value) => {
    write(gic, offset & ~3, ...widen(offset, size, value));
    gic.refreshAll();
  },
});
