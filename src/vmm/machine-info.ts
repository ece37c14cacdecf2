/** What a monitor shows of a machine: text for a person, and registers and addresses for tools. */
import type { PcMachine } from '../machine/pc.js';
import type { InfoTopic } from './worker-protocol.js';

/** Lines of a list that a guest can make as long as it likes. */
const MAX_LINES = 4096;

const hex = (value: bigint | number, digits: number) => value.toString(16).padStart(digits, '0');

export function describeMachine(pc: PcMachine, topic: InfoTopic): string {
  switch (topic) {
    case 'registers':
      return describeRegisters(pc);
    case 'jit':
      return describeCounters(pc);
    case 'tlb':
      return describeTlb(pc);
    case 'mtree':
      return describeMemory(pc);
    case 'pic':
      return describeInterrupts(pc);
  }
}

function describeRegisters(pc: PcMachine): string {
  const values = pc.cpu.registers();
  const rows: string[] = [];
  const row = (names: readonly string[], digits: number) =>
    rows.push(names.map((name) => `${name.toUpperCase().padStart(3)}=${hex(values[name], digits)}`).join(' '));
  for (const names of [
    ['rax', 'rbx', 'rcx', 'rdx'],
    ['rsi', 'rdi', 'rbp', 'rsp'],
    ['r8', 'r9', 'r10', 'r11'],
    ['r12', 'r13', 'r14', 'r15'],
  ]) {
    row(names, 16);
  }
  const { vcpu } = pc.cpu;
  rows.push(`RIP=${hex(values['rip'], 16)} EFLAGS=${hex(values['eflags'], 8)} CPL=${vcpu.cpl}`);
  row(['cs', 'ss', 'ds', 'es', 'fs', 'gs'], 4);
  rows.push(
    `FS_BASE=${hex(values['fs_base'], 16)} GS_BASE=${hex(values['gs_base'], 16)} K_GS_BASE=${hex(values['k_gs_base'], 16)}`,
  );
  row(['cr0', 'cr2', 'cr3', 'cr4'], 16);
  rows.push(
    `EFER=${hex(values['efer'], 16)} FCW=${hex(values['fctrl'], 4)} FSW=${hex(values['fstat'], 4)} MXCSR=${hex(values['mxcsr'], 8)}`,
  );
  for (let i = 0; i < 8; i += 2) {
    rows.push(
      [i, i + 1]
        .map((n) => `FPR${n}=${hex(values[`st${n}`] & (2n ** 64n - 1n), 16)} ${hex(values[`st${n}`] >> 64n, 4)}`)
        .join(' '),
    );
  }
  for (let i = 0; i < 16; i += 2) {
    rows.push([i, i + 1].map((n) => `XMM${String(n).padStart(2, '0')}=${hex(values[`xmm${n}`], 32)}`).join(' '));
  }
  return rows.join('\n');
}

function describeCounters(pc: PcMachine): string {
  const lines: string[] = [];
  for (const [part, counters] of Object.entries(pc.statistics())) {
    for (const [name, value] of Object.entries(counters)) lines.push(`${`${part}.${name}`.padEnd(32)} ${value}`);
  }
  return lines.join('\n');
}

function describeMemory(pc: PcMachine): string {
  const lines = ['address-space: memory'];
  for (const { start, end, name, kind } of pc.memory.describe().slice(0, MAX_LINES)) {
    lines.push(`  ${hex(start, 16)}-${hex(end - 1, 16)} (${kind}): ${name}`);
  }
  return lines.join('\n');
}

/** Present page-table entries, as QEMU's `info tlb` lists them: what the guest's tables say, not what is cached. */
function describeTlb(pc: PcMachine): string {
  const values = pc.cpu.registers();
  if ((values['cr0'] & (1n << 31n)) === 0n) return 'PG disabled';
  const pae = (values['cr4'] & (1n << 5n)) !== 0n;
  const long = (values['efer'] & (1n << 10n)) !== 0n;
  const nx = (values['efer'] & (1n << 11n)) !== 0n;
  const lines: string[] = [];
  const entryBytes = pae ? 8 : 4;
  const indexBits = pae ? 9n : 10n;
  const physical = 0x000f_ffff_ffff_f000n;
  const read = (at: bigint): bigint => {
    const gpa = Number(at);
    const low = BigInt(pc.memory.dma.readU32(gpa));
    return pae ? low | (BigInt(pc.memory.dma.readU32(gpa + 4)) << 32n) : low;
  };
  const levels = long ? ((values['cr4'] & (1n << 12n)) !== 0n ? 5 : 4) : pae ? 3 : 2;
  const walk = (table: bigint, level: number, base: bigint): void => {
    const shift = 12n + indexBits * BigInt(level - 1);
    const entries = pae && !long && level === 3 ? 4 : 1 << Number(indexBits);
    for (let i = 0; i < entries && lines.length < MAX_LINES; i++) {
      const entry = read(table + BigInt(i * entryBytes));
      if ((entry & 1n) === 0n) continue;
      let va = base | (BigInt(i) << shift);
      const large = level > 1 && (entry & 0x80n) !== 0n && level <= 3 && !(pae && !long && level === 3);
      if (level > 1 && !large) {
        walk(entry & physical, level - 1, va);
        continue;
      }
      if (long) va = BigInt.asUintN(64, BigInt.asIntN(levels === 5 ? 57 : 48, va));
      const gpa = entry & physical & ~((1n << shift) - 1n);
      const flag = (bit: bigint, letter: string) => ((entry & bit) !== 0n ? letter : '-');
      const flags =
        (nx && pae ? flag(1n << 63n, 'X') : '-') +
        flag(0x100n, 'G') +
        (level > 1 ? 'P' : '-') +
        flag(0x40n, 'D') +
        flag(0x20n, 'A') +
        flag(0x10n, 'C') +
        flag(0x08n, 'T') +
        flag(0x04n, 'U') +
        flag(0x02n, 'W');
      lines.push(`${hex(va, 16)}: ${hex(gpa, 16)} ${flags}`);
    }
  };
  walk(values['cr3'] & (pae && !long ? 0xffff_ffe0n : physical), levels, 0n);
  if (lines.length >= MAX_LINES) lines.push('…');
  return lines.join('\n');
}

function describeInterrupts(pc: PcMachine): string {
  const lines: string[] = [];
  const { chips } = pc.pic.state;
  for (let i = 0; i < 2; i++) {
    const chip = chips[i] as unknown as Record<string, number>;
    const fields = ['IRR', 'IMR', 'ISR', 'ELCR'].filter((name) => chip[name] !== undefined);
    lines.push(`pic${i}: ${fields.map((name) => `${name.toLowerCase()}=${hex(chip[name], 2)}`).join(' ')}`);
  }
  const { low, high, lines: levels, ID } = pc.ioapic.state;
  lines.push(`ioapic0: id=${hex(ID, 2)} lines=${hex(levels, 6)}`);
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
  const apic = pc.lapic.state as unknown as Record<string, ArrayLike<number> | number>;
  const bits = (name: string) => {
    const words = apic[name];
    if (typeof words !== 'object') return '';
    const set: number[] = [];
    for (let n = 0; n < words.length * 32; n++) if ((words[n >> 5] >>> (n & 31)) & 1) set.push(n);
    return set.length === 0 ? '(none)' : set.join(' ');
  };
  lines.push(`lapic0: ISR ${bits('ISR')}`, `        IRR ${bits('IRR')}`);
  return lines.join('\n');
}
