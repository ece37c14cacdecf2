/**
 * Filter `blkdebug`: injects errors into requests. A rule arms at an event of the format above (`l2_update`, `write_aio`, …; `none`: at
 * once) and then fails requests that match it. `set-state` rules move a small state machine, so that "the third L2 load" can be named.
 */
import { BlockError, errnoName } from '../errors.js';
import type { BlockDriver, BlockNode, BlockStatus } from '../node.js';
import { type OptionDict, parseBoolean } from '../options.js';
import { FilterNode, isPlainName } from './filter-node.js';

const requestKinds = ['read', 'write', 'write-zeroes', 'discard', 'flush', 'block-status'] as const;
type RequestKind = (typeof requestKinds)[number];
const sectorBytes = 512;

/** What rules may wait for; formats tell of those that they have. */
const eventNames: ReadonlySet<string> = new Set(
  `l1_update l1_grow_alloc_table l1_grow_write_table l1_grow_activate_table l2_load l2_update l2_update_compressed l2_alloc_cow_read
  l2_alloc_write read_aio read_backing_aio read_compressed write_aio write_compressed vmstate_load vmstate_save cow_read cow_write
  reftable_load reftable_grow reftable_update refblock_load refblock_update refblock_update_part refblock_alloc refblock_alloc_hookup
  refblock_alloc_write refblock_alloc_write_blocks refblock_alloc_write_table refblock_alloc_switch_table cluster_alloc
  cluster_alloc_bytes cluster_free flush_to_os flush_to_disk pwritev_rmw_head pwritev_rmw_after_head pwritev_rmw_tail
  pwritev_rmw_after_tail pwritev pwritev_zero pwritev_done empty_image_prepare l1_shrink_write_table l1_shrink_free_l2_clusters
  cor_write cluster_alloc_space none`.split(/\s+/),
);

interface InjectRule {
  readonly kind: 'inject';
  readonly event: string;
  /** 0: any. */
  readonly state: number;
  readonly requests: ReadonlySet<RequestKind>;
  readonly code: string;
  readonly offset: number | undefined;
  readonly once: boolean;
}

interface StateRule {
  readonly kind: 'state';
  readonly event: string;
  readonly state: number;
  readonly newState: number;
}

type Rule = InjectRule | StateRule;

interface Breakpoint {
  readonly event: string;
  readonly tag: string;
}

interface Suspended {
  readonly tag: string;
  resume(): void;
}

export interface BlkdebugLimits {
  readonly requestAlignment?: number;
  readonly maxTransfer?: number;
  readonly zeroAlignment?: number;
  readonly maxWriteZeroes?: number;
  readonly discardAlignment?: number;
  readonly maxDiscard?: number;
}

export class BlkdebugNode extends FilterNode {
  readonly limits: BlkdebugLimits;
  #rules: Rule[];
  #active: InjectRule[] = [];
  #state = 1;
  #breakpoints: Breakpoint[] = [];
  #suspended: Suspended[] = [];
  #arrivals: (() => void)[] = [];

  constructor(below: BlockNode, rules: readonly Rule[], limits: BlkdebugLimits) {
    super(below);
    this.#rules = [...rules];
    this.limits = limits;
    this.#active = this.#rules.filter((rule): rule is InjectRule => rule.kind === 'inject' && rule.event === 'none');
  }

