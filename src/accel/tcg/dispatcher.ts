/**
 * From one piece of translated code to the next without JavaScript: the jump cache by pc, behind it the code hash by
 * (host address, mode key); then the code is called and its exit word applied.
 *
 * Targets: positive: index in the code table (a region); negative: address of cold code, with the sign bit set.
 */
import {
  DEFERRED_UNCHANGED,
  exitCode,
  exitWord,
  type GuestVars,
  header,
  type I32,
  type I64,
  jumpCacheEntry,
  jumpEntry,
  LOOK_AGAIN,
  type Routine,
  type RoutineBuilder,
  type RoutineSet,
  tlbEntry,
} from '../../ir/index.js';
import { coldHeader, slowPath } from '../../wasm/index.js';
import { CODE_HASH_BYTES, CODE_HASH_ENTRIES, GUARDED_KEY, hashEntry, layout, REGION_COUNTERS } from './layout.js';
import { accessKind, type defineSoftmmu, ENTRY_FLAGS, entryFlag } from './softmmu.js';

/** Entries into a region that make it busy: they have cost about half a millisecond. */
const BUSY = 1 << 15;
/** What a budget exit costs in hops. */
const BUDGET_HOPS = 256;

/** Address of the jump cache's entry for a pc. */
function cachedJump(r: RoutineBuilder, pc: I64): I32 {
  return r.i32_add(r.i32(layout.jumpCache), jumpCacheEntry(r, pc));
}

/** Where a code hash probe starts. */
export function codeHash(hva: number, key: number): number {
  return (Math.imul(hva, 0x9e3779b1) ^ Math.imul(key, 0x85ebca6b)) >>> 14;
}

