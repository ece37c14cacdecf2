/**
 * CPUID feature flags, one row each: where the bit lies and what QEMU calls it. From the rows come CPUID's answers, which
 * instruction rows are legal (their `cpuid`), what control registers and EFER allow, and `-cpu help`. Intel SDM vol. 2 CPUID; AMD APM vol. 3
 * appendix E. Only what is implemented has a row.
 */

/** CPUID register of a leaf. */
export type FeatureLeaf =
  | '1.ecx'
  | '1.edx'
  | '6.eax'
  | '7.ebx'
  | '7.ecx'
  | '7.edx'
  | 'd1.eax'
  | '80000001.ecx'
  | '80000001.edx'
  | '80000007.edx'
  | '80000008.ebx'
  | '80000021.eax';

export interface FeatureRow {
  /** Name as instruction rows and the code use it: letters, digits and underscores. */
  readonly name: string;
  readonly leaf: FeatureLeaf;
  readonly bit: number;
  readonly doc: string;
  /** Other spellings that QEMU takes. */
  readonly aliases?: readonly string[];
  /** CR4 bits that exist only with it; EFER bits. */
  readonly cr4?: number;
  readonly efer?: number;
}

function leaf(
  at: FeatureLeaf,
  rows: Readonly<Record<string, readonly [number, string, Partial<FeatureRow>?]>>,
): FeatureRow[] {
  return Object.entries(rows).map(([name, [bit, doc, more]]) => ({ name, leaf: at, bit, doc, ...more }));
}

export const featureRows: readonly FeatureRow[] = [
  ...leaf('1.edx', {
    fpu: [0, 'x87 floating point'],
    vme: [1, 'Virtual-8086 mode extensions', { cr4: 0x3 }],
    de: [2, 'Debugging extensions (I/O breakpoints)', { cr4: 0x8 }],
    pse: [3, '4 MiB pages', { cr4: 0x10 }],
    tsc: [4, 'Time-stamp counter', { cr4: 0x4 }],
    msr: [5, 'Model-specific registers'],
    pae: [6, 'Physical address extension', { cr4: 0x20 }],
    mce: [7, 'Machine check exception', { cr4: 0x40 }],
    cx8: [8, 'CMPXCHG8B'],
    apic: [9, 'Local APIC'],
    sep: [11, 'SYSENTER and SYSEXIT'],
    mtrr: [12, 'Memory type range registers'],
    pge: [13, 'Global pages', { cr4: 0x80 }],
    mca: [14, 'Machine check architecture'],
    cmov: [15, 'CMOVcc, FCMOVcc, FCOMI'],
    pat: [16, 'Page attribute table'],
    pse36: [17, '4 MiB pages above 4 GiB'],
    clflush: [19, 'CLFLUSH', { aliases: ['clfsh'] }],
    mmx: [23, 'MMX'],
    fxsr: [24, 'FXSAVE and FXRSTOR', { cr4: 0x200 }],
    sse: [25, 'SSE', { cr4: 0x400 }],
    sse2: [26, 'SSE2'],
    ss: [27, 'Self-snoop'],
  }),
  ...leaf('1.ecx', {
    sse3: [0, 'SSE3', { aliases: ['pni'] }],
    pclmulqdq: [1, 'PCLMULQDQ', { aliases: ['pclmuldq'] }],
    monitor: [3, 'MONITOR and MWAIT'],
    ssse3: [9, 'SSSE3'],
    cx16: [13, 'CMPXCHG16B'],
    pcid: [17, 'Process-context identifiers', { cr4: 0x20000 }],
    sse4_1: [19, 'SSE4.1'],
    sse4_2: [20, 'SSE4.2'],
    x2apic: [21, 'x2APIC'],
    movbe: [22, 'MOVBE'],
    popcnt: [23, 'POPCNT'],
    tsc_deadline: [24, 'Local APIC timer by TSC deadline'],
    aes: [25, 'AES-NI'],
    xsave: [26, 'XSAVE', { cr4: 0x40000 }],
    rdrand: [30, 'RDRAND'],
    hypervisor: [31, 'Runs under a hypervisor'],
  }),
  ...leaf('6.eax', {
    arat: [2, 'The local APIC timer runs in every power state'],
  }),
  ...leaf('7.ebx', {
    fsgsbase: [0, 'RDFSBASE, WRFSBASE and kin', { cr4: 0x10000 }],
    tsc_adjust: [1, 'IA32_TSC_ADJUST'],
    bmi1: [3, 'BMI1'],
    smep: [7, 'Supervisor-mode execution prevention', { cr4: 0x100000 }],
    bmi2: [8, 'BMI2'],
    erms: [9, 'Fast REP MOVSB and STOSB'],
    invpcid: [10, 'INVPCID'],
    rdseed: [18, 'RDSEED'],
    adx: [19, 'ADCX and ADOX'],
    smap: [20, 'Supervisor-mode access prevention', { cr4: 0x200000 }],
    clflushopt: [23, 'CLFLUSHOPT'],
    clwb: [24, 'CLWB'],
    sha_ni: [29, 'SHA-1 and SHA-256'],
  }),
  ...leaf('7.ecx', {
    umip: [2, 'User-mode instruction prevention', { cr4: 0x800 }],
    la57: [16, '5-level paging', { cr4: 0x1000 }],
    rdpid: [22, 'RDPID'],
  }),
  ...leaf('7.edx', {
    fsrm: [4, 'Fast short REP MOVSB'],
  }),
  ...leaf('d1.eax', {
    xsaveopt: [0, 'XSAVEOPT'],
    xsavec: [1, 'XSAVEC'],
    xgetbv1: [2, 'XGETBV with ECX = 1'],
    xsaves: [3, 'XSAVES and IA32_XSS'],
  }),
  ...leaf('80000001.edx', {
    syscall: [11, 'SYSCALL and SYSRET', { efer: 0x1 }],
    nx: [20, 'No-execute pages', { aliases: ['xd'], efer: 0x800 }],
    mmxext: [22, "AMD's extensions of MMX"],
    fxsr_opt: [25, 'FXSAVE and FXRSTOR optimizations', { aliases: ['ffxsr'], efer: 0x4000 }],
    pdpe1gb: [26, '1 GiB pages'],
    rdtscp: [27, 'RDTSCP'],
    lm: [29, 'Long mode', { aliases: ['i64'], efer: 0x100 }],
  }),
  ...leaf('80000001.ecx', {
    lahf_lm: [0, 'LAHF and SAHF in 64-bit code'],
    abm: [5, 'LZCNT'],
    '3dnowprefetch': [8, 'PREFETCHW'],
    osvw: [9, "OS-visible workarounds: tells which of AMD's errata apply (none)"],
  }),
  ...leaf('80000007.edx', {
    invtsc: [8, 'The time-stamp counter runs at one rate always'],
  }),
  ...leaf('80000008.ebx', {
    xsaveerptr: [2, 'FXSAVE and XSAVE always keep the x87 error pointers'],
  }),
  ...leaf('80000021.eax', {
    lfence_always_serializing: [2, 'LFENCE serializes without being told to'],
    null_sel_clr_base: [6, 'Loading a null selector clears the base'],
    auto_ibrs: [
      8,
      'Automatic IBRS: kernel code does not use branch predictions of user code (here it holds of itself)',
      { efer: 0x200000 },
    ],
  }),
];

