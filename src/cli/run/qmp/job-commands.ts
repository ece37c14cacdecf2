/** QMP's commands for jobs on a running machine's disks (QEMU's qapi/block-core.json, qapi/job.json). */
import { flattenOptions } from '../../../block/index.js';
import type { BackupRequest, BlockRequest, BlockTarget, JobDescription, JobSettings } from '../../../vmm/index.js';
import { flag, generic, nothing, number, oneOf, text, unless } from './block-arguments.js';
import { type QmpArguments, type QmpCommand, QmpError, type QmpHost } from './qmp-command.js';

/** Where nothing better is known, QEMU stops a job when there is no space left. */
function policy(given: QmpArguments, name: string): JobSettings['onSourceError'] {
  const word = oneOf(given, name, ['report', 'ignore', 'enospc', 'stop', 'auto']);
  return word === 'auto' ? 'enospc' : word;
}

function settings(given: QmpArguments): JobSettings {
  const speed = number(given['speed']);
  if (speed !== undefined && speed < 0) throw generic("Parameter 'speed' expects a non-negative value");
  return {
    id: text(given['job-id']),
    speed,
    onSourceError: policy(given, 'on-source-error') ?? policy(given, 'on-error'),
    onTargetError: policy(given, 'on-target-error') ?? policy(given, 'on-error'),
    autoFinalize: flag(given['auto-finalize']),
    autoDismiss: flag(given['auto-dismiss']),
  };
}

/** `name`: of the argument that says what the new node is called. */
export function fileTarget(given: QmpArguments, file: unknown, name: string): BlockTarget {
  const mode = oneOf(given, 'mode', ['existing', 'absolute-paths']);
  return {
    file: String(file),
    format: text(given['format']),
    exists: mode === 'existing',
    nodeName: text(given[name]),
  };
}

function mirrorRequest(given: QmpArguments, target: BlockTarget): BlockRequest {
  // Writes go to both at once only in the mode 'write-blocking', which is about speed alone.
  oneOf(given, 'copy-mode', ['background', 'write-blocking']);
  const sync = oneOf(given, 'sync', ['full', 'top', 'none']) ?? 'full';
  return {
    op: 'mirror',
    disk: String(given['device']),
    sync,
    target,
    granularity: number(given['granularity']),
    ...settings(given),
  };
}

export function backupRequest(given: QmpArguments, target: BlockTarget): BackupRequest {
  return {
    op: 'backup',
    disk: String(given['device']),
    sync: oneOf(given, 'sync', ['full', 'top', 'none', 'incremental', 'bitmap']) ?? 'full',
    bitmap: text(given['bitmap']),
    bitmapMode: oneOf(given, 'bitmap-mode', ['on-success', 'never', 'always']),
    target,
    compress: flag(given['compress']),
    ...settings(given),
  };
}

const block = async ({ machine }: QmpHost, request: BlockRequest): Promise<object> => {
  await machine.block(request);
  return nothing;
};

const blockJobInfo = (job: JobDescription): object => ({
  type: job.type,
  device: job.id,
  len: job.length,
  offset: job.offset,
  busy: job.isBusy,
  paused: job.isPaused,
  speed: job.speed,
  'io-status': job.ioStatus,
  ready: job.isReady,
  status: job.status,
  'auto-finalize': job.autoFinalize,
  'auto-dismiss': job.autoDismiss,
  ...(job.error === undefined ? {} : { error: job.error }),
});

const jobInfo = (job: JobDescription): object => ({
  id: job.id,
  type: job.type,
  status: job.status,
  'current-progress': job.offset,
  'total-progress': job.length,
  ...(job.error === undefined ? {} : { error: job.error }),
});

type Control = (job: string, given: QmpArguments) => BlockRequest;

/** A command about a job, as those of block jobs were and as those of all jobs are; their errors differ. */
function controls(verb: string, control: Control): QmpCommand[] {
  // The two that came last name the job by `id` in both.
  const older = verb === 'finalize' || verb === 'dismiss' ? 'id' : 'device';
  return [
    {
      name: `block-job-${verb}`,
      run: (host, given) => {
        const job = String(given[older]);
        return unless(
          block(host, control(job, given)),
          'no-such-job',
          () => new QmpError('DeviceNotActive', `Block job '${job}' not found`),
        );
      },
    },
    {
      name: `job-${verb}`,
      run: (host, given) => block(host, control(String(given['id']), { force: true })),
    },
  ];
}

/** Of `name` and `name-node`: a place in a backing chain. */
function chainPlace(given: QmpArguments, name: string): { node?: string; file?: string } | undefined {
  const [file, node] = [text(given[name]), text(given[`${name}-node`])];
  if (file !== undefined && node !== undefined) throw generic(`'${name}-node' and '${name}' are mutually exclusive`);
  if (node !== undefined) return { node };
  return file === undefined ? undefined : { file };
}

export const jobCommands: readonly QmpCommand[] = [
  {
    name: 'query-block-jobs',
    run: async ({ machine }) =>
      (await machine.block({ op: 'jobs' })).filter(({ type }) => type !== 'create').map(blockJobInfo),
  },
  { name: 'query-jobs', run: async ({ machine }) => (await machine.block({ op: 'jobs' })).map(jobInfo) },
  {
    name: 'drive-mirror',
    run: (host, given) => block(host, mirrorRequest(given, fileTarget(given, given['target'], 'node-name'))),
  },
  {
    name: 'blockdev-mirror',
    run: (host, given) => block(host, mirrorRequest(given, { node: String(given['target']) })),
  },
  {
    name: 'drive-backup',
    run: (host, given) => block(host, backupRequest(given, fileTarget(given, given['target'], 'node-name'))),
  },
  {
    name: 'blockdev-backup',
    run: (host, given) => block(host, backupRequest(given, { node: String(given['target']) })),
  },
  {
    name: 'block-stream',
    run: (host, given) =>
      block(host, {
        op: 'stream',
        disk: String(given['device']),
        base: chainPlace(given, 'base'),
        backingFile: text(given['backing-file']),
        ...settings(given),
      }),
  },
  {
    name: 'block-commit',
    run: (host, given) => {
      const disk = String(given['device']);
      const request = block(host, {
        op: 'commit',
        disk,
        base: chainPlace(given, 'base'),
        top: chainPlace(given, 'top'),
        backingFile: text(given['backing-file']),
        ...settings(given),
      });
      // libvirt knows a QEMU that is new enough by this class.
      return unless(request, 'no-such-disk', () => new QmpError('DeviceNotFound', `Device '${disk}' not found`));
    },
  },
  {
    name: 'blockdev-create',
    run: (host, given) =>
      block(host, { op: 'create', id: String(given['job-id']), options: flattenOptions(given['options']) }),
  },
  ...controls('pause', (job) => ({ op: 'pause', job })),
  ...controls('resume', (job) => ({ op: 'resume', job })),
  ...controls('complete', (job) => ({ op: 'complete', job })),
  ...controls('finalize', (job) => ({ op: 'finalize', job })),
  ...controls('dismiss', (job) => ({ op: 'dismiss', job })),
  ...controls('cancel', (job, { force }) => ({ op: 'cancel', job, force: force === true })),
  {
    name: 'block-job-set-speed',
    run: (host, { device, speed }) =>
      unless(
        block(host, { op: 'set-speed', job: String(device), speed: Number(speed) }),
        'no-such-job',
        () => new QmpError('DeviceNotActive', `Block job '${String(device)}' not found`),
      ),
  },
];
