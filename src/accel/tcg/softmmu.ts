/**
 * The software MMU: TLB refill, the slow path of guest accesses, guest-physical access and flushing. All are IR routines; only
 * MMIO and stores to translated code call JavaScript.
 */
import {
  APART,
  access,
  header,
  type I32,
  type I64,
  JUMP_CACHE_BYTES,
  JUMP_CACHE_PAGE_BYTES,
  jumpCachePage,
  MMU_CONTEXTS,
  type Routine,
  type RoutineBuilder,
  type RoutineSet,
  TLB_ENTRY_SHIFT,
  tlbEntry,
} from '../../ir/index.js';
import { slowPath, spanShapeBits } from '../../wasm/index.js';
import {
  EDGE_LOG_ENTRIES,
  FLUSH_LOG_ENTRIES,
  GENERATION_STEP,
  layout,
  ramBlock,
  ramFlag,
  TLB_BYTES,
  vcpuLayout,
} from './layout.js';

/** Kinds of access, as the guest's page walk takes them. */
export const accessKind = { read: 0, write: 1, fetch: 2 } as const;
/** Rights that a page walk gives. `guarded`: code on the page is translated otherwise than elsewhere (`GUARDED_KEY`). */
export const prot = { read: 1, write: 2, exec: 4, global: 8, guarded: 16 } as const;
/**
 * Bits of a TLB entry's flag word (at +28). `slowWritable`: stores are allowed but take the slow path, for the page holds code or is
 * clean.
 */
export const entryFlag = { global: 1, slowWritable: 2, guarded: 4 } as const;
export const ENTRY_FLAGS = 28;

type PageWalk = Routine<['i64', 'i32', 'i32'], ['i32', 'i64', 'i32']>;
/** (virtual address, kind of access, context): records that nothing answers there. A guest without it reads ones and stores nowhere. */
type BusFault = Routine<['i64', 'i32', 'i32'], []>;
/** Clears bits of an access's address that the guest's code leaves in it. A guest without it leaves none. */
type NarrowAddress = Routine<['i64'], ['i64']>;

