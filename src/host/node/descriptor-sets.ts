/**
 * Sets of descriptors that others have opened, by number: `/dev/fdset/N` as a file's name stands for a duplicate of the member of
 * set N that was opened for what is wanted (QEMU's `-add-fd`, `add-fd`). Descriptors are the process's, so the table is too: it
 * lies in memory that every thread started later gets.
 */
import { fstatSync, ftruncateSync, readlinkSync, type Stats } from 'node:fs';
import { getEnvironmentData, isMainThread, setEnvironmentData } from 'node:worker_threads';
import { VringError } from '../../base/index.js';
import { type DescriptorCalls, descriptorCalls } from './descriptors.js';

const TABLE_NAME = 'vring.descriptor-sets';
const MOST_MEMBERS = 1024;
/** Words of a row; `opened` counts the duplicates that are open. */
const word = { state: 0, set: 1, fd: 2, mode: 3, opened: 4 } as const;
const ROW_WORDS = 5;
/** A member that is gone stays as long as what it was duplicated to. */
const state = { free: 0, member: 1, gone: 2 } as const;

/** O_RDONLY, O_WRONLY, O_RDWR. */
const modes = { read: 0, write: 1, both: 2 } as const;

function sharedTable(): Int32Array | undefined {
  const given = getEnvironmentData(TABLE_NAME);
  if (given instanceof SharedArrayBuffer) return new Int32Array(given);
  if (!isMainThread) return undefined;
  const memory = new SharedArrayBuffer(MOST_MEMBERS * ROW_WORDS * 4);
  setEnvironmentData(TABLE_NAME, memory);
  return new Int32Array(memory);
}

const table = sharedTable();
let loadedCalls: DescriptorCalls | undefined;

/** Throws VringError `descriptors` where there is no koffi. */
function calls(): DescriptorCalls {
  try {
    loadedCalls ??= descriptorCalls();
    return loadedCalls;
  } catch (error) {
    throw new VringError(
      'descriptors',
      'Descriptors cannot be taken: the module koffi, which calls the system, is not installed',
      { cause: error },
    );
  }
}

function get(row: number, at: keyof typeof word): number {
  return Atomics.load(table as Int32Array, row * ROW_WORDS + word[at]);
}

function put(row: number, at: keyof typeof word, value: number): void {
  Atomics.store(table as Int32Array, row * ROW_WORDS + word[at], value);
}

function* rows(set?: number): Generator<number> {
  if (!table) return;
  for (let row = 0; row < MOST_MEMBERS; row++)
    if (get(row, 'state') !== state.free && (set === undefined || get(row, 'set') === set)) yield row;
}

export interface SetMember {
  readonly fd: number;
  readonly opaque: string | undefined;
}

export interface DescriptorSet {
  readonly set: number;
  readonly members: readonly SetMember[];
}

/** What the main thread does with the sets. */
export class DescriptorSets {
  readonly #opaque = new Map<number, string>();
  /** Rows in the order in which they came. */
  readonly #order: number[] = [];

  /** Takes a descriptor, into the first set that is not there unless told which. Throws VringError `descriptors`, and has not taken it then. */
  add(fd: number, wanted: number | undefined, opaque: string | undefined): { set: number; fd: number } {
    const mode = calls().accessMode(fd);
    if (mode === undefined) throw new VringError('descriptors', `There is no descriptor ${fd}`);
    let row = 0;
    while (row < MOST_MEMBERS && get(row, 'state') !== state.free) row++;
    if (row === MOST_MEMBERS)
      throw new VringError('descriptors', `There are ${MOST_MEMBERS} descriptors in sets already`);
    const known = new Set([...rows()].map((each) => get(each, 'set')));
    let set = wanted ?? 0;
    while (wanted === undefined && known.has(set)) set++;
    put(row, 'set', set);
    put(row, 'fd', fd);
    put(row, 'mode', mode);
    put(row, 'opened', 0);
    put(row, 'state', state.member);
    if (opaque === undefined) this.#opaque.delete(row);
    else this.#opaque.set(row, opaque);
    this.#order.push(row);
    return { set, fd };
  }

  /** A member, or all of a set. False: there is none. */
  remove(set: number, fd?: number): boolean {
    const found = [...rows(set)].filter(
      (row) => get(row, 'state') === state.member && (fd === undefined || get(row, 'fd') === fd),
    );
    for (const row of found) this.#end(row);
    return found.length > 0;
  }

