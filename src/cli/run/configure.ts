/** From the options of `vring run` to a machine and what its ports lead to. */
import { VringError } from '../../base/index.js';
import type { OptionDict } from '../../block/index.js';
import {
  type Architecture,
  DEFAULT_ARCHITECTURE,
  findArchitecture,
  findMachine,
  onBoard,
} from '../../vmm/architectures.js';
import {
  type AcceleratorName,
  type DeviceOptions,
  type DiskImage,
  type MachineOptions,
  type VirtioPlace,
  type WatchdogAction,
  watchdogActions,
} from '../../vmm/index.js';
import { KeyValues, parseSize } from '../options/key-values.js';
import type { GivenOption } from '../options/parse.js';
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';
import { planArm, planBoardProperties, planMicrovm } from './board-properties.js';
import { type Chardev, Chardevs } from './chardevs.js';
import { findDevice, noDevice, unsupportedProperties } from './devices.js';
import { flattenJson, type ObjectPlan, parseObject } from './drives.js';
import { planFirmware, planFwCfg, planRiscvFirmware } from './firmware.js';
import { Options } from './given-options.js';
import { Globals } from './globals.js';
import { type LensPlan, planLens } from './lens.js';
import { bootsByNetwork, chooseRoms } from './network-roms.js';
import { checkMac, type PlannedNetworks, planNetworks } from './networks.js';
import { accelerators, unsupportedAccelerators } from './options.js';
import { DrivePlan } from './plan-drives.js';
import { isLoader, planLoaders } from './plan-loader.js';
import { NvmePlan } from './plan-nvme.js';
import { BoardObjects, isBoardObject } from './plan-objects.js';
import { type Backends, planPciCard, planVirtioBlock } from './plan-pci.js';
import { planMmio, planRootPort, planSlot, planVirtio } from './plan-place.js';
import { ScsiPlan } from './plan-scsi.js';
import { planSemihosting } from './plan-semihosting.js';
import { planSmbios } from './plan-smbios.js';
import { planTrace } from './plan-trace.js';
import { isUsbController, isUsbDevice, UsbPlan } from './plan-usb.js';
import { planVirtioNet } from './plan-virtio-net.js';
import { planGpu, planScreen, planVga, plugDefaultVga, plugVga, type ScreenPlan } from './screen-options.js';

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

