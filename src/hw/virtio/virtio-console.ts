/**
 * Console device (Virtual I/O Device 1.2, 5.3): one console, or with MULTIPORT up to 31 ports that are consoles or plain
 * named byte channels (QEMU's virtconsole and virtserialport).
 *
 * Bytes are neither lost nor reordered: a guest's buffer stays in the ring until the backend has taken all of it, and the
 * backend keeps what the guest has no room for. Only what a guest writes while the host side is closed is thrown away, as
 * in QEMU.
 */
import { bool, defineState, list, type StateArena, type StateOf, u8, u16, u32 } from '../../schema/index.js';
import { type StatePart, statePart } from '../pci/saved-parts.js';
import { ConfigBytes } from './config-bytes.js';
import { type VirtioDevice, type VirtioModel, virtioType } from './virtio-device.js';
import type { Virtqueue } from './virtqueue.js';

const feature = { size: 0, multiport: 1, emergencyWrite: 2 } as const;
const configField = { columns: 0, rows: 2, maxPorts: 4, emergencyWrite: 8 } as const;
const configBytes = 12;
const controlEvent = {
  deviceReady: 0,
  deviceAdd: 1,
  portReady: 3,
  consolePort: 4,
  resize: 5,
  portOpen: 6,
  portName: 7,
} as const;
const controlBytes = 8;
const queueIndex = { controlToDriver: 2, controlToDevice: 3 } as const;
const portQueueSize = 128;
const controlQueueSize = 32;
const maxNameBytes = 256;

/** Control messages of a port that the driver has yet to get, in the order in which they are sent. */
const owed = { add: 1, console: 2, name: 4, resize: 8, open: 16 } as const;

const ConsoleState = defineState('virtio-console', 1, {
  driverReady: bool(),
  ports: list(31, {
    /** The driver has the port set up; the guest has it open; the host has it open. */
    guestReady: bool(),
    guestOpen: bool(),
    hostOpen: bool(false, { keep: true }),
    owed: u8(0, { max: 31 }),
    columns: u16(0, { keep: true }),
    rows: u16(0, { keep: true }),
    /** Bytes of the next output buffer that the backend has taken already. */
    taken: u32(),
  }),
});
type PortState = StateOf<typeof ConsoleState>['ports'][number];

export interface ConsolePortBackend {
  /**
   * What the guest wrote. Returns how many bytes were taken; after fewer than all, the port waits for `outputReady`. The
   * bytes lie in guest RAM: what is kept must be copied.
   */
  output(bytes: Uint8Array): number;
  /** The guest opened or closed its side. */
  guestOpened?(open: boolean): void;
  /** The guest may have room for input again. */
  inputReady?(): void;
}

export interface ConsolePortSpec {
  /** Number of the port. Without MULTIPORT there is only port 0, a console. */
  readonly id: number;
  /** Appears as /dev/virtio-ports/NAME in Linux. */
  readonly name?: string;
  /** A console (hvc) rather than a byte channel. */
  readonly isConsole: boolean;
  /** The host side is open from the start; else `setHostOpen` opens it. */
  readonly hostOpen?: boolean;
  readonly backend: ConsolePortBackend;
}

export interface VirtioConsoleOptions {
  readonly ports: readonly ConsolePortSpec[];
  /** Ports that could be there, 1 to 31; with 1 there is no MULTIPORT. */
  readonly maxPorts?: number;
  /**
   * Order of the two fields of a RESIZE message. The specification says columns first, and so does Linux since 6.15 (and
   * Debian's 6.1); older kernels read rows first. The configuration space, used without MULTIPORT, has no such doubt.
   */
  readonly resizeOrder?: 'rows-first' | 'columns-first';
  readonly arena?: StateArena | undefined;
}

export class ConsolePort {
  readonly id: number;
  readonly name: string;
  readonly isConsole: boolean;
  readonly backend: ConsolePortBackend;
  readonly #console: VirtioConsole;

  constructor(spec: ConsolePortSpec, console: VirtioConsole) {
    this.id = spec.id;
    this.name = spec.name ?? '';
    this.isConsole = spec.isConsole;
    this.backend = spec.backend;
    this.#console = console;
  }

  /** Hands bytes to the guest; returns how many found room. After fewer than all, `inputReady` is called when there is more. */
  input(bytes: Uint8Array): number {
    return this.#console.input(this, bytes);
  }
  /** The backend takes output again. */
  outputReady(): void {
    this.#console.drainOutput(this);
  }
  setHostOpen(open: boolean): void {
    this.#console.setHostOpen(this, open);
  }
  resize(columns: number, rows: number): void {
    this.#console.resize(this, columns, rows);
  }
  get guestOpen(): boolean {
    return this.#console.isGuestOpen(this);
  }
}

export class VirtioConsole implements VirtioModel {
  readonly type = virtioType.console;
  readonly queueSizes: readonly number[];
  readonly features: readonly number[];
  readonly config: ConfigBytes;
  readonly configBytes = configBytes;
  readonly vectors: number;
  readonly parts: readonly StatePart[];
  readonly ports: readonly ConsolePort[];
  readonly #state: StateOf<typeof ConsoleState>;
  readonly #byId: readonly (ConsolePort | undefined)[];
  readonly #rowsFirst: boolean;
  /** Undefined until the model is part of a device; ports may be used before. */
  #device: VirtioDevice | undefined;

