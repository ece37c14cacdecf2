/** QMP's commands about character devices that are rings (QEMU's qapi/char.json). */
import { Buffer } from 'node:buffer';
import { ringOf, textOf } from '../monitor-ring.js';
import { generic, nothing, oneOf } from './block-arguments.js';
import type { QmpArguments, QmpCommand } from './qmp-command.js';

const formats = ['utf8', 'base64'] as const;
/** As QEMU: what is no whole group of four at the end is left out. */
function fromBase64(text: string): Uint8Array {
  if (!/^[A-Za-z0-9+/=\n]*$/.test(text)) throw generic('Base64 data contains invalid characters');
  const digits = text.replaceAll('\n', '');
  return Buffer.from(digits.slice(0, digits.length - (digits.length % 4)), 'base64');
}

export const ringCommands: readonly QmpCommand[] = [
  {
    name: 'ringbuf-read',
    run: ({ chardevs }, given: QmpArguments) => {
      const isBase64 = oneOf(given, 'format', formats) === 'base64';
      const bytes = ringOf(chardevs, String(given['device']), Number(given['size'])).take(Number(given['size']));
      return isBase64 ? Buffer.from(bytes).toString('base64') : textOf(bytes);
    },
  },
  {
    name: 'ringbuf-write',
    run: async ({ chardevs }, given: QmpArguments) => {
      const isBase64 = oneOf(given, 'format', formats) === 'base64';
      const ring = ringOf(chardevs, String(given['device']));
      const data = String(given['data']);
      await ring.write(isBase64 ? fromBase64(data) : data);
      return nothing;
    },
  },
];
