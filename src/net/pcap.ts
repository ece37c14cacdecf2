/** The capture format of libpcap: microseconds, link type Ethernet, little endian. */

export function pcapHeader(snapLength: number): Uint8Array {
  const bytes = new Uint8Array(24);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0xa1b2c3d4, true);
  view.setUint16(4, 2, true);
  view.setUint16(6, 4, true);
  view.setUint32(16, snapLength, true);
  view.setUint32(20, 1, true);
  return bytes;
}

/** `timeUs` since 1970. Of the frame `snapLength` bytes are kept. */
export function pcapRecord(frame: Uint8Array, timeUs: number, snapLength: number): Uint8Array {
  const kept = Math.min(frame.length, snapLength);
  const bytes = new Uint8Array(16 + kept);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, Math.floor(timeUs / 1e6), true);
  view.setUint32(4, timeUs % 1e6, true);
  view.setUint32(8, kept, true);
  view.setUint32(12, frame.length, true);
  bytes.set(frame.subarray(0, kept), 16);
  return bytes;
}