  onEvent(event: string): Promise<void> | undefined {
    let isFirst = true;
    let newState = this.#state;
    for (const rule of this.#rules) {
      if (rule.event !== event || (rule.state !== 0 && rule.state !== this.#state)) continue;
      if (rule.kind === 'state') newState = rule.newState;
      else {
        if (isFirst) this.#active = [];
        isFirst = false;
        this.#active.push(rule);
      }
    }
    this.#state = newState;
    const index = this.#breakpoints.findIndex((point) => point.event === event);
    if (index < 0) return undefined;
    const [point] = this.#breakpoints.splice(index, 1);
    return new Promise((resume) => {
      this.#suspended.push({ tag: point!.tag, resume });
      for (const wake of this.#arrivals.splice(0)) wake();
    });
  }

  /** The next request that reaches `event` waits until `resume(tag)`. */
  addBreakpoint(event: string, tag: string): void {
    this.#breakpoints.push({ event, tag });
  }

  /** False when none has that tag. */
  removeBreakpoint(tag: string): boolean {
    const before = this.#breakpoints.length;
    this.#breakpoints = this.#breakpoints.filter((point) => point.tag !== tag);
    const hasWaited = this.resume(tag);
    return hasWaited || this.#breakpoints.length < before;
  }

  /** False when nothing waits under that tag. */
  resume(tag: string): boolean {
    const index = this.#suspended.findIndex((entry) => entry.tag === tag);
    if (index < 0) return false;
    this.#suspended.splice(index, 1)[0]!.resume();
    return true;
  }

  isSuspended(tag: string): boolean {
    return this.#suspended.some((entry) => entry.tag === tag);
  }

  async waitSuspended(tag: string): Promise<void> {
    while (!this.isSuspended(tag)) await new Promise<void>((resolve) => this.#arrivals.push(resolve));
  }

  #check(kind: RequestKind, offset: number, length: number): void {
    const rule = this.#active.find(
      (candidate) =>
        candidate.requests.has(kind) &&
        (candidate.offset === undefined ||
          (length > 0 && candidate.offset >= offset && candidate.offset < offset + length)),
    );
    if (!rule) return;
    if (rule.once) {
      this.#active = this.#active.filter((other) => other !== rule);
      this.#rules = this.#rules.filter((other) => other !== rule);
    }
    throw new BlockError(rule.code);
  }

  override async read(offset: number, buffer: Uint8Array, flags: number): Promise<void> {
    this.#check('read', offset, buffer.length);
    await super.read(offset, buffer, flags);
  }

  override async write(offset: number, buffer: Uint8Array, flags: number): Promise<void> {
    this.#check('write', offset, buffer.length);
    await super.write(offset, buffer, flags);
  }

  override async writeZeroes(offset: number, length: number, flags: number): Promise<void> {
    this.#check('write-zeroes', offset, length);
    await super.writeZeroes(offset, length, flags);
  }

  override async discard(offset: number, length: number): Promise<void> {
    this.#check('discard', offset, length);
    await super.discard(offset, length);
  }

  override async flush(): Promise<void> {
    this.#check('flush', 0, 0);
  }

  override async blockStatus(offset: number, length: number, wantZero: boolean): Promise<BlockStatus> {
    this.#check('block-status', offset, length);
    return super.blockStatus(offset, length, wantZero);
  }

  allocatedBytes() {
    return this.below.instance.allocatedBytes?.() ?? Promise.resolve(undefined);
  }
}

function numberOf(value: unknown, name: string): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (!Number.isInteger(number)) throw new BlockError('EINVAL', `Parameter '${name}' expects a number`);
  return number;
}

function parseRule(kind: 'inject-error' | 'set-state', options: OptionDict): Rule {
  const event = options['event'];
  if (typeof event !== 'string') throw new BlockError('EINVAL', 'Missing event name for rule');
  if (!eventNames.has(event)) throw new BlockError('EINVAL', `invalid parameter value: ${event}`);
  const state = numberOf(options['state'], 'state') ?? 0;
  if (kind === 'set-state')
    return { kind: 'state', event, state, newState: numberOf(options['new_state'], 'new_state') ?? 0 };
  const type = options['iotype'];
  if (type !== undefined && !requestKinds.includes(type as RequestKind))
    throw new BlockError('EINVAL', `invalid parameter value: ${String(type)}`);
  // Asking where data lies fails only when named.
  const requests = new Set<RequestKind>(
    type === undefined ? requestKinds.filter((candidate) => candidate !== 'block-status') : [type as RequestKind],
  );
  const sector = numberOf(options['sector'], 'sector');
  return {
    kind: 'inject',
    event,
    state,
    requests,
    code: errnoName(numberOf(options['errno'], 'errno') ?? 5),
    offset: sector === undefined || sector < 0 ? undefined : sector * sectorBytes,
    once: options['once'] !== undefined && parseBoolean('once', options['once']),
  };
}

/** Rules of a configuration file: sections `[inject-error]` and `[set-state]` with `name = "value"` lines. */
function parseConfig(text: string): Rule[] {
  const rules: Rule[] = [];
  let section: 'inject-error' | 'set-state' | undefined;
  let options: OptionDict = {};
  const finish = (): void => {
    if (section) rules.push(parseRule(section, options));
    options = {};
  };
  text.split('\n').forEach((line, index) => {
    const plain = line.trim();
    if (plain === '' || plain.startsWith('#')) return;
    const head = /^\[(inject-error|set-state)(?:\s+"[^"]*")?\]$/.exec(plain);
    const entry = /^([\w-]+)\s*=\s*"([^"]*)"$/.exec(plain);
    if (head) {
      finish();
      section = head[1] as typeof section;
    } else if (entry && section) options[entry[1]!] = entry[2]!;
    else throw new BlockError('EINVAL', `Could not parse blkdebug config file: line ${index + 1}`);
  });
  finish();
  return rules;
}

