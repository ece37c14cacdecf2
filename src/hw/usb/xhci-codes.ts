/** Numbers of the xHCI (eXtensible Host Controller Interface 1.2): registers, TRBs, contexts, completion codes. */

/** Offsets of the parts of its window. */
export const area = { operational: 0x40, ports: 0x440, runtime: 0x1000, doorbells: 0x2000, window: 0x4000 } as const;

export const command = { run: 1, reset: 2, interrupts: 4, save: 0x100, restore: 0x200, writable: 0xc0f } as const;
export const status = {
  halted: 1,
  hostError: 4,
  event: 8,
  portChange: 0x10,
  saveRestoreError: 0x400,
  clearable: 0x41c,
} as const;

/** PORTSC (5.4.8). */
export const portsc = {
  connected: 1,
  enabled: 2,
  reset: 0x10,
  linkShift: 5,
  power: 0x200,
  speedShift: 10,
  linkWrite: 0x1_0000,
  connectChange: 0x2_0000,
  enableChange: 0x4_0000,
  resetChange: 0x20_0000,
  linkChange: 0x40_0000,
  changes: 0xfe_0000,
  wakes: 0xe00_0000,
  warmReset: 0x8000_0000,
} as const;
export const linkState = { u0: 0, u3: 3, rxDetect: 5, polling: 7, resume: 15 } as const;
export const speedId = { full: 1, high: 3 } as const;

export const interrupterBits = { pending: 1, enabled: 2, busy: 8 } as const;

export const trbType = {
  normal: 1,
  setup: 2,
  data: 3,
  status: 4,
  link: 6,
  eventData: 7,
  noOp: 8,
  enableSlot: 9,
  disableSlot: 10,
  addressDevice: 11,
  configureEndpoint: 12,
  evaluateContext: 13,
  resetEndpoint: 14,
  stopEndpoint: 15,
  setDequeue: 16,
  resetDevice: 17,
  noOpCommand: 23,
  transferEvent: 32,
  commandEvent: 33,
  portEvent: 34,
  /** NEC's own: the version of its firmware. */
  necEvent: 48,
  necFirmware: 49,
} as const;

/** Bits of a TRB's last word. */
export const trbBit = {
  cycle: 1,
  toggle: 2,
  shortEvent: 4,
  chain: 0x10,
  onComplete: 0x20,
  immediate: 0x40,
  isIn: 0x1_0000,
  /** Of ADDRESS DEVICE, and of CONFIGURE ENDPOINT. */
  blockSetAddress: 0x200,
  deconfigure: 0x200,
  /** Of a transfer event. */
  eventData: 4,
} as const;

export const completion = {
  success: 1,
  transaction: 4,
  trb: 5,
  stall: 6,
  noSlots: 9,
  slotNotEnabled: 11,
  endpointNotEnabled: 12,
  shortPacket: 13,
  parameter: 17,
  contextState: 19,
  commandRingStopped: 24,
} as const;

export const endpointState = { disabled: 0, running: 1, halted: 2, stopped: 3, error: 4 } as const;
export const slotState = { disabled: 0, default: 1, addressed: 2, configured: 3 } as const;
export const contextBytes = 32;
export const lastEndpoint = 31;
