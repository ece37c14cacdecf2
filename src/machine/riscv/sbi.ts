/**
 * The supervisor binary interface for a machine without firmware in M-mode (RISC-V SBI specification 2.0): base, timer, IPI, remote
 * fences, hart state, system reset, debug console, and the legacy calls 0 to 8. One hart.
 */
import { type Hart, xreg } from '../../guest/riscv/index.js';
import { envcfg, field, irq } from '../../guest/riscv/state.js';

export interface SbiPlatform {
  powerOff(): void;
  reset(): void;
  putByte(byte: number): void;
  /** The next byte that waits at the console, or undefined. */
  takeByte(): number | undefined;
  /** A range of RAM by guest-physical address, or undefined where not all of it is. */
  view(gpa: bigint, length: number, forWrite: boolean): Uint8Array | undefined;
  published(gpa: bigint, length: number): void;
  /** Guest-physical address of a guest-virtual one. */
  translate(gva: bigint): bigint | undefined;
}

/** Errors (chapter 3). */
const error = { success: 0n, failed: -1n, notSupported: -2n, invalidParameter: -3n, alreadyAvailable: -6n } as const;
const SPECIFICATION = 0x0200_0000n;
/** No implementation that is registered. */
const IMPLEMENTATION = 0x7672_696e_67n;
const IMPLEMENTATION_VERSION = 1n;
/** A call of the debug console moves at most so much; it tells how much it has moved. */
const CONSOLE_BYTES = 65536;
const MASK_BITS = 64n;
const ALL_HARTS = (1n << 64n) - 1n;

type Reply = readonly [error: bigint, value?: bigint];
type Call = (hart: Hart, args: readonly bigint[], platform: SbiPlatform) => Reply;

const done: Reply = [error.success];
const address = (low: bigint, high: bigint): bigint => (high << 64n) | low;

/** Whether a mask of harts names none but hart 0. */
function namesOurs(mask: bigint, base: bigint): boolean {
  if (base === ALL_HARTS) return true;
  return base === 0n ? (mask & ~1n) === 0n : mask === 0n && base < MASK_BITS;
}
const namesHart0 = (mask: bigint, base: bigint): boolean => base === ALL_HARTS || (base === 0n && (mask & 1n) !== 0n);

const setSoftware = (hart: Hart, on: boolean): void => {
  const bit = 1n << BigInt(irq.SSI);
  const pending = hart.get64(field.mip);
  hart.set64(field.mip, on ? pending | bit : pending & ~bit);
};

/** The supervisor's timer is stimecmp, whether or not the guest knows of it. */
function setTimer(hart: Hart, at: bigint): void {
  hart.set64(field.menvcfg, hart.get64(field.menvcfg) | envcfg.STCE);
  hart.set64(field.stimecmp, at);
  hart.board.setTimer(at);
}

const onHarts =
  (work: (hart: Hart) => void): Call =>
  (hart, [mask, base]) => {
    if (!namesOurs(mask, base)) return [error.invalidParameter];
    if (namesHart0(mask, base)) work(hart);
    return done;
  };

const flush = onHarts((hart) => hart.flushTlb());

function shutDown(type: bigint, platform: SbiPlatform): Reply {
  if (type === 0n) platform.powerOff();
  else if (type === 1n || type === 2n) platform.reset();
  else return [error.invalidParameter];
  return done;
}

/** Writes or reads console bytes of a range in RAM. */
function moveConsole(args: readonly bigint[], platform: SbiPlatform, isRead: boolean): Reply {
  const [count, low, high] = args;
  const length = Number(count > BigInt(CONSOLE_BYTES) ? BigInt(CONSOLE_BYTES) : count);
  const gpa = address(low, high);
  const bytes = platform.view(gpa, length, isRead);
  if (!bytes) return [error.invalidParameter];
  if (!isRead) {
    for (const byte of bytes) platform.putByte(byte);
    return [error.success, BigInt(length)];
  }
  let taken = 0;
  for (; taken < length; taken++) {
    const byte = platform.takeByte();
    if (byte === undefined) break;
    bytes[taken] = byte;
  }
  platform.published(gpa, taken);
  return [error.success, BigInt(taken)];
}

