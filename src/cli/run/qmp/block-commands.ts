/** QMP's commands about disks: what they are, and who may have them by NBD (QEMU's qapi/block-core.json, qapi/block-export.json). */
import { imageInfoJson, type ThrottleLimit } from '../../../block/index.js';
import type {
  BitmapDescription,
  BlockNodeDescription,
  DiskStatistics,
  MachineDisk,
  NbdAddress,
} from '../../../vmm/index.js';
import { deviceWith, diskPath } from '../named-devices.js';
import { generic, nothing, text, throttleNames } from './block-arguments.js';
import type { QmpArguments, QmpCommand, QmpHost } from './qmp-command.js';

/** Clients of the NBD server at once, where nothing else is said; 0: any number. QEMU before 9.1 lets in any number. */
const MOST_CLIENTS = 100;

/** The limits of a disk, without those of bursts that are none. */
function throttleInfo(disk: MachineDisk | undefined): object {
  const limits = disk?.limits ?? {};
  const told: Record<string, number | string> = {};
  for (const [name, limit] of Object.entries(throttleNames)) {
    told[name] = limits[limit] ?? 0;
    const most = limits[`${limit}-max` as ThrottleLimit];
    if (!most) continue;
    told[`${name}_max`] = most;
    told[`${name}_max_length`] = limits[`${limit}-max-length` as ThrottleLimit] || 1;
  }
  if (limits['iops-size']) told['iops_size'] = limits['iops-size'];
  if (disk && Object.values(limits).some((limit) => limit > 0)) told['group'] = disk.id;
  return told;
}

const bitmapInfo = (bitmap: BitmapDescription): object => ({
  name: bitmap.name,
  count: bitmap.countBytes,
  granularity: bitmap.granularity,
  recording: bitmap.isRecording,
  busy: bitmap.isBusy,
  persistent: bitmap.isPersistent,
  ...(bitmap.isInconsistent ? { inconsistent: true } : {}),
});

/** QEMU's `BlockDeviceInfo`. `isFlat`: without the images that it is backed by. */
function nodeInfo(node: BlockNodeDescription, isFlat: boolean, disk?: MachineDisk): object {
  const { nodeName, driver, filename, readonly, cache, detectZeroes, encrypted, images, bitmaps } = node;
  const [image, ...backing] = images.map(imageInfoJson) as [object, ...object[]];
  const chain = (above: object, below: readonly object[]): object =>
    below.length === 0 ? above : { ...above, 'backing-image': chain(below[0], below.slice(1)) };
  return {
    ...throttleInfo(disk),
    file: filename,
    'node-name': nodeName,
    ro: readonly,
    drv: driver,
    ...(backing.length === 0 ? {} : { backing_file: images[1].filename }),
    // QEMU counts the images that it tells.
    backing_file_depth: isFlat ? 0 : backing.length,
    encrypted,
    detect_zeroes: detectZeroes,
    write_threshold: node.writeThreshold,
    ...(bitmaps.length === 0 ? {} : { 'dirty-bitmaps': bitmaps.map(bitmapInfo).reverse() }),
    cache: {
      writeback: cache !== 'writethrough' && cache !== 'directsync',
      direct: cache === 'none' || cache === 'directsync',
      'no-flush': cache === 'unsafe',
    },
    image: isFlat ? image : chain(image, backing),
  };
}

/** QEMU names a drive by its id; one that is a node by nothing but the device that has it. */
function diskName({ namedDevices }: QmpHost, { id, isNode }: MachineDisk): { device: string; qdev?: string } {
  const found = deviceWith(namedDevices, id);
  if (found === undefined) return { device: id };
  return { device: id === found || isNode ? '' : id, qdev: diskPath(namedDevices, found) };
}

/** QEMU's name of what has stopped a disk's machine; floppy disks and NVMe namespaces tell of nothing. */
function ioStatus({ namedDevices }: QmpHost, { id, removable, tray, trouble }: MachineDisk): object {
  const device = deviceWith(namedDevices, id);
  const isSilent = (removable && !tray) || namedDevices.get(device ?? '')?.row.name === 'nvme';
  return isSilent ? {} : { 'io-status': trouble === 'no-space' ? 'nospace' : (trouble ?? 'ok') };
}

function diskInfo(host: QmpHost, disk: MachineDisk, nodes: readonly BlockNodeDescription[]): object {
  const { removable, tray, inserted, nodeName } = disk;
  const node = inserted ? nodes.find((each) => each.nodeName === nodeName) : undefined;
  return {
    ...diskName(host, disk),
    type: 'unknown',
    removable,
    locked: tray?.locked ?? false,
    ...(tray ? { tray_open: tray.open } : {}),
    ...ioStatus(host, disk),
    ...(node ? { inserted: nodeInfo(node, false, disk) } : {}),
  };
}

/**
 * QEMU's `BlockDeviceStats`. Requests are not merged, none is counted that was refused before a disk heard of it, and there are no
 * intervals that are looked at apart. `isDevice`: what a device asks for, rather than a node.
 */
