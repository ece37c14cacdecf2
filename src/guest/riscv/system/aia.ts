/**
 * What a hart has of the Advanced Interrupt Architecture (version 1.0, chapters 2, 3 and 5: Smaia and Ssaia): indirect registers, of its
 * priorities and of its two interrupt files, and the most urgent interrupt of each level.
 *
 * mvien and mvip are zero, as QEMU's: no interrupt is made by M-mode for S-mode in this way.
 */
import { field, irq } from '../state.js';
import type { CsrRow } from './csr.js';
import type { Hart } from './hart.js';

/** A file of an incoming MSI controller, as a hart reaches it. */
export interface InterruptFile {
  /** The identity to be taken, which is its priority too; 0: none. */
  readonly top: number;
  /** The top is no longer pending. */
  claim(): void;
  /** A register by its number; undefined, false: the access is illegal. */
  readRegister(number: number): bigint | undefined;
  writeRegister(number: number, value: bigint): boolean;
}

interface Level {
  readonly extension: 'smaia' | 'ssaia';
  readonly select: number;
  /** A byte for each interrupt. */
  readonly priorities: number;
  readonly external: number;
  /** Interrupts whose priority can be written. */
  readonly adjustable: readonly number[];
  readonly file: (hart: Hart) => InterruptFile | undefined;
  readonly enabled: (hart: Hart) => bigint;
}

const machine: Level = {
  extension: 'smaia',
  select: field.miselect,
  priorities: field.machinePriorities,
  external: irq.MEI,
  adjustable: [irq.SSI, irq.MSI, irq.STI, irq.MTI, irq.SEI],
  file: (hart) => hart.board.files?.machine,
  enabled: (hart) => hart.get64(field.mie) & ~hart.get64(field.mideleg),
};
const supervisor: Level = {
  extension: 'ssaia',
  select: field.siselect,
  priorities: field.supervisorPriorities,
  external: irq.SEI,
  adjustable: [irq.SSI, irq.STI],
  file: (hart) => hart.board.files?.supervisor,
  enabled: (hart) => hart.get64(field.mie) & hart.get64(field.mideleg),
};

/** The most urgent first, where priorities do not say otherwise (table 7). */
const defaultOrder = [irq.MEI, irq.MSI, irq.MTI, irq.SEI, irq.SSI, irq.STI];
/** Behind every priority that can be written. */
const LAST = 256;

/** The most urgent of some interrupts, and its priority as mtopi and stopi have it (5.3, 5.4). */
function mostUrgent(
  hart: Hart,
  level: Level,
  among: bigint,
): { readonly line: number; readonly priority: number } | undefined {
  let found: { line: number; priority: number } | undefined;
  let isBehindExternal = false;
  for (const line of defaultOrder) {
    const isExternal = line === level.external;
    isBehindExternal ||= isExternal;
    if (((among >> BigInt(line)) & 1n) === 0n) continue;
    const given = isExternal ? (level.file(hart)?.top ?? 0) : hart.get8(level.priorities + line);
    const priority = given || (isBehindExternal ? LAST : 0);
    if (!found || priority < found.priority) found = { line, priority };
  }
  return found && { line: found.line, priority: Math.min(found.priority, LAST - 1) };
}

/** Which of some interrupts is taken, those of one level. */
export const chooseInterrupt = (hart: Hart, isMachine: boolean, among: bigint): number | undefined =>
  mostUrgent(hart, isMachine ? machine : supervisor, among)?.line;

function top(hart: Hart, level: Level): bigint {
  const found = mostUrgent(hart, level, hart.pending & level.enabled(hart));
  return found ? (BigInt(found.line) << 16n) | BigInt(found.priority) : 0n;
}

const topExternal = (hart: Hart, level: Level): bigint => {
  const id = BigInt(level.file(hart)?.top ?? 0);
  return (id << 16n) | id;
};

// --- indirect registers (2.1)

const SELECT_MASK = 0xfffn;
/** Numbers of priorities, eight to each even one, and from where on an interrupt file's are. */
const select = { priorities: 0x30, file: 0x70, end: 0x100 } as const;

function firstPriority(number: number): number | undefined {
  const isOne = number >= select.priorities && number < select.priorities + 16 && (number & 1) === 0;
  return isOne ? 4 * (number - select.priorities) : undefined;
}

/** Undefined: the access is illegal. */
function readIndirect(hart: Hart, level: Level): bigint | undefined {
  const number = Number(hart.get64(level.select));
  const first = firstPriority(number);
  if (first !== undefined) return hart.get64(level.priorities + first);
  return number >= select.file && number < select.end ? level.file(hart)?.readRegister(number) : undefined;
}

function writeIndirect(hart: Hart, level: Level, value: bigint): void {
  const number = Number(hart.get64(level.select));
  const first = firstPriority(number);
  if (first === undefined) {
    level.file(hart)?.writeRegister(number, value);
    return;
  }
  for (const line of level.adjustable)
    if (line >= first && line < first + 8)
      hart.set8(level.priorities + line, Number((value >> BigInt(8 * (line - first))) & 0xffn));
}

function rowsOf(level: Level, letter: 'm' | 's', base: number, topNumber: number): CsrRow[] {
  const isAbsent = ({ model }: Hart): boolean => !model.extensions.has(level.extension);
  return [
    {
      number: base,
      name: `${letter}iselect`,
      read: (hart) => hart.get64(level.select),
      write: (hart, value) => hart.set64(level.select, value & SELECT_MASK),
      refused: isAbsent,
    },
    {
      number: base + 1,
      name: `${letter}ireg`,
      read: (hart) => readIndirect(hart, level) ?? 0n,
      write: (hart, value) => writeIndirect(hart, level, value),
      refused: (hart) => isAbsent(hart) || readIndirect(hart, level) === undefined,
    },
    {
      number: base + 0xc,
      name: `${letter}topei`,
      read: (hart) => topExternal(hart, level),
      // Whatever is written: what it shows is claimed (3.10).
      write: (hart) => level.file(hart)?.claim(),
      refused: (hart) => isAbsent(hart) || level.file(hart) === undefined,
    },
    { number: topNumber, name: `${letter}topi`, read: (hart) => top(hart, level), refused: isAbsent },
  ];
}

const virtual = (number: number, name: string): CsrRow => ({
  number,
  name,
  read: () => 0n,
  write: () => {},
  refused: ({ model }) => !model.extensions.has(machine.extension),
});

export const aiaCsrs: readonly CsrRow[] = [
  ...rowsOf(machine, 'm', 0x350, 0xfb0),
  ...rowsOf(supervisor, 's', 0x150, 0xdb0),
  virtual(0x308, 'mvien'),
  virtual(0x309, 'mvip'),
];
