/**
 * Further vCPUs of a KVM machine. Each runs in a thread of its own (`SecondaryVcpu`); what its exits ask of devices goes to the
 * thread that has the devices, which also runs the first vCPU (`Secondaries`). They share a block of memory for each: a request, who
 * is to do what, and who has heard.
 */
import { VringError } from '../../../base/index.js';
import { call, exit, runPage } from './abi.js';
import { KvmSystem, KvmVm } from './system.js';
import { KvmVcpu, KvmVcpuCalls } from './vcpu.js';

/** Words of the shared block. */
const at = {
  state: 0,
  command: 1,
  heard: 2,
  threadId: 3,
  fd: 4,
  kind: 5,
  isWrite: 6,
  size: 7,
  number: 8,
  count: 9,
  addressLow: 10,
  addressHigh: 11,
  error: 12,
} as const;
const DATA_OFFSET = 64;
const DATA_BYTES = 4096;
export const SECONDARY_BYTES = DATA_OFFSET + DATA_BYTES;

const state = { none: 0, asked: 1, answered: 2 } as const;
/** `step`: one instruction, then `pause`. */
const command = { pause: 0, run: 1, end: 2, step: 3 } as const;
/** What the thread has come to: `command` + 1. */
const started = 0;
const kind = { pio: 0, mmio: 1, msr: 2, eoi: 3, shutdown: 4, failed: 5, debug: 6 } as const;

/** Entries for one instruction: a kick may end one before it, and the instruction may need devices. */
const STEP_ENTRIES = 100;

/** A busy host may take long to start a thread. */
const HEARD_MS = 60_000;

export interface SecondaryConfig {
  readonly vmFd: number;
  readonly id: number;
  readonly shared: SharedArrayBuffer;
  /** `struct kvm_cpuid2` of this vCPU. */
  readonly cpuid: Uint8Array;
  readonly tscKhz: number;
}

/** The vCPU's own thread: `run` returns when the machine ends. */
export class SecondaryVcpu {
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #vcpu: KvmVcpu;
  readonly #wakeDevices: () => void;

