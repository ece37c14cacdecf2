/**
 * The supervisor binary interface for a machine without firmware in M-mode (RISC-V SBI specification 2.0): base, timer, IPI, remote
 * fences, hart state, system reset, debug console, and the legacy calls 0 to 8.
 */
import { type Hart, type RiscvCpu, xreg } from '../../guest/riscv/index.js';
import { envcfg, field, irq } from '../../guest/riscv/state.js';

export interface SbiPlatform {
  /** In order of their numbers. */
  readonly harts: readonly RiscvCpu[];
  /** What may interrupt a hart has changed. */
  called(cpu: RiscvCpu): void;
  powerOff(): void;
  reset(): void;
  putByte(byte: number): void;
  /** The next byte that waits at the console, or undefined. */
  takeByte(): number | undefined;
  /** A range of RAM by guest-physical address, or undefined where not all of it is. */
  view(gpa: bigint, length: number, forWrite: boolean): Uint8Array | undefined;
  published(gpa: bigint, length: number): void;
  /** Guest-physical address of a guest-virtual one. */
  translate(cpu: RiscvCpu, gva: bigint): bigint | undefined;
}

/** Errors (chapter 3). */
const error = {
  success: 0n,
  failed: -1n,
  notSupported: -2n,
  invalidParameter: -3n,
  invalidAddress: -5n,
  alreadyAvailable: -6n,
} as const;
/** States of a hart (9.2). */
const hartState = { started: 0n, stopped: 1n } as const;
const SPECIFICATION = 0x0200_0000n;
/** No implementation that is registered. */
const IMPLEMENTATION = 0x7672_696e_67n;
const IMPLEMENTATION_VERSION = 1n;
/** A call of the debug console moves at most so much; it tells how much it has moved. */
const CONSOLE_BYTES = 65536;
const MASK_BYTES = 8;
const ALL_HARTS = (1n << 64n) - 1n;

type Reply = readonly [error: bigint, value?: bigint];
type Call = (cpu: RiscvCpu, args: readonly bigint[], platform: SbiPlatform) => Reply;

const done: Reply = [error.success];
const address = (low: bigint, high: bigint): bigint => (high << 64n) | low;

/** The harts of a mask whose bit 0 stands for hart `base` (3.1); undefined if one of them is not there. */
function namedHarts(harts: readonly RiscvCpu[], mask: bigint, base: bigint): RiscvCpu[] | undefined {
  if (base === ALL_HARTS) return [...harts];
  const count = BigInt(harts.length);
  const rest = base >= count ? mask : mask >> (count - base);
  return rest === 0n ? harts.filter(({ id }) => ((mask << base) >> BigInt(id)) & 1n) : undefined;
}

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
  (_cpu, [mask, base], platform) => {
    const named = namedHarts(platform.harts, mask, base);
    if (!named) return [error.invalidParameter];
    for (const cpu of named) {
      if (cpu.isStopped) continue;
      work(cpu.hart);
      platform.called(cpu);
    }
    return done;
  };

const interrupt = onHarts((hart) => setSoftware(hart, true));
const flush = onHarts((hart) => hart.flushTlb());

const hartOf = ({ harts }: SbiPlatform, id: bigint): RiscvCpu | undefined =>
  id < BigInt(harts.length) ? harts[Number(id)] : undefined;

