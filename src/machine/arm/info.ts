/** What a monitor shows of the board `virt` alone: its interrupt controller, page tables. */
import { forEachMapping, type Mapping } from '../../guest/arm/index.js';
import { FIRST_SPI, GICV2_CPUS, GICV2_SPIS, GicV2 } from '../../hw/index.js';
import type { BoardInfo } from '../board.js';
import type { ArmVirt } from './virt.js';

/** Lines of a list that a guest can make as long as it likes. */
const MAX_LINES = 4096;
const hex = (value: bigint, digits = 16) => value.toString(16).padStart(digits, '0');

export function virtInfo(board: ArmVirt): BoardInfo {
  return {
    interrupts: () => describeInterrupts(board),
    tlb: () => 'The page tables are shown by `info mem`.',
    mappings: () => describeMappings(board),
    pciHost: 'gpex-pcihost',
  };
}

function describeInterrupts({ gic, shown }: ArmVirt): string {
  const { state } = gic;
  const mask = `mask 0x${state.mask[shown].toString(16)}`;
  const [control, privateWords] =
    gic instanceof GicV2
      ? [`control 0x${gic.state.cpuControl[shown].toString(16)}`, GICV2_CPUS]
      : [`groups ${gic.state.groups[shown]} control 0x${gic.state.control[shown].toString(16)}`, gic.cpus];
  const lines = [`${gic.name}: distributor ${state.ctlr}, CPU ${shown}: ${control} ${mask}`];
  for (let irq = 0; irq < FIRST_SPI + GICV2_SPIS; irq++) {
    const word = irq < FIRST_SPI ? shown : privateWords + (irq >> 5) - 1;
    const has = (words: Uint32Array) => ((words[word] >>> (irq & 31)) & 1) !== 0;
    const words = [
      ...(has(state.level) ? ['up'] : []),
      ...(has(state.latch) ? ['pending'] : []),
      ...(has(state.active) ? ['active'] : []),
      ...(irq >= 16 && has(state.enable) ? ['enabled'] : []),
    ];
    if (words.length > 0) lines.push(`  interrupt ${irq}: ${has(state.edge) ? 'edge' : 'level'} ${words.join(', ')}`);
  }
  if (!(gic instanceof GicV2))
    for (const irq of gic.lpis[shown]?.all.slice(0, MAX_LINES) ?? []) lines.push(`  interrupt ${irq}: message pending`);
  return lines.join('\n');
}

/** Rights of a page or block by its own descriptor; those of the tables above are not in them. */
function rights({ entry }: Mapping): string {
  const has = (bit: bigint) => ((entry >> bit) & 1n) !== 0n;
  const write = has(7n) ? '-' : 'w';
  return `r${write}${has(53n) ? '-' : 'x'} user ${has(6n) ? `r${write}` : '--'}${has(54n) ? '-' : 'x'} ${has(11n) ? '-' : 'g'}`;
}

/** Ranges of addresses with the same attributes. */
function describeMappings(board: ArmVirt): string {
  const head = 'vaddr            paddr            size             attributes';
  const lines: string[] = [];
  let range: { va: bigint; gpa: bigint; size: bigint; text: string } | undefined;
  const close = () => {
    if (range && lines.length < MAX_LINES)
      lines.push(`${hex(range.va)} ${hex(range.gpa)} ${hex(range.size)} ${range.text}`);
    range = undefined;
  };
  forEachMapping(board.shownCpu.core, (mapping) => {
    const text = rights(mapping);
    const { va, gpa, sizeBytes } = mapping;
    if (range && range.text === text && range.va + range.size === va && range.gpa + range.size === gpa) {
      range = { ...range, size: range.size + sizeBytes };
      return;
    }
    close();
    range = { va, gpa, size: sizeBytes, text };
  });
  close();
  return lines.length === 0 ? 'No translation or protection' : [head, ...lines].join('\n');
}
