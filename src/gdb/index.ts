export type { DebugRegister, DebugTarget } from './debug-target.js';
export { encodePacket } from './packets.js';
export { GdbStub, gdbSignal } from './stub.js';
