/**
 * Port 0x80, where firmware tells how far its self-test has come. Nobody listens; Linux writes to it to let time pass between
 * accesses to old chips. It reads as ones (QEMU's ioport80).
 */
import type { Mapping, PortSpace } from '../../bus/index.js';

export function wirePostCode(ports: PortSpace): Mapping {
  return ports.add({
    name: 'post-code',
    start: 0x80,
    size: 1,
    deferrable: [{ offset: 0, size: 1 }],
    handler: { read: () => 0xff, write: () => {} },
  });
}
