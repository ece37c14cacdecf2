/** `-drive`, `-blockdev` and `-object`: what the disks of a machine hold. */
import {
  blockdevRequest,
  cacheModeOf,
  driveRequest,
  type OptionDict,
  parseOptionString,
  registryRows,
  toBlockError,
} from '../../block/index.js';
import type { DriveLayout } from '../../vmm/architectures.js';
import type { DiskImage, ErrorPolicy } from '../../vmm/index.js';
import { checkIdentifier } from '../options/key-values.js';
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';
import { takeLimits } from './drive-limits.js';

/** A `-drive`, or a `-blockdev` that a device names. */
export interface Drive {
  readonly id: string;
  readonly image: DiskImage;
  readonly serial?: string | undefined;
  /** What it is plugged in as by itself: a virtio-blk-pci, a drive on the board's IDE channels, a floppy drive. */
  readonly automatic: 'virtio' | 'ide' | 'floppy' | undefined;
  readonly media: 'disk' | 'cdrom';
  /** On the IDE channels, or of the floppy drives, where it was given. */
  readonly place?: number | undefined;
  /** A CD drive without a medium. */
  readonly isEmpty: boolean;
}

/** A drive that no device has yet. */
export type SpareDrive = Pick<Drive, 'image' | 'isEmpty' | 'media' | 'serial'>;

const interfaces = ['scsi', 'pflash', 'sd', 'mtd', 'xen'];
const writePolicies: readonly ErrorPolicy[] = ['report', 'ignore', 'stop', 'enospc'];
const readPolicies = writePolicies.filter((policy) => policy !== 'enospc');
/** Keys of `-drive` that QEMU has and vring has not. */
const unsupportedKeys = ['addr', 'boot', 'group', 'copy-on-read-group'];

/** The block layer's complaint about an option's text, with the option. */
function attempt<T>(option: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new UsageError(`${option}: ${toBlockError(error).message}`);
  }
}

/** Names of formats, filters and protocols. */
const driverNames = () => registryRows.map(({ name }) => name);

function checkDriver(option: string, key: string, name: unknown): void {
  if (typeof name !== 'string' || driverNames().includes(name)) return;
  throw new UsageError(`${option}: there is no ${key}=${name}, or not yet${didYouMean(name, driverNames())}`);
}

export function errorPolicies(option: string, values: { werror?: unknown; rerror?: unknown }) {
  const policy = (key: 'werror' | 'rerror', known: readonly ErrorPolicy[]) => {
    const value = values[key];
    if (value === undefined || known.includes(value as ErrorPolicy)) return value as ErrorPolicy | undefined;
    throw new UsageError(`${option}: ${key} is ${known.join(', ')}, not '${value}'`);
  };
  return {
    onWriteError: policy('werror', writePolicies),
    onReadError: policy('rerror', readPolicies) as DiskImage['onReadError'],
  };
}

/**
 * `-drive`, or `option` that is short for it. `temporary`: `-snapshot` was given. An id of '' is for whoever gives it a place.
 * `layout`: of the board's own disk controller, where it has one. Throws UsageError.
 */
export function parseDrive(
  option: string,
  text: string,
  index: number,
  temporary: boolean,
  layout?: DriveLayout,
): Drive {
  const fallback = layout ? 'ide' : 'virtio';
  const { request, device, isTemporary } = attempt(option, () => driveRequest(text));
  const type = String(device['if'] ?? fallback);
  if (type !== 'virtio' && type !== 'none' && type !== 'ide' && type !== 'floppy') {
    // As no machine of QEMU's has a SCSI controller of its own.
    if (type === 'scsi')
      throw new UsageError(
        `${option}: this board has no SCSI controller of its own; there are -device virtio-scsi-pci and -device scsi-hd,drive=ID`,
      );
    if (interfaces.includes(type)) {
      throw new UsageError(`${option}: if=${type} is not supported yet; there are if=ide, if=floppy and if=virtio`);
    }
    throw new UsageError(
      `${option}: there is no if=${type}${didYouMean(type, ['ide', 'floppy', 'virtio', 'none', ...interfaces])}`,
    );
  }
  const options = { ...request.options };
  const limits = takeLimits(option, options);
  for (const key of [...Object.keys(device), ...Object.keys(options)]) {
    if (unsupportedKeys.includes(key) || key.startsWith('throttling.'))
      throw new UsageError(`${option}: ${key}= is not supported yet`);
  }
  const media = device['media'] ?? 'disk';
  if (media !== 'disk' && media !== 'cdrom') throw new UsageError(`${option}: media is disk or cdrom, not '${media}'`);
  if (media === 'cdrom' && type === 'virtio')
    throw new UsageError(
      `${option}: a virtio disk is no CD${fallback === 'ide' ? '; there is if=ide for it' : ', and there is no other drive here yet'}`,
    );
  if (device['index'] !== undefined && !/^\d{1,2}$/.test(String(device['index'])))
    throw new UsageError(`${option}: index is a whole number from 0 to 99, not '${device['index']}'`);
  if (media === 'cdrom' && type === 'floppy') throw new UsageError(`${option}: a floppy disk is no CD`);
  const place =
    type === 'floppy'
      ? idePlace(option, device, FLOPPIES, 'a floppy drive')
      : type === 'ide' && layout
        ? idePlace(option, device, layout)
        : undefined;
  // A drive without a file is one without a medium: what cannot be without one refuses it.
  const isRemovable = media === 'cdrom' || type === 'floppy' || type === 'none';
  const isEmpty = request.filename === undefined && Object.keys(options).length === 0 && isRemovable;
  if (
    !isEmpty &&
    request.filename === undefined &&
    !Object.keys(options).some((key) => key === 'driver' || key.startsWith('file'))
  )
    throw new UsageError(`${option}: file= is missing`);
  if (device['id'] !== undefined) checkIdentifier(option, String(device['id']));
  checkDriver(option, 'format', request.format);
  const { readOnly = false, direct = false, noFlush = false, writeThrough = false } = request.flags ?? {};
  return {
    id: String(device['id'] ?? (type === 'ide' || type === 'floppy' ? '' : `${type}${index}`)),
    serial: device['serial'] === undefined ? undefined : String(device['serial']),
    automatic: type === 'none' ? undefined : type,
    media,
    place,
    isEmpty,
    image: {
      option,
      path: request.filename,
      format: request.format,
      options,
      readonly: readOnly,
      cache: cacheModeOf({ direct, noFlush, writeThrough }),
      snapshot: isTemporary || temporary,
      ...errorPolicies(option, device),
      ...(limits ? { limits } : {}),
    },
  };
}

