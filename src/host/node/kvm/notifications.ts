/**
 * Writes to notify registers that do not end the guest's turn (KVM_IOEVENTFD): KVM counts them in a descriptor of the system, a thread
 * that waits for such descriptors (`waitForNotifications`) tells the devices' thread, and that one does the write.
 *
 * A register is given to KVM when a write to it has come out of the guest, so that one that no driver uses costs nothing, and taken
 * back when something else answers at its address.
 */
import type { AcceleratorHost } from '../../../accel/index.js';
import type { NotifyRegister } from '../../../bus/index.js';
import { call } from './abi.js';
import { loadNative, type Native } from './native.js';
import type { KvmVm } from './system.js';

/** Registers that KVM has at most; the others' writes come out of the guest. */
const MOST = 64;
/** What the system tells of the descriptor by which the thread is ended. */
const END = MOST;

/** Words of the shared block: what the thread has come to, then a bit for each register that was written. */
const STATE = 0;
const PENDING = 1;
const WORDS = PENDING + MOST / 32;
const state = { none: 0, waits: 1, ended: 2 } as const;
const END_MS = 60_000;

/** `struct kvm_ioeventfd` */
const field = { value: 0, address: 8, length: 16, fd: 20, flags: 24, bytes: 64 } as const;
const flag = { hasValue: 1, isPort: 2, remove: 4 } as const;

export interface NotificationsConfig {
  /** The system's list of descriptors that are waited for. */
  readonly list: number;
  readonly shared: SharedArrayBuffer;
}

/** The thread that waits: returns when it is told to. `wakeDevices` makes the devices' thread call `Notifications.serve`. */
export function waitForNotifications({ list, shared }: NotificationsConfig, wakeDevices: () => void): void {
  const native = loadNative();
  const words = new Int32Array(shared);
  Atomics.store(words, STATE, state.waits);
  for (let isEnd = false; !isEnd; ) {
    let isNews = false;
    for (const tag of native.waitForEvents(list)) {
      if (tag === END) isEnd = true;
      else {
        Atomics.or(words, PENDING + (tag >> 5), 1 << (tag & 31));
        isNews = true;
      }
    }
    if (isNews) wakeDevices();
  }
  Atomics.store(words, STATE, state.ended);
  Atomics.notify(words, STATE);
}

interface Registration {
  readonly register: NotifyRegister;
  readonly space: 'port' | 'memory';
  readonly address: number;
  /** Of the write that was seen. */
  readonly size: 1 | 2 | 4;
  readonly value: number;
  readonly fd: number;
}

export interface NotificationsOptions {
  readonly vm: KvmVm;
  readonly host: AcceleratorHost;
  /** Whether a register whose device says nothing about it is given to KVM. */
  readonly unlessAsked: boolean;
  /** Starts the thread, which calls `waitForNotifications`. */
  readonly start: (config: NotificationsConfig) => void;
}

export class Notifications {
  /** The board with this between: it sees the writes that come out of the guest. */
  readonly host: AcceleratorHost;
  readonly #native: Native;
  readonly #vm: KvmVm;
  readonly #board: AcceleratorHost;
  readonly #unlessAsked: boolean;
  readonly #start: (config: NotificationsConfig) => void;
  readonly #takesAnyLength: boolean;
  readonly #words = new Int32Array(new SharedArrayBuffer(WORDS * 4));
  readonly #registrations: (Registration | undefined)[] = [];
  /** The list, and the descriptor that ends the thread, once there is one. */
  #list = -1;
  #end = -1;
  #isStale = false;
  /** KVM has refused one. */
  #isRefused = false;

  constructor({ vm, host, unlessAsked, start }: NotificationsOptions) {
    this.#vm = vm;
    this.#native = vm.system.native;
    this.#board = host;
    this.#unlessAsked = unlessAsked;
    this.#start = start;
    this.#takesAnyLength = vm.system.check('IOEVENTFD_ANY_LENGTH') !== 0;
    this.host = {
      ...host,
      mmioWrite: (gpa, size, value) => {
        host.mmioWrite(gpa, size, value);
        this.#written('memory', gpa, size, value);
      },
      pioWrite: (port, size, value) => {
        host.pioWrite(port, size, value);
        this.#written('port', port, size, value);
      },
    };
  }

