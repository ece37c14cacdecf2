/**
 * Filter `throttle`: bounds bytes and requests a second, by leaky buckets with room for bursts. Limits come from the `throttle-group`
 * object of that name (shared by all nodes that name it) or from the node's own options.
 */
import { BlockError } from '../errors.js';
import type { BlockHost } from '../host.js';
import type { BlockDriver, BlockNode } from '../node.js';
import type { OptionRow, OptionValues } from '../options.js';
import { takeOptions } from '../options.js';
import { FilterNode } from './filter-node.js';

export const throttleKinds = ['bps-total', 'bps-read', 'bps-write', 'iops-total', 'iops-read', 'iops-write'] as const;

/** A limit without its prefix: `bps-total`, its `-max`, its `-max-length`, and `iops-size`. */
export type ThrottleLimit =
  | (typeof throttleKinds)[number]
  | `${(typeof throttleKinds)[number]}-max`
  | `${(typeof throttleKinds)[number]}-max-length`
  | 'iops-size';
/** Those that are given; 0 is none. */
export type ThrottleLimits = Readonly<Partial<Record<ThrottleLimit, number>>>;

/** Own rows: `limits.bps-total`, its `-max` and `-max-length`, and `limits.iops-size`. */
const limitRows: readonly OptionRow[] = [
  ...throttleKinds.flatMap((kind): OptionRow[] => [
    { name: `limits.${kind}`, type: 'number', help: `Limit of ${kind}` },
    { name: `limits.${kind}-max`, type: 'number', help: `Burst of ${kind}` },
    { name: `limits.${kind}-max-length`, type: 'number', help: `Seconds a burst of ${kind} may last` },
  ]),
  { name: 'limits.iops-size', type: 'number', help: 'Bytes that count as one request' },
];

/** What a limit can be at most. */
const mostPerSecond = 10 ** 15;

class Bucket {
  readonly #rate: number;
  readonly #capacity: number;
  #level = 0;
  #lastNs = 0;

  constructor(rate: number, burst: number, burstSeconds: number) {
    this.#rate = rate;
    // Without a burst, a tenth of a second's worth may pass at once.
    this.#capacity = burst > 0 ? burst * burstSeconds : rate / 10;
  }

  /** Adds units; gives the nanoseconds to wait before they may pass. */
  add(units: number, nowNs: number): number {
    this.#level = Math.max(0, this.#level - ((nowNs - this.#lastNs) * this.#rate) / 1e9);
    this.#lastNs = nowNs;
    this.#level += units;
    const over = this.#level - this.#capacity;
    return over > 0 ? (over / this.#rate) * 1e9 : 0;
  }
}

/** Throws BlockError where the limits make no sense. */
export function checkThrottleLimits(limit: (name: ThrottleLimit) => number): void {
  for (const name of throttleKinds.flatMap((kind) => [kind, `${kind}-max`] as const)) {
    if (limit(name) < 0 || limit(name) > mostPerSecond)
      throw new BlockError('EINVAL', `bps/iops/max values must be within [0, ${mostPerSecond}]`);
  }
  for (const unit of ['bps', 'iops'] as const) {
    if (limit(`${unit}-total`) > 0 && (limit(`${unit}-read`) > 0 || limit(`${unit}-write`) > 0)) {
      throw new BlockError('EINVAL', 'bps/iops/max total values and read/write values cannot be used at the same time');
    }
  }
  if (limit('iops-size') > 0 && !throttleKinds.some((kind) => kind.startsWith('iops') && limit(kind) > 0))
    throw new BlockError('EINVAL', 'iops size requires an iops value to be set');
  for (const kind of throttleKinds) {
    if (limit(`${kind}-max`) > 0 && !(limit(kind) > 0))
      throw new BlockError('EINVAL', 'bps_max/iops_max require corresponding bps/iops values');
  }
}

export class ThrottleGroup {
  readonly #host: BlockHost;
  readonly #buckets = new Map<string, Bucket>();
  readonly #requestBytes: number;

