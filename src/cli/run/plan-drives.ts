/** All drives of a machine: `-drive` and its short forms, `-blockdev`, and the devices that they end up in. */
import type { OptionDict } from '../../block/index.js';
import { type FloppyKind, floppyKinds } from '../../hw/floppy/floppy-format.js';
import type { DriveLayout } from '../../vmm/architectures.js';
import type { DeviceOptions, PciSlot } from '../../vmm/index.js';
import type { KeyValues } from '../options/key-values.js';
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';
import { type Drive, errorPolicies, isFlashDrive, parseBlockdev, parseDrive, type SpareDrive } from './drives.js';
import type { Options } from './given-options.js';

/** Options that are short for a `-drive` at a fixed place. */
const shortForms = [
  { name: 'fda', place: 0, media: 'floppy' },
  { name: 'fdb', place: 1, media: 'floppy' },
  { name: 'hda', place: 0, media: 'disk' },
  { name: 'hdb', place: 1, media: 'disk' },
  { name: 'hdc', place: 2, media: 'disk' },
  { name: 'hdd', place: 3, media: 'disk' },
  { name: 'cdrom', place: 2, media: 'cdrom' },
] as const;

type AhciOptions = Extract<DeviceOptions, { type: 'ahci' }>;
type PlannedAhci = Omit<AhciOptions, 'drives'> & { readonly drives: AhciOptions['drives'][number][] };

export class DrivePlan {
  readonly blockNodes: OptionDict[] = [];
  readonly devices: DeviceOptions[] = [];
  readonly #drives = new Map<string, Drive>();
  readonly #nodeNames = new Set<string>();
  readonly #used = new Set<string>();
  readonly #idePlaces = new Set<number>();
  readonly #floppies = new Set<number>();
  /** AHCI controllers by id. */
  readonly #controllers = new Map<string, PlannedAhci>();

  readonly #layout: DriveLayout | undefined;

