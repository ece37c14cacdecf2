/** The thread of a further vCPU that KVM runs. It sleeps in the kernel or on its block of memory, and has no event loop to return to. */
import { workerData } from 'node:worker_threads';
import { nameThread } from '../host/node/activity.js';
import { type SecondaryConfig, SecondaryVcpu } from '../host/node/kvm/secondary.js';
import { ringDoorbell } from './doorbell.js';
import { rungBy } from './worker-protocol.js';

export type VcpuWorkerConfig = SecondaryConfig & { readonly doorbell: SharedArrayBuffer };

const config = workerData as VcpuWorkerConfig;
nameThread(`vcpu${config.id}`);
const doorbell = new Int32Array(config.doorbell);
new SecondaryVcpu(config, () => ringDoorbell(doorbell, rungBy.vcpus)).run();