export interface RunPlan {
  /** Without kernel, initrd and command line when a system is named. */
  readonly machine: MachineOptions;
  readonly attachments: readonly Attachment[];
  readonly screen: ScreenPlan;
  /** The built-in guest runs. */
  readonly builtIn: boolean;
  readonly startPaused: boolean;
  /** -M none: the machine is there to be asked, and never runs. */
  readonly isEmpty: boolean;
  /** Drives that no device has, for those that are plugged in later. */
  readonly spareDrives: Map<string, DiskImage>;
  /** Secrets and others, to be made before the machine. */
  readonly objects: readonly ObjectPlan[];
  /** Where to wait for gdb. */
  readonly gdb: GdbAddress | undefined;
  readonly stats: 'text' | 'json' | undefined;
  readonly lens: LensPlan | undefined;
  readonly pidfile: string | undefined;
  /** The machine goes on in a process of its own. */
  readonly daemonize: boolean;
  readonly escapeByte: number;
  /** Exit status after the guest has told of a crash. */
  readonly panicStatus: number;
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

/** Throws VringError, most of them UsageError. */
export function planRun(given: readonly GivenOption[], context: PlanContext): RunPlan {
  const options = new Options(given);
  const notices: string[] = [];
  const named = architectureOf(options, context);
  const objects = new BoardObjects(options.all('object').filter(isBoardObject));
  const { isEmpty, hasUsb, ...board } = planBoard(options, notices, named, objects);
  const architecture = onBoard(named, board);
  planSettled(options);
  const chardevs = new Chardevs();
  for (const text of options.all('chardev')) chardevs.addOption(text);
  const characters = planCharacters(options, chardevs, context, architecture);
  const isFilter = (text: string) => /^filter-dump(,|$)/.test(text);
  const networks = planNetworks({
    netdev: options.all('netdev'),
    nic: options.all('nic'),
    net: options.all('net'),
    filters: options.all('object').filter(isFilter),
    // As QEMU's, but for a system that is named, whose kernel may be one for virtual machines alone.
    defaultModel:
      architecture.buses.includes('ISA') && architecture.buses.includes('PCI') && !context.system
        ? 'e1000'
        : 'virtio-net',
  });
  const globals = new Globals(options.all('global'));
  const { devices, blockNodes, drives } = planDevices(
    options,
    { globals, objects },
    chardevs,
    characters,
    architecture,
    board.machine,
    networks,
    hasUsb,
  );
  globals.finish();
  devices.push(...networks.cards);
  chooseRoms(devices, options);
  const screen = planScreen(options);
  if (screen.text && characters.attachments.some(({ chardev }) => chardev.kind === 'stdio'))
    throw new UsageError('-display text has the terminal for itself: nothing else can be on stdio');
  const hasVga = plugVga(devices, screen, options, architecture);
  if (hasVga && context.system) throw new UsageError('A system that is named has no screen yet, only its console');

  // Without any firmware the kernel itself is what starts in M-mode.
  const isBare = architecture.name === 'riscv64' && options.last('bios') === 'none';
  const kernel = isBare ? undefined : options.last('kernel');
  const loads = planLoaders(options, architecture);
  const isEntered = loads.some(({ cpu }) => cpu === 0);
  const bootable = ['kernel', 'bios', 'drive', 'blockdev', 'fda', 'fdb', 'hda', 'hdb', 'hdc', 'hdd', 'cdrom', 'pflash'];
  const runsBuiltInGuest =
    !architecture.buses.includes('ISA') || findMachine(architecture, board.machine)?.runsBuiltInGuest === true;
  const builtIn =
    context.builtIn ??
    (!context.system &&
      runsBuiltInGuest &&
      !isEntered &&
      !bootable.some((name) => options.has(name)) &&
      !bootsByNetwork(options));
  if (context.system) {
    for (const name of ['kernel', 'initrd']) {
      if (options.has(name)) throw new UsageError(`-${name}: the system that is named brings its own`);
    }
  } else if (kernel === undefined && !context.builtIn) {
    for (const name of ['initrd', 'append']) {
      if (options.has(name)) throw new UsageError(`-${name} is of use with -kernel only`);
    }
  }
  if (context.system && characters.attachments.some(({ from }) => from.kind === 'qmp'))
    throw new UsageError('A monitor for programs is not supported yet for a system that is named');
  // As QEMU's: what firmware boots has a CD drive, if an empty one, and a VGA, which boot loaders and small systems ask for their
  // cursor unseen. It is no screen: nobody has asked for one, so the firmware's console stays the serial port.
  const boots = !builtIn && !context.system && kernel === undefined;
  if (boots && !options.has('nodefaults') && findMachine(architecture, board.machine)?.drives) {
    const cd = drives.defaultCd(devices);
    if (cd) devices.push(cd);
    if (architecture.defaultFirmware !== undefined) plugDefaultVga(devices, options);
  }
  if (builtIn) {
    for (const type of ['virtio-rng', 'virtio-balloon'] as const)
      if (!devices.some((device) => device.type === type)) devices.push({ type });
  }
  for (const name of ['offline', 'mirror', 'or-built-in']) {
    if (options.has(name) && !context.system && !context.builtIn)
      throw new UsageError(`-${name} is of use with a system only, such as debian`);
  }

  const trace = planTrace(options, notices);
  const stats = options.has('stats') ? ((options.last('stats') || 'text') as 'text' | 'json') : undefined;
  const { panicStatus, ...actions } = planActions(options);
  const echr = options.last('echr') ?? '1';
  if (!/^(0x[0-9a-f]+|\d+)$/i.test(echr) || Number(echr) > 255) {
    throw new UsageError(`-echr ${echr}: the key is a number from 0 to 255`);
  }
  const gdb = planGdb(options);
  const semihosting = planSemihosting(options, chardevs, characters.attachments);
  const smbios = planSmbios(options.all('smbios'));
  if (smbios.smbios && architecture.name !== 'x86_64')
    throw new UsageError(`-smbios is not supported yet for ${architecture.name}`);
  return {
    machine: {
      ...board,
      // It never runs, but tells who asks (libvirt) whether there is KVM.
      takesSlowKvm: isEmpty || undefined,
      architecture: architecture.name,
      kernel,
      initrd: options.last('initrd'),
      commandLine: options.last('append'),
      firmware: builtIn
        ? undefined
        : architecture.name === 'riscv64'
          ? planRiscvFirmware(options, isEntered)
          : isEntered && kernel === undefined && !options.has('bios')
            ? undefined
            : planFirmware(options, context, architecture, hasVga),
      builtInGuest: builtIn,
      lens: options.has('lens'),
      semihosting,
      loads,
      fwCfg: options.all('fw_cfg').map(planFwCfg),
      uuid: options.last('uuid') ?? smbios.uuid,
      smbios: smbios.smbios,
      serialPorts: characters.serialPorts,
      devices,
      networks: networks.networks,
      blockNodes,
      ...actions,
      gdb: gdb !== undefined,
      trace: trace.items.length > 0 ? { items: trace.items, path: trace.path } : undefined,
    },
    attachments: characters.attachments,
    screen,
    builtIn,
    startPaused: options.has('S') || isEmpty,
    isEmpty,
    spareDrives: new Map(drives.spare),
    objects: options
      .all('object')
      .filter((text) => !isFilter(text) && !isBoardObject(text))
      .map(parseObject),
    gdb,
    stats,
    lens: options.has('lens') ? planLens(options.last('lens') ?? '') : undefined,
    pidfile: options.last('pidfile'),
    daemonize: planDaemonize(options, context, characters, screen),
    escapeByte: Number(echr),
    panicStatus,
    name: board.name,
    offline: options.has('offline'),
    mirror: options.last('mirror'),
    logUnimplemented: trace.items.includes('unimp'),
    notices,
  };
}

function planDaemonize(
  options: Options,
  { system }: PlanContext,
  { attachments }: Characters,
  { text }: ScreenPlan,
): boolean {
  if (!options.has('daemonize')) return false;
  if (system) throw new UsageError('-daemonize is not supported yet for a system that is named');
  const onTerminal = text || attachments.some(({ chardev }) => chardev.kind === 'stdio');
  // As QEMU's: where everything has another place, -nographic changes nothing.
  if (onTerminal && options.has('nographic')) throw new UsageError('-nographic cannot be used with -daemonize');
  if (onTerminal) throw new UsageError('-daemonize: nothing can be on stdio; -display none leaves it free');
  return true;
}

/** `-arch`, or what the program is called by. Throws VringError `architecture-unknown`. */
function architectureOf(options: Options, context: PlanContext): Architecture {
  const name = options.last('arch');
  return name === undefined ? (context.architecture ?? DEFAULT_ARCHITECTURE) : findArchitecture(name);
}

export interface GdbAddress {
  readonly host: string;
  readonly port: number;
}

function planGdb(options: Options): GdbAddress | undefined {
  const text = options.last('gdb') ?? (options.has('s') ? 'tcp::1234' : undefined);
  if (text === undefined || text === 'none') return undefined;
  const match = /^tcp:([^:,]*):(\d{1,5})$/.exec(text.replace(/(,server(=on)?)?(,(nowait|wait=off))?$/, ''));
  const port = Number(match?.[2]);
  if (!match || port > 65535) throw new UsageError(`-gdb ${text}: only tcp:[HOST]:PORT is supported`);
  return { host: match[1] || '127.0.0.1', port };
}

type Board = Pick<
  MachineOptions,
  | 'cpus'
  | 'machine'
  | 'accelerators'
  | 'kernelIrqchip'
  | 'ramBytes'
  | 'cpu'
  | 'hpet'
  | 'arm'
  | 'microvm'
  | 'rtcOffsetMs'
  | 'icount'
  | 'hotThreshold'
  | 'name'
> & { readonly isEmpty: boolean; readonly hasUsb: boolean };

function planBoard(options: Options, notices: string[], architecture: Architecture, objects: BoardObjects): Board {
  const isPc = architecture.machines[0].name === 'pc';
  if (options.has('no-hpet') && !isPc) throw new UsageError('-no-hpet: only a PC has an HPET');
  let hpet = !options.has('no-hpet');
  let irqchip: MachineOptions['kernelIrqchip'];
  let arm: MachineOptions['arm'];
  let microvm: MachineOptions['microvm'];
  let board: string | undefined;
  let isEmpty = false;
  let hasUsb = false;
  let memory: { option: string; bytes: number } | undefined;
  const accels = options.all('accel').map((text) => KeyValues.parse(`-accel ${text}`, text, 'accel'));
  if (options.has('enable-kvm')) accels.push(new KeyValues('-enable-kvm', [['accel', 'kvm']]));
  const machine = options.last('M');
  if (machine !== undefined) {
    const values = KeyValues.parse(`-M ${machine}`, machine, 'type').withDashes;
    const { machines, unsupportedMachines } = architecture;
    const names = machines.map(({ name }) => name);
    const type = values.text('type') ?? names[0];
    isEmpty = type === 'none' && isPc;
    board = isEmpty ? names[0] : findMachine(architecture, type)?.name;
    if (board === undefined) {
      if (unsupportedMachines.includes(type))
        throw new UsageError(`-M ${type}: this board is not supported yet; there is ${names.join(', ')}`);
      const hint = didYouMean(type, [...names, ...unsupportedMachines]);
      throw new UsageError(
        `-M ${type}: there is no such board${hint || `; ${architecture.name} has ${names.join(', ')}`}`,
      );
    }
    if (board === 'microvm') {
      microvm = planMicrovm(values);
      values.flag('graphics');
    } else if (isPc) {
      hpet = values.flag('hpet') ?? hpet;
      values.flag('graphics');
    }
    irqchip = planIrqchip(values) ?? irqchip;
    const accel = values.text('accel');
    if (accel !== undefined) {
      if (accels.length > 0) throw new UsageError('-accel and accel= of -M cannot be given both');
      for (const name of accel.split(':')) accels.push(new KeyValues(`-M accel=${accel}`, [['accel', name]]));
    }
    if (architecture.name === 'aarch64' || architecture.name === 'arm')
      arm = planArm(values, architecture.name === 'arm');
    const backend = values.text('memory-backend');
    if (backend !== undefined) memory = { option: values.option, bytes: objects.memory(values.option, backend) };
    hasUsb = values.flag('usb') ?? false;
    values.settled('mem-merge', 'on', 'off');
    values.settled('dump-guest-core', 'on', 'off');
    values.settled('hmat', 'off');
    values.settled('nvdimm', 'off');
    if (board === 'microvm') values.settled('smm', 'off', 'auto');
    else if (isPc) {
      values.settled('vmport', 'off', 'auto');
      values.settled('smm', 'off', 'auto');
      values.settled('acpi', 'on', 'auto');
      for (const part of ['smbus', 'sata', 'pit', 'i8042']) values.settled(part, 'on');
    }
    const boardOnly = planBoardProperties(values, architecture);
    values.finish([
      'vmport',
      'smm',
      'smbus',
      'sata',
      'pit',
      'i8042',
      'acpi',
      'igd-passthru',
      'pcspk-audiodev',
      'fd-bootchk',
      'max-ram-below-4g',
      'kvm-shadow-mem',
      'phandle-start',
      ...boardOnly,
    ]);
  }
  return {
    isEmpty,
    hasUsb,
    machine: board,
    cpus: planCpus(options.last('smp')),
    hpet,
    arm,
    microvm,
    kernelIrqchip: irqchip,
    ...planAccelerators(accels, notices),
    ramBytes: planRam(options.last('m'), memory),
    cpu: options.last('cpu'),
    rtcOffsetMs: planClock(options.last('rtc'), notices),
    icount: planIcount(options),
    name: planName(options.last('name')),
  };
}

/** Number of vCPUs. Each is a socket of its own: topologies are told to no guest. */
function planCpus(smp: string | undefined): number | undefined {
  if (smp === undefined) return undefined;
  const values = KeyValues.parse(`-smp ${smp}`, smp, 'cpus');
  const cpus = values.number('cpus', 1, 255);
  const product = ['sockets', 'dies', 'clusters', 'cores', 'threads']
    .map((key) => values.number(key, 1, 255) ?? 1)
    .reduce((a, b) => a * b, 1);
  const most = values.number('maxcpus', 1, 255);
  values.finish();
  const count = cpus ?? product;
  if (product > 1 && product !== count)
    throw new UsageError(`-smp ${smp}: the topology has ${product} vCPUs, not ${count}`);
  if (most !== undefined && most !== count)
    throw new UsageError(`-smp ${smp}: vCPUs cannot be plugged in later: maxcpus is ${count}`);
  return count;
}

/** `memory`: what -M has named as the RAM. */
function planRam(
  text: string | undefined,
  memory: { readonly option: string; readonly bytes: number } | undefined,
): number | undefined {
  if (text === undefined) return memory?.bytes;
  const values = KeyValues.parse(`-m ${text}`, text, 'size');
  const size = values.need('size');
  const bytes = parseSize('-m', size, 'M');
  values.finish(['slots', 'maxmem']);
  if (memory && memory.bytes !== bytes)
    throw new UsageError(`${memory.option}: the memory is of another size than -m ${text} says`);
  if (bytes < 2 ** 21) throw new VringError('ram-size', `-m ${text}: a machine needs at least 2 MiB of RAM`);
  return bytes;
}

function planIrqchip(values: KeyValues): MachineOptions['kernelIrqchip'] {
  return values.choice('kernel-irqchip', ['on', 'off', 'split']) as MachineOptions['kernelIrqchip'];
}

/** Accelerators in the order given, each once; those that vring does not have are told of. */
function planAccelerators(
  accels: readonly KeyValues[],
  notices: string[],
): Pick<MachineOptions, 'accelerators' | 'hotThreshold' | 'kernelIrqchip'> {
  const chosen = new Set<AcceleratorName>();
  let failed: string | undefined;
  let hotThreshold: number | undefined;
  let kernelIrqchip: MachineOptions['kernelIrqchip'];
  for (const values of accels) {
    const name = values.text('accel') ?? '';
    const row = accelerators.find((each) => each.name === name);
    if (!row) {
      const known = [...accelerators.map((each) => each.name), ...unsupportedAccelerators];
      if (!unsupportedAccelerators.includes(name))
        throw new UsageError(`${values.option}: there is no accelerator '${name}'${didYouMean(name, known)}`);
      failed ??= name;
      continue;
    }
    chosen.add(row.name);
    if (row.name === 'kvm') {
      kernelIrqchip ??= planIrqchip(values);
      values.finish(['dirty-ring-size', 'notify-vmexit', 'notify-window', 'kvm-shadow-mem']);
      continue;
    }
    hotThreshold ??= values.number('hot-threshold', 0, 1 << 20);
    values.choice('thread', ['single', 'multi']);
    // The cache of translated code is as large as it needs to be.
    values.number('tb-size', 0, 1 << 20);
    values.finish(['split-wx', 'one-insn-per-tb']);
    if (hotThreshold !== undefined && hotThreshold !== 0 && (hotThreshold & (hotThreshold - 1)) !== 0) {
      throw new UsageError(`${values.option}: hot-threshold is 0 or a power of two`);
    }
  }
  if (failed !== undefined) {
    if (chosen.size === 0)
      throw new UsageError(`-accel ${failed}: this accelerator is not supported; there are kvm and tcg`);
    notices.push(`The accelerator ${failed} is not supported; ${[...chosen].join(', then ')} is tried.`);
  }
  return {
    accelerators: chosen.size > 0 ? [...chosen] : undefined,
    hotThreshold,
    ...(kernelIrqchip ? { kernelIrqchip } : {}),
  };
}

function planClock(text: string | undefined, notices: string[]): number | undefined {
  if (text === undefined) return undefined;
  const option = `-rtc ${text}`;
  const values = KeyValues.parse(option, text);
  const base = values.text('base') ?? 'utc';
  // All clocks of the machine stand still while it does.
  values.choice('clock', ['host', 'vm']);
  if (values.choice('driftfix', ['none', 'slew']) === 'slew')
    notices.push(`${option}: ticks of the clock that come too late are not made up for`);
  values.finish();
  if (base === 'utc') return 0;
  const nowMs = Date.now();
  if (base === 'localtime') return -new Date(nowMs).getTimezoneOffset() * 60_000;
  const date = /^\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d)?$/.test(base)
    ? Date.parse(base.includes('T') ? `${base}Z` : base)
    : Number.NaN;
  if (Number.isNaN(date))
    throw new UsageError(`${option}: base is utc, localtime or a date such as 2024-01-31T12:00:00`);
  return date - nowMs;
}

