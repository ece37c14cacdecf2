/** CPU models of AArch32: what `-cpu` takes. Light: no instruction table is loaded with it. */
import { VringError } from '../../base/index.js';
import type { ArmModel } from '../arm/models.js';

export interface Arm32Model extends ArmModel {
  /** Armv8-A, otherwise Armv7-A. */
  readonly isV8: boolean;
  readonly sentence: string;
}

const v7 = { features: new Set<never>(), isV8: false };
const models: readonly Arm32Model[] = [
  { name: 'cortex-a15', sentence: 'Armv7-A with VFPv4 and Advanced SIMD', midr: 0x412fc0f1, ...v7 },
];

/** Reads the value of `-cpu`. Throws VringError `cpu-option` with one clear sentence. */
export function parseArm32Cpu(text: string): Arm32Model {
  const [name, ...properties] = text.split(',');
  const model = models.find((each) => each.name === name);
  const known = models.map((each) => each.name).join(', ');
  if (!model)
    throw new VringError('cpu-option', `The CPU model '${name}' is not there for AArch32; there are ${known}.`);
  if (properties.length > 0)
    throw new VringError('cpu-option', `The CPU property '${properties[0]}' is not supported for AArch32.`);
  return model;
}

export const arm32CpuHelp = (): string =>
  ['Available CPUs:', ...models.map(({ name, sentence }) => `  ${name.padEnd(16)} ${sentence}`)].join('\n');
export const defaultModel: Arm32Model = parseArm32Cpu('cortex-a15');
