/** The device tree of the board `virt`: nodes and properties as Linux's bindings and QEMU's board have them. */
import { isaOf, type RiscvModel } from '../../guest/riscv/models.js';
import { CACHE_BLOCK_BYTES } from '../../guest/riscv/state.js';
import {
  ACLINT_BYTES,
  APLIC_BYTES,
  APLIC_SOURCES,
  GOLDFISH_RTC_BYTES,
  IMSIC_IDS,
  IMSIC_PAGE_BYTES,
  MTIME_HZ,
  PLIC_BYTES,
  PLIC_SOURCES,
} from '../../hw/index.js';
import { flashNode, pciHostNode, reg, unit, virtioSlotNodes } from '../device-tree-parts.js';
import { type FdtNode, twoCells } from '../fdt.js';
import type { AiaKind } from './interrupts.js';
import { map } from './memory-map.js';

export interface TreeOptions {
  readonly model: RiscvModel;
  readonly harts: number;
  readonly aia: AiaKind;
  /** Controllers of M-mode are told of. */
  readonly machineLevel: boolean;
  readonly ramBytes: number;
  readonly commandLine?: string | undefined;
  readonly initrd?: { readonly start: number; readonly end: number } | undefined;
  readonly rngSeed: Uint8Array;
  /** The serial port is there. */
  readonly serial: boolean;
}

/** Behind those of the harts, of which there are two each. */
const phandle = { interrupts: 1, test: 2, harts: 3, aplicM: 0x100, imsicM: 0x101, imsicS: 0x102 } as const;
const cpuHandle = (hart: number): number => phandle.harts + 2 * hart;
const cpuInterrupts = (hart: number): number => cpuHandle(hart) + 1;
/** Interrupts of every hart. */
const onEach = (harts: number, ...lines: readonly number[]): number[] =>
  Array.from({ length: harts }, (_, hart) => lines.flatMap((line) => [cpuInterrupts(hart), line])).flat();
/** Interrupt numbers of a hart. */
const cpuLine = { software: 3, timer: 7, supervisorExternal: 9, machineExternal: 11 } as const;
/** How a source of an APLIC is triggered: the binding's word for a level that is high. */
const LEVEL_HIGH = 4;
const UART_HZ = 3_686_400;

function cpuNode(model: RiscvModel, hart: number): FdtNode {
  const isa = isaOf(model);
  return {
    phandle: [cpuHandle(hart)],
    device_type: 'cpu',
    reg: [hart],
    status: 'okay',
    compatible: 'riscv',
    'riscv,isa': isa.text,
    'riscv,isa-base': 'rv64i',
    'riscv,isa-extensions': isa.parts,
    'riscv,cbom-block-size': model.extensions.has('zicbom') ? [CACHE_BLOCK_BYTES] : undefined,
    'riscv,cboz-block-size': model.extensions.has('zicboz') ? [CACHE_BLOCK_BYTES] : undefined,
    'mmu-type': 'riscv,sv57',
    'interrupt-controller': {
      '#address-cells': [0],
      '#interrupt-cells': [1],
      'interrupt-controller': true,
      compatible: 'riscv,cpu-intc',
      phandle: [cpuInterrupts(hart)],
    },
  };
}

function plicNodes(harts: number): FdtNode {
  return {
    [`plic@${unit(map.plic.gpa)}`]: {
      phandle: [phandle.interrupts],
      compatible: ['sifive,plic-1.0.0', 'riscv,plic0'],
      '#address-cells': [0],
      '#interrupt-cells': [1],
      'interrupt-controller': true,
      'interrupts-extended': onEach(harts, cpuLine.machineExternal, cpuLine.supervisorExternal),
      reg: reg(map.plic.gpa, PLIC_BYTES),
      'riscv,ndev': [PLIC_SOURCES],
    },
  };
}

/** One level's domain of the APLIC, and what it delivers to: interrupt files, or lines of the harts. */
function aiaNodes(kind: AiaKind, harts: number, isMachine: boolean): FdtNode {
  const line = isMachine ? cpuLine.machineExternal : cpuLine.supervisorExternal;
  const { gpa } = isMachine ? map.aplicM : map.aplicS;
  const files = isMachine ? map.imsicM : map.imsicS;
  const filesHandle = isMachine ? phandle.imsicM : phandle.imsicS;
  const hasFiles = kind === 'aplic-imsic';
  const extended = onEach(harts, line);
  const delegated = {
    'riscv,children': [phandle.interrupts],
    'riscv,delegate': [phandle.interrupts, 1, APLIC_SOURCES],
  };
  return {
    [`aplic@${unit(gpa)}`]: {
      phandle: [isMachine ? phandle.aplicM : phandle.interrupts],
      compatible: 'riscv,aplic',
      '#address-cells': [0],
      '#interrupt-cells': [2],
      'interrupt-controller': true,
      ...(hasFiles ? { 'msi-parent': [filesHandle] } : { 'interrupts-extended': extended }),
      reg: reg(gpa, APLIC_BYTES),
      'riscv,num-sources': [APLIC_SOURCES],
      ...(isMachine ? delegated : {}),
    },
    ...(hasFiles
      ? {
          [`imsics@${unit(files.gpa)}`]: {
            phandle: [filesHandle],
            compatible: 'riscv,imsics',
            '#address-cells': [0],
            '#interrupt-cells': [0],
            '#msi-cells': [0],
            'interrupt-controller': true,
            'msi-controller': true,
            'interrupts-extended': extended,
            reg: reg(files.gpa, harts * IMSIC_PAGE_BYTES),
            'riscv,ipi-id': [1],
            'riscv,num-ids': [IMSIC_IDS],
          },
        }
      : {}),
  };
}

