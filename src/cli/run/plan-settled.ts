/** Options that change nothing as long as they ask for what holds here in any case. */
import { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';
import { flattenJson } from './drives.js';
import type { Options } from './given-options.js';

/** Options that change nothing as long as they ask for what holds here in any case. Throws UsageError. */
export function planSettled(options: Options): void {
  for (const text of options.all('overcommit')) {
    const values = KeyValues.parse(`-overcommit ${text}`, text);
    values.settled('mem-lock', 'off');
    values.settled('cpu-pm', 'off');
    values.finish();
  }
  for (const text of options.all('audiodev')) planSound(text);
  const audio = options.last('audio');
  if (audio !== undefined && audio !== 'none' && audio !== 'driver=none')
    throw new UsageError(`-audio ${audio}: sound is not supported yet; there is none`);
}

function planSound(text: string): void {
  const option = `-audiodev ${text}`;
  const values = text.startsWith('{')
    ? new KeyValues(option, flattenJson(option, text))
    : KeyValues.parse(option, text, 'driver');
  values.need('id');
  const driver = values.need('driver');
  if (driver !== 'none') throw new UsageError(`${option}: sound is not supported yet; there is driver=none`);
}