  /** `wakeDevices` makes the devices' thread call `Secondaries.serve`. */
  constructor({ vmFd, id, shared, cpuid, tscKhz }: SecondaryConfig, wakeDevices: () => void) {
    this.#words = new Int32Array(shared);
    this.#bytes = new Uint8Array(shared, DATA_OFFSET);
    this.#wakeDevices = wakeDevices;
    const system = new KvmSystem();
    this.#vcpu = new KvmVcpu(new KvmVm(system, vmFd), id);
    this.#vcpu.try(call.setTscKhz, tscKhz);
    this.#vcpu.call("take the model's CPUID", call.setCpuid2, cpuid);
    Atomics.store(this.#words, at.fd, this.#vcpu.fd);
    Atomics.store(this.#words, at.threadId, this.#vcpu.threadId);
  }

  run(): void {
    const words = this.#words;
    let ran = false;
    for (;;) {
      const wanted = Atomics.load(words, at.command);
      // Whoever reads its registers finds them as they are after the last exit.
      if (wanted === command.pause && ran) while (this.#vcpu.finishExit() && this.#exit());
      ran = wanted === command.run || wanted === command.step;
      if (wanted === command.step) {
        this.#step();
        Atomics.compareExchange(words, at.command, command.step, command.pause);
        continue;
      }
      if (Atomics.exchange(words, at.heard, wanted + 1) !== wanted + 1) Atomics.notify(words, at.heard);
      if (wanted === command.end) break;
      if (wanted === command.pause) {
        Atomics.wait(words, at.command, command.pause);
        continue;
      }
      try {
        if (this.#vcpu.run()) this.#exit();
      } catch (error) {
        if (!(error instanceof VringError)) throw error;
        this.#fail(error.message);
      }
    }
    this.#vcpu.close();
  }

  #step(): void {
    try {
      for (let left = STEP_ENTRIES; left > 0; left--) {
        if (!this.#vcpu.run()) continue;
        if (this.#vcpu.words[runPage.exitReason >> 2] === exit.debug || !this.#exit()) return;
      }
    } catch (error) {
      if (!(error instanceof VringError)) throw error;
      this.#fail(error.message);
    }
  }

  /** False: there is nothing more to be finished. */
  #exit(): boolean {
    const { bytes, view, words } = this.#vcpu;
    const reason = words[runPage.exitReason >> 2];
    const ask = this.#words;
    switch (reason) {
      case exit.io: {
        const size = bytes[runPage.ioSize];
        const length = Math.min(size * words[runPage.ioCount >> 2], DATA_BYTES);
        const from = words[runPage.ioDataOffset >> 2];
        ask[at.isWrite] = bytes[runPage.ioDirection];
        ask[at.size] = size;
        ask[at.number] = view.getUint16(runPage.ioPort, true);
        ask[at.count] = length / size;
        this.#exchange(kind.pio, bytes.subarray(from, from + length));
        return true;
      }
      case exit.mmio:
        ask[at.isWrite] = bytes[runPage.mmioIsWrite];
        ask[at.size] = words[runPage.mmioLength >> 2];
        ask[at.addressLow] = words[runPage.mmioAddress >> 2];
        ask[at.addressHigh] = words[(runPage.mmioAddress + 4) >> 2];
        this.#exchange(kind.mmio, bytes.subarray(runPage.mmioData, runPage.mmioData + 8));
        return true;
      case exit.x86Rdmsr:
      case exit.x86Wrmsr:
        ask[at.isWrite] = reason === exit.x86Wrmsr ? 1 : 0;
        ask[at.number] = words[runPage.msrIndex >> 2];
        this.#exchange(kind.msr, bytes.subarray(runPage.msrData, runPage.msrData + 8));
        bytes[runPage.msrError] = ask[at.error];
        return true;
      case exit.ioapicEoi:
        ask[at.number] = bytes[runPage.eoiVector];
        this.#exchange(kind.eoi, new Uint8Array(0));
        return true;
      case exit.intr:
        return false;
      case exit.debug:
        this.#exchange(kind.debug, bytes.subarray(runPage.debugPc, runPage.debugDr6 + 8));
        return false;
      case exit.shutdown:
        this.#exchange(kind.shutdown, new Uint8Array(0));
        return false;
      case exit.failEntry:
        this.#fail(`the processor refuses the guest's state (reason 0x${this.#vcpu.hex64(runPage.failReason)})`);
        return false;
      case exit.internalError:
        this.#fail(this.#vcpu.internalError());
        return false;
      default:
        this.#fail(`an exit that is not known (${reason})`);
        return false;
    }
  }

  #fail(message: string): void {
    const text = new TextEncoder().encode(message);
    this.#words[at.size] = text.length;
    this.#exchange(kind.failed, text);
  }

  /** Asks the devices' thread, with data both ways. */
  #exchange(what: number, bytes: Uint8Array): void {
    const words = this.#words;
    this.#bytes.set(bytes);
    words[at.kind] = what;
    Atomics.store(words, at.state, state.asked);
    this.#wakeDevices();
    while (Atomics.load(words, at.state) === state.asked) Atomics.wait(words, at.state, state.asked);
    Atomics.store(words, at.state, state.none);
    bytes.set(this.#bytes.subarray(0, bytes.length));
  }
}

/** What the devices' thread does with what further vCPUs ask. */
export interface SecondaryHost {
  mmioRead(gpa: number, size: 1 | 2 | 4): number;
  mmioWrite(gpa: number, size: 1 | 2 | 4, value: number): void;
  pioRead(port: number, size: 1 | 2 | 4): number;
  pioWrite(port: number, size: 1 | 2 | 4, value: number): void;
  readMsr(vcpu: number, index: number): bigint | undefined;
  writeMsr(vcpu: number, index: number, value: bigint): boolean;
  endOfInterrupt(vector: number): void;
  /** A triple fault: the machine resets. */
  shutdown(): void;
}

interface Block {
  readonly id: number;
  readonly words: Int32Array;
  readonly view: DataView;
  readonly bytes: Uint8Array;
}

/** Further vCPUs, as the devices' thread sees them. They stand until `resume`. */
export class Secondaries {
  /** A vCPU has met a debug exception at an address, of which its status register tells; true: it is to stand. */
  onDebug: ((vcpu: number, pc: bigint, status: bigint) => boolean) | undefined;
  /** A vCPU has asked for something of devices, which is done; true: it is to stand. */
  onAsked: ((vcpu: number) => boolean) | undefined;
  readonly #vm: KvmVm;
  readonly #host: SecondaryHost;
  readonly #blocks: readonly Block[];

  /** `start` starts the thread of a vCPU. Throws VringError `kvm-vcpus` when one does not come up. */
  constructor(vm: KvmVm, count: number, host: SecondaryHost, start: (id: number, shared: SharedArrayBuffer) => void) {
    this.#vm = vm;
    this.#host = host;
    this.#blocks = Array.from({ length: count }, (_, i) => {
      const shared = new SharedArrayBuffer(SECONDARY_BYTES);
      start(i + 1, shared);
      return {
        id: i + 1,
        words: new Int32Array(shared),
        view: new DataView(shared, DATA_OFFSET),
        bytes: new Uint8Array(shared, DATA_OFFSET),
      };
    });
    const end = performance.now() + HEARD_MS;
    for (const { words } of this.#blocks) {
      while (Atomics.load(words, at.heard) === started) {
        Atomics.wait(words, at.heard, started, 100);
        if (performance.now() > end) throw new VringError('kvm-vcpus', 'the thread of a vCPU does not come up');
      }
    }
  }

  /** Their calls, by number less one. Only while they stand. */
  calls(): readonly KvmVcpuCalls[] {
    return this.#blocks.map(({ words }) => new KvmVcpuCalls(this.#vm.system.native, words[at.fd]));
  }

  resume(): void {
    for (const { words } of this.#blocks) {
      Atomics.store(words, at.command, command.run);
      Atomics.notify(words, at.command);
    }
  }

  /** All stand when it returns; what they ask meanwhile is answered, each time after `before`. */
  pause(before: () => void): void {
    this.#order(command.pause, before);
  }

  /** One instruction of a vCPU, while all stand; what it asks is answered, each time after `before`. */
  step(vcpu: number, before: () => void): void {
    const { words } = this.#blocks[vcpu - 1];
    Atomics.store(words, at.heard, started);
    Atomics.store(words, at.command, command.step);
    Atomics.notify(words, at.command);
    const end = performance.now() + HEARD_MS;
    while (Atomics.load(words, at.heard) === started && performance.now() < end) {
      this.serve(before);
      Atomics.wait(words, at.heard, started, 1);
    }
  }

  close(): void {
    this.#order(command.end, () => {});
  }

  #order(what: number, before: () => void): void {
    for (const { words } of this.#blocks) {
      Atomics.store(words, at.command, what);
      Atomics.notify(words, at.command);
      this.#vm.system.native.signal(words[at.threadId]);
    }
    const end = performance.now() + HEARD_MS;
    for (const { words } of this.#blocks) {
      while (Atomics.load(words, at.heard) !== what + 1 && performance.now() < end) {
        this.serve(before);
        Atomics.wait(words, at.heard, command.run + 1, 1);
      }
    }
  }

