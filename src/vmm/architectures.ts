/**
 * The architectures that a machine may have, one row each: names, CPU models, boards. The rows are light; an architecture's
 * instruction tables and chips are loaded by the thread that needs them.
 */
import type { AcceleratorName } from '../accel/accelerator.js';
import { VringError } from '../base/index.js';
import { armCpuHelp, parseArmCpu } from '../guest/arm/models.js';
import { arm32CpuHelp, parseArm32Cpu } from '../guest/arm32/models.js';
import { parseRiscvCpu, riscvCpuHelp } from '../guest/riscv/models.js';
import { cpuHelp, parseCpuOption } from '../guest/x86/models.js';
import { type ArchitectureName, architectureNames } from '../machine/architecture-names.js';
import type { BoardMaker } from './boards/board-maker.js';
import type { ArmOptions, MicrovmOptions } from './machine-options.js';

export interface MachineType {
  readonly name: string;
  readonly aliases?: readonly string[];
  /** Further names: QEMU's with a version. */
  readonly versioned?: RegExp;
  readonly sentence: string;
  /** What QEMU calls its RAM; `NAME.ram` unless given. */
  readonly ramId?: string;
  /** Places of the board's own disk controller, where it has one, and how many of them are on a bus. */
  readonly drives?: DriveLayout;
  /** What it has otherwise than the architecture's first board. */
  readonly own?: Partial<Pick<Architecture, 'buses' | 'defaultFirmware' | 'serialPorts'>>;
  /** vring's own small guest runs on it. */
  readonly runsBuiltInGuest?: boolean;
  /** Its PCI bus takes PCI Express root ports. */
  readonly express?: boolean;
}

export const ramIdOf = ({ name, ramId }: MachineType): string => ramId ?? `${name}.ram`;

export interface DriveLayout {
  readonly places: number;
  readonly perBus: 1 | 2;
}

/** Options that not every architecture has. */
export interface ArchitectureOptions {
  readonly builtInGuest?: boolean | undefined;
  readonly lens?: boolean | 'time' | undefined;
  readonly firmware?: object | undefined;
  readonly semihosting?: object | undefined;
  readonly deviceTree?: string | Uint8Array | undefined;
}

export interface Architecture {
  /** As in QEMU's `qemu-system-NAME`. */
  readonly name: ArchitectureName;
  readonly sentence: string;
  /** What its guest code is kept under: `GuestCode.architecture`. */
  readonly code: string;
  readonly defaultCpu: string;
  /** The first is the default. */
  readonly machines: readonly MachineType[];
  /** What can run its guests, first choice first. */
  readonly accelerators: readonly AcceleratorName[];
  readonly maxCpus: number;
  readonly serialPorts: number;
  /** Buses that devices can be plugged in on, by QEMU's names. */
  readonly buses: readonly string[];
  /** Boards of QEMU that are refused by name. */
  readonly unsupportedMachines: readonly string[];
  /** What of its options only other architectures have, for a person; undefined: nothing. */
  unfit(options: ArchitectureOptions): string | undefined;
  /** Room for firmware and flash behind guest RAM, at most. */
  romBytes(options: ArchitectureOptions): number;
  /** The firmware that starts without being asked for, where a kernel or disks alone cannot start. */
  readonly defaultFirmware: string | undefined;
  /** Unpacks a kernel where its loader does not do so itself. */
  loadUnpack(): Promise<(kernel: Uint8Array) => Uint8Array>;
  /** `-cpu`'s value as the machine takes it, with what the board gives its CPUs. Throws VringError `cpu-option`. */
  cpuOption(text: string, board?: ArmOptions): string;
  cpuHelp(): string;
  loadBoard(): Promise<BoardMaker>;
}

const MIB = 1 << 20;

const checkedX86 = (text: string): string => {
  parseCpuOption(text);
  return text;
};

