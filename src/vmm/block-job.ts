/** A job on a machine's block graph: its states and what may be asked in which (QEMU's `job.c` as its QMP shows it), apart from its work. */
import { BlockError, JobIoError, type JobOptions, toBlockError } from '../block/index.js';
import type { JobDescription, JobErrorPolicy, JobEvent, JobSettings, JobStatus, JobType } from './block-protocol.js';
import type { JobGroup } from './job-group.js';

/** What a job does. */
export interface JobWork {
  /** Resolves when all is done but `commit`. A job that can become ready goes on until `job.isEnding`. */
  run(job: BlockJob): Promise<void>;
  /** Puts it into effect; `isCancelled`: a job that was ready, without moving the disk. Not called when it failed. */
  commit?(isCancelled: boolean): Promise<void>;
  /** In any case, at the end. */
  clean?(isGood: boolean): Promise<void>;
}

type Verb = 'cancel' | 'pause' | 'resume' | 'set-speed' | 'complete' | 'finalize' | 'dismiss';

const live: readonly JobStatus[] = ['created', 'running', 'paused', 'ready', 'standby'];
/** In which states what may be asked. */
const allowed: Readonly<Record<Verb, readonly JobStatus[]>> = {
  cancel: [...live, 'waiting', 'pending'],
  pause: live,
  resume: live,
  'set-speed': live,
  complete: ['ready'],
  finalize: ['pending'],
  dismiss: ['concluded'],
};

/** How often a job that is ready looks for what was written meanwhile. */
const READY_MS = 50;
/** An error that is ignored is tried again so much later. */
const RETRY_MS = 100;

/** What a job's work hears of its owner's wishes, and tells of how far it is. Made before the job: its work begins with it. */
export class JobControl {
  speed: number;
  offset = 0;
  length = 0;
  pause: Promise<void> | undefined;
  readonly abort = new AbortController();
  readonly options: JobOptions;

  constructor(speed: number) {
    this.speed = speed;
    this.options = {
      bytesPerSecond: () => this.speed,
      signal: this.abort.signal,
      progress: (done, total) => {
        this.offset = done;
        this.length = total;
      },
      paused: () => this.pause,
    };
  }
}

export class BlockJob {
  readonly id: string;
  readonly type: JobType;
  /** Resolves when it is gone. */
  readonly ended: Promise<void>;
  readonly #settings: JobSettings;
  readonly #tell: (event: JobEvent) => void;
  readonly #work: JobWork;
  readonly #control: JobControl;
  #status: JobStatus = 'created';
  #isReady = false;
  #isCompleting = false;
  #isCancelled = false;
  #isWaiting = false;
  #ioStatus: JobDescription['ioStatus'] = 'ok';
  #error: string | undefined;
  readonly #group: JobGroup | undefined;
  #resume: (() => void) | undefined;
  #finalize: (() => void) | undefined;
  #dismiss: (() => void) | undefined;
  #isClosing = false;

  /** Begins at once. `group`: with whom it ends. */
  constructor(
    id: string,
    type: JobType,
    settings: JobSettings,
    control: JobControl,
    work: JobWork,
    tell: (event: JobEvent) => void,
    group?: JobGroup,
  ) {
    this.id = id;
    this.type = type;
    this.#settings = settings;
    this.#control = control;
    this.#work = work;
    this.#tell = tell;
    this.#group = group;
    group?.add(this);
    tell({ what: 'status', id, status: 'created' });
    this.#become('running');
    this.ended = this.#live();
  }

  // --- for its work

