/** `-d` and `-D`: what of the machine's work is logged, and where. */
import { type TraceItem, traceItems } from '../../vmm/index.js';
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';
import type { Options } from './given-options.js';

/** QEMU's items that vring has nothing for. */
const unsupportedTraceItems = ['out_asm', 'op', 'op_opt', 'op_ind', 'pcall', 'page', 'plugin', 'strace'];

/** `notices` gets a sentence for what is taken and logs nothing. Throws UsageError. */
export function planTrace(options: Options, notices: string[]): { items: TraceItem[]; path: string | undefined } {
  const items: TraceItem[] = [];
  for (const text of options.all('d')) {
    for (const name of text.split(',')) {
      const item = traceItems.find((each) => each.name === name);
      if (item) {
        items.push(item.name);
        continue;
      }
      if (name === 'guest_errors') {
        notices.push(`-d ${text}: devices say nothing yet of a guest that errs (guest_errors)`);
        continue;
      }
      if (unsupportedTraceItems.includes(name) || name.startsWith('trace:'))
        throw new UsageError(`-d ${text}: the item '${name}' is not supported yet`);
      const known = [...traceItems.map((each) => each.name), 'guest_errors', ...unsupportedTraceItems];
      throw new UsageError(`-d ${text}: there is no item '${name}'${didYouMean(name, known)}`);
    }
  }
  return { items, path: options.last('D') };
}
