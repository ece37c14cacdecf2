/** What a machine is made of, as its owner says it, and as its worker needs it. */

import { type AcceleratorName, acceleratorNames } from '../accel/accelerator.js';
import { maxGuestBytes } from '../accel/guest-limit.js';
import { VringError } from '../base/index.js';
import type { OptionDict } from '../block/index.js';
import { ScreenFrame } from '../display/index.js';
import type { FloppyKind, SmbiosOptions } from '../hw/index.js';
import type { FirmwareFile } from '../machine/firmware-file.js';
import { parseMac } from '../net/index.js';
import { type Architecture, DEFAULT_ARCHITECTURE, findArchitecture, findMachine, onBoard } from './architectures.js';
import { ByteRing } from './byte-ring.js';
import type { BlockObject, DiskConfig, DiskImage } from './disk-protocol.js';
import { MOST_NETWORK_QUEUES, type NetworkOptions, NIC_ROM_BYTES } from './network-protocol.js';
import { FRAME_PIXELS, SCREEN_STATE_BYTES, VGA_ROM_BYTES } from './screen-protocol.js';
import { placeUsb, type UsbControllerOptions, type UsbDeviceConfig } from './usb-options.js';
import type {
  ConsolePortConfig,
  DeviceConfig,
  DriveConfig,
  ImageSource,
  MachineActions,
  NvmeNamespaceConfig,
  PanicAction,
  PciSlot,
  RootPortConfig,
  ScsiUnitConfig,
  SharedFolderConfig,
  TraceConfig,
  VirtioNetSettings,
  VirtioPlace,
  WatchdogAction,
  WorkerConfig,
} from './worker-protocol.js';

export interface ConsolePortOptions {
  /** Appears as /dev/virtio-ports/NAME in Linux; required for a port that is no console. */
  readonly name?: string | undefined;
  /** A console (hvc0, …) rather than a plain byte channel. */
  readonly console?: boolean | undefined;
  readonly number?: number | undefined;
}

/** An ATA disk or an ATAPI CD drive. */
export interface DriveOptions extends Omit<DriveConfig, 'disk'> {
  /** What is in it. A CD drive may be empty. */
  readonly image?: DiskImage | undefined;
  /** For a person, and in messages: QEMU's `ide0-hd0`, `ide1-cd0`, … unless given. */
  readonly id?: string | undefined;
}

/** A disk or CD drive behind a SCSI controller. */
export interface ScsiUnitOptions extends Omit<ScsiUnitConfig, 'disk' | 'target' | 'lun' | 'deviceId'> {
  /** What tells it apart from others: the serial number, or its id, unless given. */
  readonly deviceId?: string | undefined;
  readonly image?: DiskImage | undefined;
  readonly id?: string | undefined;
  /** 0 to 255; the first one without units unless given. */
  readonly target?: number | undefined;
  /** 0 to 16383; the first free one of the target unless given. */
  readonly lun?: number | undefined;
}

/** A disk of an NVMe controller. */
export interface NvmeNamespaceOptions extends Omit<NvmeNamespaceConfig, 'disk' | 'namespace'> {
  readonly image: DiskImage;
  readonly id?: string | undefined;
  /** Its identifier, 1 to 256; the lowest free one unless given. */
  readonly namespace?: number | undefined;
}

