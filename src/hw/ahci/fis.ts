/** Frame information structures (Serial ATA 3.0, 10.3) that a drive sends, and where a port receives them (AHCI 1.3.1, 4.2.1). */
import { type AtaRegisters, ataStatus } from '../ata/registers.js';

export const fisType = { hostToDevice: 0x27, deviceToHost: 0x34, deviceBits: 0xa1, pioSetup: 0x5f } as const;
/** In the memory that the guest has for them. */
export const fisPlace = { pioSetup: 0x20, register: 0x40, deviceBits: 0x58 } as const;
/** Bits of the second byte. */
export const fisFlag = { interrupt: 0x40, command: 0x80, port: 0x0f, reserved: 0x70 } as const;

/** Loads a drive's registers from a register FIS of the host. */
export function loadRegisters(r: AtaRegisters, fis: Uint8Array): void {
  const at = (i: number) => fis[i]!;
  [r.feature, r.lbaLow, r.lbaMid, r.lbaHigh, r.device] = [at(3), at(4), at(5), at(6), at(7)];
  [r.previousLbaLow, r.previousLbaMid, r.previousLbaHigh, r.previousFeature] = [at(8), at(9), at(10), at(11)];
  [r.count, r.previousCount] = [at(12), at(13)];
}

function registersFis(type: number, interrupt: boolean, r: AtaRegisters): Uint8Array {
  const fis = new Uint8Array(20);
  fis[0] = type;
  fis[1] = interrupt ? fisFlag.interrupt : 0;
  fis[2] = r.status;
  fis[3] = r.error;
  fis[4] = r.lbaLow;
  fis[5] = r.lbaMid;
  fis[6] = r.lbaHigh;
  fis[7] = r.device;
  fis[8] = r.previousLbaLow;
  fis[9] = r.previousLbaMid;
  fis[10] = r.previousLbaHigh;
  fis[12] = r.count;
  fis[13] = r.previousCount;
  return fis;
}

export const registerFis = (r: AtaRegisters, interrupt: boolean): Uint8Array =>
  registersFis(fisType.deviceToHost, interrupt, r);

/** A block of so many bytes goes by PIO; at its end the drive is neither busy nor wants more. */
export function pioSetupFis(r: AtaRegisters, interrupt: boolean, bytes: number): Uint8Array {
  const fis = registersFis(fisType.pioSetup, interrupt, r);
  fis[2] = ataStatus.ready | ataStatus.seek | ataStatus.dataRequest;
  fis[15] = ataStatus.ready | ataStatus.seek;
  fis[16] = bytes & 0xff;
  fis[17] = (bytes >> 8) & 0xff;
  return fis;
}

/** Queued commands have ended: their tags, none where one has failed. */
export function deviceBitsFis(status: number, error: number, tags: number): Uint8Array {
  const fis = Uint8Array.of(fisType.deviceBits, fisFlag.interrupt, status & 0x77, error, 0, 0, 0, 0);
  new DataView(fis.buffer).setUint32(4, tags, true);
  return fis;
}
