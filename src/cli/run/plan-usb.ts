/** USB on the command line: `-usb`, `-usbdevice`, controllers and devices of `-device`. */
import type { DeviceOptions, UsbControllerModel, UsbDeviceOptions } from '../../vmm/index.js';
import { defaultUsbBus } from '../../vmm/usb-options.js';
import type { KeyValues } from '../options/key-values.js';
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';
import type { Options } from './given-options.js';
import { blockSize, checkSerial, type DrivePlan } from './plan-drives.js';
import { planPlace } from './plan-place.js';

type Controller = Extract<DeviceOptions, { type: 'usb' }>;
type PlannedController = Omit<Controller, 'devices'> & { readonly devices: UsbDeviceOptions[] };

const models: readonly UsbControllerModel[] = [
  ...(['qemu-xhci', 'nec-usb-xhci', 'piix3-usb-uhci', 'piix4-usb-uhci'] as const),
  ...(['ich9-usb-uhci1', 'ich9-usb-uhci2', 'ich9-usb-uhci3'] as const),
  ...(['ich9-usb-uhci4', 'ich9-usb-uhci5', 'ich9-usb-uhci6'] as const),
];
export const isUsbController = (name: string): name is UsbControllerModel =>
  (models as readonly string[]).includes(name);

const kinds: ReadonlyMap<string, UsbDeviceOptions['kind']> = new Map([
  ['usb-kbd', 'keyboard'],
  ['usb-mouse', 'mouse'],
  ['usb-tablet', 'tablet'],
  ['usb-hub', 'hub'],
  ['usb-storage', 'storage'],
]);
export const isUsbDevice = (name: string): boolean => kinds.has(name);

/** Of `-usbdevice`. */
const shortNames: ReadonlyMap<string, 'keyboard' | 'mouse' | 'tablet'> = new Map([
  ['keyboard', 'keyboard'],
  ['mouse', 'mouse'],
  ['tablet', 'tablet'],
]);

/** Slots of the controllers that a board has by itself: PIIX3's is a function of the bridge, ICH9's are together. */
const PIIX3_SLOT = 1;
const PIIX3_FUNCTION = 2;
const ICH9_SLOT = 0x1d;

export class UsbPlan {
  readonly #controllers: PlannedController[] = [];
  #unnamed = 0;
  readonly #drives: DrivePlan;

  /** `board`: its name, for what `-usb` puts there; undefined: the board has no PCI. */
  constructor(options: Options, isOn: boolean, board: string | undefined, drives: DrivePlan) {
    this.#drives = drives;
    const short = options.all('usbdevice');
    if (options.has('usb') || isOn || short.length > 0) {
      if (board === undefined) throw new UsageError('-usb: this board has no PCI bus for a USB controller');
      for (const controller of builtIn(board)) this.#add(undefined, controller);
    }
    for (const text of short) {
      const kind = shortNames.get(text);
      if (!kind)
        throw new UsageError(
          `-usbdevice ${text}: there are keyboard, mouse and tablet${didYouMean(text, [...shortNames.keys()])}`,
        );
      this.#controllers[0]!.devices.push({ kind });
    }
  }

  get controllers(): readonly DeviceOptions[] {
    return this.#controllers;
  }

  #add(id: string | undefined, controller: Omit<PlannedController, 'bus'>): void {
    const bus = id === undefined ? `usb-bus.${this.#unnamed++}` : `${id}.0`;
    this.#controllers.push({ ...controller, bus });
  }

  /** A controller of `-device`. Throws UsageError. */
  controller(
    model: UsbControllerModel,
    values: KeyValues,
    id: string | undefined,
    rootPorts: ReadonlySet<string>,
  ): void {
    this.#add(id, { ...planUsbController(model, values, rootPorts), device: id, devices: [] });
  }

  /** A device of `-device`. Throws UsageError. */
  device(name: string, values: KeyValues, id: string | undefined): void {
    const { option } = values;
    const wanted = values.text('bus');
    const controllers = this.#controllers;
    const controller =
      wanted === undefined ? defaultUsbBus(controllers) : controllers.find((each) => each.bus === wanted);
    if (!controller) {
      const others = controllers.map((each) => each.bus).join(', ');
      throw new UsageError(
        wanted === undefined
          ? `${option}: there is no USB bus; -usb or -device qemu-xhci before it makes one`
          : `${option}: there is no bus '${wanted}'${others === '' ? '' : `; there are ${others}`}`,
      );
    }
    controller.devices.push(planUsbDevice(name, values, id, () => this.#drives.take(values, values.need('drive'))));
  }
}

/** A controller without anything in its ports. Throws UsageError. */
export function planUsbController(
  model: UsbControllerModel,
  values: KeyValues,
  rootPorts: ReadonlySet<string>,
): Omit<Controller, 'bus'> {
  for (const key of ['masterbus', 'firstport'])
    if (values.has(key)) throw new UsageError(`${values.option}: ${key}= is for EHCI, which is not supported yet`);
  values.number('intrs', 1, 16);
  values.number('slots', 1, 64);
  const isXhci = model.endsWith('xhci');
  return {
    ...{ type: 'usb', model, devices: [], ...planPlace(values, rootPorts) },
    ...(isXhci ? { ports2: values.number('p2', 1, 15), ports3: values.number('p3', 1, 15) } : {}),
  };
}

/** A device for a port of some bus; `take`: the drive of a disk. Throws UsageError. */
export function planUsbDevice(
  name: string,
  values: KeyValues,
  id: string | undefined,
  take: () => ReturnType<DrivePlan['take']>,
): UsbDeviceOptions {
  const { option } = values;
  const kind = kinds.get(name)!;
  values.number('usb_version', 1, 2);
  const place = { port: values.text('port'), id, serial: checkSerial(option, values.text('serial')) };
  if (kind !== 'storage') return { ...place, kind };
  const drive = take();
  const { media } = drive;
  if (drive.isEmpty && media === 'disk') throw new UsageError(`${option}: Device needs media, but drive is empty`);
  return {
    ...place,
    kind,
    media,
    image: drive.isEmpty ? undefined : drive.image,
    driveId: drive.id,
    serial: place.serial ?? checkSerial(option, drive.serial),
    removable: values.flag('removable'),
    logicalBlockSize: blockSize(values, 'logical_block_size'),
    physicalBlockSize: blockSize(values, 'physical_block_size'),
    bootIndex: values.number('bootindex', 0, 2 ** 31 - 1),
  };
}

/** As QEMU's boards have them; a q35 without the EHCI that its UHCIs are companions of. */
function builtIn(board: string): Omit<PlannedController, 'bus'>[] {
  if (board === 'pc')
    return [{ type: 'usb', model: 'piix3-usb-uhci', slot: PIIX3_SLOT, function: PIIX3_FUNCTION, devices: [] }];
  if (board !== 'q35') return [{ type: 'usb', model: 'qemu-xhci', devices: [] }];
  return ([1, 2, 3] as const).map((number) => ({
    ...{ type: 'usb', model: `ich9-usb-uhci${number}`, slot: ICH9_SLOT, function: number - 1, devices: [] },
  }));
}
