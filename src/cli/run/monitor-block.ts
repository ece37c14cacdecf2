/** The human monitor's commands for jobs, snapshots and sizes of a running machine's disks. */
import { parseSize, type ThrottleLimit } from '../../block/index.js';
import { type BlockRequest, type JobDescription, VringError } from '../../vmm/index.js';
import { UsageError } from '../usage-error.js';
import type { MonitorCommand, MonitorHost } from './monitor.js';
import { throttleNames } from './qmp/block-arguments.js';

interface Words {
  /** Letters of the flags that are given. */
  readonly flags: ReadonlySet<string>;
  readonly words: readonly string[];
}

/** Flags before the words; a file's name may have spaces between quotes. */
function split(argument: string): Words {
  const words = [...argument.matchAll(/"([^"]*)"|(\S+)/g)].map((match) => match[1] ?? match[2]);
  const first = words.findIndex((word) => !/^-[a-z]$/.test(word));
  const count = first < 0 ? words.length : first;
  return { flags: new Set(words.slice(0, count).map((word) => word[1])), words: words.slice(count) };
}

/** Megabytes where no unit is named. Throws UsageError. */
function sizeOf(text: string): number {
  const size = parseSize(text, 'M');
  if (typeof size === 'number') return size;
  throw new UsageError(`'${text}' is no size`);
}

/** A command that makes one request of its words. */
const command = (
  name: string,
  argument: string,
  sentence: string,
  counts: readonly [least: number, most: number],
  request: (given: Words) => BlockRequest,
): MonitorCommand => ({
  name,
  argument,
  sentence,
  run: async ({ machine }, text) => {
    const given = split(text);
    const [least, most] = counts;
    if (given.words.length < least || given.words.length > most) throw new UsageError(`${name} ${argument}`);
    await machine.block(request(given));
    return '';
  },
});

const target = (flags: ReadonlySet<string>, file: string, format: string | undefined) => ({
  file,
  format,
  exists: flags.has('n'),
});

const jobCommand = (verb: 'pause' | 'resume' | 'complete', sentence: string): MonitorCommand =>
  command(`block_job_${verb}`, 'JOB', sentence, [1, 1], ({ words: [job] }) => ({ op: verb, job }));

/** `info blockstats` */
export async function describeStatistics({ machine }: MonitorHost): Promise<string> {
  const disks = await machine.disks();
  return disks
    .map(({ id, statistics: s }) =>
      [
        `${id}: rd_bytes=${s.reads.bytes} wr_bytes=${s.writes.bytes} rd_operations=${s.reads.count}`,
        `wr_operations=${s.writes.count} flush_operations=${s.flushes.count} wr_total_time_ns=${s.writes.ns}`,
        `rd_total_time_ns=${s.reads.ns} flush_total_time_ns=${s.flushes.ns} rd_merged=0 wr_merged=0`,
        `idle_time_ns=${s.idleNs ?? 0}`,
      ].join(' '),
    )
    .join('\n');
}

async function startNbd({ machine }: MonitorHost, argument: string): Promise<string> {
  const { flags, words } = split(argument);
  const unix = /^unix:(.+)$/.exec(words[0] ?? '')?.[1];
  const inet = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(words[0] ?? '');
  if (words.length !== 1 || (unix === undefined && !inet))
    throw new UsageError('nbd_server_start: [-a] [-w] HOST:PORT or unix:PATH is needed');
  const address =
    unix === undefined
      ? ({ type: 'inet', host: inet?.[1] ?? inet?.[2] ?? '', port: Number(inet?.[3]) } as const)
      : ({ type: 'unix', path: unix } as const);
  await machine.nbd({ op: 'start', address, maxConnections: 0 });
  if (!flags.has('a')) return '';
  for (const { id, inserted } of await machine.disks())
    if (inserted) await machine.nbd({ op: 'add', exported: { id, name: id, disk: id, writable: flags.has('w') } });
  return '';
}

/** In the order of block_set_io_throttle. */
const limitNames = Object.entries(throttleNames);

export function describeLimits(limits: Readonly<Partial<Record<ThrottleLimit, number>>>): string {
  const row = (unit: string, suffix: string) =>
    limitNames
      .filter(([name]) => name.startsWith(unit))
      .map(
        ([name, limit]) => `${name}${suffix}=${limits[suffix === '' ? limit : (`${limit}-max` as ThrottleLimit)] ?? 0}`,
      );
  const all = [...row('bps', ''), ...row('bps', '_max'), ...row('iops', ''), ...row('iops', '_max')];
  return [...all, `iops_size=${limits['iops-size'] ?? 0}`].join(' ');
}

