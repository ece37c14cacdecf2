/** NVMe controllers of `-device`, and their namespaces. */
import type { DeviceOptions, NvmeNamespaceOptions, PciSlot } from '../../vmm/index.js';
import type { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';
import { checkSerial, type DrivePlan, oneOfPowers, wideNumber } from './plan-drives.js';

type Controller = DeviceOptions & { type: 'nvme' };

export class NvmePlan {
  readonly #drives: Pick<DrivePlan, 'take'>;
  readonly #controllers: { readonly id: string | undefined; readonly namespaces: NvmeNamespaceOptions[] }[] = [];

  constructor(drives: Pick<DrivePlan, 'take'>) {
    this.#drives = drives;
  }

  /** `-device nvme`; namespaces that follow are added to it. */
  controller(values: KeyValues, id: string | undefined, slot: PciSlot | undefined): Controller {
    const namespaces: NvmeNamespaceOptions[] = [];
    this.#controllers.push({ id, namespaces });
    const drive = values.text('drive');
    if (drive !== undefined) namespaces.push(this.#disk(values, drive));
    const serial = checkSerial(values.option, values.need('serial')) as string;
    return { type: 'nvme', slot, serial, namespaces, ...(id === undefined ? {} : { device: id }) };
  }

  /** `-device nvme-ns`. Throws UsageError. */
  namespace(values: KeyValues): void {
    const wanted = values.text('bus');
    const controller =
      wanted === undefined
        ? this.#controllers[0]
        : this.#controllers.find(({ id }) => id !== undefined && id === wanted);
    if (!controller)
      throw new UsageError(
        `${values.option}: there is no NVMe controller${wanted === undefined ? '; -device nvme before it makes one' : ` '${wanted}'`}`,
      );
    const namespace = values.number('nsid', 1, 256);
    if (namespace !== undefined && controller.namespaces.some((each) => each.namespace === namespace))
      throw new UsageError(`${values.option}: there is a namespace ${namespace} already`);
    const eui64 = wideNumber(values, 'eui64');
    controller.namespaces.push({ ...this.#disk(values, values.need('drive')), namespace, eui64 });
  }

  #disk(values: KeyValues, name: string): NvmeNamespaceOptions {
    const { id, image, isEmpty } = this.#drives.take(values, name);
    if (isEmpty) throw new UsageError(`${values.option}: Device needs media, but drive is empty`);
    return {
      id,
      image,
      logicalBlockSize: oneOfPowers(values, 'logical_block_size', 512, 4096),
      bootIndex: values.number('bootindex', 0, 2 ** 31 - 1),
    };
  }
}
