/** `vring doctor`: what this host offers for running guests, and what vring makes of it. */
import { availableParallelism, freemem, totalmem } from 'node:os';
import { VringError } from '../base/index.js';
import { qemuSpelling } from '../guest/x86/cpuid.js';
import { parseCpuOption } from '../guest/x86/models.js';
import { bestIrqchip, irqchipLacks } from '../host/node/kvm/kernel-interrupts.js';
import { type KvmProbe, probeKvm } from '../host/node/kvm/probe.js';
import { commands } from './commands.js';
import { parseLine } from './options/parse.js';
import { type ProcessIo, print } from './process-io.js';
import { UsageError } from './usage-error.js';
import { versionLine } from './version.js';

const mib = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`;
const rate = (perSecond: number) =>
  `${(perSecond / 1e6).toFixed(perSecond < 1e7 ? 1 : 0)} million instructions a second`;

function wrap(label: string, words: readonly string[]): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of words) {
    if (line && line.length + word.length > 78 - 18) {
      lines.push(line);
      line = '';
    }
    line += line ? ` ${word}` : word;
  }
  lines.push(line || 'none');
  return lines.map((text, i) => `  ${(i === 0 ? label : '').padEnd(16)}${text}`);
}

/** Where interrupt controllers can lie: `kernel-irqchip`. */
function irqchips({ capabilities }: KvmProbe): string {
  const has = (name: keyof typeof capabilities) => capabilities[name] !== 0;
  const places = (['on', 'split', 'off'] as const).map((place) => {
    const lacks = irqchipLacks(place, has);
    return lacks === undefined ? place : `no ${place} (it lacks ${lacks})`;
  });
  return `${places.join(', ')}; ${bestIrqchip(has, true)} unless told otherwise`;
}

function describeKvm(probe: KvmProbe): string[] {
  const missing = [...parseCpuOption('qemu64').features].filter((name) => !probe.features.has(name));
  const there = Object.entries(probe.capabilities).filter(([, value]) => value !== 0);
  const absent = Object.entries(probe.capabilities).filter(([, value]) => value === 0);
  const names = (rows: typeof there) => rows.map(([name, value]) => (value > 1 ? `${name}=${value}` : name));
  return [
    `  ${'ring 0'.padEnd(16)}${probe.ring0PerSecond > 0 ? rate(probe.ring0PerSecond) : 'long mode is not reached'}`,
    ...wrap('does not run', [probe.fails.join(', ')]),
    `  ${'TSC'.padEnd(16)}${(probe.tscHz / 1e6).toFixed(3)} MHz, ${probe.scalesTsc ? 'can' : 'cannot'} be scaled`,
    ...wrap('irqchip', [irqchips(probe)]),
    ...wrap('has', names(there)),
    ...wrap('lacks', names(absent)),
    ...wrap('breakpoints', [probe.hasBreakpoints ? 'yes' : 'none: the lens counts no page faults and system calls']),
    ...wrap('watchpoints', [probe.hasWatchpoints ? 'yes' : 'none']),
    ...wrap('not of qemu64', missing.map(qemuSpelling)),
    `  ${'probe'.padEnd(16)}${probe.ms.toFixed(1)} ms`,
    `  ${'verdict'.padEnd(16)}${probe.objection === undefined ? 'used unless told otherwise' : `not used unless alone asked for: ${probe.objection}`}`,
  ];
}

export async function doctor(argv: readonly string[], io: ProcessIo): Promise<number> {
  const { given, operands } = parseLine(commands.find(({ name }) => name === 'doctor')!, argv);
  if (operands.length > 0) throw new UsageError(`doctor: '${operands[0]}' is too much`);
  const json = given.some(({ row }) => row.name === 'json');
  let probe: KvmProbe | undefined;
  let reason: string | undefined;
  try {
    probe = probeKvm({ thorough: true });
  } catch (error) {
    if (!(error instanceof VringError)) throw error;
    reason = error.message;
  }
  if (json) {
    const kvm = probe ? { ...probe, features: [...probe.features] } : { objection: reason };
    await print(io.stdout, `${JSON.stringify({ version: versionLine(), kvm }, undefined, 2)}\n`);
    return 0;
  }
  const lines = [
    `${versionLine()}, Node.js ${process.versions.node} (V8 ${process.versions.v8}), ${process.arch}`,
    `Host: ${availableParallelism()} processors, ${mib(totalmem())} of memory, ${mib(freemem())} free`,
    ...(probe ? ['KVM:', ...describeKvm(probe)] : [`KVM: ${reason}`]),
    'Translator (tcg): always there',
  ];
  await print(io.stdout, `${lines.join('\n')}\n`);
  return 0;
}