const x86 = {
  code: 'x86',
  machines: [
    {
      name: 'pc',
      versioned: /^pc-i440fx-\d+\.\d+$/,
      sentence: 'PC (i440FX + PIIX)',
      runsBuiltInGuest: true,
      drives: { places: 4, perBus: 2 },
    },
    {
      name: 'q35',
      versioned: /^pc-q35-\d+\.\d+$/,
      sentence: 'PC (Q35 + ICH9)',
      ramId: 'pc.ram',
      runsBuiltInGuest: true,
      drives: { places: 6, perBus: 1 },
      express: true,
    },
    {
      name: 'microvm',
      sentence: 'microvm (i386)',
      own: {
        buses: ['ISA', 'SCSI', 'virtio-bus', 'virtio-serial-bus'],
        defaultFirmware: 'bios-microvm.bin',
        serialPorts: 1,
      },
    },
  ],
  accelerators: ['kvm', 'tcg'],
  maxCpus: 255,
  serialPorts: 4,
  buses: ['PCI', 'ISA', 'IDE', 'floppy-bus', 'SCSI', 'nvme-bus', 'usb-bus', 'virtio-serial-bus'],
  unsupportedMachines: ['isapc', 'x-remote'],
  unfit: ({ semihosting, deviceTree }) =>
    semihosting ? 'semihosting' : deviceTree === undefined ? undefined : 'a device tree',
  romBytes: ({ firmware, builtInGuest }) => (firmware || builtInGuest ? 8 * MIB : 0),
  defaultFirmware: 'bios-256k.bin',
  loadUnpack: async () => (kernel) => kernel,
  cpuHelp,
  loadBoard: async () => (await import('./boards/pc-maker.js')).pcMaker,
} as const satisfies Partial<Architecture>;

