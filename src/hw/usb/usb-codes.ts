/** Numbers of the Universal Serial Bus (USB 2.0, chapter 9) and of what devices answer. */

/** In place of a number of bytes: what a packet ends with. */
export const answer = {
  /** Nothing to give, no room yet: the host asks again. */
  nak: -1,
  /** The endpoint is halted, or the request is refused. */
  stall: -2,
  /** Nobody has this address. */
  none: -3,
} as const;

export type UsbSpeed = 'full' | 'high';
export type UsbToken = 'setup' | 'in' | 'out';

export const request = {
  getStatus: 0,
  clearFeature: 1,
  setFeature: 3,
  setAddress: 5,
  getDescriptor: 6,
  getConfiguration: 8,
  setConfiguration: 9,
  getInterface: 10,
  setInterface: 11,
} as const;

export const descriptor = {
  device: 1,
  configuration: 2,
  string: 3,
  qualifier: 6,
  hid: 0x21,
  report: 0x22,
  hub: 0x29,
} as const;
export const feature = { endpointHalt: 0, remoteWakeup: 1 } as const;

/** Kinds of requests: the type and recipient bits of bmRequestType. */
export const kind = {
  device: 0x00,
  interface: 0x01,
  endpoint: 0x02,
  classDevice: 0x20,
  classInterface: 0x21,
  classOther: 0x23,
} as const;

export const transferType = { bulk: 2, interrupt: 3 } as const;

/** The eight bytes that begin a control transfer. */
export interface Setup {
  /** `kind`: bits 0 to 6 of bmRequestType. */
  readonly kind: number;
  readonly isIn: boolean;
  readonly request: number;
  readonly value: number;
  readonly index: number;
  readonly length: number;
}

export function readSetup(bytes: Uint8Array): Setup {
  const word = (at: number) => bytes[at]! | (bytes[at + 1]! << 8);
  return {
    kind: bytes[0]! & 0x7f,
    isIn: (bytes[0]! & 0x80) !== 0,
    request: bytes[1]!,
    value: word(2),
    index: word(4),
    length: word(6),
  };
}

/** What devices call themselves. */
export const usbProducts = {
  keyboard: 'VRING USB Keyboard',
  mouse: 'VRING USB Mouse',
  tablet: 'VRING USB Tablet',
  hub: 'VRING USB Hub',
  storage: 'VRING USB HARDDRIVE',
} as const;
