/** QMP's commands for jobs on a running machine's disks (QEMU's qapi/block-core.json, qapi/job.json). */
import { flattenOptions } from '../../../block/index.js';
import type { BackupRequest, BlockRequest, BlockTarget, JobDescription, JobSettings } from '../../../vmm/index.js';
import { flag, generic, nothing, number, oneOf, text, unless } from './block-arguments.js';
import { type QmpArguments, type QmpCommand, QmpError, type QmpHost } from './qmp-command.js';

const policies = ['report', 'ignore', 'enospc', 'stop'] as const;

const settingArguments = [
  { name: 'job-id', type: 'str', optional: true },
  { name: 'speed', type: 'int', optional: true },
  { name: 'auto-finalize', type: 'bool', optional: true },
  { name: 'auto-dismiss', type: 'bool', optional: true },
] as const;
/** Of jobs that have a target. */
const errorArguments = [
  { name: 'on-source-error', type: 'str', optional: true },
  { name: 'on-target-error', type: 'str', optional: true },
] as const;
const fileTargetArguments = [
  { name: 'target', type: 'str' },
  { name: 'format', type: 'str', optional: true },
  { name: 'mode', type: 'str', optional: true },
] as const;
const backupArguments = [
  { name: 'device', type: 'str' },
  { name: 'sync', type: 'str' },
  { name: 'bitmap', type: 'str', optional: true },
  { name: 'bitmap-mode', type: 'str', optional: true },
  { name: 'compress', type: 'bool', optional: true },
  { name: 'filter-node-name', type: 'str', optional: true },
  { name: 'x-perf', type: 'any', optional: true },
] as const;
const mirrorArguments = [
  { name: 'device', type: 'str' },
  { name: 'sync', type: 'str' },
  { name: 'granularity', type: 'int', optional: true },
  { name: 'buf-size', type: 'int', optional: true },
  { name: 'copy-mode', type: 'str', optional: true },
  { name: 'filter-node-name', type: 'str', optional: true },
] as const;

function settings(given: QmpArguments): JobSettings {
  const speed = number(given['speed']);
  if (speed !== undefined && speed < 0) throw generic("Parameter 'speed' expects a non-negative value");
  return {
    id: text(given['job-id']),
    speed,
    onSourceError: oneOf(given, 'on-source-error', policies) ?? oneOf(given, 'on-error', policies),
    onTargetError: oneOf(given, 'on-target-error', policies) ?? oneOf(given, 'on-error', policies),
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
function controls(verb: string, control: Control, options: { readonly forced?: boolean } = {}): QmpCommand[] {
  const more = options.forced ? ([{ name: 'force', type: 'bool', optional: true }] as const) : [];
  // The two that came last name the job by `id` in both.
  const older = verb === 'finalize' || verb === 'dismiss' ? 'id' : 'device';
  return [
    {
      name: `block-job-${verb}`,
      arguments: [{ name: older, type: 'str' }, ...more],
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
      arguments: [{ name: 'id', type: 'str' }],
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
    arguments: [
      ...mirrorArguments,
      ...fileTargetArguments,
      { name: 'node-name', type: 'str', optional: true },
      { name: 'unmap', type: 'bool', optional: true },
      ...settingArguments,
      ...errorArguments,
    ],
    run: (host, given) => block(host, mirrorRequest(given, fileTarget(given, given['target'], 'node-name'))),
  },
  {
    name: 'blockdev-mirror',
    arguments: [...mirrorArguments, { name: 'target', type: 'str' }, ...settingArguments, ...errorArguments],
    run: (host, given) => block(host, mirrorRequest(given, { node: String(given['target']) })),
  },
  {
    name: 'drive-backup',
    arguments: [...backupArguments, ...fileTargetArguments, ...settingArguments, ...errorArguments],
    run: (host, given) => block(host, backupRequest(given, fileTarget(given, given['target'], 'node-name'))),
  },
  {
    name: 'blockdev-backup',
    arguments: [...backupArguments, { name: 'target', type: 'str' }, ...settingArguments, ...errorArguments],
    run: (host, given) => block(host, backupRequest(given, { node: String(given['target']) })),
  },
  {
    name: 'block-stream',
    arguments: [
      { name: 'device', type: 'str' },
      { name: 'base', type: 'str', optional: true },
      { name: 'base-node', type: 'str', optional: true },
      { name: 'backing-file', type: 'str', optional: true },
      { name: 'on-error', type: 'str', optional: true },
      { name: 'filter-node-name', type: 'str', optional: true },
      ...settingArguments,
    ],
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
    arguments: [
      { name: 'device', type: 'str' },
      { name: 'base', type: 'str', optional: true },
      { name: 'base-node', type: 'str', optional: true },
      { name: 'top', type: 'str', optional: true },
      { name: 'top-node', type: 'str', optional: true },
      { name: 'backing-file', type: 'str', optional: true },
      { name: 'on-error', type: 'str', optional: true },
      { name: 'filter-node-name', type: 'str', optional: true },
      ...settingArguments,
    ],
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
    arguments: [
      { name: 'job-id', type: 'str' },
      { name: 'options', type: 'any' },
    ],
    run: (host, given) =>
      block(host, { op: 'create', id: String(given['job-id']), options: flattenOptions(given['options']) }),
  },
  ...controls('pause', (job) => ({ op: 'pause', job })),
  ...controls('resume', (job) => ({ op: 'resume', job })),
  ...controls('complete', (job) => ({ op: 'complete', job })),
  ...controls('finalize', (job) => ({ op: 'finalize', job })),
  ...controls('dismiss', (job) => ({ op: 'dismiss', job })),
  ...controls('cancel', (job, { force }) => ({ op: 'cancel', job, force: force === true }), { forced: true }),
  {
    name: 'block-job-set-speed',
    arguments: [
      { name: 'device', type: 'str' },
      { name: 'speed', type: 'int' },
    ],
    run: (host, { device, speed }) =>
      unless(
        block(host, { op: 'set-speed', job: String(device), speed: Number(speed) }),
        'no-such-job',
        () => new QmpError('DeviceNotActive', `Block job '${String(device)}' not found`),
      ),
  },
];
