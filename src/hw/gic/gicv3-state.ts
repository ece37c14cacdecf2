/** State of a GICv3 (gicv3.ts), and numbers that its parts share. */
import { bytes, defineState, type StateOf, u8, u32s } from '../../schema/index.js';
import { FIRST_SPI } from './gicv2.js';

export const GICV3_SPIS = 256;
export const GICV3_INTERRUPTS = FIRST_SPI + GICV3_SPIS;
/** Words of 32 interrupts: the private ones, then those of SPIs. */
export const GICV3_WORDS = GICV3_INTERRUPTS / 32;
/** Interrupt numbers have 16 bits; those of messages (LPIs) begin here. */
export const ID_BITS = 16;
export const FIRST_LPI = 8192;
/** Interrupt number: there is none. */
export const SPURIOUS = 1023;
/** A priority below all; those that there are have five bits. */
export const IDLE = 0x100;
export const PRIORITY_BITS = 5;
export const PRIORITY_MASK = 0xf8;
export const SGIS = 0xffff;

/** Words of bits: one for each CPU with its private interrupts, then those of SPIs. */
export const gicV3State = (cpus: number) =>
  defineState('gicv3', 1, {
    /** GICD_CTLR: the bits that enable groups 0 and 1. */
    ctlr: u8(0, { max: 3 }),
    group: u32s(cpus + GICV3_WORDS - 1),
    enable: u32s(cpus + GICV3_WORDS - 1),
    /** Pending by an edge, by software, or by another CPU; levels of inputs; which inputs are edge-triggered. */
    latch: u32s(cpus + GICV3_WORDS - 1),
    level: u32s(cpus + GICV3_WORDS - 1),
    edge: u32s(cpus + GICV3_WORDS - 1),
    active: u32s(cpus + GICV3_WORDS - 1),
    /** Of each CPU's private interrupts, then of SPIs. */
    priority: bytes(cpus * FIRST_SPI + GICV3_SPIS),
    /** GICD_IROUTER, lower and upper half. */
    route: u32s(2 * GICV3_SPIS),
    /** Redistributors: GICR_CTLR, GICR_WAKER, and the halves of GICR_PROPBASER and GICR_PENDBASER. */
    redistributorControl: bytes(cpus, { max: 1 }),
    waker: bytes(cpus, { max: 6 }, 6),
    propertyBase: u32s(2 * cpus),
    pendingBase: u32s(2 * cpus),
    /** CPU interfaces: enabled groups, CBPR and EOImode, PMR, BPR0, BPR1, active priorities. */
    groups: bytes(cpus, { max: 3 }),
    control: bytes(cpus, { max: 3 }),
    mask: bytes(cpus),
    binaryPoint0: bytes(cpus, { max: 7 }, 2),
    binaryPoint1: bytes(cpus, { max: 7 }, 3),
    activePriorities0: u32s(cpus),
    activePriorities1: u32s(cpus),
  });
export type GicV3Struct = StateOf<ReturnType<typeof gicV3State>>;
