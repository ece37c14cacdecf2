/**
 * The architectures that a machine may have, one row each: names, CPU models, boards. The rows are light; an architecture's
 * instruction tables and chips are loaded by the thread that needs them.
 */
import type { AcceleratorName } from '../accel/accelerator.js';
import { VringError } from '../base/index.js';
import type { GuestCode } from '../guest/guest-cpu.js';
import { cpuHelp, parseCpuOption } from '../guest/x86/models.js';
import type { BoardMaker } from './boards/board-maker.js';

export type ArchitectureName = 'x86_64' | 'i386';

export interface MachineType {
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly sentence: string;
}

export interface Architecture {
  /** As in QEMU's `qemu-system-NAME`. */
  readonly name: ArchitectureName;
  /** What else people call it: Debian's name, the kernel's. */
  readonly aliases: readonly string[];
  readonly sentence: string;
  /** What its guest code is kept under: `GuestCode.architecture`. */
  readonly code: string;
  readonly defaultCpu: string;
  /** The first is the default. */
  readonly machines: readonly MachineType[];
  /** What can run its guests, first choice first. */
  readonly accelerators: readonly AcceleratorName[];
  readonly maxCpus: number;
  /** `-cpu`'s value as the machine takes it. Throws VringError `cpu-option`. */
  cpuOption(text: string): string;
  cpuHelp(): string;
  loadCode(): Promise<(cpu: string) => GuestCode>;
  loadBoard(): Promise<BoardMaker>;
}

const checkedX86 = (text: string): string => {
  parseCpuOption(text);
  return text;
};

const x86 = {
  code: 'x86',
  machines: [{ name: 'pc', sentence: 'PC (i440FX + PIIX)' }],
  accelerators: ['kvm', 'tcg'],
  maxCpus: 255,
  cpuHelp,
  loadCode: async () => {
    const { x86Code } = await import('../guest/index.js');
    return (cpu: string) => x86Code(parseCpuOption(cpu));
  },
  loadBoard: async () => (await import('./boards/pc-maker.js')).pcMaker,
} as const satisfies Partial<Architecture>;

export const architectures: readonly Architecture[] = [
  {
    ...x86,
    name: 'x86_64',
    aliases: ['amd64', 'x86-64'],
    sentence: 'PCs with 64 bits',
    defaultCpu: 'qemu64',
    cpuOption: checkedX86,
  },
  {
    ...x86,
    name: 'i386',
    aliases: ['i686', 'x86'],
    sentence: 'PCs with 32 bits',
    defaultCpu: 'qemu32',
    // Whatever the model has, a guest of this architecture finds no long mode.
    cpuOption: (text) => checkedX86(`${text},-lm`),
  },
];

export const DEFAULT_ARCHITECTURE = architectures[0];

/** By any of its names. Throws VringError `architecture-unknown`. */
export function findArchitecture(name: string): Architecture {
  const found = architectures.find((each) => each.name === name || each.aliases.includes(name));
  if (found) return found;
  const known = architectures.map((each) => each.name).join(', ');
  throw new VringError('architecture-unknown', `There are no machines of architecture '${name}'; there are ${known}.`);
}
