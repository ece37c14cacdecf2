/** For tests that want this host's KVM. */
import { VringError } from '../../base/index.js';
import { probeKvm } from '../../host/node/kvm/probe.js';

/** Why there is none, or false: what a test's `skip` takes. */
export function whyNoKvm(): string | false {
  try {
    probeKvm();
    return false;
  } catch (error) {
    if (!(error instanceof VringError)) throw error;
    return `no KVM: ${error.message}`;
  }
}
