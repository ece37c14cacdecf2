/** `img rebase`: changes an image's backing file. */
import { BlockError, errorCode, errorText } from '../../block/errors.js';
import { combinePath } from '../../block/graph.js';
import type { GraphNode } from '../../block/graph-node.js';
import { findRow, loadDriver } from '../../block/registry.js';
import type { Tool } from './tool.js';

const stepBytes = 2 ** 21;

export async function rebase(tool: Tool, argv: readonly string[]): Promise<number> {
  const { options, operands } = tool.parse(argv, [
    { key: 'format', short: 'f', value: true },
    { key: 'backingFormat', short: 'F', value: true },
    { key: 'backing', short: 'b', value: true },
    { key: 'unsafe', short: 'u' },
    { key: 'progress', short: 'p' },
    { key: 'cache', short: 't', value: true },
    { key: 'sourceCache', short: 'T', value: true },
    { key: 'quiet', short: 'q' },
    { key: 'share', short: 'U', long: 'force-share' },
    { key: 'object', long: 'object', value: true },
    { key: 'imageOptions', long: 'image-opts' },
    { key: 'compress', short: 'c', long: 'compress' },
  ]);
  let [format, backingFormat, backingName]: (string | undefined)[] = [];
  let [isUnsafe, isProgress, forceShare, imageOptions] = [false, false, false, false];
  let cacheMode = 'writeback';
  let sourceCache = 'writeback';
  for (const [key, value] of options) {
    if (key === 'format') format = value;
    else if (key === 'backingFormat') backingFormat = value;
    else if (key === 'backing') backingName = value;
    else if (key === 'unsafe') isUnsafe = true;
    else if (key === 'progress') isProgress = true;
    else if (key === 'cache') cacheMode = value;
    else if (key === 'sourceCache') sourceCache = value;
    else if (key === 'quiet') tool.quiet = true;
    else if (key === 'share') forceShare = true;
    else if (key === 'object') await tool.addObject(value);
    else if (key === 'imageOptions') imageOptions = true;
    else if (key === 'compress') tool.misuse(`unrecognized option '-c'`);
  }
  if (operands.length !== 1) tool.misuse('Expecting one image file name');
  if (!isUnsafe && backingName === undefined) tool.misuse('Must specify backing file (-b) or use unsafe mode (-u)');
  tool.startProgress(isProgress, 1);
  tool.progress(0);
  const flags = tool.cache(cacheMode);
  const sourceFlags = tool.cache(sourceCache, 'source cache option');
  const node = await tool.open({
    filename: operands[0]!,
    format,
    imageOptions,
    flags: { ...flags, readOnly: false, unmap: true, noBacking: isUnsafe },
  });
  let newBacking: GraphNode | undefined;
  try {
    const top = node.skipFilters() as GraphNode;
    if (backingFormat !== undefined && !findRow(backingFormat)) tool.fail(`Invalid format name: '${backingFormat}'`);
    if (!top.instance.changeBackingFile || !(await loadDriver(top.driver.name)).supportsBacking) {
      const why =
        backingName && backingFormat === undefined ? 'backing format must be specified' : 'Operation not supported';
      tool.fail(`Could not change the backing file to '${backingName ?? ''}': ${why}`);
    }
    const name = backingName === '' ? undefined : backingName;
    if (!isUnsafe) {
      const oldBacking = top.backing;
      if (name !== undefined) {
        const full = name.startsWith('json:') ? name : combinePath(top.file?.filename ?? top.filename, name);
        newBacking = await tool
          .open({
            filename: full,
            format: backingFormat,
            forceShare,
            flags: { ...sourceFlags, readOnly: true },
            what: 'new backing file ',
            givenName: name,
          })
          .catch((error) => tool.failWith('', error));
      }
      await copyDifferences(tool, node, top, oldBacking, newBacking);
    }
    try {
      await top.drain();
      if (name === undefined) await top.instance.changeBackingFile(undefined, undefined);
      else {
        if (backingFormat === undefined) throw new BlockError('EINVAL');
        await top.instance.changeBackingFile(name, backingFormat);
      }
    } catch (error) {
      const code = errorCode(error);
      if (code === 'ENOSPC')
        tool.fail(`Could not change the backing file to '${backingName}': No space left in the file header`);
      tool.fail(
        name !== undefined && backingFormat === undefined
          ? `Could not change the backing file to '${backingName}': backing format must be specified`
          : `Could not change the backing file to '${backingName ?? ''}': ${errorText(code)}`,
      );
    }
    tool.progress(100);
    tool.endProgress();
    return 0;
  } finally {
    await newBacking?.close().catch(() => undefined);
    await node.close();
  }
}

/** Copies into the overlay whatever the old and the new backing file show differently where the overlay has nothing. */
async function copyDifferences(
  tool: Tool,
  node: GraphNode,
  top: GraphNode,
  before: GraphNode | undefined,
  after: GraphNode | undefined,
): Promise<void> {
  const [left, right] = [tool.host.allocate(stepBytes), tool.host.allocate(stepBytes)];
  const total = node.length;
  let at = 0;
  // As qemu-img counts: a step for what is compared, none for what the overlay has.
  let percent = 0;
  const step = 100 / Math.ceil(total / Math.min(total, stepBytes));
  const fail = (what: string, error: unknown): never => tool.fail(`${what}: ${errorText(errorCode(error))}`);
  while (at < total) {
    const status = await top
      .blockStatus(at, Math.min(stepBytes, total - at), false)
      .catch((error) => fail('error while reading image metadata', error));
    const size = Math.min(status.length, total - at, stepBytes);
    if (status.allocated) {
      at += size;
      continue;
    }
    const [one, two] = [left.subarray(0, size), right.subarray(0, size)];
    if (before) await before.read(at, one).catch((error) => fail('error while reading from old backing file', error));
    else one.fill(0);
    if (after) await after.read(at, two).catch((error) => fail('error while reading from new backing file', error));
    else two.fill(0);
    // Runs of sectors that differ.
    if (!tool.host.equal(one, two)) {
      const grain = 4096;
      let from = 0;
      while (from < size) {
        let to = Math.min(from + grain, size);
        const differs = !tool.host.equal(one.subarray(from, to), two.subarray(from, to));
        while (to < size) {
          const next = Math.min(to + grain, size);
          if (!tool.host.equal(one.subarray(to, next), two.subarray(to, next)) !== differs) break;
          to = next;
        }
        if (differs)
          await node
            .write(at + from, one.subarray(from, to))
            .catch((error) => fail('Error while writing to COW image', error));
        from = to;
      }
    }
    at += size;
    percent = Math.min(100, percent + step);
    tool.progress(percent);
  }
}
