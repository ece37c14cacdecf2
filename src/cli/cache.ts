/** `vring cache list|prune`. */
import { listCache, pruneCache } from '../distro/index.js';
import { cacheActions, commands } from './commands.js';
import { parseLine } from './options/parse.js';
import { type ProcessIo, print } from './process-io.js';
import { didYouMean } from './suggest.js';
import { UsageError } from './usage-error.js';

const dayMs = 86_400_000;
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
const date = (ms: number) => new Date(ms).toISOString().slice(0, 10);

export async function cache(argv: readonly string[], io: ProcessIo): Promise<number> {
  const row = commands.find(({ name }) => name === 'cache')!;
  const { given, operands } = parseLine(row, argv);
  const has = (name: string) => given.some((each) => each.row.name === name);
  const [action = 'list', extra] = operands;
  if (extra !== undefined) throw new UsageError(`cache ${action}: '${extra}' is too much`);
  if (action === 'list') {
    if (has('all') || has('days')) throw new UsageError('cache list: --all and --days are for prune');
    const listing = await listCache({ env: io.env });
    if (has('json')) {
      await print(io.stdout, `${JSON.stringify(listing, null, 2)}\n`);
      return 0;
    }
    const lines = listing.systems.map(
      (each) =>
        `${each.name.padEnd(20)} ${each.codename.padEnd(10)} ${each.architecture.padEnd(6)} ${each.flavour.padEnd(14)} ${megabytes(each.bytes).padStart(10)}  used ${date(each.usedMs)}`,
    );
    await print(io.stdout, `${[...lines, `${megabytes(listing.totalBytes)} in ${listing.root}`].join('\n')}\n`);
    return 0;
  }
  if (action === 'prune') {
    if (has('json')) throw new UsageError('cache prune: --json is for list');
    const days = given.findLast((each) => each.row.name === 'days')?.value;
    if (days !== undefined && !/^\d{1,5}$/.test(days))
      throw new UsageError(`cache prune: --days ${days} is no number of days`);
    const { removed, freedBytes } = await pruneCache({
      env: io.env,
      all: has('all'),
      unusedForMs: days === undefined ? undefined : Number(days) * dayMs,
    });
    await print(io.stdout, `${removed.length} files removed, ${megabytes(freedBytes)} freed\n`);
    return 0;
  }
  throw new UsageError(`cache ${action}: there is no such action${didYouMean(action, cacheActions)}`);
}
