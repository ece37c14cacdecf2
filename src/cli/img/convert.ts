/** `img convert`: the options, the new image; copy-disk.ts fills it. */
import { BlockError, errorCode, toBlockError } from '../../block/errors.js';
import type { GraphNode } from '../../block/graph-node.js';
import { Permission, RequestFlag } from '../../block/node.js';
import { type OptionDict, parseBoolean, parseOptionString } from '../../block/options.js';
import { findRow, loadDriver } from '../../block/registry.js';
import { tuneForCopying } from '../../host/node/engine-flags.js';
import { type CopyJob, copyDisk, type Part, placesInOrder, sectorBytes, smallestOverlapping } from './copy-disk.js';
import { createChecked, printCreateHelp } from './create.js';
import { hasHelpOption, joinOptions, type Tool } from './tool.js';

/** A mistake in what `-l` names is told before anything is opened. */
export function checkSnapshotParameter(tool: Tool, text: string): void {
  if (!text.startsWith('snapshot.')) return;
  const unknown = Object.keys(parseOptionString(text)).find((key) => key !== 'snapshot.id' && key !== 'snapshot.name');
  if (unknown === undefined) return;
  tool.error(`Invalid parameter '${unknown}'`);
  tool.fail(`Failed in parsing snapshot param '${text}'`);
}

/** `-l`, checked: `snapshot.id=…,snapshot.name=…`, or an id or a name. */
export async function loadSnapshotParameter(tool: Tool, node: GraphNode, text: string): Promise<void> {
  const { snapshots } = node.instance;
  try {
    if (!snapshots) throw new BlockError('ENOTSUP', `Device '${node.filename}' does not support internal snapshots`);
    if (text.startsWith('snapshot.')) {
      const options = parseOptionString(text);
      await snapshots.load(
        options['snapshot.id'] as string | undefined,
        options['snapshot.name'] as string | undefined,
      );
      return;
    }
    const list = await snapshots.list();
    if (list.some((snapshot) => snapshot.id === text)) await snapshots.load(text, undefined);
    else await snapshots.load(undefined, text);
  } catch (error) {
    tool.failWith('Failed to load snapshot: ', error);
  }
}

