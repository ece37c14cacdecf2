/** Folders of the host for guests: -fsdev with -device virtio-9p-pci, and -virtfs, which is both. */
import type { DeviceOptions, VirtioPlace } from '../../vmm/index.js';
import { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';
import type { Options } from './given-options.js';

type FolderOptions = Extract<DeviceOptions, { type: 'virtio-9p' }>;
type Folder = Pick<FolderOptions, 'path' | 'security' | 'readonly'>;

const models = ['passthrough', 'none', 'mapped', 'mapped-xattr', 'mapped-file'] as const;
/** What QEMU knows and this machine does not need. */
const ignored = ['writeout', 'multidevs'];

export class FolderPlan {
  /** What -virtfs asks for. */
  readonly devices: readonly DeviceOptions[];
  readonly #folders = new Map<string, Folder>();

  /** Throws UsageError. */
  constructor(options: Options) {
    for (const text of options.all('fsdev')) {
      const values = KeyValues.parse(`-fsdev ${text}`, text, 'fsdriver');
      const id = values.need('id');
      if (this.#folders.has(id))
        throw new UsageError(`${values.option}: there is a folder with the id '${id}' already`);
      this.#folders.set(id, readFolder(values));
      values.finish();
    }
    this.devices = options.all('virtfs').map((text) => {
      const values = KeyValues.parse(`-virtfs ${text}`, text, 'fsdriver');
      values.text('id');
      const device = { type: 'virtio-9p' as const, tag: values.need('mount_tag'), ...readFolder(values) };
      values.finish();
      return device;
    });
  }

  /** -device virtio-9p-pci. Throws UsageError. */
  device(values: KeyValues, place: VirtioPlace | undefined): DeviceOptions {
    const id = values.need('fsdev');
    const folder = this.#folders.get(id);
    if (!folder) throw new UsageError(`${values.option}: there is no folder '${id}'; -fsdev local,id=${id} makes one`);
    return { type: 'virtio-9p', tag: values.need('mount_tag'), ...folder, ...place };
  }
}

function readFolder(values: KeyValues): Folder {
  const { option } = values;
  for (const name of ignored) values.text(name);
  const driver = values.need('fsdriver');
  if (driver !== 'local') throw new UsageError(`${option}: '${driver}' is not supported: local shares a folder`);
  const security = values.choice('security_model', models);
  if (security === undefined)
    throw new UsageError(`${option}: security_model= is missing: passthrough, mapped-xattr, mapped-file or none`);
  const model = security === 'mapped' ? 'mapped-xattr' : security;
  return { path: values.need('path'), security: model, readonly: values.flag('readonly') };
}
