/** What an image is, as `img info`, `query-block` and `query-named-block-nodes` tell it. */
import { baseName, combinePath } from './graph.js';
import type { GraphNode } from './graph-node.js';
import type { BlockNode, SnapshotInfo, SpecificInfo } from './node.js';

/** Plain values: they pass between threads. */
export interface ImageInfo {
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

/** What an open node's image is. */
export async function describeImage(node: GraphNode): Promise<ImageInfo> {
  const { instance } = node;
  const details = await node.getInfo();
  const tellsDirty = instance.getInfo !== undefined || node.driver.kind === 'protocol';
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
    isDirty: tellsDirty && !isOverSilentProtocol(node) ? (details.isDirty ?? false) : undefined,
    backingFile,
    fullBackingFile,
    backingFormat: backingFile === undefined ? undefined : instance.backingFormat || undefined,
    snapshots: list,
    specific: instance.specificInfo ? await instance.specificInfo() : undefined,
  };
}

/** QEMU's `ImageInfo` (qapi/block-core.json), members in the order in which qemu-img prints them. */
export function imageInfoJson(info: ImageInfo): unknown {
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
