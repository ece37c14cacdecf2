/** -M, -smp, -m, -cpu and what else is of the board itself. */
import { VringError } from '../../base/index.js';
import { type Architecture, findMachine } from '../../vmm/architectures.js';
import type { MachineOptions } from '../../vmm/index.js';
import { KeyValues, parseSize } from '../options/key-values.js';
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';
import { planArm, planBoardProperties, planMicrovm, planRiscv } from './board-properties.js';
import type { Options } from './given-options.js';
import { planAccelerators, planIrqchip } from './plan-accelerators.js';
import type { BoardObjects } from './plan-objects.js';
import { planClock, planIcount } from './plan-time.js';

type Board = Pick<
  MachineOptions,
  | 'cpus'
  | 'machine'
  | 'accelerators'
  | 'kernelIrqchip'
  | 'ramBytes'
  | 'cpu'
  | 'hpet'
  | 'acpi'
  | 'arm'
  | 'riscv'
  | 'microvm'
  | 'rtcOffsetMs'
  | 'icount'
  | 'hotThreshold'
  | 'name'
  | 'deviceTree'
> & {
  readonly isEmpty: boolean;
  readonly hasUsb: boolean;
  /** Where the device tree is written instead of running the machine. */
  readonly dumpTree: string | undefined;
};

export function planBoard(
  options: Options,
  notices: string[],
  architecture: Architecture,
  objects: BoardObjects,
): Board {
  const isPc = architecture.machines[0].name === 'pc';
  if (options.has('no-hpet') && !isPc) throw new UsageError('-no-hpet: only a PC has an HPET');
  if (options.has('no-acpi') && !isPc) throw new UsageError('-no-acpi: only a PC can be without ACPI');
  let hpet = !options.has('no-hpet');
  let acpi = !options.has('no-acpi');
  let irqchip: MachineOptions['kernelIrqchip'];
  let arm: MachineOptions['arm'];
  let riscv: MachineOptions['riscv'];
  let microvm: MachineOptions['microvm'];
  let dumpTree: string | undefined;
  let deviceTree = options.last('dtb');
  if (deviceTree !== undefined && isPc) throw new UsageError('-dtb: a PC has no device tree');
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
      const wanted = values.choice('acpi', ['on', 'off', 'auto']);
      if (wanted !== undefined) acpi = wanted !== 'off';
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
    if (architecture.name === 'riscv64') riscv = planRiscv(values);
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
      for (const part of ['smbus', 'sata', 'pit', 'i8042']) values.settled(part, 'on');
    }
    if (!isPc) {
      dumpTree = values.text('dumpdtb');
      deviceTree = values.text('dtb') ?? deviceTree;
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
    dumpTree,
    deviceTree,
    machine: board,
    cpus: planCpus(options.last('smp')),
    hpet,
    acpi,
    arm,
    riscv,
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
  const levels = ['sockets', 'dies', 'clusters', 'cores', 'threads'];
  const isWhole = levels.every((key) => values.has(key) || key === 'dies' || key === 'clusters');
  const product = levels.map((key) => values.number(key, 1, 255) ?? 1).reduce((a, b) => a * b, 1);
  const most = values.number('maxcpus', 1, 255);
  values.finish();
  const count = cpus ?? (product > 1 ? product : (most ?? 1));
  if (most !== undefined && most < count)
    throw new UsageError(`-smp ${smp}: maxcpus must be equal to or greater than the ${count} vCPUs at the start`);
  // More than at the start: a guest would be told of a controller by which they come.
  if (most !== undefined && most > count)
    throw new UsageError(`-smp ${smp}: there is no CPU hotplug, or not yet: maxcpus can be ${count} alone`);
  if ((product > 1 || isWhole) && product !== count)
    throw new UsageError(`-smp ${smp}: the topology has ${product} vCPUs, not ${count}`);
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

function planName(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const values = KeyValues.parse(`-name ${text}`, text, 'guest');
  const name = values.text('guest');
  values.text('process');
  values.flag('debug-threads');
  values.finish();
  return name;
}