/** A device that is plugged in beside the board's own. */
export type DeviceOptions =
  | (VirtioPlace & {
      readonly type: 'virtio-blk';
      /** What is in it. */
      readonly image: DiskImage;
      /** For a person, and in messages: `virtio0`, … unless given. */
      readonly id?: string | undefined;
      /** At most 20 ASCII characters. */
      readonly serial?: string | undefined;
      /** Block sizes that the guest is told: powers of two from 512 on. */
      readonly logicalBlockSize?: number | undefined;
      readonly physicalBlockSize?: number | undefined;
      /** Request queues, one unless given, and entries of each, a power of two from 4 to 1024, 256 unless given. */
      readonly queues?: number | undefined;
      readonly queueSize?: number | undefined;
      /** The guest may discard, and have zeros written; it may unless given. */
      readonly discard?: boolean | undefined;
      readonly writeZeroes?: boolean | undefined;
      /** Firmware boots from the device with the lowest. */
      readonly bootIndex?: number | undefined;
    })
  | (DriveOptions & {
      /** On the board's own controller. */
      readonly type: 'ide';
      /** On `pc` 0 and 1 on the primary channel, 2 and 3 on the secondary; on `q35` the port; the first free one unless given. */
      readonly place?: number | undefined;
    })
  | {
      /** A floppy disk drive. */
      readonly type: 'floppy';
      /** 0: A, 1: B; the first free one unless given. */
      readonly unit?: 0 | 1 | undefined;
      /** What is in it: a size that floppy disks have, 160 KiB to 2.88 MB. It may be empty. */
      readonly image?: DiskImage | undefined;
      /** `floppy0` or `floppy1` unless given. */
      readonly id?: string | undefined;
      /** As QEMU's drive-type: 360 KB, 1.2 MB, 720 KB, 1.44 MB, 2.88 MB; what fits the image unless given. */
      readonly kind?: FloppyKind | undefined;
      readonly bootIndex?: number | undefined;
    }
  | { readonly type: 'isa-fdc' }
  | RootPortConfig
  | {
      /** ICH9's AHCI controller: six ports. */
      readonly type: 'ahci';
      readonly slot?: PciSlot | undefined;
      /** `port`: the first free one unless given. */
      readonly drives: readonly (DriveOptions & { readonly port?: number | undefined })[];
    }
  | UsbControllerOptions
  | {
      /** NVM Express 1.4. */
      readonly type: 'nvme';
      readonly slot?: PciSlot | undefined;
      /** By which it is taken out: `Machine.hotplug`. */
      readonly device?: string | undefined;
      /** At most 20 ASCII characters. */
      readonly serial: string;
      readonly namespaces: readonly NvmeNamespaceOptions[];
    }
  | (VirtioPlace & {
      /** A SCSI controller with what hangs on it. */
      readonly type: 'virtio-scsi';
      /** By which units that come later name it: `scsi0`, … unless given. */
      readonly id?: string | undefined;
      readonly units: readonly ScsiUnitOptions[];
      readonly queues?: number | undefined;
      readonly queueSize?: number | undefined;
      readonly maxSectors?: number | undefined;
      readonly commandsPerLun?: number | undefined;
    })
  | (VirtioPlace & {
      readonly type: 'virtio-serial';
      readonly ports: readonly ConsolePortOptions[];
      readonly maxPorts?: number | undefined;
    })
  | (VirtioPlace &
      VirtioNetSettings & {
        readonly type: 'virtio-net';
        /** Id of one of the machine's networks, which has no other card. */
        readonly network: string;
        /** `52:54:00:12:34:56` and those that follow unless given. */
        readonly mac?: string | undefined;
        readonly bootIndex?: number | undefined;
        /** Path of its option ROM (iPXE's, say), by which firmware boots from the network. */
        readonly rom?: string | undefined;
      })
  | {
      /** Intel's 82540EM, Realtek's RTL8139C+, a NE2000 (Realtek's RTL8029). */
      readonly type: 'e1000' | 'rtl8139' | 'ne2k_pci';
      /** By which it is taken out: `Machine.hotplug`. */
      readonly device?: string | undefined;
      readonly network: string;
      readonly mac?: string | undefined;
      readonly slot?: PciSlot | undefined;
      readonly bootIndex?: number | undefined;
      readonly rom?: string | undefined;
    }
  | {
      /** A NE2000 on ISA. */
      readonly type: 'ne2k_isa';
      readonly network: string;
      readonly mac?: string | undefined;
      /** First of 32 ports, 0x300 unless given, and its interrupt, 9 unless given. */
      readonly port?: number | undefined;
      readonly irq?: number | undefined;
    }
  | (SharedFolderConfig & { readonly type: 'virtio-9p' })
  | (VirtioPlace & { readonly type: 'virtio-rng' })
  | (VirtioPlace & { readonly type: 'virtio-balloon' })
  | {
      /** QEMU's standard VGA: the machine has a screen, which `Machine.screendump` shows. At most one. */
      readonly type: 'vga';
      readonly slot?: PciSlot | undefined;
      /** Video memory, a power of two from 1 to 256 MiB; 16 MiB unless given. */
      readonly memoryBytes?: number | undefined;
      /** Path of its option ROM (SeaBIOS's vgabios-stdvga.bin): with firmware it sets modes and shows text. */
      readonly rom?: string | undefined;
    }
  | (VirtioPlace & {
      /** A GPU in 2D: a screen as above, whose size the guest can be asked to change. With `vga` it is a VGA too, for PCs. */
      readonly type: 'virtio-gpu';
      /** What the monitor likes best; 1280x800 unless given. */
      readonly preferred?: { readonly width: number; readonly height: number } | undefined;
      readonly vga?: { readonly memoryBytes?: number | undefined; readonly rom?: string | undefined } | undefined;
    })
  | (VirtioPlace & { readonly type: 'virtio-keyboard' | 'virtio-mouse' | 'virtio-tablet' })
  /** By which the guest tells of its crash: at a port (0x505 unless given), or as a PCI device. */
  | { readonly type: 'pvpanic'; readonly port?: number | undefined }
  | { readonly type: 'pvpanic-pci'; readonly slot?: PciSlot | undefined }
  /** Intel's watchdog. */
  | { readonly type: 'i6300esb'; readonly slot?: PciSlot | undefined }
  | { readonly type: 'isa-debug-exit'; readonly port?: number | undefined; readonly sizeBytes?: number | undefined }
  | { readonly type: 'isa-debugcon'; readonly port?: number | undefined }
  | { readonly type: 'pc-testdev' };

/** Firmware that starts the machine: SeaBIOS, OVMF. Either `image` or the first of `flash` says where it is; RISC-V takes both. */
export interface MachineFirmware {
  /** Path, or the bytes. */
  readonly image?: string | Uint8Array | undefined;
  /**
   * Flash chips, which keep what firmware writes: the first is entered, the second has its variables. On RISC-V what the second one has
   * starts in S-mode. Boards `virt` have a chip where none is given too, which keeps nothing.
   */
  readonly flash?: readonly (DiskImage | undefined)[] | undefined;
  /** What it shows on a screen appears on COM1. */
  readonly serialConsole?: boolean | undefined;
  /** It offers a menu of what to boot from for so long. */
  readonly bootMenuMs?: number | undefined;
  /** When nothing could be booted it waits so long and resets; -1, and unless given: it stays. */
  readonly rebootTimeoutMs?: number | undefined;
  /** Kinds of devices in the order in which they are tried: up to three of `acdn` (floppy, disk, CD, network). */
  readonly bootDevices?: string | undefined;
  /** In its place until the first reset. */
  readonly bootDevicesOnce?: string | undefined;
  /** Where devices have a boot index, none without one is tried. */
  readonly bootStrict?: boolean | undefined;
}

