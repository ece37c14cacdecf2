/** For tests: what a monitor knows of a run of which nothing was asked. */
import { NodeBlockHost } from '../../../host/node/block-host.js';
import type { Machine } from '../../../vmm/index.js';
import { LiveChardevs } from '../live-chardevs.js';
import type { MonitoredRun } from '../monitor.js';
import { BoardObjects } from '../plan-objects.js';
import { RunObjects } from '../run-objects.js';

export const monitoredRun = (machine: Machine, more: Partial<MonitoredRun> = {}): MonitoredRun => ({
  machine,
  ...{ version: 'vring 9', prompt: '(vring) ', name: undefined, isEmpty: false, uuid: undefined },
  chardevs: new LiveChardevs().monitored([]),
  ramBytes: 128 << 20,
  ramId: 'pc.ram',
  spareDrives: new Map(),
  namedDevices: new Map(),
  objects: new RunObjects(new NodeBlockHost(), new BoardObjects([])),
  actions: { words: { reboot: 'reset', shutdown: 'poweroff', panic: 'shutdown', watchdog: 'reset' } },
  quit: () => {},
  ...more,
});