export function defineDispatcher(set: RoutineSet, vars: GuestVars, softmmu: ReturnType<typeof defineSoftmmu>) {
  const cold = set.declare('cold', ['i32'], ['i32'], {});

  /**
   * Host address of the code at a linear address, and what its page adds to the key: (fault, hva, 0 or GUARDED_KEY). Where there is no
   * RAM, a page of ones.
   */
  const codeAddress = set.define('code_address', ['i64'], ['i32', 'i32', 'i32'], {}, (r, address) => {
    const mmu = r.i32_load(r.state(), header.mmu);
    const entry = softmmu.entryOf(r, address, mmu);
    const pageKey = (): I32 =>
      r.i32_and(r.i32_shl(r.i32_load(entry, ENTRY_FLAGS), r.i32(Math.clz32(entryFlag.guarded))), r.i32(GUARDED_KEY));
    r.if(r.i64_eq(r.i64_load(entry, tlbEntry.execTag), r.i64_and(address, r.i64(-4096))), () => {
      r.ret(r.i32(0), r.i32_add(r.i32_wrap_i64(address), r.i32_load(entry, tlbEntry.addend)), pageKey());
    });
    const [fault, hva] = r.call(softmmu.fill, address, r.i32(accessKind.fetch), mmu);
    r.if(fault, () => r.ret(r.i32(1), r.i32(0), r.i32(0)));
    r.if(hva, () => r.ret(r.i32(0), hva, pageKey()));
    r.ret(r.i32(0), r.i32_add(r.i32(layout.noCodePage), r.i32_and(r.i32_wrap_i64(address), r.i32(4095))), r.i32(0));
  });

  /** Finds the target for a linear address and remembers it: (fault, target); target 0: there is none, hva and key are in the scratch. */
  const lookup = set.define('lookup', ['i64'], ['i32', 'i32'], {}, (r, address) => {
    r.i32_store(r.state(), r.i32_add(r.i32_load(r.state(), header.lookups), r.i32(1)), header.lookups);
    const [fault, hva, pageKey] = r.call(codeAddress, address);
    r.if(fault, () => r.ret(r.i32(1), r.i32(0)));
    const key = r.i32_or(r.i32_load(r.state(), header.modeKey), pageKey);
    r.i32_store(r.state(), hva, header.scratch);
    r.i32_store(r.state(), key, header.scratch + 4);
    const hash = r.i32_shr_u(
      r.i32_xor(r.i32_mul(hva, r.i32(0x9e3779b1)), r.i32_mul(key, r.i32(0x85ebca6b))),
      r.i32(14),
    );
    const slot = r.local('i32', hash);
    r.loop((again) => {
      const entry = r.i32_add(r.i32(layout.codeHash), r.i32_mul(r.read(slot), r.i32(CODE_HASH_BYTES)));
      const at = r.i32_load(entry, hashEntry.hva);
      r.if(r.i32_and(r.i32_eq(at, hva), r.i32_eq(r.i32_load(entry, hashEntry.key), key)), () => {
        const second = r.i32_load(entry, hashEntry.second);
        r.if(second, () => {
          const [faultBehind, behind] = r.call(codeAddress, r.i64_add(r.i64_and(address, r.i64(-4096)), r.i64(4096)));
          r.if(faultBehind, () => r.ret(r.i32(1), r.i32(0)));
          r.if(r.i32_ne(behind, second), () => r.ret(r.i32(0), r.i32(0)));
        });
        const cold = r.i32_load(entry, hashEntry.target);
        r.if(r.i32_eqz(cold), () => r.ret(r.i32(0), r.i32(0)));
        const region = r.i32_load(r.i32_and(cold, r.i32(0x7fffffff)), coldHeader.region);
        const target = r.select(region, region, cold);
        const cached = cachedJump(r, address);
        r.i64_store(cached, address, jumpEntry.pc);
        r.i64_store(cached, r.i64_load(r.state(), header.modeKey), jumpEntry.key);
        r.i32_store(cached, target, jumpEntry.target);
        const generation = r.i32_add(cached, r.i32(jumpEntry.key + 4));
        // Code on two pages goes by the second as well: the first stands for both only if both are global.
        r.call(softmmu.logEdge, address, generation);
        r.if(second, () =>
          r.call(softmmu.logEdge, r.i64_add(r.i64_and(address, r.i64(-4096)), r.i64(4096)), generation),
        );
        r.ret(r.i32(0), target);
      });
      r.if(r.i32_eqz(at), () => r.ret(r.i32(0), r.i32(0)));
      r.assign(slot, r.i32_and(r.i32_add(r.read(slot), r.i32(1)), r.i32(CODE_HASH_ENTRIES - 1)));
      r.br(again);
    });
  });

  /** Applies an exit word to the state; gives the new pc. */
  const apply = (r: RoutineBuilder, word: I32): I64 => {
    const distance = r.i64_extend_i32_s(r.i32_extend16_s(word));
    const pc = r.i64_and(r.i64_add(r.i64_load(r.state(), header.pc), distance), r.i64_load(r.state(), header.pcMask));
    r.i64_store(r.state(), pc, header.pc);
    const deferred = r.i32_and(r.i32_shr_u(word, r.i32(16)), r.i32(255));
    r.if(r.i32_ne(deferred, r.i32(DEFERRED_UNCHANGED)), () => r.i32_store(r.state(), deferred, vars.deferred.offset));
    return pc;
  };

  /** Runs until something needs JavaScript; gives an exit code. */
  set.define('dispatch', [], ['i32'], {}, (r) => {
    const target = r.local('i32');
    const pc = r.local('i64', r.i64_load(r.state(), header.pc));
    r.loop((again) => {
      r.if(r.i32_load(r.state(), header.kick), () => r.ret(r.i32(exitCode.kick)));
      const address = r.i64_add(r.read(pc), r.i64_load(r.state(), header.pcBase));
      const cached = cachedJump(r, address);
      const hit = r.i32_and(
        r.i64_eq(r.i64_load(cached, jumpEntry.pc), address),
        r.i64_eq(r.i64_load(cached, jumpEntry.key), r.i64_load(r.state(), header.modeKey)),
      );
      r.if(
        hit,
        () => r.assign(target, r.i32_load(cached, jumpEntry.target)),
        () => {
          const [fault, found] = r.call(lookup, address);
          r.if(fault, () => r.ret(r.i32(exitCode.fault)));
          r.if(r.i32_eqz(found), () => r.ret(r.i32(exitCode.missing)));
          r.assign(target, found);
        },
      );
      const word = r.local('i32');
      r.if(
        r.i32_lt_s(r.read(target), r.i32(0)),
        () => r.assign(word, r.call(cold, r.i32_and(r.read(target), r.i32(0x7fffffff)))[0]),
        () => {
          const counter = r.i32_shl(r.i32_and(r.read(target), r.i32(REGION_COUNTERS - 1)), r.i32(2));
          const entered = r.i32_add(r.i32_load(counter, layout.regionEntries), r.i32(1));
          r.i32_store(counter, entered, layout.regionEntries);
          r.if(r.i32_ge_s(entered, r.i32(BUSY)), () => {
            r.i32_store(r.state(), r.read(target), header.currentCode);
            r.ret(r.i32(exitCode.busy));
          });
          r.assign(word, r.call_code(r.read(target)));
        },
      );
      r.assign(pc, apply(r, r.read(word)));
      const code = r.i32_shr_u(r.read(word), r.i32(24));
      r.if(r.i32_gt_u(code, r.i32(exitCode.budget)), () => {
        r.if(r.i32_eq(code, r.i32(exitCode.stale)), () => {
          r.i64_store(cached, r.i64(0), jumpEntry.key);
          r.br(again);
        });
        r.if(r.i32_ne(code, r.i32(exitCode.checkInterrupts)), () => {
          const isFault = r.i32_eq(code, r.i32(exitCode.fault));
          const looks = r.i32_and(isFault, r.i32_eq(r.i32_load(r.state(), header.trapCode), r.i32(LOOK_AGAIN)));
          r.if(r.i32_eqz(looks), () => r.ret(code));
          r.i32_store(r.state(), r.i32(0), header.trapCode);
        });
        r.if(r.i32_load(r.state(), header.interruptPending), () => r.ret(r.i32(exitCode.checkInterrupts)));
      });
      const hops = r.i32_sub(
        r.i32_load(r.state(), header.hops),
        r.select(r.i32_eq(code, r.i32(exitCode.budget)), r.i32(BUDGET_HOPS), r.i32(1)),
      );
      r.i32_store(r.state(), hops, header.hops);
      r.brIf(again, r.i32_ge_s(hops, r.i32(0)));
      r.ret(r.i32(exitCode.budget));
    });
  });

  /**
   * A region goes on to another guest page: is the code at `distance` from where it was entered still at `hva`, on a page that has the
   * same part in the key? Then the cell holds the present generation, so that the question need not be asked again before the next flush.
   */
  set.define(slowPath.verifyEdge, ['i32', 'i32', 'i32', 'i32'], ['i32'], {}, (r, distance, hva, pageKey, cell) => {
    const pc = r.i64_add(r.i64_load(r.state(), header.pc), r.i64_extend_i32_s(distance));
    const address = r.i64_add(
      r.i64_and(pc, r.i64_load(r.state(), header.pcMask)),
      r.i64_load(r.state(), header.pcBase),
    );
    const [fault, found, foundKey] = r.call(codeAddress, address);
    const isOther = r.i32_or(r.i32_ne(found, hva), r.i32_ne(foundKey, pageKey));
    r.if(r.i32_or(fault, isOther), () => r.ret(r.i32(0)));
    r.i32_store(cell, r.i32_load(r.state(), header.generation));
    r.i32_store(cell, r.i32_wrap_i64(r.i64_shr_u(r.i64_load(r.state(), header.pc), r.i64(12))), 4);
    r.call(softmmu.logEdge, address, cell);
    r.ret(r.i32(1));
  });

  /** What a code table entry leads to when its region has gone. */
  set.define('stale_code', [], ['i32'], {}, (r) => r.ret(r.i32(exitWord(exitCode.stale, 0, DEFERRED_UNCHANGED))));

  /** Runs one piece of cold code, and none after it, and applies its exit word; gives the exit code. For instructions executed singly. */
  set.define('run_cold', ['i32'], ['i32'], {}, (r, code) => {
    const hops = r.i32_load(r.state(), header.hops);
    r.i32_store(r.state(), r.i32(0), header.hops);
    const [word] = r.call(cold, code);
    r.i32_store(r.state(), hops, header.hops);
    apply(r, word);
    r.ret(r.i32_shr_u(word, r.i32(24)));
  });
  return { codeAddress, lookup } as { codeAddress: Routine; lookup: Routine };
}