export interface ArmOptions {
  /** Architecture of the interrupt controller: 2 unless given. With 3 there are more than eight CPUs. */
  readonly gicVersion?: 2 | 3 | undefined;
  /** A GICv3 has an ITS, by which PCI devices send interrupts as messages: it has unless given. */
  readonly its?: boolean | undefined;
  /** PCI Express has its configuration space, and a window, beyond 4 GiB: it has unless given. */
  readonly highmem?: boolean | undefined;
  /** The device tree has random numbers for a kernel: it has unless given. */
  readonly treeRandomness?: boolean | undefined;
  /** Firmware finds ACPI tables: it does unless given. */
  readonly acpi?: boolean | undefined;
  /** CPUs have EL2, so that the guest can have virtual machines of its own. */
  readonly virtualization?: boolean | undefined;
  /** CPUs have EL3, where firmware starts. */
  readonly secure?: boolean | undefined;
}

export interface RiscvOptions {
  /** The kernel is a program for the bare machine, and starts in M-mode where RAM begins. */
  readonly bare?: boolean | undefined;
  /**
   * The advanced interrupt architecture in place of a PLIC: an APLIC, or one that sends messages to the harts' files of an incoming MSI
   * controller, as PCI devices do. `none` unless given.
   */
  readonly aia?: 'none' | 'aplic' | 'aplic-imsic' | undefined;
}

export interface MicrovmOptions {
  /** Hardware-reduced ACPI; it has unless given, as all that follows but PCI Express. */
  readonly acpi?: boolean | undefined;
  /** The 8259s. */
  readonly pic?: boolean | undefined;
  /** The 8254. */
  readonly pit?: boolean | undefined;
  readonly rtc?: boolean | undefined;
  /** COM1. */
  readonly serial?: boolean | undefined;
  /** Of use with ACPI: then there are 24 slots for virtio devices instead of eight. */
  readonly secondIoApic?: boolean | undefined;
  /** The kernel's command line gets what a kernel cannot find out: the time-stamp counter's speed, or without ACPI the slots in use. */
  readonly autoCommandLine?: boolean | undefined;
  /** With firmware: an option ROM boots a kernel. Firmware that does so itself (qboot) needs none. */
  readonly optionRoms?: boolean | undefined;
  /** PCI Express, of use with ACPI. */
  readonly pcie?: boolean | undefined;
}