  /** `layout`: of the board's own disk controller, where it has one. Throws UsageError. */
  constructor(options: Options, layout: DriveLayout | undefined) {
    this.#layout = layout;
    const temporary = options.has('snapshot');
    const drives = options.all('drive').filter((text) => !isFlashDrive(text));
    const given = drives.map((text) => ({ option: `-drive ${text}`, text }));
    for (const { name, place, media } of shortForms) {
      const kind = media === 'floppy' ? 'if=floppy' : `media=${media}`;
      for (const file of options.all(name)) {
        const text = `file=${file.replaceAll(',', ',,')},index=${place},${kind}`;
        given.push({ option: `-${name} ${file}`, text });
      }
    }
    for (const [i, { option, text }] of given.entries()) {
      const drive = parseDrive(option, text, i, temporary, layout);
      if (drive.automatic === 'ide') {
        if (!layout) throw new UsageError(`${option}: this board has no IDE controller; there is if=virtio`);
        this.#plugIde(option, drive);
      } else if (drive.automatic === 'floppy') {
        if (!layout) throw new UsageError(`${option}: this board has no floppy controller`);
        this.#plugFloppy(option, drive);
      } else {
        this.#add(drive);
        const { id, image, serial } = drive;
        if (drive.automatic) this.devices.push({ type: 'virtio-blk', id, image, serial: checkSerial(option, serial) });
      }
    }
    for (const text of options.all('blockdev')) {
      const { name, options: node } = parseBlockdev(text, this.#nodeNames);
      if (this.#nodeNames.has(name)) throw new UsageError(`There are two block nodes with the node-name '${name}'`);
      this.#nodeNames.add(name);
      this.blockNodes.push(node);
    }
  }

  /** Drives that no device has: what is plugged in later may name them. */
  get spare(): ReadonlyMap<string, SpareDrive> {
    const spare = [...this.#drives.values()].filter(({ id, automatic }) => !automatic && !this.#used.has(id));
    return new Map(spare.map(({ id, image, isEmpty, media, serial }) => [id, { image, isEmpty, media, serial }]));
  }

  #add(drive: Drive): void {
    if (this.#drives.has(drive.id)) throw new UsageError(`There are two drives with the id '${drive.id}'`);
    this.#drives.set(drive.id, drive);
  }

  #plugIde(option: string, { id, ...drive }: Drive): void {
    const { image, serial, media, place: wanted } = drive;
    if (media === 'disk') checkWritable(option, image.readonly);
    const place = this.#takePlace(option, wanted);
    const named = id || this.#name(place, media);
    this.#add({ ...drive, id: named });
    this.devices.push({
      type: 'ide',
      media,
      place,
      id: named,
      image: drive.isEmpty ? undefined : image,
      serial: checkSerial(option, serial),
    });
  }

  #plugFloppy(option: string, { id, ...drive }: Drive): void {
    const unit = this.#takeFloppy(option, drive.place);
    const named = id || `floppy${unit}`;
    this.#add({ ...drive, id: named });
    this.devices.push({ type: 'floppy', unit, id: named, image: drive.isEmpty ? undefined : drive.image });
  }

  #takeFloppy(option: string, wanted: number | undefined): 0 | 1 {
    const unit = wanted ?? [0, 1].find((each) => !this.#floppies.has(each));
    if (unit === undefined) throw new UsageError(`${option}: there is no third floppy drive`);
    if (this.#floppies.has(unit)) throw new UsageError(`${option}: there is a floppy drive ${unit} already`);
    this.#floppies.add(unit);
    return unit === 0 ? 0 : 1;
  }

  /** `-device floppy`. Throws UsageError. */
  planFloppy(values: KeyValues, deviceId: string | undefined): DeviceOptions {
    const { option } = values;
    if (!this.#layout) throw new UsageError(`${option}: this board has no floppy controller`);
    const name = values.text('drive');
    const drive = name === undefined ? undefined : this.take(values, name);
    const kind = values.choice('drive-type', ['auto', 'none', ...Object.keys(floppyKinds)]);
    if (kind === 'none') throw new UsageError(`${option}: drive-type=none is a drive that is not there`);
    const bootIndex = values.number('bootindex', 0, 2 ** 31 - 1);
    const unit = this.#takeFloppy(option, values.number('unit', 0, 1));
    return {
      type: 'floppy',
      unit,
      id: drive?.id ?? deviceId ?? `floppy${unit}`,
      image: drive?.isEmpty ? undefined : drive?.image,
      kind: kind === 'auto' ? undefined : (kind as FloppyKind | undefined),
      bootIndex,
    };
  }

  /** A place on the IDE channels: the one that is asked for, or the first free one among `choices`. */
  #takePlace(option: string, wanted: number | undefined, choices: readonly number[] = this.#places): number {
    const [bus, unit] = this.#busOf(wanted ?? 0);
    const place = wanted ?? choices.find((each) => !this.#idePlaces.has(each));
    if (place === undefined) throw new UsageError(`${option}: there is no free place on the IDE channels`);
    if (this.#idePlaces.has(place))
      throw new UsageError(`${option}: there is a drive at bus ${bus}, unit ${unit} (index ${place}) already`);
    this.#idePlaces.add(place);
    return place;
  }

  get #places(): number[] {
    return Array.from({ length: this.#layout?.places ?? 0 }, (_, place) => place);
  }

  /** Bus and unit of a place. */
  #busOf(place: number): [bus: number, unit: number] {
    const perBus = this.#layout?.perBus ?? 2;
    return [Math.floor(place / perBus), place % perBus];
  }

  #name(place: number, media: 'disk' | 'cdrom'): string {
    const [bus, unit] = this.#busOf(place);
    return `ide${bus}-${media === 'cdrom' ? 'cd' : 'hd'}${unit}`;
  }

  /** The empty CD drive that a PC has unless there is another; undefined where it has no place. */
  defaultCd(devices: readonly DeviceOptions[]): DeviceOptions | undefined {
    if (this.#idePlaces.has(2) || devices.some(hasCd)) return undefined;
    return { type: 'ide', media: 'cdrom', place: 2, id: this.#name(2, 'cdrom') };
  }

  /** The drive that a device names, with the device's own properties. Throws UsageError. */
  take(values: KeyValues, name: string) {
    const { option } = values;
    const drive = this.#drives.get(name) ?? (this.#nodeNames.has(name) ? blockdevDrive(name) : undefined);
    if (!drive) {
      const known = [...this.#drives.keys(), ...this.#nodeNames];
      throw new UsageError(`${option}: there is no drive '${name}'${didYouMean(name, known)}`);
    }
    if (drive.automatic || this.#used.has(name))
      throw new UsageError(`${option}: the drive '${name}' is in use already`);
    this.#used.add(name);
    const policies = errorPolicies(option, { werror: values.text('werror'), rerror: values.text('rerror') });
    return {
      id: drive.id,
      image: {
        ...drive.image,
        onWriteError: policies.onWriteError ?? drive.image.onWriteError,
        onReadError: policies.onReadError ?? drive.image.onReadError,
        shareWrites: values.flag('share-rw'),
      },
      isEmpty: drive.isEmpty,
      media: drive.media,
      serial: drive.serial,
    };
  }

  /** `-device ahci`: drives come later. */
  planAhci(id: string | undefined, slot: PciSlot | undefined): DeviceOptions {
    const controller: PlannedAhci = { type: 'ahci', slot, drives: [] };
    if (id !== undefined) this.#controllers.set(id, controller);
    return controller;
  }

  /** The port of an AHCI controller that `bus` names: ID.N. Throws UsageError. */
  #ahciPort(values: KeyValues, bus: string): { controller: PlannedAhci; id: string; port: number } | undefined {
    const match = /^(.*)\.(\d+)$/.exec(bus);
    const controller = match && this.#controllers.get(match[1]!);
    if (!match || !controller) return undefined;
    const port = Number(match[2]);
    if (port > 5) throw new UsageError(`${values.option}: an AHCI controller has ports 0 to 5, not ${port}`);
    if (values.number('unit', 0, 1) === 1)
      throw new UsageError(`${values.option}: there is one drive on a port of an AHCI controller, unit 0`);
    if (controller.drives.some((drive) => drive.port === port))
      throw new UsageError(`${values.option}: there is a drive at ${bus} already`);
    return { controller, id: match[1]!, port };
  }

  /** What `-device ide-hd` and `ide-cd` say; undefined where it is a drive of a device that is planned already. Throws UsageError. */
  planIde(values: KeyValues, media: 'disk' | 'cdrom', deviceId: string | undefined): DeviceOptions | undefined {
    const { option } = values;
    const name = media === 'disk' ? values.need('drive') : values.text('drive');
    const drive = name === undefined ? undefined : this.take(values, name);
    if (media === 'disk') {
      const { readonly = false, node } = drive?.image ?? {};
      checkWritable(option, readonly || this.blockNodes.some((each) => each['node-name'] === node && isReadOnly(each)));
    }
    const bus = values.text('bus');
    const ahci = bus === undefined ? undefined : this.#ahciPort(values, bus);
    const properties = {
      media,
      image: drive?.isEmpty ? undefined : drive?.image,
      serial: checkSerial(option, values.text('serial') ?? drive?.serial),
      model: driveModel(values),
      wwn: worldWideName(values),
      bootIndex: values.number('bootindex', 0, 2 ** 31 - 1),
      ...(media === 'disk'
        ? {
            logicalBlockSize: oneLogicalSize(values),
            physicalBlockSize: blockSize(values, 'physical_block_size'),
            rotationRate: values.number('rotation_rate', 0, 65534),
          }
        : {}),
    };
    if (ahci) {
      const id = drive?.id ?? deviceId ?? `${ahci.id}-${media === 'cdrom' ? 'cd' : 'hd'}${ahci.port}`;
      ahci.controller.drives.push({ ...properties, id, port: ahci.port });
      return undefined;
    }
    if (!this.#layout) throw new UsageError(`${option}: this board has no IDE bus; -device ahci,id=… makes some`);
    const { places, perBus } = this.#layout;
    const unit = values.number('unit', 0, perBus - 1);
    const last = places / perBus - 1;
    const number = bus === undefined ? undefined : /^ide\.(\d)$/.exec(bus)?.[1];
    if (bus !== undefined && (number === undefined || Number(number) > last)) {
      const others = [...this.#controllers.keys()].map((id) => `, ${id}.0 to ${id}.5`).join('');
      throw new UsageError(`${option}: there is no bus '${bus}'; there are ide.0 to ide.${last}${others}`);
    }
    const choices = this.#places.filter((place) => {
      const [placeBus, placeUnit] = this.#busOf(place);
      return (number === undefined || placeBus === Number(number)) && (unit === undefined || placeUnit === unit);
    });
    const place = this.#takePlace(option, undefined, choices);
    return { ...properties, type: 'ide', place, id: drive?.id ?? deviceId ?? this.#name(place, media) };
  }
}

const hasCd = (device: DeviceOptions): boolean =>
  device.type === 'ahci'
    ? device.drives.some(({ media }) => media === 'cdrom')
    : device.type === 'ide' && device.media === 'cdrom';

/** IDE disks know no write protection. Throws UsageError. */
function checkWritable(option: string, isReadOnly: boolean | undefined): void {
  if (isReadOnly) throw new UsageError(`${option}: Block node is read-only`);
}

const isReadOnly = (node: OptionDict) => node['read-only'] === 'on' || node['read-only'] === true;

/** A device may sit on a block node by its name. */
const blockdevDrive = (node: string): Drive => ({
  id: node,
  image: { node },
  automatic: undefined,
  media: 'disk',
  isEmpty: false,
});

export function checkSerial(option: string, serial: string | undefined): string | undefined {
  if (serial !== undefined && !/^[\x20-\x7e]{0,20}$/.test(serial))
    throw new UsageError(`${option}: a serial number has at most 20 ASCII characters`);
  return serial;
}

function driveModel(values: KeyValues): string | undefined {
  const model = values.text('model');
  if (model !== undefined && !/^[\x20-\x7e]{1,40}$/.test(model))
    throw new UsageError(`${values.option}: a model has at most 40 ASCII characters`);
  return model;
}

export const worldWideName = (values: KeyValues) => wideNumber(values, 'wwn');

/** A number of 64 bits. */
export function wideNumber(values: KeyValues, key: string): bigint | undefined {
  const number = values.text(key);
  if (number === undefined) return undefined;
  if (!/^(0x[0-9a-f]{1,16}|\d{1,19})$/i.test(number))
    throw new UsageError(`${values.option}: ${key} is a number of 64 bits, not '${number}'`);
  return BigInt(number);
}

function oneLogicalSize(values: KeyValues): number | undefined {
  const size = blockSize(values, 'logical_block_size');
  if (size !== undefined && size !== 512)
    throw new UsageError(`${values.option}: an IDE disk has a logical_block_size of 512`);
  return size;
}

export const blockSize = (values: KeyValues, key: string) => oneOfPowers(values, key, 512, 32768);

export function oneOfPowers(values: KeyValues, key: string, least: number, most: number): number | undefined {
  const value = values.number(key, least, most);
  if (value !== undefined && (value & (value - 1)) !== 0)
    throw new UsageError(`${values.option}: ${key} is a power of two from ${least} to ${most}, not ${value}`);
  return value;
}
