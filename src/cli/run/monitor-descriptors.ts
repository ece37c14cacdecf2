/** Descriptors that a monitor's client has sent along: by a name of its choice (`getfd`), or in the process's sets (`add-fd`). */
import { closeDescriptors } from '../../host/node/descriptor-messages.js';
import { descriptorSets } from '../../host/node/descriptor-sets.js';
import { loadPosix } from '../../host/node/posix.js';
import { VringError } from '../../vmm/index.js';
import { UsageError } from '../usage-error.js';
import type { CommandHost } from './monitor.js';

const failure = (sentence: string) => new VringError('descriptors', sentence);

/** Clients of all monitors. */
let clients = 0;

export class MonitorDescriptors {
  readonly #named = new Map<string, number>();
  #arrived: readonly number[] = [];

  opened(): void {
    clients++;
  }

  /** The client has left. `isRunning`: the machine, as whose sets go only then. */
  closed(isRunning: boolean): void {
    if (--clients === 0 && isRunning) descriptorSets.removeUnopened();
    this.arrive([]);
  }

  /** With a command. What came before, and nobody has asked for, is lost. */
  arrive(descriptors: readonly number[]): void {
    if (this.#arrived.length > 0) closeDescriptors(this.#arrived);
    this.#arrived = descriptors;
  }

  /** The first of those that came last; the others are lost. Throws VringError `descriptors`. */
  takeArrived(): number {
    const [first, ...rest] = this.#arrived;
    this.#arrived = [];
    closeDescriptors(rest);
    if (first !== undefined) return first;
    throw failure(
      loadPosix()
        ? 'No file descriptor supplied via SCM_RIGHTS'
        : 'No file descriptor can be received: the module koffi, which calls the system, is not installed',
    );
  }

  /** `getfd`. Throws VringError `descriptors`. */
  name(name: string): void {
    const fd = this.takeArrived();
    if (/^\d/.test(name)) {
      closeDescriptors([fd]);
      throw failure("Parameter 'fdname' expects a name not starting with a digit");
    }
    const old = this.#named.get(name);
    if (old !== undefined) closeDescriptors([old]);
    this.#named.set(name, fd);
  }

  /** `closefd`. Throws VringError `descriptors`. */
  close(name: string): void {
    const fd = this.#named.get(name);
    if (fd === undefined) throw failure(`File descriptor named '${name}' not found`);
    this.#named.delete(name);
    closeDescriptors([fd]);
  }

  /** A number, or a name, which is used up. Throws VringError `descriptors`. */
  take(text: string): number {
    if (/^\d{1,9}$/.test(text)) return Number(text);
    const fd = this.#named.get(text);
    if (fd === undefined)
      throw failure(
        /^\d/.test(text)
          ? `Invalid file descriptor number '${text}'`
          : `File descriptor named '${text}' has not been found`,
      );
    this.#named.delete(text);
    return fd;
  }

  /** `add-fd`. Throws VringError `descriptors`. */
  addToSet(set: number | undefined, opaque: string | undefined): { set: number; fd: number } {
    const fd = this.takeArrived();
    try {
      if (set !== undefined && set < 0) throw failure("Parameter 'fdset-id' expects a non-negative value");
      return descriptorSets.add(fd, set, opaque);
    } catch (error) {
      closeDescriptors([fd]);
      throw error;
    }
  }

  /** The monitor has ended. */
  end(): void {
    this.arrive([]);
    closeDescriptors([...this.#named.values()]);
    this.#named.clear();
  }
}

const named = (command: string, argument: string): string => {
  const name = argument.trim();
  if (name === '') throw new UsageError(`${command}: a name is needed`);
  return name;
};

export const descriptorMonitorCommands = [
  {
    name: 'getfd',
    argument: 'NAME',
    sentence: 'names the descriptor that came with the command by SCM_RIGHTS',
    run: async ({ descriptors }: CommandHost, argument: string) => {
      descriptors.name(named('getfd', argument));
      return '';
    },
  },
  {
    name: 'closefd',
    argument: 'NAME',
    sentence: 'closes a descriptor that getfd has named',
    run: async ({ descriptors }: CommandHost, argument: string) => {
      descriptors.close(named('closefd', argument));
      return '';
    },
  },
] as const;