export interface MachineOptions {
  /** `x86_64` unless given; QEMU's names, and Debian's (`amd64`, …). */
  readonly architecture?: string | undefined;
  /** The board: `pc`, `q35`, …; the architecture's own unless given. */
  readonly machine?: string | undefined;
  /** RAM; 128 MiB unless given. */
  readonly ramBytes?: number | undefined;
  /** vCPUs: one, unless given. More need KVM, and a thread of the host each. */
  readonly cpus?: number | undefined;
  /** CPU model and flags in QEMU's spelling; the architecture's own (`qemu64`) unless given, less what KVM cannot give where that is used. */
  readonly cpu?: string | undefined;
  /**
   * What may run the guest, first choice first: the first that works here, and for `kvm` is worth using, does. `kvm` alone is taken
   * however slow it is. Unless given: `kvm`, then `tcg`.
   */
  readonly accelerators?: readonly AcceleratorName[] | undefined;
  /** KVM that works is taken however slow it is, though others come after it. */
  readonly takesSlowKvm?: boolean | undefined;
  /**
   * With KVM: all interrupt controllers lie in the kernel (`on`), or the local APICs alone (`split`), or none (`off`). Unless given: as
   * many as the host's KVM has.
   */
  readonly kernelIrqchip?: 'on' | 'split' | 'off' | undefined;
  /**
   * Path, or the bytes. A Linux bzImage, an ELF kernel with a PVH entry, or a Multiboot program. It is put into memory and entered
   * directly; with `firmware` that boots it (UEFI: Linux only). One of the two is needed, or `builtInGuest`.
   */
  readonly kernel?: string | Uint8Array | undefined;
  readonly firmware?: MachineFirmware | undefined;
  /** vring's own small kernel runs, with a prompt on COM1; there is neither kernel nor firmware then. */
  readonly builtInGuest?: boolean | undefined;
  /**
   * Put into RAM whenever the machine starts, behind the kernel: bytes, or a file by its path, at an address or where an ELF file says.
   * `cpu` (Arm, RISC-V): that CPU begins at the file's entry, or at `gpa`; the first one does without any kernel.
   */
  readonly loads?: readonly LoadOptions[] | undefined;
  /** Files that firmware and guests find in fw_cfg. */
  readonly fwCfg?: readonly FirmwareFile[] | undefined;
  /** Of the machine, as its SMBIOS tables tell: `01234567-89ab-cdef-0123-456789abcdef`. */
  readonly uuid?: string | undefined;
  /** What the SMBIOS tables of a PC say of it; strings are ASCII. */
  readonly smbios?: SmbiosOptions | undefined;
  /** Path, or the bytes. A path is a list of modules for a Multiboot program: `file [argument…]` with commas between them. */
  readonly initrd?: string | Uint8Array | undefined;
  /** The kernel's command line. */
  readonly commandLine?: string | undefined;
  /**
   * Programs on the bare machine may call their host (Arm, RISC-V): text to `Machine.semihosting()`, clocks, their end with a
   * status. No file of the host is opened. `commandLine`: what they are told of their arguments; `userspace`: without privilege too.
   */
  readonly semihosting?:
    | { readonly commandLine?: string | undefined; readonly userspace?: boolean | undefined }
    | undefined;
  /** Which of COM1 to COM4 are there; COM1 alone unless given. */
  readonly serialPorts?: readonly boolean[] | undefined;
  readonly devices?: readonly DeviceOptions[] | undefined;
  /** What network cards are connected to. */
  readonly networks?: readonly NetworkOptions[] | undefined;
  /** Disks and block nodes may come later, though there is none yet. */
  readonly disksMayCome?: boolean | undefined;
  /** Block nodes that images refer to by name, in QEMU's `-blockdev` spelling, flat; each may name those before it. */
  readonly blockNodes?: readonly OptionDict[] | undefined;
  /** Passwords that images and connections refer to by id. */
  readonly secrets?: Readonly<Record<string, Uint8Array>> | undefined;
  /** Throttle groups and TLS credentials that block nodes refer to by id. */
  readonly blockObjects?: Readonly<Record<string, BlockObject>> | undefined;
  readonly hpet?: boolean | undefined;
  /** A PC without ACPI tables where it is false. */
  readonly acpi?: boolean | undefined;
  /** Of Arm's board `virt`. */
  readonly arm?: ArmOptions | undefined;
  /** Of RISC-V's board `virt`. */
  readonly riscv?: RiscvOptions | undefined;
  /**
   * In place of the device tree that the board makes (Arm, RISC-V): a .dtb file's path, or its bytes. Command line, initrd and seed are
   * added to it, and RAM where it tells of none.
   */
  readonly deviceTree?: string | Uint8Array | undefined;
  /** Of the board `microvm`. */
  readonly microvm?: MicrovmOptions | undefined;
  /** Devices in virtio-mmio slots speak the legacy version of the interface alone, as QEMU's: they do unless given. */
  readonly legacyVirtioMmio?: boolean | undefined;
  /** `reset` unless given. */
  readonly onReset?: MachineActions['onReset'] | undefined;
  /** `end` unless given. */
  readonly onPowerOff?: MachineActions['onPowerOff'] | undefined;
  /** `poweroff` unless given. */
  readonly onPanic?: PanicAction | undefined;
  /** `reset` unless given. */
  readonly onWatchdog?: WatchdogAction | undefined;
  /** Added to the host's clock for the guest's. */
  readonly rtcOffsetMs?: number | undefined;
  /** Virtual time from executed instructions, 2^shift ns each: two runs are alike to the last bit. */
  readonly icount?: { readonly shift: number; readonly seed?: bigint | undefined } | undefined;
  /** How often a block runs before it is compiled (a power of two from 2 on), or 0: everything is interpreted. */
  readonly hotThreshold?: number | undefined;
  /** A debugger may come: `Machine.gdb()` is its stream. */
  readonly gdb?: boolean | undefined;
  readonly trace?: TraceConfig | undefined;
  /**
   * Where time goes and what crosses which border is counted and timed: `Machine.lens()`. It costs speed. `time`: under KVM page
   * faults and system calls are not counted, so that times are undisturbed.
   */
  readonly lens?: boolean | 'time' | undefined;
  /** The translator with parts left out, to show what they are for: nothing translated is kept; a TLB of fewer entries. */
  readonly translator?:
    | { readonly codeCache?: boolean | undefined; readonly tlbEntries?: number | undefined }
    | undefined;
  /** Of its thread, as the host's tools show it. */
  readonly name?: string | undefined;
}

export interface LoadOptions {
  readonly image?: string | Uint8Array | undefined;
  readonly gpa?: number | undefined;
  /** An ELF file too is taken as it stands. */
  readonly raw?: boolean | undefined;
  readonly cpu?: number | undefined;
}

/** A stream of the machine, in the order in which the worker counts them. */
export type PortPlace =
  | { readonly kind: 'serial'; readonly index: number }
  | { readonly kind: 'console'; readonly name: string | undefined; readonly isConsole: boolean; readonly index: number }
  | { readonly kind: 'debugcon' }
  | { readonly kind: 'semihosting'; readonly of: 'output' | 'console' }
  | { readonly kind: 'gdb' };

export const DEFAULT_RAM_BYTES = 128 << 20;
const MIN_RAM_BYTES = 2 << 20;
export const DEFAULT_HOT_THRESHOLD = 512;
const COPY_STEP_BYTES = 1 << 20;
const AHCI_PORTS = 6;
const MOST_BLOCK_QUEUES = 64;
const DEFAULT_VGA_BYTES = 16 << 20;
/** Room for a thousand events. */
const INPUT_BYTES = 8192;

