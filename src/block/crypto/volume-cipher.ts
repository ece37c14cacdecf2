/** Encryption of disk sectors: what formats that encrypt share. */
export interface VolumeCipher {
  /** Requests must be multiples of this. */
  readonly sectorBytes: number;
  /** The sector number starts an IV: `offset` is the place in the volume (host offset for LUKS in qcow2, guest offset for its AES). */
  encrypt(offset: number, bytes: Uint8Array): Uint8Array;
  /** In place. */
  decrypt(offset: number, bytes: Uint8Array): void;
}
