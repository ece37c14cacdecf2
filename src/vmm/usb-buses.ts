/** USB buses of a machine, in its thread: what is in which port, and devices that come and go. */
import { assert, VringError } from '../base/index.js';
import { type UsbDevice, UsbHub, type UsbPortTable, type UsbSpeed } from '../hw/index.js';
import { makeUsbDevice, type UsbController, type UsbHost } from './usb-devices.js';
import { type UsbControllerConfig, type UsbDeviceConfig, UsbPlaces, type UsbPort } from './usb-options.js';

const speeds: Readonly<Record<UsbSpeed, string>> = { full: '12', high: '480' };

/** A controller's ports and those of the hubs behind it. */
class UsbBus {
  readonly name: string;
  readonly places: UsbPlaces;
  readonly #number: number;
  readonly #controller: UsbController;
  /** In the order in which they came. */
  readonly #plugged: { readonly port: string; readonly device: UsbDevice }[] = [];

  /** `number`: of the bus, for a person. */
  constructor(number: number, controller: UsbController, config: UsbControllerConfig) {
    this.#number = number;
    this.name = config.bus;
    this.#controller = controller;
    this.places = new UsbPlaces(config);
    for (const { kind, port } of config.devices) {
      this.places.take(kind, port);
      const device = this.#at(port);
      assert(device, 'the device was built with its controller');
      this.#plugged.push({ port, device });
    }
  }

  /** Where a port is: on the controller, or on a hub. */
  #find(port: string): { readonly table: UsbPortTable; readonly index: number; readonly speed: UsbSpeed } {
    const numbers = port.split('.').map((text) => Number(text) - 1);
    const index = numbers.pop() as number;
    let { table, speed } = this.#controller;
    for (const number of numbers) {
      const hub = table.device(number);
      assert(hub instanceof UsbHub, 'ports are behind hubs');
      table = hub.table;
      speed = hub.speed;
    }
    return { table, index, speed };
  }

  #at(port: string): UsbDevice | undefined {
    const { table, index } = this.#find(port);
    return table.device(index);
  }

  plug(config: UsbDeviceConfig, host: UsbHost): void {
    const { table, index, speed } = this.#find(config.port);
    const device = makeUsbDevice([], config, speed, host);
    table.plug(index, device);
    this.#plugged.push({ port: config.port, device });
  }

  /** Ports of a device and of all behind it, those behind it first. Throws VringError `device-busy`. */
  leaving(port: string): readonly string[] {
    const gone = this.#plugged.filter((each) => each.port === port || each.port.startsWith(`${port}.`));
    if (gone.some(({ device }) => device.pendingRequests > 0))
      throw new VringError('device-busy', 'The device waits for a disk that failed; the machine has to go on first.');
    return gone.map((each) => each.port).toSorted((a, b) => b.split('.').length - a.split('.').length);
  }

  unplug(port: string, host: UsbHost): void {
    const { table, index } = this.#find(port);
    table.unplug(index);
    this.places.giveBack(port);
    const at = this.#plugged.findIndex((each) => each.port === port);
    for (const { device } of this.#plugged.splice(at, 1)) host.input.remove(device);
  }

  /** It is gone, with all that is plugged into it. */
  end(host: UsbHost): void {
    for (const { device } of this.#plugged) host.input.remove(device);
  }

  /** Lines of `info usb`. */
  describe(): string[] {
    return this.#plugged.map(({ port, device: { base, speed, description, id } }) => {
      const name = id === undefined ? '' : `, ID: ${id}`;
      const { product } = description;
      return `  Device ${this.#number}.${base.address}, Port ${port}, Speed ${speeds[speed]} Mb/s, Product ${product}${name}`;
    });
  }
}

export class UsbBuses {
  /** In the order in which they came. */
  #buses: UsbBus[] = [];
  readonly #host: UsbHost;
  #added = 0;

  constructor(host: UsbHost) {
    this.#host = host;
  }

  /** A controller with what it was built with. */
  add(controller: UsbController, config: UsbControllerConfig): void {
    this.#buses.push(new UsbBus(this.#added++, controller, config));
  }

  /** The controller is gone, with all that is plugged into it. */
  remove(name: string): void {
    this.#find(name).end(this.#host);
    this.#buses = this.#buses.filter((each) => each.name !== name);
  }

  #find(name: string): UsbBus {
    const bus = this.#buses.find((each) => each.name === name);
    if (!bus) throw new VringError('device-bus', `Bus '${name}' not found`);
    return bus;
  }

  /**
   * A device into a port of a bus: the one that it names, or the next free one; with a hub before it where that is the last. Gives the port.
   * Throws VringError `device-bus`, `options-invalid`.
   */
  plug(name: string, device: Omit<UsbDeviceConfig, 'port'> & { readonly port?: string | undefined }): UsbPort {
    const bus = this.#find(name);
    const { port, hub } = bus.places.take(device.kind, device.port);
    if (hub !== undefined) bus.plug({ kind: 'hub', port: hub }, this.#host);
    bus.plug({ ...device, port }, this.#host);
    return { bus: name, port };
  }

  /**
   * Pulls out what is in a port, and all behind it; what their disks had under way has ended. Gives their ports, those behind first. Throws
   * VringError `device-bus`, `device-busy`.
   */
  unplug({ bus: name, port }: UsbPort): readonly string[] {
    const bus = this.#find(name);
    const ports = bus.leaving(port);
    for (const each of ports) bus.unplug(each, this.#host);
    return ports;
  }

  /** Text of `info usb`. Throws VringError `no-usb`. */
  describe(): string {
    if (this.#buses.length === 0) throw new VringError('no-usb', 'USB support not enabled');
    return this.#buses.flatMap((bus) => bus.describe()).join('\n');
  }
}
