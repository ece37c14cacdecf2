/** From the options of `vring run` to a machine and what its ports lead to. */
import {
  type Architecture,
  DEFAULT_ARCHITECTURE,
  findArchitecture,
  findMachine,
  onBoard,
} from '../../vmm/architectures.js';
import type { GivenOption } from '../options/parse.js';
import { UsageError } from '../usage-error.js';
import { Chardevs } from './chardevs.js';
import { parseObject } from './drives.js';
import { planBoot, planFirmware, planFwCfg, planRiscvFirmware, startsKernelBare } from './firmware.js';
import { Options } from './given-options.js';
import { Globals } from './globals.js';
import { planLens } from './lens.js';
import { bootsByNetwork, chooseRoms } from './network-roms.js';
import { planNetworks } from './networks.js';
import { machineActions, planActions } from './plan-actions.js';
import { planBoard } from './plan-board.js';
import { type Characters, planCharacters } from './plan-characters.js';
import { planDescriptors } from './plan-descriptors.js';
import { planDevices } from './plan-devices.js';
import { planLoaders } from './plan-loader.js';
import { BoardObjects, isBoardObject } from './plan-objects.js';
import { planSemihosting } from './plan-semihosting.js';
import { planSettled } from './plan-settled.js';
import { planSmbios } from './plan-smbios.js';
import { planTrace } from './plan-trace.js';
import type { GdbAddress, PlanContext, RunPlan } from './run-plan.js';
import { planScreen, plugDefaultVga, plugVga, type ScreenPlan } from './screen-options.js';

/** Throws VringError, most of them UsageError. */
export function planRun(given: readonly GivenOption[], context: PlanContext): RunPlan {
  const options = new Options(given);
  const notices: string[] = [];
  const named = architectureOf(options, context);
  const objects = new BoardObjects(options.all('object').filter(isBoardObject));
  const { isEmpty, hasUsb, dumpTree, ...board } = planBoard(options, notices, named, objects);
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
  const {
    devices,
    blockNodes,
    drives,
    named: namedDevices,
  } = planDevices(options, { globals, objects }, chardevs, characters, architecture, board.machine, networks, hasUsb);
  const legacyVirtioMmio = globals.takeFlag('virtio-mmio', 'force-legacy');
  devices.push(...networks.cards);
  notices.push(...networks.alone.map((card) => `warning: nic ${card} has no peer`));
  chooseRoms(devices, options);
  const screen = planScreen(options);
  if (screen.text && characters.attachments.some(({ chardev }) => chardev.kind === 'stdio'))
    throw new UsageError('-display text has the terminal for itself: nothing else can be on stdio');
  const hasVga = plugVga(devices, screen, options, architecture);
  const partOf = (driver: string) => (type: string) => driver === type || driver.startsWith(`${type}-`);
  notices.push(
    ...globals.finish(
      (driver) =>
        devices.some(({ type }) => partOf(driver)(type)) ||
        (driver === 'VGA' && hasVga) ||
        (driver === 'isa-serial' && characters.serialPorts.includes(true)),
    ),
  );
  if (hasVga && context.system) throw new UsageError('A system that is named has no screen yet, only its console');

  const kernel = options.last('kernel');
  // Without any firmware the kernel itself is what starts in M-mode.
  const bare = architecture.name === 'riscv64' && kernel !== undefined && startsKernelBare(options);
  // What shows its tree needs nothing that would start.
  const isTreeAlone =
    dumpTree !== undefined && !['kernel', 'bios', 'pflash', 'drive'].some((name) => options.has(name));
  const loads = [...planLoaders(options, architecture), ...(isTreeAlone ? [{ gpa: 0, cpu: 0 }] : [])];
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

  if (builtIn) planBoot(options, architecture.name);
  const trace = planTrace(options, notices);
  const stats = options.has('stats') ? ((options.last('stats') || 'text') as 'text' | 'json') : undefined;
  const actions = planActions(options);
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
      legacyVirtioMmio,
      riscv: bare ? { ...board.riscv, bare } : board.riscv,
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
      // Whoever asks by program may plug in disks; a drive that no device has is held open.
      disksMayCome:
        (!isEmpty && (drives.spare.size > 0 || characters.attachments.some(({ from }) => from.kind === 'qmp'))) ||
        undefined,
      blockNodes,
      ...machineActions(actions.words),
      gdb: gdb !== undefined,
      trace: trace.items.length > 0 ? { items: trace.items, path: trace.path } : undefined,
    },
    attachments: characters.attachments,
    chardevs: chardevs.all,
    screen,
    builtIn,
    dumpTree,
    startPaused: options.has('S') || isEmpty,
    isEmpty,
    spareDrives: new Map(drives.spare),
    namedDevices,
    objects: options
      .all('object')
      .filter((text) => !isFilter(text) && !isBoardObject(text))
      .map(parseObject),
    descriptors: planDescriptors(options),
    gdb,
    stats,
    lens: options.has('lens') ? planLens(options.last('lens') ?? '') : undefined,
    pidfile: options.last('pidfile'),
    daemonize: planDaemonize(options, context, characters, screen),
    escapeByte: Number(echr),
    actions,
    boardObjects: objects,
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

function planGdb(options: Options): GdbAddress | undefined {
  const text = options.last('gdb') ?? (options.has('s') ? 'tcp::1234' : undefined);
  if (text === undefined || text === 'none') return undefined;
  const match = /^tcp:([^:,]*):(\d{1,5})$/.exec(text.replace(/(,server(=on)?)?(,(nowait|wait=off))?$/, ''));
  const port = Number(match?.[2]);
  if (!match || port > 65535) throw new UsageError(`-gdb ${text}: only tcp:[HOST]:PORT is supported`);
  return { host: match[1] || '127.0.0.1', port };
}
