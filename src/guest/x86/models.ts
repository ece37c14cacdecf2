/**
 * CPU models, by QEMU's names, and QEMU's spelling of `-cpu`: a model, then flags `+x`, `-x`, `x`, `x=on|off`, and a few
 * properties.
 *
 * The default model, qemu64, is QEMU's (AMD family 15, whose processors have no Meltdown, L1TF, MDS or SSB, so that Linux leaves page
 * tables whole) with what makes Linux start and run quicker on a translator: x86-64-v2, RDRAND (entropy at once), TSC deadline
 * timer and invariant TSC (no calibration against other timers), FSGSBASE, ERMS, and automatic IBRS (indirect jumps of the
 * kernel are not rewritten as return thunks).
 */
import { VringError } from '../../base/index.js';
import { type CpuidModel, canonicalFeature, featureNeeds, featureRows, findFeature, qemuSpelling } from './cpuid.js';

export interface CpuModelRow {
  readonly name: string;
  readonly doc: string;
  readonly vendor: 'AuthenticAMD' | 'GenuineIntel';
  readonly family: number;
  readonly model: number;
  readonly stepping: number;
  readonly brand: string;
  readonly features: string;
  readonly level?: number;
}

const kvm32Base = 'fpu de pse tsc msr pae cx8 apic sep mtrr pge mca mce cmov pat pse36 clflush mmx fxsr sse sse2';
const long = 'lm syscall nx lahf_lm cx16';
const v2 = 'sse3 ssse3 sse4_1 sse4_2 popcnt';
/** What has no counterpart in a processor's age: how the translator's machine keeps time, and that it is one. */
const timing = 'hypervisor tsc_deadline tsc_adjust invtsc arat x2apic';
const coreDuo =
  'fpu de pse tsc msr pae cx8 apic sep mtrr pge mca mce cmov pat clflush mmx fxsr sse sse2 sse3 vme ss monitor hypervisor';
const nehalem = `${kvm32Base} vme ${long} ${v2}`;
const westmere = `${nehalem} aes pclmulqdq`;