export const architectures: readonly Architecture[] = [
  {
    ...x86,
    name: 'x86_64',
    sentence: 'PCs with 64 bits',
    defaultCpu: 'qemu64',
    cpuOption: checkedX86,
  },
  {
    ...x86,
    name: 'i386',
    sentence: 'PCs with 32 bits',
    defaultCpu: 'qemu32',
    // Whatever the model has, a guest of this architecture finds no long mode.
    cpuOption: (text) => checkedX86(`${text},-lm`),
  },
  {
    name: 'riscv64',
    sentence: 'RISC-V with 64 bits',
    code: 'riscv',
    defaultCpu: 'rv64',
    machines: [{ name: 'virt', sentence: 'RISC-V VirtIO board', ramId: 'riscv_virt_board.ram' }],
    accelerators: ['tcg'],
    maxCpus: 64,
    serialPorts: 1,
    buses: ['PCI', 'virtio-bus', 'SCSI', 'nvme-bus', 'usb-bus', 'virtio-serial-bus'],
    unsupportedMachines: ['sifive_u', 'sifive_e', 'spike', 'shakti_c', 'microchip-icicle-kit', 'none', 'x-remote'],
    unfit: ({ builtInGuest, lens }) => (builtInGuest ? 'the built-in guest' : lens ? 'the lens' : undefined),
    romBytes: () => 65 * MIB,
    defaultFirmware: undefined,
    cpuOption: (text) => {
      parseRiscvCpu(text);
      return text;
    },
    cpuHelp: riscvCpuHelp,
    loadBoard: async () => (await import('./boards/riscv-virt-maker.js')).riscvVirtMaker,
    loadUnpack: async () => (await import('./boards/unpack-kernel.js')).unpackKernel,
  },
  {
    name: 'aarch64',
    sentence: 'Arm with 64 bits',
    code: 'aarch64',
    // Pointers are signed in each function of Debian's kernel and programs; the architected cipher is slow, and they cannot tell.
    defaultCpu: 'max,pauth-impdef=on',
    machines: [{ name: 'virt', versioned: /^virt-\d+\.\d+$/, sentence: 'Arm VirtIO board', ramId: 'mach-virt.ram' }],
    accelerators: ['tcg'],
    maxCpus: 123,
    serialPorts: 1,
    buses: ['PCI', 'virtio-bus', 'usb-bus', 'virtio-serial-bus'],
    unsupportedMachines: ['sbsa-ref', 'raspi3b', 'raspi4b', 'xlnx-zcu102', 'xlnx-versal-virt', 'none', 'x-remote'],
    unfit: ({ builtInGuest, lens }) => (builtInGuest ? 'the built-in guest' : lens ? 'the lens' : undefined),
    romBytes: () => 144 * MIB,
    defaultFirmware: 'QEMU_EFI.fd',
    cpuOption: (text, board) => {
      const levels = [board?.virtualization && ',has_el2=on', board?.secure && ',has_el3=on'];
      const whole = [text, ...levels].filter(Boolean).join('');
      parseArmCpu(whole);
      return whole;
    },
    cpuHelp: armCpuHelp,
    loadBoard: async () => (await import('./boards/arm-virt-maker.js')).armVirtMaker,
    loadUnpack: async () => (await import('./boards/unpack-kernel.js')).unpackKernel,
  },
  {
    name: 'arm',
    sentence: 'Arm with 32 bits',
    code: 'arm',
    defaultCpu: 'cortex-a15',
    machines: [{ name: 'virt', versioned: /^virt-\d+\.\d+$/, sentence: 'Arm VirtIO board', ramId: 'mach-virt.ram' }],
    accelerators: ['tcg'],
    maxCpus: 8,
    serialPorts: 1,
    buses: ['PCI', 'virtio-bus', 'usb-bus', 'virtio-serial-bus'],
    unsupportedMachines: ['vexpress-a9', 'vexpress-a15', 'raspi2b', 'versatilepb', 'none', 'x-remote'],
    unfit: ({ builtInGuest, lens }) => (builtInGuest ? 'the built-in guest' : lens ? 'the lens' : undefined),
    romBytes: () => 128 * MIB,
    defaultFirmware: undefined,
    cpuOption: (text) => {
      parseArm32Cpu(text);
      return text;
    },
    cpuHelp: arm32CpuHelp,
    loadBoard: async () => (await import('./boards/arm32-virt-maker.js')).arm32VirtMaker,
    loadUnpack: async () => (await import('./boards/unpack-kernel.js')).unpackKernel,
  },
];

export const DEFAULT_ARCHITECTURE = architectures[0];

/** A board by any of its names; the first without one. */
export function findMachine({ machines }: Architecture, name: string | undefined): MachineType | undefined {
  if (name === undefined) return machines[0];
  return machines.find((row) => row.name === name || row.aliases?.includes(name) || row.versioned?.test(name));
}

/** What a machine of an architecture has on a board, with what the board's own options add and take away. */
export function onBoard(
  architecture: Architecture,
  { machine, microvm }: { readonly machine?: string | undefined; readonly microvm?: MicrovmOptions | undefined },
): Architecture {
  const own = findMachine(architecture, machine)?.own;
  if (!own) return architecture;
  const buses = own.buses ?? architecture.buses;
  const isExpress = microvm?.pcie && microvm.acpi !== false;
  return {
    ...architecture,
    ...own,
    buses: isExpress ? [...buses, 'PCI', 'nvme-bus', 'usb-bus'] : buses,
    ...(microvm?.acpi === false ? { defaultFirmware: 'qboot.rom' } : {}),
    ...(microvm?.serial === false ? { serialPorts: 0 } : {}),
  };
}

/** By any of its names. Throws VringError `architecture-unknown`. */
export function findArchitecture(name: string): Architecture {
  const isCalled = (each: Architecture): boolean =>
    each.name === name || (architectureNames[each.name] as readonly string[]).includes(name);
  const found = architectures.find(isCalled);
  if (found) return found;
  const known = architectures.map((each) => each.name).join(', ');
  throw new VringError('architecture-unknown', `There are no machines of architecture '${name}'; there are ${known}.`);
}
