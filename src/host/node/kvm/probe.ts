/**
 * Whether this host's KVM is worth using. That /dev/kvm opens says little: some hosts interpret a guest's kernel, or cannot run what
 * a stock kernel needs. A small guest, entered in 32-bit protected mode, turns on paging and long mode by itself and tries what
 * matters; each trial ends with OUT to a port, and is given up after some time of the thread's own.
 */
import { VringError } from '../../../base/index.js';
import { type CapabilityName, call, capability, exit, runPage } from './abi.js';
import { KvmSystem, type KvmVm } from './system.js';
import { KvmVcpu } from './vcpu.js';
import { hostFeatures, supportedCpuid } from './x86-cpuid.js';
import { X86DebugSlots } from './x86-debug.js';

/** Below this many instructions a second in ring 0 the translator is quicker: it runs a kernel at some hundred million. */
const WORTHWHILE_PER_SECOND = 50e6;
const MEMORY_BYTES = 2 << 20;
/** So long each, one after the other: whoever enters a guest, or some code of it, for the first time may have much to prepare. */
const TRIALS_NS = [20e6, 100e6, 400e6];
const DONE_PORT = 0x80;
/** A first loop of so many rounds tells how long the second may be. */
const FIRST_ROUNDS = 500;
const MOST_ROUNDS = 400_000;
const ROUND_INSTRUCTIONS = 5;
/** The loop's second instruction. */
const LOOP_BREAKPOINT = 7;
const TARGET_MS = 1;

export interface KvmDebugging {
  /** A guest stops at breakpoints of the processor, and when it writes to what is watched; some KVMs take them, and run past. */
  readonly hasBreakpoints: boolean;
  readonly hasWatchpoints: boolean;
}

export interface KvmProbe extends KvmDebugging {
  readonly capabilities: Readonly<Record<CapabilityName, number>>;
  /** CPU features that a guest can have. */
  readonly features: ReadonlySet<string>;
  readonly tscHz: number;
  readonly scalesTsc: boolean;
  /** Instructions a second in ring 0 of long mode; 0: it does not get there. */
  readonly ring0PerSecond: number;
  /** What a stock kernel needs and this KVM does not run, by name. */
  readonly fails: readonly string[];
  /** Milliseconds that all this took. */
  readonly ms: number;
  /** Why KVM is not worth using; undefined: it is. */
  readonly objection: string | undefined;
}

const at = {
  gdt: 0x1000,
  pml4: 0x2000,
  pdpt: 0x3000,
  pd: 0x4000,
  pageDirectory: 0x5000,
  idt: 0x6000,
  entry: 0x8000,
  loop: 0x8100,
  exchange: 0x8200,
  restore: 0x8300,
  breakpoint: 0x8400,
  handler: 0x8500,
  paging32: 0x8600,
  farPointer: 0x9000,
  rounds: 0x9010,
  word: 0x9020,
  pair: 0x9040,
  idtPointer: 0x9060,
  area: 0x9400,
} as const;

