/** What the thread that owns a machine and the thread that runs it say to each other. */

import type { AcceleratorName, CompiledModule } from '../accel/index.js';
import type { ComingFile } from '../host/node/coming-file.js';
import type { KvmDebugging } from '../host/node/kvm/probe.js';
import type { FloppyKind, NetFeatureName, SmbiosOptions } from '../hw/index.js';
import type { ArchitectureName } from '../machine/architecture-names.js';
import type { BoardOptions } from '../machine/board.js';
import type { FirmwareOptions } from '../machine/firmware.js';
import type { FirmwareFile } from '../machine/firmware-file.js';
import type { TraceItem } from '../machine/trace.js';
import type { DiskConfig, DiskError, MachineDisksConfig } from './disk-protocol.js';
import type { LensReport } from './lens-report.js';
import type { MachineOptions } from './machine-options.js';
import type { MachineNetworksConfig, NetworkRings } from './network-protocol.js';
import type { InputEvent } from './screen-input.js';
import type { ScreenMemory, ScreenShares } from './screen-protocol.js';
import type { UsbControllerConfig, UsbDeviceConfig, UsbPort } from './usb-options.js';

/** A byte stream with the machine: two rings, seen from the machine. */
export interface StreamRings {
  /** Machine → owner. */
  readonly output: SharedArrayBuffer;
  /** Owner → machine. */
  readonly input: SharedArrayBuffer;
}

export interface SerialConfig {
  readonly stream: number;
}

export interface ConsolePortConfig {
  readonly stream: number;
  readonly name?: string | undefined;
  /** A console (hvc) rather than a named port. */
  readonly isConsole: boolean;
  /** Number of the port; the lowest free one unless given. Only a console may have number 0. */
  readonly number?: number | undefined;
}

/** How a virtio device shows itself: on the PCI bus unless told otherwise. */
export interface VirtioPlace {
  /** By which the device is taken out while the machine runs. */
  readonly device?: string | undefined;
  /** `mmio`: in one of the board's slots for virtio devices; then interfaces and vectors mean nothing. */
  readonly bus?: 'pci' | 'mmio' | undefined;
  /** PCI device number, or a root port, the lowest free number unless given; or number of the slot, the highest free one. */
  readonly slot?: PciSlot | undefined;
  /** The interface of virtio 1.0, that of before, or both (`transitional`, the default). */
  readonly interfaces?: 'transitional' | 'modern' | 'legacy' | undefined;
  /** Its rings may have the packed layout. */
  readonly packed?: boolean | undefined;
  /**
   * Under KVM its driver's notifications end no vCPU's turn (ioeventfd). Unless given they do not where there are several vCPUs.
   */
  readonly ioeventfd?: boolean | undefined;
  /** Drivers may use indirect descriptors, and event indexes; they may unless given. */
  readonly indirectDescriptors?: boolean | undefined;
  readonly eventIndex?: boolean | undefined;
  /** MSI-X vectors, 0 for none; as many as the device can use unless given. */
  readonly vectors?: number | undefined;
}

/** What a virtio network card offers its driver. */
export interface VirtioNetSettings {
  readonly mtu?: number | undefined;
  /** What differs from the usual: all but several queue pairs, of which there are as many as its network has queues. */
  readonly features?: Readonly<Partial<Record<NetFeatureName, boolean>>> | undefined;
  /** Entries of its queues, a power of two from 256 to 1024, 256 unless given. */
  readonly rxQueueSize?: number | undefined;
  readonly txQueueSize?: number | undefined;
  /** What the driver is told of the wire, in megabits a second. */
  readonly speed?: number | undefined;
  readonly duplex?: 'half' | 'full' | undefined;
}

/** An ATA disk or an ATAPI CD drive, whatever it hangs on. */
export interface DriveConfig {
  /** Place among the machine's disks. */
  readonly disk: number;
  readonly media: 'disk' | 'cdrom';
  readonly serial?: string | undefined;
  readonly model?: string | undefined;
  readonly wwn?: bigint | undefined;
  readonly rotationRate?: number | undefined;
  readonly logicalBlockSize?: number | undefined;
  readonly physicalBlockSize?: number | undefined;
  readonly bootIndex?: number | undefined;
}