  /** Answers what they ask, each time after `before`. Throws VringError `kvm-internal` when one has failed. */
  serve(before: () => void): void {
    for (const block of this.#blocks) {
      if (Atomics.load(block.words, at.state) !== state.asked) continue;
      before();
      this.#answer(block);
      if (block.words[at.kind] !== kind.debug && this.onAsked?.(block.id))
        Atomics.compareExchange(block.words, at.command, command.run, command.pause);
      Atomics.store(block.words, at.state, state.answered);
      Atomics.notify(block.words, at.state);
    }
  }

  #answer({ id, words, view, bytes }: Block): void {
    const host = this.#host;
    const isWrite = words[at.isWrite] !== 0;
    switch (words[at.kind]) {
      case kind.pio: {
        const size = words[at.size] as 1 | 2 | 4;
        const port = words[at.number];
        for (let i = 0; i < words[at.count]; i++) {
          if (isWrite) host.pioWrite(port, size, getValue(view, i * size, size));
          else setValue(view, i * size, size, host.pioRead(port, size));
        }
        return;
      }
      case kind.mmio: {
        const gpa = (words[at.addressLow] >>> 0) + (words[at.addressHigh] >>> 0) * 2 ** 32;
        for (let done = 0; done < words[at.size]; ) {
          const left = words[at.size] - done;
          const size = left >= 4 ? 4 : left >= 2 ? 2 : 1;
          if (isWrite) host.mmioWrite(gpa + done, size, getValue(view, done, size));
          else setValue(view, done, size, host.mmioRead(gpa + done, size));
          done += size;
        }
        return;
      }
      case kind.msr: {
        const index = words[at.number] >>> 0;
        if (isWrite) words[at.error] = host.writeMsr(id, index, view.getBigUint64(0, true)) ? 0 : 1;
        else {
          const value = host.readMsr(id, index);
          words[at.error] = value === undefined ? 1 : 0;
          view.setBigUint64(0, value ?? 0n, true);
        }
        return;
      }
      case kind.eoi:
        host.endOfInterrupt(words[at.number]);
        return;
      case kind.shutdown:
        host.shutdown();
        return;
      case kind.debug:
        // Before it is answered: it must not go on.
        if (this.onDebug?.(id, view.getBigUint64(0, true), view.getBigUint64(8, true)))
          Atomics.compareExchange(words, at.command, command.run, command.pause);
        return;
      default: {
        const text = new TextDecoder().decode(bytes.slice(0, words[at.size]));
        throw new VringError('kvm-internal', `KVM cannot run vCPU ${id} any further: ${text}.`);
      }
    }
  }
}

function getValue(view: DataView, offset: number, size: 1 | 2 | 4): number {
  return size === 4 ? view.getUint32(offset, true) : size === 2 ? view.getUint16(offset, true) : view.getUint8(offset);
}

function setValue(view: DataView, offset: number, size: 1 | 2 | 4, value: number): void {
  if (size === 4) view.setUint32(offset, value, true);
  else if (size === 2) view.setUint16(offset, value, true);
  else view.setUint8(offset, value);
}
