/** What the machine does at a reset, a power-off, a crash of its guest, and when the watchdog bites: QEMU's words for it. */
import { type MachineActions, type WatchdogAction, watchdogActions } from '../../vmm/index.js';
import { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';
import type { Options } from './given-options.js';

export interface ActionWords {
  readonly reboot: 'reset' | 'shutdown';
  readonly shutdown: 'poweroff' | 'pause';
  readonly panic: 'pause' | 'shutdown' | 'exit-failure' | 'none';
  readonly watchdog: WatchdogAction;
}

/** The words that are in force; a monitor may change them. */
export interface RunActions {
  words: ActionWords;
}

export function machineActions({ reboot, shutdown, panic, watchdog }: ActionWords): MachineActions {
  const onPowerOff = shutdown === 'pause' ? 'pause' : 'end';
  return {
    // A reset that is a shutdown does what a shutdown does.
    onReset: reboot === 'reset' ? 'reset' : onPowerOff,
    onPowerOff,
    onPanic: panic === 'none' ? 'run' : panic === 'pause' ? 'pause' : 'poweroff',
    onWatchdog: watchdog,
  };
}

/** Exit status after a crash of the guest. */
export const panicStatus = ({ panic }: ActionWords): number => (panic === 'exit-failure' ? 1 : 0);

/** Throws UsageError. */
export function planActions(options: Options): RunActions {
  let words: ActionWords = {
    reboot: options.has('no-reboot') ? 'shutdown' : 'reset',
    shutdown: options.has('no-shutdown') ? 'pause' : 'poweroff',
    panic: 'shutdown',
    watchdog: watchdogAction(options.last('watchdog-action')) ?? 'reset',
  };
  for (const text of options.all('action')) {
    const values = KeyValues.parse(`-action ${text}`, text);
    words = {
      reboot: values.choice('reboot', ['reset', 'shutdown']) ?? words.reboot,
      shutdown: values.choice('shutdown', ['poweroff', 'pause']) ?? words.shutdown,
      panic: values.choice('panic', ['pause', 'shutdown', 'exit-failure', 'none']) ?? words.panic,
      watchdog: values.choice('watchdog', watchdogActions) ?? words.watchdog,
    };
    values.finish();
  }
  return { words };
}

/** `-watchdog-action`. Throws UsageError. */
function watchdogAction(text: string | undefined): WatchdogAction | undefined {
  const found = watchdogActions.find((each) => each === text);
  if (text !== undefined && !found)
    throw new UsageError(`-watchdog-action ${text}: there are ${watchdogActions.join(', ')}`);
  return found;
}
