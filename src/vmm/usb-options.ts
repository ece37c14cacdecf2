/** USB controllers, and what is plugged into their ports. */
import { VringError } from '../base/index.js';
import type { UsbHidKind, uhciModels, xhciModels } from '../hw/index.js';
import type { DriveOptions } from './machine-options.js';
import type { DriveConfig, PciSlot } from './worker-protocol.js';

/** By QEMU's names. */
export type UsbControllerModel = keyof typeof uhciModels | keyof typeof xhciModels;

interface UsbPlace {
  /** `2`, or `2.1` for port 1 of the hub in port 2; the first free one unless given. */
  readonly port?: string | undefined;
  /** Its name for a person. */
  readonly id?: string | undefined;
  readonly serial?: string | undefined;
}

export type UsbDeviceOptions =
  | (UsbPlace & { readonly kind: UsbHidKind | 'hub' })
  /** A disk or CD drive. */
  | (UsbPlace & { readonly kind: 'storage' } & Omit<
        DriveOptions,
        'id' | 'serial' | 'model' | 'wwn' | 'rotationRate'
      > & {
        /** Of its drive. */
        readonly driveId?: string | undefined;
        /** The disk tells that it can be taken out. */
        readonly removable?: boolean | undefined;
      });

export interface UsbControllerOptions {
  readonly type: 'usb';
  readonly model: UsbControllerModel;
  readonly slot?: PciSlot | undefined;
  /** Of the slot; 0 unless given. With another, or in a slot of the board's own, others may be in it. */
  readonly function?: number | undefined;
  /** Of an xHCI: ports of USB 2 and of USB 3, 1 to 15 each; four unless given. */
  readonly ports2?: number | undefined;
  readonly ports3?: number | undefined;
  readonly devices: readonly UsbDeviceOptions[];
}

export interface UsbDeviceConfig {
  readonly kind: UsbDeviceOptions['kind'];
  readonly port: string;
  readonly id?: string | undefined;
  readonly serial?: string | undefined;
  /** Of storage. */
  readonly drive?: DriveConfig | undefined;
  readonly removable?: boolean | undefined;
}

export interface UsbControllerConfig extends Omit<UsbControllerOptions, 'devices'> {
  readonly devices: readonly UsbDeviceConfig[];
}

const HUB_PORTS = 8;
/** Hubs one behind the other. */
const MOST_HUBS = 5;
const MOST_XHCI_PORTS = 15;
const DEFAULT_XHCI_PORTS = 4;
const UHCI_PORTS = 2;

const invalid = (message: string) => new VringError('options-invalid', message);

/** Ports that devices go into. Throws VringError `options-invalid`. */
function portsOf({ model, ports2, ports3 }: UsbControllerOptions): number {
  if (model.includes('uhci')) return UHCI_PORTS;
  for (const count of [ports2, ports3])
    if (count !== undefined && !(Number.isInteger(count) && count >= 1 && count <= MOST_XHCI_PORTS))
      throw invalid(`An xHCI has 1 to ${MOST_XHCI_PORTS} ports of USB 2, and of USB 3.`);
  return ports2 ?? DEFAULT_XHCI_PORTS;
}

/** Devices with their ports, as QEMU gives them: before the last free one is taken a hub goes into it. Throws VringError `options-invalid`. */
export function placeUsb(controller: UsbControllerOptions): (UsbDeviceOptions & { readonly port: string })[] {
  const free = Array.from({ length: portsOf(controller) }, (_, i) => String(i + 1));
  const placed: (UsbDeviceOptions & { readonly port: string })[] = [];
  const addHub = (port: string) => {
    if (port.split('.').length > MOST_HUBS)
      throw invalid(`There are ${MOST_HUBS} USB hubs one behind the other already.`);
    for (let i = 1; i <= HUB_PORTS; i++) free.push(`${port}.${i}`);
  };
  for (const device of controller.devices) {
    let { port } = device;
    if (port === undefined) {
      if (free.length === 1 && device.kind !== 'hub') {
        const last = free.shift() as string;
        placed.push({ kind: 'hub', port: last });
        addHub(last);
      }
      port = free.shift();
      if (port === undefined) throw invalid('No USB port is free.');
    } else {
      const at = free.indexOf(port);
      if (at < 0) throw invalid(`There is no free USB port '${port}'.`);
      free.splice(at, 1);
    }
    if (device.kind === 'hub') addHub(port);
    placed.push({ ...device, port });
  }
  return placed;
}