function statisticsOf(
  { reads, writes, flushes, discards, highestWrittenByte, idleNs }: DiskStatistics,
  isDevice: boolean,
) {
  return {
    rd_bytes: reads.bytes,
    wr_bytes: writes.bytes,
    unmap_bytes: discards.bytes,
    rd_operations: reads.count,
    wr_operations: writes.count,
    flush_operations: flushes.count,
    unmap_operations: discards.count,
    rd_total_time_ns: reads.ns,
    wr_total_time_ns: writes.ns,
    flush_total_time_ns: flushes.ns,
    unmap_total_time_ns: discards.ns,
    wr_highest_offset: highestWrittenByte,
    ...{ rd_merged: 0, wr_merged: 0, unmap_merged: 0 },
    ...(idleNs === undefined ? {} : { idle_time_ns: idleNs }),
    failed_rd_operations: reads.failures,
    failed_wr_operations: writes.failures,
    failed_flush_operations: flushes.failures,
    failed_unmap_operations: discards.failures,
    ...{ invalid_rd_operations: 0, invalid_wr_operations: 0, invalid_flush_operations: 0, invalid_unmap_operations: 0 },
    account_invalid: isDevice,
    account_failed: isDevice,
    timed_stats: [],
  };
}

const none = { bytes: 0, count: 0, ns: 0, failures: 0 };
const uncounted = statisticsOf(
  { reads: none, writes: none, flushes: none, discards: none, highestWrittenByte: 0, idleNs: undefined },
  false,
);

/** QEMU's `SocketAddress`, and the older spelling with `data`. */
function nbdAddress(given: unknown): NbdAddress {
  const address = given as { readonly type?: unknown; readonly data?: unknown } | null;
  const { type, data = address } = address ?? {};
  const { host, port, path } = (data ?? {}) as Readonly<Record<string, unknown>>;
  const needs = (name: string, value: unknown): string => {
    if (value === undefined) throw generic(`Parameter 'addr.data.${name}' is missing`);
    if (typeof value === 'string') return value;
    throw generic(`Invalid parameter type for 'addr.data.${name}', expected: string`);
  };
  if (type === 'unix') return { type, path: needs('path', path) };
  if (type !== 'inet') throw generic(`Parameter 'addr.type' does not accept value '${String(type)}'`);
  const number = Number(needs('port', port));
  if (!Number.isInteger(number) || number < 0 || number > 65535)
    throw generic(`port number '${String(port)}' is not one`);
  return { type, host: needs('host', host), port: number };
}

async function removeExport({ machine, emit }: QmpHost, id: string, mode: unknown): Promise<object> {
  if (mode !== undefined && mode !== 'safe' && mode !== 'hard')
    throw generic(`Parameter 'mode' does not accept value '${String(mode)}'`);
  await machine.nbd({ op: 'remove', id, force: mode === 'hard' });
  emit('BLOCK_EXPORT_DELETED', { id });
  return nothing;
}

/** The node that the argument `device` of older commands names, or `node-name`. */
async function addExport({ machine }: QmpHost, disk: string, given: QmpArguments, id?: string): Promise<object> {
  const name = text(given['name']) ?? disk;
  const { description, writable } = given;
  const exported = { id: id ?? name, name, disk, description: text(description), writable: writable === true };
  await machine.nbd({ op: 'add', exported });
  return nothing;
}

export const blockCommands: readonly QmpCommand[] = [
  {
    name: 'query-block',
    run: async (host) => {
      const { machine } = host;
      const [disks, nodes] = await Promise.all([machine.disks(), machine.blockNodes()]);
      return disks.map((disk) => diskInfo(host, disk, nodes));
    },
  },
  {
    name: 'query-blockstats',
    run: async (host, given) => {
      // As in QEMU, devices are counted, nodes are not.
      if (given['query-nodes'] === true)
        return (await host.machine.blockNodes()).map(({ nodeName }) => ({ 'node-name': nodeName, stats: uncounted }));
      return (await host.machine.disks()).map((disk) => ({
        ...diskName(host, disk),
        ...(disk.inserted ? { 'node-name': disk.nodeName } : {}),
        stats: statisticsOf(disk.statistics, true),
      }));
    },
  },
  {
    name: 'query-named-block-nodes',
    run: async ({ machine }, { flat }) => (await machine.blockNodes()).map((node) => nodeInfo(node, flat === true)),
  },
  {
    name: 'block-set-write-threshold',
    run: async ({ machine }, { 'node-name': node, 'write-threshold': bytes }) => {
      await machine.block({ op: 'write-threshold', node: String(node), bytes: Math.max(0, Number(bytes)) });
      return nothing;
    },
  },
  {
    name: 'nbd-server-start',
    run: async ({ machine }, { addr, 'max-connections': most }) => {
      const maxConnections = Math.max(0, Number(most ?? MOST_CLIENTS));
      await machine.nbd({ op: 'start', address: nbdAddress(addr), maxConnections });
      return nothing;
    },
  },
  {
    name: 'nbd-server-add',
    run: (host, given) => addExport(host, String(given['device']), given),
  },
  {
    name: 'nbd-server-remove',
    run: (host, { name, mode }) => removeExport(host, String(name), mode),
  },
  {
    name: 'nbd-server-stop',
    run: async ({ machine, emit }) => {
      const exports = await machine.nbdExports();
      await machine.nbd({ op: 'stop' });
      for (const { id } of exports) emit('BLOCK_EXPORT_DELETED', { id });
      return nothing;
    },
  },
  {
    name: 'block-export-add',
    run: (host, given) => {
      const { type, id, 'node-name': node } = given;
      if (type !== 'nbd') throw generic(`Parameter 'type' does not accept value '${String(type)}'`);
      return addExport(host, String(node), given, String(id));
    },
  },
  {
    name: 'block-export-del',
    run: (host, { id, mode }) => removeExport(host, String(id), mode),
  },
  {
    name: 'query-block-exports',
    run: async ({ machine }) =>
      (await machine.nbdExports()).map(({ id, nodeName }) => ({
        'node-name': nodeName,
        'shutting-down': false,
        type: 'nbd',
        id,
      })),
  },
];
