/**
 * A vCPU's time-stamp counter by its distance from the host's (KVM_VCPU_TSC_OFFSET, Documentation/virt/kvm/devices/vcpu.rst). A write of
 * the counter itself KVM takes for an attempt to synchronize vCPUs when it comes within a second of what it expects, and keeps the old
 * distance: after a short pause the guest's counter would jump. Linux has it since 5.16.
 */
import { call } from './abi.js';
import type { Native } from './native.js';
import type { KvmVcpuCalls } from './vcpu.js';

/** Group and attribute. */
const TSC_CTRL = 0;
const TSC_OFFSET = 0;
/** `struct kvm_device_attr` */
const attribute = { group: 4, attribute: 8, address: 16, bytes: 24 } as const;

export class TscOffset {
  readonly #vcpu: KvmVcpuCalls;
  /** Not small: it must not move. */
  readonly #value = new DataView(new ArrayBuffer(64));
  readonly #request: Uint8Array;

  private constructor(vcpu: KvmVcpuCalls, native: Native) {
    this.#vcpu = vcpu;
    const request = new DataView(new ArrayBuffer(attribute.bytes));
    request.setUint32(attribute.group, TSC_CTRL, true);
    request.setBigUint64(attribute.attribute, BigInt(TSC_OFFSET), true);
    request.setBigUint64(attribute.address, native.addressOf(new Uint8Array(this.#value.buffer)), true);
    this.#request = new Uint8Array(request.buffer);
  }

  /** Undefined: this KVM does not tell. */
  static of(vcpu: KvmVcpuCalls): TscOffset | undefined {
    const offset = new TscOffset(vcpu, vcpu.native);
    if (vcpu.try(call.hasDeviceAttribute, offset.#request) !== 0) return undefined;
    // Some take one and keep none.
    const { ticks } = offset;
    offset.ticks = ticks + 1n;
    if (offset.ticks !== BigInt.asUintN(64, ticks + 1n)) return undefined;
    offset.ticks = ticks;
    return offset;
  }

  /** Ticks of the guest's counter, modulo 2^64. */
  get ticks(): bigint {
    this.#vcpu.call("give its time-stamp counter's offset", call.getDeviceAttribute, this.#request);
    return this.#value.getBigUint64(0, true);
  }

  set ticks(ticks: bigint) {
    this.#value.setBigUint64(0, BigInt.asUintN(64, ticks), true);
    this.#vcpu.call("take a time-stamp counter's offset", call.setDeviceAttribute, this.#request);
  }
}
