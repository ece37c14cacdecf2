/** `-add-fd`: descriptors that whoever starts the program has left open, for sets that files may be named by. */
import { closeDescriptors } from '../../host/node/descriptor-messages.js';
import { descriptorSets, inheritedDescriptor } from '../../host/node/descriptor-sets.js';
import { VringError } from '../../vmm/index.js';
import { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';
import type { Options } from './given-options.js';

export interface DescriptorPlan {
  readonly option: string;
  readonly fd: number;
  readonly set: number;
  readonly opaque: string | undefined;
}

const MOST_INT = 2 ** 31 - 1;

/** Throws UsageError. */
export function planDescriptors(options: Options): DescriptorPlan[] {
  const plans = options.all('add-fd').map((text) => {
    const values = KeyValues.parse(`-add-fd ${text}`, text);
    const { option } = values;
    const fd = values.number('fd', 0, MOST_INT);
    if (fd === undefined) throw new UsageError(`${option}: fd option is required and must be non-negative`);
    if (fd < 3) throw new UsageError(`${option}: fd cannot be a standard I/O stream`);
    const set = values.number('set', 0, MOST_INT);
    if (set === undefined) throw new UsageError(`${option}: set option is required and must be non-negative`);
    const opaque = values.text('opaque');
    values.finish();
    return { option, fd, set, opaque };
  });
  if (plans.length > 0 && options.has('daemonize'))
    throw new UsageError(
      '-add-fd is not supported with -daemonize: Node.js hands no descriptor on to a process it starts',
    );
  return plans;
}

/** Puts them into their sets. Throws VringError `descriptors`. */
export function takeDescriptors(plans: readonly DescriptorPlan[]): void {
  for (const { option, fd, set, opaque } of plans) {
    let own: number | undefined;
    try {
      own = inheritedDescriptor(fd);
      descriptorSets.add(own, set, opaque);
    } catch (error) {
      if (own !== undefined) closeDescriptors([own]);
      throw new VringError('descriptors', `${option}: ${(error as Error).message}`, { cause: error });
    }
  }
}
