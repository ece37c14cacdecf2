/** A serial port as boards see it, whatever chip it is. */

/** What a serial port is connected to. */
export interface SerialBackend {
  /** The guest sent a byte. */
  write(byte: number): void;
  /** `canReceive()` became greater than 0: bytes that wait may be offered again. */
  receiveReady?(): void;
}

export interface SerialPort {
  /** How many bytes `receive` would take now. */
  canReceive(): number;
  /** Bytes arrive; returns how many of them were taken. */
  receive(input: Uint8Array): number;
  /** A break arrives: a zero byte with the break indicator. */
  receiveBreak(): void;
}
