/** SCSI controllers of `-device`, and the disks and CD drives on them. */
import type { DeviceOptions, ScsiUnitOptions } from '../../vmm/index.js';
import type { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';
import type { Drive } from './drives.js';
import { blockSize, type DrivePlan, oneOfPowers, worldWideName } from './plan-drives.js';

type Controller = DeviceOptions & { type: 'virtio-scsi' };

interface Bus {
  readonly id: string;
  readonly units: ScsiUnitOptions[];
}

const maxSerial = 36;

export class ScsiPlan {
  readonly #drives: Pick<DrivePlan, 'take'>;
  readonly #buses: Bus[] = [];

  constructor(drives: Pick<DrivePlan, 'take'>) {
    this.#drives = drives;
  }

  /** A controller; units that follow are added to it. */
  controller(values: KeyValues, id: string | undefined, place: Partial<Controller>): Controller {
    const units: ScsiUnitOptions[] = [];
    this.#buses.push({ id: id ?? `scsi${this.#buses.length}`, units });
    return {
      type: 'virtio-scsi',
      id: id ?? `scsi${this.#buses.length - 1}`,
      units,
      queues: values.number('num_queues', 1, 64),
      queueSize: oneOfPowers(values, 'virtqueue_size', 16, 1024),
      maxSectors: values.number('max_sectors', 1, 0xffffffff),
      commandsPerLun: values.number('cmd_per_lun', 1, 0xffffffff),
      ...place,
    };
  }

  /** `-device scsi-hd` and `scsi-cd`. Throws UsageError. */
  unit(values: KeyValues, media: 'disk' | 'cdrom', deviceId: string | undefined): void {
    const { option } = values;
    const wanted = values.text('bus');
    const bus =
      wanted === undefined ? this.#buses[0] : this.#buses.find(({ id }) => wanted === id || wanted === `${id}.0`);
    if (!bus)
      throw new UsageError(
        `${option}: there is no SCSI bus${wanted === undefined ? '; -device virtio-scsi-pci before it makes one' : ` '${wanted}'`}`,
      );
    const unit = scsiUnit(values, media, deviceId, (name) => this.#drives.take(values, name));
    const { target, lun } = unit;
    if (
      target !== undefined &&
      lun !== undefined &&
      bus.units.some((each) => each.target === target && each.lun === lun)
    )
      throw new UsageError(`${option}: there is a unit ${target}:${lun} on the bus already`);
    bus.units.push(unit);
  }
}

/** What a drive's name stands for. */
type Take = (name: string) => Pick<Drive, 'id' | 'image' | 'isEmpty' | 'serial'>;

/** What `scsi-hd` and `scsi-cd` say of themselves. Throws UsageError. */
export function scsiUnit(
  values: KeyValues,
  media: 'disk' | 'cdrom',
  deviceId: string | undefined,
  take: Take,
): ScsiUnitOptions {
  const name = media === 'disk' ? values.need('drive') : values.text('drive');
  const drive = name === undefined ? undefined : take(name);
  if (media === 'disk' && drive?.isEmpty)
    throw new UsageError(`${values.option}: Device needs media, but drive is empty`);
  values.number('channel', 0, 0);
  const [target, lun] = [values.number('scsi-id', 0, 255), values.number('lun', 0, 16383)];
  return {
    media,
    device: deviceId,
    target,
    lun,
    id: drive?.id || deviceId,
    image: drive?.isEmpty ? undefined : drive?.image,
    serial: ascii(values, 'serial', maxSerial) ?? drive?.serial,
    deviceId: ascii(values, 'device_id', 247),
    vendor: ascii(values, 'vendor', 8),
    product: ascii(values, 'product', 16),
    wwn: worldWideName(values),
    bootIndex: values.number('bootindex', 0, 2 ** 31 - 1),
    ...(media === 'disk'
      ? {
          logicalBlockSize: blockSize(values, 'logical_block_size'),
          physicalBlockSize: blockSize(values, 'physical_block_size'),
          rotationRate: values.number('rotation_rate', 0, 65534),
        }
      : {}),
  };
}

function ascii(values: KeyValues, key: string, most: number): string | undefined {
  const text = values.text(key);
  if (text !== undefined && (text.length > most || !/^[\x20-\x7e]*$/.test(text)))
    throw new UsageError(`${values.option}: ${key} has at most ${most} ASCII characters`);
  return text;
}