async function setLimits({ machine }: MonitorHost, argument: string): Promise<string> {
  const { words } = split(argument);
  const [disk, ...numbers] = words;
  if (numbers.length !== limitNames.length)
    throw new UsageError(`block_set_io_throttle: DRIVE ${limitNames.map(([name]) => name.toUpperCase()).join(' ')}`);
  const wrong = numbers.find((each) => !/^-?(?:\d+|0x[\da-f]+)$/i.test(each));
  if (wrong !== undefined) throw new UsageError(`block_set_io_throttle: '${wrong}' is no number`);
  const limits = Object.fromEntries(limitNames.map(([, limit], i) => [limit, Number(numbers[i])]));
  try {
    await machine.block({ op: 'throttle', disk, limits });
  } catch (error) {
    if (error instanceof VringError && error.code === 'no-disks') throw new UsageError(`Device '${disk}' not found`);
    throw error;
  }
  return '';
}

/** As in QEMU, `all` leaves out disks that have nothing below them. */
async function commit({ machine }: MonitorHost, argument: string): Promise<string> {
  const { words } = split(argument);
  if (words.length !== 1) throw new UsageError('commit: the id of a drive, or all, is needed');
  const [wanted] = words;
  const disks = await machine.disks();
  const found = wanted === 'all' ? disks.filter(({ backing }) => backing) : disks.filter(({ id }) => id === wanted);
  if (wanted !== 'all' && found.length === 0) return `Device '${wanted}' not found`;
  for (const { id, inserted } of found) {
    if (!inserted) return `Device '${id}' has no medium`;
    try {
      await machine.block({ op: 'commit-now', disk: id });
    } catch (error) {
      if (error instanceof VringError) return `'commit' error for '${id}': ${error.message}`;
      throw error;
    }
  }
  return '';
}

/** QEMU tells what is wrong without the word Error before it. */
async function deleteDrive({ machine, spareDrives }: MonitorHost, argument: string): Promise<string> {
  const { words } = split(argument);
  if (words.length !== 1) throw new UsageError('drive_del: the id of a drive is needed; info block shows them');
  const [name] = words;
  if (spareDrives.delete(name)) {
    await machine.hotplug.releaseImage(name);
    return '';
  }
  try {
    if ((await machine.disks()).some(({ id, isNode }) => id === name && !isNode)) await machine.detachDrive(name);
    else if ((await machine.blockNodes()).some(({ nodeName }) => nodeName === name))
      await machine.hotplug.removeBlockNode(name);
    else return `Device '${name}' not found`;
  } catch (error) {
    if (error instanceof VringError) return error.message;
    throw error;
  }
  return '';
}

const nbdCommands: readonly MonitorCommand[] = [
  {
    name: 'nbd_server_start',
    argument: '[-a] [-w] HOST:PORT|unix:PATH',
    sentence: 'lets others have disks by NBD; -a: all there are, -w: to write them too',
    run: startNbd,
  },
  {
    name: 'nbd_server_add',
    argument: '[-w] DISK [NAME]',
    sentence: 'lets them have a disk; -w: to write it too',
    run: async ({ machine }, argument) => {
      const { flags, words } = split(argument);
      const [disk, name = disk] = words;
      if (disk === undefined || words.length > 2) throw new UsageError('nbd_server_add: [-w] DISK [NAME] is needed');
      await machine.nbd({ op: 'add', exported: { id: name, name, disk, writable: flags.has('w') } });
      return '';
    },
  },
  {
    name: 'nbd_server_remove',
    argument: '[-f] NAME',
    sentence: 'lets them have it no longer; -f: even while they do',
    run: async ({ machine }, argument) => {
      const { flags, words } = split(argument);
      if (words.length !== 1) throw new UsageError('nbd_server_remove: [-f] NAME is needed');
      await machine.nbd({ op: 'remove', id: words[0], force: flags.has('f') });
      return '';
    },
  },
  {
    name: 'nbd_server_stop',
    sentence: 'lets nobody have any',
    run: async ({ machine }) => {
      await machine.nbd({ op: 'stop' });
      return '';
    },
  },
];

