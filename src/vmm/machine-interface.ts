/** What a machine is to its owner: what it can be asked, and what it tells. */
import type { AcceleratorName } from '../accel/index.js';
import type { VringError } from '../base/index.js';
import type { TextScreen } from '../display/index.js';
import type { PciFunctionDescription } from '../hw/index.js';
import type { HostForward, UserFlow } from '../net/index.js';
import type { WaitOptions } from './abort.js';
import type { BlockAnswer, BlockRequest, JobEvent } from './block-protocol.js';
import type { CharacterPort } from './character-port.js';
import type {
  BlockNodeDescription,
  DiskDescription,
  DiskError,
  DiskImage,
  NbdExportDescription,
  NbdRequest,
} from './disk-protocol.js';
import type { HotPluggable, UnpluggedType } from './hotplug.js';
import type { MouseDescription } from './input-routes.js';
import type { HostPage, LensReport } from './lens-report.js';
import type { HostPort } from './network-protocol.js';
import type { MachineNetwork } from './networks.js';
import type { InputEvent } from './screen-input.js';
import type { PictureFormat, VncOptions, VncPlace, VncState } from './screen-protocol.js';
import type {
  InfoTopic,
  MachineActions,
  MachineEnd,
  PanicAction,
  Statistics,
  StopReason,
  WatchdogAction,
} from './worker-protocol.js';
import type { ThresholdExceeded } from './write-thresholds.js';

export type MachineState = 'ready' | 'running' | 'paused' | 'ended';

export interface MachineEvents {
  /** The machine's state has changed. */
  state: (state: MachineState) => void;
  /**
   * It stands still though its owner did not ask: the guest switched it off or reset it, and its options say so; a breakpoint;
   * or a disk's image cannot be written, which `resume` tries again.
   */
  stopped: (why: StopReason) => void;
  /** The guest, or the owner, has reset it. */
  reset: (byOwner: boolean) => void;
  /** The owner has pressed the power button. */
  powerButton: () => void;
  /** A device is gone, at its owner's wish or the guest's; its `type` is that of its options, `scsi` for a unit, or `usb-` and its kind. */
  unplugged: (device: string, type: UnpluggedType) => void;
  /** The guest's kernel has crashed, and said so; what follows. */
  panicked: (action: PanicAction) => void;
  /** The guest has loaded a kernel that takes over after a crash, and is in a crash. */
  crashLoaded: () => void;
  /** A watchdog has heard nothing for too long, and does this. */
  watchdog: (action: WatchdogAction) => void;
  /** The tray of the drive with this id was moved, by the guest or the owner. */
  trayMoved: (id: string, open: boolean) => void;
  /** A disk's image could not be read or written; `stop`: the machine stands still. Many at once are told once. */
  diskError: (id: string, error: Omit<DiskError, 'disk'>) => void;
  /** What becomes of a job on its disks' images. */
  job: (event: JobEvent) => void;
  /** A node was written beyond the threshold that `block` had set, which is gone. */
  thresholdExceeded: (exceeded: ThresholdExceeded) => void;
  /** A line about something that the guest asked for and vring does not have. */
  log: (line: string) => void;
  /** A line that whoever runs the machine should see: an image's format was guessed, an image could not be closed. */
  warning: (line: string) => void;
  /** The guest has opened or closed its side of a console port. */
  portOpened: (port: CharacterPort, open: boolean) => void;
  ended: (end: MachineEnd) => void;
  /** The machine broke: an error in vring, or its thread ran out of memory. */
  failed: (error: VringError) => void;
}

/** A disk for a person, with its tray where its media come and go. */
export interface MachineDisk extends DiskDescription {
  /** Why the machine stands still on its account. */
  readonly trouble?: 'failed' | 'no-space' | undefined;
  readonly tray?: { readonly open: boolean; readonly locked: boolean } | undefined;
}