export async function convert(tool: Tool, argv: readonly string[]): Promise<number> {
  const { options, operands } = tool.parse(argv, [
    { key: 'format', short: 'f', value: true },
    { key: 'target', short: 'O', value: true },
    { key: 'backing', short: 'B', value: true },
    { key: 'backingFormat', short: 'F', value: true },
    { key: 'copyRange', short: 'C' },
    { key: 'compress', short: 'c' },
    { key: 'options', short: 'o', value: true },
    { key: 'snapshot', short: 'l', value: true },
    { key: 'sparse', short: 'S', value: true },
    { key: 'progress', short: 'p' },
    { key: 'cache', short: 't', value: true },
    { key: 'sourceCache', short: 'T', value: true },
    { key: 'quiet', short: 'q' },
    { key: 'noCreate', short: 'n' },
    { key: 'workers', short: 'm', value: true },
    { key: 'unordered', short: 'W' },
    { key: 'share', short: 'U', long: 'force-share' },
    { key: 'rate', short: 'r', value: true },
    { key: 'object', long: 'object', value: true },
    { key: 'sourceOptions', long: 'source-image-opts' },
    { key: 'imageOptions', long: 'image-opts' },
    { key: 'targetOptions', long: 'target-image-opts' },
    { key: 'salvage', long: 'salvage' },
    { key: 'zeroTarget', long: 'target-is-zero' },
    { key: 'bitmaps', long: 'bitmaps' },
    { key: 'skipBroken', long: 'skip-broken-bitmaps' },
  ]);
  let [format, target, backing, backingFormat, optionText, snapshotName]: (string | undefined)[] = [];
  let [isCompressed, isProgress, noCreate, isUnordered, forceShare, imageOptions, targetOptions] = [
    false,
    false,
    false,
    false,
    false,
    false,
    false,
  ];
  let [isSalvage, isZeroTarget, withBitmaps, skipBroken, isCopyRange] = [false, false, false, false, false];
  let cacheMode = 'unsafe';
  let sourceCache = 'writeback';
  let minSparse = 4096;
  let isExplicitSparse = false;
  let workers = 8;
  let bytesPerSecond = 0;
  for (const [key, value] of options) {
    if (key === 'format') format = value;
    else if (key === 'target') target = value;
    else if (key === 'backing') backing = value;
    else if (key === 'backingFormat') backingFormat = value;
    else if (key === 'copyRange') isCopyRange = true;
    else if (key === 'compress') isCompressed = true;
    else if (key === 'options') optionText = joinOptions(optionText, value, tool);
    else if (key === 'snapshot') {
      checkSnapshotParameter(tool, value);
      snapshotName = value;
    } else if (key === 'sparse') {
      const size = tool.size(value, 'buffer size for sparse output');
      if (size % sectorBytes !== 0 || size > 16777216) {
        tool.fail(
          'Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to 16777216. Select 0 to disable sparse detection (fully allocates output).',
        );
      }
      minSparse = size;
      isExplicitSparse = true;
    } else if (key === 'progress') isProgress = true;
    else if (key === 'cache') cacheMode = value;
    else if (key === 'sourceCache') sourceCache = value;
    else if (key === 'quiet') tool.quiet = true;
    else if (key === 'noCreate') noCreate = true;
    else if (key === 'workers') {
      workers = /^\d+$/.test(value) ? Number(value) : 0;
      if (workers < 1 || workers > 16)
        tool.fail('Invalid number of coroutines. Allowed number of coroutines is between 1 and 16');
    } else if (key === 'unordered') isUnordered = true;
    else if (key === 'share') forceShare = true;
    else if (key === 'rate') bytesPerSecond = tool.size(value, 'rate limit');
    else if (key === 'object') await tool.addObject(value);
    else if (key === 'imageOptions' || key === 'sourceOptions') imageOptions = true;
    else if (key === 'targetOptions') targetOptions = true;
    else if (key === 'salvage') isSalvage = true;
    else if (key === 'zeroTarget') isZeroTarget = true;
    else if (key === 'bitmaps') withBitmaps = true;
    else if (key === 'skipBroken') skipBroken = true;
  }
  if (target === undefined && !targetOptions) target = 'raw';
  if (isZeroTarget && !noCreate) tool.fail('--target-is-zero requires use of -n flag');
  if (targetOptions && !noCreate) tool.fail('--target-image-opts requires use of -n flag');
  if (noCreate && optionText !== undefined) tool.fail('-o has no effect when skipping image creation');
  if (isCopyRange && isCompressed) tool.fail('Cannot enable copy offloading when -c is used');
  if (isCopyRange && isExplicitSparse) tool.fail('Cannot enable copy offloading when -S is used');
  if (isSalvage && isCopyRange) tool.fail('Cannot use copy offloading in salvaging mode');
  if (skipBroken && !withBitmaps) tool.fail('Use of --skip-broken-bitmaps requires --bitmaps');
  if (optionText !== undefined && hasHelpOption(optionText))
    return printCreateHelp(tool, target ?? 'raw', operands.length > 1 ? operands.at(-1) : undefined);
  if (operands.length < 2) tool.fail('Must specify image file name');
  const outName = operands.at(-1)!;
  const inNames = operands.slice(0, -1);
  const targetCache = tool.cache(cacheMode);
  const sourceFlags = tool.cache(sourceCache, 'source cache option');
  tool.startProgress(isProgress, 1);
  tool.progress(0);
  const parts: Part[] = [];
  let targetNode: GraphNode | undefined;
  try {
    let total = 0;
    for (const filename of inNames) {
      const node = await tool.open({
        filename,
        format,
        imageOptions,
        forceShare,
        flags: { ...sourceFlags, readOnly: true },
        // The target must not be the source itself, whose contents would be gone before they are read.
        shared: Permission.consistentRead | Permission.writeUnchanged,
      });
      const length = inNames.length > 1 ? Math.ceil(node.length / sectorBytes) * sectorBytes : node.length;
      parts.push({ node, start: total, length });
      total += length;
    }
    if (snapshotName !== undefined) {
      if (parts.length > 1) tool.fail('No support for concatenating multiple snapshot');
      await loadSnapshotParameter(tool, parts[0]!.node, snapshotName);
      const { node } = parts[0]!;
      parts[0] = { node, start: 0, length: node.length };
      total = node.length;
    }
    const source = parts[0]!.node;
    const dict: OptionDict = optionText === undefined ? {} : parseOptionString(optionText);
    let backingName: string | undefined = backing;
    const refuseBackingOfMany = (name: string | undefined): void => {
      if (parts.length > 1 && name !== undefined)
        tool.fail('Having a backing file for the target makes no sense when concatenating multiple input images');
    };
    if (!noCreate) {
      if (!findRow(target!)) tool.fail(`Unknown file format '${target}'`);
      const driver = await loadDriver(target!);
      if (!driver.createOptions) tool.fail(`Format driver '${target}' does not support image creation`);
      const rows = await tool.graph.createRows(target!, outName);
      const unknown = Object.keys(dict).find((key) => !rows.some((row) => row.name === key));
      if (unknown !== undefined) tool.fail(`Invalid parameter '${unknown}'`);
      backingName ??= dict['backing_file'] as string | undefined;
      if (backing !== undefined) {
        if (!rows.some((row) => row.name === 'backing_file'))
          tool.fail(`Backing file not supported for file format '${target}'`);
        dict['backing_file'] = backing;
      }
      if (backingFormat !== undefined) dict['backing_fmt'] = backingFormat;
      refuseBackingOfMany(backingName);
      if (backingName !== undefined && dict['backing_fmt'] === undefined)
        tool.fail('Use of backing file requires explicit backing format');
      if (isCompressed && !(await supportsCompression(target!)))
        tool.fail('Compression not supported for this file format');
      if (isCompressed) {
        if (
          (dict['encryption'] !== undefined && parseBoolean('encryption', dict['encryption'])) ||
          dict['encrypt.format'] !== undefined
        )
          tool.fail('Compression and encryption not supported at the same time');
        if (dict['preallocation'] !== undefined && dict['preallocation'] !== 'off')
          tool.fail('Compression and preallocation not supported at the same time');
      }
      const size = Math.ceil(total / sectorBytes) * sectorBytes;
      dict['size'] = size;
    }
    refuseBackingOfMany(backingName);
    if (withBitmaps) {
      if (parts.length > 1) tool.fail('Copying bitmaps only possible with single source');
      if (!source.skipFilters().instance.persistentBitmaps?.isSupported) tool.fail('Source lacks bitmap support');
      const broken = brokenBitmaps(source)[0];
      if (broken && !skipBroken) {
        tool.error(`Cannot copy inconsistent bitmap '${broken.name}'`);
        tool.io.err("Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it\n");
        return 1;
      }
    }
    if (!noCreate) {
      try {
        await createChecked(tool, target!, outName, dict);
      } catch (error) {
        tool.failWith(`${outName}: error while converting ${target}: `, error);
      }
    }
    targetNode = await tool.open({
      filename: outName,
      format: targetOptions
        ? target
        : noCreate && target === 'raw' && !options.some(([key]) => key === 'target')
          ? 'raw'
          : target,
      imageOptions: targetOptions,
      // A new encrypted image is opened with the key that it was made with.
      options: Object.fromEntries(Object.entries(dict).filter(([key]) => key.endsWith('key-secret'))),
      flags: {
        ...targetCache,
        readOnly: false,
        unmap: true,
        noBacking: false,
        writesInThreads: placesInOrder.has(target ?? ''),
      },
    });
    if (withBitmaps && !targetNode.skipFilters().instance.persistentBitmaps?.isSupported)
      tool.fail(`Format driver '${targetNode.driver.name}' does not support bitmaps`);
    if (isCompressed && !targetNode.instance.writeCompressed)
      tool.fail('Compression not supported for this file format');
    if (backingName !== undefined && !targetNode.skipFilters().backing && !noCreate) tool.fail('Backing file missing');
    if (noCreate && targetNode.length < total) tool.fail('output file is smaller than input file');
    // A target that was there (-n) shows what its own backing file holds, which -B alone says is the source's.
    const targetHasBacking = backingName !== undefined;
    const info = await targetNode.getInfo();
    const clusterBytes = info.clusterSizeBytes ?? 0;
    if (isCompressed && (clusterBytes <= 0 || clusterBytes > 2 ** 25)) tool.fail('invalid cluster size');
    let isZeroInit =
      isZeroTarget || (!noCreate && !targetHasBacking && (targetNode.instance.zeroInit ?? rawZeroInit(targetNode)));
    if (!isZeroInit && !targetHasBacking && noCreate && minSparse > 0) {
      // One call may clear the whole target cheaper than many pieces.
      try {
        await targetNode.writeZeroes(0, targetNode.length, RequestFlag.mayUnmap | RequestFlag.noFallback);
        isZeroInit = true;
      } catch (error) {
        if (errorCode(error) !== 'ENOTSUP') throw error;
      }
    }
    const writesCompressed = isCompressed || info.needsCompressedWrites === true;
    const job: CopyJob = {
      tool,
      parts,
      target: targetNode,
      total,
      minSparse: noCreate && isExplicitSparse && minSparse === 0 ? 0 : minSparse,
      isCompressed: writesCompressed,
      writesOverlap:
        !writesCompressed &&
        placesInOrder.has(targetNode.driver.name) &&
        (clusterBytes === 0 || clusterBytes >= smallestOverlapping),
      clusterBytes: clusterBytes || 65536,
      isZeroInit,
      targetHasBacking,
      backingEnd: (noCreate ? undefined : targetNode.skipFilters().backing?.length) ?? Number.POSITIVE_INFINITY,
      workers,
      isUnordered,
      isSalvage,
      isCopyRange,
      bytesPerSecond,
    };
    tuneForCopying();
    try {
      await copyDisk(job);
    } catch (error) {
      tool.fail(toBlockError(error).message);
    }
    if (withBitmaps) await copyBitmaps(tool, source, targetNode, skipBroken);
    tool.progress(100);
    const finished = targetNode;
    targetNode = undefined;
    try {
      await finished.close();
    } catch (error) {
      tool.fail(`error while writing: ${toBlockError(error).message}`);
    }
    tool.endProgress();
    return 0;
  } finally {
    await targetNode?.close().catch(() => undefined);
    for (const part of parts) await part.node.close().catch(() => undefined);
  }
}

