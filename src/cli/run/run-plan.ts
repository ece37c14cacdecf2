/** What the options of `vring run` come to. */
import type { Architecture } from '../../vmm/architectures.js';
import type { MachineOptions } from '../../vmm/index.js';
import type { Chardev } from './chardevs.js';
import type { ObjectPlan, SpareDrive } from './drives.js';
import type { LensPlan } from './lens.js';
import type { NamedDevices } from './named-devices.js';
import type { RunActions } from './plan-actions.js';
import type { DescriptorPlan } from './plan-descriptors.js';
import type { BoardObjects } from './plan-objects.js';
import type { ScreenPlan } from './screen-options.js';

/** A port of the machine, or the monitor, and the character device that it leads to. */
export interface Attachment {
  readonly from:
    | { readonly kind: 'serial'; readonly index: number }
    | { readonly kind: 'console'; readonly index: number }
    | { readonly kind: 'debugcon' }
    | { readonly kind: 'semihosting'; readonly of: 'output' | 'console' }
    | { readonly kind: 'monitor' }
    /** The monitor for programs. */
    | { readonly kind: 'qmp'; readonly pretty: boolean };
  readonly chardev: Chardev;
}

export interface GdbAddress {
  readonly host: string;
  readonly port: number;
}

export interface RunPlan {
  /** Without kernel, initrd and command line when a system is named. */
  readonly machine: MachineOptions;
  readonly attachments: readonly Attachment[];
  /** All of them, also those that nothing has. */
  readonly chardevs: readonly Chardev[];
  readonly screen: ScreenPlan;
  /** The built-in guest runs. */
  readonly builtIn: boolean;
  /** Where the device tree is written; the machine does not run then. */
  readonly dumpTree: string | undefined;
  readonly startPaused: boolean;
  /** -M none: the machine is there to be asked, and never runs. */
  readonly isEmpty: boolean;
  /** Drives that no device has, for those that are plugged in later. */
  readonly spareDrives: Map<string, SpareDrive>;
  readonly namedDevices: NamedDevices;
  /** Secrets and others, to be made before the machine. */
  readonly objects: readonly ObjectPlan[];
  readonly boardObjects: BoardObjects;
  /** Of -add-fd. */
  readonly descriptors: readonly DescriptorPlan[];
  /** Where to wait for gdb. */
  readonly gdb: GdbAddress | undefined;
  readonly stats: 'text' | 'json' | undefined;
  readonly lens: LensPlan | undefined;
  readonly pidfile: string | undefined;
  /** The machine goes on in a process of its own. */
  readonly daemonize: boolean;
  readonly escapeByte: number;
  readonly actions: RunActions;
  readonly name: string | undefined;
  readonly offline: boolean;
  readonly mirror: string | undefined;
  readonly logUnimplemented: boolean;
  /** Sentences for the person that stop nothing. */
  readonly notices: readonly string[];
}

export interface PlanContext {
  /** A system is named: it brings kernel, initrd and console. */
  readonly system: boolean;
  /** The built-in guest runs instead of what is named. */
  readonly builtIn?: boolean;
  readonly nowMs: number;
  /** Where `-arch` does not say; x86_64 unless given. */
  readonly architecture?: Architecture;
}