/** Queues and features of a virtio disk. Throws VringError `options-invalid`. */
export function blockFeatures({
  queues,
  queueSize,
  discard,
  writeZeroes,
}: Extract<DeviceOptions, { type: 'virtio-blk' }>) {
  if (queues !== undefined && !(Number.isInteger(queues) && queues >= 1 && queues <= MOST_BLOCK_QUEUES))
    throw invalid(`A virtio disk has 1 to ${MOST_BLOCK_QUEUES} request queues.`);
  if (queueSize !== undefined && !(queueSize >= 4 && queueSize <= 1024 && Number.isInteger(Math.log2(queueSize))))
    throw invalid('The queues of a virtio disk have a power of two entries, from 4 to 1024.');
  return { queues, queueSize, discard, writeZeroes };
}

/** Throws VringError `options-invalid`. */
export function checkTap(network: NetworkOptions): void {
  if (network.kind !== 'tap') return;
  const { descriptors, ifname, queues = 1 } = network;
  const count = descriptors?.length ?? queues;
  if (!Number.isInteger(count) || count < 1 || count > MOST_NETWORK_QUEUES)
    throw invalid(`A tap network has 1 to ${MOST_NETWORK_QUEUES} queues.`);
  if (ifname !== undefined && (ifname === '' || Buffer.byteLength(ifname) > 15))
    throw invalid('The name of an interface has 1 to 15 bytes.');
}

/** Throws VringError `options-invalid`. */
export function checkVirtioNet({ rxQueueSize, txQueueSize, speed }: VirtioNetSettings): void {
  for (const size of [rxQueueSize, txQueueSize])
    if (size !== undefined && ![256, 512, 1024].includes(size))
      throw invalid('The queues of a virtio network card have 256, 512 or 1024 entries.');
  if (speed !== undefined && !(Number.isInteger(speed) && speed >= 0 && speed < 2 ** 31))
    throw invalid('The speed of a network card is a whole number of megabits a second.');
}

function invalid(message: string): VringError {
  return new VringError('options-invalid', message);
}

const mib = (bytes: number) => `${Math.floor(bytes / 2 ** 20)} MiB`;

/** The architecture that is asked for. Throws VringError `architecture-unknown`. */
export function architectureOf({ architecture }: MachineOptions): Architecture {
  return architecture === undefined ? DEFAULT_ARCHITECTURE : findArchitecture(architecture);
}

/** Checks the options and lays out streams and devices. Throws VringError `options-invalid`, `ram-size` and what the CPU's parser throws. */
/** Throws VringError `options-invalid`. */
function checkFirmware({ code }: Architecture, { image, flash }: MachineFirmware): void {
  if (image === undefined && !flash?.some((chip) => chip !== undefined))
    throw invalid('There is neither a firmware image nor one of a flash chip.');
  if (code === 'x86' && flash?.includes(undefined)) throw invalid('Flash chips of a PC lie one below another.');
  if (code !== 'riscv' && image !== undefined && flash?.[0] !== undefined)
    throw invalid('Firmware is an image, or flash chips.');
}

