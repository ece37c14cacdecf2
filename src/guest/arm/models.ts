/** CPU models of AArch64: what `-cpu` takes. Light: no instruction table is loaded with it. */
import { VringError } from '../../base/index.js';
import { type Feature, featureNames } from './features.js';

export interface ArmModel {
  readonly name: string;
  /** MIDR_EL1: maker, part and revision. */
  readonly midr: number;
  readonly features: ReadonlySet<Feature>;
  /** Pointers are authenticated by an algorithm of our own, not the architected one. */
  readonly ownPac?: boolean;
  /** The host answers semihosting. */
  readonly semihosting?: boolean;
}

interface ModelRow {
  readonly name: string;
  readonly sentence: string;
  readonly midr: number;
  readonly features: readonly Feature[];
}
/** Armv8.0-A with its cryptographic extension. */
const v80: readonly Feature[] = ['pmu', 'aes', 'pmull', 'sha1', 'sha256', 'crc32'];
const v82: readonly Feature[] = [
  ...v80,
  ...([
    'lse',
    'rdm',
    'pan',
    'hafdbs',
    'ras',
    'hpds',
    'cnp',
    'uao',
    'dpb',
    'fp16',
    'dotprod',
    'lrcpc',
    'lor',
    'csv',
    'ssbs',
    'vhe',
  ] as const),
];
const modelRows: readonly ModelRow[] = [
  {
    name: 'max',
    sentence: 'all extensions that vring has',
    midr: 0x000f0510,
    features: featureNames.filter((name) => name !== 'el2' && name !== 'el3'),
  },
  { name: 'cortex-a53', sentence: 'Armv8.0-A', midr: 0x410fd034, features: v80 },
  { name: 'cortex-a57', sentence: 'Armv8.0-A', midr: 0x411fd070, features: v80 },
  { name: 'cortex-a72', sentence: 'Armv8.0-A', midr: 0x410fd083, features: v80 },
  { name: 'cortex-a76', sentence: 'Armv8.2-A', midr: 0x414fd0b1, features: v82 },
  { name: 'neoverse-n1', sentence: 'Armv8.2-A', midr: 0x414fd0c1, features: v82 },
];

/** Models and properties of QEMU that vring does not have. */
const unsupportedModels = [
  ...[
    'host',
    'a64fx',
    'cortex-a35',
    'cortex-a55',
    'cortex-a710',
    'neoverse-v1',
    'neoverse-n2',
    'cortex-a7',
    'cortex-a8',
  ],
  ...['cortex-a9', 'cortex-a15', 'cortex-m0', 'cortex-m3', 'cortex-m33', 'cortex-m4', 'cortex-m55', 'cortex-m7'],
  ...['cortex-r5', 'cortex-r5f', 'cortex-r52', 'arm1136', 'arm1136-r2', 'arm1176', 'arm11mpcore', 'arm926', 'arm946'],
  ...['arm1026', 'pxa250', 'sa1100', 'sa1110', 'ti925t'],
];
const unsupportedProperties =
  /^(sve.*|sme.*|lpa2|kvm-.*|cfgend|backcompat-.*|rvbar|mp-affinity|reset-hivecs|vfp-d32)$/i;
/** What every model has. */
const fixedProperties = /^(aarch64|vfp|neon)$/i;

const optionError = (message: string): VringError => new VringError('cpu-option', message);
const modelOf = ({ name, midr, features }: ModelRow): ArmModel => ({
  name,
  midr,
  features: new Set(features),
});
export const defaultModel: ArmModel = modelOf(modelRows[0]);

/** Reads the value of `-cpu`, e.g. "cortex-a72". Throws VringError `cpu-option` with one clear sentence. */
export function parseArmCpu(text: string): ArmModel {
  const [name, ...properties] = text.split(',');
  const row = modelRows.find((each) => each.name === name);
  if (!row) {
    const what = unsupportedModels.includes(name) ? 'is not supported yet' : 'is none of AArch64';
    throw optionError(`The CPU model '${name}' ${what}; there are ${modelRows.map((each) => each.name).join(', ')}.`);
  }
  const features = new Set(row.features);
  let ownPac = false;
  for (const property of properties) {
    const [, sign, key, value] = /^([+-]?)([^=]*)(?:=(.*))?$/s.exec(property) ?? [];
    if (value !== undefined && !/^(on|off|yes|no|true|false)$/i.test(value))
      throw optionError(`The CPU property '${key}' is on or off here, not '${value}'.`);
    const on = sign === '-' ? false : value === undefined || /^(on|yes|true)$/i.test(value);
    if (fixedProperties.test(key)) {
      if (!on) throw optionError(`The CPU property '${key}' cannot be turned off: every model has it.`);
    } else if (/^pauth(-impdef)?$/i.test(key) && row.features.includes('pauth')) {
      if (/-impdef$/i.test(key)) ownPac = on;
      else if (on) features.add('pauth');
      else features.delete('pauth');
    } else if (/^pmu$/i.test(key)) {
      if (on) features.add('pmu');
      else features.delete('pmu');
    } else if (/^has_el[23]$/i.test(key)) {
      if (on) features.add(`el${key.at(-1) as '2' | '3'}`);
    } else if (unsupportedProperties.test(key)) {
      if (on) throw optionError(`The CPU property '${key}' is not supported yet.`);
    } else throw optionError(`There is no CPU property '${key}' of AArch64.`);
  }
  if (ownPac && !features.has('pauth'))
    throw optionError("The CPU property 'pauth-impdef' needs pauth, which is turned off.");
  return { ...modelOf(row), features, ownPac };
}

export function armCpuHelp(): string {
  return ['Available CPUs:', ...modelRows.map(({ name, sentence }) => `  ${name.padEnd(16)} ${sentence}`)].join('\n');
}
