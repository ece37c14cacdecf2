/** What a command of QMP is: its arguments, what it is given, and its errors. */
import { VringError } from '../../../vmm/index.js';
import type { MonitoredRun } from '../monitor.js';
import type { MonitorDescriptors } from '../monitor-descriptors.js';

export interface QmpHost extends MonitoredRun {
  /** vCPUs of the machine. */
  readonly cpus: number;
  readonly architecture: string;
  /** Of this monitor. */
  readonly descriptors: MonitorDescriptors;
  /** The owner is about to end the machine: events say so. */
  hostQuits(): void;
  emit(event: string, data?: object): void;
}

export type QmpArguments = Readonly<Record<string, unknown>>;

/** What it is given and answers is in interface/commands.ts. */
export interface QmpCommand {
  readonly name: string;
  /** Members beside those that all have are the command's own to look at. */
  readonly takesMore?: boolean;
  run(host: QmpHost, given: QmpArguments): Promise<unknown> | unknown;
}

/** An error with another class than GenericError. */
export class QmpError extends VringError {
  readonly className: string;
  constructor(className: string, message: string) {
    super('qmp', message);
    this.className = className;
  }
}
