import type { Mapping, PortSpace } from '../../bus/index.js';
import type { I8042 } from './i8042.js';

/** Ports 0x60 (data), 0x64 (status and command) and 0x92. */
export function wireI8042(ports: PortSpace, controller: I8042): Mapping[] {
  return [
    ports.add({
      name: 'i8042-data',
      start: 0x60,
      size: 1,
      handler: {
        read: () => controller.readData(),
        write: (_offset, _size, value) => controller.writeData(value),
      },
    }),
    ports.add({
      name: 'i8042-command',
      start: 0x64,
      size: 1,
      handler: {
        read: () => controller.readStatus(),
        write: (_offset, _size, value) => controller.writeCommand(value),
      },
    }),
    ports.add({
      name: 'port92',
      start: 0x92,
      size: 1,
      handler: {
        read: () => controller.readPort92(),
        write: (_offset, _size, value) => controller.writePort92(value),
      },
    }),
  ];
}
