/**
 * Arm's Power State Coordination Interface (DEN 0022, version 1.1), which the board itself serves by HVC and SMC as firmware would.
 * Numbers and arguments go by the SMC calling convention (DEN 0028): functions of 32 and of 64 bits. What is offered, and what is
 * answered to all else, is QEMU 7.2's: no SYSTEM_SUSPEND and no SYSTEM_RESET2, but the numbers that version 0.1 had on its boards.
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
  /** The CPU that calls waits for an interrupt. */
  wait(): void;
}

/** Return codes. */
const result = {
  success: 0n,
  notSupported: -1n,
  invalidParameters: -2n,
  alreadyOn: -4n,
} as const;
const VERSION = 0x1_0001n;
const state = { on: 0n, off: 1n } as const;
/** There is no trusted OS that would have to move. */
const NO_TRUSTED_OS = 2n;
const WIDE = 0x4000_0000n;

/** Of CPU_SUSPEND's power state: affinity levels above the CPU. That it may lose its state is no matter: it keeps it. */
const BEYOND_STANDBY = 0xfffe_0000n;

type Call = (platform: PsciPlatform, args: readonly bigint[], isWide: boolean) => bigint;

const find = (platform: PsciPlatform, target: bigint): number =>
  platform.cpus.findIndex(({ affinity }) => BigInt(affinity) === target);

const suspend: Call = (platform, [powerState]) => {
  if (powerState & BEYOND_STANDBY) return result.invalidParameters;
  platform.wait();
  return result.success;
};
const turnOff: Call = (platform) => {
  platform.stop();
  return result.success;
};
const turnOn: Call = (platform, [target, entry, argument]) => {
  const cpu = find(platform, target);
  if (cpu < 0) return result.invalidParameters;
  if (platform.cpus[cpu].isOn) return result.alreadyOn;
  platform.start(cpu, entry, argument);
  return result.success;
};

/** Functions by the number of their 32-bit form; those with `wide` have one of 64 bits too. */
const functions: ReadonlyMap<bigint, { readonly wide?: true; readonly call: Call }> = new Map([
  [0x8400_0000n, { call: () => VERSION }],
  [0x8400_0001n, { wide: true, call: suspend }],
  [0x8400_0002n, { call: turnOff }],
  [0x8400_0003n, { wide: true, call: turnOn }],
  [
    0x8400_0004n,
    {
      wide: true,
      call: (platform, [target, level]) => {
        // What is above a CPU is always on.
        if (level !== 0n) return state.on;
        const cpu = find(platform, target);
        if (cpu < 0) return result.invalidParameters;
        return platform.cpus[cpu].isOn ? state.on : state.off;
      },
    },
  ],
  [0x8400_0006n, { call: () => NO_TRUSTED_OS }],
  [
    0x8400_0008n,
    {
      call: (platform) => {
        platform.powerOff();
        return result.success;
      },
    },
  ],
  [
    0x8400_0009n,
    {
      call: (platform) => {
        platform.reset();
        return result.success;
      },
    },
  ],
  [0x8400_000an, { call: (_platform, [id], isWide) => (lookUp(id, isWide) ? 0n : result.notSupported) }],
  // Version 0.1.
  [0x95c1_ba5en, { call: suspend }],
  [0x95c1_ba5fn, { call: turnOff }],
  [0x95c1_ba60n, { call: turnOn }],
] as const);

/** `isWide`: AArch64 calls; functions of 64 bits are its alone. */
function lookUp(id: bigint, isWide: boolean): { readonly call: Call } | undefined {
  const found = functions.get(id);
  if (found || (id & WIDE) === 0n || !isWide) return found;
  const wide = functions.get(id & ~WIDE);
  return wide?.wide && wide;
}

/** The call in the core's registers, of 64 bits or of AArch32's 32; what nobody knows is answered as the calling convention has it (5.2). */
export function servePsci(core: ArmCore, isWide: boolean, platform: PsciPlatform): void {
  const [id, ...args] = [0, 1, 2, 3].map((n) => BigInt.asUintN(isWide ? 64 : 32, core.get64(xreg[n].offset)));
  const value = lookUp(id, isWide)?.call(platform, args, isWide) ?? result.notSupported;
  core.set64(xreg[0].offset, BigInt.asUintN(64, value));
}