export function planMachine(options: MachineOptions): {
  readonly places: readonly PortPlace[];
  readonly disks: readonly DiskConfig[];
  /** Places among them of what the board's flash chips hold. */
  readonly flash: readonly (number | undefined)[] | undefined;
  readonly config: Omit<
    WorkerConfig,
    'kernel' | 'initrd' | 'firmware' | 'deviceTree' | 'streams' | 'doorbell' | 'modules' | 'disks'
  >;
} {
  const ramBytes = Math.ceil((options.ramBytes ?? DEFAULT_RAM_BYTES) / 4096) * 4096;
  if (!Number.isSafeInteger(ramBytes) || ramBytes < MIN_RAM_BYTES) {
    throw new VringError('ram-size', `A machine needs at least ${mib(MIN_RAM_BYTES)} of RAM.`);
  }
  const named = options.kernel !== undefined || options.firmware !== undefined;
  const entered = options.loads?.some(({ cpu }) => cpu === 0) === true;
  if (!named && !options.builtInGuest && !entered) throw invalid('There is neither a kernel nor firmware.');
  if (named && options.builtInGuest) throw invalid('The built-in guest needs neither kernel nor firmware.');
  const architecture = onBoard(architectureOf(options), options);
  const machine = findMachine(architecture, options.machine);
  if (!machine) throw invalid(`There is no board '${options.machine}' for ${architecture.name}.`);
  if (options.builtInGuest && architecture.code === 'x86' && !machine.runsBuiltInGuest)
    throw invalid(`The built-in guest does not run on the board '${machine.name}'.`);
  if (!machine.express && options.devices?.some(({ type }) => type === 'pcie-root-port'))
    throw invalid(`The board '${machine.name}' has no PCI Express.`);
  const unfit = architecture.unfit(options);
  if (unfit !== undefined) throw invalid(`Machines of ${architecture.name} do not have ${unfit} yet.`);
  const cpus = options.cpus ?? 1;
  const { maxCpus } = architecture;
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > maxCpus)
    throw invalid(
      maxCpus === 1
        ? `A machine of ${architecture.name} has one vCPU for now.`
        : `A machine has 1 to ${maxCpus} vCPUs.`,
    );
  const uuid = options.uuid?.replaceAll('-', '') ?? '';
  if (!/^([0-9a-f]{32})?$/i.test(uuid)) throw invalid(`'${options.uuid}' is no UUID.`);
  const most = maxGuestBytes(cpus);
  if (ramBytes > most - architecture.romBytes(options)) {
    throw new VringError(
      'ram-size',
      `A machine can have at most ${mib(most)} of RAM here: ${mib(ramBytes)} would need WebAssembly memory with 64-bit addresses.`,
    );
  }
  const cpu = architecture.cpuOption(options.cpu ?? architecture.defaultCpu, options.arm);
  const accelerators = options.accelerators ?? architecture.accelerators;
  if (accelerators.length === 0 || accelerators.some((name) => !acceleratorNames.includes(name)))
    throw invalid(`The accelerators are some of ${acceleratorNames.join(' and ')}.`);
  const threshold = options.hotThreshold ?? DEFAULT_HOT_THRESHOLD;
  if (threshold !== 0 && (threshold < 2 || threshold > 1 << 20 || (threshold & (threshold - 1)) !== 0)) {
    throw invalid('hotThreshold is not a power of two from 2 on.');
  }
  const shift = options.icount?.shift ?? 0;
  if (!Number.isInteger(shift) || shift < 0 || shift > 10)
    throw invalid('The shift of icount is not between 0 and 10.');

  const places: PortPlace[] = [];
  const stream = (place: PortPlace) => places.push(place) - 1;
  const wanted = options.serialPorts ?? (architecture.serialPorts === 0 ? [] : [true]);
  if (wanted.length > architecture.serialPorts)
    throw invalid(`A machine of ${architecture.name} has at most ${architecture.serialPorts} serial ports.`);
  const serial = [0, 1, 2, 3].map((index) =>
    wanted[index] ? { stream: stream({ kind: 'serial', index }) } : undefined,
  );
  let consoles = 0;
  let deviceBytes = 0;
  let hasScreen = false;
  const oneScreen = (): void => {
    if (hasScreen) throw invalid('A machine has one screen at most.');
    hasScreen = true;
  };
  /** Checks the size of a VGA's memory, and takes it. */
  const vga = (memoryBytes = DEFAULT_VGA_BYTES): { readonly memoryBytes: number } => {
    const fits = memoryBytes >= 1 << 20 && memoryBytes <= 256 << 20;
    if (!fits || (memoryBytes & (memoryBytes - 1)) !== 0)
      throw invalid('The memory of a VGA is a power of two from 1 to 256 MiB.');
    oneScreen();
    deviceBytes += memoryBytes + VGA_ROM_BYTES;
    return { memoryBytes };
  };
  const disks: DiskConfig[] = [];
  const layout = machine.drives ?? { places: 0, perBus: 2 };
  const idePlaces = Array.from({ length: layout.places }, (_, place) => place);
  const takenPlaces = new Set<number>();
  for (const device of options.devices ?? []) {
    if (device.type !== 'ide' || device.place === undefined) continue;
    if (!idePlaces.includes(device.place)) throw invalid(`The places of IDE drives are 0 to ${idePlaces.length - 1}.`);
    if (takenPlaces.has(device.place)) throw invalid(`Two IDE drives are at place ${device.place}.`);
    takenPlaces.add(device.place);
  }
  const takenFloppies = new Set<number>();
  const drive = <T extends Pick<DriveOptions, 'image' | 'id' | 'media'>>(device: T, id: string) => {
    const { image, id: given, ...rest } = device;
    const removable = device.media === 'cdrom';
    if (!image && !removable) throw invalid(`The disk '${given ?? id}' has no image.`);
    const readonly = removable ? { readonly: true } : {};
    const disk = disks.push({ ...image, ...readonly, id: given ?? id, removable, empty: !image }) - 1;
    return { ...rest, disk };
  };
  const networks = options.networks ?? [];
  if (new Set(networks.map(({ id }) => id)).size < networks.length) throw invalid('Two networks have the same id.');
  for (const network of networks) checkTap(network);
  const carded = new Set<number>();
  let cards = 0;
  let controllers = 0;
  let scsiBuses = 0;
  let nvmes = 0;
  let usbs = 0;
  let unnamedUsbs = 0;
  const hasPci = architecture.buses.includes('PCI');
  const devices = (options.devices ?? []).map((given): DeviceConfig => {
    // Without PCI a virtio device has but one place to be.
    const isMovable = !hasPci && given.type.startsWith('virtio-') && !('bus' in given && given.bus !== undefined);
    const device = isMovable ? ({ ...given, bus: 'mmio' } as DeviceOptions) : given;
    switch (device.type) {
      case 'virtio-blk':
        return {
          type: device.type,
          disk: disks.push({ ...device.image, id: device.id ?? `virtio${disks.length}` }) - 1,
          serial: device.serial,
          logicalBlockSize: device.logicalBlockSize,
          physicalBlockSize: device.physicalBlockSize,
          ...blockFeatures(device),
          bootIndex: device.bootIndex,
          bus: device.bus,
          slot: device.slot,
          interfaces: device.interfaces,
          vectors: device.vectors,
          packed: device.packed,
          indirectDescriptors: device.indirectDescriptors,
          eventIndex: device.eventIndex,
          ioeventfd: device.ioeventfd,
          device: device.device,
        };
      case 'ide': {
        // As on QEMU a CD drive that may choose goes to the secondary channel.
        const choices = device.media === 'cdrom' ? [...idePlaces.slice(2), ...idePlaces.slice(0, 2)] : idePlaces;
        const place = device.place ?? choices.find((each) => !takenPlaces.has(each));
        if (place === undefined) throw invalid(`This board has places for ${layout.places} IDE drives.`);
        takenPlaces.add(place);
        const [bus, unit] = [Math.floor(place / layout.perBus), place % layout.perBus];
        const id = `ide${bus}-${device.media === 'cdrom' ? 'cd' : 'hd'}${unit}`;
        return { ...drive(device, id), type: device.type, place };
      }
      case 'floppy': {
        const unit = device.unit ?? (takenFloppies.has(0) ? 1 : 0);
        if (takenFloppies.has(unit)) throw invalid('A floppy controller has two drives, A and B, each once.');
        takenFloppies.add(unit);
        const id = device.id ?? `floppy${unit}`;
        const disk = disks.push({ ...device.image, id, removable: true, empty: !device.image }) - 1;
        return { type: device.type, unit, disk, kind: device.kind, bootIndex: device.bootIndex };
      }
      case 'ahci': {
        const ports = new Array<DriveConfig | undefined>(AHCI_PORTS).fill(undefined);
        const controller = controllers++;
        const named = new Set(device.drives.map(({ port }) => port));
        for (const { port: wantedPort, ...rest } of device.drives) {
          const port = wantedPort ?? ports.findIndex((each, i) => !each && !named.has(i));
          if (!(port in ports))
            throw invalid(`An AHCI controller has ${AHCI_PORTS} drives at most, at ports 0 to ${AHCI_PORTS - 1}.`);
          if (ports[port]) throw invalid(`Two drives are at port ${port} of an AHCI controller.`);
          ports[port] = drive(rest, `ahci${controller}-${rest.media === 'cdrom' ? 'cd' : 'hd'}${port}`);
        }
        return { type: device.type, slot: device.slot, drives: ports };
      }
      case 'usb': {
        const controller = usbs++;
        const bus = device.bus ?? `usb-bus.${unnamedUsbs++}`;
        const placed = placeUsb({ ...device, bus }).map((each): UsbDeviceConfig => {
          const { kind, port, id, serial } = each;
          if (kind !== 'storage') return { kind, port, id, serial };
          const { driveId, removable, kind: _kind, port: _port, ...rest } = each;
          return {
            kind,
            port,
            id,
            serial,
            removable,
            drive: drive({ ...rest, id: driveId }, `usb${controller}-${port}`),
          };
        });
        return { ...device, bus, devices: placed };
      }
      case 'nvme': {
        const controller = nvmes++;
        const taken = new Set(device.namespaces.map(({ namespace }) => namespace));
        const named = device.namespaces.filter(({ namespace }) => namespace !== undefined).length;
        if (taken.size - (taken.has(undefined) ? 1 : 0) < named)
          throw invalid('Two namespaces of an NVMe controller have the same identifier.');
        const namespaces = device.namespaces.map(({ image, id, ...rest }): NvmeNamespaceConfig => {
          let namespace = rest.namespace ?? 1;
          if (rest.namespace === undefined) while (taken.has(namespace)) namespace++;
          taken.add(namespace);
          if (!Number.isInteger(namespace) || namespace < 1 || namespace > 256)
            throw invalid('The namespaces of an NVMe controller are 1 to 256.');
          const disk = disks.push({ ...image, id: id ?? `nvme${controller}n${namespace}` }) - 1;
          return { ...rest, namespace, disk };
        });
        return { ...device, namespaces };
      }
      case 'virtio-scsi': {
        const bus = scsiBuses++;
        const units = scsiPlaces(device.units).map((unit): ScsiUnitConfig => {
          const kind = unit.media === 'cdrom' ? 'cd' : 'hd';
          const id = unit.id ?? `scsi${bus}-${kind}${unit.target}${unit.lun === 0 ? '' : `-${unit.lun}`}`;
          return {
            ...drive(unit, id),
            target: unit.target,
            lun: unit.lun,
            deviceId: unit.deviceId ?? unit.serial ?? id,
          };
        });
        return { ...device, id: device.id ?? `scsi${bus}`, units };
      }
      case 'e1000':
      case 'rtl8139':
      case 'ne2k_pci':
      case 'ne2k_isa':
      case 'virtio-net': {
        if (device.type === 'virtio-net') checkVirtioNet(device);
        const network = networks.findIndex(({ id }) => id === device.network);
        if (network < 0) throw invalid(`There is no network '${device.network}'.`);
        if (carded.has(network)) throw invalid(`The network '${device.network}' has a card already.`);
        carded.add(network);
        const given = device.mac === undefined ? undefined : parseMac(device.mac);
        if (device.mac !== undefined && !given) throw invalid(`'${device.mac}' is no Ethernet address.`);
        if (given && (given[0] & 1) !== 0) throw invalid(`'${device.mac}' is a group's address.`);
        const mac = given ?? Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56 + cards);
        cards++;
        if ('rom' in device && device.rom !== undefined) deviceBytes += NIC_ROM_BYTES;
        return { ...device, network, mac };
      }
      case 'virtio-serial':
        return {
          ...device,
          ports: device.ports.map((port): ConsolePortConfig => {
            const isConsole = port.console ?? false;
            if (port.number === 0 && !isConsole) throw invalid('Number 0 of a virtio-serial device is for a console.');
            const { name, number } = port;
            return { stream: stream({ kind: 'console', name, isConsole, index: consoles++ }), name, number, isConsole };
          }),
        };
      case 'vga':
        return { ...device, ...vga(device.memoryBytes) };
      case 'virtio-gpu': {
        if (device.vga) return { ...device, vga: { ...device.vga, ...vga(device.vga.memoryBytes) } };
        oneScreen();
        return { ...device, vga: undefined };
      }
      case 'isa-debug-exit':
        return { type: device.type, port: device.port ?? 0x501, sizeBytes: device.sizeBytes ?? 2 };
      case 'isa-debugcon':
        return { type: device.type, port: device.port ?? 0xe9, stream: stream({ kind: 'debugcon' }) };
      default:
        return device;
    }
  });
  const chips = options.firmware?.flash;
  if (options.firmware) checkFirmware(architecture, options.firmware);
  const flash = chips?.map((chip, i) => chip && disks.push({ ...chip, id: `pflash${i}` }) - 1);
  return {
    places,
    disks,
    flash,
    config: {
      ramBytes,
      architecture: architecture.name,
      machine: machine.name,
      cpu,
      commandLine: options.commandLine ?? '',
      name: options.name ?? 'vcpu0',
      builtInGuest: options.builtInGuest ?? false,
      lens: options.lens ?? false,
      translator: options.translator,
      loads: options.loads ?? [],
      fwCfg: options.fwCfg ?? [],
      smbios: options.smbios,
      uuid: uuid === '' ? undefined : Uint8Array.from(uuid.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16)),
      serial,
      devices,
      screen: hasScreen
        ? {
            state: new SharedArrayBuffer(SCREEN_STATE_BYTES),
            input: ByteRing.create(INPUT_BYTES).buffer,
            frame: ScreenFrame.create(devices.some(({ type }) => type === 'virtio-gpu') ? FRAME_PIXELS : 0).buffer,
          }
        : undefined,
      deviceBytes,
      hpet: options.hpet ?? true,
      acpi: options.acpi ?? true,
      arm: options.arm,
      riscv: options.riscv,
      microvm: options.microvm,
      legacyVirtioMmio: options.legacyVirtioMmio ?? true,
      cpus,
      kernelIrqchip: options.kernelIrqchip,
      actions: {
        onReset: options.onReset ?? 'reset',
        onPowerOff: options.onPowerOff ?? 'end',
        onPanic: options.onPanic ?? 'poweroff',
        onWatchdog: options.onWatchdog ?? 'reset',
      },
      hotThreshold: threshold,
      rtcOffsetNs: (options.rtcOffsetMs ?? 0) * 1e6,
      icount: options.icount,
      semihosting: options.semihosting && {
        streams: {
          output: stream({ kind: 'semihosting', of: 'output' }),
          console: stream({ kind: 'semihosting', of: 'console' }),
        },
        commandLine: options.semihosting.commandLine ?? '',
        userspace: options.semihosting.userspace ?? false,
      },
      gdb: options.gdb ? stream({ kind: 'gdb' }) : undefined,
      trace: options.trace,
    },
  };
}