  /** Throws BlockError where the limits make no sense. */
  constructor(host: BlockHost, limit: (name: ThrottleLimit) => number) {
    this.#host = host;
    checkThrottleLimits(limit);
    this.#requestBytes = limit('iops-size');
    for (const kind of throttleKinds) {
      const rate = limit(kind);
      if (rate > 0) this.#buckets.set(kind, new Bucket(rate, limit(`${kind}-max`), limit(`${kind}-max-length`) || 1));
    }
  }

  async pass(direction: 'read' | 'write', bytes: number): Promise<void> {
    const now = this.#host.monotonicNs();
    const requests = this.#requestBytes > 0 ? Math.max(1, bytes / this.#requestBytes) : 1;
    let waitNs = 0;
    for (const scope of ['total', direction]) {
      waitNs = Math.max(
        waitNs,
        this.#buckets.get(`bps-${scope}`)?.add(bytes, now) ?? 0,
        this.#buckets.get(`iops-${scope}`)?.add(requests, now) ?? 0,
      );
    }
    if (waitNs > 0) await this.#host.sleepMs(waitNs / 1e6);
  }
}

class ThrottleNode extends FilterNode {
  readonly #group: ThrottleGroup;
  constructor(below: BlockNode, group: ThrottleGroup) {
    super(below);
    this.#group = group;
  }
  override async read(offset: number, buffer: Uint8Array, flags: number): Promise<void> {
    await this.#group.pass('read', buffer.length);
    await super.read(offset, buffer, flags);
  }
  override async write(offset: number, buffer: Uint8Array, flags: number): Promise<void> {
    await this.#group.pass('write', buffer.length);
    await super.write(offset, buffer, flags);
  }
  override async writeZeroes(offset: number, length: number, flags: number): Promise<void> {
    await this.#group.pass('write', length);
    await super.writeZeroes(offset, length, flags);
  }
  override async discard(offset: number, length: number): Promise<void> {
    await this.#group.pass('write', length);
    await super.discard(offset, length);
  }
}

const groups = new WeakMap<BlockHost, Map<string, ThrottleGroup>>();

/** The group that an object defines; throws where its limits make no sense. */
export function findThrottleGroup(host: BlockHost, name: string): ThrottleGroup {
  let known = groups.get(host);
  if (!known) {
    known = new Map();
    groups.set(host, known);
  }
  let group = known.get(name);
  if (!group) {
    const object = host.object?.(name);
    if (object?.type !== 'throttle-group') throw new BlockError('EINVAL', `Throttle group '${name}' does not exist`);
    // The object takes `limits.x` and the older `x-x`.
    const dict: Record<string, string | number> = {};
    for (const [key, value] of Object.entries(object.options)) {
      const plain = key.startsWith('limits.') ? key : key.startsWith('x-') ? `limits.${key.slice(2)}` : undefined;
      if (plain !== undefined) dict[plain] = value as string | number;
    }
    group = new ThrottleGroup(host, limitReader(takeOptions(limitRows, dict)));
    known.set(name, group);
  }
  return group;
}

/** Its object is gone: one of the same name is another. */
export function forgetThrottleGroup(host: BlockHost, name: string): void {
  groups.get(host)?.delete(name);
}

function limitReader(values: OptionValues): (name: ThrottleLimit) => number {
  return (name) => values.number(`limits.${name}`) ?? 0;
}

export const throttleDriver: BlockDriver = {
  name: 'throttle',
  kind: 'filter',
  openOptions: [{ name: 'throttle-group', type: 'string', help: 'Name of the throttle group' }, ...limitRows],
  async open(context) {
    const name = context.options.string('throttle-group');
    const hasOwn = limitRows.some((row) => context.options.given(row.name));
    if (name === undefined && !hasOwn) throw new BlockError('EINVAL', 'Please specify a throttle group');
    const below = await context.openFile();
    return new ThrottleNode(
      below,
      name === undefined
        ? new ThrottleGroup(context.host, limitReader(context.options))
        : findThrottleGroup(context.host, name),
    );
  },
};
