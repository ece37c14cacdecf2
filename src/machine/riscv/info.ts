/** What a monitor shows of the board `virt` alone: interrupt controllers, page tables. */
import { field } from '../../guest/riscv/state.js';
import { APLIC_SOURCES, type Aplic, type ImsicFile, PLIC_SOURCES, PLIC_WORDS, type Plic } from '../../hw/index.js';
import type { BoardInfo } from '../board.js';
import type { RiscvVirt } from './virt.js';

/** Lines of a list that a guest can make as long as it likes; tables that are looked at, for they may point at one another. */
const MAX_LINES = 4096;
const MAX_TABLES = 8192;
const PPN = 0x003ffffffffffc00n;
const hex = (value: bigint | number, digits: number) => value.toString(16).padStart(digits, '0');

export function virtInfo(board: RiscvVirt): BoardInfo {
  return {
    interrupts: () => describeInterrupts(board),
    tlb: () => 'The page tables are shown by `info mem`.',
    mappings: () => describeMappings(board),
    pciHost: 'gpex-pcihost',
  };
}

const has = (words: Uint32Array, n: number, from = 0): boolean => ((words[from + (n >> 5)] >>> (n & 31)) & 1) !== 0;

function describePlic(plic: Plic, cpus: RiscvVirt['cpus']): string[] {
  const { priority, pending, claimed, enable, threshold, levels } = plic.state;
  const contexts = cpus.flatMap(({ id }) => [`hart ${id} in M`, `hart ${id} in S`]);
  const lines = ['plic:', ...contexts.map((name, context) => `  ${name}: threshold ${threshold[context]}`)];
  for (let n = 1; n <= PLIC_SOURCES; n++) {
    const words = [
      ...(has(levels, n) ? ['up'] : []),
      ...(has(pending, n) ? ['pending'] : []),
      ...(has(claimed, n) ? ['claimed'] : []),
      ...contexts.flatMap((name, context) => (has(enable, n, context * PLIC_WORDS) ? [`enabled for ${name}`] : [])),
    ];
    if (words.length > 0 || priority[n] > 0)
      lines.push(`  source ${n}: priority ${priority[n]} ${words.join(', ')}`.trimEnd());
  }
  return lines;
}

function describeAplic({ name, state }: Aplic): string[] {
  const { enabled, source, target, levels, pending, enable } = state;
  const lines = [`${name}: ${enabled ? 'on' : 'off'}`];
  for (let n = 1; n <= APLIC_SOURCES; n++) {
    if (source[n] === 0) continue;
    const words = [
      ...(has(levels, n) ? ['up'] : []),
      ...(has(pending, n) ? ['pending'] : []),
      ...(has(enable, n) ? ['enabled'] : []),
    ];
    lines.push(
      `  source ${n}: sourcecfg 0x${hex(source[n], 1)} target 0x${hex(target[n], 1)} ${words.join(', ')}`.trimEnd(),
    );
  }
  return lines;
}

function describeFile({ name, state, top }: ImsicFile): string {
  const words = (bits: BigUint64Array) =>
    [...bits]
      .reverse()
      .map((word) => hex(word, 16))
      .join('');
  return `${name}: delivery ${state.delivery} threshold ${state.threshold} top ${top} pending 0x${words(state.pending)} enabled 0x${words(state.enabled)}`;
}

function describeInterrupts({ interrupts: { plic, aplic, files }, aclint, cpus }: RiscvVirt): string {
  const lines = [
    ...(plic ? describePlic(plic, cpus) : []),
    ...(aplic ? [...describeAplic(aplic.machine), ...describeAplic(aplic.supervisor)] : []),
    ...(files?.flatMap(({ machine, supervisor }) => [describeFile(machine), describeFile(supervisor)]) ?? []),
  ];
  const { msip, mtimecmp } = aclint.state;
  lines.push(`aclint: mtime 0x${hex(aclint.time(), 16)}`);
  for (const { id } of cpus) lines.push(`  hart ${id}: msip ${msip[id]} mtimecmp 0x${hex(mtimecmp[id], 16)}`);
  return lines.join('\n');
}

/** Ranges of addresses with the same attributes, as QEMU's `info mem` lists them. */
function describeMappings(board: RiscvVirt): string {
  const { hart } = board.shownCpu;
  const satp = hart.get64(field.satp);
  const mode = Number(satp >> 60n);
  if (mode === 0) return 'No translation or protection';
  const levels = mode - 5;
  const lines = [
    'vaddr            paddr            size             attr',
    '---------------- ---------------- ---------------- -------',
  ];
  let tables = 0;
  let range: { va: bigint; gpa: bigint; size: bigint; attributes: string } | undefined;
  const close = () => {
    if (range && lines.length < MAX_LINES)
      lines.push(`${hex(range.va, 16)} ${hex(range.gpa, 16)} ${hex(range.size, 16)} ${range.attributes}`);
    range = undefined;
  };
  const walk = (table: bigint, level: number, base: bigint): void => {
    if (++tables > MAX_TABLES) return;
    const shift = BigInt(12 + 9 * level);
    const bytes = board.memory.dma.view(Number(table), 4096, false);
    if (!bytes) return;
    const view = new DataView(bytes.buffer, bytes.byteOffset, 4096);
    for (let i = 0; i < 512; i++) {
      const entry = view.getBigUint64(8 * i, true);
      if ((entry & 1n) === 0n) continue;
      const va = base | (BigInt(i) << shift);
      const gpa = (entry & PPN) << 2n;
      if ((entry & 0xen) === 0n) {
        if (level > 0) walk(gpa, level - 1, va);
        continue;
      }
      const attributes = [...'rwxugad'].map((letter, n) => ((entry >> BigInt(n + 1)) & 1n ? letter : '-')).join('');
      const full = BigInt.asUintN(64, BigInt.asIntN(12 + 9 * levels, va));
      const size = 1n << shift;
      if (
        range &&
        range.attributes === attributes &&
        range.va + range.size === full &&
        range.gpa + range.size === gpa
      ) {
        range = { ...range, size: range.size + size };
        continue;
      }
      close();
      range = { va: full, gpa, size, attributes };
    }
  };
  walk((satp & 0xfffffffffffn) << 12n, levels - 1, 0n);
  close();
  return lines.join('\n');
}
