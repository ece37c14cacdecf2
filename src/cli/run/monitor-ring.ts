/** The human monitor's commands about character devices that are rings. */
import { VringError } from '../../vmm/index.js';
import { UsageError } from '../usage-error.js';
import type { RingBackend } from './backends/ring.js';
import type { MonitoredChardevs } from './live-chardevs.js';
import type { MonitorCommand } from './monitor.js';

/** A ring by its name, from which `size` bytes are wanted. Throws VringError `ring`. */
export function ringOf(chardevs: MonitoredChardevs, name: string, size = 1): RingBackend {
  const found = chardevs.all.find(({ id }) => id === name);
  if (!found) throw new VringError('ring', `Device '${name}' not found`);
  if (!found.ring) throw new VringError('ring', `${name} is not a ringbuf device`);
  if (!(size > 0)) throw new VringError('ring', 'size must be greater than zero');
  return found.ring;
}

/** Text ends at the first zero byte, as QEMU's does. */
export function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** As QEMU shows it: lines and tabs as they are, other control characters and backslashes by escapes. */
const shown = (text: string): string =>
  text.replace(/[\0-\x08\x0b-\x1f\x7f\\]/g, (each) =>
    each === '\\' ? '\\\\' : `\\u${each.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`,
  );

export const ringMonitorCommands: readonly MonitorCommand[] = [
  {
    name: 'ringbuf_read',
    argument: 'CHARDEV SIZE',
    sentence: 'takes so many bytes out of a ring',
    run: async ({ chardevs }, argument) => {
      const match = /^(\S+)\s+(-?(?:\d+|0x[\da-f]+))$/i.exec(argument);
      if (!match) throw new UsageError('ringbuf_read: CHARDEV SIZE is needed');
      const size = Number(match[2]);
      return shown(textOf(ringOf(chardevs, match[1], size).take(size)));
    },
  },
  {
    name: 'ringbuf_write',
    argument: 'CHARDEV TEXT',
    sentence: 'adds a text to a ring, as if the guest had written it',
    run: async ({ chardevs }, argument) => {
      const match = /^(\S+)\s+(?:"([^"]*)"|(\S+))$/.exec(argument);
      if (!match) throw new UsageError('ringbuf_write: CHARDEV TEXT is needed');
      await ringOf(chardevs, match[1]).write(match[2] ?? match[3]);
      return '';
    },
  },
];
