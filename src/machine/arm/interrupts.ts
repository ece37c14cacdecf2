/**
 * The interrupt controller of the board `virt`: a GICv2 with a frame for message-signalled interrupts, or a GICv3 with an ITS or none.
 * What they have in common is what the rest of the board sees.
 */
import { VringError } from '../../base/index.js';
import type { Device, GicCpuInterface, IoHandler, IrqLine, MemorySpace, MsiTarget } from '../../bus/index.js';
import {
  FIRST_SPI,
  GICH_BYTES,
  GICV_BYTES,
  GICV2_CPUS,
  GICV2M_BYTES,
  GicV2,
  type GicV2Outputs,
  GicV2Virtual,
  GicV3,
  GicV3Virtual,
  gicv2m,
  ITS_BYTES,
  ITS_TRANSLATER,
  Its,
  REDISTRIBUTOR_BYTES,
} from '../../hw/index.js';
import { MAINTENANCE_INTERRUPT, map } from './memory-map.js';

/** As many redistributors as there is room for. */
export const GICV3_CPUS = Math.floor(map.redistributors.bytes / REDISTRIBUTOR_BYTES);

export interface GicOptions {
  readonly version: 2 | 3;
  /** A GICv3 has an ITS. */
  readonly its: boolean;
  /** It has what hypervisors want of it. */
  readonly virtual?: boolean;
}

/** MPIDR's Aff3 to Aff0 of a CPU by its number: clusters of as many as one SGI can name. */
export function affinityOf(cpu: number, version: 2 | 3): number {
  const perCluster = version === 3 ? 16 : GICV2_CPUS;
  return (Math.floor(cpu / perCluster) << 8) | (cpu % perCluster);
}

export interface Interrupts {
  readonly gic: GicV2 | GicV3;
  readonly devices: readonly Device[];
  readonly msi: MsiTarget;
  /** Inputs of shared interrupts, and of a private one of a CPU. */
  readonly spis: readonly IrqLine[];
  ppi(cpu: number, irq: number): IrqLine;
  /** System registers of a CPU's interface. */
  cpuInterface(cpu: number): GicCpuInterface | undefined;
}

export interface InterruptOptions extends GicOptions {
  readonly memory: MemorySpace;
  readonly outputs: readonly GicV2Outputs[];
  /** Inputs of CPUs for interrupts of a virtual machine. */
  readonly virtualOutputs: readonly GicV2Outputs[];
  /** Number of the CPU that makes an access. */
  accessor(): number;
}

/** Throws VringError `options-invalid`: there are too many CPUs. */
export function checkGic({ version }: GicOptions, cpus: number): void {
  const most = version === 2 ? GICV2_CPUS : GICV3_CPUS;
  if (cpus <= most) return;
  const hint = version === 2 ? `; with gic-version=3 there are up to ${GICV3_CPUS}` : '';
  throw new VringError('options-invalid', `The board virt has up to ${most} CPUs with a GICv${version}${hint}.`);
}

type Window = readonly [name: string, start: number, size: number, handler: IoHandler];
const addWindows = (memory: MemorySpace, windows: readonly Window[]): void =>
  memory.transaction(() => {
    for (const [name, start, size, handler] of windows) memory.addWindow({ name, start, size, handler });
  });

export function makeInterrupts(options: InterruptOptions): Interrupts {
  return options.version === 2 ? makeV2(options) : makeV3(options);
}

function makeV2({ memory, outputs, virtualOutputs, virtual, accessor }: InterruptOptions): Interrupts {
  const gic = new GicV2({ outputs, accessor });
  const { spi: first, spis: count } = map.msiFrame;
  const frame = gicv2m(FIRST_SPI + first, gic.spis.slice(first, first + count));
  addWindows(memory, [
    ['gic-distributor', map.distributor.gpa, map.distributor.bytes, gic.distributor],
    ['gic-cpu', map.cpuInterface.gpa, map.cpuInterface.bytes, gic.cpuInterface],
    ['gicv2m', map.msiFrame.gpa, GICV2M_BYTES, frame],
  ]);
  const extension = virtual
    ? new GicV2Virtual({
        outputs: virtualOutputs.map((lines, cpu) => ({ ...lines, maintenance: gic.ppi(cpu, MAINTENANCE_INTERRUPT) })),
        accessor,
        deactivate: (cpu, irq) => gic.deactivate(cpu, irq),
      })
    : undefined;
  if (extension)
    addWindows(memory, [
      ['gic-hypervisor', map.hypervisorInterface.gpa, GICH_BYTES, extension.hypervisorInterface],
      ['gic-virtual-cpu', map.virtualInterface.gpa, GICV_BYTES, extension.cpuInterface],
    ]);
  return {
    gic,
    devices: extension ? [gic, extension] : [gic],
    // A write to the frame's register, as a device on the bus makes it.
    msi: { send: (gpa, value) => memory.write(gpa, 4, value) },
    spis: gic.spis,
    ppi: (cpu, irq) => gic.ppi(cpu, irq),
    cpuInterface: () => undefined,
  };
}

function makeV3({ memory, outputs, virtual, virtualOutputs, its: hasIts }: InterruptOptions): Interrupts {
  const { dma } = memory;
  const gic = new GicV3({
    outputs,
    affinities: outputs.map((_, cpu) => affinityOf(cpu, 3)),
    dma: hasIts ? dma : undefined,
  });
  const its = hasIts ? new Its({ gic, dma }) : undefined;
  const extension = virtual
    ? new GicV3Virtual({
        outputs: virtualOutputs.map((lines, cpu) => ({ ...lines, maintenance: gic.ppi(cpu, MAINTENANCE_INTERRUPT) })),
        deactivate: (cpu, irq) => {
          gic.deactivate(irq, cpu);
          gic.refresh(cpu);
        },
      })
    : undefined;
  gic.virtual = extension;
  addWindows(memory, [
    ['gic-distributor', map.distributor.gpa, map.distributor.bytes, gic.distributor],
    ['gic-redistributors', map.redistributors.gpa, outputs.length * REDISTRIBUTOR_BYTES, gic.redistributors],
    ...(its ? ([['gic-its', map.its.gpa, ITS_BYTES, its.registers]] as const) : []),
  ]);
  return {
    gic,
    devices: [gic, ...(its ? [its] : []), ...(extension ? [extension] : [])],
    msi: {
      send: (gpa, value, requester = 0) => {
        if (its && gpa === map.its.gpa + ITS_TRANSLATER) its.translate(requester, value);
        else memory.write(gpa, 4, value);
      },
    },
    spis: gic.spis,
    ppi: (cpu, irq) => gic.ppi(cpu, irq),
    cpuInterface: (cpu) => gic.interfaces[cpu],
  };
}