export const blockMonitorCommands: readonly MonitorCommand[] = [
  ...nbdCommands,
  command(
    'drive_mirror',
    '[-n] [-f] DRIVE FILE [FORMAT]',
    'copies a disk to a file, and keeps both alike until block_job_complete moves it there; -f: what is below it too; -n: the file is there',
    [2, 3],
    ({ flags, words: [disk, file, format] }) => ({
      op: 'mirror',
      disk,
      sync: flags.has('f') ? 'full' : 'top',
      target: target(flags, file, format),
    }),
  ),
  command(
    'drive_backup',
    '[-n] [-f] DRIVE FILE [FORMAT]',
    'copies a disk as it is now to a file; -f: what is below it too; -n: the file is there',
    [2, 3],
    ({ flags, words: [disk, file, format] }) => ({
      op: 'backup',
      disk,
      sync: flags.has('f') ? 'full' : 'top',
      target: target(flags, file, format),
    }),
  ),
  command(
    'block_stream',
    'DRIVE [SPEED [BASE]]',
    'copies what a disk has below it into the disk itself',
    [1, 3],
    ({ words: [disk, speed, base] }) => ({
      op: 'stream',
      disk,
      ...(speed === undefined ? {} : { speed: sizeOf(speed) }),
      ...(base === undefined ? {} : { base: { file: base } }),
    }),
  ),
  command(
    'block_job_set_speed',
    'JOB SPEED',
    'bounds the bytes a second of a job; 0: it goes as fast as it can',
    [2, 2],
    ({ words: [job, speed] }) => ({ op: 'set-speed', job, speed: sizeOf(speed) }),
  ),
  command('block_job_cancel', '[-f] JOB', 'ends a job; -f: at once', [1, 1], ({ flags, words: [job] }) => ({
    op: 'cancel',
    job,
    force: flags.has('f'),
  })),
  jobCommand('complete', 'lets a job that is ready end: its disk moves to the copy'),
  jobCommand('pause', 'stops a job for a while'),
  jobCommand('resume', 'lets it go on'),
  {
    name: 'block_set_io_throttle',
    argument: 'DRIVE BPS BPS_RD BPS_WR IOPS IOPS_RD IOPS_WR',
    sentence: 'bounds what a disk is asked for in a second; 0: no bound',
    run: setLimits,
  },
  {
    name: 'commit',
    argument: 'DRIVE|all',
    sentence: 'writes what a disk, or all of them, have over their backing images into those',
    run: commit,
  },
  {
    name: 'drive_del',
    argument: 'DRIVE',
    sentence: 'takes a drive away from its device, whose requests fail from then on; or forgets one that no device has',
    run: deleteDrive,
  },
  command(
    'block_resize',
    'DRIVE SIZE',
    'gives a disk another size, in megabytes',
    [2, 2],
    ({ words: [disk, size] }) => ({
      op: 'resize',
      disk,
      sizeBytes: sizeOf(size),
    }),
  ),
  command(
    'snapshot_blkdev',
    '[-n] DRIVE FILE [FORMAT]',
    'a disk goes on in a new file over what it has; -n: the file is there',
    [2, 3],
    ({ flags, words: [disk, file, format] }) => ({
      op: 'transaction',
      actions: [{ op: 'snapshot', disk, overlay: target(flags, file, format) }],
    }),
  ),
  command(
    'snapshot_blkdev_internal',
    'DRIVE NAME',
    'keeps what a disk has now, in its own image',
    [2, 2],
    ({ words: [disk, name] }) => ({ op: 'transaction', actions: [{ op: 'internal-snapshot', disk, name }] }),
  ),
  command(
    'snapshot_delete_blkdev_internal',
    'DRIVE NAME [ID]',
    'forgets what snapshot_blkdev_internal keeps',
    [2, 3],
    ({ words: [disk, name, id] }) => ({ op: 'delete-internal-snapshot', disk, name, id }),
  ),
];

const jobLine = ({ type, id, offset, length, speed }: JobDescription): string => {
  const progress = `Completed ${offset} of ${length} bytes, speed limit ${speed} bytes/s`;
  return type === 'stream' ? `Streaming device ${id}: ${progress}` : `Type ${type}, device ${id}: ${progress}`;
};

/** `info block-jobs`. */
export async function describeJobs({ machine }: MonitorHost): Promise<string> {
  const jobs = await machine.block({ op: 'jobs' });
  const lines = jobs.filter(({ type }) => type !== 'create').map(jobLine);
  return lines.length === 0 ? 'No active jobs' : lines.join('\n');
}
