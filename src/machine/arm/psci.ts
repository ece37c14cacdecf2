/**
 * Arm's Power State Coordination Interface (DEN 0022, version 1.1), which the board itself serves by HVC and SMC as firmware would.
 * Numbers and arguments go by the SMC calling convention (DEN 0028): functions of 32 and of 64 bits.
 */
import { type ArmCore, xreg } from '../../guest/arm/index.js';

export interface PsciPlatform {
  powerOff(): void;
  reset(): void;
  /** Affinities of all CPUs, in their order, and whether each is on. */
  readonly cpus: readonly { readonly affinity: number; readonly isOn: boolean }[];
  /** A CPU that is off starts at an address, with an argument in X0. */
  start(cpu: number, entry: bigint, argument: bigint): void;
  /** The CPU that calls goes off. */
  stop(): void;
}

/** Return codes. */
const result = {
  success: 0n,
  notSupported: -1n,
  invalidParameters: -2n,
  denied: -3n,
  alreadyOn: -4n,
} as const;
const VERSION = 0x1_0001n;
const AFFINITY = 0xff_00ff_ffffn;
const state = { on: 0n, off: 1n } as const;
/** There is no trusted OS that would have to move. */
const NO_TRUSTED_OS = 2n;
const WIDE = 0x4000_0000;

/** Of CPU_SUSPEND's power state: affinity levels above the CPU. That it may lose its state is no matter: it keeps it. */
const BEYOND_STANDBY = 0xfffe_0000n;

type Call = (platform: PsciPlatform, args: readonly bigint[]) => bigint;

const find = (platform: PsciPlatform, target: bigint): number =>
  platform.cpus.findIndex(({ affinity }) => BigInt(affinity) === (target & AFFINITY));

/** Functions by the number of their 32-bit form; those with `wide` have one of 64 bits too. */
const functions: ReadonlyMap<number, { readonly wide?: true; readonly call: Call }> = new Map([
  [0x8400_0000, { call: () => VERSION }],
  // Standby of the CPU alone, and waking at once is allowed (5.4.5).
  [
    0x8400_0001,
    {
      wide: true,
      call: (_platform, [powerState]) => (powerState & BEYOND_STANDBY ? result.invalidParameters : result.success),
    },
  ],
  [
    0x8400_0002,
    {
      call: (platform) => {
        if (platform.cpus.filter(({ isOn }) => isOn).length === 1) return result.denied;
        platform.stop();
        return result.success;
      },
    },
  ],
  [
    0x8400_0003,
    {
      wide: true,
      call: (platform, [target, entry, argument]) => {
        const cpu = find(platform, target);
        if (cpu < 0) return result.invalidParameters;
        if (platform.cpus[cpu].isOn) return result.alreadyOn;
        platform.start(cpu, entry, argument);
        return result.success;
      },
    },
  ],
  [
    0x8400_0004,
    {
      wide: true,
      call: (platform, [target, level]) => {
        const cpu = find(platform, target);
        if (cpu < 0 || level > 0n) return result.invalidParameters;
        return platform.cpus[cpu].isOn ? state.on : state.off;
      },
    },
  ],
  [0x8400_0006, { call: () => NO_TRUSTED_OS }],
  [
    0x8400_0008,
    {
      call: (platform) => {
        platform.powerOff();
        return result.success;
      },
    },
  ],
  [
    0x8400_0009,
    {
      call: (platform) => {
        platform.reset();
        return result.success;
      },
    },
  ],
  [0x8400_000a, { call: (_platform, [id]) => (lookUp(Number(id & 0xffffffffn)) ? 0n : result.notSupported) }],
  // SYSTEM_RESET2: a warm reset, or one of the board's own kinds, of which it has none.
  [
    0x8400_0012,
    {
      wide: true,
      call: (platform, [kind]) => {
        if ((kind & 0xffffffffn) !== 0n) return result.invalidParameters;
        platform.reset();
        return result.success;
      },
    },
  ],
] as const);

function lookUp(id: number): { readonly call: Call } | undefined {
  const found = functions.get((id & ~WIDE) >>> 0);
  return found && (id & WIDE) !== 0 && !found.wide ? undefined : found;
}

/** The call in the core's registers; what nobody knows is answered as the calling convention has it (5.2). */
export function servePsci(core: ArmCore, platform: PsciPlatform): void {
  const id = core.get32(xreg[0].offset) >>> 0;
  const isWide = (id & WIDE) !== 0;
  const args = [1, 2, 3].map((n) => {
    const value = core.get64(xreg[n].offset);
    return isWide ? value : value & 0xffffffffn;
  });
  const value = lookUp(id)?.call(platform, args) ?? result.notSupported;
  core.set64(xreg[0].offset, BigInt.asUintN(64, value));
}
