/** Sense data (SPC-4, 4.5): why a command ended with CHECK CONDITION. Pairs that QEMU's SCSI devices tell have the same meaning here. */

export const senseKey = {
  none: 0,
  notReady: 2,
  mediumError: 3,
  illegalRequest: 5,
  unitAttention: 6,
  dataProtect: 7,
  abortedCommand: 0x0b,
} as const;

/** Additional sense codes. */
export const senseCode = {
  terminated: 0x00,
  unrecovered: 0x11,
  parameterListLength: 0x1a,
  invalidCommand: 0x20,
  addressOutOfRange: 0x21,
  invalidField: 0x24,
  lunNotSupported: 0x25,
  invalidParameter: 0x26,
  writeProtected: 0x27,
  mediumChanged: 0x28,
  reset: 0x29,
  incompatibleMedium: 0x30,
  savingNotSupported: 0x39,
  noMedium: 0x3a,
  targetChanged: 0x3f,
  removalPrevented: 0x53,
} as const;

export interface Sense {
  readonly key: number;
  readonly code: number;
  readonly qualifier: number;
}

const pair = (key: number, code: number, qualifier = 0): Sense => ({ key, code, qualifier });

export const sense = {
  none: pair(0, 0),
  noMedium: pair(senseKey.notReady, senseCode.noMedium),
  invalidCommand: pair(senseKey.illegalRequest, senseCode.invalidCommand),
  outOfRange: pair(senseKey.illegalRequest, senseCode.addressOutOfRange),
  invalidField: pair(senseKey.illegalRequest, senseCode.invalidField),
  invalidParameter: pair(senseKey.illegalRequest, senseCode.invalidParameter),
  parameterListLength: pair(senseKey.illegalRequest, senseCode.parameterListLength),
  savingNotSupported: pair(senseKey.illegalRequest, senseCode.savingNotSupported),
  lunNotSupported: pair(senseKey.illegalRequest, senseCode.lunNotSupported),
  writeProtected: pair(senseKey.dataProtect, senseCode.writeProtected),
  /** Space allocation failed: the host has no room. */
  noSpace: pair(senseKey.dataProtect, senseCode.writeProtected, 7),
  /** I/O process terminated: the image could not be read or written. */
  ioError: pair(senseKey.abortedCommand, senseCode.terminated, 6),
  /** Power on, reset or bus device reset. */
  reset: pair(senseKey.unitAttention, senseCode.reset),
  lunsChanged: pair(senseKey.unitAttention, senseCode.targetChanged, 0x0e),
} as const;

/** Fixed format: 18 bytes, current. */
export function fixedSense({ key, code, qualifier }: Sense): Uint8Array {
  const bytes = new Uint8Array(18);
  bytes[0] = 0x70;
  bytes[2] = key;
  bytes[7] = 10;
  bytes[12] = code;
  bytes[13] = qualifier;
  return bytes;
}

/** Descriptor format: 8 bytes, without descriptors. */
export function descriptorSense({ key, code, qualifier }: Sense): Uint8Array {
  return Uint8Array.of(0x72, key, code, qualifier, 0, 0, 0, 0);
}