  /** Sets that nobody has opened go with the last one who can ask for them. */
  removeUnopened(): void {
    const opened = new Set([...rows()].filter((row) => get(row, 'opened') > 0).map((row) => get(row, 'set')));
    for (const row of rows()) if (!opened.has(get(row, 'set'))) this.#end(row);
  }

  /** The highest number first, as QEMU tells them. */
  list(): DescriptorSet[] {
    const members = new Map<number, SetMember[]>();
    for (const row of [...this.#order]) {
      if (this.#sweep(row)) continue;
      const of = members.get(get(row, 'set')) ?? [];
      members.set(get(row, 'set'), of);
      if (get(row, 'state') === state.member) of.push({ fd: get(row, 'fd'), opaque: this.#opaque.get(row) });
    }
    return [...members].map(([set, of]) => ({ set, members: of })).sort((a, b) => b.set - a.set);
  }

  #end(row: number): void {
    if (get(row, 'state') === state.member) calls().close(get(row, 'fd'));
    put(row, 'state', state.gone);
    this.#sweep(row);
  }

  /** Whether the row is free: its member is gone, and so are the duplicates. */
  #sweep(row: number): boolean {
    if (get(row, 'state') !== state.gone || get(row, 'opened') > 0) return false;
    put(row, 'state', state.free);
    this.#order.splice(this.#order.indexOf(row), 1);
    return true;
  }
}

/** This process's sets; for the main thread. */
export const descriptorSets = new DescriptorSets();

/** A duplicate of a descriptor that whoever started the program has left open. Throws VringError `descriptors`. */
export function inheritedDescriptor(fd: number): number {
  try {
    // Node's own are of no use to anybody.
    if (!readlinkSync(`/proc/self/fd/${fd}`).startsWith('anon_inode:')) return calls().duplicate(fd);
  } catch (error) {
    if (error instanceof VringError) throw error;
    // It is not open.
  }
  throw new VringError('descriptors', 'fd is not valid or already in use');
}

const setOf = (path: string): string | undefined =>
  path.startsWith('/dev/fdset/') ? path.slice('/dev/fdset/'.length) : undefined;

export interface DescriptorWish {
  readonly access: keyof typeof modes;
  readonly direct?: boolean | undefined;
  readonly truncate?: boolean | undefined;
  readonly exclusive?: boolean | undefined;
}

export interface OpenedMember {
  readonly fd: number;
  close(): void;
}

/**
 * What `/dev/fdset/N` stands for; undefined: the path is another. Throws VringError `descriptors`, and errors with a code:
 * ENOENT there is no such set, EACCES no member of it was opened for that.
 */
export function openSetMember(path: string, wish: DescriptorWish): OpenedMember | undefined {
  const name = setOf(path);
  if (name === undefined) return undefined;
  if (!/^\d{1,9}$/.test(name)) throw new VringError('descriptors', `Could not parse fdset ${path}`);
  const failed = (code: string) => Object.assign(new Error(code), { code });
  const members = [...rows(Number(name))].filter((row) => get(row, 'state') === state.member);
  if (members.length === 0) throw failed('ENOENT');
  if (wish.exclusive) throw failed('EEXIST');
  const row = members.find((each) => get(each, 'mode') === modes[wish.access]);
  if (row === undefined) throw failed('EACCES');
  const { duplicate, close, setDirect } = calls();
  const fd = duplicate(get(row, 'fd'));
  if (fd < 0) throw failed('EMFILE');
  Atomics.add(table as Int32Array, row * ROW_WORDS + word.opened, 1);
  const member = {
    fd,
    close() {
      close(fd);
      Atomics.sub(table as Int32Array, row * ROW_WORDS + word.opened, 1);
    },
  };
  try {
    setDirect(fd, wish.direct ?? false);
    if (wish.truncate) ftruncateSync(fd, 0);
    return member;
  } catch (error) {
    member.close();
    throw error;
  }
}

/** Undefined: the path is another, or there is no such set. */
export function statSetMember(path: string): Stats | undefined {
  const name = setOf(path);
  if (name === undefined || !/^\d{1,9}$/.test(name)) return undefined;
  for (const row of rows(Number(name))) if (get(row, 'state') === state.member) return fstatSync(get(row, 'fd'));
  return undefined;
}
