import type { Mapping, PortSpace } from '../../bus/index.js';
import type { Pit } from './i8254.js';

/** Ports 0x40-0x43 and 0x61. */
export function wirePit(ports: PortSpace, pit: Pit): Mapping[] {
  return [
    ports.add({
      name: 'pit',
      start: 0x40,
      size: 4,
      maxAccess: 1,
      handler: {
        // The control register cannot be read.
        read: (offset) => (offset < 3 ? pit.readCounter(offset) : 0),
        write: (offset, _size, value) => (offset < 3 ? pit.writeCounter(offset, value) : pit.writeControl(value)),
      },
    }),
    ports.add({
      name: 'port61',
      start: 0x61,
      size: 1,
      handler: {
        read: () => pit.readControlB(),
        write: (_offset, _size, value) => pit.writeControlB(value),
      },
    }),
  ];
}
