export type { DebugRegister, DebugTarget } from './debug-target.js';
export { GdbStub, gdbSignal } from './stub.js';
