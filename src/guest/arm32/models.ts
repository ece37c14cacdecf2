/** CPU models of AArch32: what `-cpu` takes. Light: no instruction table is loaded with it. */
import { VringError } from '../../base/index.js';
import type { Feature } from '../arm/features.js';
import type { ArmModel } from '../arm/models.js';

export interface Arm32Model extends ArmModel {
  /** Armv8-A, otherwise Armv7-A. */
  readonly isV8: boolean;
  readonly sentence: string;
}

const v7 = { features: new Set<Feature>(), isV8: false, sentence: 'Armv7-A with VFPv4 and Advanced SIMD' };
const extensions: readonly Feature[] = [
  ...(['aes', 'pmull', 'sha1', 'sha256', 'crc32', 'rdm', 'dotprod', 'fcma', 'fp16', 'jscvt'] as const),
];
const models: readonly Arm32Model[] = [
  { name: 'cortex-a7', midr: 0x410fc075, ...v7 },
  { name: 'cortex-a15', midr: 0x412fc0f1, ...v7 },
  {
    name: 'max',
    midr: 0x000f0510,
    features: new Set(extensions),
    isV8: true,
    sentence: 'Armv8-A in AArch32, all extensions that vring has',
  },
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
