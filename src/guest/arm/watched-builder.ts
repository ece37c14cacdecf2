/**
 * A block builder whose accesses to guest memory somebody hears of, each before it is made: a debugger, or the CPU's watchpoints. A
 * debugger on Arm takes for granted that the instruction has not been executed when it is told; it steps over it itself.
 */
import { access, type BlockBuilder, type I64 } from '../../ir/index.js';
import { routines } from './routines/set.js';
import { checkWatchpoints } from './system/debug-exceptions.js';

/** (address, bytes, 1: it is a store) → fault: the machine stops before it. */
const dataAccess = routines.host('data_access', ['i64', 'i32', 'i32'], ['i32'], { mayFault: true });

interface Access {
  readonly bytes: number;
  readonly isStore: boolean;
}
const accesses = new Map<string | symbol, Access>(
  [8, 16, 32, 64, 128].flatMap((bits): [string, Access][] => [
    [`guest_load${bits}`, { bytes: bits >> 3, isStore: false }],
    [`guest_store${bits}`, { bytes: bits >> 3, isStore: true }],
  ]),
);

/** A load for a store's sake looks whether a page may be written to: the store itself comes behind it. */
const isProbe = ({ isStore }: Access, how: number): boolean => !isStore && (how & ~access.mmuMask) === access.forWrite;

/** `watchpoints`: an access may be one that a watchpoint is about; `debugger`: that is told of it. */
export function watchedBuilder(b: BlockBuilder, who: { readonly watchpoints: boolean; readonly debugger: boolean }) {
  return new Proxy(b, {
    get(target, name) {
      const member = Reflect.get(target, name, target) as unknown;
      if (typeof member !== 'function') return member;
      const found = accesses.get(name);
      if (!found) return member.bind(target);
      return (address: I64, ...rest: unknown[]) => {
        const how = Number(rest[found.isStore ? 1 : 0] ?? 0);
        if (!isProbe(found, how)) {
          const [bytes, isStore] = [target.i32(found.bytes), target.i32(found.isStore ? 1 : 0)];
          if (who.watchpoints) target.call(checkWatchpoints, address, bytes, isStore);
          if (who.debugger) target.call(dataAccess, address, bytes, isStore);
        }
        return member.call(target, address, ...rest) as unknown;
      };
    },
  });
}
