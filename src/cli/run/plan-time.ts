/** The machine's clock: -rtc, -icount. */
import type { MachineOptions } from '../../vmm/index.js';
import { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';
import type { Options } from './given-options.js';

export function planClock(text: string | undefined, notices: string[]): number | undefined {
  if (text === undefined) return undefined;
  const option = `-rtc ${text}`;
  const values = KeyValues.parse(option, text);
  const base = values.text('base') ?? 'utc';
  // All clocks of the machine stand still while it does.
  values.choice('clock', ['host', 'vm']);
  if (values.choice('driftfix', ['none', 'slew']) === 'slew')
    notices.push(`${option}: ticks of the clock that come too late are not made up for`);
  values.finish();
  if (base === 'utc') return 0;
  const nowMs = Date.now();
  if (base === 'localtime') return -new Date(nowMs).getTimezoneOffset() * 60_000;
  const date = /^\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d)?$/.test(base)
    ? Date.parse(base.includes('T') ? `${base}Z` : base)
    : Number.NaN;
  if (Number.isNaN(date))
    throw new UsageError(`${option}: base is utc, localtime or a date such as 2024-01-31T12:00:00`);
  return date - nowMs;
}

export function planIcount(options: Options): MachineOptions['icount'] {
  const text = options.last('icount');
  const seedText = options.last('seed');
  if (seedText !== undefined && !/^\d{1,19}$/.test(seedText))
    throw new UsageError(`-seed ${seedText}: the seed is a whole number`);
  if (text === undefined) {
    if (seedText !== undefined) throw new UsageError('-seed is of use with -icount only');
    return undefined;
  }
  const option = `-icount ${text}`;
  const values = KeyValues.parse(option, text, 'shift');
  const shift = values.text('shift') ?? 'auto';
  if (shift === 'auto') throw new UsageError(`${option}: shift=auto is not supported yet; a number from 0 to 10 is`);
  if (!/^\d+$/.test(shift) || Number(shift) > 10) throw new UsageError(`${option}: shift is a number from 0 to 10`);
  if (values.flag('align')) throw new UsageError(`${option}: align=on is not supported yet`);
  if (values.flag('sleep')) throw new UsageError(`${option}: sleep=on is not supported yet; idle time passes at once`);
  values.finish(['rr', 'rrfile', 'rrsnapshot']);
  return { shift: Number(shift), seed: seedText === undefined ? undefined : BigInt(seedText) };
}