/** The guest's code, by its places. In each comment what the bytes are. */
const code: readonly (readonly [place: number, bytes: string])[] = [
  [
    at.entry,
    // mov eax, PAE|OSFXSR|OSXMMEXCPT (or'd with ESI); mov cr4, eax; mov eax, pml4; mov cr3, eax
    'b8 20 06 00 00 09 f0 0f 22 e0 b8 00 20 00 00 0f 22 d8 ' +
      // mov ecx, EFER; rdmsr; or eax, LME; wrmsr
      'b9 80 00 00 c0 0f 32 0d 00 01 00 00 0f 30 ' +
      // mov eax, cr0; or eax, PG; mov cr0, eax; jmp far [farPointer]
      '0f 20 c0 0d 00 00 00 80 0f 22 c0 ff 2d 00 90 00 00',
  ],
  [
    at.loop,
    // mov ecx, [rounds]; again: mov rax, [word]; add rax, 1; mov [word], rax; dec ecx; jnz again
    '8b 0c 25 10 90 00 00 48 8b 04 25 20 90 00 00 48 83 c0 01 48 89 04 25 20 90 00 00 ff c9 75 e8 e6 80 f4',
  ],
  [
    at.exchange,
    // xor eax, eax; xor edx, edx; mov ebx, 1; mov ecx, 2; lock cmpxchg16b [pair]; out; hlt
    '31 c0 31 d2 bb 01 00 00 00 b9 02 00 00 00 f0 48 0f c7 0c 25 40 90 00 00 e6 80 f4',
  ],
  [
    at.restore,
    // xor edx, edx; mov eax, 1; xsave64 [area]; xrstor64 [area]; out; hlt
    '31 d2 b8 01 00 00 00 48 0f ae 24 25 00 94 00 00 48 0f ae 2c 25 00 94 00 00 e6 80 f4',
  ],
  // lidt [idtPointer]; mov esp, 0xb000; int3; hlt
  [at.breakpoint, '0f 01 1c 25 60 90 00 00 bc 00 b0 00 00 cc f4'],
  [at.handler, 'e6 80 f4'],
  [
    at.paging32,
    // mov eax, PSE; mov cr4, eax; mov eax, pageDirectory; mov cr3, eax; mov eax, cr0; or eax, PG; mov cr0, eax
    'b8 10 00 00 00 0f 22 e0 b8 00 50 00 00 0f 22 d8 0f 20 c0 0d 00 00 00 80 0f 22 c0 ' +
      // jmp +0; mov eax, [word]; out; hlt
      'eb 00 a1 20 90 00 00 e6 80 f4',
  ],
];

const CODE32 = 8;
const DATA = 0x10;
const CODE64 = 0x18;
const OSXSAVE = 0x40000;

interface TrialOptions {
  readonly cr4?: number;
  readonly isCode32?: boolean;
}

class ProbeGuest {
  readonly #vcpu: KvmVcpu;
  readonly #memory = new WebAssembly.Memory({ initial: MEMORY_BYTES >> 16, maximum: MEMORY_BYTES >> 16, shared: true });
  readonly #view = new DataView(this.#memory.buffer);
  readonly #nowMs: () => number;
  readonly #fresh = new Uint8Array(new ArrayBuffer(312));

