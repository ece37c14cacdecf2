/** `img info`. */
import { baseName, combinePath } from '../../block/graph.js';
import type { GraphNode } from '../../block/graph-node.js';
import type { BlockNode, SnapshotInfo, SpecificInfo } from '../../block/node.js';
import { integerText } from '../../block/options.js';
import { snapshotHeading, snapshotLine } from './snapshot-list.js';
import { humanSize, prettyJson, type Tool } from './tool.js';

interface ImageInfo {
  readonly filename: string;
  readonly format: string;
  readonly virtualSize: number;
  readonly actualSize: number | undefined;
  readonly clusterSize: number | undefined;
  readonly encrypted: boolean;
  readonly isDirty: boolean | undefined;
  readonly backingFile: string | undefined;
  readonly fullBackingFile: string | undefined;
  readonly backingFormat: string | undefined;
  readonly snapshots: readonly SnapshotInfo[];
  readonly specific: SpecificInfo | undefined;
}

/** Raw and filters know what their protocol does, which is nothing but for files. */
function isOverSilentProtocol(node: BlockNode): boolean {
  const { driver, file } = node;
  if (driver.kind === 'protocol') return !['file', 'host_device'].includes(driver.name);
  return (driver.kind === 'filter' || driver.name === 'raw') && file !== undefined && isOverSilentProtocol(file);
}

/** Space used on the host by a node and the children that store its data. */
async function allocatedBytes(node: BlockNode): Promise<number | undefined> {
  if (node.instance.allocatedBytes) return node.instance.allocatedBytes();
  let total = 0;
  let isKnown = false;
  for (const child of node.children) {
    if (child.role === 'backing') continue;
    const own = await allocatedBytes(child.node);
    if (own === undefined) return undefined;
    total += own;
    isKnown = true;
  }
  return isKnown ? total : undefined;
}

async function collect(node: GraphNode): Promise<ImageInfo> {
  const { instance } = node;
  const details = await node.getInfo();
  const backingFile = instance.backingFile || undefined;
  let fullBackingFile: string | undefined;
  if (backingFile !== undefined) {
    const base = baseName(node);
    if (!base.startsWith('json:') || backingFile.startsWith('/'))
      fullBackingFile = backingFile.startsWith('json:') ? backingFile : combinePath(base, backingFile);
  }
  const list = instance.snapshots ? await instance.snapshots.list() : [];
  return {
    filename: node.filename,
    format: node.driver.name,
    virtualSize: node.length,
    actualSize: await allocatedBytes(node),
    clusterSize: details.clusterSizeBytes || undefined,
    encrypted: instance.encrypted ?? false,
    // Drivers that know nothing of themselves don't say that they are clean either.
    isDirty: instance.getInfo && !isOverSilentProtocol(node) ? (details.isDirty ?? false) : undefined,
    backingFile,
    fullBackingFile,
    backingFormat: backingFile === undefined ? undefined : instance.backingFormat || undefined,
    snapshots: list,
    specific: instance.specificInfo ? await instance.specificInfo() : undefined,
  };
}

/** Members in the order qemu-img prints them. */
function toJson(info: ImageInfo): unknown {
  return {
    'backing-filename-format': info.backingFormat,
    snapshots:
      info.snapshots.length === 0
        ? undefined
        : info.snapshots.map((snapshot) => ({
            icount: snapshot.icount,
            'vm-clock-nsec': snapshot.vmClockNs % 1e9,
            name: snapshot.name,
            'date-sec': snapshot.dateSeconds,
            'date-nsec': snapshot.dateNanoseconds,
            'vm-clock-sec': Math.floor(snapshot.vmClockNs / 1e9),
            id: snapshot.id,
            'vm-state-size': snapshot.vmStateBytes,
          })),
    'virtual-size': info.virtualSize,
    filename: info.filename,
    'cluster-size': info.clusterSize,
    format: info.format,
    'actual-size': info.actualSize,
    'format-specific': info.specific && { type: info.specific.type, data: info.specific.data },
    'full-backing-filename': info.fullBackingFile,
    'backing-filename': info.backingFile,
    encrypted: info.encrypted ? true : undefined,
    'dirty-flag': info.isDirty,
  };
}

