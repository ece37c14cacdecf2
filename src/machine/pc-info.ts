/** What a monitor shows of x86 boards alone: interrupt controllers, page tables. */
import type { BoardInfo } from './board.js';
import type { X86Machine } from './x86-machine.js';

/** Lines of a list that a guest can make as long as it likes. */
const MAX_LINES = 4096;
/** Page tables that are looked at: a guest's may point at one another without end. */
const MAX_TABLES = 8192;
const PHYSICAL = 0x000f_ffff_ffff_f000n;
const hex = (value: bigint | number, digits: number) => value.toString(16).padStart(digits, '0');

export function pcInfo(pc: X86Machine): BoardInfo {
  return {
    interrupts: () => describeInterrupts(pc),
    tlb: () => describeTlb(pc),
    mappings: () => describeMappings(pc),
    get pciHost() {
      return pc.pciHost;
    },
  };
}

interface Mapping {
  readonly va: bigint;
  readonly gpa: bigint;
  readonly sizeBytes: bigint;
  readonly entry: bigint;
  readonly large: boolean;
  /** User and writable at every level. */
  readonly user: boolean;
  readonly writable: boolean;
}

/** Present page-table entries: what the guest's tables say, not what is cached. Only while paging is on. */
function* mappings(pc: X86Machine): Generator<Mapping> {
  const register = (name: string) => pc.shownCpu.register(name) ?? 0n;
  const cr4 = register('cr4');
  const pae = (cr4 & (1n << 5n)) !== 0n;
  const long = (register('efer') & (1n << 10n)) !== 0n;
  const entryBytes = pae ? 8 : 4;
  const indexBits = pae ? 9n : 10n;
  const read = (at: bigint): bigint => {
    const gpa = Number(at);
    const low = BigInt(pc.memory.dma.readU32(gpa));
    return pae ? low | (BigInt(pc.memory.dma.readU32(gpa + 4)) << 32n) : low;
  };
  const levels = long ? ((cr4 & (1n << 12n)) !== 0n ? 5 : 4) : pae ? 3 : 2;
  let tables = 0;
  function* walk(table: bigint, level: number, base: bigint, rights: bigint): Generator<Mapping> {
    const shift = 12n + indexBits * BigInt(level - 1);
    const directory = pae && !long && level === 3;
    if (++tables > MAX_TABLES) return;
    const entries = directory ? 4 : 1 << Number(indexBits);
    for (let i = 0; i < entries; i++) {
      const entry = read(table + BigInt(i * entryBytes));
      if ((entry & 1n) === 0n) continue;
      let va = base | (BigInt(i) << shift);
      const both = directory ? rights : rights & entry;
      const large = level > 1 && (entry & 0x80n) !== 0n && level <= 3 && !directory;
      if (level > 1 && !large) {
        yield* walk(entry & PHYSICAL, level - 1, va, both);
        continue;
      }
      if (long) va = BigInt.asUintN(64, BigInt.asIntN(levels === 5 ? 57 : 48, va));
      const sizeBytes = 1n << shift;
      const [user, writable] = [(both & 4n) !== 0n, (both & 2n) !== 0n];
      yield { va, gpa: entry & PHYSICAL & ~(sizeBytes - 1n), sizeBytes, entry, large, user, writable };
    }
  }
  yield* walk(register('cr3') & (pae && !long ? 0xffff_ffe0n : PHYSICAL), levels, 0n, 6n);
}

const pagingIsOff = (pc: X86Machine) => ((pc.shownCpu.register('cr0') ?? 0n) & (1n << 31n)) === 0n;

