import type { Mapping, PortSpace } from '../../bus/index.js';
import type { Rtc } from './mc146818.js';

/** Ports 0x70 (index, write-only) and 0x71 (data). */
export function wireRtc(ports: PortSpace, rtc: Rtc): Mapping {
  return ports.add({
    name: 'rtc',
    start: 0x70,
    size: 2,
    maxAccess: 1,
    deferrable: [{ offset: 0, size: 1 }],
    handler: {
      read: (offset) => (offset === 0 ? 0xff : rtc.readSelected()),
      write: (offset, _size, value) => (offset === 0 ? rtc.writeIndex(value) : rtc.writeSelected(value)),
    },
  });
}