function rawZeroInit(node: GraphNode): boolean {
  return node.instance.zeroInit ?? false;
}

/** Known before anything is created, so that a refused command leaves no file. */
async function supportsCompression(format: string): Promise<boolean> {
  return format === 'qcow2' || format === 'qcow' || format === 'vmdk';
}

/** Those that can't be copied; QEMU comes upon the last one first. */
function brokenBitmaps(source: GraphNode): readonly { readonly name: string }[] {
  return source.bitmaps.filter(({ persistent, inconsistent }) => persistent && inconsistent).reverse();
}

/** `--bitmaps`: same granularity and recording state, same bits. */
async function copyBitmaps(tool: Tool, source: GraphNode, target: GraphNode, skipBroken: boolean): Promise<void> {
  const { SparseBitmap } = await import('../../block/dirty-bitmap.js');
  const { persistentBitmaps } = target.instance;
  if (skipBroken) for (const { name } of brokenBitmaps(source)) tool.warn(`Skipping inconsistent bitmap '${name}'`);
  for (const bitmap of source.bitmaps) {
    if (!bitmap.persistent || (bitmap.inconsistent && skipBroken)) continue;
    try {
      if (!persistentBitmaps) throw new BlockError('ENOTSUP', 'Driver does not support persistent bitmaps');
      await persistentBitmaps.canStore(bitmap.name, bitmap.granularity);
      const copy = new SparseBitmap(bitmap.name, bitmap.granularity, target.length);
      copy.persistent = true;
      copy.enabled = bitmap.enabled;
      copy.merge(bitmap);
      target.addBitmap(copy);
    } catch (error) {
      tool.failWith(`Failed to create bitmap ${bitmap.name}: `, error);
    }
  }
}