/** A disk or CD drive behind a SCSI controller. */
export interface ScsiUnitConfig extends Omit<DriveConfig, 'model'> {
  readonly target: number;
  readonly lun: number;
  /** What tells it apart from others. */
  readonly deviceId: string;
  /** Its own name, by which it is unplugged. */
  readonly device?: string | undefined;
  /** At most 8 and 16 ASCII characters. */
  readonly vendor?: string | undefined;
  readonly product?: string | undefined;
}

/** Where a unit that was plugged in is. */
export interface ScsiPlace {
  readonly controller?: string;
  readonly target: number;
  readonly lun: number;
}

/** A disk of an NVMe controller. */
export interface NvmeNamespaceConfig {
  readonly disk: number;
  /** Its identifier, 1 to 256. */
  readonly namespace: number;
  readonly logicalBlockSize?: number | undefined;
  readonly eui64?: bigint | undefined;
  readonly bootIndex?: number | undefined;
}

export interface VgaConfig {
  /** Video memory: a power of two. */
  readonly memoryBytes: number;
  /** Path of the option ROM; without one only a guest's own driver sets modes. */
  readonly rom?: string | undefined;
}

/** On a PCI bus: the device's number on bus 0; or the id of the root port behind which it is. */
export type PciSlot = number | string;

/** A PCI Express root port: one device goes behind it. */
export interface RootPortConfig {
  readonly type: 'pcie-root-port';
  readonly id: string;
  /** On bus 0; the lowest free one unless given. Several functions may share a slot. */
  readonly slot?: number | undefined;
  readonly function?: number | undefined;
  /** Number of the physical slot. */
  readonly physicalSlot?: number | undefined;
}

/** A folder of the host that the guest mounts by its tag (9P). */
export interface SharedFolderConfig extends VirtioPlace {
  readonly path: string;
  /** 1 to 31 bytes. */
  readonly tag: string;
  /**
   * Whose files are that the guest makes: `passthrough`: whose it says; `none`: as that, where it is allowed; `mapped-xattr`: the process's
   * own, with what the guest says in extended attributes; `mapped-file`: in files beside them.
   */
  readonly security: 'passthrough' | 'none' | 'mapped-xattr' | 'mapped-file';
  readonly readonly?: boolean | undefined;
}

