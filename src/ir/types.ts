/**
 * The IR's value types, guest variables and routines.
 *
 * A *temp* is a value that one op defines and later ops of the same block (or routine) use. In TypeScript a temp is a
 * number branded with its type, so that mixing types is a compile error and costs nothing at run time.
 */

declare const brand: unique symbol;
export type I32 = number & { readonly [brand]: 'i32' };
export type I64 = number & { readonly [brand]: 'i64' };
export type F32 = number & { readonly [brand]: 'f32' };
export type F64 = number & { readonly [brand]: 'f64' };
export type V128 = number & { readonly [brand]: 'v128' };

export type TypeName = 'i32' | 'i64' | 'f32' | 'f64' | 'v128';
export type TempOf<T extends TypeName> = { i32: I32; i64: I64; f32: F32; f64: F64; v128: V128 }[T];
/** The temps of a list of types, as a tuple. */
export type TempsOf<T extends readonly TypeName[]> = { -readonly [K in keyof T]: TempOf<T[K]> };

/** Small integers for types, used in typed arrays. */
export const typeNames = ['i32', 'i64', 'f32', 'f64', 'v128'] as const;
export const typeCode: Record<TypeName, number> = { i32: 0, i64: 1, f32: 2, f64: 3, v128: 4 };

/**
 * A guest variable: a part of the vCPU's state (a register, a flag source) that a region keeps in a wasm local. Its home
 * is `offset` bytes into the vCPU's state.
 */
export interface Var<T extends TypeName = TypeName> {
  /** Dense, from 0: index into the guest's list of variables. */
  readonly id: number;
  readonly name: string;
  readonly type: T;
  readonly offset: number;
}

/** What one guest CPU's code may keep in locals, and where the engine finds what it must know. */
export interface GuestVars {
  readonly vars: readonly Var[];
  /**
   * The one *deferred* variable (x86: the flags' operation). While code runs its value is known at translation time
   * where it was set; only leaving the block writes it to the state, as 8 bits of the exit word. Values 0..254.
   */
  readonly deferred: Var<'i32'>;
  /** The program counter's home: while a block or region runs it holds the address at which it was entered. */
  readonly pcOffset: number;
}

/** What a routine may touch beside its parameters. */
export interface RoutineEffects {
  /**
   * `none`: reads and writes no guest variable (other fields of the state and memory it may). `read`: reads variables in
   * their homes. `write`: reads and writes them there. Callers spill and reload accordingly.
   */
  readonly vars: 'none' | 'read' | 'write';
  /**
   * It may end the instruction with a guest fault: its first result is then an i32 that is 0 when all is well; otherwise
   * the fault's description is in the state already and the caller leaves at the start of the current instruction.
   */
  readonly mayFault: boolean;
  /** No effect at all but its results: unused calls may be removed. */
  readonly pure: boolean;
  /** What addresses mean stays as it is: no TLB entry is dropped, and no device is asked, which could move memory. */
  readonly keepsAddresses: boolean;
  /**
   * The first argument says, if it is not 0, that the second one is the result already: it has just that one beside the word of a fault,
   * and touches no variables. Regions then go past the call.
   */
  readonly settles: boolean;
}

/**
 * A function of the translator's own, called from both tiers: written with the builder (`build`), or, where `build` is
 * missing, imported from JavaScript by name. Every routine gets the vCPU's state address first, before `params`.
 */
export interface Routine<
  P extends readonly TypeName[] = readonly TypeName[],
  R extends readonly TypeName[] = readonly TypeName[],
> {
  /** Dense, in order of definition. */
  readonly id: number;
  readonly name: string;
  readonly params: P;
  readonly results: R;
  readonly effects: RoutineEffects;
  readonly build: ((r: never, ...params: never[]) => void) | undefined;
}
