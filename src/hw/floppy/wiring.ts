import type { IoHandler, Mapping, PortSpace } from '../../bus/index.js';
import type { Fdc } from './fdc.js';

/** 3F1h to 3F5h, and 3F7h: 3F6h is a disk controller's, and status register A is not there on an AT. */
export function wireFdc(ports: PortSpace, fdc: Fdc): Mapping[] {
  const from = (first: number): IoHandler => ({
    read: (offset) => fdc.read(first + offset),
    write: (offset, _size, value) => fdc.write(first + offset, value),
  });
  return [
    ports.add({ name: 'floppy', start: 0x3f1, size: 5, maxAccess: 1, handler: from(1) }),
    ports.add({ name: 'floppy', start: 0x3f7, size: 1, maxAccess: 1, handler: from(7) }),
  ];
}