  constructor(options: VirtioConsoleOptions) {
    const maxPorts = Math.min(Math.max(options.maxPorts ?? 31, 1), 31);
    const multiport = maxPorts > 1;
    this.#state = ConsoleState.allocate(options.arena);
    this.parts = [statePart(ConsoleState, this.#state)];
    this.#rowsFirst = options.resizeOrder === 'rows-first';
    const queueSizes = new Array<number>(multiport ? maxPorts * 2 + 2 : 2).fill(portQueueSize);
    if (multiport) queueSizes.fill(controlQueueSize, queueIndex.controlToDriver, queueIndex.controlToDevice + 1);
    this.queueSizes = queueSizes;
    this.vectors = multiport ? maxPorts + 1 : 3;
    this.features = [feature.size, feature.emergencyWrite, ...(multiport ? [feature.multiport] : [])];
    this.ports = options.ports.filter((spec) => spec.id < maxPorts).map((spec) => new ConsolePort(spec, this));
    const byId = new Array<ConsolePort | undefined>(maxPorts).fill(undefined);
    for (const port of this.ports) byId[port.id] = port;
    if (!options.arena?.attached) {
      for (const spec of options.ports)
        if (spec.id < maxPorts) this.#state.ports[spec.id]!.hostOpen = spec.hostOpen ?? false;
    }
    this.#byId = byId;
    const written = (offset: number, size: number, value: number) => {
      if (offset !== configField.emergencyWrite || size === 2) return;
      byId[0]?.backend.output(Uint8Array.of(value & 0xff));
    };
    this.config = new ConfigBytes(configBytes, written, () => this.#showSize());
    this.config.view.setUint32(configField.maxPorts, maxPorts, true);
  }

  attach(device: VirtioDevice): void {
    this.#device = device;
  }

  #of(port: ConsolePort): PortState {
    return this.#state.ports[port.id]!;
  }
  get #multiport(): boolean {
    return this.#device?.hasFeature(feature.multiport) ?? false;
  }
  #inputQueue(id: number): Virtqueue {
    return this.#device!.queues[id === 0 ? 0 : id * 2 + 2]!;
  }
  #outputQueue(id: number): Virtqueue {
    return this.#device!.queues[id === 0 ? 1 : id * 2 + 3]!;
  }

  reset(): void {
    const open = this.ports.filter((port) => this.#of(port).guestOpen);
    ConsoleState.reset(this.#state);
    for (const port of open) port.backend.guestOpened?.(false);
  }

  started(): void {
    if (this.#multiport) return;
    // Without control messages port 0 is open as soon as there is a driver.
    const port = this.#byId[0];
    if (port === undefined) return;
    this.#of(port).guestOpen = true;
    port.backend.guestOpened?.(true);
  }

  restored(): void {
    for (const port of this.ports) {
      if (!this.#of(port).guestOpen) continue;
      port.backend.guestOpened?.(true);
      this.drainOutput(port);
    }
    this.#sendControl();
  }

  queueKicked(queue: Virtqueue): void {
    const { index } = queue;
    if (index === queueIndex.controlToDriver) this.#sendControl();
    else if (index === queueIndex.controlToDevice) this.#receiveControl(queue);
    else {
      const port = this.#byId[index < 2 ? 0 : (index - 2) >> 1];
      if ((index & 1) === 0) port?.backend.inputReady?.();
      else if (port !== undefined) this.drainOutput(port);
      else this.#discard(queue);
    }
  }

  // Bytes

  input(port: ConsolePort, bytes: Uint8Array): number {
    if (!this.#device?.running || !this.#of(port).guestOpen) return 0;
    const queue = this.#inputQueue(port.id);
    let done = 0;
    while (done < bytes.length) {
      const chain = queue.pop();
      if (chain === undefined) break;
      const count = chain.copyIn(0, bytes.subarray(done));
      queue.push(chain, count);
      done += count;
    }
    if (done > 0) queue.signal();
    return done;
  }

  drainOutput(port: ConsolePort): void {
    if (!this.#device?.running) return;
    const queue = this.#outputQueue(port.id);
    const state = this.#of(port);
    if (!state.hostOpen) {
      state.taken = 0;
      this.#discard(queue);
      return;
    }
    let pushed = false;
    for (let budget = queue.state.size; budget > 0; budget--) {
      const chain = queue.peek();
      if (chain === undefined) break;
      let skip = state.taken;
      let blocked = false;
      for (let i = 0; i < chain.readable.length && !blocked; i++) {
        const piece = chain.readable[i]!;
        if (skip >= piece.length) {
          skip -= piece.length;
          continue;
        }
        const rest = skip === 0 ? piece : piece.subarray(skip);
        skip = 0;
        const count = Math.max(0, Math.min(port.backend.output(rest), rest.length));
        state.taken += count;
        blocked = count < rest.length;
      }
      if (blocked) {
        queue.release(chain);
        break;
      }
      state.taken = 0;
      queue.advance();
      queue.push(chain, 0);
      pushed = true;
    }
    if (pushed) queue.signal();
  }

  #discard(queue: Virtqueue): void {
    let pushed = false;
    for (let budget = queue.state.size; budget > 0; budget--) {
      const chain = queue.pop();
      if (chain === undefined) break;
      queue.push(chain, 0);
      pushed = true;
    }
    if (pushed) queue.signal();
  }

  // Ports

  isGuestOpen(port: ConsolePort): boolean {
    return this.#of(port).guestOpen;
  }

  setHostOpen(port: ConsolePort, open: boolean): void {
    const state = this.#of(port);
    if (state.hostOpen === open) return;
    state.hostOpen = open;
    if (state.guestReady) state.owed |= owed.open;
    this.#sendControl();
    if (!open) this.drainOutput(port);
  }

  resize(port: ConsolePort, columns: number, rows: number): void {
    const state = this.#of(port);
    const [c, r] = [Math.min(Math.max(columns, 0), 0xffff), Math.min(Math.max(rows, 0), 0xffff)];
    if (state.columns === c && state.rows === r) return;
    state.columns = c;
    state.rows = r;
    if (port.id === 0) this.#device?.configChanged();
    if (state.guestReady && port.isConsole) state.owed |= owed.resize;
    this.#sendControl();
  }

  #showSize(): void {
    const { columns, rows } = this.#state.ports[0]!;
    this.config.view.setUint16(configField.columns, columns, true);
    this.config.view.setUint16(configField.rows, rows, true);
  }

  // Control messages

  #receiveControl(queue: Virtqueue): void {
    const message = new Uint8Array(controlBytes);
    const view = new DataView(message.buffer);
    for (let budget = queue.state.size; budget > 0; budget--) {
      const chain = queue.pop();
      if (chain === undefined) break;
      const complete = chain.copyOut(0, message) === controlBytes;
      queue.push(chain, 0);
      if (complete) this.#control(view.getUint32(0, true), view.getUint16(4, true), view.getUint16(6, true));
    }
    queue.signal();
    this.#sendControl();
  }

  #control(id: number, event: number, value: number): void {
    if (event === controlEvent.deviceReady) {
      this.#state.driverReady = value === 1;
      if (value === 1) for (const port of this.ports) this.#of(port).owed |= owed.add;
      return;
    }
    const port = this.#byId[id];
    if (port === undefined) return;
    const state = this.#of(port);
    if (event === controlEvent.portReady) {
      state.guestReady = value === 1;
      if (value !== 1) return;
      if (port.isConsole) state.owed |= owed.console;
      if (port.name !== '') state.owed |= owed.name;
      if (port.isConsole && state.columns > 0) state.owed |= owed.resize;
      if (state.hostOpen) state.owed |= owed.open;
    } else if (event === controlEvent.portOpen) {
      const open = value !== 0;
      if (state.guestOpen === open) return;
      state.guestOpen = open;
      port.backend.guestOpened?.(open);
      if (open) port.backend.inputReady?.();
    }
  }

  /** Sends what is owed, as far as the driver has buffers. */
  #sendControl(): void {
    if (!this.#device?.running || !this.#state.driverReady || !this.#multiport) return;
    const queue = this.#device.queues[queueIndex.controlToDriver]!;
    let pushed = false;
    for (const port of this.ports) {
      const state = this.#of(port);
      while (state.owed !== 0) {
        const bit = state.owed & -state.owed;
        const chain = queue.pop();
        if (chain === undefined) {
          if (pushed) queue.signal();
          return;
        }
        queue.push(chain, chain.copyIn(0, this.#message(port, state, bit)));
        state.owed &= ~bit;
        pushed = true;
      }
    }
    if (pushed) queue.signal();
  }

  #message(port: ConsolePort, state: PortState, bit: number): Uint8Array {
    const make = (event: number, value: number, payload: Uint8Array = new Uint8Array(0)) => {
      const bytes = new Uint8Array(controlBytes + payload.length);
      const view = new DataView(bytes.buffer);
      view.setUint32(0, port.id, true);
      view.setUint16(4, event, true);
      view.setUint16(6, value, true);
      bytes.set(payload, controlBytes);
      return bytes;
    };
    switch (bit) {
      case owed.add:
        return make(controlEvent.deviceAdd, 1);
      case owed.console:
        return make(controlEvent.consolePort, 1);
      case owed.name:
        // The terminating zero is QEMU's habit.
        return make(controlEvent.portName, 1, new TextEncoder().encode(`${port.name.slice(0, maxNameBytes)}\0`));
      case owed.resize: {
        const { columns, rows } = state;
        const [first, second] = this.#rowsFirst ? [rows, columns] : [columns, rows];
        return make(controlEvent.resize, 0, Uint8Array.of(first & 0xff, first >> 8, second & 0xff, second >> 8));
      }
      default:
        return make(controlEvent.portOpen, state.hostOpen ? 1 : 0);
    }
  }
}
