/** CPU models of RISC-V and their extensions: what `-cpu` takes. Light: no instruction table is loaded with it. */
import { VringError } from '../../base/index.js';

/** Extensions that a model may have or lack. */
export const extensionRows = [
  { name: 'zba', sentence: 'addresses: shift and add' },
  { name: 'zbb', sentence: 'basic bit manipulation' },
  { name: 'zbc', sentence: 'carry-less multiplication' },
  { name: 'zbs', sentence: 'single bits' },
  { name: 'zicond', sentence: 'conditional zero' },
  { name: 'zfh', sentence: 'half precision' },
  { name: 'zfhmin', sentence: 'half precision: moves and conversions alone' },
  { name: 'zicbom', sentence: 'cache-block management' },
  { name: 'zicboz', sentence: 'zeroing of cache blocks' },
  { name: 'v', sentence: 'vectors (vlen=128 to 1024: bits of a register)' },
  { name: 'zvfh', sentence: 'vectors of half precision' },
  { name: 'sstc', sentence: 'timer of S-mode: stimecmp' },
  { name: 'svadu', sentence: 'the hart marks page tables accessed and dirty' },
] as const;
/** What a board with an advanced interrupt architecture gives its harts. */
export const aiaExtensions = ['smaia', 'ssaia'] as const;
export type Extension = (typeof extensionRows)[number]['name'];

export interface RiscvModel {
  readonly name: string;
  readonly extensions: ReadonlySet<string>;
  /** Bits of a vector register. */
  readonly vlen: number;
}

const modelRows = [
  { name: 'rv64', aliases: ['any'], sentence: 'RV64GC with all extensions that vring has but V' },
  { name: 'max', aliases: [], sentence: 'the same with V' },
] as const;

/** Models and properties of QEMU that vring does not have. */
const unsupportedModels = [
  ...['host', 'rv32', 'rv64i', 'rv64e', 'rva22u64', 'rva22s64', 'rva23s64', 'shakti-c', 'sifive-e51', 'sifive-u54'],
  ...['sifive-u34', 'sifive-e31', 'thead-c906', 'veyron-v1', 'x-rv128', 'lowrisc-ibex', 'xiangshan-nanhu'],
];
const unsupportedExtensions =
  /^(h|e|j|p|q|x-.*|z[a-z0-9]+|s[vsm][a-z0-9]+|xthead.*|xventana.*|pmu-num|cbom_blocksize|cboz_blocksize)$/i;
/** What every model has. */
const fixedExtensions = /^(i|m|a|f|d|c|g|s|u|zicsr|zifencei|icsr|ifencei|mmu|pmp|counters|zicntr|sv39|sv48|sv57)$/i;

const optionError = (message: string): VringError => new VringError('cpu-option', message);
const all = (): Set<string> => new Set(extensionRows.map(({ name }) => name));
/** What models but `max` have unless asked for more. */
const usual = (): Set<string> => new Set([...all()].filter((name) => name !== 'v' && name !== 'zvfh'));
const DEFAULT_VLEN = 128;
export const defaultModel: RiscvModel = { name: 'rv64', extensions: usual(), vlen: DEFAULT_VLEN };

/** Properties with values of their own: what they may be. Throws VringError `cpu-option`. */
function vectorProperty(key: string, value: string | undefined): { vlen?: number } | undefined {
  if (key === 'vlen') {
    const vlen = Number(value);
    if (![128, 256, 512, 1024].includes(vlen))
      throw optionError(`vlen is 128, 256, 512 or 1024, not '${value ?? ''}'.`);
    return { vlen };
  }
  if (key === 'elen') {
    if (value !== '64') throw optionError(`elen is 64, not '${value ?? ''}'.`);
    return {};
  }
  if (key === 'vext_spec') {
    if (value !== 'v1.0') throw optionError(`vext_spec is v1.0, not '${value ?? ''}'.`);
    return {};
  }
  return undefined;
}

/** Reads the value of `-cpu`, e.g. "rv64,zba=off". Throws VringError `cpu-option` with one clear sentence. */
export function parseRiscvCpu(text: string): RiscvModel {
  const [name, ...flags] = text.split(',');
  const row = modelRows.find((each) => each.name === name || (each.aliases as readonly string[]).includes(name));
  if (!row) {
    const what = unsupportedModels.includes(name) ? 'is not supported yet' : 'is none of RISC-V';
    throw optionError(`The CPU model '${name}' ${what}; there are ${modelRows.map((each) => each.name).join(', ')}.`);
  }
  const extensions = row.name === 'max' ? all() : usual();
  let vlen = DEFAULT_VLEN;
  for (const flag of flags) {
    const [, sign, key, value] = /^([+-]?)([^=]*)(?:=(.*))?$/s.exec(flag) ?? [];
    const property = sign === '' ? vectorProperty(key, value) : undefined;
    if (property) {
      vlen = property.vlen ?? vlen;
      continue;
    }
    if (value !== undefined && !/^(on|off|yes|no|true|false|1|0)$/i.test(value))
      throw optionError(`The CPU feature '${key}' is on or off, not '${value}'.`);
    const on = sign === '-' ? false : value === undefined || /^(on|yes|true|1)$/i.test(value);
    const wanted = key.toLowerCase().replace(/^x-/, '');
    const extension = extensionRows.find((each) => each.name === wanted);
    if (extension) {
      if (on) extensions.add(extension.name);
      else extensions.delete(extension.name);
    } else if (fixedExtensions.test(key)) {
      if (!on) throw optionError(`The CPU feature '${key}' cannot be turned off: every model has it.`);
    } else if (unsupportedExtensions.test(key)) {
      if (on) throw optionError(`The CPU feature '${key}' is not supported yet.`);
    } else throw optionError(`There is no CPU feature '${key}' of RISC-V.`);
  }
  if (extensions.has('zvfh') && !extensions.has('v')) throw optionError("The CPU feature 'zvfh' needs 'v'.");
  // Half precision has its moves and conversions.
  if (extensions.has('zfh')) extensions.add('zfhmin');
  return { name: row.name, extensions, vlen };
}

/** The device tree's `riscv,isa`, and its parts. */
export function isaOf({ extensions }: RiscvModel): { readonly text: string; readonly parts: readonly string[] } {
  const letters = ['i', 'm', 'a', 'f', 'd', 'c', ...(extensions.has('v') ? ['v'] : [])];
  const long = [
    'zicbom',
    'zicboz',
    'zicntr',
    'zicond',
    'zicsr',
    'zifencei',
    'zfh',
    'zfhmin',
    'zba',
    'zbb',
    'zbc',
    'zbs',
    'zvfh',
    ...aiaExtensions,
    'sstc',
    'svadu',
  ];
  const optional: readonly string[] = [...extensionRows.map(({ name }) => name), ...aiaExtensions];
  const parts = long.filter((name) => !optional.includes(name) || extensions.has(name));
  return { text: `rv64${letters.join('')}_${parts.join('_')}`, parts: [...letters, ...parts] };
}

export function riscvCpuHelp(): string {
  return [
    'Available CPUs:',
    ...modelRows.map(({ name, sentence }) => `  ${name.padEnd(16)} ${sentence}`),
    '',
    'Features, each NAME=on|off:',
    ...extensionRows.map(({ name, sentence }) => `  ${name.padEnd(16)} ${sentence}`),
  ].join('\n');
}