/** S-mode at `start` with its number in a0 and `opaque` in a1 (9.1). */
function startHart(id: bigint, start: bigint, opaque: bigint, platform: SbiPlatform): Reply {
  const cpu = hartOf(platform, id);
  if (!cpu) return [error.invalidParameter];
  if (!cpu.isStopped) return [error.alreadyAvailable];
  if ((start & 1n) !== 0n || !platform.view(start, 2, false)) return [error.invalidAddress];
  cpu.reset(start);
  cpu.enterSupervisor(start, id, opaque);
  platform.called(cpu);
  return done;
}

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
      (_cpu, [id]) => [error.success, extensions.has(id) || legacy.has(id) ? 1n : 0n],
      () => [error.success, 0n],
      () => [error.success, 0n],
      () => [error.success, 0n],
    ],
  ],
  // "TIME"
  [
    0x54494d45n,
    [
      ({ hart }, [at]) => {
        setTimer(hart, at);
        return done;
      },
    ],
  ],
  // "sPI"
  [0x735049n, [interrupt]],
  // "RFNC": translated code follows every store by itself, so that FENCE.I has nothing to do; there is no hypervisor extension.
  [0x52464e43n, [onHarts(() => {}), flush, flush]],
  // "HSM"
  [
    0x48534dn,
    [
      (_cpu, [id, start, opaque], platform) => startHart(id, start, opaque, platform),
      (cpu) => {
        cpu.stop();
        return done;
      },
      (_cpu, [id], platform) => {
        const cpu = hartOf(platform, id);
        if (!cpu) return [error.invalidParameter];
        return [error.success, cpu.isStopped ? hartState.stopped : hartState.started];
      },
      // Suspending with all state kept may end at once.
      (_cpu, [type]) => [type === 0n ? error.success : error.notSupported],
    ],
  ],
  // "SRST"
  [0x53525354n, [(_cpu, [type], platform) => shutDown(BigInt.asUintN(32, type), platform)]],
  // "DBCN"
  [
    0x4442434en,
    [
      (_cpu, args, platform) => moveConsole(args, platform, false),
      (_cpu, args, platform) => moveConsole(args, platform, true),
      (_cpu, [byte], platform) => {
        platform.putByte(Number(byte & 255n));
        return done;
      },
    ],
  ],
] satisfies [bigint, readonly (Call | undefined)[]][]);

/** Calls of version 0.1 (chapter 5): they give one value, and harts are named by the address of a mask. */
type LegacyCall = (cpu: RiscvCpu, args: readonly bigint[], platform: SbiPlatform) => bigint;

/** On the harts of the mask at a guest-virtual address; 0: on all. */
const onMask =
  (call: Call): LegacyCall =>
  (cpu, [at], platform) => {
    if (at === 0n) return call(cpu, [0n, ALL_HARTS], platform)[0];
    const gpa = platform.translate(cpu, at);
    const mask = gpa === undefined ? undefined : platform.view(gpa, MASK_BYTES, false);
    if (!mask) return error.invalidParameter;
    const bits = new DataView(mask.buffer, mask.byteOffset, MASK_BYTES).getBigUint64(0, true);
    return call(cpu, [bits, 0n], platform)[0];
  };

const legacy: ReadonlyMap<bigint, LegacyCall> = new Map<bigint, LegacyCall>([
  [
    0n,
    ({ hart }, [at]) => {
      setTimer(hart, at);
      return 0n;
    },
  ],
  [
    1n,
    (_cpu, [byte], platform) => {
      platform.putByte(Number(byte & 255n));
      return 0n;
    },
  ],
  [2n, (_cpu, _args, platform) => BigInt(platform.takeByte() ?? -1)],
  [
    3n,
    ({ hart }) => {
      setSoftware(hart, false);
      return 0n;
    },
  ],
  [4n, onMask(interrupt)],
  [5n, onMask(onHarts(() => {}))],
  [6n, onMask(flush)],
  [7n, onMask(flush)],
  [
    8n,
    (_cpu, _args, platform) => {
      platform.powerOff();
      return 0n;
    },
  ],
]);

/** Serves an ECALL from S-mode: extension in a7, function in a6, arguments from a0 on; error and value come back in a0 and a1. */
export function serveSbi(cpu: RiscvCpu, platform: SbiPlatform): void {
  const { hart } = cpu;
  const x = (n: number): bigint => hart.get64(xreg[n].offset);
  const set = (n: number, value: bigint): void => hart.set64(xreg[n].offset, BigInt.asUintN(64, value));
  const args = [10, 11, 12, 13, 14, 15].map(x);
  const id = BigInt.asUintN(32, x(17));
  const old = legacy.get(id);
  if (old) set(10, old(cpu, args, platform));
  else {
    const call = extensions.get(id)?.[Number(BigInt.asUintN(32, x(16)))];
    const [code, value = 0n] = call ? call(cpu, args, platform) : [error.notSupported];
    set(10, code);
    set(11, value);
  }
  hart.noteInterrupts();
}