function planIcount(options: Options): MachineOptions['icount'] {
  const text = options.last('icount');
  const seedText = options.last('seed');
  if (seedText !== undefined && !/^\d{1,19}$/.test(seedText))
    throw new UsageError(`-seed ${seedText}: the seed is a whole number`);
  if (text === undefined) {
    if (seedText !== undefined) throw new UsageError('-seed is of use with -icount only');
    return undefined;
  }
  const option = `-icount ${text}`;
  const values = KeyValues.parse(option, text, 'shift');
  const shift = values.text('shift') ?? 'auto';
  if (shift === 'auto') throw new UsageError(`${option}: shift=auto is not supported yet; a number from 0 to 10 is`);
  if (!/^\d+$/.test(shift) || Number(shift) > 10) throw new UsageError(`${option}: shift is a number from 0 to 10`);
  if (values.flag('align')) throw new UsageError(`${option}: align=on is not supported yet`);
  if (values.flag('sleep')) throw new UsageError(`${option}: sleep=on is not supported yet; idle time passes at once`);
  values.finish(['rr', 'rrfile', 'rrsnapshot']);
  return { shift: Number(shift), seed: seedText === undefined ? undefined : BigInt(seedText) };
}

function planName(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const values = KeyValues.parse(`-name ${text}`, text, 'guest');
  const name = values.text('guest');
  values.text('process');
  values.flag('debug-threads');
  values.finish();
  return name;
}

