/** `img snapshot`: lists, makes, applies and deletes internal snapshots. */
import { BlockError, errnoNumbers, errorText, toBlockError } from '../../block/errors.js';
import { snapshotHeading, snapshotLine } from './snapshot-list.js';
import type { Tool } from './tool.js';

export async function snapshot(tool: Tool, argv: readonly string[]): Promise<number> {
  const { options, operands } = tool.parse(argv, [
    { key: 'list', short: 'l' },
    { key: 'apply', short: 'a', value: true },
    { key: 'create', short: 'c', value: true },
    { key: 'delete', short: 'd', value: true },
    { key: 'quiet', short: 'q', long: 'quiet' },
    { key: 'object', long: 'object', value: true },
    { key: 'imageOptions', long: 'image-opts' },
    { key: 'share', short: 'U', long: 'force-share' },
  ]);
  let action: string | undefined;
  let name = '';
  let [imageOptions, forceShare] = [false, false];
  for (const [key, value] of options) {
    if (key === 'list' || key === 'apply' || key === 'create' || key === 'delete') {
      if (action !== undefined) tool.misuse("Cannot mix '-l', '-a', '-c', '-d'");
      action = key;
      name = value;
    } else if (key === 'quiet') tool.quiet = true;
    else if (key === 'object') await tool.addObject(value);
    else if (key === 'imageOptions') imageOptions = true;
    else if (key === 'share') forceShare = true;
  }
  if (operands.length !== 1) tool.misuse('Expecting one image file name');
  const isReadOnly = action === 'list';
  const node = await tool.open({
    filename: operands[0]!,
    imageOptions,
    forceShare,
    flags: { readOnly: isReadOnly, unmap: true },
  });
  try {
    const { snapshots } = node.instance;
    const list = snapshots ? await snapshots.list() : [];
    const report = (what: string, error: unknown): number => {
      tool.error(`${what}: ${toBlockError(error).message}`);
      return 1;
    };
    switch (action) {
      case 'list':
        if (list.length > 0) tool.out(`Snapshot list:\n${snapshotHeading()}${list.map(snapshotLine).join('')}`);
        return 0;
      case 'create':
        try {
          if (!snapshots) throw new BlockError('ENOTSUP');
          const now = Date.now();
          await snapshots.create({
            name,
            vmStateBytes: 0,
            dateSeconds: Math.floor(now / 1000),
            dateNanoseconds: (now % 1000) * 1e6,
            vmClockNs: 0,
            icount: 0,
          });
        } catch (error) {
          const { code } = toBlockError(error);
          tool.error(
            `Could not create snapshot '${name}': -${errnoNumbers[code] ?? errnoNumbers['EIO']} (${errorText(code)})`,
          );
          return 1;
        }
        return 0;
      case 'apply':
        try {
          if (!snapshots) throw new BlockError('ENOTSUP', 'Block driver does not support snapshots');
          if (node.bitmaps.length > 0)
            return report(
              `Could not apply snapshot '${name}'`,
              new BlockError('EBUSY', 'Device has active dirty bitmaps'),
            );
          await snapshots.apply(name);
        } catch (error) {
          if (!snapshots) return report(`Could not apply snapshot '${name}'`, error);
          const { bare, code, message } = toBlockError(error);
          if (!bare) tool.error(message);
          tool.error(`Could not apply snapshot '${name}': Failed to load snapshot: ${errorText(code)}`);
          return 1;
        }
        return 0;
      case 'delete': {
        // By its tag alone, as in qemu-img; the other actions take an ID too.
        const found = list.find((entry) => entry.name === name);
        if (!snapshots || !found) tool.fail(`Could not delete snapshot '${name}': snapshot not found`);
        try {
          await snapshots.remove(found.id, found.name);
        } catch (error) {
          return report(`Could not delete snapshot '${name}'`, error);
        }
        return 0;
      }
      default:
        return 0;
    }
  } finally {
    await node.close();
  }
}