export const cpuModels: readonly CpuModelRow[] = [
  {
    name: 'qemu64',
    doc: 'the default: x86-64-v2 with what Linux runs quickly on',
    vendor: 'AuthenticAMD',
    family: 15,
    model: 107,
    stepping: 1,
    brand: 'QEMU Virtual CPU version 2.5+',
    features: `${kvm32Base} vme ${long} ${v2} ${timing} rdtscp pdpe1gb abm 3dnowprefetch osvw fxsr_opt mmxext movbe rdrand rdseed fsgsbase erms rdpid xsaveerptr lfence_always_serializing null_sel_clr_base auto_ibrs aes pclmulqdq sha_ni bmi1 bmi2 adx clflushopt clwb`,
  },
  {
    name: 'qemu32',
    doc: 'a 32-bit processor',
    vendor: 'GenuineIntel',
    family: 6,
    model: 6,
    stepping: 3,
    brand: 'QEMU Virtual CPU version 2.5+',
    features: `${kvm32Base} vme sse3 hypervisor tsc_deadline tsc_adjust invtsc arat rdrand`,
    level: 7,
  },
  {
    name: 'kvm64',
    doc: 'the least that 64-bit guests expect',
    vendor: 'GenuineIntel',
    family: 15,
    model: 6,
    stepping: 1,
    brand: 'Common KVM processor',
    features: `${kvm32Base} vme lm syscall nx cx16 sse3 hypervisor`,
    level: 0xd,
  },
  {
    name: 'kvm32',
    doc: 'the least that 32-bit guests expect',
    vendor: 'GenuineIntel',
    family: 15,
    model: 6,
    stepping: 1,
    brand: 'Common 32-bit KVM processor',
    features: `${kvm32Base} vme sse3 hypervisor`,
    level: 5,
  },
  {
    name: '486',
    doc: 'Intel 80486',
    vendor: 'GenuineIntel',
    family: 4,
    model: 8,
    stepping: 0,
    brand: '',
    features: 'fpu vme pse',
    level: 1,
  },
  {
    name: 'pentium',
    doc: 'Intel Pentium',
    vendor: 'GenuineIntel',
    family: 5,
    model: 4,
    stepping: 3,
    brand: '',
    features: 'fpu de pse tsc msr mce cx8 mmx apic vme',
    level: 1,
  },
  {
    name: 'pentium2',
    doc: 'Intel Pentium II',
    vendor: 'GenuineIntel',
    family: 6,
    model: 5,
    stepping: 2,
    brand: '',
    features: 'fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 mmx fxsr vme',
    level: 2,
  },
  {
    name: 'pentium3',
    doc: 'Intel Pentium III',
    vendor: 'GenuineIntel',
    family: 6,
    model: 8,
    stepping: 3,
    brand: '',
    features: 'fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 mmx fxsr sse vme',
    level: 3,
  },
  {
    name: 'coreduo',
    doc: 'Intel Core Duo T2600: the last of 32 bits',
    vendor: 'GenuineIntel',
    family: 6,
    model: 14,
    stepping: 8,
    brand: 'Genuine Intel(R) CPU           T2600  @ 2.16GHz',
    features: `${coreDuo} nx`,
    level: 10,
  },
  {
    name: 'n270',
    doc: 'Intel Atom N270, 32 bits',
    vendor: 'GenuineIntel',
    family: 6,
    model: 28,
    stepping: 2,
    brand: 'Intel(R) Atom(TM) CPU N270   @ 1.60GHz',
    features: `${coreDuo} nx ssse3 movbe`,
    level: 10,
  },
  {
    name: 'core2duo',
    doc: 'Intel Core 2 Duo T7700',
    vendor: 'GenuineIntel',
    family: 6,
    model: 15,
    stepping: 11,
    brand: 'Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz',
    features: `${coreDuo} pse36 ${long} ssse3`,
    level: 10,
  },
  {
    name: 'Conroe',
    doc: 'Intel Celeron_4x0 (Conroe/Merom Class Core 2)',
    vendor: 'GenuineIntel',
    family: 6,
    model: 15,
    stepping: 3,
    brand: 'Intel Celeron_4x0 (Conroe/Merom Class Core 2)',
    features: `${kvm32Base} lm syscall nx lahf_lm sse3 ssse3 hypervisor`,
    level: 10,
  },
  {
    name: 'Penryn',
    doc: 'Intel Core 2 Duo P9xxx (Penryn Class Core 2)',
    vendor: 'GenuineIntel',
    family: 6,
    model: 23,
    stepping: 3,
    brand: 'Intel Core 2 Duo P9xxx (Penryn Class Core 2)',
    features: `${kvm32Base} ${long} sse3 ssse3 sse4_1 hypervisor`,
    level: 10,
  },
  {
    name: 'Opteron_G1',
    doc: 'AMD Opteron 240 (Gen 1 Class Opteron)',
    vendor: 'AuthenticAMD',
    family: 15,
    model: 6,
    stepping: 1,
    brand: 'AMD Opteron 240 (Gen 1 Class Opteron)',
    features: `${kvm32Base} lm syscall nx sse3 hypervisor`,
    level: 5,
  },
  {
    name: 'Nehalem',
    doc: 'Intel Core i7 9xx (Nehalem Class Core i7): x86-64-v2',
    vendor: 'GenuineIntel',
    family: 6,
    model: 26,
    stepping: 3,
    brand: 'Intel Core i7 9xx (Nehalem Class Core i7)',
    features: `${nehalem} ${timing} rdtscp`,
    level: 11,
  },
  {
    name: 'Westmere',
    doc: 'Westmere E56xx/L56xx/X56xx (Nehalem-C)',
    vendor: 'GenuineIntel',
    family: 6,
    model: 44,
    stepping: 1,
    brand: 'Westmere E56xx/L56xx/X56xx (Nehalem-C)',
    features: `${westmere} ${timing} rdtscp pdpe1gb`,
    level: 11,
  },
];

/** Everything that is implemented. */
const maxModel: CpuModelRow = {
  name: 'max',
  doc: 'every feature that is implemented',
  vendor: 'AuthenticAMD',
  family: 15,
  model: 107,
  stepping: 1,
  brand: 'vring virtual CPU',
  features: featureRows.map((row) => row.name).join(' '),
};

export const allModels: readonly CpuModelRow[] = [
  ...cpuModels,
  maxModel,
  { ...maxModel, name: 'host', doc: "what the host's own processor has of it; with KVM alone" },
  { ...maxModel, name: 'base', doc: 'no features', features: '' },
];

/** Models that QEMU has and vring does not yet, most of them for want of AVX. */
const unsupportedModels =
  /^(athlon|phenom|Opteron_G[2-5]|(Nehalem|Westmere)-IBRS|(SandyBridge|IvyBridge)(-IBRS)?|(Haswell|Broadwell)(-noTSX)?(-IBRS)?|Skylake-(Client|Server)(-noTSX)?(-IBRS)?|(Cascadelake|Icelake)-Server(-noTSX)?|Cooperlake|Denverton|Dhyana|EPYC(-IBPB|-Rome|-Milan)?|KnightsMill|Snowridge)(-v\d)?$|^(Nehalem|Westmere)-v2$/i;

