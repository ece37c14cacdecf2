/** What a monitor shows of a machine: text for a person, and registers and addresses for tools. */
import type { Board } from '../machine/board.js';
import type { InfoTopic } from './worker-protocol.js';

/** Lines of a list that a guest can make as long as it likes. */
const MAX_LINES = 4096;
const hex = (value: bigint | number, digits: number) => value.toString(16).padStart(digits, '0');

/** What the board itself knows. */
export type BoardTopic = Exclude<InfoTopic, 'usb'>;

const describers: Readonly<Record<BoardTopic, (board: Board) => string>> = {
  registers: (board) => describeRegisters(board, board.shown),
  'registers-all': (board) => board.cpus.map((_, i) => describeRegisters(board, i)).join('\n\n'),
  cpus: describeCpus,
  jit: describeCounters,
  tlb: ({ info }) => info.tlb(),
  mem: ({ info }) => info.mappings(),
  mtree: describeMemory,
  pic: ({ info }) => info.interrupts(),
  qtree: describeDevices,
};

export function describeMachine(board: Board, topic: BoardTopic): string {
  return describers[topic](board);
}

/** Lines of assembly from a guest-virtual address on; fewer where mapped RAM ends. */
export function disassemble(board: Board, gva: bigint, count: number): string[] {
  const lines: string[] = [];
  const page = (at: bigint): Uint8Array | undefined => {
    const gpa = board.shownCpu.translate(at & ~4095n);
    if (gpa === undefined) return undefined;
    return board.memory.dma.view(Number(gpa), 4096, false);
  };
  const { modeKey } = board.shownCpu.place;
  for (let at = gva; lines.length < Math.min(count, MAX_LINES); ) {
    const first = page(at);
    if (!first) break;
    const offset = Number(at & 4095n);
    // The page behind is looked up only where an instruction may reach it.
    const next = offset > 4096 - 16 ? page((at | 4095n) + 1n) : undefined;
    const { text, bytes } = board.cpu.translator.disassemble(first, offset, next, modeKey, at);
    lines.push(`0x${hex(at, 16)}:  ${text}`);
    at = BigInt.asUintN(64, at + BigInt(Math.max(1, bytes)));
  }
  return lines;
}

function describeRegisters(board: Board, index: number): string {
  return `CPU#${index}\n${board.cpus[index].dump({ float: true })}`;
}

function describeCpus(board: Board): string {
  return board.cpus
    .map(({ linearPc, isHalted }, i) => {
      const state = isHalted ? ' (halted)' : '';
      return `${i === board.shown ? '*' : ' '} CPU #${i}: pc=0x${hex(BigInt.asUintN(64, linearPc), 16)}${state}`;
    })
    .join('\n');
}

function describeCounters(board: Board): string {
  const lines: string[] = [];
  for (const [part, counters] of Object.entries(board.statistics())) {
    for (const [name, value] of Object.entries(counters)) lines.push(`${`${part}.${name}`.padEnd(32)} ${value}`);
  }
  return lines.join('\n');
}

function describeMemory(board: Board): string {
  const lines = ['address-space: memory'];
  for (const { start, end, name, kind } of board.memory.describe().slice(0, MAX_LINES)) {
    lines.push(`  ${hex(start, 16)}-${hex(end - 1, 16)} (${kind}): ${name}`);
  }
  lines.push('', 'address-space: I/O');
  for (const { start, end, name } of board.ports.describe().slice(0, MAX_LINES)) {
    lines.push(`  ${hex(start, 16)}-${hex(end - 1, 16)} (i/o): ${name}`);
  }
  return lines.join('\n');
}

/** What the board is made of, by its buses. */
function describeDevices(board: Board): string {
  const lines = ['bus: main-system-bus', '  type System'];
  const windows = board.memory.describe().filter(({ kind }) => kind === 'mmio');
  for (const { start, end, name } of windows) {
    lines.push(`  dev: ${name}`, `    mmio ${hex(start, 16)}/${hex(end - start, 16)}`);
  }
  lines.push(`  dev: ${board.info.pciHost}`, '    bus: pci.0', '      type PCI');
  for (const { slot, functionNumber, fn } of board.pci.bus.functions()) {
    const ids = `${hex(fn.read(0, 2), 4)}:${hex(fn.read(2, 2), 4)}`;
    lines.push(`      dev: ${fn.name}`, `        addr = ${hex(slot, 2)}.${functionNumber}`, `        id ${ids}`);
    for (const bar of fn.barSpecs) {
      const at = fn.barAddress(bar);
      const where = at === undefined ? 'unmapped' : `0x${hex(at, 1)}`;
      lines.push(`        bar ${bar.index}: ${bar.kind === 'io' ? 'i/o' : 'mem'} at ${where} [0x${hex(bar.size, 1)}]`);
    }
    if (fn.name !== 'piix3') continue;
    lines.push('        bus: isa.0', '          type ISA');
    const devices = new Map<string, string[]>();
    for (const { start, end, name } of board.ports.describe()) {
      const ports = devices.get(name) ?? [];
      ports.push(`0x${hex(start, 4)}/${end - start}`);
      devices.set(name, ports);
    }
    for (const [name, ports] of devices) lines.push(`          dev: ${name}`, `            ports ${ports.join(' ')}`);
  }
  return lines.join('\n');
}