/** The spelling that all spellings of a feature share. */
export const canonicalFeature = (name: string): string => name.toLowerCase().replace(/[-.]/g, '_');

const byName = new Map<string, FeatureRow>();
for (const row of featureRows) {
  byName.set(row.name, row);
  for (const alias of row.aliases ?? []) byName.set(canonicalFeature(alias), row);
}

/** A feature's row by any spelling. */
export function findFeature(name: string): FeatureRow | undefined {
  return byName.get(canonicalFeature(name));
}

/** QEMU's spelling: sse4_1 is sse4.1, lahf_lm is lahf-lm. */
export function qemuSpelling(name: string): string {
  return /^sse4_[12]$/.test(name) ? name.replace('_', '.') : name === 'sse3' ? 'pni' : name.replaceAll('_', '-');
}

/** Feature bits of one CPUID register. */
export function featureBits(features: ReadonlySet<string>, at: FeatureLeaf): number {
  let bits = 0;
  for (const row of featureRows) if (row.leaf === at && features.has(row.name)) bits |= 1 << row.bit;
  return bits >>> 0;
}

/** What a feature is useless or impossible without. */
export const featureNeeds: Readonly<Record<string, readonly string[]>> = {
  pse36: ['pse'],
  sse: ['fxsr'],
  sse2: ['sse'],
  sse3: ['sse2'],
  ssse3: ['sse3'],
  sse4_1: ['ssse3'],
  sse4_2: ['sse4_1'],
  aes: ['sse2'],
  pclmulqdq: ['sse2'],
  sha_ni: ['ssse3'],
  lm: ['pae', 'msr', 'cx8', 'sse2', 'fxsr'],
  nx: ['pae'],
  cx16: ['cx8'],
  pcid: ['lm'],
  invpcid: ['pcid'],
  la57: ['lm'],
  fsgsbase: ['lm'],
  pdpe1gb: ['lm'],
  lahf_lm: ['lm'],
  xsave: ['fxsr'],
  xsaveopt: ['xsave'],
  xsavec: ['xsave'],
  xgetbv1: ['xsave'],
  xsaves: ['xsavec'],
  tsc_deadline: ['apic'],
  x2apic: ['apic'],
};