/** Flags of processors that QEMU has and vring does not. */
const unsupportedFeatures = new Set(
  (
    '3dnow 3dnowext ace2 ace2_en amd_no_ssb amd_ssbd amd_stibp arch_capabilities arch_lbr avic avx avx_vnni avx2 bus_lock_detect cid ' +
    'cldemote clzero cmp_legacy core_capability cr8legacy dca decodeassists ds ds_cpl dtes64 est extapic f16c flushbyasid fma fma4 ' +
    'full_width_write gfni hle ht ia64 ibpb ibrs ibrs_all ibs intel_pt intel_pt_lip lbrv lwp md_clear mds_no misalignsse movdir64b ' +
    'movdiri mpx nodeid_msr npt nrip_save pause_filter pbe pcommit pdcm perfctr_core perfctr_nb pfthreshold phe phe_en pks pku pmm ' +
    'pmm_en pn pschange_mc_no rdctl_no rsba rtm serialize skinit skip_l1dfl_vmentry smx spec_ctrl split_lock_detect ssb_no ssbd sse4a ' +
    'stibp svm svm_lock svme_addr_chk taa_no tbm tce tm tm2 topoext tsc_scale tsx_ctrl tsx_ldtrk v_vmsave_vmload vaes vgif virt_ssbd ' +
    'vmcb_clean vmx vpclmulqdq waitpkg wbnoinvd wdt xcrypt xcrypt_en xfd xop xstore xstore_en xtpr'
  ).split(' '),
);
/** Other properties of theirs. */
const unsupportedProperties = new Set(
  (
    'cpuid_0xb full_cpuid_auto_level fill_mtrr_mask guest_phys_bits host_cache_info host_phys_bits host_phys_bits_limit kvm ' +
    'kvm_no_smi_migration l3_cache legacy_cache legacy_instance_id lbr_fmt lmce memory migratable min_level min_xlevel min_xlevel2 ' +
    'pmu start_powered_off tcg_cpuid tsc_frequency ucode_rev vmware_cpuid_freq xlevel xlevel2'
  ).split(' '),
);
const unsupportedFamilies = /^(amx|avx512|hv|kvm|sgx|vmx|x)_|^(avx512|kvmclock|sgx)/;

function refuseFeature(key: string): CpuOptionError {
  const name = canonicalFeature(key);
  if (unsupportedFeatures.has(name) || unsupportedProperties.has(name) || unsupportedFamilies.test(name))
    return optionError(`the CPU feature '${key}' is not supported yet`);
  const known = featureRows.map((each) => qemuSpelling(each.name));
  return optionError(`there is no CPU feature '${key}'${suggestion(key, known)}`);
}

function findModel(name: string): CpuModelRow {
  // QEMU numbers the versions of its models; the first is the one that the bare name has.
  const wanted = name.toLowerCase().replace(/-v1$/, '');
  const row = allModels.find((each) => each.name.toLowerCase() === wanted);
  if (row && !(wanted !== name.toLowerCase() && /^(max|host|base)$/.test(wanted))) return row;
  if (unsupportedModels.test(name)) throw optionError(`the CPU model '${name}' is not supported yet`);
  const known = allModels.map((each) => each.name);
  throw optionError(`there is no CPU model '${name}'${suggestion(name, known)}`);
}

/** A model with its flags applied: what a vCPU is made from. */
export interface CpuModel extends CpuidModel {
  readonly name: string;
  /** Bits of CR4 and EFER that exist. */
  readonly cr4Mask: number;
  readonly eferMask: number;
  readonly xcr0Mask: bigint;
}

/** A `-cpu` value that means nothing here. */
export class CpuOptionError extends VringError {
  constructor(message: string) {
    super('cpu-option', message);
  }
}

const optionError = (message: string): CpuOptionError => new CpuOptionError(message);

const physBitsDefault = 40;

/**
 * Properties that choose between a host's processor and a model, where vring's CPUID is that of the model on every accelerator: caches
 * and address width come from it, nobody is told of KVM, and all features can move.
 */
const ofHost = /^(migratable|host-phys-bits|host-cache-info|l3-cache|kvm)$/;