/** A device beside those that every board has, in the order in which they are plugged in. */
export type DeviceConfig =
  | (VirtioPlace & {
      readonly type: 'virtio-blk';
      /** Place among the machine's disks. */
      readonly disk: number;
      readonly serial?: string | undefined;
      readonly logicalBlockSize?: number | undefined;
      readonly physicalBlockSize?: number | undefined;
      readonly queues?: number | undefined;
      readonly queueSize?: number | undefined;
      readonly discard?: boolean | undefined;
      readonly writeZeroes?: boolean | undefined;
      readonly bootIndex?: number | undefined;
    })
  | (DriveConfig & {
      readonly type: 'ide';
      /** By the board's own count. */
      readonly place: number;
    })
  | {
      readonly type: 'floppy';
      /** Drive A or B. */
      readonly unit: 0 | 1;
      /** Place among the machine's disks. */
      readonly disk: number;
      /** What fits the medium that it has at first, unless given. */
      readonly kind?: FloppyKind | undefined;
      readonly bootIndex?: number | undefined;
    }
  /** The floppy controller, even without drives. */
  | { readonly type: 'isa-fdc' }
  | RootPortConfig
  | {
      /** ICH9's AHCI controller. */
      readonly type: 'ahci';
      readonly slot?: PciSlot | undefined;
      /** By port, six at most. */
      readonly drives: readonly (DriveConfig | undefined)[];
    }
  | UsbControllerConfig
  | {
      readonly type: 'nvme';
      readonly slot?: PciSlot | undefined;
      /** By which it is taken out. */
      readonly device?: string | undefined;
      readonly serial: string;
      readonly namespaces: readonly NvmeNamespaceConfig[];
    }
  | (VirtioPlace & {
      readonly type: 'virtio-scsi';
      /** By which units that come later name it. */
      readonly id?: string | undefined;
      readonly units: readonly ScsiUnitConfig[];
      /** Request queues, one unless given. */
      readonly queues?: number | undefined;
      readonly queueSize?: number | undefined;
      /** Largest transfer, in sectors. */
      readonly maxSectors?: number | undefined;
      readonly commandsPerLun?: number | undefined;
    })
  | (VirtioPlace & {
      readonly type: 'virtio-serial';
      readonly ports: readonly ConsolePortConfig[];
      readonly maxPorts?: number | undefined;
    })
  | (VirtioPlace &
      VirtioNetSettings & {
        readonly type: 'virtio-net';
        /** Place among the machine's networks. */
        readonly network: number;
        readonly mac: Uint8Array;
        readonly bootIndex?: number | undefined;
        readonly rom?: string | undefined;
      })
  | {
      readonly type: 'e1000' | 'rtl8139' | 'ne2k_pci';
      /** By which it is taken out. */
      readonly device?: string | undefined;
      readonly network: number;
      readonly mac: Uint8Array;
      readonly slot?: PciSlot | undefined;
      readonly bootIndex?: number | undefined;
      readonly rom?: string | undefined;
    }
  | {
      readonly type: 'ne2k_isa';
      readonly network: number;
      readonly mac: Uint8Array;
      readonly port?: number | undefined;
      readonly irq?: number | undefined;
    }
  | (SharedFolderConfig & { readonly type: 'virtio-9p' })
  | (VirtioPlace & { readonly type: 'virtio-rng' })
  | (VirtioPlace & { readonly type: 'virtio-balloon' })
  | (VgaConfig & { readonly type: 'vga'; readonly slot?: PciSlot | undefined })
  | (VirtioPlace & {
      readonly type: 'virtio-gpu';
      readonly preferred?: { readonly width: number; readonly height: number } | undefined;
      /** It is a VGA too. */
      readonly vga?: VgaConfig | undefined;
    })
  | (VirtioPlace & { readonly type: 'virtio-keyboard' | 'virtio-mouse' | 'virtio-tablet' })
  /** By which the guest tells of its crash: at a port, or as a PCI device. */
  | { readonly type: 'pvpanic'; readonly port?: number | undefined }
  | { readonly type: 'pvpanic-pci'; readonly slot?: PciSlot | undefined }
  /** Intel's watchdog. */
  | { readonly type: 'i6300esb'; readonly slot?: PciSlot | undefined }
  | { readonly type: 'isa-debug-exit'; readonly port: number; readonly sizeBytes: number }
  | { readonly type: 'isa-debugcon'; readonly port: number; readonly stream: number }
  | { readonly type: 'pc-testdev' };

/** Bytes in shared memory, a file that is on its way there, or the path of one that the worker reads. */
export type ImageSource = Uint8Array | ComingFile | string;

/** Words of the doorbell, 32 bits each. */
export const doorbellWord = {
  /** Something waits: bits of `rungBy`. */
  rung: 0,
  /** The machine is to end at once. */
  quit: 1,
  /** The thread that is to be signalled, for it is in a guest that hears of nothing else; 0: there is none. */
  guestThread: 2,
  /** The module that `WorkerConfig.comingModule` promises has been sent. */
  module: 3,
} as const;
export const doorbellBytes = 16;
export const rungBy = {
  /** A request, input, or room for output. */
  owner: 1,
  /** Disk requests are done. */
  disks: 2,
  /** A vCPU with a thread of its own asks something of a device. */
  vcpus: 4,
  /** Keys or mouse. */
  screen: 8,
  /** Frames have come, or there is room for some. */
  networks: 16,
  /** The guest has notified a device without an exit. */
  notifications: 32,
} as const;

/** What of the translator's and the machine's work is logged (-d). */
export interface TraceConfig {
  readonly items: readonly TraceItem[];
  /** File for the lines; standard error unless given. */
  readonly path?: string | undefined;
}

