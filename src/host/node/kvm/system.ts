/** /dev/kvm, and a virtual machine of it: capabilities and memory slots. Nothing here depends on the architecture. */
import { constants } from 'node:os';
import type { AcceleratorRamBlock } from '../../../accel/accelerator.js';
import { VringError } from '../../../base/index.js';
import { errnoNameOf } from '../posix.js';
import { API_VERSION, type CapabilityName, call, capability, slotFlag } from './abi.js';
import { loadNative, type Native } from './native.js';

const DEVICE = '/dev/kvm';
const PAGE = 4096;

const sentences: Readonly<Record<number, string>> = {
  [constants.errno.ENOENT]: 'no such file; the kernel has no KVM, or its module is not loaded',
  [constants.errno.EACCES]: 'permission denied; add yourself to group kvm',
  [constants.errno.EPERM]: 'permission denied',
  [constants.errno.ENXIO]: 'there is no such device',
  [constants.errno.ENODEV]: 'there is no such device; the processor may have virtualization switched off',
  [constants.errno.EBUSY]: 'it is in use by another hypervisor',
};

/** Why KVM is not to be had. Its message is what comes after "KVM not used: ". */
export function unavailable(message: string): VringError {
  return new VringError('kvm-unavailable', message);
}

export class KvmSystem {
  readonly native: Native;
  readonly fd: number;

  /** Throws VringError `kvm-unavailable` with what is in the way. */
  constructor(path = DEVICE, native: Native = loadNative()) {
    this.native = native;
    this.fd = native.open(path);
    if (this.fd < 0) {
      const number = native.errno();
      throw unavailable(`${path}: ${sentences[number] ?? errnoNameOf(number)}`);
    }
    const version = native.ioctl(this.fd, call.getApiVersion, 0);
    if (version === API_VERSION) return;
    native.close(this.fd);
    throw unavailable(
      version < 0
        ? `${path} is not KVM's device`
        : `${path} speaks version ${version} of KVM's interface, not ${API_VERSION}`,
    );
  }

  /** 0: it is not there; otherwise 1, or how many. */
  check(name: CapabilityName): number {
    return Math.max(0, this.native.ioctl(this.fd, call.checkExtension, capability[name]));
  }

  /** Throws VringError `kvm-unavailable` for the first that is missing. */
  require(...names: CapabilityName[]): void {
    for (const name of names)
      if (this.check(name) === 0) throw unavailable(`this kernel's KVM lacks KVM_CAP_${name}: it is too old`);
  }

  createVm(): KvmVm {
    const fd = this.native.ioctl(this.fd, call.createVm, 0);
    if (fd < 0) throw unavailable(`KVM makes no virtual machine: ${errnoNameOf(this.native.errno())}`);
    return new KvmVm(this, fd);
  }

  close(): void {
    this.native.close(this.fd);
  }
}

interface Slot {
  readonly number: number;
  readonly block: AcceleratorRamBlock;
}

const same = (a: AcceleratorRamBlock, b: AcceleratorRamBlock) =>
  a.gpa === b.gpa && a.size === b.size && a.hva === b.hva && a.readonly === b.readonly;

export class KvmVm {
  readonly system: KvmSystem;
  readonly fd: number;
  readonly #native: Native;
  #memory: bigint | undefined;
  #slots: Slot[] = [];
  #logging = false;

  constructor(system: KvmSystem, fd: number) {
    this.system = system;
    this.fd = fd;
    this.#native = system.native;
  }

  /** A call that is to succeed. Throws VringError `kvm-call` that names it. */
  call(what: string, request: number, argument: number | bigint | Uint8Array = 0): number {
    const result = this.try(request, argument);
    if (result < 0) throw new VringError('kvm-call', `KVM refuses to ${what}: ${errnoNameOf(this.#native.errno())}`);
    return result;
  }

  /** The result of a call; negative where it failed. */
  try(request: number, argument: number | bigint | Uint8Array = 0): number {
    return argument instanceof Uint8Array
      ? this.#native.ioctlBytes(this.fd, request, argument)
      : this.#native.ioctl(this.fd, request, argument);
  }

  enable(what: string, name: CapabilityName, ...values: number[]): void {
    const bytes = new DataView(new ArrayBuffer(104));
    bytes.setUint32(0, capability[name], true);
    values.forEach((value, i) => {
      bytes.setBigUint64(8 + 8 * i, BigInt(value), true);
    });
    this.call(what, call.enableCapability, new Uint8Array(bytes.buffer));
  }

  /** The memory that blocks' addresses are offsets in. */
  setMemory(buffer: ArrayBufferLike): void {
    this.#memory = this.#native.addressOf(new Uint8Array(buffer));
  }

  /** Where RAM and ROM lie from now on. Throws VringError `kvm-slots`. */
  setRamBlocks(blocks: readonly AcceleratorRamBlock[]): void {
    const kept = this.#slots.filter(({ block }) => blocks.some((each) => same(each, block)));
    for (const slot of this.#slots) if (!kept.includes(slot)) this.#set(slot, 0);
    this.#slots = kept;
    const free = (): number => {
      for (let n = 0; ; n++) if (!this.#slots.some(({ number }) => number === n)) return n;
    };
    for (const block of blocks) {
      if (kept.some((slot) => same(slot.block, block))) continue;
      const slot = { number: free(), block };
      this.#set(slot, block.size);
      this.#slots.push(slot);
    }
  }

  #set({ number, block }: Slot, size: number): void {
    const bytes = new DataView(new ArrayBuffer(32));
    bytes.setUint32(0, number, true);
    bytes.setUint32(4, (block.readonly ? slotFlag.readonly : 0) | (this.#logging ? slotFlag.logDirty : 0), true);
    bytes.setBigUint64(8, BigInt(block.gpa), true);
    bytes.setBigUint64(16, BigInt(size), true);
    bytes.setBigUint64(24, (this.#memory ?? 0n) + BigInt(block.hva), true);
    const where = `0x${block.gpa.toString(16)} (${block.size >> 10} KiB)`;
    this.call(`map memory at ${where}`, call.setUserMemoryRegion, new Uint8Array(bytes.buffer));
  }

  /** Whether KVM notes which pages the guest writes; what it had noted is dropped. */
  setDirtyLogging(on: boolean): void {
    this.#logging = on;
    for (const slot of this.#slots) this.#set(slot, slot.block.size);
  }

  /** Calls `page` with the host address of every page that the guest has written since logging began or the last call. */
  takeDirty(page: (hva: number) => void): void {
    for (const { number, block } of this.#slots) {
      if (block.readonly) continue;
      const bitmap = new Uint8Array(new ArrayBuffer(Math.ceil(block.size / PAGE / 64) * 8));
      const bytes = new DataView(new ArrayBuffer(16));
      bytes.setUint32(0, number, true);
      bytes.setBigUint64(8, this.#native.addressOf(bitmap), true);
      this.call('tell what the guest wrote', call.getDirtyLog, new Uint8Array(bytes.buffer));
      for (let i = 0; i < bitmap.length; i++) {
        for (let bits = bitmap[i], at = 8 * i; bits !== 0; bits >>= 1, at++) if (bits & 1) page(block.hva + at * PAGE);
      }
    }
  }

  close(): void {
    this.#native.close(this.fd);
  }
}
