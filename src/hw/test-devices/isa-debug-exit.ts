/**
 * A port for test programs: a write of v ends the machine with exit status (v << 1) | 1, so that a guest can never report
 * success by accident (QEMU's isa-debug-exit). Reads give 0.
 */
import type { Mapping, PortSpace } from '../../bus/index.js';

export const DEBUG_EXIT_PORT = 0x501;

export function wireIsaDebugExit(
  ports: PortSpace,
  exit: (status: number) => void,
  options: { port?: number; sizeBytes?: number } = {},
): Mapping {
  return ports.add({
    name: 'isa-debug-exit',
    start: options.port ?? DEBUG_EXIT_PORT,
    size: options.sizeBytes ?? 2,
    handler: {
      read: () => 0,
      // A process's exit status has eight bits.
      write: (_offset, _size, value) => exit(((value << 1) | 1) & 0xff),
    },
  });
}