/** What is done when the guest does what may end it. */
export interface MachineActions {
  /** It resets: it starts anew, the machine ends, or it stands still. */
  readonly onReset: 'reset' | 'end' | 'pause';
  /** It switches off: the machine ends or stands still. */
  readonly onPowerOff: 'end' | 'pause';
  /** It tells that its kernel has crashed: the machine ends, or stands still where a power-off makes it, or the guest goes on. */
  readonly onPanic: PanicAction;
  /** A watchdog has heard nothing. */
  readonly onWatchdog: WatchdogAction;
}

/** Everything a worker needs to build its machine; structured-cloneable. */
export interface WorkerConfig {
  readonly architecture: ArchitectureName;
  /** The board, by its row's name. */
  readonly machine: string;
  readonly ramBytes: number;
  readonly cpus: number;
  readonly cpu: string;
  readonly kernel?: ImageSource | undefined;
  readonly firmware?:
    | (Pick<
        FirmwareOptions,
        'serialConsole' | 'bootMenuMs' | 'rebootTimeoutMs' | 'bootDevices' | 'bootDevicesOnce' | 'bootStrict'
      > & {
        readonly image?: ImageSource | undefined;
        /** Places of the flash chips' images among the disks. */
        readonly flash?: readonly (number | undefined)[] | undefined;
      })
    | undefined;
  /** Of the thread. */
  readonly name: string;
  readonly builtInGuest: boolean;
  readonly lens: BoardOptions['lens'];
  readonly translator: BoardOptions['translator'];
  readonly loads: NonNullable<MachineOptions['loads']>;
  readonly deviceTree?: ImageSource | undefined;
  readonly fwCfg: readonly FirmwareFile[];
  readonly uuid?: Uint8Array | undefined;
  readonly smbios?: SmbiosOptions | undefined;
  readonly semihosting?:
    | {
        readonly streams: Readonly<Record<'output' | 'console', number>>;
        readonly commandLine: string;
        readonly userspace: boolean;
      }
    | undefined;
  readonly initrd?: ImageSource | undefined;
  readonly commandLine: string;
  readonly streams: readonly StreamRings[];
  /** COM1 to COM4. */
  readonly serial: readonly (SerialConfig | undefined)[];
  readonly devices: readonly DeviceConfig[];
  /** There is a screen. */
  readonly screen: ScreenShares | undefined;
  /** Memory of devices that the guest sees as RAM. */
  readonly deviceBytes: number;
  readonly hpet: boolean;
  readonly acpi: boolean;
  readonly arm: MachineOptions['arm'];
  readonly riscv: MachineOptions['riscv'];
  readonly microvm: MachineOptions['microvm'];
  readonly legacyVirtioMmio: boolean;
  readonly kernelIrqchip: 'on' | 'split' | 'off' | undefined;
  readonly actions: MachineActions;
  readonly hotThreshold: number;
  /** Added to the host's wall clock for the guest's RTC. */
  readonly rtcOffsetNs: number;
  readonly icount?: { readonly shift: number; readonly seed?: bigint | undefined } | undefined;
  /** Stream of a debugger that speaks gdb's remote protocol. */
  readonly gdb?: number | undefined;
  readonly trace?: TraceConfig | undefined;
  readonly disks?: MachineDisksConfig | undefined;
  readonly networks?: MachineNetworksConfig | undefined;
  /** Int32, see `doorbellWord`. */
  readonly doorbell: SharedArrayBuffer;
  /** Modules that earlier machines have compiled. */
  readonly modules: ReadonlyMap<string, CompiledModule>;
  /** Key of a module that is still being compiled: it is the first message. */
  readonly comingModule?: string | undefined;
}

/** The tray of a drive with removable media. */
export interface TrayState {
  readonly disk: number;
  readonly open: boolean;
  /** The guest holds it. */
  readonly locked: boolean;
}

/** What `info` can show; each is text for a person. */
export const infoTopics = [
  'registers',
  'registers-all',
  'cpus',
  'jit',
  'tlb',
  'mem',
  'mtree',
  'pic',
  'qtree',
  'usb',
] as const;
export type InfoTopic = (typeof infoTopics)[number];

