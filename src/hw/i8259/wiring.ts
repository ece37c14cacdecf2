import type { Mapping, PortSpace } from '../../bus/index.js';
import type { PicPair } from './i8259.js';

/** Ports 0x20-0x21 (master), 0xa0-0xa1 (slave), 0x4d0-0x4d1 (edge/level control). */
export function wirePic(ports: PortSpace, pic: PicPair): Mapping[] {
  const chip = (which: number, start: number, name: string) =>
    ports.add({
      name,
      start,
      size: 2,
      maxAccess: 1,
      handler: {
        read: (offset) => pic.readRegister(which, offset),
        write: (offset, _size, value) => pic.writeRegister(which, offset, value),
      },
    });
  return [
    chip(0, 0x20, 'pic'),
    chip(1, 0xa0, 'pic2'),
    ports.add({
      name: 'elcr',
      start: 0x4d0,
      size: 2,
      maxAccess: 1,
      handler: {
        read: (offset) => pic.readElcr(offset),
        write: (offset, _size, value) => pic.writeElcr(offset, value),
      },
    }),
  ];
}