  constructor(vm: KvmVm, vcpu: KvmVcpu, nowMs: () => number) {
    this.#vcpu = vcpu;
    this.#nowMs = nowMs;
    const view = this.#view;
    const bytes = new Uint8Array(this.#memory.buffer);
    for (const [place, text] of code)
      bytes.set(
        text.split(' ').map((digits) => Number.parseInt(digits, 16)),
        place,
      );
    view.setBigUint64(at.gdt + CODE32, 0x00cf9b000000ffffn, true);
    view.setBigUint64(at.gdt + DATA, 0x00cf93000000ffffn, true);
    view.setBigUint64(at.gdt + CODE64, 0x00af9b000000ffffn, true);
    view.setUint32(at.pml4, at.pdpt | 3, true);
    view.setUint32(at.pdpt, at.pd | 3, true);
    view.setUint32(at.pd, 0x83, true);
    view.setUint32(at.pageDirectory, 0x83, true);
    // Gate of #BP: handler:CODE64, present, interrupt gate.
    view.setUint32(at.idt + 48, (CODE64 << 16) | at.handler, true);
    view.setUint32(at.idt + 52, 0x8e00, true);
    view.setUint16(at.idtPointer, 0xfff, true);
    view.setUint32(at.idtPointer + 2, at.idt, true);
    vm.setMemory(this.#memory.buffer);
    vm.setRamBlocks([{ gpa: 0, size: MEMORY_BYTES, hva: 0, readonly: false }]);
    vcpu.call('give its control registers', call.getSregs, this.#fresh);
  }

  set rounds(count: number) {
    this.#view.setUint32(at.rounds, count, true);
  }

  /** Whether the exchange has put 2:1 in its place. */
  get exchanged(): boolean {
    return this.#view.getBigUint64(at.pair, true) === 1n && this.#view.getBigUint64(at.pair + 8, true) === 2n;
  }

  /** Whether it stops for the debugger on its way from a place. */
  stops(place: number, slots: X86DebugSlots): boolean {
    this.#vcpu.call('debug the guest', call.setGuestDebug, slots.request(false));
    this.try(place);
    const stopped = this.#vcpu.words[runPage.exitReason >> 2] === exit.debug;
    this.#vcpu.call('debug the guest', call.setGuestDebug, new X86DebugSlots().request(false));
    return stopped;
  }

  /** Enters at a place: by way of long mode, unless it is 32-bit code. Gives the milliseconds until its OUT, or undefined. */
  try(place: number, options: TrialOptions = {}): number | undefined {
    for (const limitNs of TRIALS_NS) {
      const ms = this.#enter(place, options, limitNs);
      if (ms !== 'late') return ms;
    }
    return undefined;
  }

  #enter(place: number, options: TrialOptions, limitNs: number): number | 'late' | undefined {
    const vcpu = this.#vcpu;
    this.#view.setUint32(at.farPointer, place, true);
    this.#view.setUint16(at.farPointer + 4, CODE64, true);
    const sregs = this.#fresh.slice();
    const view = new DataView(sregs.buffer);
    // cs ds es fs gs ss: base, limit, selector, type, present, dpl, db, s, l, g
    for (let i = 0; i < 6; i++) {
      view.setBigUint64(24 * i, 0n, true);
      view.setUint32(24 * i + 8, 0xffffffff, true);
      view.setUint16(24 * i + 12, i === 0 ? CODE32 : DATA, true);
      sregs.set([i === 0 ? 11 : 3, 1, 0, 1, 1, 0, 1, 0, 0], 24 * i + 14);
    }
    view.setBigUint64(192, BigInt(at.gdt), true);
    view.setUint16(200, 0x1f, true);
    view.setBigUint64(224, 0x11n, true);
    vcpu.call('take control registers', call.setSregs, sregs);
    const regs = new DataView(new ArrayBuffer(144));
    regs.setBigUint64(8 * 4, BigInt(options.cr4 ?? 0), true);
    regs.setBigUint64(8 * 6, 0xb000n, true);
    regs.setBigUint64(128, BigInt(options.isCode32 ? place : at.entry), true);
    regs.setBigUint64(136, 2n, true);
    vcpu.call('take registers', call.setRegs, new Uint8Array(regs.buffer));
    vcpu.setTimer(limitNs);
    const start = this.#nowMs();
    try {
      if (!vcpu.run()) return 'late';
    } catch (error) {
      if (error instanceof VringError) return undefined;
      throw error;
    } finally {
      vcpu.setTimer(0);
    }
    const ms = this.#nowMs() - start;
    const isDone =
      vcpu.words[runPage.exitReason >> 2] === exit.io && vcpu.view.getUint16(runPage.ioPort, true) === DONE_PORT;
    if (!isDone) return undefined;
    vcpu.finishExit();
    return ms;
  }
}

/** Tries everything, or until there is an objection. Throws VringError `kvm-unavailable` or `kvm-call`. */
function probe(device: string | undefined, thorough: boolean): KvmProbe {
  const start = performance.now();
  const system = new KvmSystem(device);
  let vm: KvmVm | undefined;
  let vcpu: KvmVcpu | undefined;
  try {
    const names = Object.keys(capability) as CapabilityName[];
    const capabilities = Object.fromEntries(names.map((name) => [name, system.check(name)])) as Record<
      CapabilityName,
      number
    >;
    const features = hostFeatures(system);
    vm = system.createVm();
    vm.call('set aside a task-state segment', call.setTssAddress, 0xfeffd000);
    // A busy host is not to be taken for a slow one: the thread's own time counts.
    vcpu = new KvmVcpu(vm, 0, 'cpu');
    vcpu.call('take its own CPUID', call.setCpuid2, supportedCpuid(system));
    const guest = new ProbeGuest(vm, vcpu, () => system.native.threadMs());
    guest.rounds = FIRST_ROUNDS;
    const fails: string[] = [];
    let rounds = FIRST_ROUNDS;
    let ms = guest.try(at.loop);
    if (ms !== undefined && ms < TARGET_MS / 4) {
      rounds = Math.min(MOST_ROUNDS, Math.ceil((FIRST_ROUNDS * TARGET_MS) / ms));
      guest.rounds = rounds;
      ms = guest.try(at.loop);
    }
    if (ms === undefined) fails.push('ring 0 of long mode');
    const ring0PerSecond = ms === undefined ? 0 : (rounds * ROUND_INSTRUCTIONS * 1000) / ms;
    const stops = (slots: X86DebugSlots): boolean =>
      capabilities.SET_GUEST_DEBUG !== 0 && ms !== undefined && guest.stops(at.loop, slots);
    guest.rounds = 1;
    const hasBreakpoints = stops(new X86DebugSlots(new Set([BigInt(at.loop + LOOP_BREAKPOINT)])));
    const hasWatchpoints = stops(
      new X86DebugSlots(new Set(), [{ kind: 'write', address: BigInt(at.word), length: 8 }]),
    );
    const trials: readonly (readonly [name: string, runs: () => boolean])[] = [
      ['lock cmpxchg16b', () => guest.try(at.exchange) !== undefined && guest.exchanged],
      ['xrstor64', () => guest.try(at.restore, { cr4: OSXSAVE }) !== undefined],
      ['int3', () => guest.try(at.breakpoint) !== undefined],
      ['32-bit paging', () => guest.try(at.paging32, { isCode32: true }) !== undefined],
    ];
    for (const [name, runs] of trials) {
      if (!thorough && objectionTo(ring0PerSecond, fails) !== undefined) break;
      if (!runs()) fails.push(name);
    }
    return {
      capabilities,
      features,
      tscHz: Math.max(0, vcpu.try(call.getTscKhz)) * 1000,
      scalesTsc: capabilities.TSC_CONTROL !== 0,
      ring0PerSecond,
      fails,
      hasBreakpoints,
      hasWatchpoints,
      ms: performance.now() - start,
      objection: objectionTo(ring0PerSecond, fails),
    };
  } finally {
    vcpu?.close();
    vm?.close();
    system.close();
  }
}

function objectionTo(perSecond: number, fails: readonly string[]): string | undefined {
  const slow = perSecond > 0 && perSecond < WORTHWHILE_PER_SECOND;
  if (!slow && fails.length === 0) return undefined;
  const speed = slow
    ? `runs a guest's kernel at ${(perSecond / 1e6).toFixed(perSecond < 1e7 ? 1 : 0)} million instructions a second, slower than the translator`
    : '';
  const lacks = fails.length > 0 ? `does not run ${fails.join(', ')}` : '';
  return `this host's KVM ${[speed, lacks].filter(Boolean).join(', and ')}`;
}

const known = new Map<string, KvmProbe | VringError>();

/**
 * The host does not change while a process runs: one probe is enough. `thorough`: every trial is made, where otherwise the first
 * objection ends it. Throws as `probe`.
 */
export function probeKvm(
  options: { readonly device?: string | undefined; readonly thorough?: boolean } = {},
): KvmProbe {
  const { device, thorough = false } = options;
  const key = `${device ?? ''} ${thorough}`;
  let result = known.get(key);
  if (!result) {
    try {
      result = probe(device, thorough);
    } catch (error) {
      if (!(error instanceof VringError)) throw error;
      result = error;
    }
    known.set(key, result);
  }
  if (result instanceof VringError) throw result;
  return result;
}
