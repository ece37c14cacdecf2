/** `-object` for the machine itself: memory, sources of random numbers, threads. Those for disks and screens are drives.ts's. */

import { randomSources } from '../../host/node/random-source.js';
import { KeyValues, parseSize } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';
import { flattenJson } from './drives.js';

export const boardObjectTypes = ['memory-backend-ram', 'memory-backend-memfd', 'rng-random', 'rng-builtin', 'iothread'];

export const isBoardObject = (text: string): boolean => {
  const type = /^\s*\{.*"qom-type"\s*:\s*"([^"]*)"/s.exec(text) ?? /^(?:.*\bqom-type=)?([^,=]*)/.exec(text);
  return boardObjectTypes.includes(type?.[1] ?? '');
};

export class BoardObjects {
  readonly #typeOf = new Map<string, string>();
  /** Is the machine's own. */
  #machineMemory: string | undefined;
  readonly #memory = new Map<string, number>();

  /** Throws UsageError. */
  constructor(texts: readonly string[]) {
    for (const text of texts) {
      const option = `-object ${text}`;
      const isJson = text.trimStart().startsWith('{');
      this.add(isJson ? new KeyValues(option, flattenJson(option, text)) : KeyValues.parse(option, text, 'qom-type'));
    }
  }

  /** By id, with the type of each. */
  get types(): ReadonlyMap<string, string> {
    return this.#typeOf;
  }

  /** Throws UsageError. */
  add(values: KeyValues): void {
    const { option } = values;
    const type = values.need('qom-type');
    const id = values.need('id');
    if (this.#typeOf.has(id)) throw new UsageError(`${option}: there is an object with the id '${id}' already`);
    if (type.startsWith('memory-backend-')) {
      this.#memory.set(id, parseSize(option, values.need('size'), 'B'));
      // Who else could map it, and what the host does with it, is nothing that the guest sees.
      for (const key of [
        'prealloc',
        'share',
        'merge',
        'dump',
        'reserve',
        'seal',
        'x-use-canonical-path-for-ramblock-id',
      ])
        values.flag(key);
    } else if (type === 'rng-random') {
      const path: string = values.text('filename') ?? randomSources[0];
      if (!randomSources.some((source) => source === path))
        throw new UsageError(`${option}: random numbers come from ${randomSources[0]}, not from '${path}'`);
    } else
      for (const key of [
        'poll-max-ns',
        'poll-grow',
        'poll-shrink',
        'aio-max-batch',
        'thread-pool-min',
        'thread-pool-max',
      ])
        values.text(key);
    values.finish(['host-nodes', 'policy', 'hugetlb', 'hugetlbsize', 'prealloc-threads', 'prealloc-context']);
    this.#typeOf.set(id, type);
  }

  /** Memory by its id, with its bytes; the machine's own stands under its object's name where it has one. */
  memories(own: { readonly id: string; readonly bytes: number }): ReadonlyMap<string, number> {
    return new Map(this.#machineMemory === undefined ? [...this.#memory, [own.id, own.bytes]] : this.#memory);
  }

  /** False: it is in use, and stays. */
  remove(id: string): boolean {
    if (this.#machineMemory === id) return false;
    this.#memory.delete(id);
    return this.#typeOf.delete(id);
  }

  /** Bytes of the memory that memory-backend= of -M names. Throws UsageError. */
  memory(option: string, id: string): number {
    const bytes = this.#memory.get(id);
    if (bytes === undefined) throw new UsageError(`${option}: Memory backend '${id}' not found`);
    this.#machineMemory = id;
    return bytes;
  }

  /** Takes rng= and iothread= out of a device's values: the work is the host's own source's, and the disks' thread's, in any case. */
  take(values: KeyValues, driver: string): void {
    const wanted = driver.startsWith('virtio-rng') ? 'rng' : /^virtio-(blk|scsi)/.test(driver) ? 'iothread' : undefined;
    const id = wanted === undefined ? undefined : values.text(wanted);
    if (id !== undefined && !this.#typeOf.get(id)?.startsWith(wanted as string))
      throw new UsageError(`${values.option}: Property '${driver}.${wanted}' can't find value '${id}'`);
  }
}