/** Nested values as indented `name: value` lines, `-` in names as spaces. */
export function humanLines(value: unknown, indent: number): string {
  const pad = ' '.repeat(indent * 4);
  const entries: [string, unknown][] = Array.isArray(value)
    ? value.map((member, index) => [`[${index}]`, member])
    : Object.entries(value as Record<string, unknown>)
        .filter(([, member]) => member !== undefined)
        .map(([key, member]) => [key.replaceAll('-', ' '), member]);
  return entries
    .map(([key, member]) =>
      member !== null && typeof member === 'object'
        ? `${pad}${key}:\n${humanLines(member, indent + 1)}`
        : `${pad}${key}: ${String(member)}\n`,
    )
    .join('');
}

function toText(info: ImageInfo): string {
  const actual = info.actualSize === undefined ? 'unavailable' : humanSize(info.actualSize);
  let text = `image: ${info.filename}\nfile format: ${info.format}\nvirtual size: ${humanSize(info.virtualSize)} (${integerText(info.virtualSize)} bytes)\ndisk size: ${actual}\n`;
  if (info.encrypted) text += 'encrypted: yes\n';
  if (info.clusterSize !== undefined) text += `cluster_size: ${info.clusterSize}\n`;
  if (info.isDirty) text += 'cleanly shut down: no\n';
  if (info.backingFile !== undefined) {
    text += `backing file: ${info.backingFile}`;
    if (info.fullBackingFile === undefined) text += ' (cannot determine actual path)';
    else if (info.fullBackingFile !== info.backingFile) text += ` (actual path: ${info.fullBackingFile})`;
    text += '\n';
    if (info.backingFormat !== undefined) text += `backing file format: ${info.backingFormat}\n`;
  }
  if (info.snapshots.length > 0)
    text += `Snapshot list:\n${snapshotHeading()}${info.snapshots.map(snapshotLine).join('')}`;
  if (info.specific) text += `Format specific information:\n${humanLines(info.specific.data, 1)}`;
  return text;
}

export async function info(tool: Tool, argv: readonly string[]): Promise<number> {
  const { options, operands } = tool.parse(argv, [
    { key: 'format', short: 'f', long: 'format', value: true },
    { key: 'output', long: 'output', value: true },
    { key: 'chain', long: 'backing-chain' },
    { key: 'object', long: 'object', value: true },
    { key: 'imageOptions', long: 'image-opts' },
    { key: 'share', short: 'U', long: 'force-share' },
  ]);
  let format: string | undefined;
  let output = 'human';
  let [isChain, imageOptions, forceShare] = [false, false, false];
  for (const [key, value] of options) {
    if (key === 'format') format = value;
    else if (key === 'output') output = value;
    else if (key === 'chain') isChain = true;
    else if (key === 'object') await tool.addObject(value);
    else if (key === 'imageOptions') imageOptions = true;
    else if (key === 'share') forceShare = true;
  }
  if (operands.length !== 1) tool.misuse('Expecting one image file name');
  const isJson = tool.output(output);
  const infos: ImageInfo[] = [];
  const seen = new Set<string>();
  let filename: string | undefined = operands[0]!;
  while (filename !== undefined) {
    if (seen.has(filename)) tool.fail(`Backing file '${filename}' creates an infinite loop.`);
    seen.add(filename);
    const node = await tool.open({
      filename,
      format,
      imageOptions,
      forceShare,
      flags: { readOnly: true, noBacking: true, noIo: true },
    });
    try {
      infos.push(await collect(node));
    } finally {
      await node.close();
    }
    filename = undefined;
    const last: ImageInfo = infos.at(-1)!;
    imageOptions = false;
    if (isChain && last.backingFile !== undefined) {
      filename = last.fullBackingFile;
      if (filename === undefined) tool.error(`Could not determine the backing file name.`);
      format = last.backingFormat;
    }
  }
  if (isJson) tool.out(`${prettyJson(isChain ? infos.map(toJson) : toJson(infos[0]!))}\n`);
  else tool.out(infos.map(toText).join('\n'));
  return 0;
}