type Actions = Pick<MachineOptions, 'onReset' | 'onPowerOff' | 'onPanic' | 'onWatchdog'> & {
  readonly panicStatus: number;
};

function planActions(options: Options): Actions {
  let panicStatus = 0;
  let onPanic: MachineOptions['onPanic'];
  let onWatchdog = watchdogAction(options.last('watchdog-action'));
  let onReset: 'reset' | 'end' | 'pause' = options.has('no-reboot') ? 'end' : 'reset';
  let onPowerOff: 'end' | 'pause' = options.has('no-shutdown') ? 'pause' : 'end';
  for (const text of options.all('action')) {
    const values = KeyValues.parse(`-action ${text}`, text);
    const reboot = values.choice('reboot', ['reset', 'shutdown']);
    const shutdown = values.choice('shutdown', ['poweroff', 'pause']);
    const panic = values.choice('panic', ['pause', 'shutdown', 'exit-failure', 'none']);
    onWatchdog = values.choice('watchdog', watchdogActions) ?? onWatchdog;
    values.finish();
    if (reboot !== undefined) onReset = reboot === 'reset' ? 'reset' : 'end';
    if (panic !== undefined) {
      onPanic = panic === 'none' ? 'run' : panic === 'pause' ? 'pause' : 'poweroff';
      panicStatus = panic === 'exit-failure' ? 1 : 0;
    }
    if (shutdown !== undefined) onPowerOff = shutdown === 'pause' ? 'pause' : 'end';
  }
  // A reset that is a shutdown does what a shutdown does.
  if (onReset === 'end' && onPowerOff === 'pause') onReset = 'pause';
  return { onReset, onPowerOff, onPanic, onWatchdog, panicStatus };
}

