/** The hash filter of old Ethernet chips: 64 bits, of which the sender's address chooses one by its CRC-32. */

/** Number of the bit for a destination address, 0 to 63: the six highest bits of its CRC-32, as a chip on the wire has it. */
export function multicastBit(frame: Uint8Array): number {
  let crc = 0xffffffff;
  for (let i = 0; i < 6; i++) {
    let byte = frame[i];
    for (let bit = 0; bit < 8; bit++) {
      const carry = (crc >>> 31) ^ (byte & 1);
      crc = (crc << 1) >>> 0;
      byte >>= 1;
      if (carry !== 0) crc = (crc ^ 0x04c11db7) >>> 0;
    }
  }
  return crc >>> 26;
}

export const isBroadcast = (frame: Uint8Array): boolean => {
  for (let i = 0; i < 6; i++) if (frame[i] !== 0xff) return false;
  return true;
};
