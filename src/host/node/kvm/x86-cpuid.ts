/** The CPUID that a guest of KVM sees: the model's, the same as under the translator; and what of it this host's KVM has. */
import { readFileSync } from 'node:fs';
import { cpuid, type FeatureLeaf, featureRows } from '../../../guest/x86/cpuid.js';
import type { CpuModel } from '../../../guest/x86/models.js';
import { call } from './abi.js';
import type { KvmSystem } from './system.js';

const MOST_ENTRIES = 256;
const ENTRY_BYTES = 40;
const HAS_INDEX = 1;

export interface CpuidPlace {
  readonly apicId: number;
  readonly cpus: number;
  readonly tscHz: number;
}

/** `struct kvm_cpuid2` for a model. */
export function cpuidTable(model: CpuModel, place: CpuidPlace): Uint8Array {
  const table = new DataView(new ArrayBuffer(8 + MOST_ENTRIES * ENTRY_BYTES));
  let count = 0;
  const answer = (leaf: number, index: number) =>
    cpuid(model, leaf, index, { cr4: 0, xcr0: 1n, xss: 0n, apicEnabled: true, ...place });
  const add = (leaf: number, index?: number) => {
    const at = 8 + ENTRY_BYTES * count++;
    const { eax, ebx, ecx, edx } = answer(leaf, index ?? 0);
    [leaf, index ?? 0, index === undefined ? 0 : HAS_INDEX, eax, ebx, ecx, edx].forEach((word, i) => {
      table.setUint32(at + 4 * i, word, true);
    });
  };
  /** Leaves whose answer depends on ECX, and how many subleaves they have. */
  const subleaves = new Map([
    [4, 4],
    [7, 1],
    [0xb, 3],
    [0xd, 3],
  ]);
  for (const base of [0, 0x40000000, 0x80000000]) {
    const last = answer(base, 0).eax;
    for (let leaf = base; leaf <= last && leaf < base + 0x100; leaf++) {
      const indices = subleaves.get(leaf);
      if (indices === undefined) add(leaf);
      else for (let index = 0; index < indices; index++) add(leaf, index);
    }
  }
  table.setUint32(0, count, true);
  return new Uint8Array(table.buffer);
}

const registers = ['eax', 'ebx', 'ecx', 'edx'];

/** Where a row's bit lies in KVM's table. */
function placeOf(leaf: FeatureLeaf): { readonly leaf: number; readonly index: number; readonly register: number } {
  const [name, register] = leaf.split('.');
  const at = name === 'd1' ? { leaf: 0xd, index: 1 } : { leaf: Number.parseInt(name, 16), index: 0 };
  return { ...at, register: registers.indexOf(register) };
}

/** Features that need no bit of the host: what they promise, KVM or the machine keeps. */
const always = new Set(['hypervisor']);

/** `struct kvm_cpuid2` of all that this host's KVM can give a guest; empty where it does not say. */
export function supportedCpuid(system: KvmSystem): Uint8Array {
  const bytes = new Uint8Array(new ArrayBuffer(8 + MOST_ENTRIES * ENTRY_BYTES));
  new DataView(bytes.buffer).setUint32(0, MOST_ENTRIES, true);
  if (system.native.ioctlBytes(system.fd, call.getSupportedCpuid, bytes) < 0) bytes.fill(0);
  return bytes;
}

/** Features (by their rows' names) that a guest of this host's KVM can have. */
export function hostFeatures(system: KvmSystem): ReadonlySet<string> {
  const table = new DataView(supportedCpuid(system).buffer);
  const words = new Map<string, number>();
  for (let i = 0; i < table.getUint32(0, true); i++) {
    const at = 8 + ENTRY_BYTES * i;
    for (let register = 0; register < 4; register++) {
      const key = `${table.getUint32(at, true)}/${table.getUint32(at + 4, true)}/${register}`;
      words.set(key, table.getUint32(at + 12 + 4 * register, true));
    }
  }
  const has = new Set(always);
  for (const { name, leaf, bit } of featureRows) {
    const at = placeOf(leaf);
    if (((words.get(`${at.leaf}/${at.index}/${at.register}`) ?? 0) >>> bit) & 1) has.add(name);
  }
  // Not in the table, though the processor's are the guest's.
  if (system.check('TSC_DEADLINE_TIMER')) has.add('tsc_deadline');
  if (hostHasInvariantTsc()) has.add('invtsc');
  return has;
}

function hostHasInvariantTsc(): boolean {
  try {
    return /^flags\s*:.*\bnonstop_tsc\b/m.test(readFileSync('/proc/cpuinfo', 'latin1'));
  } catch {
    return false;
  }
}

/** What of a model's features the host lacks. */
export function missingFeatures(model: CpuModel, host: ReadonlySet<string>): readonly string[] {
  return [...model.features].filter((name) => !host.has(name));
}
