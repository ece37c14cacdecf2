import type { Mapping, PortSpace } from '../../bus/index.js';
import type { Uart16550 } from './uart16550.js';

/** Eight ports; the PC's four serial ports are 0x3f8 (IRQ 4), 0x2f8 (3), 0x3e8 (4), 0x2e8 (3). */
export function wireUart(ports: PortSpace, port: number, uart: Uart16550): Mapping {
  return ports.add({
    name: uart.name,
    start: port,
    size: 8,
    maxAccess: 1,
    handler: {
      read: (offset) => uart.read(offset),
      write: (offset, _size, value) => uart.write(offset, value),
    },
  });
}
