/** Numbers of NVM Express 1.4: opcodes, status codes, features, log pages. */

export const adminOpcode = {
  deleteSubmissionQueue: 0x00,
  createSubmissionQueue: 0x01,
  getLogPage: 0x02,
  deleteCompletionQueue: 0x04,
  createCompletionQueue: 0x05,
  identify: 0x06,
  abort: 0x08,
  setFeatures: 0x09,
  getFeatures: 0x0a,
  asynchronousEvent: 0x0c,
} as const;

export const ioOpcode = { flush: 0, write: 1, read: 2, compare: 5, writeZeroes: 8, datasetManagement: 9 } as const;

const doNotRetry = 0x4000;
/** Status code in bits 7:0, its type in 10:8, do-not-retry in 14: a completion's status without the phase. */
export const nvmeStatus = {
  success: 0,
  invalidOpcode: 0x01 | doNotRetry,
  invalidField: 0x02 | doNotRetry,
  dataTransferError: 0x04,
  internal: 0x06,
  aborted: 0x07,
  invalidNamespace: 0x0b | doNotRetry,
  invalidSglSegment: 0x0d | doNotRetry,
  invalidSglCount: 0x0e | doNotRetry,
  sglLength: 0x0f | doNotRetry,
  sglType: 0x11 | doNotRetry,
  prpOffset: 0x13 | doNotRetry,
  lbaRange: 0x80 | doNotRetry,
  invalidCompletionQueue: 0x100 | doNotRetry,
  invalidQueue: 0x101 | doNotRetry,
  queueSize: 0x102 | doNotRetry,
  eventLimit: 0x105 | doNotRetry,
  invalidVector: 0x108 | doNotRetry,
  invalidLog: 0x109 | doNotRetry,
  queueDeletion: 0x10c,
  notSaveable: 0x10d | doNotRetry,
  notChangeable: 0x10e | doNotRetry,
  notOfNamespace: 0x10f | doNotRetry,
  readOnly: 0x182 | doNotRetry,
  writeFault: 0x280,
  unrecoveredRead: 0x281,
  compareFailure: 0x285,
} as const;

export const feature = {
  arbitration: 0x01,
  power: 0x02,
  temperature: 0x04,
  errorRecovery: 0x05,
  writeCache: 0x06,
  queues: 0x07,
  coalescing: 0x08,
  vector: 0x09,
  writeAtomicity: 0x0a,
  events: 0x0b,
  timestamp: 0x0e,
} as const;

export const logPage = { errors: 1, smart: 2, firmware: 3, changedNamespaces: 4, commandEffects: 5 } as const;

export const broadcastNamespace = 0xffffffff;
/** Namespaces that there can be. */
export const maxNamespaces = 256;
/** Pairs of I/O queues, and with the administration's. */
export const ioQueuePairs = 64;
export const queueCount = ioQueuePairs + 1;
export const maxQueueEntries = 2048;
/** Asynchronous event requests that may wait. */
export const eventRequests = 4;
export const submissionBytes = 64;
export const completionBytes = 16;
/** 2^7 pages of 4 KiB: the largest transfer, as QEMU's. */
export const maxTransferShift = 7;

/** Errors that a driver is told of asynchronously. */
export const errorEvent = { invalidDoorbell: 0, invalidValue: 1 } as const;
export const smartEvent = { temperature: 1 } as const;
