/** -accel, and accel= of -M. */
import type { AcceleratorName, MachineOptions } from '../../vmm/index.js';
import type { KeyValues } from '../options/key-values.js';
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';
import { accelerators, unsupportedAccelerators } from './options.js';

export function planIrqchip(values: KeyValues): MachineOptions['kernelIrqchip'] {
  return values.choice('kernel-irqchip', ['on', 'off', 'split']) as MachineOptions['kernelIrqchip'];
}

/** Accelerators in the order given, each once; those that vring does not have are told of. */
export function planAccelerators(
  accels: readonly KeyValues[],
  notices: string[],
): Pick<MachineOptions, 'accelerators' | 'hotThreshold' | 'kernelIrqchip'> {
  const chosen = new Set<AcceleratorName>();
  let failed: string | undefined;
  let hotThreshold: number | undefined;
  let kernelIrqchip: MachineOptions['kernelIrqchip'];
  for (const values of accels) {
    const name = values.text('accel') ?? '';
    const row = accelerators.find((each) => each.name === name);
    if (!row) {
      const known = [...accelerators.map((each) => each.name), ...unsupportedAccelerators];
      if (!unsupportedAccelerators.includes(name))
        throw new UsageError(`${values.option}: there is no accelerator '${name}'${didYouMean(name, known)}`);
      failed ??= name;
      continue;
    }
    chosen.add(row.name);
    if (row.name === 'kvm') {
      kernelIrqchip ??= planIrqchip(values);
      values.finish(['dirty-ring-size', 'notify-vmexit', 'notify-window', 'kvm-shadow-mem']);
      continue;
    }
    hotThreshold ??= values.number('hot-threshold', 0, 1 << 20);
    values.choice('thread', ['single', 'multi']);
    // The cache of translated code is as large as it needs to be.
    values.number('tb-size', 0, 1 << 20);
    values.finish(['split-wx', 'one-insn-per-tb']);
    if (hotThreshold !== undefined && hotThreshold !== 0 && (hotThreshold & (hotThreshold - 1)) !== 0) {
      throw new UsageError(`${values.option}: hot-threshold is 0 or a power of two`);
    }
  }
  if (failed !== undefined) {
    if (chosen.size === 0)
      throw new UsageError(`-accel ${failed}: this accelerator is not supported; there are kvm and tcg`);
    notices.push(`The accelerator ${failed} is not supported; ${[...chosen].join(', then ')} is tried.`);
  }
  return {
    accelerators: chosen.size > 0 ? [...chosen] : undefined,
    hotThreshold,
    ...(kernelIrqchip ? { kernelIrqchip } : {}),
  };
}
