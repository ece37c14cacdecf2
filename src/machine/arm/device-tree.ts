/** The device tree of the board `virt`: nodes and properties as Linux's bindings and QEMU's board have them. */
import type { ArmModel } from '../../guest/arm/models.js';
import { FIRST_PPI, GICV2M_BYTES, PRIMECELL_BYTES } from '../../hw/index.js';
import { flashNode, pciHostNode, reg, unit, virtioSlotNodes } from '../device-tree-parts.js';
import { type FdtNode, twoCells } from '../fdt.js';
import type { GicOptions } from './interrupts.js';
import { MAINTENANCE_INTERRUPT, map, type PciPlaces, timerInterrupts } from './memory-map.js';

export interface TreeOptions {
  /** How PSCI is called; undefined: what starts says so itself. */
  readonly conduit?: 'hvc' | 'smc' | undefined;
  readonly model: ArmModel;
  /** Of each CPU. */
  readonly affinities: readonly number[];
  readonly gic: GicOptions;
  readonly pci: PciPlaces;
  readonly ramBytes: number;
  readonly commandLine?: string | undefined;
  readonly initrd?: { readonly start: number; readonly end: number } | undefined;
  /** 32 bytes and 8: for the kernel's random numbers, and for where it puts itself; undefined: nothing is random. */
  readonly rngSeed: Uint8Array | undefined;
  readonly kaslrSeed: Uint8Array | undefined;
  /** The serial port is there. */
  readonly serial: boolean;
  /** Addresses have 32 bits. */
  readonly narrow: boolean;
}

const phandle = { clock: 1, gic: 2, msi: 3, gpio: 4, secureGpio: 5, cpu: 16 } as const;
/** Cells of the GIC's binding: kinds of interrupts, and how they are triggered. */
const kind = { spi: 0, ppi: 1 } as const;
const trigger = { rising: 1, high: 4 } as const;
const KEY_POWER = 116;
const CLOCK_HZ = 24_000_000;

/** Shared interrupts are levels here, those of virtio-mmio too: QEMU says edges, with which an acknowledgement can lose one. */
const spi = (n: number): number[] => [kind.spi, n, trigger.high];

/** What Linux's binding of PrimeCells wants of each. */
const primeCell = (name: string, gpa: number, clocks: readonly string[], n: number): FdtNode => ({
  compatible: [`arm,${name}`, 'arm,primecell'],
  reg: reg(gpa, PRIMECELL_BYTES),
  interrupts: spi(n),
  clocks: clocks.map(() => phandle.clock),
  'clock-names': clocks,
});

/** Version 0.1 has no fixed numbers: those of its functions, some of which AArch64 calls in their 64-bit form. */
function psciNode(conduit: 'hvc' | 'smc', narrow: boolean): FdtNode {
  const form = narrow ? 0x8400_0000 : 0xc400_0000;
  return {
    compatible: ['arm,psci-1.0', 'arm,psci-0.2', 'arm,psci'],
    method: conduit,
    cpu_suspend: [form + 1],
    cpu_off: [0x8400_0002],
    cpu_on: [form + 3],
    migrate: [form + 5],
  };
}

/** The interrupt controller, with what takes message-signalled interrupts inside it. */
function gicNode({ version, its, virtual }: GicOptions, ppi: (irq: number) => number[]): FdtNode {
  const common = {
    phandle: [phandle.gic],
    '#address-cells': [2],
    '#size-cells': [2],
    '#interrupt-cells': [3],
    'interrupt-controller': true,
    ranges: true,
  } as const;
  const distributor = reg(map.distributor.gpa, map.distributor.bytes);
  if (version === 2)
    return {
      ...common,
      compatible: 'arm,cortex-a15-gic',
      reg: [
        ...distributor,
        ...reg(map.cpuInterface.gpa, map.cpuInterface.bytes),
        ...(virtual ? [...reg(map.hypervisorInterface.gpa, 0x1_0000), ...reg(map.virtualInterface.gpa, 0x1_0000)] : []),
      ],
      interrupts: virtual ? ppi(MAINTENANCE_INTERRUPT) : undefined,
      [`v2m@${unit(map.msiFrame.gpa)}`]: {
        phandle: [phandle.msi],
        compatible: 'arm,gic-v2m-frame',
        'msi-controller': true,
        reg: reg(map.msiFrame.gpa, GICV2M_BYTES),
      },
    };
  return {
    ...common,
    compatible: 'arm,gic-v3',
    '#redistributor-regions': [1],
    interrupts: virtual ? ppi(MAINTENANCE_INTERRUPT) : undefined,
    reg: [...distributor, ...reg(map.redistributors.gpa, map.redistributors.bytes)],
    [`its@${unit(map.its.gpa)}`]: its
      ? {
          phandle: [phandle.msi],
          compatible: 'arm,gic-v3-its',
          'msi-controller': true,
          '#msi-cells': [1],
          reg: reg(map.its.gpa, map.its.bytes),
        }
      : undefined,
  };
}