/** `-watchdog-action`. Throws UsageError. */
function watchdogAction(text: string | undefined): WatchdogAction | undefined {
  const found = watchdogActions.find((each) => each === text);
  if (text !== undefined && !found)
    throw new UsageError(`-watchdog-action ${text}: there are ${watchdogActions.join(', ')}`);
  return found;
}

interface Characters {
  readonly serialPorts: boolean[];
  readonly attachments: Attachment[];
  readonly debugcon: Chardev | undefined;
}

/** Serial ports, monitor and debug console, with QEMU's defaults. */
function planCharacters(
  options: Options,
  chardevs: Chardevs,
  context: PlanContext,
  { name: architecture, serialPorts: mostSerial }: Architecture,
): Characters {
  for (const [name, words] of [['parallel', ['stdio', 'file', 'pty', 'vc']]] as const) {
    for (const text of options.all(name)) {
      if (text === 'none' || (name === 'parallel' && text === 'null')) continue;
      const word = text.split(/[,:]/)[0];
      const why = (words as readonly string[]).includes(word)
        ? 'this is not supported yet; there is none'
        : `there is no '${word}'`;
      throw new UsageError(`-${name} ${text}: ${why}`);
    }
  }

  const attachments: Attachment[] = [];
  const serialPorts: boolean[] = [];
  const monitorOn = (chardev: Chardev) => {
    chardevs.attach(chardev, 'the monitor');
    attachments.push({ from: { kind: 'monitor' }, chardev });
  };
  const qmpOn = (chardev: Chardev, pretty: boolean) => {
    if (chardev.mux) throw new UsageError(`The monitor for programs cannot share the character device '${chardev.id}'`);
    chardevs.attach(chardev, 'the monitor for programs');
    attachments.push({ from: { kind: 'qmp', pretty }, chardev });
  };
  const serialOn = (chardev: Chardev | undefined) => {
    const index = serialPorts.push(chardev !== undefined) - 1;
    if (!chardev) return;
    if (index >= mostSerial)
      throw new UsageError(
        `A machine of ${architecture} has at most ${mostSerial} serial port${mostSerial === 1 ? '' : 's'}`,
      );
    chardevs.attach(chardev, `serial port ${index}`);
    attachments.push({ from: { kind: 'serial', index }, chardev });
  };
  const serial = options.all('serial');
  const monitors = options.all('monitor');
  const shared: Chardev[] = [];
  for (const [i, text] of serial.entries()) {
    const chardev = chardevs.fromShorthand('-serial', text, `serial${i}`);
    serialOn(chardev);
    if (chardev && text.startsWith('mon:')) shared.push(chardev);
  }
  for (const chardev of shared) monitorOn(chardev);
  let monitorCount = 0;
  for (const text of monitors) {
    const chardev = chardevs.fromShorthand('-monitor', text, `compat_monitor${monitorCount++}`);
    if (chardev) monitorOn(chardev);
  }
  for (const text of options.all('mon')) {
    const values = KeyValues.parse(`-mon ${text}`, text, 'chardev');
    const chardev = chardevs.find(`-mon ${text}`, values.need('chardev'));
    const mode = values.choice('mode', ['readline', 'control']);
    const pretty = values.flag('pretty') ?? false;
    values.text('id');
    values.finish();
    if (mode === 'control') qmpOn(chardev, pretty);
    else monitorOn(chardev);
  }
  for (const name of ['qmp', 'qmp-pretty'])
    for (const text of options.all(name)) {
      const chardev = chardevs.fromShorthand(`-${name}`, text, `compat_monitor${monitorCount++}`);
      if (chardev) qmpOn(chardev, name === 'qmp-pretty');
    }
  // A named system has the terminal for itself, and what is here beside it is asked for.
  const defaults = !options.has('nodefaults') && !context.system;
  const onTerminal = defaults && (options.has('nographic') || !(options.has('display') || options.has('vnc')));
  // As QEMU's: a serial port of -device takes the place of the one that is there unasked.
  const defaultSerial = serial.length === 0 && mostSerial > 0 && !options.all('device').some(isSerial);
  const monitorGiven = monitors.length > 0 || shared.length > 0 || options.has('mon');
  const terminalFree = !chardevs.all.some(({ kind }) => kind === 'stdio');
  if (onTerminal && defaultSerial && !monitorGiven && terminalFree) {
    const chardev = chardevs.fromShorthand('-serial', 'mon:stdio', 'serial0') as Chardev;
    serialOn(chardev);
    monitorOn(chardev);
  } else if (onTerminal && options.has('nographic') && terminalFree && (defaultSerial || !monitorGiven)) {
    const chardev = chardevs.fromShorthand('-serial', 'stdio', 'stdio0') as Chardev;
    if (defaultSerial) serialOn(chardev);
    else monitorOn(chardev);
  } else if (defaults && defaultSerial) {
    // As QEMU's: the port is there, and what it sends is lost.
    serialPorts.push(true);
  }
  let debugcon: Chardev | undefined;
  for (const text of options.all('debugcon')) {
    if (debugcon) throw new UsageError('-debugcon can be given once');
    debugcon = chardevs.fromShorthand('-debugcon', text, 'debugcon');
  }
  return { serialPorts, attachments, debugcon };
}

