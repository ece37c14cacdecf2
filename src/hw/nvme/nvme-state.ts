/** State of an NVMe controller (NVM Express 1.4, 3.1 for registers, 4.1 for queues). */
import { bool, defineState, f64, list, type StateOf, u8, u16, u16s, u32 } from '../../schema/index.js';
import { eventRequests, maxQueueEntries, queueCount } from './nvme-codes.js';

const submissionFields = {
  ready: bool(),
  /** Deleted as soon as its commands have ended. */
  leaving: bool(),
  gpaLow: u32(),
  gpaHigh: u32(),
  size: u16(0, { max: maxQueueEntries }),
  head: u16(),
  tail: u16(),
  completionQueue: u16(0, { max: queueCount - 1 }),
};
const completionFields = {
  ready: bool(),
  gpaLow: u32(),
  gpaHigh: u32(),
  size: u16(0, { max: maxQueueEntries }),
  head: u16(),
  tail: u16(),
  phase: bool(true),
  vector: u16(),
  interrupts: bool(),
};

export const NvmeState = defineState('nvme', 1, {
  INTM: u32(),
  CC: u32(),
  CSTS: u32(),
  AQA: u32(),
  ASQLow: u32(),
  ASQHigh: u32(),
  ACQLow: u32(),
  ACQHigh: u32(),
  submission: list(queueCount, submissionFields),
  completion: list(queueCount, completionFields),
  /** Asynchronous event requests that wait: their command identifiers. */
  eventRequests: u8(0, { max: eventRequests }),
  eventCommands: u16s(eventRequests),
  /** Of each kind an event that waits for a request (its information; 0xff: none); kinds whose log has to be read first, as bits. */
  waitingError: u8(0xff),
  waitingSmart: u8(0xff),
  maskedEvents: u8(0, { max: 3 }),
  overTemperature: u16(0x157),
  underTemperature: u16(0),
  errorRecovery: u32(),
  writeCache: bool(true),
  events: u32(),
  /** As of SET FEATURES: milliseconds, and the machine's time then. */
  timestampMs: f64(0, { min: 0, max: 2 ** 48, integer: true }),
  timestampAtNs: f64(0, { min: 0, max: 2 ** 63, integer: true }),
  timestampSet: bool(),
  /** For the SMART log: bytes and commands. */
  bytesRead: f64(0, { min: 0 }),
  bytesWritten: f64(0, { min: 0 }),
  readCommands: f64(0, { min: 0 }),
  writeCommands: f64(0, { min: 0 }),
});
export type NvmeRegisters = StateOf<typeof NvmeState>;
export type SubmissionQueue = NvmeRegisters['submission'][number];
export type CompletionQueue = NvmeRegisters['completion'][number];
