/** `-add-fd`: descriptors that whoever starts the program has left open, for sets that files may be named by. */
import { closeDescriptors } from '../../host/node/descriptor-messages.js';
import { descriptorSets, inheritedDescriptor } from '../../host/node/descriptor-sets.js';
import { VringError } from '../../vmm/index.js';
import { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';
import type { Options } from './given-options.js';
import type { RunPlan } from './run-plan.js';

export interface DescriptorPlan {
  readonly option: string;
  readonly fd: number;
  readonly set: number;
  readonly opaque: string | undefined;
}

const MOST_INT = 2 ** 31 - 1;
/** A process is started with a table of descriptors: larger numbers are refused there. */
const MOST_HANDED_ON = 1023;

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
  return plans;
}

/** Descriptors that the plan names by number, for the process that is to carry it out. Throws UsageError. */
export function descriptorsToHandOn({ descriptors, chardevs, machine }: RunPlan): number[] {
  const numbers = [
    ...descriptors.map(({ fd }) => fd),
    ...chardevs.flatMap(({ socket }) => (socket?.address.type === 'fd' ? [socket.address.fd] : [])),
    ...(machine.networks ?? []).flatMap((network) => {
      if (network.kind === 'descriptor') return [network.fd];
      return network.kind === 'tap' ? (network.descriptors ?? []) : [];
    }),
  ];
  const large = numbers.find((fd) => fd > MOST_HANDED_ON);
  if (large !== undefined)
    throw new UsageError(
      `-daemonize: the descriptor ${large} cannot be handed on: numbers to ${MOST_HANDED_ON} can be`,
    );
  return numbers.filter((fd) => fd > 2);
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
