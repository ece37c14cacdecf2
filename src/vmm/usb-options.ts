/** USB controllers, and what is plugged into their ports. */
import { VringError } from '../base/index.js';
import { type UsbHidKind, type uhciModels, usbProducts, type xhciModels } from '../hw/index.js';
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
  /** Its name for `HotPluggable.unplug`. */
  readonly device?: string | undefined;
  /** Name of its bus; `usb-bus.0` and so on unless given. */
  readonly bus?: string | undefined;
  readonly slot?: PciSlot | undefined;
  /** Of the slot; 0 unless given. With another, or in a slot of the board's own, others may be in it. */
  readonly function?: number | undefined;
  /** Of an xHCI: ports of USB 2 and of USB 3, 1 to 15 each; four unless given. */
  readonly ports2?: number | undefined;
  readonly ports3?: number | undefined;
  readonly devices: readonly UsbDeviceOptions[];
}

/** A port of a bus, by their names. */
export interface UsbPort {
  readonly bus: string;
  readonly port: string;
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
  readonly bus: string;
  readonly devices: readonly UsbDeviceConfig[];
}

/** Controllers that share a bus with another one where they are as ICH9 has them. */
const companions: readonly UsbControllerModel[] = [
  'ich9-usb-uhci2',
  'ich9-usb-uhci3',
  'ich9-usb-uhci5',
  'ich9-usb-uhci6',
];

/** Where a device goes that names no bus: as on QEMU on the latest, but not on a companion. */
export function defaultUsbBus<T extends { readonly model: UsbControllerModel }>(
  controllers: readonly T[],
): T | undefined {
  return controllers.findLast(({ model }) => !companions.includes(model)) ?? controllers[0];
}

const HUB_PORTS = 8;
/** Hubs one behind the other. */
const MOST_HUBS = 5;
const MOST_XHCI_PORTS = 15;
const DEFAULT_XHCI_PORTS = 4;
const UHCI_PORTS = 2;

const invalid = (message: string) => new VringError('options-invalid', message);

/** Ports that devices go into. Throws VringError `options-invalid`. */
function portsOf({ model, ports2, ports3 }: Omit<UsbControllerOptions, 'devices'>): number {
  if (model.includes('uhci')) return UHCI_PORTS;
  for (const count of [ports2, ports3])
    if (count !== undefined && !(Number.isInteger(count) && count >= 1 && count <= MOST_XHCI_PORTS))
      throw invalid(`An xHCI has 1 to ${MOST_XHCI_PORTS} ports of USB 2, and of USB 3.`);
  return ports2 ?? DEFAULT_XHCI_PORTS;
}

/** Ports of a controller and of the hubs behind it, as QEMU gives them: before the last free one is taken a hub goes into it. */
export class UsbPlaces {
  /** The next one first; one that is given back goes to the end. */
  readonly #free: string[];
  readonly #bus: string;

  /** Throws VringError `options-invalid`. */
  constructor(controller: Omit<UsbControllerOptions, 'devices'>) {
    this.#bus = controller.bus ?? 'usb-bus.0';
    this.#free = Array.from({ length: portsOf(controller) }, (_, i) => String(i + 1));
  }

  /**
   * A port for a device: the one that is wanted, or the next. `hub`: the port that a hub is to go into first. Throws VringError
   * `options-invalid`.
   */
  take(kind: UsbDeviceOptions['kind'], wanted: string | undefined): { readonly port: string; readonly hub?: string } {
    const free = this.#free;
    if (wanted !== undefined) {
      const at = free.indexOf(wanted);
      if (at < 0) throw invalid(`usb port ${wanted} (bus ${this.#bus}) not found (in use?)`);
      if (kind === 'hub') this.#checkDepth(wanted);
      free.splice(at, 1);
      if (kind === 'hub') this.#addHub(wanted);
      return { port: wanted };
    }
    const next = free[0];
    if (next === undefined)
      throw invalid(`tried to attach usb device ${usbProducts[kind]} to a bus with no free ports`);
    const hub = free.length === 1 && kind !== 'hub' ? next : undefined;
    if (hub !== undefined || kind === 'hub') this.#checkDepth(next);
    free.shift();
    if (hub === undefined) {
      if (kind === 'hub') this.#addHub(next);
      return { port: next };
    }
    this.#addHub(hub);
    return { hub, port: free.shift() as string };
  }

  /** What was in a port is gone, and the ports behind it. */
  giveBack(port: string): void {
    const others = this.#free.filter((each) => !each.startsWith(`${port}.`));
    this.#free.splice(0, this.#free.length, ...others, port);
  }

  #checkDepth(port: string): void {
    if (port.split('.').length > MOST_HUBS)
      throw invalid(`There are ${MOST_HUBS} USB hubs one behind the other already.`);
  }

  #addHub(port: string): void {
    for (let i = 1; i <= HUB_PORTS; i++) this.#free.push(`${port}.${i}`);
  }
}

/** Devices with their ports. Throws VringError `options-invalid`. */
export function placeUsb(controller: UsbControllerOptions): (UsbDeviceOptions & { readonly port: string })[] {
  const places = new UsbPlaces(controller);
  return controller.devices.flatMap((device) => {
    const { port, hub } = places.take(device.kind, device.port);
    return [...(hub === undefined ? [] : [{ kind: 'hub' as const, port: hub }]), { ...device, port }];
  });
}
