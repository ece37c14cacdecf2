/**
 * KVM's table of interrupt routes (KVM_SET_GSI_ROUTING): rows of the interrupt controllers, and behind them messages that devices send
 * again and again. Each of those has a descriptor of the system (KVM_IRQFD): to write to it is to send the message.
 *
 * A row never changes its message while it has its descriptor, so a device that changes address or data of a vector simply sends
 * another message; one that has not come for long makes room.
 */
import { call, routing } from './abi.js';
import type { Native } from './native.js';
import type { KvmVm } from './system.js';

/** Messages that have descriptors at most. */
const MOST_ROUTED = 64;
/** Messages that are counted at most. */
const MOST_SEEN = 256;
/** A message has its descriptor from this one on: a new table of routes stops all vCPUs for a moment. */
const WORTH_A_ROUTE = 8;

/** `struct kvm_irqfd` */
const irqfd = { fd: 0, gsi: 4, flags: 8, bytes: 32 } as const;
const IRQFD_REMOVE = 1;

/** A row by the number of its global interrupt. */
export type Route =
  | { readonly gsi: number; readonly chip: number; readonly pin: number }
  | { readonly gsi: number; readonly address: number; readonly data: number };

interface Message {
  readonly address: number;
  readonly data: number;
  /** How often it has been sent without a route. */
  seen: number;
  /** -1: none. */
  gsi: number;
  fd: number;
}

export class InterruptRoutes {
  readonly #vm: KvmVm;
  readonly #native: Native;
  readonly #first: number;
  readonly #most: number;
  #controllers: readonly Route[] = [];
  /** In the order in which they were first seen, or routed. */
  readonly #messages = new Map<number, Message>();
  readonly #free: number[];
  /** KVM has refused a route or a descriptor: there will be no more. */
  #isRefused = false;

  /** Global interrupts below `first` are the controllers'. */
  constructor(vm: KvmVm, first: number) {
    this.#vm = vm;
    this.#native = vm.system.native;
    this.#first = first;
    const room = vm.system.check('IRQFD') === 0 ? 0 : vm.system.check('IRQ_ROUTING') - first;
    this.#most = Math.max(0, Math.min(room, MOST_ROUTED));
    this.#free = Array.from({ length: this.#most }, (_, i) => first + this.#most - 1 - i);
  }

  setControllers(routes: readonly Route[]): void {
    this.#controllers = routes;
    this.#vm.call('take a table of interrupt routes', call.setGsiRouting, this.#table());
  }

  /** Sends a message by its descriptor. False: it has none. */
  send(address: number, data: number): boolean {
    if (this.#most === 0) return false;
    const key = address * 0x10000 + (data & 0xffff);
    let message = this.#messages.get(key);
    if (!message) {
      this.#makeRoom();
      message = { address, data, seen: 0, gsi: -1, fd: -1 };
      this.#messages.set(key, message);
    }
    if (message.fd < 0 && (++message.seen < WORTH_A_ROUTE || !this.#open(key, message))) return false;
    this.#native.sendEvent(message.fd);
    return true;
  }

  #makeRoom(): void {
    if (this.#messages.size < MOST_SEEN) return;
    for (const [key, { gsi }] of this.#messages) if (gsi < 0) this.#messages.delete(key);
  }

  #open(key: number, message: Message): boolean {
    if (this.#isRefused) return false;
    const fd = this.#native.eventfd();
    if (fd < 0) return this.#refused(message);
    message.fd = fd;
    if (message.gsi < 0 && !this.#route(key, message)) return this.#refused(message);
    return this.#vm.try(call.irqfd, this.#request(message, 0)) >= 0 || this.#refused(message);
  }

  #refused(message: Message): false {
    this.#isRefused = true;
    if (message.fd >= 0) this.#native.close(message.fd);
    message.fd = -1;
    return false;
  }

  #route(key: number, message: Message): boolean {
    if (this.#free.length === 0) this.#giveUpOldest();
    message.gsi = this.#free.pop() as number;
    this.#messages.delete(key);
    this.#messages.set(key, message);
    if (this.#vm.try(call.setGsiRouting, this.#table()) >= 0) return true;
    this.#free.push(message.gsi);
    message.gsi = -1;
    return false;
  }

  #giveUpOldest(): void {
    for (const [key, message] of this.#messages) {
      if (message.gsi < 0) continue;
      this.#close(message);
      this.#free.push(message.gsi);
      this.#messages.delete(key);
      return;
    }
  }

  /** Nothing is on its way any more when it returns: KVM may have left what it could not send at once to a thread of its own. */
  flush(): void {
    for (const message of this.#messages.values()) if (message.fd >= 0) this.#close(message);
  }

  #close(message: Message): void {
    if (message.fd < 0) return;
    this.#vm.call("take back an interrupt's descriptor", call.irqfd, this.#request(message, IRQFD_REMOVE));
    this.#native.close(message.fd);
    message.fd = -1;
  }

  #request({ fd, gsi }: Message, flags: number): Uint8Array {
    const view = new DataView(new ArrayBuffer(irqfd.bytes));
    view.setInt32(irqfd.fd, fd, true);
    view.setUint32(irqfd.gsi, gsi, true);
    view.setUint32(irqfd.flags, flags, true);
    return new Uint8Array(view.buffer);
  }

  #table(): Uint8Array {
    const routes: Route[] = [...this.#controllers];
    for (const message of this.#messages.values()) if (message.gsi >= this.#first) routes.push(message);
    const table = new DataView(new ArrayBuffer(8 + routes.length * routing.entryBytes));
    table.setUint32(0, routes.length, true);
    routes.forEach((route, i) => {
      const at = 8 + i * routing.entryBytes;
      table.setUint32(at, route.gsi, true);
      if ('chip' in route) {
        table.setUint32(at + 4, routing.irqchip, true);
        table.setUint32(at + 16, route.chip, true);
        table.setUint32(at + 20, route.pin, true);
      } else {
        table.setUint32(at + 4, routing.msi, true);
        table.setUint32(at + 16, route.address, true);
        table.setUint32(at + 24, route.data, true);
      }
    });
    return new Uint8Array(table.buffer);
  }
}