export interface Machine extends AsyncDisposable {
  /** Disks that come and go. */
  readonly hotplug: HotPluggable;
  /** What was loaded: for a person. */
  readonly description: string;
  readonly state: MachineState;
  /** Why it stands still though its owner did not ask. */
  readonly stopReason: StopReason | undefined;
  /** What there was to warn of when it was built; later ones are events. */
  readonly warnings: readonly string[];
  /** What runs the guest. */
  readonly accelerator: AcceleratorName;
  /** Why not another that was wished for before it, or not all of it, a sentence each; empty where there is nothing to say. */
  readonly acceleratorRefusals: readonly string[];
  /** How the machine ended; rejects when it broke. */
  readonly ended: Promise<MachineEnd>;
  start(): Promise<void>;
  /** Resolves when the machine stands still; its time stands too. */
  pause(options?: WaitOptions): Promise<void>;
  resume(options?: WaitOptions): Promise<void>;
  /** The reset button. */
  reset(options?: WaitOptions): Promise<void>;
  /** The power button: the guest is asked to shut down, and may take its time or refuse. Throws VringError `no-button`. */
  pressPowerButton(options?: WaitOptions): Promise<void>;
  /** Pulls the plug. */
  powerOff(options?: WaitOptions): Promise<MachineEnd>;
  /** A non-maskable interrupt. Throws VringError `no-nmi`. */
  injectNmi(options?: WaitOptions): Promise<void>;
  /** A break condition on a serial line. */
  sendBreak(serial?: number, options?: WaitOptions): Promise<void>;
  /** Serial port COM1 + index. Throws VringError `no-such-port`. */
  serial(index?: number): CharacterPort;
  /** Console or port of virtio-serial devices by name, or by its place among them all. Throws VringError `no-such-port`. */
  console(which: string | number): CharacterPort;
  /** What the guest writes to its isa-debugcon device. Throws VringError `no-such-port`. */
  debugConsole(): CharacterPort;
  /** What the guest writes by semihosting: to its standard output, or to the debugger's console. Throws VringError `no-such-port`. */
  semihosting(of: 'output' | 'console'): CharacterPort;
  /**
   * gdb's remote protocol. The machine is to be paused before a debugger's first byte; `$D#44` says that it has gone.
   * Throws VringError `no-such-port`.
   */
  gdb(): CharacterPort;
  /** Guest-physical memory, as a vCPU reads it: where a device answers, reading may change it. Throws VringError `memory-absent` where there is none. */
  readMemory(gpa: number, length: number, options?: WaitOptions): Promise<Uint8Array>;
  writeMemory(gpa: number, bytes: Uint8Array, options?: WaitOptions): Promise<void>;
  /** Guest-physical address of a guest-virtual one in the vCPU's present mode, or undefined where nothing is mapped. */
  translateAddress(gva: bigint, options?: WaitOptions): Promise<number | undefined>;
  /** Lines of assembly from a guest-virtual address on, in the vCPU's present mode. Fewer where mapped RAM ends. */
  disassemble(gva: bigint, count: number, options?: WaitOptions): Promise<readonly string[]>;
  /** An access to an I/O port, as the guest's own would be. */
  readPort(port: number, size: 1 | 2 | 4, options?: WaitOptions): Promise<number>;
  writePort(port: number, size: 1 | 2 | 4, value: number, options?: WaitOptions): Promise<void>;
  /**
   * Which vCPU addresses, registers and `info` are about from here on; at first it is number 0. Throws VringError `no-such-cpu`, also
   * for those whose registers the accelerator keeps to itself.
   */
  selectCpu(index: number, options?: WaitOptions): Promise<void>;
  /** The device tree that the guest has found, flattened; undefined on boards without. */
  deviceTree(options?: WaitOptions): Promise<Uint8Array | undefined>;
  /** The vCPU's registers by the manual's names. */
  registers(options?: WaitOptions): Promise<Readonly<Record<string, bigint>>>;
  /**
   * Lets another accelerator run the guest from here on; the machine may be running. Throws VringError `accelerator`,
   * `kvm-unavailable`, `kvm-cpu-features`, `kvm-tsc`, `kvm-call` with what is in the way: then nothing has changed.
   */
  setAccelerator(name: AcceleratorName, options?: WaitOptions): Promise<void>;
  /** Counters by part and name; those of its end when the machine has ended. */
  statistics(options?: WaitOptions): Promise<Statistics>;
  /** Where the page of guest RAM at this address lies in this process. */
  hostPage(gpa: number, options?: WaitOptions): Promise<HostPage>;
  /** What the lens has seen so far, also after the end; undefined for a machine made without `lens`. */
  lens(options?: WaitOptions): Promise<LensReport | undefined>;
  /** Its disks, in the order of its devices. */
  disks(options?: WaitOptions): Promise<readonly MachineDisk[]>;
  /** All nodes of its block graph. */
  blockNodes(options?: WaitOptions): Promise<readonly BlockNodeDescription[]>;
  /**
   * Its NBD server, which lets other programs read and write its disks while it runs. Throws VringError `nbd` where that cannot be done,
   * `no-disks`.
   */
  nbd(request: NbdRequest): Promise<void>;
  nbdExports(options?: WaitOptions): Promise<readonly NbdExportDescription[]>;
  /**
   * Jobs, snapshots, bitmaps and limits of its disks' images, while it runs. Throws VringError `block` where it cannot be done,
   * `no-such-job`, `no-such-disk`, `no-disks`.
   */
  block<R extends BlockRequest>(request: R): Promise<BlockAnswer<R>>;
  /** Opens the tray of the drive with this id; what is in it stays there. Throws as `ejectMedium`. */
  openTray(id: string, options?: WaitOptions & { readonly force?: boolean }): Promise<void>;
  /** Closes it, with what is in it. Throws VringError `no-such-disk`, `disk-fixed`. */
  closeTray(id: string, options?: WaitOptions): Promise<void>;
  /** Puts a block node into a drive whose tray is open and empty. Throws VringError `no-such-disk`, `disk-fixed`, `disk-tray`, `disk-open`. */
  insertMedium(id: string, node: string, options?: WaitOptions): Promise<void>;
  /** Takes out what is in a drive whose tray is open. Throws VringError `no-such-disk`, `disk-fixed`, `disk-tray`. */
  removeMedium(id: string, options?: WaitOptions): Promise<void>;
  /**
   * Opens the tray of the drive with this id and takes out what is in it. Throws VringError `no-such-disk`, `disk-fixed`, and
   * `disk-locked` where the guest holds the tray, which is then asked to let it go; `force` opens it all the same.
   */
  ejectMedium(id: string, options?: WaitOptions & { readonly force?: boolean }): Promise<void>;
  /**
   * Puts another medium into a drive: as `ejectMedium`, and `disk-open` where it cannot be opened. An image's
   * format is guessed unless given.
   */
  changeMedium(id: string, image: DiskImage, options?: WaitOptions & { readonly force?: boolean }): Promise<void>;
  /**
   * Takes the image of the drive with this id away from its device, whose requests fail from then on; the id is free again. Throws
   * VringError `no-such-disk`, and `block` where a job has the image, or the device was given a block node.
   */
  detachDrive(id: string, options?: WaitOptions): Promise<void>;
  /** Its networks and the cards on them, in the order in which they were given. */
  readonly networks: readonly MachineNetwork[];
  /** RAM that a guest with a virtio-balloon has; it is asked to live with `ramBytes` where that is given. Throws VringError `no-balloon`. */
  balloon(ramBytes?: number, options?: WaitOptions): Promise<number>;
  /** Pulls the cable of a network's card, or plugs it in again. Throws VringError `no-such-network`. */
  setLink(network: string, up: boolean, options?: WaitOptions): Promise<void>;
  /**
   * A port of the host's leads to the guest of a user network from here on. Throws VringError `no-such-network`, `network-kind`,
   * and `network-port` where it cannot be had.
   */
  addHostForward(network: string, forward: HostForward): Promise<void>;
  /** The port is closed; connections made by it stay. False: there is no such forwarding. Throws as `addHostForward`. */
  removeHostForward(network: string, forward: HostPort): Promise<boolean>;
  /** Tells a network where its card is (RARP), as after a move. Throws VringError `no-such-network`. */
  announce(network: string): Promise<void>;
  /** What goes on in a user network: nothing in others. Throws VringError `no-such-network`. */
  networkFlows(network: string): Promise<readonly UserFlow[]>;
  /** The picture on the screen, as a file of that format. Throws VringError `no-screen`. */
  screendump(format: PictureFormat): Promise<Uint8Array>;
  /** The characters on the screen; undefined while it shows graphics. Throws VringError `no-screen`. */
  screenText(): Promise<TextScreen | undefined>;
  /** Clients may see the screen and type from here on. Throws VringError `no-screen`, `vnc-listen`, `vnc-served`. */
  serveVnc(options: VncOptions): Promise<VncPlace>;
  /** How the screen is served by VNC; undefined: it is not. */
  vncState(): Promise<VncState | undefined>;
  /** For those who come from here on; undefined: nobody gets in. Throws VringError `no-screen`, `vnc-absent`. */
  setVncPassword(password: Uint8Array | undefined): Promise<void>;
  /** Keys and movements of the mouse, at once and in order. */
  sendInput(events: readonly InputEvent[], options?: WaitOptions): Promise<void>;
  /** Mice and tablets; the one that hears of the mouse is the last. */
  mice(options?: WaitOptions): Promise<readonly MouseDescription[]>;
  /** Another one hears of the mouse. Rejects with VringError `no-such-mouse`. */
  chooseMouse(index: number, options?: WaitOptions): Promise<void>;
  /** The functions of its first PCI bus, with those behind bridges. */
  pci(options?: WaitOptions): Promise<readonly PciFunctionDescription[]>;
  /** What firmware boots from when it next starts, as `FirmwareOptions.bootDevices`. Throws VringError `boot-devices`, also where firmware does not ask. */
  setBootDevices(devices: string, options?: WaitOptions): Promise<void>;
  /** What is done from here on when the guest resets, switches off, crashes, or a watchdog bites. */
  setActions(actions: MachineActions, options?: WaitOptions): Promise<void>;
  /** A text for a person. */
  info(topic: InfoTopic, options?: WaitOptions): Promise<string>;
  on<K extends keyof MachineEvents>(event: K, listener: MachineEvents[K]): () => void;
  /** Ends the machine, if it has not ended, and releases all that it holds. */
  close(): Promise<void>;
}
