import type { IoHandler, Mapping, PortSpace } from '../../bus/index.js';
import type { DmaControllers } from './i8237.js';

/** 00h-0Fh, 0C0h-0DFh (every second port), and page registers among 81h-8Fh. Port 80h is not one of theirs. */
export function wireDmaControllers(ports: PortSpace, dma: DmaControllers): Mapping[] {
  const registers = (index: number): IoHandler => ({
    read: (offset) => dma.read(index, offset >> index),
    write: (offset, _size, value) => dma.write(index, offset >> index, value),
  });
  const pages = (index: number, first: number): IoHandler => ({
    read: (offset) => dma.readPage(index, first + offset),
    write: (offset, _size, value) => dma.writePage(index, first + offset, value),
  });
  const page = (index: number, start: number, size: number) =>
    ports.add({ name: `dma${index}-page`, start, size, maxAccess: 1, handler: pages(index, start & 7) });
  return [0, 1].flatMap((index) => [
    ports.add({
      name: `dma${index}`,
      start: index === 0 ? 0 : 0xc0,
      size: index === 0 ? 0x10 : 0x20,
      maxAccess: 1,
      handler: registers(index),
    }),
    page(index, 0x81 + 8 * index, 3),
    page(index, 0x87 + 8 * index, 1),
  ]);
}