/** A disk that was opened for a device that comes, and what is done about its errors. */
export type PluggedDisk = readonly [disk: number, policies: Pick<DiskConfig, 'id' | 'onReadError' | 'onWriteError'>];

/** Requests carry an id, and each gets one reply with it. */
export type Request =
  | { readonly type: 'resume' }
  | { readonly type: 'pause' }
  | { readonly type: 'reset' }
  | { readonly type: 'powerButton' }
  | { readonly type: 'nmi' }
  /** A break condition on a serial line. */
  | { readonly type: 'break'; readonly serial: number }
  | { readonly type: 'readMemory'; readonly gpa: number; readonly length: number }
  | { readonly type: 'writeMemory'; readonly gpa: number; readonly bytes: Uint8Array }
  | { readonly type: 'translate'; readonly gva: bigint }
  | { readonly type: 'disassemble'; readonly gva: bigint; readonly count: number }
  | { readonly type: 'readPort'; readonly port: number; readonly size: 1 | 2 | 4 }
  | { readonly type: 'writePort'; readonly port: number; readonly size: 1 | 2 | 4; readonly value: number }
  | { readonly type: 'resize'; readonly port: number; readonly columns: number; readonly rows: number }
  | { readonly type: 'hostOpen'; readonly port: number; readonly open: boolean }
  /** `cpu`, `tscHz`: what a guest that has not run yet is to see instead of what it was built with. */
  | {
      readonly type: 'accelerator';
      readonly name: AcceleratorName;
      readonly cpu?: string | undefined;
      readonly tscHz?: number | undefined;
      /** Absent: nothing, of what KVM may have. */
      readonly debug?: KvmDebugging | undefined;
    }
  | { readonly type: 'statistics' }
  | { readonly type: 'lens' }
  | { readonly type: 'hostPage'; readonly gpa: number }
  | { readonly type: 'deviceTree' }
  | { readonly type: 'registers' }
  | { readonly type: 'selectCpu'; readonly cpu: number }
  | { readonly type: 'setLink'; readonly network: number; readonly up: boolean }
  /** The guest is to be left with so many bytes of RAM; undefined: it is only asked. Answered with what it has. */
  | { readonly type: 'balloon'; readonly ramBytes: number | undefined }
  /** The thread of the networks is there now; at most once, and not where the configuration names one. */
  | { readonly type: 'networks'; readonly config: MachineNetworksConfig }
  /** It has opened another network, at a place that no card is on; or closed one. */
  | { readonly type: 'addNetwork'; readonly network: number; readonly rings: NetworkRings }
  | { readonly type: 'removeNetwork'; readonly network: number }
  | { readonly type: 'input'; readonly events: readonly InputEvent[] }
  /** The button of a drive with removable media. Answered with `TrayState`. */
  | { readonly type: 'eject'; readonly disk: number; readonly force: boolean }
  /** The disk thread has opened another unit's image. Answered with `ScsiPlace`. */
  | {
      readonly type: 'plugScsi';
      readonly controller: string | undefined;
      readonly unit: Omit<ScsiUnitConfig, 'target' | 'lun'> & Partial<ScsiPlace>;
      readonly policies: MachineDisksConfig['disks'][number];
    }
  /** Another device; its disks are open. */
  | {
      readonly type: 'plug';
      readonly device: DeviceConfig;
      readonly policies: readonly PluggedDisk[];
    }
  /** The guest is asked to let a device go. */
  | { readonly type: 'unplug'; readonly device: string }
  | ({ readonly type: 'unplugScsi'; readonly controller: string } & ScsiPlace)
  /** Another device on a USB bus; its disk is open. Answered with `UsbPort`. */
  | {
      readonly type: 'plugUsb';
      readonly bus: string;
      readonly device: Omit<UsbDeviceConfig, 'port'> & { readonly port?: string | undefined };
      readonly policies: readonly PluggedDisk[];
    }
  /** A USB device is pulled out, with all behind it; `disks`: theirs. Answered with the ports of all, those behind first. */
  | { readonly type: 'unplugUsb'; readonly place: UsbPort; readonly disks: readonly number[] }
  /** The disk thread has put another medium into a drive, or taken it out. */
  | { readonly type: 'mediumChanged'; readonly disk: number }
  /** A disk's image was taken away from its device. */
  | { readonly type: 'driveGone'; readonly disk: number }
  /** A disk has another size. */
  | { readonly type: 'diskResized'; readonly disk: number }
  | { readonly type: 'trays' }
  /** Answered with `MouseDescription[]`. */
  | { readonly type: 'mice' }
  | { readonly type: 'chooseMouse'; readonly index: number }
  /** Answered with `PciFunctionDescription[]`. */
  | { readonly type: 'pci' }
  | { readonly type: 'setBootDevices'; readonly devices: string }
  | { readonly type: 'setActions'; readonly actions: MachineActions }
  | { readonly type: 'info'; readonly topic: InfoTopic };