/** Reads the value of `-cpu`, e.g. "qemu64,+smap,-x2apic,aes=off". Throws CpuOptionError with one clear sentence. */
export function parseCpuOption(text: string): CpuModel {
  const [name, ...flags] = text.split(',');
  const row = findModel(name);
  const features = new Set(row.features.split(' ').filter((each) => each !== ''));
  const changed = {
    vendor: row.vendor as string,
    family: row.family,
    model: row.model,
    stepping: row.stepping,
    brand: row.brand,
  };
  let physBits = physBitsDefault;
  let level = row.level;
  for (const flag of flags) {
    const [, sign, key, value] = /^([+-]?)([^=]*)(?:=(.*))?$/s.exec(flag) ?? [];
    // What the model cannot have is refused in any case.
    if (sign === '' && /^(enforce|check)$/.test(key)) continue;
    if (sign === '' && value !== undefined) {
      const number = Number(value);
      const inRange = (most: number): number => {
        if (!Number.isInteger(number) || number < 0 || number > most)
          throw optionError(`CPU property '${flag}' is out of range`);
        return number;
      };
      switch (key) {
        case 'phys-bits':
          physBits = inRange(52);
          if (physBits < 32) throw optionError(`CPU property '${flag}' is out of range`);
          continue;
        case 'family':
          changed.family = inRange(270);
          continue;
        case 'model':
          changed.model = inRange(255);
          continue;
        case 'stepping':
          changed.stepping = inRange(15);
          continue;
        case 'level':
          level = inRange(0x1f);
          continue;
        case 'vendor':
          if (value.length !== 12) throw optionError(`CPU property '${flag}' must have 12 characters`);
          changed.vendor = value;
          continue;
        case 'model-id':
          changed.brand = value.slice(0, 47);
          continue;
      }
    }
    const feature = findFeature(key);
    const isOff = sign === '-' || /^(off|no|false|0)$/i.test(value ?? '');
    // What is not there need not be switched off; performance counters are not.
    const isAbsent = key === 'pmu' || unsupportedFeatures.has(canonicalFeature(key));
    const changesNothing = ofHost.test(key) || (isOff && isAbsent);
    if (!feature && !changesNothing) throw refuseFeature(key);
    const on = sign === '-' ? false : value === undefined || /^(on|yes|true|1)$/i.test(value);
    if (value !== undefined && !/^(on|off|yes|no|true|false|1|0)$/i.test(value)) {
      throw optionError(`CPU feature '${key}' is on or off, not '${value}'`);
    }
    if (!feature) continue;
    if (on) features.add(feature.name);
    else features.delete(feature.name);
  }
  return makeModel({ name: row.name, ...changed, features, physBits, ...(level === undefined ? {} : { level }) });
}

/** Leaves out features whose needs are not met, and derives what registers allow. */
export function makeModel(given: CpuidModel & { readonly name: string }): CpuModel {
  const features = new Set(given.features);
  for (let changed = true; changed; ) {
    changed = false;
    for (const [name, needs] of Object.entries(featureNeeds)) {
      if (features.has(name) && !needs.every((need) => features.has(need))) {
        features.delete(name);
        changed = true;
      }
    }
  }
  let cr4Mask = 0;
  let eferMask = 0;
  for (const row of featureRows) {
    if (!features.has(row.name)) continue;
    cr4Mask |= row.cr4 ?? 0;
    eferMask |= row.efer ?? 0;
  }
  // The performance-monitoring enable bit is taken with the TSC: there are no counters to read.
  if (features.has('tsc')) cr4Mask |= 0x100;
  const wide = features.has('pae') || features.has('pse36');
  return {
    ...given,
    features,
    physBits: wide ? given.physBits : 32,
    cr4Mask,
    eferMask,
    xcr0Mask: features.has('xsave') ? 3n : 0n,
  };
}

/** The nearest known word, if one is near. */
function suggestion(word: string, known: readonly string[]): string {
  let best = '';
  let least = 3;
  for (const each of known) {
    const d = distance(canonicalFeature(word), canonicalFeature(each));
    if (d < least) {
      least = d;
      best = each;
    }
  }
  return best ? `; did you mean '${best}'?` : '';
}

/** Edit distance of short words; two letters changed about count as one edit. */
function distance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, i) => i)];
  for (let i = 1; i <= Math.min(a.length, 40); i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      row.push(Math.min(rows[i - 1][j] + 1, row[j - 1] + 1, rows[i - 1][j - 1] + same));
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) row[j] = Math.min(row[j], rows[i - 2][j - 2] + 1);
    }
    rows.push(row);
  }
  return rows[rows.length - 1][b.length];
}

/** Lines of `-cpu help`. */
export function cpuHelp(): string {
  const models = allModels.map((row) => `  ${row.name.padEnd(16)} ${row.doc}`);
  const flags = featureRows.map((row) => qemuSpelling(row.name)).sort();
  const lines: string[] = [];
  let line = ' ';
  for (const flag of flags) {
    if (line.length + flag.length + 1 > 76) {
      lines.push(line);
      line = ' ';
    }
    line += ` ${flag}`;
  }
  lines.push(line);
  return ['Available CPUs:', ...models, '', 'Recognized CPUID flags:', ...lines].join('\n');
}