  get #signal(): AbortSignal {
    return this.#control.abort.signal;
  }

  /** It has been told to end, well. */
  get isEnding(): boolean {
    return this.#isCompleting || this.#isCancelled;
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  becomeReady(): void {
    this.#isReady = true;
    this.#become('ready');
    this.#tell({ what: 'ready', job: this.description });
  }

  /** While it is ready: until there may be something to do. */
  async idle(sleepMs: (milliseconds: number) => Promise<void>): Promise<void> {
    this.#isWaiting = true;
    await sleepMs(READY_MS);
    await this.#control.pause;
    this.#isWaiting = false;
    this.#signal.throwIfAborted();
  }

  /** What to do about a failed request: resolves when it is to be tried again, rejects when the job is to end. */
  async failed(error: unknown, sleepMs: (milliseconds: number) => Promise<void>): Promise<void> {
    this.#signal.throwIfAborted();
    if (!(error instanceof JobIoError)) throw error;
    const { operation, code } = error;
    const { onSourceError, onTargetError } = this.#settings;
    const policy: JobErrorPolicy = (operation === 'read' ? onSourceError : onTargetError) ?? 'report';
    const stops = policy === 'stop' || (policy === 'enospc' && code === 'ENOSPC');
    const action = stops ? 'stop' : policy === 'ignore' ? 'ignore' : 'report';
    this.#tell({ what: 'error', id: this.id, operation, action });
    if (action === 'report') throw error;
    if (action === 'ignore') await sleepMs(RETRY_MS);
    else {
      this.#ioStatus = code === 'ENOSPC' ? 'nospace' : 'failed';
      this.#stop();
      await this.#control.pause;
    }
    this.#signal.throwIfAborted();
  }

  // --- for its owner

  get description(): JobDescription {
    const { autoFinalize = true, autoDismiss = true } = this.#settings;
    return {
      id: this.id,
      type: this.type,
      status: this.#status,
      offset: this.#control.offset,
      length: this.#control.length,
      speed: this.#control.speed,
      isReady: this.#isReady,
      isPaused: this.#control.pause !== undefined,
      isBusy: live.includes(this.#status) && !this.#isWaiting && this.#control.pause === undefined,
      ioStatus: this.#ioStatus,
      autoFinalize,
      autoDismiss,
      error: this.#error,
    };
  }

  /** Throws BlockError where its state does not allow it. */
  #check(verb: Verb): void {
    if (allowed[verb].includes(this.#status)) return;
    throw new BlockError('EPERM', `Job '${this.id}' in state '${this.#status}' cannot accept command verb '${verb}'`);
  }

  pause(): void {
    this.#check('pause');
    if (this.#control.pause) throw new BlockError('EPERM', 'Job is already paused');
    this.#stop();
  }

  resume(): void {
    this.#check('resume');
    if (!this.#control.pause) throw new BlockError('EPERM', "Can't resume a job that was not paused");
    this.#ioStatus = 'ok';
    this.#go();
  }

  setSpeed(speed: number): void {
    this.#check('set-speed');
    if (!(speed >= 0)) throw new BlockError('EINVAL', "Parameter 'speed' expects a non-negative value");
    this.#control.speed = speed;
  }

  complete(): void {
    this.#check('complete');
    this.#isCompleting = true;
  }

  finalize(): void {
    this.#check('finalize');
    if (this.#group) this.#group.finalize();
    else this.#finalize?.();
  }

  finalizeWithGroup(): void {
    this.#finalize?.();
  }

  dismiss(): void {
    this.#check('dismiss');
    this.#dismiss?.();
  }

  cancel(force: boolean): void {
    this.#check('cancel');
    this.#cancel(force);
    this.#group?.cancel();
  }

  /** Another of its group has ended without effect. */
  cancelWithGroup(): void {
    if (allowed.cancel.includes(this.#status)) this.#cancel(true);
  }

  #cancel(force: boolean): void {
    this.#isCancelled = true;
    if (force || !this.#isReady) this.#control.abort.abort();
    this.#finalize?.();
    if (this.#control.pause) this.#go();
  }

  /** The machine ends. */
  end(): void {
    this.#isClosing = true;
    if (allowed.cancel.includes(this.#status)) this.cancel(true);
    this.#dismiss?.();
  }

  #stop(): void {
    this.#control.pause = new Promise((resolve) => {
      this.#resume = resolve;
    });
    this.#become(this.#isReady ? 'standby' : 'paused');
  }

  #go(): void {
    this.#control.pause = undefined;
    this.#resume?.();
    if (!this.#signal.aborted) this.#become(this.#isReady ? 'ready' : 'running');
  }

  #become(status: JobStatus): void {
    this.#status = status;
    this.#tell({ what: 'status', id: this.id, status });
  }

  /** Until all of its group have come as far. Rejects with BlockError `ECANCELED`. */
  async #others(): Promise<void> {
    if (!this.#group) return;
    const cancelled = new Promise((resolve) => this.#signal.addEventListener('abort', resolve, { once: true }));
    await Promise.race([this.#group.others(), cancelled]);
    if (this.#signal.aborted) throw new BlockError('ECANCELED');
  }

  async #live(): Promise<void> {
    const isAborted = () => this.#signal.aborted;
    // Whoever began it is told so first.
    await new Promise((resolve) => setImmediate(resolve));
    try {
      await this.#work.run(this);
      if (isAborted()) throw new BlockError('ECANCELED');
      this.#become('waiting');
      await this.#others();
      this.#become('pending');
      if (this.#group?.needsFinalize ?? this.#settings.autoFinalize === false) {
        const finalized = new Promise<void>((resolve) => {
          this.#finalize = resolve;
        });
        if (this.type !== 'create' && this.#settings.autoFinalize === false)
          this.#tell({ what: 'pending', job: this.description });
        await finalized;
        this.#finalize = undefined;
        if (isAborted()) throw new BlockError('ECANCELED');
      }
      await this.#work.commit?.(this.#isCancelled);
      await this.#work.clean?.(true);
    } catch (error) {
      this.#become('aborting');
      if (!isAborted()) this.#error = toBlockError(error).message;
      this.#group?.cancel();
      await this.#work.clean?.(false).catch(() => {});
    }
    if (this.type !== 'create') this.#tell({ what: isAborted() ? 'cancelled' : 'completed', job: this.description });
    this.#become('concluded');
    if (this.#settings.autoDismiss === false && !this.#isClosing) {
      await new Promise<void>((resolve) => {
        this.#dismiss = resolve;
      });
    }
    this.#become('null');
  }
}
