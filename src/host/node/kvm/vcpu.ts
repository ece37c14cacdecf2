/** A vCPU of KVM, as far as it is the same on every architecture: the page shared with the kernel, entering the guest, kicks. */
import { VringError } from '../../../base/index.js';
import { errnoNameOf } from '../posix.js';
import { call, runPage } from './abi.js';
import type { Native, NativeTimer } from './native.js';
import { type KvmVm, unavailable } from './system.js';

const EINTR = 4;
const EAGAIN = 11;
/** Of an exit `internalError`: KVM_INTERNAL_ERROR_EMULATION, and that the instruction's bytes are told. */
const CANNOT_EMULATE = 1;
const HAS_INSTRUCTION = 1;
const MOST_INSTRUCTION_BYTES = 15;

/** Calls of a vCPU that do not enter the guest: by its own thread, or by another while that one stands. */
export class KvmVcpuCalls {
  readonly fd: number;
  readonly native: Native;

  constructor(native: Native, fd: number) {
    this.native = native;
    this.fd = fd;
  }

  /** A call that is to succeed. Throws VringError `kvm-call` that names it. */
  call(what: string, request: number, argument: number | bigint | Uint8Array = 0): number {
    const result = this.try(request, argument);
    if (result < 0) throw new VringError('kvm-call', `KVM refuses to ${what}: ${errnoNameOf(this.native.errno())}`);
    return result;
  }

  /**
   * Goes as far as to the guest's door with a kick under way: the guest does not run, but what KVM does on the way to it is done. For a
   * thread that runs vCPUs; no exit is under way.
   */
  approachGuest(): void {
    this.native.signal(this.native.threadId());
    if (this.native.ioctl(this.fd, call.run, 0) === 0)
      throw new VringError('kvm-run', 'KVM runs a vCPU in spite of a signal');
    this.native.drain();
  }

  /** The result of a call; negative where it failed. */
  try(request: number, argument: number | bigint | Uint8Array = 0): number {
    return argument instanceof Uint8Array
      ? this.native.ioctlBytes(this.fd, request, argument)
      : this.native.ioctl(this.fd, request, argument);
  }
}

export class KvmVcpu extends KvmVcpuCalls {
  readonly threadId: number;
  /** `struct kvm_run` and what follows it, in three widths. */
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly view: DataView;
  readonly #timer: NativeTimer;
  readonly #release: () => void;

  /** For the thread that makes it. `timer`: what `setTimer` counts. Throws VringError `kvm-unavailable`. */
  constructor(vm: KvmVm, id: number, timer: 'time' | 'cpu' = 'time') {
    const { native } = vm.system;
    super(native, vm.call(`make vCPU ${id}`, call.createVcpu, id));
    const length = native.ioctl(vm.system.fd, call.getVcpuMmapSize, 0);
    const shared = native.map(this.fd, length);
    if (!shared) throw unavailable(`KVM shares no page with vCPU ${id}: ${errnoNameOf(native.errno())}`);
    this.#release = () => shared.release();
    this.bytes = new Uint8Array(shared.buffer);
    this.words = new Int32Array(shared.buffer);
    this.view = new DataView(shared.buffer);
    this.threadId = native.threadId();
    const blocked = native.prepareThread();
    const mask = new Uint8Array(new ArrayBuffer(12));
    new DataView(mask.buffer).setUint32(0, blocked.length, true);
    mask.set(blocked, 4);
    this.call('take a signal mask', call.setSignalMask, mask);
    this.#timer = native.createTimer(this.threadId, timer);
  }

  /** Enters the guest until its next exit: the reason is in the shared page. False: a kick or the timer ended it. */
  run(): boolean {
    if (this.native.ioctl(this.fd, call.run, 0) === 0) return true;
    const number = this.native.errno();
    if (number !== EINTR && number !== EAGAIN)
      throw new VringError('kvm-run', `KVM does not run the vCPU: ${errnoNameOf(number)}`);
    this.native.drain();
    return false;
  }

  /**
   * Lets KVM finish the exit under way, so that the registers are those after it; the guest does not run. True: that took another
   * exit, of the same instruction, which is in the shared page.
   */
  finishExit(): boolean {
    this.bytes[runPage.immediateExit] = 1;
    const again = this.native.ioctl(this.fd, call.run, 0) === 0;
    this.bytes[runPage.immediateExit] = 0;
    return again;
  }

  /** `run` ends after so long; 0: the timer stands. */
  setTimer(delayNs: number): void {
    this.#timer.set(delayNs);
  }

  hex64(at: number): string {
    return this.view.getBigUint64(at, true).toString(16);
  }

  /** What an exit `internalError` is about, for a person. */
  internalError(): string {
    const suberror = this.words[runPage.internalSuberror >> 2];
    const count = Math.min(this.words[runPage.internalDataCount >> 2], 16);
    const names = [
      '',
      'it cannot emulate an instruction',
      'two events at once',
      'an event during delivery',
      'an exit it does not know',
    ];
    const what = names[suberror] || `internal error ${suberror}`;
    const { internalData } = runPage;
    if (suberror === CANNOT_EMULATE && count >= 3 && this.bytes[internalData] & HAS_INSTRUCTION) {
      const length = Math.min(this.bytes[internalData + 8], MOST_INSTRUCTION_BYTES);
      const code = this.bytes.subarray(internalData + 9, internalData + 9 + length);
      return `${what} (code at RIP: ${Array.from(code, (byte) => byte.toString(16).padStart(2, '0')).join(' ')})`;
    }
    const values = Array.from({ length: count }, (_, i) => this.hex64(internalData + 8 * i));
    return `${what}${values.length ? ` (${values.join(' ')})` : ''}`;
  }

  close(): void {
    this.#timer.close();
    this.#release();
    this.native.releaseThread();
    this.native.close(this.fd);
  }
}
