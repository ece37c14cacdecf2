/**
 * A guest CPU of a few instructions, for tests of the engine alone: 16 registers, four bytes an instruction
 * (operation, destination, source, immediate), identity-mapped memory below 2^32.
 */
import type { CpuContext, GuestCpu, TranslationRequest, TranslationResult, VmExit } from '../../guest/guest-cpu.js';
import {
  declareEngineRoutines,
  exitCode,
  type GuestVars,
  HEADER_BYTES,
  header,
  type I64,
  jumpKind,
  RoutineSet,
  type Var,
} from '../../ir/index.js';

const vars: Var<'i64'>[] = Array.from({ length: 16 }, (_, id) => ({
  id,
  name: `r${id}`,
  type: 'i64',
  offset: HEADER_BYTES + 8 * id,
}));
const flagsOp: Var<'i32'> = { id: 16, name: 'lastOp', type: 'i32', offset: HEADER_BYTES + 128 };
export const toyVars: GuestVars = { vars: [...vars, flagsOp], deferred: flagsOp, pcOffset: header.pc };
export const TOY_STATE_BYTES = HEADER_BYTES + 192;

const set = new RoutineSet();
declareEngineRoutines(set);
set.define('page_walk', ['i64', 'i32', 'i32'], ['i32', 'i64', 'i32'], {}, (r, va, _kind, _mmu) => {
  // Page 0 is not mapped.
  r.if(r.i64_lt_u(va, r.i64(4096)), () => {
    r.i32_store(r.state(), r.i32(14), header.trapCode);
    r.ret(r.i32(1), r.i64(0), r.i32(0));
  });
  r.ret(r.i32(0), va, r.i32(7));
});

/** Operations by their code. */
export const toy = {
  halt: 0,
  add: 1,
  addImmediate: 2,
  load: 3,
  store: 4,
  jumpIfNotZero: 5,
  jump: 6,
  jumpRegister: 7,
  set: 8,
  mark: 9,
  andImmediate: 10,
} as const;

/** Bytes of one instruction; the immediate of jumps counts instructions from the jump itself. */
export function toyInsn(op: number, rd = 0, rs = 0, immediate = 0): number[] {
  return [op, rd, rs, immediate & 0xff];
}

export class ToyCpu implements GuestCpu {
  readonly architecture = 'toy';
  readonly vars = toyVars;
  readonly routines = set;
  faults = 0;
  #view: DataView | undefined;
  #state = 0;

  readonly translator = {
    translate: (request: TranslationRequest, result: TranslationResult): void => {
      const { b, page } = request;
      let at = request.offset;
      let instructions = 0;
      const here = () => at - request.offset;
      const done = () => {
        result.bytes = at - request.offset;
        result.instructions = instructions;
        result.crossesPage = false;
        result.needsNextPage = false;
      };
      while (instructions < request.maxInstructions && at < 4096) {
        const [op, rd, rs, unsigned] = page.subarray(at, at + 4);
        const immediate = (unsigned << 24) >> 24;
        b.insn(here());
        instructions++;
        switch (op) {
          case toy.add:
            b.set(vars[rd], b.i64_add(b.get(vars[rd]), b.get(vars[rs])));
            b.setDeferred(1);
            break;
          case toy.addImmediate:
            b.set(vars[rd], b.i64_add(b.get(vars[rd]), b.i64(immediate)));
            b.setDeferred(2);
            break;
          case toy.andImmediate:
            b.set(vars[rd], b.i64_and(b.get(vars[rs]), b.i64(immediate)));
            break;
          case toy.load:
            b.set(vars[rd], b.guest_load64(b.i64_add(b.get(vars[rs]), b.i64(immediate))));
            break;
          case toy.store:
            b.guest_store64(b.i64_add(b.get(vars[rs]), b.i64(immediate)), b.get(vars[rd]) as I64);
            break;
          case toy.set:
            b.set(vars[rd], b.i64(immediate));
            break;
          case toy.mark:
            b.set(vars[rd], b.i64_extend_i32_u(b.get(flagsOp)));
            break;
          case toy.jumpIfNotZero:
            b.branch(b.i64_ne(b.get(vars[rd]), b.i64(0)), here() + 4 * immediate, here() + 4);
            at += 4;
            done();
            return;
          case toy.jump:
            b.goto(here() + 4 * immediate);
            at += 4;
            done();
            return;
          case toy.jumpRegister:
            b.jump(b.get(vars[rs]), jumpKind.indirect);
            at += 4;
            done();
            return;
          default:
            b.leave(exitCode.leave, here() + 4);
            at += 4;
            done();
            return;
        }
        at += 4;
      }
      b.goto(here());
      done();
    },
    disassemble: () => ({ text: 'toy', bytes: 4 }),
  };

  hostRoutines(): Record<string, (...args: never[]) => unknown> {
    return {};
  }

  attach({ buffer, state }: CpuContext): void {
    this.#view = new DataView(buffer);
    this.#state = state;
    this.#view.setBigInt64(state + header.pcMask, -1n, true);
  }

  get pc(): number {
    return Number(this.#dataView.getBigUint64(this.#state + header.pc, true));
  }
  set pc(value: number) {
    this.#dataView.setBigUint64(this.#state + header.pc, BigInt(value), true);
  }
  register(n: number): bigint {
    return this.#dataView.getBigInt64(this.#state + vars[n].offset, true);
  }
  setRegister(n: number, value: bigint): void {
    this.#dataView.setBigInt64(this.#state + vars[n].offset, value, true);
  }

  get #dataView(): DataView {
    return this.#view as DataView;
  }

  deliverFault(): VmExit {
    this.faults++;
    return 'shutdown';
  }
  deliverPending(): boolean {
    return false;
  }
  handleLeave(): VmExit {
    return 'halt';
  }
}
