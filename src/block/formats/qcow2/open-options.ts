/** What an image may be opened with. Caches are bounded by themselves here: their sizes are checked as QEMU does and change nothing. */
import { BlockError } from '../../errors.js';
import type { OptionDict, OptionRow, OptionValues } from '../../options.js';

const encryptRows: readonly OptionRow[] = [
  { name: 'encrypt.format', type: 'string', help: 'Encryption format' },
  { name: 'encrypt.key-secret', type: 'string', help: 'ID of secret providing the key', strong: true },
];

const overlapTemplates = ['none', 'constant', 'cached', 'all'];
const overlapAreas = [
  'main-header',
  'active-l1',
  'active-l2',
  'refcount-table',
  'refcount-block',
  'snapshot-table',
  'inactive-l1',
  'inactive-l2',
  'bitmap-directory',
];

/** All of them may change while the image is open. */
export const openOptions: readonly OptionRow[] = [
  { name: 'lazy-refcounts', type: 'boolean', help: 'Postpone refcount updates' },
  { name: 'pass-discard-request', type: 'boolean', help: 'Pass guest discard requests to the layer below' },
  {
    name: 'pass-discard-snapshot',
    type: 'boolean',
    default: true,
    help: 'Generate discard requests when snapshot related space is freed',
  },
  {
    name: 'pass-discard-other',
    type: 'boolean',
    default: false,
    help: 'Generate discard requests when other clusters are freed',
  },
  {
    name: 'overlap-check',
    type: 'string',
    help: 'Accepted for compatibility: writes are always checked against metadata',
  },
  { name: 'overlap-check.template', type: 'string', help: 'Accepted for compatibility' },
  ...overlapAreas.map(
    (area): OptionRow => ({ name: `overlap-check.${area}`, type: 'boolean', help: 'Accepted for compatibility' }),
  ),
  { name: 'cache-size', type: 'size', help: 'Accepted for compatibility: caches are bounded by themselves' },
  { name: 'l2-cache-size', type: 'size', help: 'Accepted for compatibility' },
  { name: 'l2-cache-entry-size', type: 'size', help: 'Accepted for compatibility' },
  { name: 'refcount-cache-size', type: 'size', help: 'Accepted for compatibility' },
  { name: 'cache-clean-interval', type: 'number', help: 'Accepted for compatibility' },
  ...encryptRows,
];

const overlapNames = ['overlap-check', 'overlap-check.template'];
const cacheNames = ['cache-size', 'l2-cache-size', 'refcount-cache-size'];

/** Options with one meaning between them: set anew, the earlier ones give way. */
export function replacedOptions(given: OptionDict, old: OptionDict): readonly string[] {
  const isGiven = (name: string): boolean => given[name] !== undefined;
  const replaced = overlapNames.some(isGiven) ? [...overlapNames] : [];
  if (isGiven('cache-size')) replaced.push('l2-cache-size', 'refcount-cache-size');
  else if (cacheNames.every((name) => isGiven(name) || old[name] !== undefined)) replaced.push('cache-size');
  return replaced;
}

const minCacheEntryBytes = 512;
const defaultCacheEntryBytes = 4096;

function fail(message: string): never {
  throw new BlockError('EINVAL', message);
}

/** Checks what changes nothing here, with QEMU's sentences. */
export function checkOpenOptions(options: OptionValues, version: number, clusterBytes: number): void {
  const [whole, l2, refcounts] = ['cache-size', 'l2-cache-size', 'refcount-cache-size'].map((name) =>
    options.number(name),
  );
  if (whole !== undefined) {
    if (l2 !== undefined && refcounts !== undefined)
      fail('cache-size, l2-cache-size and refcount-cache-size may not be set at the same time');
    if (l2 !== undefined && l2 > whole) fail('l2-cache-size may not exceed cache-size');
    if (refcounts !== undefined && refcounts > whole) fail('refcount-cache-size may not exceed cache-size');
  }
  const entryBytes = options.number('l2-cache-entry-size') ?? Math.min(defaultCacheEntryBytes, clusterBytes);
  if (entryBytes < minCacheEntryBytes || entryBytes > clusterBytes || !Number.isInteger(Math.log2(entryBytes)))
    fail(
      `L2 cache entry size must be a power of two between ${minCacheEntryBytes} and the cluster size (${clusterBytes})`,
    );
  if ((refcounts ?? 0) / clusterBytes >= 2 ** 31) fail('Refcount cache size too big');
  const interval = options.number('cache-clean-interval') ?? 0;
  if (interval < 0 || interval >= 2 ** 32) fail('Cache clean interval too big');
  if (options.boolean('lazy-refcounts') && version < 3)
    fail('Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level');
  const [overlap, template] = [options.string('overlap-check'), options.string('overlap-check.template')];
  if (overlap !== undefined && template !== undefined && overlap !== template) {
    fail(
      `Conflicting values for qcow2 options 'overlap-check' ('${overlap}') and 'overlap-check.template' ('${template}')`,
    );
  }
  const chosen = overlap ?? template ?? 'cached';
  if (!overlapTemplates.includes(chosen)) {
    fail(
      `Unsupported value '${chosen}' for qcow2 option 'overlap-check'. Allowed are any of the following: ${overlapTemplates.join(', ')}`,
    );
  }
}
