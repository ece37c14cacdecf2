/** Builds USB controllers with what is plugged into them, in the machine's thread. */
import type { Device } from '../bus/index.js';
import {
  type PciFunction,
  type ScsiUnit,
  UhciController,
  type UhciOptions,
  type UsbDevice,
  type UsbHidKind,
  UsbHub,
  type UsbPorts,
  type UsbSpeed,
  UsbStorage,
  uhciModels,
  XhciController,
  type XhciOptions,
} from '../hw/index.js';
import type { DeviceBoard } from '../machine/board.js';
import type { InputRoutes } from './input-routes.js';
import type { UsbControllerConfig, UsbDeviceConfig } from './usb-options.js';

export type UsbController = Device & UsbPorts & { readonly function: PciFunction };

export interface UsbHost {
  readonly input: InputRoutes;
  /** The disk or CD drive of a device. */
  unit(config: UsbDeviceConfig): ScsiUnit;
}

export function makeUsbController(
  board: DeviceBoard,
  name: string,
  config: UsbControllerConfig,
  host: UsbHost,
): UsbController {
  const { model, ports2, ports3 } = config;
  const isUhci = Object.keys(uhciModels).includes(model);
  const devices = devicesAt(config.devices, '', isUhci ? 'full' : 'high', host);
  const common = { name, dma: board.memory.dma, clock: board.clock, devices };
  if (isUhci) return new UhciController({ ...common, model: model as UhciOptions['model'] });
  return new XhciController({ ...common, model: model as XhciOptions['model'], ports2, ports3 });
}

/** Those in the ports behind a prefix, by port. */
function devicesAt(
  configs: readonly UsbDeviceConfig[],
  prefix: string,
  speed: UsbSpeed,
  host: UsbHost,
): (UsbDevice | undefined)[] {
  const devices: (UsbDevice | undefined)[] = [];
  for (const config of configs) {
    const match = /^(.*?)(\d+)$/.exec(config.port);
    if (match?.[1] === prefix) devices[Number(match[2]) - 1] = makeUsbDevice(configs, config, speed, host);
  }
  return devices;
}

/** A device with what is behind it in `configs`. */
export function makeUsbDevice(
  configs: readonly UsbDeviceConfig[],
  config: UsbDeviceConfig,
  speed: UsbSpeed,
  host: UsbHost,
): UsbDevice {
  const { kind, port, id, serial } = config;
  if (kind === 'hub') return new UsbHub({ id, serial, devices: devicesAt(configs, `${port}.`, 'full', host) });
  if (kind === 'storage') return new UsbStorage({ unit: host.unit(config), speed, id, serial });
  return host.input.addUsb({ kind: kind satisfies UsbHidKind, speed, id, serial });
}

/** Firmware's path of a disk behind its controller. */
export function usbBootPath({ port }: UsbDeviceConfig): string {
  const ports = port.split('.');
  const hex = (text: string) => Number(text).toString(16);
  const hubs = ports.slice(0, -1).map((each) => `/hub@${hex(each)}`);
  return `${hubs.join('')}/storage@${hex(ports.at(-1) as string)}/channel@0/disk@0,0`;
}