/** The state that CPUID's answers depend on. */
export interface CpuidState {
  /** Bits of CR4 (OSXSAVE) and XCR0, XSS. */
  readonly cr4: number;
  readonly xcr0: bigint;
  readonly xss: bigint;
  readonly apicId: number;
  /** IA32_APIC_BASE.EN: without it a processor tells of no local APIC (Intel SDM vol. 3, 12.4.3). */
  readonly apicEnabled: boolean;
  /** Logical CPUs in all, as threads of one package. */
  readonly cpus: number;
  readonly tscHz: number;
}

/** What a model's CPUID is made from. */
export interface CpuidModel {
  readonly vendor: string;
  readonly family: number;
  readonly model: number;
  readonly stepping: number;
  readonly brand: string;
  readonly features: ReadonlySet<string>;
  readonly physBits: number;
  /** Highest basic and extended leaf; absent: what the features need. */
  readonly level?: number;
}

export interface CpuidResult {
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

const OSXSAVE_BIT = 27;
const APIC_BIT = 1 << 9;
const HYPERVISOR_SIGNATURE = 'TCGTCGTCGTCG';
const APIC_TIMER_HZ = 1e9;

/** Four characters as a register. */
function chars(text: string, at: number): number {
  let value = 0;
  for (let i = 3; i >= 0; i--) value = (value << 8) | (at + i < text.length ? text.charCodeAt(at + i) : 0);
  return value >>> 0;
}

/** The signature of CPUID.1:EAX. */
export function signature(model: CpuidModel): number {
  const { family, model: number, stepping } = model;
  const base = Math.min(family, 15);
  return (((family - base) << 20) | ((number >> 4) << 16) | (base << 8) | ((number & 15) << 4) | stepping) >>> 0;
}

/** Bytes of the legacy area and header of XSAVE; nothing beyond x87 and SSE is kept. */
const XSAVE_BYTES = 576;

/** CPUID's answer. */
export function cpuid(model: CpuidModel, leafNumber: number, subleaf: number, state: CpuidState): CpuidResult {
  const { features, vendor } = model;
  const has = (name: string) => features.has(name);
  const result: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  const isIntel = vendor === 'GenuineIntel';
  const level = model.level ?? (isIntel ? 0x16 : 0xd);
  const extendedLevel =
    has('lfence_always_serializing') || has('auto_ibrs') || has('null_sel_clr_base') ? 0x80000021 : 0x8000000a;
  const threads = Math.max(1, Math.min(state.cpus, 255));
  let at = leafNumber >>> 0;
  if (at >= 0x40000000 && at <= 0x400000ff) {
    if (!has('hypervisor') || at > 0x40000001) return result;
    if (at === 0x40000001) return result;
    return {
      eax: 0x40000001,
      ebx: chars(HYPERVISOR_SIGNATURE, 0),
      ecx: chars(HYPERVISOR_SIGNATURE, 4),
      edx: chars(HYPERVISOR_SIGNATURE, 8),
    };
  }
  // Beyond the last leaf Intel's answer with the last basic one; AMD's with zeros.
  if (at < 0x80000000 ? at > level : at > extendedLevel) {
    if (!isIntel) return result;
    at = level;
  }
  switch (at) {
    case 0:
      return { eax: level, ebx: chars(vendor, 0), edx: chars(vendor, 4), ecx: chars(vendor, 8) };
    case 1: {
      result.eax = signature(model);
      result.ebx = ((state.apicId << 24) | (threads << 16) | (8 << 8)) >>> 0;
      result.ecx = featureBits(features, '1.ecx');
      if (has('xsave') && state.cr4 & 0x40000) result.ecx = (result.ecx | (1 << OSXSAVE_BIT)) >>> 0;
      result.edx = featureBits(features, '1.edx');
      if (threads > 1) result.edx = (result.edx | (1 << 28)) >>> 0;
      if (!state.apicEnabled) result.edx = (result.edx & ~APIC_BIT) >>> 0;
      return result;
    }
    case 2:
      if (isIntel) Object.assign(result, { eax: 0x00feff01, ebx: 0xff });
      return result;
    case 4:
      return isIntel ? cacheLeaf(subleaf, threads) : result;
    case 5:
      // One 64-byte line; MWAIT takes interrupts as break events with IF clear.
      if (has('monitor')) Object.assign(result, { eax: 64, ebx: 64, ecx: 3 });
      return result;
    case 6:
      result.eax = featureBits(features, '6.eax');
      return result;
    case 7:
      if (subleaf !== 0) return result;
      result.ebx = featureBits(features, '7.ebx');
      result.ecx = featureBits(features, '7.ecx');
      result.edx = featureBits(features, '7.edx');
      return result;
    case 0xb: {
      // Two levels of topology: threads (one each), cores.
      const shift = Math.ceil(Math.log2(threads));
      result.ecx = subleaf & 0xff;
      result.edx = state.apicId;
      if (subleaf === 0) Object.assign(result, { eax: 0, ebx: 1, ecx: result.ecx | 0x100 });
      else if (subleaf === 1) Object.assign(result, { eax: shift, ebx: threads, ecx: result.ecx | 0x200 });
      return result;
    }
    case 0xd:
      if (!has('xsave')) return result;
      if (subleaf === 0) Object.assign(result, { eax: 3, ebx: XSAVE_BYTES, ecx: XSAVE_BYTES });
      else if (subleaf === 1) {
        result.eax = featureBits(features, 'd1.eax');
        if (has('xsavec')) result.ebx = XSAVE_BYTES;
      }
      return result;
    case 0x15:
      // TSC = crystal * ebx / eax; the crystal is what the APIC timer counts.
      if (has('tsc'))
        Object.assign(result, {
          eax: Math.round(APIC_TIMER_HZ / 1e6),
          ebx: Math.round(state.tscHz / 1e6),
          ecx: APIC_TIMER_HZ,
        });
      return result;
    case 0x16: {
      const mhz = Math.round(state.tscHz / 1e6) & 0xffff;
      Object.assign(result, { eax: mhz, ebx: mhz, ecx: 100 });
      return result;
    }
    case 0x80000000:
      return { eax: extendedLevel, ebx: chars(vendor, 0), edx: chars(vendor, 4), ecx: chars(vendor, 8) };
    case 0x80000001: {
      result.eax = signature(model);
      result.ecx = featureBits(features, '80000001.ecx');
      result.edx = featureBits(features, '80000001.edx');
      // AMD's repeat the features that both makers have.
      if (!isIntel) result.edx = (result.edx | (featureBits(features, '1.edx') & 0x0183f3ff)) >>> 0;
      if (!isIntel && !state.apicEnabled) result.edx = (result.edx & ~APIC_BIT) >>> 0;
      return result;
    }
    case 0x80000002:
    case 0x80000003:
    case 0x80000004: {
      const from = (at - 0x80000002) * 16;
      const text = model.brand;
      return {
        eax: chars(text, from),
        ebx: chars(text, from + 4),
        ecx: chars(text, from + 8),
        edx: chars(text, from + 12),
      };
    }
    case 0x80000005:
      // L1: 64 KiB, 2 ways, 64-byte lines, both; TLBs of 255 entries.
      if (!isIntel) Object.assign(result, { eax: 0x01ff01ff, ebx: 0x01ff01ff, ecx: 0x40020140, edx: 0x40020140 });
      return result;
    case 0x80000006:
      // L2: 512 KiB, 16 ways.
      Object.assign(result, { ecx: 0x02008140 });
      return result;
    case 0x80000007:
      result.edx = featureBits(features, '80000007.edx');
      return result;
    case 0x80000008:
      result.eax = model.physBits | ((has('la57') ? 57 : has('lm') ? 48 : 32) << 8);
      result.ebx = featureBits(features, '80000008.ebx');
      if (!isIntel && threads > 1) result.ecx = (Math.ceil(Math.log2(threads)) << 12) | (threads - 1);
      return result;
    case 0x80000021:
      result.eax = featureBits(features, '80000021.eax');
      return result;
    default:
      return result;
  }
}

/** Deterministic cache parameters: 32 KiB L1 data and code, 4 MiB L2; 64-byte lines. */
function cacheLeaf(subleaf: number, threads: number): CpuidResult {
  const caches = [
    { type: 1, level: 1, ways: 8, sets: 64 },
    { type: 2, level: 1, ways: 8, sets: 64 },
    { type: 3, level: 2, ways: 16, sets: 4096 },
  ];
  const cache = caches[subleaf];
  if (!cache) return { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  return {
    eax: (cache.type | (cache.level << 5) | 0x100 | ((threads - 1) << 26)) >>> 0,
    ebx: (((cache.ways - 1) << 22) | 63) >>> 0,
    ecx: cache.sets - 1,
    edx: 1,
  };
}
