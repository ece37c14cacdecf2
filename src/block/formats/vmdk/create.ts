/** Creating VMDK images: the descriptor, and one or more extents. */
import { BlockError } from '../../errors.js';
import { combinePath } from '../../graph.js';
import type { BlockNode, CreateContext } from '../../node.js';
import {
  descriptorOffset,
  descriptorSectors,
  type ExtentPlan,
  formatDescriptor,
  maxDirectoryEntries,
  planExtent,
  sectorBytes,
  serializeHeader,
  splitBytes,
} from './layout.js';

const subformats = [
  'monolithicSparse',
  'monolithicFlat',
  'twoGbMaxExtentSparse',
  'twoGbMaxExtentFlat',
  'streamOptimized',
];
const adapterTypes = ['ide', 'lsilogic', 'buslogic', 'legacyESX'];
const noParent = 0xffffffff;
/** What VMware takes for "unknown". */
const defaultToolsVersion = '2147483647';

function fail(message: string, code = 'EINVAL'): never {
  throw new BlockError(code, message);
}

/** Splits `dir/name.vmdk` where the names of extents differ from it. */
function splitName(filename: string) {
  const slash = filename.lastIndexOf('/') + 1;
  const base = filename.slice(slash);
  const dot = base.lastIndexOf('.');
  return {
    directory: filename.slice(0, slash),
    base,
    prefix: dot < 0 ? base : base.slice(0, dot),
    suffix: dot < 0 ? '' : base.slice(dot),
  };
}

/** Header and tables of an empty sparse extent; the descriptor, if any, goes in after. */
async function writeExtent(context: CreateContext, filename: string, plan: ExtentPlan): Promise<void> {
  const layout = planExtent(plan);
  if (layout.tables > maxDirectoryEntries) throw new BlockError('EFBIG');
  const file = await context.openProtocol(filename);
  try {
    await file.resize(layout.overheadSectors * sectorBytes);
    for (const directory of [layout.redundantSector, layout.directorySector]) {
      const first = directory + layout.directorySectors;
      const step = 2 ** 18;
      for (let at = 0; at < layout.tables; at += step) {
        const count = Math.min(step, layout.tables - at);
        const view = new DataView(new ArrayBuffer(count * 4));
        for (let index = 0; index < count; index++)
          view.setUint32(index * 4, first + (at + index) * layout.tableSectors, true);
        await file.write(directory * sectorBytes + at * 4, new Uint8Array(view.buffer));
      }
    }
    await file.write(0, serializeHeader(plan));
  } finally {
    await file.close();
  }
}

/** `readContentId`: what the overlay has to remember of its parent. */
export async function createImage(
  context: CreateContext,
  readContentId: (backing: BlockNode) => Promise<number>,
): Promise<void> {
  const { options, filename } = context;
  const subformat = options.string('subformat') ?? 'monolithicSparse';
  const adapterType = options.string('adapter_type') ?? 'ide';
  const backingFile = options.string('backing_file');
  const backingFormat = options.string('backing_fmt');
  let hardwareVersion = options.string('hwversion') ?? 'undefined';
  if (options.boolean('compat6')) {
    if (hardwareVersion !== 'undefined') fail('compat6 cannot be enabled with hwversion set');
    hardwareVersion = '6';
  } else if (hardwareVersion === 'undefined') hardwareVersion = '4';
  if (!adapterTypes.includes(adapterType)) fail(`invalid parameter value: ${adapterType}`);
  if (!subformats.includes(subformat)) fail(`invalid parameter value: ${subformat}`);
  const hasZeroGrain = options.boolean('zeroed_grain') ?? false;
  const isFlat = subformat.endsWith('Flat');
  const isSplit = subformat.startsWith('twoGb');
  const isCompressed = subformat === 'streamOptimized';
  if (isFlat && backingFile !== undefined) fail("Flat image can't have backing file");
  if (isFlat && hasZeroGrain) fail("Flat image can't enable zeroed grain");
  const sizeBytes = Math.ceil((options.number('size') ?? 0) / sectorBytes) * sectorBytes;
  if (!Number.isSafeInteger(sizeBytes)) throw new BlockError('EFBIG');
  let parentId = noParent;
  if (backingFile !== undefined) {
    if (backingFormat !== undefined && backingFormat !== 'vmdk') fail('backing_file must be a vmdk image');
    const backing = await context.openImage(combinePath(filename, backingFile), 'vmdk', {
      readOnly: true,
      noBacking: true,
    });
    try {
      parentId = await readContentId(backing);
    } finally {
      await backing.close();
    }
  }

  const name = splitName(filename);
  await context.createFile(filename, 0);
  const plan = (bytes: number): ExtentPlan => ({
    capacitySectors: bytes / sectorBytes,
    isCompressed,
    hasZeroGrain,
  });
  const extentLines: string[] = [];
  if (!isFlat && !isSplit) {
    await writeExtent(context, filename, plan(sizeBytes));
    extentLines.push(`RW ${sizeBytes / sectorBytes} SPARSE "${name.base}"`);
  } else {
    const step = isSplit ? splitBytes : sizeBytes;
    for (let at = 0, number = 1; at < sizeBytes; at += step, number++) {
      const bytes = Math.min(step, sizeBytes - at);
      const infix = isSplit ? `${isFlat ? 'f' : 's'}${String(number).padStart(3, '0')}` : 'flat';
      const extentName = `${name.prefix}-${infix}${name.suffix}`;
      await context.createFile(name.directory + extentName, isFlat ? bytes : 0);
      if (!isFlat) await writeExtent(context, name.directory + extentName, plan(bytes));
      extentLines.push(`RW ${bytes / sectorBytes} ${isFlat ? 'FLAT' : 'SPARSE'} "${extentName}"${isFlat ? ' 0' : ''}`);
    }
  }
  const random = (await context.host.crypto()).randomBytes(4);
  const descriptor = formatDescriptor({
    contentId: new DataView(random.buffer, random.byteOffset).getUint32(0) & 0x7fffffff,
    parentId,
    createType: subformat,
    parentName: backingFile,
    extentLines,
    hardwareVersion,
    sizeBytes,
    adapterType,
    toolsVersion: options.string('toolsversion') ?? defaultToolsVersion,
  });
  const isEmbedded = !isFlat && !isSplit;
  if (isEmbedded && descriptor.length > descriptorSectors * sectorBytes - 1) throw new BlockError('EFBIG');
  const file = await context.openProtocol(filename);
  try {
    await file.write(isEmbedded ? descriptorOffset : 0, descriptor);
  } finally {
    await file.close();
  }
}