/** By extension: its functions in order of their numbers; undefined where one is not there. */
const extensions: ReadonlyMap<bigint, readonly (Call | undefined)[]> = new Map([
  [
    0x10n,
    [
      () => [error.success, SPECIFICATION],
      () => [error.success, IMPLEMENTATION],
      () => [error.success, IMPLEMENTATION_VERSION],
      (_hart, [id]) => [error.success, extensions.has(id) || legacy.has(id) ? 1n : 0n],
      () => [error.success, 0n],
      () => [error.success, 0n],
      () => [error.success, 0n],
    ],
  ],
  // "TIME"
  [
    0x54494d45n,
    [
      (hart, [at]) => {
        setTimer(hart, at);
        return done;
      },
    ],
  ],
  // "sPI"
  [0x735049n, [onHarts((hart) => setSoftware(hart, true))]],
  // "RFNC": translated code follows every store by itself, so that FENCE.I has nothing to do; there is no hypervisor extension.
  [0x52464e43n, [onHarts(() => {}), flush, flush]],
  // "HSM"
  [
    0x48534dn,
    [
      (_hart, [id]) => [id === 0n ? error.alreadyAvailable : error.invalidParameter],
      // The only hart does not stop.
      () => [error.failed],
      (_hart, [id]) => (id === 0n ? [error.success, 0n] : [error.invalidParameter]),
      // Suspending with all state kept may end at once.
      (_hart, [type]) => [type === 0n ? error.success : error.notSupported],
    ],
  ],
  // "SRST"
  [0x53525354n, [(_hart, [type], platform) => shutDown(BigInt.asUintN(32, type), platform)]],
  // "DBCN"
  [
    0x4442434en,
    [
      (_hart, args, platform) => moveConsole(args, platform, false),
      (_hart, args, platform) => moveConsole(args, platform, true),
      (_hart, [byte], platform) => {
        platform.putByte(Number(byte & 255n));
        return done;
      },
    ],
  ],
] satisfies [bigint, readonly (Call | undefined)[]][]);

/** Calls of version 0.1 (chapter 5): they give one value, and harts are named by the address of a mask. */
const legacy: ReadonlyMap<bigint, (hart: Hart, args: readonly bigint[], platform: SbiPlatform) => bigint> = new Map([
  [
    0n,
    (hart: Hart, [at]: readonly bigint[]) => {
      setTimer(hart, at);
      return 0n;
    },
  ],
  [
    1n,
    (_hart: Hart, [byte]: readonly bigint[], platform: SbiPlatform) => {
      platform.putByte(Number(byte & 255n));
      return 0n;
    },
  ],
  [2n, (_hart: Hart, _args: readonly bigint[], platform: SbiPlatform) => BigInt(platform.takeByte() ?? -1)],
  [
    3n,
    (hart: Hart) => {
      setSoftware(hart, false);
      return 0n;
    },
  ],
  [
    4n,
    (hart: Hart, [at]: readonly bigint[], platform: SbiPlatform) => {
      const gpa = at === 0n ? undefined : platform.translate(at);
      const mask = gpa === undefined ? undefined : platform.view(gpa, 8, false);
      if (at === 0n || (mask && (mask[0] & 1) !== 0)) setSoftware(hart, true);
      return at === 0n || mask ? 0n : error.invalidParameter;
    },
  ],
  [5n, () => 0n],
  [
    6n,
    (hart: Hart) => {
      hart.flushTlb();
      return 0n;
    },
  ],
  [
    7n,
    (hart: Hart) => {
      hart.flushTlb();
      return 0n;
    },
  ],
  [
    8n,
    (_hart: Hart, _args: readonly bigint[], platform: SbiPlatform) => {
      platform.powerOff();
      return 0n;
    },
  ],
]);

/** Serves an ECALL from S-mode: extension in a7, function in a6, arguments from a0 on; error and value come back in a0 and a1. */
export function serveSbi(hart: Hart, platform: SbiPlatform): void {
  const x = (n: number): bigint => hart.get64(xreg[n].offset);
  const set = (n: number, value: bigint): void => hart.set64(xreg[n].offset, BigInt.asUintN(64, value));
  const args = [10, 11, 12, 13, 14, 15].map(x);
  const id = BigInt.asUintN(32, x(17));
  const old = legacy.get(id);
  if (old) set(10, old(hart, args, platform));
  else {
    const call = extensions.get(id)?.[Number(BigInt.asUintN(32, x(16)))];
    const [code, value = 0n] = call ? call(hart, args, platform) : [error.notSupported];
    set(10, code);
    set(11, value);
  }
  hart.noteInterrupts();
}
