/** `-device loader`: what is put into memory at the start, and where a CPU begins. It is no device, and has a table of its own. */
import type { Architecture } from '../../vmm/architectures.js';
import type { MachineOptions } from '../../vmm/index.js';
import { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';
import type { Options } from './given-options.js';

type Loads = NonNullable<MachineOptions['loads']>;

export const isLoader = (text: string): boolean => /^(driver=)?loader(,|$)/.test(text);

/** The first bytes of a number of 64 bits, in one order or the other, as QEMU's. */
function numberBytes(values: KeyValues, text: string): Uint8Array {
  const length = values.number('data-len', 1, 8);
  if (length === undefined) throw new UsageError(`${values.option}: data needs data-len`);
  if (!/^(0x[0-9a-f]+|\d+)$/i.test(text) || BigInt(text) >> 64n !== 0n)
    throw new UsageError(`${values.option}: data=${text} is no number of 64 bits`);
  const bytes = new DataView(new ArrayBuffer(8));
  bytes.setBigUint64(0, BigInt(text), values.flag('data-be') !== true);
  return new Uint8Array(bytes.buffer, 0, length);
}

/** Throws UsageError. */
export function planLoaders(options: Options, { name }: Architecture): Loads {
  return options
    .all('device')
    .filter(isLoader)
    .map((text) => {
      const values = KeyValues.parse(`-device ${text}`, text, 'driver');
      const { option } = values;
      values.text('driver');
      values.text('id');
      const file = values.text('file');
      const data = values.text('data');
      const gpa = values.number('addr', 0, Number.MAX_SAFE_INTEGER);
      const cpu = values.number('cpu-num', 0, 511);
      const raw = values.flag('force-raw') ?? false;
      if (file !== undefined && data !== undefined)
        throw new UsageError(`${option}: file and data cannot be given both`);
      if (data !== undefined && (gpa === undefined || cpu !== undefined))
        throw new UsageError(`${option}: data goes to an address (addr), and no CPU begins there`);
      const number = data === undefined ? undefined : numberBytes(values, data);
      values.finish();
      if (file === undefined && data === undefined && (cpu === undefined || gpa === undefined))
        throw new UsageError(`${option}: there is neither a file nor data; with cpu-num and addr a CPU begins there`);
      if (cpu !== undefined && !['aarch64', 'arm', 'riscv64'].includes(name))
        throw new UsageError(`${option}: that a CPU begins elsewhere (cpu-num) is not supported yet for ${name}`);
      return { image: file ?? number, gpa, raw, cpu };
    });
}