export function virtTree(options: TreeOptions): FdtNode {
  const { model, harts, aia, machineLevel, ramBytes, commandLine, initrd, rngSeed, serial } = options;
  const numbers = Array.from({ length: harts }, (_, hart) => hart);
  const uart = `serial@${unit(map.uart.gpa)}`;
  const specifier = (irq: number) => (aia === 'none' ? [irq] : [irq, LEVEL_HIGH]);
  const interrupts = (irq: number) => ({ 'interrupt-parent': [phandle.interrupts], interrupts: specifier(irq) });
  const syscon = (compatible: string, value: number) => ({
    compatible,
    regmap: [phandle.test],
    offset: [0],
    value: [value],
  });
  return {
    '#address-cells': [2],
    '#size-cells': [2],
    compatible: 'riscv-virtio',
    model: 'riscv-virtio,vring',
    chosen: {
      bootargs: commandLine,
      'rng-seed': rngSeed,
      'stdout-path': serial ? `/soc/${uart}` : undefined,
      'linux,initrd-start': initrd ? twoCells(initrd.start) : undefined,
      'linux,initrd-end': initrd ? twoCells(initrd.end) : undefined,
    },
    [`memory@${unit(map.ram.gpa)}`]: { device_type: 'memory', reg: reg(map.ram.gpa, ramBytes) },
    cpus: {
      '#address-cells': [1],
      '#size-cells': [0],
      'timebase-frequency': [MTIME_HZ],
      ...Object.fromEntries(numbers.map((hart) => [`cpu@${unit(hart)}`, cpuNode(model, hart)])),
      'cpu-map': { cluster0: Object.fromEntries(numbers.map((hart) => [`core${hart}`, { cpu: [cpuHandle(hart)] }])) },
    },
    [`flash@${unit(map.flash.gpa)}`]: flashNode(map.flash),
    'fw-cfg@10100000': { compatible: 'qemu,fw-cfg-mmio', reg: reg(map.fwCfg.gpa, 0x18), 'dma-coherent': true },
    poweroff: syscon('syscon-poweroff', 0x5555),
    reboot: syscon('syscon-reboot', 0x7777),
    soc: {
      '#address-cells': [2],
      '#size-cells': [2],
      compatible: 'simple-bus',
      ranges: true,
      [`test@${unit(map.test.gpa)}`]: {
        phandle: [phandle.test],
        compatible: ['sifive,test1', 'sifive,test0', 'syscon'],
        reg: reg(map.test.gpa, 0x1000),
      },
      [`rtc@${unit(map.rtc.gpa)}`]: {
        compatible: 'google,goldfish-rtc',
        reg: reg(map.rtc.gpa, Math.ceil(GOLDFISH_RTC_BYTES / 0x1000) * 0x1000),
        ...interrupts(map.rtc.irq),
      },
      ...(serial
        ? {
            [uart]: {
              compatible: 'ns16550a',
              reg: reg(map.uart.gpa, 0x100),
              'clock-frequency': [UART_HZ],
              ...interrupts(map.uart.irq),
            },
          }
        : {}),
      // The highest first, as QEMU lists them.
      ...Object.fromEntries(virtioSlotNodes(map.virtio, (slot) => interrupts(map.virtio.irq + slot)).reverse()),
      [`pci@${unit(map.pciEcam.gpa)}`]: {
        ...pciHostNode(
          { ecam: map.pciEcam, ports: map.pciPorts, memory: map.pciMemory, highMemory: map.pciHighMemory },
          (n) => [phandle.interrupts, ...specifier(map.pciMemory.irq + n)],
        ),
        'msi-parent': aia === 'aplic-imsic' ? [phandle.imsicS] : undefined,
      },
      ...(aia === 'none'
        ? plicNodes(harts)
        : { ...aiaNodes(aia, harts, false), ...(machineLevel ? aiaNodes(aia, harts, true) : {}) }),
      [`clint@${unit(map.clint.gpa)}`]: {
        compatible: ['sifive,clint0', 'riscv,clint0'],
        'interrupts-extended': onEach(harts, cpuLine.software, cpuLine.timer),
        reg: reg(map.clint.gpa, ACLINT_BYTES),
      },
    },
  };
}
