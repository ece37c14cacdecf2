/** `-smbios type=N,…`: what the machine's SMBIOS tables say of it. */
import type { SmbiosOptions } from '../../vmm/index.js';
import { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';

/** A UUID of type 1 is the machine's. Throws UsageError. */
export function planSmbios(texts: readonly string[]): { smbios: SmbiosOptions | undefined; uuid: string | undefined } {
  const found: { -readonly [K in keyof SmbiosOptions]: SmbiosOptions[K] } = {};
  let uuid: string | undefined;
  for (const text of texts) {
    const values = KeyValues.parse(`-smbios ${text}`, text);
    const type = values.number('type', 0, 255);
    const words = <K extends string>(...keys: readonly K[]) =>
      Object.fromEntries(keys.map((key) => [key, values.text(key)])) as Record<K, string | undefined>;
    if (type === 1) {
      found.system = words('manufacturer', 'product', 'version', 'serial', 'sku', 'family');
      uuid = values.text('uuid');
    } else if (type === 2) found.baseboard = words('manufacturer', 'product', 'version', 'serial', 'asset', 'location');
    else if (type === 3) found.chassis = words('manufacturer', 'version', 'serial', 'asset', 'sku');
    else if (type === 11) found.oemStrings = [...(found.oemStrings ?? []), ...values.all('value')];
    else
      throw new UsageError(
        `${values.option}: ${type === undefined ? 'type= is missing' : `type=${type} is not supported yet`}; there are 1, 2, 3 and 11`,
      );
    values.finish(['file', 'path']);
  }
  return { smbios: texts.length > 0 ? found : undefined, uuid };
}
