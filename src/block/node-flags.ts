/** Options that every node has, and the flags they come to. */
import { BlockError } from './errors.js';
import type { OpenFlags } from './node.js';
import type { OptionRow, OptionValues } from './options.js';

const discardModes: readonly string[] = ['ignore', 'off', 'unmap', 'on'];
/** Options every node has. */
export const commonRows: readonly OptionRow[] = [
  { name: 'node-name', type: 'string', help: 'Name of the node in the graph' },
  { name: 'read-only', type: 'boolean', help: 'Refuse writes' },
  { name: 'auto-read-only', type: 'boolean', help: 'Fall back to read-only when the medium cannot be written' },
  { name: 'force-share', type: 'boolean', help: 'Let others write meanwhile' },
  {
    name: 'discard',
    type: 'string',
    help: 'Whether discard requests are passed on: ignore, off, unmap, on',
  },
  {
    name: 'detect-zeroes',
    type: 'enum',
    values: ['off', 'on', 'unmap'],
    help: 'Turn writes of zero bytes into write-zeroes',
  },
  { name: 'copy-on-read', type: 'boolean', help: 'Store what is read from the backing file' },
];

export const cacheRows: readonly OptionRow[] = [
  { name: 'cache.direct', type: 'boolean', help: 'Bypass the host page cache' },
  { name: 'cache.no-flush', type: 'boolean', help: 'Ignore flushes' },
  { name: 'cache.writeback', type: 'boolean', help: 'Writes may stay in a cache until flushed' },
];

export type CacheMode = 'none' | 'writeback' | 'writethrough' | 'directsync' | 'unsafe' | 'off';

/** Flags of QEMU's cache modes; undefined for an unknown name. */
export function cacheFlags(mode: string): Partial<OpenFlags> | undefined {
  switch (mode) {
    case 'none':
    case 'off':
      return { direct: true, noFlush: false, writeThrough: false };
    case 'directsync':
      return { direct: true, noFlush: false, writeThrough: true };
    case 'writeback':
      return { direct: false, noFlush: false, writeThrough: false };
    case 'unsafe':
      return { direct: false, noFlush: true, writeThrough: false };
    case 'writethrough':
      return { direct: false, noFlush: false, writeThrough: true };
    default:
      return undefined;
  }
}

/** The name of a cache mode. */
export function cacheModeOf({
  direct,
  noFlush,
  writeThrough,
}: Pick<OpenFlags, 'direct' | 'noFlush' | 'writeThrough'>): CacheMode {
  if (noFlush) return 'unsafe';
  if (direct) return writeThrough ? 'directsync' : 'none';
  return writeThrough ? 'writethrough' : 'writeback';
}

/** The flags that `common` give a node that would have `inherited` without them. */
export function applyCommon(inherited: OpenFlags, common: OptionValues): OpenFlags {
  const discard = common.string('discard');
  if (discard !== undefined && !discardModes.includes(discard))
    throw new BlockError('EINVAL', 'Invalid discard option');
  const detect = common.string('detect-zeroes') as OpenFlags['detectZeroes'] | undefined;
  const unmap = discard === undefined ? inherited.unmap : discard === 'unmap' || discard === 'on';
  if (detect === 'unmap' && !unmap) {
    throw new BlockError(
      'EINVAL',
      'setting detect-zeroes to unmap is not allowed without setting discard operation to unmap',
    );
  }
  const readOnly = common.boolean('read-only') ?? inherited.readOnly;
  const forceShare = common.boolean('force-share') ?? inherited.forceShare;
  const copyOnRead = common.boolean('copy-on-read') ?? inherited.copyOnRead;
  if (copyOnRead && readOnly) throw new BlockError('EINVAL', "Can't use copy-on-read on read-only device");
  if (forceShare && !readOnly) throw new BlockError('EINVAL', 'force-share=on can only be used with read-only images');
  return {
    ...inherited,
    readOnly,
    autoReadOnly: common.boolean('auto-read-only') ?? inherited.autoReadOnly,
    forceShare,
    unmap,
    detectZeroes: detect ?? inherited.detectZeroes,
    copyOnRead,
    direct: common.boolean('cache.direct') ?? inherited.direct,
    noFlush: common.boolean('cache.no-flush') ?? inherited.noFlush,
    writeThrough:
      common.boolean('cache.writeback') === undefined ? inherited.writeThrough : !common.boolean('cache.writeback'),
  };
}
