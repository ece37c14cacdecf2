/** CPU models of AArch32: what `-cpu` takes. Light: no instruction table is loaded with it. */
import { VringError } from '../../base/index.js';
import type { ArmModel } from '../arm/models.js';

const cortexA15: ArmModel = { name: 'cortex-a15', midr: 0x412fc0f1, features: new Set() };
const models: readonly ArmModel[] = [cortexA15];

/** Reads the value of `-cpu`. Throws VringError `cpu-option` with one clear sentence. */
export function parseArm32Cpu(text: string): ArmModel {
  const [name, ...properties] = text.split(',');
  const model = models.find((each) => each.name === name);
  const known = models.map((each) => each.name).join(', ');
  if (!model)
    throw new VringError('cpu-option', `The CPU model '${name}' is not there for AArch32; there are ${known}.`);
  if (properties.length > 0)
    throw new VringError('cpu-option', `The CPU property '${properties[0]}' is not supported for AArch32.`);
  return model;
}

export const arm32CpuHelp = (): string => ['Available CPUs:', '  cortex-a15       Armv7-A with VFPv4'].join('\n');
