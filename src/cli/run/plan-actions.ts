/** What the machine does at a reset, a power-off, a crash of its guest, and when the watchdog bites. */
import { type MachineOptions, type WatchdogAction, watchdogActions } from '../../vmm/index.js';
import { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';
import type { Options } from './given-options.js';

type Actions = Pick<MachineOptions, 'onReset' | 'onPowerOff' | 'onPanic' | 'onWatchdog'> & {
  readonly panicStatus: number;
};

export function planActions(options: Options): Actions {
  let panicStatus = 0;
  let onPanic: MachineOptions['onPanic'];
  let onWatchdog = watchdogAction(options.last('watchdog-action'));
  let onReset: 'reset' | 'end' | 'pause' = options.has('no-reboot') ? 'end' : 'reset';
  let onPowerOff: 'end' | 'pause' = options.has('no-shutdown') ? 'pause' : 'end';
  for (const text of options.all('action')) {
    const values = KeyValues.parse(`-action ${text}`, text);
    const reboot = values.choice('reboot', ['reset', 'shutdown']);
    const shutdown = values.choice('shutdown', ['poweroff', 'pause']);
    const panic = values.choice('panic', ['pause', 'shutdown', 'exit-failure', 'none']);
    onWatchdog = values.choice('watchdog', watchdogActions) ?? onWatchdog;
    values.finish();
    if (reboot !== undefined) onReset = reboot === 'reset' ? 'reset' : 'end';
    if (panic !== undefined) {
      onPanic = panic === 'none' ? 'run' : panic === 'pause' ? 'pause' : 'poweroff';
      panicStatus = panic === 'exit-failure' ? 1 : 0;
    }
    if (shutdown !== undefined) onPowerOff = shutdown === 'pause' ? 'pause' : 'end';
  }
  // A reset that is a shutdown does what a shutdown does.
  if (onReset === 'end' && onPowerOff === 'pause') onReset = 'pause';
  return { onReset, onPowerOff, onPanic, onWatchdog, panicStatus };
}

/** `-watchdog-action`. Throws UsageError. */
function watchdogAction(text: string | undefined): WatchdogAction | undefined {
  const found = watchdogActions.find((each) => each === text);
  if (text !== undefined && !found)
    throw new UsageError(`-watchdog-action ${text}: there are ${watchdogActions.join(', ')}`);
  return found;
}
