/** The thread that waits for notifications that KVM takes without an exit. It sleeps in the system, and has no event loop to return to. */
import { workerData } from 'node:worker_threads';
import { nameThread } from '../host/node/activity.js';
import { type NotificationsConfig, waitForNotifications } from '../host/node/kvm/notifications.js';
import { ringDoorbell } from './doorbell.js';
import { rungBy } from './worker-protocol.js';

export type NotifyWorkerConfig = NotificationsConfig & { readonly doorbell: SharedArrayBuffer };

const config = workerData as NotifyWorkerConfig;
nameThread('notify');
const doorbell = new Int32Array(config.doorbell);
waitForNotifications(config, () => ringDoorbell(doorbell, rungBy.notifications));