/** What is for secure state, and the flash bank that is not. */
function secureNodes(seeds: FdtNode): FdtNode {
  const { flash, secureUart, secureGpio, secureRam } = map;
  const secure = { status: 'disabled', 'secure-status': 'okay' } as const;
  const second = { gpa: flash.gpa + flash.bytes, banks: 1, bytes: flash.bytes };
  const uart = `pl011@${unit(secureUart.gpa)}`;
  return {
    [`secflash@${unit(flash.gpa)}`]: { ...flashNode({ ...flash, banks: 1 }), ...secure },
    [`flash@${unit(second.gpa)}`]: flashNode(second),
    [`secram@${unit(secureRam.gpa)}`]: { device_type: 'memory', reg: reg(secureRam.gpa, secureRam.bytes), ...secure },
    'secure-chosen': { 'stdout-path': `/${uart}`, ...seeds },
    [uart]: { ...primeCell('pl011', secureUart.gpa, ['uartclk', 'apb_pclk'], secureUart.spi), ...secure },
    [`pl061@${unit(secureGpio.gpa)}`]: {
      ...primeCell('pl061', secureGpio.gpa, ['apb_pclk'], secureGpio.spi),
      phandle: [phandle.secureGpio],
      '#gpio-cells': [2],
      'gpio-controller': true,
      ...secure,
    },
    'gpio-poweroff': {
      compatible: 'gpio-poweroff',
      gpios: [phandle.secureGpio, secureGpio.powerOffPin, 0],
      ...secure,
    },
    'gpio-restart': { compatible: 'gpio-restart', gpios: [phandle.secureGpio, secureGpio.resetPin, 0], ...secure },
  };
}

export function virtTree(options: TreeOptions): FdtNode {
  const { conduit, model, affinities, gic, pci, ramBytes, commandLine, initrd, rngSeed, kaslrSeed, serial, narrow } =
    options;
  const uart = `pl011@${unit(map.uart.gpa)}`;
  // A GICv2's binding names the CPUs too.
  const allCpus = gic.version === 2 ? ((1 << affinities.length) - 1) << 8 : 0;
  const hasMsi = gic.version === 2 || gic.its;
  const ppi = (irq: number): number[] => [kind.ppi, irq - FIRST_PPI, trigger.high | allCpus];
  return {
    '#address-cells': [2],
    '#size-cells': [2],
    compatible: 'linux,dummy-virt',
    model: 'linux,dummy-virt',
    'interrupt-parent': [phandle.gic],
    'dma-coherent': true,
    chosen: {
      bootargs: commandLine,
      'rng-seed': rngSeed,
      'kaslr-seed': kaslrSeed,
      'stdout-path': serial ? `/${uart}` : undefined,
      'linux,initrd-start': initrd ? twoCells(initrd.start) : undefined,
      'linux,initrd-end': initrd ? twoCells(initrd.end) : undefined,
    },
    [`memory@${unit(map.ram.gpa)}`]: { device_type: 'memory', reg: reg(map.ram.gpa, ramBytes) },
    ...(conduit ? { psci: psciNode(conduit, narrow) } : {}),
    cpus: {
      '#address-cells': [1],
      '#size-cells': [0],
      ...Object.fromEntries(
        affinities.map((affinity, n) => [
          `cpu@${unit(affinity)}`,
          {
            phandle: [phandle.cpu + n],
            device_type: 'cpu',
            compatible: `arm,${model.name === 'max' ? 'armv8' : model.name}`,
            reg: [affinity],
            'enable-method': affinities.length > 1 ? 'psci' : undefined,
          },
        ]),
      ),
      'cpu-map': {
        socket0: {
          cluster0: Object.fromEntries(affinities.map((_, n) => [`core${n}`, { cpu: [phandle.cpu + n] }])),
        },
      },
    },
    timer: {
      compatible: ['arm,armv8-timer', 'arm,armv7-timer'],
      'always-on': true,
      interrupts: [
        ...ppi(timerInterrupts.secure),
        ...ppi(timerInterrupts.physical),
        ...ppi(timerInterrupts.virtual),
        ...ppi(timerInterrupts.hypervisor),
      ],
    },
    ...(model.features.has('pmu')
      ? { pmu: { compatible: 'arm,armv8-pmuv3', interrupts: ppi(timerInterrupts.performance) } }
      : {}),
    'apb-pclk': {
      phandle: [phandle.clock],
      compatible: 'fixed-clock',
      '#clock-cells': [0],
      'clock-frequency': [CLOCK_HZ],
      'clock-output-names': 'clk24mhz',
    },
    [`intc@${unit(map.distributor.gpa)}`]: gicNode(gic, ppi),
    ...(serial ? { [uart]: primeCell('pl011', map.uart.gpa, ['uartclk', 'apb_pclk'], map.uart.spi) } : {}),
    [`pl031@${unit(map.rtc.gpa)}`]: primeCell('pl031', map.rtc.gpa, ['apb_pclk'], map.rtc.spi),
    [`pl061@${unit(map.gpio.gpa)}`]: {
      ...primeCell('pl061', map.gpio.gpa, ['apb_pclk'], map.gpio.spi),
      phandle: [phandle.gpio],
      '#gpio-cells': [2],
      'gpio-controller': true,
    },
    ...(model.features.has('el3')
      ? secureNodes({ 'rng-seed': rngSeed, 'kaslr-seed': kaslrSeed })
      : { [`flash@${unit(map.flash.gpa)}`]: flashNode(map.flash) }),
    'gpio-keys': {
      compatible: 'gpio-keys',
      poweroff: {
        label: 'GPIO Key Poweroff',
        'linux,code': [KEY_POWER],
        gpios: [phandle.gpio, map.gpio.powerPin, 0],
      },
    },
    [`fw-cfg@${unit(map.fwCfg.gpa)}`]: {
      compatible: 'qemu,fw-cfg-mmio',
      reg: reg(map.fwCfg.gpa, 0x18),
      'dma-coherent': true,
    },
    ...Object.fromEntries(
      virtioSlotNodes(map.virtio, (slot) => ({ interrupts: spi(map.virtio.spi + slot), 'dma-coherent': true })),
    ),
    [`pcie@${unit(map.pciMemory.gpa)}`]: {
      ...pciHostNode(
        pci,
        // The GIC has two address cells, as its frame below needs.
        (n) => [phandle.gic, 0, 0, ...spi(map.pci.spi + n)],
      ),
      'msi-map': hasMsi ? [0, phandle.msi, 0, 0x1_0000] : undefined,
    },
  };
}
