/**
 * Which accelerators a machine may run on, in what order, and why others fall out: before the machine's thread is asked to take one
 * up. For the thread that owns the machine; the probe takes a few milliseconds, in which the machine is built.
 */
import type { AcceleratorName } from '../accel/accelerator.js';
import { VringError } from '../base/index.js';
import { findFeature, qemuSpelling } from '../guest/x86/cpuid.js';
import { parseCpuOption } from '../guest/x86/models.js';
import { type KvmDebugging, type KvmProbe, probeKvm } from '../host/node/kvm/probe.js';
import { missingFeatures } from '../host/node/kvm/x86-cpuid.js';

export interface Candidate {
  readonly name: AcceleratorName;
  /** The CPU model as this accelerator can have it, and the rate of its time-stamp counter, where they are not the machine's. */
  readonly cpu?: string;
  readonly tscHz?: number;
  /** Of KVM: what it can do for a debugger. */
  readonly debug?: KvmDebugging | undefined;
}

export interface Choice {
  readonly candidates: readonly Candidate[];
  /** Why accelerators that were wished for are none of them: `KVM not used: …`. */
  readonly refusals: readonly string[];
}

export interface ChoiceQuestion {
  /** In the order of preference. */
  readonly wishes: readonly AcceleratorName[];
  /** CPU model and flags; undefined: the default, which follows the host. */
  readonly cpu: string | undefined;
  readonly defaultCpu: string;
  /** Slowness is no reason against KVM, even where others are wished for too. */
  readonly takesSlow?: boolean | undefined;
  /** What is asked for that only the translator has, for a person. */
  readonly needsTranslator: string | undefined;
  /** Path of KVM's device, for tests. */
  readonly device?: string | undefined;
}

export function refusal(reason: string): string {
  return `KVM not used: ${reason}`;
}

/** What an accelerator of this host can do for a debugger, where that depends on the host. */
export function debuggingOn(name: AcceleratorName, device?: string): KvmDebugging | undefined {
  if (name !== 'kvm') return undefined;
  try {
    const { hasBreakpoints, hasWatchpoints } = probeKvm({ device });
    return { hasBreakpoints, hasWatchpoints };
  } catch (error) {
    if (!(error instanceof VringError)) throw error;
    return undefined;
  }
}

export function chooseAccelerator(question: ChoiceQuestion): Choice {
  const candidates: Candidate[] = [];
  const refusals: string[] = [];
  for (const name of question.wishes) {
    if (name === 'tcg') {
      if (isHostModel(question.cpu)) refusals.push("the CPU model 'host' needs KVM; tcg has max");
      else candidates.push({ name });
      continue;
    }
    const found = kvmCandidate(question);
    if (typeof found === 'string') refusals.push(refusal(found));
    else candidates.push(found);
  }
  return { candidates, refusals };
}

const isHostModel = (cpu: string | undefined) => cpu !== undefined && /^host(,|$)/i.test(cpu);

/** KVM as it can be had, or why it cannot. Where nothing else is wished for, slowness is no reason. */
function kvmCandidate(question: ChoiceQuestion): Candidate | string {
  if (question.needsTranslator !== undefined) return `the translator alone has ${question.needsTranslator}`;
  let probe: KvmProbe;
  try {
    probe = probeKvm({ device: question.device });
  } catch (error) {
    if (!(error instanceof VringError)) throw error;
    return error.message;
  }
  const isAlone = question.wishes.every((name) => name === 'kvm');
  if (probe.objection !== undefined && !isAlone && !question.takesSlow) return probe.objection;
  const cpu = question.cpu ?? question.defaultCpu;
  const missing = missingFeatures(parseCpuOption(cpu), probe.features);
  const spelled = (names: readonly string[]) => names.map((name) => qemuSpelling(findFeature(name)?.name ?? name));
  const names = spelled(missing);
  // The default, `max` and `host` follow the host; whoever names another model, or a feature, means it.
  const [model, ...flags] = cpu.split(',');
  const follows = question.cpu === undefined || /^(max|host)$/i.test(model);
  const asked = parseCpuOption(follows ? ['base', ...flags].join(',') : cpu);
  const refused = spelled(missingFeatures(asked, probe.features));
  if (refused.length > 0) return `this host's KVM lacks CPU features that the machine has: ${refused.join(', ')}`;
  return {
    name: 'kvm',
    ...(missing.length > 0 ? { cpu: [cpu, ...names.map((name) => `-${name}`)].join(',') } : {}),
    ...(probe.scalesTsc ? {} : { tscHz: probe.tscHz }),
    debug: debuggingOn('kvm', question.device),
  };
}
