/**
 * Writes that KVM collects without an exit ("coalesced MMIO" and PIO, Documentation/virt/kvm/api.rst 4.116): a ring in a page of the
 * first vCPU's shared memory, filled for all vCPUs, emptied by the devices' thread before it answers anything else.
 */
import { type AcceleratorHost, type ExitCounters, exitIndex } from '../../../accel/index.js';
import type { DeferrableRange } from '../../../bus/index.js';
import { call } from './abi.js';
import type { KvmVm } from './system.js';
import type { KvmVcpu } from './vcpu.js';

const PAGE = 4096;
/** `struct kvm_coalesced_mmio_ring`: first, last, then entries. */
const HEADER_BYTES = 8;
const ENTRY_BYTES = 24;
const ENTRIES = Math.floor((PAGE - HEADER_BYTES) / ENTRY_BYTES);
/** `struct kvm_coalesced_mmio` */
const entry = { address: 0, length: 8, isPort: 12, data: 16 } as const;

export class DeferredWrites {
  readonly #words: Int32Array;
  readonly #view: DataView;
  /** Index of the ring's first word. */
  readonly #first: number;
  readonly #host: AcceleratorHost;

  private constructor(vcpu: KvmVcpu, page: number, host: AcceleratorHost) {
    this.#words = vcpu.words;
    this.#view = vcpu.view;
    this.#first = (page * PAGE) >> 2;
    this.#host = host;
  }

  /**
   * Asks KVM to collect what the board's devices allow, but for what lies in memory that is KVM's own. Undefined: this KVM does not, or
   * there is nothing to collect.
   */
  static begin(
    vm: KvmVm,
    vcpu: KvmVcpu,
    host: AcceleratorHost,
    hidden: { readonly start: number; readonly size: number } | undefined,
  ): DeferredWrites | undefined {
    const page = vm.system.check('COALESCED_MMIO');
    if (page === 0 || (page + 1) * PAGE > vcpu.bytes.length) return undefined;
    const takesPorts = vm.system.check('COALESCED_PIO') !== 0;
    const isHidden = ({ space, start }: DeferrableRange) =>
      hidden !== undefined && space === 'memory' && start >= hidden.start && start < hidden.start + hidden.size;
    const ranges = host.deferrable().filter((range) => (range.space === 'memory' || takesPorts) && !isHidden(range));
    for (const range of ranges) vm.call('collect writes', call.registerCoalescedMmio, zone(range));
    return ranges.length > 0 ? new DeferredWrites(vcpu, page, host) : undefined;
  }

  /** Hands over what has been collected, in order; each counts as the access that it is. */
  drain(exits: ExitCounters): void {
    const words = this.#words;
    const view = this.#view;
    const at = this.#first;
    // A ring of the kernel's: an index beyond it would be the kernel's error, and must not hang.
    for (let left = ENTRIES; words[at] !== words[at + 1] && left > 0; left--) {
      const offset = at * 4 + HEADER_BYTES + (words[at] % ENTRIES) * ENTRY_BYTES;
      const address =
        view.getUint32(offset + entry.address, true) + view.getUint32(offset + entry.address + 4, true) * 2 ** 32;
      const length = view.getUint32(offset + entry.length, true);
      const size = length >= 4 ? 4 : length >= 2 ? 2 : 1;
      const data = offset + entry.data;
      const value =
        size === 4 ? view.getUint32(data, true) : size === 2 ? view.getUint16(data, true) : view.getUint8(data);
      const isPort = view.getUint32(offset + entry.isPort, true) !== 0;
      Atomics.store(words, at, (words[at] + 1) % ENTRIES);
      exits.counts[isPort ? exitIndex.pioWrite : exitIndex.mmioWrite]++;
      if (isPort) this.#host.pioWrite(address, size, value);
      else this.#host.mmioWrite(address, size, value);
    }
  }
}

/** `struct kvm_coalesced_mmio_zone` */
function zone({ space, start, size }: DeferrableRange): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(16));
  bytes.setBigUint64(0, BigInt(start), true);
  bytes.setUint32(8, size, true);
  bytes.setUint32(12, space === 'port' ? 1 : 0, true);
  return new Uint8Array(bytes.buffer);
}
