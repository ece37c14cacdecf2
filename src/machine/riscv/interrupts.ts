/**
 * The board's interrupt controller, of three kinds (QEMU's `aia=`): a PLIC; an APLIC that drives lines; an APLIC that sends messages to
 * each hart's files of an incoming MSI controller, which PCI devices send theirs to as well.
 */
import type { Device, IrqLine, MemorySpace, MsiTarget } from '../../bus/index.js';
import type { RiscvBoard } from '../../guest/riscv/index.js';
import { APLIC_BYTES, APLIC_SOURCES, Aplic, IMSIC_PAGE_BYTES, ImsicFile, PLIC_BYTES, Plic } from '../../hw/index.js';
import { map } from './memory-map.js';

export const aiaKinds = ['none', 'aplic', 'aplic-imsic'] as const;
export type AiaKind = (typeof aiaKinds)[number];

export interface InterruptsOptions {
  readonly kind: AiaKind;
  readonly memory: MemorySpace;
  /** External interrupts of M-mode and of S-mode, of each hart. */
  readonly outputs: readonly { readonly machine: IrqLine; readonly supervisor: IrqLine }[];
}

export interface RiscvInterrupts {
  /** By source number; 0 is no source. */
  readonly inputs: readonly IrqLine[];
  readonly msi: MsiTarget;
  readonly devices: readonly Device[];
  readonly plic?: Plic;
  readonly aplic?: { readonly machine: Aplic; readonly supervisor: Aplic };
  readonly files?: readonly (NonNullable<RiscvBoard['files']> & {
    readonly machine: ImsicFile;
    readonly supervisor: ImsicFile;
  })[];
  /** What firmware in M-mode leaves: all is S-mode's. Behind a reset. */
  delegate(): void;
}

const SOURCE_DELEGATED = 0x400;
/** Offsets of registers of the root domain. */
const root = { sourcecfg: 0, mmsiaddrcfg: 0x1bc0, mmsiaddrcfgh: 0x1bc4, smsiaddrcfg: 0x1bc8 } as const;
const LOW_WIDTH_SHIFT = 12;

export function makeRiscvInterrupts({ kind, memory, outputs }: InterruptsOptions): RiscvInterrupts {
  if (kind === 'none') {
    const plic = new Plic({ outputs: outputs.flatMap(({ machine, supervisor }) => [machine, supervisor]) });
    memory.addWindow({ name: 'plic', start: map.plic.gpa, size: PLIC_BYTES, handler: plic });
    return { inputs: plic.inputs, msi: { send: () => {} }, devices: [plic], plic, delegate: () => {} };
  }
  const files =
    kind === 'aplic-imsic'
      ? outputs.map((lines, hart) => ({
          machine: new ImsicFile({ name: `imsic-m${hart}`, output: lines.machine }),
          supervisor: new ImsicFile({ name: `imsic-s${hart}`, output: lines.supervisor }),
        }))
      : undefined;
  /** A message is a write of a word to a file's page. */
  const send = (gpa: number, data: number): void => {
    for (const [start, level] of [
      [map.imsicM.gpa, 'machine'],
      [map.imsicS.gpa, 'supervisor'],
    ] as const)
      files?.[Math.floor((gpa - start) / IMSIC_PAGE_BYTES)]?.[level].write(gpa % IMSIC_PAGE_BYTES, 4, data >>> 0);
  };
  const sender = files ? { send } : {};
  const supervisor = new Aplic({ name: 'aplic-s', outputs: outputs.map((each) => each.supervisor), ...sender });
  const machine = new Aplic({
    name: 'aplic-m',
    outputs: outputs.map((each) => each.machine),
    ...sender,
    child: supervisor,
  });
  for (const [name, start, handler] of [
    ['aplic-m', map.aplicM.gpa, machine],
    ['aplic-s', map.aplicS.gpa, supervisor],
  ] as const)
    memory.addWindow({ name, start, size: APLIC_BYTES, handler });
  for (const [hart, file] of files?.entries() ?? [])
    for (const [chip, { gpa }] of [
      [file.machine, map.imsicM],
      [file.supervisor, map.imsicS],
    ] as const)
      memory.addWindow({
        name: chip.name,
        start: gpa + hart * IMSIC_PAGE_BYTES,
        size: IMSIC_PAGE_BYTES,
        handler: chip,
      });
  return {
    inputs: machine.inputs,
    msi: { send },
    devices: [machine, supervisor, ...(files?.flatMap((each) => [each.machine, each.supervisor]) ?? [])],
    aplic: { machine, supervisor },
    ...(files ? { files } : {}),
    delegate: () => {
      for (let source = 1; source <= APLIC_SOURCES; source++)
        machine.write(root.sourcecfg + 4 * source, 4, SOURCE_DELEGATED);
      if (!files) return;
      machine.write(root.mmsiaddrcfg, 4, map.imsicM.gpa / IMSIC_PAGE_BYTES);
      machine.write(root.smsiaddrcfg, 4, map.imsicS.gpa / IMSIC_PAGE_BYTES);
      machine.write(root.mmsiaddrcfgh, 4, Math.ceil(Math.log2(outputs.length)) << LOW_WIDTH_SHIFT);
    },
  };
}