async function readConfig(node: BlockNode, path: string): Promise<string> {
  const file = await node.host.files.open(path, { write: false }).catch(() => {
    throw new BlockError('ENOENT', `Could not read blkdebug config file: No such file or directory`);
  });
  try {
    const bytes = new Uint8Array(Math.min(file.stat().sizeBytes, 2 ** 20));
    file.readSync(0, bytes);
    return new TextDecoder().decode(bytes);
  } finally {
    await file.close();
  }
}

export const blkdebugDriver: BlockDriver = {
  name: 'blkdebug',
  kind: 'filter',
  protocols: ['blkdebug'],
  openOptions: [
    { name: 'config', type: 'string', help: 'Path to the configuration file' },
    { name: 'x-image', type: 'string', help: 'Filename of the image below' },
    { name: 'align', type: 'size', help: 'Required alignment in bytes' },
    { name: 'max-transfer', type: 'size', help: 'Maximum transfer size in bytes' },
    { name: 'opt-write-zero', type: 'size', help: 'Optimum write zero alignment in bytes' },
    { name: 'max-write-zero', type: 'size', help: 'Maximum write zero size in bytes' },
    { name: 'opt-discard', type: 'size', help: 'Optimum discard alignment in bytes' },
    { name: 'max-discard', type: 'size', help: 'Maximum discard size in bytes' },
  ],
  parseFilename(filename) {
    // blkdebug:config:image
    const rest = filename.slice('blkdebug:'.length);
    const colon = rest.indexOf(':');
    if (colon < 0) throw new BlockError('EINVAL', 'blkdebug requires both config file and image path');
    const config = rest.slice(0, colon);
    return { ...(config === '' ? {} : { config }), 'x-image': rest.slice(colon + 1) };
  },
  formatFilename(options, children) {
    const image = children[0]?.node.filename ?? '';
    const hasMore = Object.keys(options).some((key) => key !== 'config' && key !== 'x-image');
    return hasMore || !isPlainName(image) ? undefined : `blkdebug:${String(options['config'] ?? '')}:${image}`;
  },
  async open(context) {
    const rules: Rule[] = [];
    const config = context.options.string('config');
    if (config !== undefined) rules.push(...parseConfig(await readConfig(context.node, config)));
    for (const kind of ['inject-error', 'set-state'] as const) {
      const all = context.takePrefix(kind);
      const byIndex = new Map<string, OptionDict>();
      for (const [key, value] of Object.entries(all)) {
        const dot = key.indexOf('.');
        const index = key.slice(0, dot);
        const entry = byIndex.get(index) ?? {};
        entry[key.slice(dot + 1)] = value;
        byIndex.set(index, entry);
      }
      for (const entry of byIndex.values()) rules.push(parseRule(kind, entry));
    }
    const image = context.options.string('x-image');
    const below = await context.openChild('image', 'filtered', {
      allowProbe: false,
      ...(image === undefined ? {} : { filename: image }),
    });
    const limit = (name: string) => context.options.number(name);
    const defined = Object.fromEntries(
      Object.entries({
        requestAlignment: limit('align'),
        maxTransfer: limit('max-transfer'),
        zeroAlignment: limit('opt-write-zero'),
        maxWriteZeroes: limit('max-write-zero'),
        discardAlignment: limit('opt-discard'),
        maxDiscard: limit('max-discard'),
      }).filter(([, value]) => value !== undefined),
    );
    return new BlkdebugNode(below, rules, { requestAlignment: below.limits.requestAlignment, ...defined });
  },
};
