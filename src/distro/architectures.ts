/**
 * Debian's architectures that a machine of vring can be, with the kernels that each has. One row is one architecture; the
 * first flavour is the default.
 */
import { VringError } from '../base/index.js';

export interface DebianArchitecture {
  readonly name: string;
  /** As in `linux-image-FLAVOUR`. */
  readonly flavours: readonly string[];
  /** What a person may call it too. */
  readonly aliases: readonly string[];
  /** The serial console's device on the machine that runs it. */
  readonly serialConsole: string;
}

export const debianArchitectures: readonly DebianArchitecture[] = [
  {
    name: 'amd64',
    flavours: ['cloud-amd64', 'amd64', 'rt-amd64'],
    aliases: ['x86_64', 'x86-64'],
    serialConsole: 'ttyS0',
  },
  { name: 'i386', flavours: ['686-pae', '686', 'rt-686-pae'], aliases: ['i686', 'x86'], serialConsole: 'ttyS0' },
  { name: 'arm64', flavours: ['cloud-arm64', 'arm64', 'rt-arm64'], aliases: ['aarch64'], serialConsole: 'ttyAMA0' },
  {
    name: 'armhf',
    flavours: ['armmp', 'armmp-lpae', 'rt-armmp'],
    aliases: ['arm', 'armv7l'],
    serialConsole: 'ttyAMA0',
  },
  { name: 'riscv64', flavours: ['riscv64'], aliases: [], serialConsole: 'ttyS0' },
];

export function findArchitecture(name: string): DebianArchitecture | undefined {
  return debianArchitectures.find((each) => each.name === name || each.aliases.includes(name));
}

export function architectureOfFlavour(flavour: string): DebianArchitecture | undefined {
  return debianArchitectures.find(({ flavours }) => flavours.includes(flavour));
}

/**
 * Architecture and flavour by what is asked for: one may be left out, and follows from the other. Throws VringError
 * `architecture-unknown`, `flavour-unknown`.
 */
export function chooseArchitecture(options: {
  readonly architecture?: string | undefined;
  readonly flavour?: string | undefined;
}): { architecture: DebianArchitecture; flavour: string } {
  const implied = options.flavour === undefined ? undefined : architectureOfFlavour(options.flavour);
  const name = options.architecture ?? implied?.name ?? 'amd64';
  const architecture = findArchitecture(name);
  if (architecture === undefined) {
    const known = debianArchitectures.map((each) => each.name).join(', ');
    throw new VringError('architecture-unknown', `Debian for '${name}' is not known to vring; there are ${known}.`);
  }
  const flavour = options.flavour ?? architecture.flavours[0]!;
  if (!architecture.flavours.includes(flavour)) {
    throw new VringError(
      'flavour-unknown',
      `Debian's ${architecture.name} has no kernel flavour '${flavour}'; there are ${architecture.flavours.join(', ')}.`,
    );
  }
  return { architecture, flavour };
}
