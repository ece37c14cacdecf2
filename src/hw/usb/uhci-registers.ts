/** Registers of a UHCI controller (Universal Host Controller Interface Design Guide 1.1, chapter 2). */
import { defineRegisters } from '../../bus/index.js';

export const usbCommand = { run: 1, hostReset: 2, globalReset: 4, configured: 0x40, writable: 0xff } as const;
export const usbStatus = { interrupt: 1, error: 2, resume: 4, hostError: 8, processError: 0x10, halted: 0x20 } as const;
export const interruptEnable = { timeout: 1, resume: 2, complete: 4, short: 8 } as const;
export const port = {
  connected: 1,
  connectChange: 2,
  enabled: 4,
  enableChange: 8,
  resume: 0x40,
  isOne: 0x80,
  lowSpeed: 0x100,
  reset: 0x200,
  suspended: 0x1000,
} as const;

export interface UhciHost {
  setCommand(value: number, mask: number): void;
  clearStatus(value: number): void;
  readonly status: number;
  readonly frameNumber: number;
  setFrameNumber(value: number, mask: number): void;
  readPort(index: number): number;
  writePort(index: number, value: number, mask: number): void;
  updateLine(): void;
}

export const uhciRegisters = defineRegisters<UhciHost>()({
  USBCMD: {
    offset: 0,
    width: 2,
    access: 'rw',
    meaning: 'command',
    write: (host, value, mask) => host.setCommand(value, mask),
  },
  USBSTS: {
    offset: 2,
    width: 2,
    access: 'rw',
    meaning: 'status, cleared by ones',
    read: (host) => host.status,
    write: (host, value) => host.clearStatus(value),
  },
  USBINTR: {
    offset: 4,
    width: 2,
    access: 'rw',
    writable: 15,
    meaning: 'interrupts',
    changed: (host) => host.updateLine(),
  },
  FRNUM: {
    offset: 6,
    width: 2,
    access: 'rw',
    meaning: 'number of the frame',
    read: (host) => host.frameNumber,
    write: (host, value, mask) => host.setFrameNumber(value, mask),
  },
  FRBASEADD: { offset: 8, width: 4, access: 'rw', writable: 0xfffff000, meaning: 'list of 1024 frames' },
  SOFMOD: {
    offset: 12,
    width: 1,
    access: 'rw',
    reset: 0x40,
    writable: 0x7f,
    meaning: 'length of a frame; of no effect',
  },
  PORTSC1: {
    offset: 16,
    width: 2,
    access: 'rw',
    meaning: 'first port',
    read: (host) => host.readPort(0),
    write: (host, value, mask) => host.writePort(0, value, mask),
  },
  PORTSC2: {
    offset: 18,
    width: 2,
    access: 'rw',
    meaning: 'second port',
    read: (host) => host.readPort(1),
    write: (host, value, mask) => host.writePort(1, value, mask),
  },
});