/** As QEMU's `info tlb` lists them. */
function describeTlb(pc: X86Machine): string {
  if (pagingIsOff(pc)) return 'PG disabled';
  const nx = ((pc.shownCpu.register('efer') ?? 0n) & (1n << 11n)) !== 0n;
  const lines: string[] = [];
  for (const { va, gpa, entry, large } of mappings(pc)) {
    if (lines.length === MAX_LINES) {
      lines.push('…');
      break;
    }
    const flag = (bit: bigint, letter: string) => ((entry & bit) !== 0n ? letter : '-');
    const flags =
      (nx ? flag(1n << 63n, 'X') : '-') +
      flag(0x100n, 'G') +
      (large ? 'P' : '-') +
      flag(0x40n, 'D') +
      flag(0x20n, 'A') +
      flag(0x10n, 'C') +
      flag(0x08n, 'T') +
      flag(0x04n, 'U') +
      flag(0x02n, 'W');
    lines.push(`${hex(va, 16)}: ${hex(gpa, 16)} ${flags}`);
  }
  return lines.join('\n');
}

/** Ranges of addresses with the same rights, as QEMU's `info mem` lists them. */
function describeMappings(pc: X86Machine): string {
  if (pagingIsOff(pc)) return 'PG disabled';
  const lines: string[] = [];
  let range: { start: bigint; end: bigint; rights: string } | undefined;
  const close = () => {
    if (range)
      lines.push(`${hex(range.start, 16)}-${hex(range.end, 16)} ${hex(range.end - range.start, 16)} ${range.rights}`);
  };
  for (const { va, sizeBytes, user, writable } of mappings(pc)) {
    const rights = `${user ? 'u' : '-'}r${writable ? 'w' : '-'}`;
    if (range && range.end === va && range.rights === rights) {
      range = { ...range, end: va + sizeBytes };
      continue;
    }
    close();
    range = undefined;
    if (lines.length === MAX_LINES) {
      lines.push('…');
      break;
    }
    range = { start: va, end: va + sizeBytes, rights };
  }
  close();
  return lines.join('\n');
}

function describeInterrupts(pc: X86Machine): string {
  const lines: string[] = [];
  const { chips } = pc.pic.state;
  for (let i = 0; i < 2; i++) {
    const chip = chips[i] as unknown as Record<string, number>;
    const fields = ['IRR', 'IMR', 'ISR', 'ELCR'].filter((name) => chip[name] !== undefined);
    lines.push(`pic${i}: ${fields.map((name) => `${name.toLowerCase()}=${hex(chip[name], 2)}`).join(' ')}`);
  }
  for (const [n, ioapic] of [pc.ioapic, ...(pc.secondIoApic ? [pc.secondIoApic] : [])].entries())
    lines.push(...describeIoApic(n, ioapic));
  const bits = (words: ArrayLike<number>) => {
    const set: number[] = [];
    for (let n = 0; n < words.length * 32; n++) if ((words[n >> 5] >>> (n & 31)) & 1) set.push(n);
    return set.length === 0 ? '(none)' : set.join(' ');
  };
  for (const { name, state } of pc.lapics) {
    lines.push(`${name}: ISR ${bits(state.ISR)}`, `${' '.repeat(name.length + 2)}IRR ${bits(state.IRR)}`);
  }
  return lines.join('\n');
}

function describeIoApic(n: number, { state }: X86Machine['ioapic']): string[] {
  const { low, high, lines: levels, ID } = state;
  const lines = [`ioapic${n}: id=${hex(ID, 2)} lines=${hex(levels, 6)}`];
  for (let pin = 0; pin < 24; pin++) {
    const entry = low[pin];
    const delivery = ['fixed', 'lowpri', 'smi', '…', 'nmi', 'init', '…', 'extint'][(entry >> 8) & 7];
    const words = [
      `vec=${entry & 0xff}`,
      delivery,
      (entry & 0x800) !== 0 ? 'logical' : 'physical',
      (entry & 0x8000) !== 0 ? 'level' : 'edge',
      ...((entry & 0x10000) !== 0 ? ['masked'] : []),
      ...((entry & 0x4000) !== 0 ? ['remote-irr'] : []),
    ];
    lines.push(
      `  pin ${String(pin).padEnd(2)} 0x${hex(high[pin], 8)}${hex(entry >>> 0, 8)} dest=${high[pin] >>> 24} ${words.join(' ')}`,
    );
  }
  return lines;
}