/** Options that change nothing as long as they ask for what holds here in any case. Throws UsageError. */
function planSettled(options: Options): void {
  for (const text of options.all('overcommit')) {
    const values = KeyValues.parse(`-overcommit ${text}`, text);
    values.settled('mem-lock', 'off');
    values.settled('cpu-pm', 'off');
    values.finish();
  }
  for (const text of options.all('audiodev')) planSound(text);
  const audio = options.last('audio');
  if (audio !== undefined && audio !== 'none' && audio !== 'driver=none')
    throw new UsageError(`-audio ${audio}: sound is not supported yet; there is none`);
  const keys = options.last('k');
  if (keys !== undefined && keys !== 'en-us')
    throw new UsageError(
      `-k ${keys}: this keyboard layout is not supported yet; there is en-us, and clients' own key codes`,
    );
}

function planSound(text: string): void {
  const option = `-audiodev ${text}`;
  const values = text.startsWith('{')
    ? new KeyValues(option, flattenJson(option, text))
    : KeyValues.parse(option, text, 'driver');
  values.need('id');
  const driver = values.need('driver');
  if (driver !== 'none') throw new UsageError(`${option}: sound is not supported yet; there is driver=none`);
}

const isSerial = (text: string): boolean => /^isa-serial\b|["']?driver["']?\s*[=:]\s*["']?isa-serial\b/.test(text);