/** Two on the one cable. */
const FLOPPIES: DriveLayout = { places: 2, perBus: 2 };

/** Where a drive is on the board's own controller: by `index`, or by `bus` and `unit`. */
function idePlace(
  option: string,
  device: OptionDict,
  { places, perBus }: DriveLayout,
  name = 'an IDE drive',
): number | undefined {
  const number = (key: string, most: number) => {
    const value = device[key];
    if (value === undefined) return undefined;
    if (!/^\d{1,2}$/.test(String(value)) || Number(value) > most)
      throw new UsageError(`${option}: ${key} of ${name} is 0 to ${most}, not '${value}'`);
    return Number(value);
  };
  const [index, bus, unit] = [
    number('index', places - 1),
    number('bus', places / perBus - 1),
    number('unit', perBus - 1),
  ];
  if (index === undefined)
    return bus === undefined && unit === undefined ? undefined : (bus ?? 0) * perBus + (unit ?? 0);
  if (bus !== undefined || unit !== undefined)
    throw new UsageError(`${option}: index cannot be used with bus and unit`);
  return index;
}

const FLASH_INTERFACE = /(^|,)if=pflash(?=,|$)/;

export const isFlashDrive = (text: string): boolean => FLASH_INTERFACE.test(text);

/** `-drive if=pflash,…`: the unit, if it is said, and what the flash chip holds. Throws UsageError. */
export function parseFlashDrive(text: string, temporary: boolean): { unit: number | undefined; image: DiskImage } {
  const unit = /(?:^|,)(?:unit|index)=(\d+)(?=,|$)/.exec(text)?.[1];
  const plain = text.replace(/(^|,)(unit|index)=\d+(?=,|$)/, '').replace(FLASH_INTERFACE, '$1if=none');
  return {
    unit: unit === undefined ? undefined : Number(unit),
    image: parseDrive(`-drive ${text}`, plain, 0, temporary).image,
  };
}

/** `-blockdev`: a node's options, flat, with its name. */
export function parseBlockdev(text: string, known: ReadonlySet<string>): { name: string; options: OptionDict } {
  const option = `-blockdev ${text}`;
  const options = attempt(option, () => blockdevRequest(text).options ?? {});
  const name = options['node-name'];
  if (typeof options['driver'] !== 'string') throw new UsageError(`${option}: driver= is missing`);
  checkDriver(option, 'driver', options['driver']);
  if (typeof name !== 'string' || name === '') throw new UsageError(`${option}: node-name= is missing`);
  for (const key of ['file', 'backing', 'data-file', 'image']) {
    const below = options[key];
    if (typeof below === 'string' && below !== '' && !known.has(below))
      throw new UsageError(`${option}: there is no node '${below}'${didYouMean(below, known)}`);
  }
  return { name, options };
}

/** A JSON option's members, flat: lists by number. */
export function flattenJson(option: string, text: string): [string, string][] {
  const dict = attempt(option, () => blockdevRequest(text).options ?? {});
  return Object.entries(dict).map(([key, value]) => [
    key,
    value === true ? 'on' : value === false ? 'off' : String(value),
  ]);
}

export interface ObjectPlan {
  readonly type: string;
  readonly id: string;
  readonly options: OptionDict;
}

export const objectTypes = ['secret', 'throttle-group', 'tls-creds-x509', 'tls-creds-psk', 'tls-creds-anon'];
export const unsupportedObjects = [
  'authz-list',
  'authz-list-file',
  'authz-pam',
  'authz-simple',
  'can-bus',
  'can-host-socketcan',
  'colo-compare',
  'cryptodev-backend',
  'cryptodev-backend-builtin',
  'dbus-vmstate',
  'filter-buffer',
  'filter-dump',
  'filter-mirror',
  'input-barrier',
  'input-linux',
  'main-loop',
  'memory-backend-epc',
  'memory-backend-file',
  'pr-manager-helper',
  'rng-egd',
  'secret_keyring',
  'sev-guest',
  'tls-cipher-suites',
  'x-remote-object',
];

/** `-object`: secrets and what block nodes refer to. */
export function parseObject(text: string): ObjectPlan {
  const option = `-object ${text}`;
  const options = attempt(option, () =>
    text.trimStart().startsWith('{') ? (blockdevRequest(text).options ?? {}) : parseOptionString(text, 'qom-type'),
  );
  const { 'qom-type': type, id } = options;
  if (typeof type !== 'string') throw new UsageError(`${option}: the type is missing`);
  if (!objectTypes.includes(type)) {
    if (unsupportedObjects.includes(type)) throw new UsageError(`${option}: '${type}' is not supported yet`);
    throw new UsageError(`${option}: there is no type '${type}'${didYouMean(type, objectTypes)}`);
  }
  if (typeof id !== 'string') throw new UsageError(`${option}: id= is missing`);
  return { type, id, options };
}