/** Units with their places, as QEMU chooses them: targets are taken one after the other. Throws VringError `options-invalid`. */
function scsiPlaces<U extends Pick<ScsiUnitOptions, 'target' | 'lun'>>(units: readonly U[]) {
  const taken = new Set<string>();
  const key = (target: number, lun: number) => `${target}:${lun}`;
  return units.map((unit) => {
    let { target, lun } = unit;
    if (target === undefined) {
      target = 0;
      while (taken.has(key(target, lun ?? 0))) target++;
      lun ??= 0;
    } else if (lun === undefined) {
      lun = 0;
      while (taken.has(key(target, lun))) lun++;
    }
    if (!Number.isInteger(target) || target < 0 || target > 255 || !Number.isInteger(lun) || lun < 0 || lun > 16383)
      throw invalid(`There is no SCSI unit ${target}:${lun}; targets go to 255, their units to 16383.`);
    if (taken.has(key(target, lun))) throw invalid(`Two SCSI units are at target ${target}, LUN ${lun}.`);
    taken.add(key(target, lun));
    return { ...unit, target, lun };
  });
}

/** Bytes into shared memory, where the worker sees them without a copy; in steps, so that nothing else waits. */
export async function shareImage(image: string | Uint8Array, signal?: AbortSignal): Promise<ImageSource> {
  if (typeof image === 'string' || image.buffer instanceof SharedArrayBuffer) return image;
  const shared = new Uint8Array(new SharedArrayBuffer(image.length));
  for (let at = 0; at < image.length; at += COPY_STEP_BYTES) {
    if (at > 0) {
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
    if (signal?.aborted) return shared;
    shared.set(image.subarray(at, at + COPY_STEP_BYTES), at);
  }
  return shared;
}
