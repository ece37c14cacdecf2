/** A frame by which switches learn where a card is: it asks by RARP (RFC 903) for its own address. */

const FRAME_BYTES = 60;

/** `mac`: `52:54:00:12:34:56`. */
export function announcement(mac: string): Uint8Array {
  const own = mac.split(':').map((byte) => Number.parseInt(byte, 16));
  const frame = new Uint8Array(FRAME_BYTES);
  frame.fill(0xff, 0, 6);
  frame.set(own, 6);
  // RARP; of Ethernet and IPv4, addresses of 6 and 4 bytes, "request reverse".
  frame.set([0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3], 12);
  frame.set(own, 22);
  frame.set(own, 32);
  return frame;
}
