/** What an xHCI holds between two accesses. Endpoints lie in the guest's own device contexts, where the controller's words have room. */
import { bool, defineState, f64, list, type StateOf, u8, u16, u32 } from '../../schema/index.js';
import { status } from './xhci-codes.js';

export const slotCount = 64;
export const interrupterCount = 16;
export const mostPorts = 30;

export const XhciState = defineState('xhci', 1, {
  USBCMD: u32(),
  USBSTS: u32(status.halted),
  DNCTRL: u32(),
  CONFIG: u32(),
  commandLow: u32(),
  commandHigh: u32(),
  commandCycle: bool(),
  commandRunning: bool(),
  DCBAAPLow: u32(),
  DCBAAPHigh: u32(),
  /** When it began to run. */
  startNs: f64(0, { min: 0 }),
  slots: list(slotCount, {
    used: bool(),
    /** Port, from 1 on, and the hubs' ports behind it; 0: none yet. */
    port: u8(0, { max: mostPorts }),
    route: u32(0, { max: 0xfffff }),
  }),
  interrupters: list(interrupterCount, {
    IMAN: u32(),
    IMOD: u32(),
    ERSTSZ: u32(),
    ERSTBALow: u32(),
    ERSTBAHigh: u32(),
    ERDPLow: u32(),
    ERDPHigh: u32(),
    /** The segment of its event ring; no entries: there is none. */
    segmentLow: u32(),
    segmentHigh: u32(),
    entries: u16(0, { max: 4096 }),
    next: u16(0, { max: 4095 }),
    cycle: bool(true),
  }),
  ports: list(mostPorts, { PORTSC: u32() }),
});
export type XhciRegisters = StateOf<typeof XhciState>;
export type Interrupter = XhciRegisters['interrupters'][number];