  /** Registers may have come, gone or moved. Before the next access KVM has to know. */
  windowsChanged(): void {
    this.#isStale = true;
  }

  /** KVM has what holds, before the guest goes on. */
  settle(): void {
    if (!this.#isStale) return;
    this.#isStale = false;
    this.#registrations.forEach((each, tag) => {
      if (!each || this.#find(each) === each.register) return;
      this.#registrations[tag] = undefined;
      this.#vm.call('take back a notification', call.ioeventfd, this.#request(each, flag.remove));
      this.#native.close(each.fd);
    });
  }

  #find({ space, address, size, value }: Omit<Registration, 'register' | 'fd'>): NotifyRegister | undefined {
    return this.#board.notifyRegister(space, address, size, value);
  }

  #written(space: 'port' | 'memory', address: number, size: 1 | 2 | 4, value: number): void {
    this.settle();
    if (this.#isRefused) return;
    const register = this.#board.notifyRegister(space, address, size, value);
    if (!register || !(register.isAsked ?? this.#unlessAsked)) return;
    if (this.#list < 0) this.#begin();
    // Nobody would hear of it yet.
    if (Atomics.load(this.#words, STATE) !== state.waits) return;
    const free = this.#registrations.indexOf(undefined);
    const tag = free < 0 ? this.#registrations.length : free;
    if (tag === MOST || this.#registrations.some((each) => each?.register === register)) return;
    const fd = this.#native.eventfd();
    if (fd < 0) return;
    const made: Registration = { register, space, address, size, value, fd };
    this.#native.addEvent(this.#list, fd, tag);
    if (this.#vm.try(call.ioeventfd, this.#request(made, 0)) < 0) {
      this.#isRefused = true;
      this.#native.close(fd);
      return;
    }
    this.#registrations[tag] = made;
  }

  #begin(): void {
    this.#list = this.#native.createEventList();
    this.#end = this.#native.eventfd();
    if (this.#list < 0 || this.#end < 0) {
      this.#isRefused = true;
      return;
    }
    this.#native.addEvent(this.#list, this.#end, END);
    this.#start({ list: this.#list, shared: this.#words.buffer as SharedArrayBuffer });
  }

  #request({ register, space, address, size, fd }: Registration, flags: number): Uint8Array {
    const view = new DataView(new ArrayBuffer(field.bytes));
    const hasValue = register.value !== undefined;
    if (hasValue) view.setBigUint64(field.value, BigInt(register.value), true);
    view.setBigUint64(field.address, BigInt(address), true);
    view.setUint32(field.length, space === 'memory' && !hasValue && this.#takesAnyLength ? 0 : size, true);
    view.setInt32(field.fd, fd, true);
    view.setUint32(field.flags, flags | (hasValue ? flag.hasValue : 0) | (space === 'port' ? flag.isPort : 0), true);
    return new Uint8Array(view.buffer);
  }

  /** Does the writes that the thread has told of. */
  serve(): void {
    for (let word = 0; word < MOST / 32; word++) {
      if (Atomics.load(this.#words, PENDING + word) === 0) continue;
      let bits = Atomics.exchange(this.#words, PENDING + word, 0);
      for (; bits !== 0; bits &= bits - 1) this.#serve(32 * word + 31 - Math.clz32(bits & -bits));
    }
  }

  /** Does all writes, those too that the thread has not told of yet: the vCPUs stand. */
  flush(): void {
    for (let tag = 0; tag < this.#registrations.length; tag++) this.#serve(tag);
  }

  /** Several writes since the last time are one. */
  #serve(tag: number): void {
    const each = this.#registrations[tag];
    if (!each || !this.#native.takeEvents(each.fd)) return;
    if (each.space === 'memory') this.#board.mmioWrite(each.address, each.size, each.value);
    else this.#board.pioWrite(each.address, each.size, each.value);
    this.settle();
  }

  close(): void {
    if (this.#list < 0) return;
    const words = this.#words;
    this.#native.sendEvent(this.#end);
    const end = performance.now() + END_MS;
    for (let now = Atomics.load(words, STATE); now !== state.ended && performance.now() < end; ) {
      Atomics.wait(words, STATE, now, 100);
      now = Atomics.load(words, STATE);
    }
    for (const each of this.#registrations) if (each) this.#native.close(each.fd);
    this.#native.close(this.#end);
    this.#native.close(this.#list);
  }
}
