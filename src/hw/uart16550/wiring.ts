import type { IoWindow, Mapping, MemorySpace, PortSpace } from '../../bus/index.js';
import type { Uart16550 } from './uart16550.js';

const uartWindow = (uart: Uart16550, start: number): IoWindow => ({
  name: uart.name,
  start,
  size: 8,
  maxAccess: 1,
  handler: {
    read: (offset) => uart.read(offset),
    write: (offset, _size, value) => uart.write(offset, value),
  },
});

/** Eight ports; the PC's four serial ports are 0x3f8 (IRQ 4), 0x2f8 (3), 0x3e8 (4), 0x2e8 (3). */
export function wireUart(ports: PortSpace, port: number, uart: Uart16550): Mapping {
  return ports.add(uartWindow(uart, port));
}

/** Eight bytes of memory, a register each. */
export function wireUartMemory(memory: MemorySpace, gpa: number, uart: Uart16550): Mapping {
  return memory.addWindow(uartWindow(uart, gpa));
}