/** Adds the engine's memory routines to a guest's set. */
export function defineSoftmmu(set: RoutineSet) {
  const pageWalk = set.list.find((routine) => routine.name === 'page_walk') as unknown as PageWalk;
  if (!pageWalk) throw new Error('vring invariant broken: the guest CPU has no page_walk');
  const busFault = set.list.find((routine) => routine.name === 'bus_fault') as unknown as BusFault | undefined;
  const narrowAddress = set.list.find(({ name }) => name === 'narrow_address') as unknown as NarrowAddress | undefined;
  const narrowed = (r: RoutineBuilder, given: I64): I64 => (narrowAddress ? r.call(narrowAddress, given)[0] : given);
  const deviceAnswers = set.host('device_answers', ['i32', 'i32'], ['i32'], {});
  const mmioRead = set.host('mmio_read', ['i32', 'i32', 'i32'], ['i32'], {});
  const mmioWrite = set.host('mmio_write', ['i32', 'i32', 'i32', 'i32'], [], {});
  const codeWritten = set.host('code_written', ['i32', 'i32'], ['i32'], {});

  /** Host address of a guest-physical one (0: no RAM there) and the block's flags. */
  const ramAddress = set.define('ram_address', ['i64'], ['i32', 'i32'], {}, (r, gpa) => {
    const at = r.local('i32', r.i32(layout.ramBlocks + ramBlock.first));
    const end = r.local(
      'i32',
      r.i32_add(r.read(at), r.i32_mul(r.i32_load(r.i32(layout.ramBlocks)), r.i32(ramBlock.bytes))),
    );
    r.loop((again) => {
      const block = r.read(at);
      r.if(r.i32_lt_u(block, r.read(end)), () => {
        const start = r.i64_load(block, ramBlock.start);
        r.if(r.i32_and(r.i64_ge_u(gpa, start), r.i64_lt_u(gpa, r.i64_load(block, ramBlock.end))), () => {
          r.ret(
            r.i32_add(r.i32_wrap_i64(r.i64_sub(gpa, start)), r.i32_load(block, ramBlock.hva)),
            r.i32_load(block, ramBlock.flags),
          );
        });
        r.assign(at, r.i32_add(block, r.i32(ramBlock.bytes)));
        r.br(again);
      });
    });
    r.ret(r.i32(0), r.i32(0));
  });

  const maskAddress = (r: RoutineBuilder, hva: I32) =>
    r.i32_add(r.i32(layout.codeMasks), r.i32_shl(r.i32_shr_u(hva, r.i32(12)), r.i32(3)));

  /** Where the page's byte is, before layout.cleanPages is added. */
  const cleanByte = (r: RoutineBuilder, hva: I32) => r.i32_shr_u(hva, r.i32(12));

  /** A store to the page is about to be made. */
  const markDirty = (r: RoutineBuilder, hva: I32): void => {
    const page = cleanByte(r, hva);
    r.if(r.i32_load8_u(page, layout.cleanPages), () => r.i32_store8(page, r.i32(0), layout.cleanPages));
  };

  /** A TLB entry that stores to the page in place is about to be made. */
  const markStored = (r: RoutineBuilder, hva: I32): void =>
    r.i32_store8(cleanByte(r, hva), r.i32(1), layout.storedPages);

  /** The entry that an address has in a context's TLB. */
  const entryOf = (r: RoutineBuilder, va: I64, mmu: I32): I32 => {
    const slot = r.i32_add(r.state(), r.i32_shl(mmu, r.i32(2)));
    return r.i32_add(
      r.i32_load(slot, header.tlbs),
      r.i32_and(r.i32_wrap_i64(r.i64_shr_u(va, r.i64(12 - TLB_ENTRY_SHIFT))), r.i32_load(slot, header.tlbMasks)),
    );
  };

  /**
   * Walks the page tables and fills the TLB: (fault, host address of `va` or 0 for MMIO, guest-physical address, allowed to
   * store in place).
   */
  const fill = set.define('tlb_fill', ['i64', 'i32', 'i32'], ['i32', 'i32', 'i64', 'i32'], {}, (r, va, kind, mmu) => {
    r.i32_store(r.state(), r.i32_add(r.i32_load(r.state(), header.refills), r.i32(1)), header.refills);
    const [fault, gpa, rights] = r.call(pageWalk, va, kind, mmu);
    r.if(fault, () => r.ret(r.i32(1), r.i32(0), r.i64(0), r.i32(0)));
    const [hva, flags] = r.call(ramAddress, gpa);
    r.if(r.i32_eqz(hva), () => {
      if (busFault) {
        const high = r.i32_wrap_i64(r.i64_shr_u(gpa, r.i64(32)));
        // Code is in RAM and ROM only.
        const answers = r.local('i32', r.i32(0));
        r.if(r.i32_ne(kind, r.i32(accessKind.fetch)), () =>
          r.assign(answers, r.call(deviceAnswers, r.i32_wrap_i64(gpa), high)[0]),
        );
        r.if(r.i32_eqz(r.read(answers)), () => {
          r.call(busFault, va, kind, mmu);
          r.ret(r.i32(1), r.i32(0), r.i64(0), r.i32(0));
        });
      }
      r.ret(r.i32(0), r.i32(0), gpa, r.i32(0));
    });
    const page = r.i64_and(va, r.i64(-4096));
    const none = r.i64(-1);
    const entry = entryOf(r, va, mmu);
    const may = (bit: number) => r.i32_and(rights, r.i32(bit));
    const watched = r.local('i32', r.i32_eqz(r.i64_eqz(r.i64_load(maskAddress(r, hva)))));
    r.if(r.i32_and(flags, r.i32(ramFlag.logged)), () =>
      r.assign(watched, r.i32_or(r.read(watched), r.i32_load8_u(cleanByte(r, hva), layout.cleanPages))),
    );
    const writable = r.i32_and(
      r.i32_ne(may(prot.write), r.i32(0)),
      r.i32_eqz(r.i32_and(flags, r.i32(ramFlag.readonly))),
    );
    const inPlace = r.i32_and(writable, r.i32_eqz(r.read(watched)));
    r.if(inPlace, () => markStored(r, hva));
    r.i64_store(entry, r.select(may(prot.read), page, none), tlbEntry.readTag);
    r.i64_store(entry, r.select(inPlace, page, none), tlbEntry.writeTag);
    r.i64_store(entry, r.select(may(prot.exec), page, none), tlbEntry.execTag);
    r.i32_store(entry, r.i32_sub(hva, r.i32_wrap_i64(va)), tlbEntry.addend);
    r.i32_store(
      entry,
      r.i32_or(
        r.i32_or(r.i32_shr_u(may(prot.global), r.i32(3)), r.i32_shr_u(may(prot.guarded), r.i32(2))),
        r.i32_shl(r.i32_and(writable, r.read(watched)), r.i32(1)),
      ),
      ENTRY_FLAGS,
    );
    r.if(r.i32_eqz(may(prot.global)), () => {
      const count = r.i32_load(r.state(), vcpuLayout.flushLog);
      r.if(r.i32_lt_u(count, r.i32(FLUSH_LOG_ENTRIES)), () =>
        r.i32_store(r.i32_add(r.state(), r.i32_shl(count, r.i32(2))), entry, vcpuLayout.flushLog + 4),
      );
      r.i32_store(r.state(), r.i32_add(count, r.i32(1)), vcpuLayout.flushLog);
    });
    r.ret(r.i32(0), hva, gpa, inPlace);
  });

  /** One byte to eight of MMIO (or ROM) in pieces of at most four: low half first. */
  const mmioLoad = (r: RoutineBuilder, gpa: I64, size: I32): I64 => {
    const low = r.i32_wrap_i64(gpa);
    const high = r.i32_wrap_i64(r.i64_shr_u(gpa, r.i64(32)));
    const result = r.local('i64', r.i64(0));
    r.if(
      r.i32_le_u(size, r.i32(4)),
      () => r.assign(result, r.i64_extend_i32_u(r.call(mmioRead, low, high, size)[0])),
      () => {
        const first = r.i64_extend_i32_u(r.call(mmioRead, low, high, r.i32(4))[0]);
        const second = r.i64_extend_i32_u(r.call(mmioRead, r.i32_add(low, r.i32(4)), high, r.i32(4))[0]);
        r.assign(result, r.i64_or(first, r.i64_shl(second, r.i64(32))));
      },
    );
    return r.read(result);
  };
  const mmioStore = (r: RoutineBuilder, gpa: I64, size: I32, value: I64): void => {
    const low = r.i32_wrap_i64(gpa);
    const high = r.i32_wrap_i64(r.i64_shr_u(gpa, r.i64(32)));
    r.if(
      r.i32_le_u(size, r.i32(4)),
      () => r.call(mmioWrite, low, high, size, r.i32_wrap_i64(value)),
      () => {
        r.call(mmioWrite, low, high, r.i32(4), r.i32_wrap_i64(value));
        r.call(mmioWrite, r.i32_add(low, r.i32(4)), high, r.i32(4), r.i32_wrap_i64(r.i64_shr_u(value, r.i64(32))));
      },
    );
  };

  const contextOf = (r: RoutineBuilder, info: I32): I32 => {
    const named = r.i32_and(info, r.i32(access.mmuMask));
    return r.select(named, r.i32_sub(named, r.i32(1)), r.i32_load(r.state(), header.mmu));
  };
  /** The access runs over the end of its page. */
  const crosses = (r: RoutineBuilder, va: I64, size: I32): I32 =>
    r.i32_gt_u(r.i32_add(r.i32_and(r.i32_wrap_i64(va), r.i32(4095)), size), r.i32(4096));

  /** For `load_target` and `store_target`: the entry allows a read, and for a write at least the slow path's. */
  const isKnown = (r: RoutineBuilder, entry: I32, page: I64, forWrite: I32): I32 => {
    const writable = r.i32_or(
      r.i64_eq(r.i64_load(entry, tlbEntry.writeTag), page),
      r.i32_ne(r.i32_and(r.i32_load(entry, ENTRY_FLAGS), r.i32(entryFlag.slowWritable)), r.i32(0)),
    );
    return r.i32_and(r.i64_eq(r.i64_load(entry, tlbEntry.readTag), page), r.i32_or(r.i32_eqz(forWrite), writable));
  };

  /** Where a load within one page reads: (fault, host address or 0 for MMIO, guest-physical address of that). */
  const loadTarget = set.define(
    'load_target',
    ['i64', 'i32', 'i32'],
    ['i32', 'i32', 'i64'],
    {},
    (r, va, forWrite, mmu) => {
      const entry = entryOf(r, va, mmu);
      r.if(isKnown(r, entry, r.i64_and(va, r.i64(-4096)), forWrite), () =>
        r.ret(r.i32(0), r.i32_add(r.i32_wrap_i64(va), r.i32_load(entry, tlbEntry.addend)), r.i64(0)),
      );
      const [fault, hva, gpa] = r.call(fill, va, forWrite, mmu);
      r.ret(fault, hva, gpa);
    },
  );

  /** Calls `each` for i from 0 to below `count`, which is not 0. */
  const times = (r: RoutineBuilder, count: I32, each: (i: I32) => void): void => {
    const i = r.local('i32', r.i32(0));
    r.loop((again) => {
      each(r.read(i));
      r.assign(i, r.i32_add(r.read(i), r.i32(1)));
      r.brIf(again, r.i32_lt_u(r.read(i), count));
    });
  };
  /** Bytes of an access that are on its first page. */
  const firstPart = (r: RoutineBuilder, va: I64): I32 =>
    r.i32_sub(r.i32(4096), r.i32_and(r.i32_wrap_i64(va), r.i32(4095)));
  /** Host address of byte i of what lies at two places. */
  const byteAt = (r: RoutineBuilder, i: I32, first: I32, start: I32, rest: I32): I32 =>
    r.select(r.i32_lt_u(i, first), r.i32_add(start, i), r.i32_add(rest, r.i32_sub(i, first)));

  /** A byte, wherever it is: (fault, value). */
  const loadByte = set.define('load_byte', ['i64', 'i32', 'i32'], ['i32', 'i32'], {}, (r, va, kind, mmu) => {
    const [fault, hva, gpa] = r.call(fill, va, kind, mmu);
    r.if(fault, () => r.ret(r.i32(1), r.i32(0)));
    r.if(hva, () => r.ret(r.i32(0), r.i32_load8_u(hva)));
    r.ret(r.i32(0), r.i32_wrap_i64(mmioLoad(r, gpa, r.i32(1))));
  });

  set.define(slowPath.load, ['i64', 'i32'], ['i32'], {}, (r, given, info) => {
    const va = narrowed(r, given);
    const size = r.i32_shr_u(info, r.i32(8));
    const mmu = contextOf(r, info);
    const forWrite = r.i32_ne(r.i32_and(info, r.i32(access.forWrite)), r.i32(0));
    const bounce = r.i32_add(r.state(), r.i32(header.bounce));
    r.if(crosses(r, va, size), () => {
      // Both pages are walked before anything is read, so that a fault has no effect on a device.
      // A fault on the second page is one of its first byte.
      const first = firstPart(r, va);
      const [fault, start] = r.call(loadTarget, va, forWrite, mmu);
      r.if(fault, () => r.ret(r.i32(0)));
      const [secondFault, rest] = r.call(loadTarget, r.i64_add(va, r.i64_extend_i32_u(first)), forWrite, mmu);
      r.if(secondFault, () => r.ret(r.i32(0)));
      r.if(r.i32_and(r.i32_ne(start, r.i32(0)), r.i32_ne(rest, r.i32(0))), () => {
        times(r, size, (i) => r.i32_store8(r.i32_add(bounce, i), r.i32_load8_u(byteAt(r, i, first, start, rest))));
        r.ret(bounce);
      });
      times(r, size, (i) => {
        const [byteFault, byte] = r.call(loadByte, r.i64_add(va, r.i64_extend_i32_u(i)), forWrite, mmu);
        r.if(byteFault, () => r.ret(r.i32(0)));
        r.i32_store8(r.i32_add(bounce, i), byte);
      });
      r.ret(bounce);
    });
    // A named context has no inline lookup: look here first. A read-modify-write of a page with code, or a clean one, may be in the TLB too.
    const [fault, hva, gpa] = r.call(loadTarget, va, forWrite, mmu);
    r.if(fault, () => r.ret(r.i32(0)));
    r.if(hva, () => r.ret(hva));
    r.if(
      r.i32_gt_u(size, r.i32(8)),
      () => {
        r.i64_store(bounce, mmioLoad(r, gpa, r.i32(8)));
        r.i64_store(bounce, mmioLoad(r, r.i64_add(gpa, r.i64(8)), r.i32(8)), 8);
      },
      () => r.i64_store(bounce, mmioLoad(r, gpa, size)),
    );
    r.ret(bounce);
  });

  /** Which 64-byte pieces [hva, hva + size) touches, within one page. */
  const pieces = (r: RoutineBuilder, hva: I32, size: I32): I64 => {
    const piece = (at: I32) => r.i64_shl(r.i64(1), r.i64_extend_i32_u(r.i32_and(r.i32_shr_u(at, r.i32(6)), r.i32(63))));
    return r.i64_or(piece(hva), piece(r.i32_sub(r.i32_add(hva, size), r.i32(1))));
  };

  /**
   * Prepares a store within one page: gives the host address to store to; 0: leave (fault, or code was hit); 1: not RAM,
   * `gpa` is in the state's scratch.
   */
  const storeTarget = set.define('store_target', ['i64', 'i32', 'i32'], ['i32'], {}, (r, va, size, mmu) => {
    const entry = entryOf(r, va, mmu);
    const page = r.i64_and(va, r.i64(-4096));
    const target = r.local('i32', r.i32(0));
    const known = r.local('i32', isKnown(r, entry, page, r.i32(1)));
    r.if(
      r.read(known),
      () => r.assign(target, r.i32_add(r.i32_wrap_i64(va), r.i32_load(entry, tlbEntry.addend))),
      () => {
        const [fault, hva, gpa] = r.call(fill, va, r.i32(accessKind.write), mmu);
        r.if(fault, () => r.ret(r.i32(0)));
        r.i64_store(r.state(), gpa, header.scratch);
        r.if(r.i32_eqz(hva), () => r.ret(r.i32(1)));
        const [, flags] = r.call(ramAddress, gpa);
        r.if(r.i32_and(flags, r.i32(ramFlag.readonly)), () => r.ret(r.i32(1)));
        r.assign(target, hva);
      },
    );
    const hva = r.read(target);
    r.if(r.i32_eqz(r.i64_eqz(r.i64_and(r.i64_load(maskAddress(r, hva)), pieces(r, hva, size)))), () => {
      const [hit] = r.call(codeWritten, hva, size);
      r.if(hit, () => {
        r.i32_store(r.state(), r.i32(0), header.trapCode);
        r.ret(r.i32(0));
      });
    });
    markDirty(r, hva);
    // The page's code is gone, or it was clean: from now on stores to it are quick.
    r.if(r.i32_and(r.read(known), r.i64_eqz(r.i64_load(maskAddress(r, hva)))), () => {
      markStored(r, hva);
      r.i64_store(entry, page, tlbEntry.writeTag);
    });
    r.ret(hva);
  });

  /** A host page holds translated code now: no TLB entry may store to it in place any more. Of use where layout.storedPages is not 0. */
  set.define('protect_page', ['i32'], [], {}, (r, hva) => {
    const tables = r.i32_load(r.state(), header.tlbs);
    const at = r.local('i32', tables);
    const end = r.i32_add(tables, r.i32(MMU_CONTEXTS * TLB_BYTES));
    r.loop((again) => {
      const entry = r.read(at);
      const tag = r.i64_load(entry, tlbEntry.writeTag);
      r.if(r.i32_eq(r.i32_add(r.i32_wrap_i64(tag), r.i32_load(entry, tlbEntry.addend)), hva), () => {
        r.if(r.i64_ne(tag, r.i64(-1)), () => {
          r.i64_store(entry, r.i64(-1), tlbEntry.writeTag);
          r.i32_store(entry, r.i32_or(r.i32_load(entry, ENTRY_FLAGS), r.i32(entryFlag.slowWritable)), ENTRY_FLAGS);
        });
      });
      r.assign(at, r.i32_add(entry, r.i32(1 << TLB_ENTRY_SHIFT)));
      r.brIf(again, r.i32_lt_u(r.read(at), end));
    });
  });

  /** Pages have become clean: the next store to each takes the slow path. */
  set.define('protect_all', [], [], {}, (r) => {
    const at = r.local('i32', r.i32_load(r.state(), header.tlbs));
    const end = r.i32_add(r.i32_load(r.state(), header.tlbs), r.i32(MMU_CONTEXTS * TLB_BYTES));
    r.loop((again) => {
      const entry = r.read(at);
      r.if(r.i64_ne(r.i64_load(entry, tlbEntry.writeTag), r.i64(-1)), () => {
        r.i64_store(entry, r.i64(-1), tlbEntry.writeTag);
        r.i32_store(entry, r.i32_or(r.i32_load(entry, ENTRY_FLAGS), r.i32(entryFlag.slowWritable)), ENTRY_FLAGS);
      });
      r.assign(at, r.i32_add(entry, r.i32(1 << TLB_ENTRY_SHIFT)));
      r.brIf(again, r.i32_lt_u(r.read(at), end));
    });
  });

  /** Size up to 8. The caller stores to the address given; where the store has been made already that is a bounce. */
  set.define(slowPath.store, ['i64', 'i64', 'i32'], ['i32'], {}, (r, given, value, info) => {
    const va = narrowed(r, given);
    const size = r.i32_shr_u(info, r.i32(8));
    const mmu = contextOf(r, info);
    const bounce = r.i32_add(r.state(), r.i32(header.bounce));
    r.if(crosses(r, va, size), () => {
      const first = firstPart(r, va);
      // Both parts must be possible before either is made.
      const [start] = r.call(storeTarget, va, first, mmu);
      r.if(r.i32_eqz(start), () => r.ret(r.i32(0)));
      const second = r.i64_add(va, r.i64_extend_i32_u(first));
      const [rest] = r.call(storeTarget, second, r.i32_sub(size, first), mmu);
      r.if(r.i32_eqz(rest), () => r.ret(r.i32(0)));
      const byteOf = (i: I32) => r.i64_shr_u(value, r.i64_extend_i32_u(r.i32_shl(i, r.i32(3))));
      r.if(r.i32_and(r.i32_gt_u(start, r.i32(1)), r.i32_gt_u(rest, r.i32(1))), () => {
        times(r, size, (i) => r.i64_store8(byteAt(r, i, first, start, rest), byteOf(i)));
        r.ret(bounce);
      });
      times(r, size, (i) => {
        const [target] = r.call(storeTarget, r.i64_add(va, r.i64_extend_i32_u(i)), r.i32(1), mmu);
        r.if(
          r.i32_gt_u(target, r.i32(1)),
          () => r.i64_store8(target, byteOf(i)),
          () => mmioStore(r, r.i64_load(r.state(), header.scratch), r.i32(1), byteOf(i)),
        );
      });
      r.ret(bounce);
    });
    const [target] = r.call(storeTarget, va, size, mmu);
    r.if(r.i32_ne(target, r.i32(1)), () => r.ret(target));
    mmioStore(r, r.i64_load(r.state(), header.scratch), size, value);
    r.ret(bounce);
  });

  set.define(slowPath.store128, ['i64', 'v128', 'i32'], ['i32'], {}, (r, given, value, info) => {
    const va = narrowed(r, given);
    const mmu = contextOf(r, info);
    const bounce = r.i32_add(r.state(), r.i32(header.bounce));
    r.if(r.i32_eqz(crosses(r, va, r.i32(16))), () => {
      const [target] = r.call(storeTarget, va, r.i32(16), mmu);
      r.if(r.i32_ne(target, r.i32(1)), () => r.ret(target));
    });
    r.if(r.i32_eqz(r.call(storeTarget, va, r.i32(1), mmu)[0]), () => r.ret(r.i32(0)));
    r.if(crosses(r, va, r.i32(16)), () => {
      const second = r.i64_and(r.i64_add(va, r.i64(4096)), r.i64(-4096));
      r.if(r.i32_eqz(r.call(storeTarget, second, r.i32(1), mmu)[0]), () => r.ret(r.i32(0)));
    });
    const half = (offset: number, bits: I64) => {
      const at = r.i64_add(va, r.i64(offset));
      const [target] = r.call(
        set.list.find((routine) => routine.name === slowPath.store) as unknown as Routine<
          ['i64', 'i64', 'i32'],
          ['i32']
        >,
        at,
        bits,
        r.i32_or(r.i32_and(info, r.i32(255)), r.i32(8 << 8)),
      );
      r.if(r.i32_eqz(target), () => r.ret(r.i32(0)));
      r.i64_store(target, bits);
    };
    half(0, r.i64x2_extract_lane(value, 0));
    half(8, r.i64x2_extract_lane(value, 1));
    r.ret(bounce);
  });

  /** Looks at the access that asks as the slow path does, then whether the span around it may be accessed in the same way. */
  set.define(slowPath.span, ['i64', 'i32', 'i32'], ['i32'], {}, (r, start, info, shape) => {
    const part = ({ shift, mask }: { shift: number; mask: number }): I32 =>
      r.i32_and(r.i32_shr_u(shape, r.i32(shift)), r.i32(mask));
    const before = part(spanShapeBits.before);
    const va = narrowed(r, r.i64_add(start, r.i64_extend_i32_u(before)));
    const size = r.i32_shr_u(info, r.i32(8));
    const mmu = contextOf(r, info);
    const apart = () => {
      r.i32_store(r.state(), r.i32(APART), header.trapCode);
      r.ret(r.i32(0));
    };
    r.if(crosses(r, va, size), apart);
    const target = r.local('i32', r.i32(0));
    r.if(
      r.i32_and(shape, r.i32(spanShapeBits.isStore)),
      () => {
        r.assign(target, r.call(storeTarget, va, size, mmu)[0]);
        r.if(r.i32_eqz(r.read(target)), () => r.ret(r.i32(0)));
        r.if(r.i32_eq(r.read(target), r.i32(1)), apart);
      },
      () => {
        const forWrite = r.i32_ne(r.i32_and(info, r.i32(access.forWrite)), r.i32(0));
        const [fault, hva] = r.call(loadTarget, va, forWrite, mmu);
        r.if(fault, () => r.ret(r.i32(0)));
        r.if(r.i32_eqz(hva), apart);
        r.assign(target, hva);
      },
    );
    const tag = r.select(
      r.i32_and(shape, r.i32(spanShapeBits.write)),
      r.i32(tlbEntry.writeTag),
      r.i32(tlbEntry.readTag),
    );
    const entry = entryOf(r, va, mmu);
    const page = r.i64_and(va, r.i64(-4096));
    r.if(r.i64_ne(r.i64_load(r.i32_add(entry, tag)), page), apart);
    const first = r.i32_sub(r.i32_and(r.i32_wrap_i64(va), r.i32(4095)), before);
    const isBelow = r.i32_lt_s(first, r.i32(0));
    const isAbove = r.i32_gt_s(r.i32_add(first, part(spanShapeBits.bytes)), r.i32(4096));
    r.if(r.i32_or(isBelow, isAbove), () => {
      // Another page serves if it is known, and lies in the host's memory as it does in the guest's.
      const other = r.i64_add(page, r.select(isBelow, r.i64(-4096), r.i64(4096)));
      const otherEntry = entryOf(r, other, mmu);
      const isKnownToo = r.i64_eq(r.i64_load(r.i32_add(otherEntry, tag)), other);
      const isNext = r.i32_eq(r.i32_load(otherEntry, tlbEntry.addend), r.i32_load(entry, tlbEntry.addend));
      r.if(r.i32_eqz(r.i32_and(isKnownToo, isNext)), apart);
    });
    r.ret(r.i32_sub(r.read(target), before));
  });

  set.provide('phys_load32', ((r: RoutineBuilder, gpa: I64) => {
    const [hva] = r.call(ramAddress, gpa);
    r.if(hva, () => r.ret(r.i32_load(hva)));
    r.ret(r.i32(-1));
  }) as never);
  set.provide('phys_load64', ((r: RoutineBuilder, gpa: I64) => {
    const [hva] = r.call(ramAddress, gpa);
    r.if(hva, () => r.ret(r.i64_load(hva)));
    r.ret(r.i64(-1));
  }) as never);
  const physStore = (r: RoutineBuilder, gpa: I64, size: number, store: (hva: I32) => void) => {
    const [hva, flags] = r.call(ramAddress, gpa);
    r.if(r.i32_and(r.i32_ne(hva, r.i32(0)), r.i32_eqz(r.i32_and(flags, r.i32(ramFlag.readonly)))), () => {
      r.if(r.i32_eqz(r.i64_eqz(r.i64_and(r.i64_load(maskAddress(r, hva)), pieces(r, hva, r.i32(size))))), () =>
        r.call(codeWritten, hva, r.i32(size)),
      );
      markDirty(r, hva);
      store(hva);
    });
  };
  set.provide('phys_store32', ((r: RoutineBuilder, gpa: I64, value: I32) =>
    physStore(r, gpa, 4, (hva) => r.i32_store(hva, value))) as never);
  set.provide('phys_store64', ((r: RoutineBuilder, gpa: I64, value: I64) =>
    physStore(r, gpa, 8, (hva) => r.i64_store(hva, value))) as never);

  const bumpGeneration = (r: RoutineBuilder): void => {
    const next = r.i32_add(r.i32_load(r.state(), header.generation), r.i32(GENERATION_STEP));
    r.i32_store(r.state(), next, header.generation);
    // It begins anew: what is left of its first round must not be believed.
    r.if(r.i32_lt_u(next, r.i32(GENERATION_STEP)), () => {
      r.memory_fill(r.i32(layout.jumpCache), r.i32(0), r.i32(JUMP_CACHE_BYTES));
      r.memory_fill(r.i32(layout.edgeCells), r.i32(0), r.i32(layout.edgeCellsEnd - layout.edgeCells));
    });
  };

  /** Nothing that the vCPU knows of where code lies holds any more. */
  set.define('forget_jumps', [], [], {}, (r) => bumpGeneration(r));

  const dropEntry = (r: RoutineBuilder, entry: I32): void => {
    const none = r.i64(-1);
    r.i64_store(entry, none, tlbEntry.readTag);
    r.i64_store(entry, none, tlbEntry.writeTag);
    r.i64_store(entry, none, tlbEntry.execTag);
  };

  /** The way from code to code that a word stands for goes by `va`: unless that page is global, the next flush zeroes the word. */
  const logEdge = set.define('log_edge', ['i64', 'i32'], [], {}, (r, va, word) => {
    const entry = entryOf(r, va, r.i32_load(r.state(), header.mmu));
    const isGlobal = r.i32_and(
      r.i64_eq(r.i64_load(entry, tlbEntry.execTag), r.i64_and(va, r.i64(-4096))),
      r.i32_and(r.i32_load(entry, ENTRY_FLAGS), r.i32(entryFlag.global)),
    );
    r.if(isGlobal, () => r.ret());
    const count = r.i32_load(r.state(), vcpuLayout.edgeLog);
    r.if(r.i32_lt_u(count, r.i32(EDGE_LOG_ENTRIES)), () =>
      r.i32_store(r.i32_add(r.state(), r.i32_shl(count, r.i32(2))), word, vcpuLayout.edgeLog + 4),
    );
    r.i32_store(r.state(), r.i32_add(count, r.i32(1)), vcpuLayout.edgeLog);
  });

  /** Forgets the ways from code to code that do not go by global pages. */
  const dropEdges = (r: RoutineBuilder): void => {
    const left = r.local('i32', r.i32_load(r.state(), vcpuLayout.edgeLog));
    r.if(
      r.i32_gt_u(r.read(left), r.i32(EDGE_LOG_ENTRIES)),
      () => bumpGeneration(r),
      () =>
        r.loop((again) => {
          r.if(r.read(left), () => {
            const at = r.i32_add(r.state(), r.i32_shl(r.read(left), r.i32(2)));
            r.i32_store(r.i32_load(at, vcpuLayout.edgeLog), r.i32(0));
            r.assign(left, r.i32_sub(r.read(left), r.i32(1)));
            r.br(again);
          });
        }),
    );
  };

  set.provide('flush_tlb', ((r: RoutineBuilder, keepGlobal: I32) => {
    r.i32_store(r.state(), r.i32_add(r.i32_load(r.state(), header.flushes), r.i32(1)), header.flushes);
    r.if(
      keepGlobal,
      () => dropEdges(r),
      () => bumpGeneration(r),
    );
    r.i32_store(r.state(), r.i32(0), vcpuLayout.edgeLog);
    const tables = r.i32_load(r.state(), header.tlbs);
    const count = r.i32_load(r.state(), vcpuLayout.flushLog);
    r.i32_store(r.state(), r.i32(0), vcpuLayout.flushLog);
    r.if(r.i32_eqz(keepGlobal), () => {
      r.memory_fill(tables, r.i32(0xff), r.i32(MMU_CONTEXTS * TLB_BYTES));
      r.memory_fill(r.i32(layout.storedPages), r.i32(0), r.i32_load(r.i32(layout.ramBlocks), ramBlock.storedPages));
      r.ret();
    });
    r.if(r.i32_le_u(count, r.i32(FLUSH_LOG_ENTRIES)), () => {
      const i = r.local('i32', count);
      r.loop((again) => {
        r.if(r.read(i), () => {
          dropEntry(r, r.i32_load(r.i32_add(r.state(), r.i32_shl(r.read(i), r.i32(2))), vcpuLayout.flushLog));
          r.assign(i, r.i32_sub(r.read(i), r.i32(1)));
          r.br(again);
        });
      });
      r.ret();
    });
    const at = r.local('i32', tables);
    const end = r.i32_add(tables, r.i32(MMU_CONTEXTS * TLB_BYTES));
    r.loop((again) => {
      const entry = r.read(at);
      r.if(r.i32_eqz(r.i32_and(r.i32_load(entry, ENTRY_FLAGS), r.i32(entryFlag.global))), () => dropEntry(r, entry));
      r.assign(at, r.i32_add(entry, r.i32(1 << TLB_ENTRY_SHIFT)));
      r.brIf(again, r.i32_lt_u(r.read(at), end));
    });
  }) as never);

  set.provide('flush_page', ((r: RoutineBuilder, va: I64) => {
    const page = r.i64_and(va, r.i64(-4096));
    for (let mmu = 0; mmu < MMU_CONTEXTS; mmu++) {
      const entry = entryOf(r, va, r.i32(mmu));
      const none = r.i64(-1);
      for (const tag of [tlbEntry.readTag, tlbEntry.writeTag, tlbEntry.execTag]) {
        r.if(r.i64_eq(r.i64_load(entry, tag), page), () => r.i64_store(entry, none, tag));
      }
    }
    // Code that starts on the page, and code on the page before that ends here.
    for (const at of [page, r.i64_sub(page, r.i64(4096))]) {
      r.memory_fill(r.i32_add(r.i32(layout.jumpCache), jumpCachePage(r, at)), r.i32(0), r.i32(JUMP_CACHE_PAGE_BYTES));
    }
  }) as never);

  set.provide('select_mmu', ((r: RoutineBuilder, mmu: I32) => {
    const slot = r.i32_add(r.state(), r.i32_shl(mmu, r.i32(2)));
    r.i32_store(r.state(), mmu, header.mmu);
    r.i32_store(r.state(), r.i32_load(slot, header.tlbs), header.tlb);
    r.i32_store(r.state(), r.i32_load(slot, header.tlbMasks), header.tlbMask);
  }) as never);

  const high = (signed: boolean) =>
    ((r: RoutineBuilder, a: I64, b: I64) => {
      const low32 = r.i64(0xffffffff);
      const shift = r.i64(32);
      const up = (v: I64) => (signed ? r.i64_shr_s(v, shift) : r.i64_shr_u(v, shift));
      const al = r.i64_and(a, low32);
      const bl = r.i64_and(b, low32);
      const ah = up(a);
      const bh = up(b);
      const t = r.i64_add(r.i64_mul(ah, bl), r.i64_shr_u(r.i64_mul(al, bl), shift));
      const u = r.i64_add(r.i64_mul(al, bh), r.i64_and(t, low32));
      r.ret(r.i64_add(r.i64_add(r.i64_mul(ah, bh), up(t)), up(u)));
    }) as never;
  set.provide('mul_high_u', high(false));
  set.provide('mul_high_s', high(true));

  return { fill, entryOf, ramAddress, logEdge };
}