export type ToWorker = { readonly id: number; readonly request: Request };
/** The first message where `WorkerConfig.comingModule` is given. Undefined: it could not be compiled. */
export type ModuleMessage = { readonly module: CompiledModule | undefined };

/** How a machine ended. */
export type MachineEnd =
  /** The guest switched it off. */
  | { readonly why: 'poweroff' }
  /** The guest reset it, where that ends the machine. */
  | { readonly why: 'reset' }
  /** The guest gave a status through isa-debug-exit. */
  | { readonly why: 'exit'; readonly status: number }
  /** Its kernel has crashed, and said so. */
  | { readonly why: 'panic' }
  /** Its owner ended it. */
  | { readonly why: 'quit' };

/** Why a machine stands still though its owner did not ask. */
export type StopReason = 'poweroff' | 'reset' | 'debug' | 'io-error' | 'panic' | 'watchdog';

/** What happens when the guest's kernel crashes and says so: the machine ends as by a power-off, it stands still, or goes on. */
export type PanicAction = 'poweroff' | 'pause' | 'run';
/** What a watchdog does that has heard nothing: presses the reset or the power button, ends the machine, … */
export const watchdogActions = ['reset', 'shutdown', 'poweroff', 'inject-nmi', 'pause', 'debug', 'none'] as const;
export type WatchdogAction = (typeof watchdogActions)[number];

export type Statistics = Readonly<Record<string, Readonly<Record<string, number>>>>;

export type FromWorker =
  /** A compiled module that later machines can use. */
  | { readonly type: 'module'; readonly key: string; readonly module: CompiledModule }
  /** The machine is built, its kernel loaded; it stands still until `resume`. */
  | { readonly type: 'ready'; readonly description: string; readonly screen?: ScreenMemory | undefined }
  | {
      readonly type: 'reply';
      readonly id: number;
      readonly value?: unknown;
      readonly error?: { readonly code: string; readonly message: string };
    }
  | { readonly type: 'output'; readonly stream: number }
  | { readonly type: 'inputSpace'; readonly stream: number }
  /** The machine stands still though nobody asked: the guest switched off or reset, and its options say so. */
  | { readonly type: 'stopped'; readonly why: StopReason }
  | { readonly type: 'reset' }
  | { readonly type: 'diskError'; readonly error: DiskError }
  /** The guest's kernel has crashed: what follows; or one that takes over after a crash has been loaded. */
  | { readonly type: 'panicked'; readonly action: PanicAction }
  | { readonly type: 'crashLoaded' }
  | { readonly type: 'watchdog'; readonly action: WatchdogAction }
  /** The guest has let a device go. */
  | { readonly type: 'unplugged'; readonly device: string }
  | { readonly type: 'tray'; readonly disk: number; readonly open: boolean }
  | { readonly type: 'log'; readonly line: string }
  | { readonly type: 'guestOpened'; readonly port: number; readonly open: boolean }
  | {
      readonly type: 'end';
      readonly end: MachineEnd;
      readonly statistics: Statistics;
      readonly lens: LensReport | undefined;
    }
  /** `detail` is for the program's developers. */
  | { readonly type: 'failed'; readonly code: string; readonly message: string; readonly detail?: string };
