/**
 * A port that takes text (the Bochs E9 hack; SeaBIOS writes to 402h): each byte written goes to the sink. It reads as 0xe9,
 * by which a guest tells that it is there.
 */
import type { Mapping, PortSpace } from '../../bus/index.js';

export const DEBUGCON_PORT = 0xe9;
export const FIRMWARE_DEBUG_PORT = 0x402;

export function wireIsaDebugcon(
  ports: PortSpace,
  sink: (byte: number) => void,
  options: { port?: number; readback?: number } = {},
): Mapping {
  const readback = options.readback ?? 0xe9;
  return ports.add({
    name: 'isa-debugcon',
    start: options.port ?? DEBUGCON_PORT,
    size: 1,
    handler: { read: () => readback, write: (_offset, _size, value) => sink(value & 0xff) },
  });
}
