/** Numbers in commands and answers, most significant byte first. */
export const be16 = (bytes: Uint8Array, at: number) => (bytes[at]! << 8) | bytes[at + 1]!;
export const be24 = (bytes: Uint8Array, at: number) => (be16(bytes, at) << 8) | bytes[at + 2]!;
export const be32 = (bytes: Uint8Array, at: number) => be16(bytes, at) * 0x10000 + be16(bytes, at + 2);
/** Beyond 2^53 it is rounded: no disk is so large. */
export const be64 = (bytes: Uint8Array, at: number) => be32(bytes, at) * 2 ** 32 + be32(bytes, at + 4);

export const bytes16 = (value: number) => [(value >> 8) & 0xff, value & 0xff];
export const bytes32 = (value: number) => [
  (value >>> 24) & 0xff,
  (value >>> 16) & 0xff,
  (value >>> 8) & 0xff,
  value & 0xff,
];
export const bytes64 = (value: number) => [...bytes32(Math.floor(value / 2 ** 32)), ...bytes32(value % 2 ** 32)];
