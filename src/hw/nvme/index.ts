export { NvmeController } from './nvme-controller.js';
export { NvmeNamespace } from './nvme-namespace.js';
