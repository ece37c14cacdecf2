/** `-semihosting` and `-semihosting-config`. */
import type { MachineOptions } from '../../vmm/index.js';
import { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';
import type { Chardev, Chardevs } from './chardevs.js';
import type { Options } from './given-options.js';
import type { Attachment } from './run-plan.js';

/** What `-semihosting` asks for; says where its text goes. Throws UsageError. */
export function planSemihosting(
  options: Options,
  chardevs: Chardevs,
  attachments: Attachment[],
): MachineOptions['semihosting'] {
  const config = options.last('semihosting-config');
  if (config === undefined && !options.has('semihosting')) return undefined;
  const text = config ?? 'on';
  const values = KeyValues.parse(config === undefined ? '-semihosting' : `-semihosting-config ${text}`, text, 'enable');
  const enabled = values.flag('enable') ?? true;
  const target = values.text('target') ?? 'native';
  if (target === 'gdb') throw new UsageError(`${values.option}: calls that gdb answers are not supported yet`);
  if (target !== 'native' && target !== 'auto')
    throw new UsageError(`${values.option}: the target is native, gdb or auto, not '${target}'`);
  const id = values.text('chardev');
  const given = values.all('arg');
  const userspace = values.flag('userspace') ?? false;
  values.finish();
  if (!enabled) return undefined;
  for (const [of, kind] of [
    ['output', 'stdout'],
    ['console', 'stderr'],
  ] as const) {
    const own: Chardev = { id: `semihosting-${of}`, kind, mux: false, signal: false };
    const chardev = id === undefined ? chardevs.add(own) : chardevs.find(values.option, id);
    if (id === undefined || of === 'console') chardevs.attach(chardev, 'semihosting');
    attachments.push({ from: { kind: 'semihosting', of }, chardev });
  }
  const named = [options.last('kernel'), options.last('append')].filter((part) => part !== undefined);
  return { commandLine: (given.length > 0 ? given : named).join(' '), userspace };
}