interface BusPort {
  readonly port: { name?: string | undefined; console: boolean; number?: number | undefined };
  readonly chardev: Chardev | undefined;
  readonly isConsole: boolean;
}

interface PlannedDevices {
  readonly devices: DeviceOptions[];
  readonly blockNodes: readonly OptionDict[];
  readonly drives: DrivePlan;
}

function planDevices(
  options: Options,
  { globals, objects }: { globals: Globals; objects: BoardObjects },
  chardevs: Chardevs,
  characters: Characters,
  boards: Architecture,
  machine: string | undefined,
  networks: PlannedNetworks,
  hasUsb: boolean,
): PlannedDevices {
  const { name: architecture, buses: boardBuses } = boards;
  const drives = new DrivePlan(options, findMachine(boards, machine)?.drives);
  const devices: (DeviceOptions | { type: 'bus'; index: number })[] = drives.devices.slice();
  const buses: { id: string; ports: BusPort[]; maxPorts: number; place: VirtioPlace | undefined }[] = [];
  const scsi = new ScsiPlan(drives);
  const nvme = new NvmePlan(drives);
  const usbBoard = boardBuses.includes('PCI') ? (findMachine(boards, machine)?.name ?? '') : undefined;
  const usb = new UsbPlan(options, hasUsb, usbBoard, drives);
  const ids = new Set<string>();
  const rootPorts = new Set<string>();
  const backends: Backends = {
    drive: (values, name) => drives.take(values, name),
    network: (option, name) => networks.take(option, name),
  };
  let debugcons = 0;
  const attachTo = (values: KeyValues, user: string): Chardev | undefined => {
    const id = values.text('chardev');
    if (id === undefined) return undefined;
    const chardev = chardevs.find(values.option, id);
    chardevs.attach(chardev, user);
    return chardev;
  };
  if (characters.debugcon) {
    chardevs.attach(characters.debugcon, 'the debug console');
    characters.attachments.push({ from: { kind: 'debugcon' }, chardev: characters.debugcon });
    const port = Number(globals.take('isa-debugcon', 'iobase') ?? 0xe9);
    if (!(port >= 0 && port <= 0xffff)) throw new UsageError('-global isa-debugcon.iobase: this is no port');
    devices.push({ type: 'isa-debugcon', port });
    debugcons++;
  }
  for (const text of options.all('device').filter((each) => !isLoader(each))) {
    const option = `-device ${text}`;
    const given = text.startsWith('{')
      ? new KeyValues(option, flattenJson(option, text))
      : KeyValues.parse(option, text, 'driver');
    const driver = given.need('driver');
    const found = findDevice(driver);
    if (!found) throw noDevice(option, driver);
    const { row } = found;
    const values = globals.apply(given, row);
    values.text('driver');
    objects.take(values, row.name);
    if (!boardBuses.includes(row.bus))
      throw new UsageError(`${option}: a machine of ${architecture} has no ${row.bus}`);
    const id = values.text('id');
    if (id !== undefined) {
      if (ids.has(id)) throw new UsageError(`${option}: there is a device with the id '${id}' already`);
      ids.add(id);
    }
    const place =
      row.bus === 'PCI' && row.name.startsWith('virtio-')
        ? { ...planVirtio(values, found, rootPorts), ...(id === undefined ? {} : { device: id }) }
        : row.bus === 'virtio-bus'
          ? planMmio(values)
          : undefined;
    switch (row.name) {
      case 'virtio-blk-pci':
      case 'virtio-blk-device':
        devices.push(planVirtioBlock(values, backends, place));
        break;
      case 'pcie-root-port':
        if (!findMachine(boards, machine)?.express)
          throw new UsageError(`${option}: this board has no PCI Express; -M q35 has`);
        devices.push(planRootPort(values, id));
        rootPorts.add(id as string);
        break;
      case 'ich9-ahci':
        devices.push(drives.planAhci(id, planSlot(values, rootPorts)));
        break;
      case 'nvme':
        devices.push(nvme.controller(values, id, planSlot(values, rootPorts)));
        break;
      case 'nvme-ns':
        nvme.namespace(values);
        break;
      case 'virtio-scsi-pci':
      case 'virtio-scsi-device':
        devices.push(scsi.controller(values, id, place ?? {}));
        break;
      case 'scsi-hd':
        scsi.unit(values, 'disk', id);
        break;
      case 'scsi-cd':
        scsi.unit(values, 'cdrom', id);
        break;
      case 'floppy':
        devices.push(drives.planFloppy(values, id));
        break;
      case 'isa-fdc':
        devices.push({ type: 'isa-fdc' });
        break;
      case 'ide-hd':
      case 'ide-cd': {
        const planned = drives.planIde(values, row.name === 'ide-hd' ? 'disk' : 'cdrom', id);
        if (planned) devices.push(planned);
        break;
      }
      case 'virtio-serial-pci':
      case 'virtio-serial-device':
        devices.push({ type: 'bus', index: buses.length });
        buses.push({
          id: id ?? `virtio-serial${buses.length}`,
          ports: [],
          maxPorts: values.number('max_ports', 1, 31) ?? 31,
          place,
        });
        break;
      case 'virtconsole':
      case 'virtserialport': {
        const wanted = values.text('bus');
        const bus =
          wanted === undefined ? buses[0] : buses.find((each) => wanted === each.id || wanted === `${each.id}.0`);
        if (!bus)
          throw new UsageError(
            `${option}: there is no virtio-serial bus${wanted === undefined ? '; -device virtio-serial-pci before it makes one' : ` '${wanted}'`}`,
          );
        const isConsole = row.name === 'virtconsole';
        const port = {
          name: values.text('name'),
          console: isConsole,
          number: values.number('nr', isConsole ? 0 : 1, 30),
        };
        bus.ports.push({ port, chardev: attachTo(values, row.name), isConsole });
        break;
      }
      case 'ne2k_isa':
        devices.push({
          type: row.name,
          network: networks.take(option, values.need('netdev')),
          mac: checkMac(option, values.text('mac')),
          port: values.number('iobase', 0x100, 0xffe0),
          irq: values.number('irq', 0, 15),
        });
        break;
      case 'e1000':
      case 'rtl8139':
      case 'ne2k_pci':
        devices.push(planPciCard(row.name, values, backends, planSlot(values, rootPorts), id));
        break;
      case 'virtio-net-pci':
      case 'virtio-net-device':
        devices.push(planVirtioNet(values, backends, place));
        break;
      case 'virtio-rng-pci':
      case 'virtio-rng-device':
        devices.push({ type: 'virtio-rng', ...place });
        break;
      case 'virtio-balloon-pci':
      case 'virtio-balloon-device':
        devices.push({ type: 'virtio-balloon', ...place });
        break;
      case 'VGA':
        devices.push(planVga(values, planSlot(values, rootPorts)));
        break;
      case 'virtio-gpu-pci':
      case 'virtio-gpu-device':
      case 'virtio-vga':
        devices.push(planGpu(values, place, row.name === 'virtio-vga'));
        break;
      case 'virtio-keyboard-pci':
      case 'virtio-keyboard-device':
        devices.push({ type: 'virtio-keyboard', ...place });
        break;
      case 'virtio-mouse-pci':
      case 'virtio-mouse-device':
        devices.push({ type: 'virtio-mouse', ...place });
        break;
      case 'virtio-tablet-pci':
      case 'virtio-tablet-device':
        devices.push({ type: 'virtio-tablet', ...place });
        break;
      case 'isa-serial': {
        const index = values.number('index', 0, 3) ?? [0, 1, 2, 3].find((i) => !characters.serialPorts[i]);
        if (index === undefined || characters.serialPorts[index])
          throw new UsageError(`${option}: that serial port is there already`);
        while (characters.serialPorts.length <= index) characters.serialPorts.push(false);
        characters.serialPorts[index] = true;
        const chardev = attachTo(values, row.name);
        if (chardev) characters.attachments.push({ from: { kind: 'serial', index }, chardev });
        break;
      }
      case 'isa-debug-exit':
        devices.push({
          type: 'isa-debug-exit',
          port: values.number('iobase', 0, 0xffff),
          sizeBytes: values.number('iosize', 1, 4),
        });
        break;
      case 'isa-debugcon': {
        if (debugcons++ > 0) throw new UsageError(`${option}: a second debug console is not supported yet`);
        const chardev = attachTo(values, row.name);
        if (chardev) characters.attachments.push({ from: { kind: 'debugcon' }, chardev });
        devices.push({ type: 'isa-debugcon', port: values.number('iobase', 0, 0xffff) });
        break;
      }
      case 'pvpanic':
        devices.push({ type: 'pvpanic', port: values.number('ioport', 0, 0xffff) });
        break;
      case 'pvpanic-pci':
      case 'i6300esb':
        devices.push({ type: row.name, slot: planSlot(values, rootPorts) });
        break;
      case 'pc-testdev':
        devices.push({ type: 'pc-testdev' });
        break;
      default:
        if (isUsbController(row.name)) usb.controller(row.name, values, id, rootPorts);
        else if (isUsbDevice(row.name)) usb.device(row.name, values, id);
    }
    values.finish(unsupportedProperties);
  }
  devices.push(...usb.controllers);
  // Console ports are counted in the order of their devices.
  let index = 0;
  const plugged = devices.map((device): DeviceOptions => {
    if (device.type !== 'bus') return device;
    const bus = buses[device.index];
    for (const { chardev } of bus.ports) {
      if (chardev) characters.attachments.push({ from: { kind: 'console', index }, chardev });
      index++;
    }
    return { type: 'virtio-serial', ports: bus.ports.map(({ port }) => port), maxPorts: bus.maxPorts, ...bus.place };
  });
  return { devices: plugged, blockNodes: drives.blockNodes, drives };
}
