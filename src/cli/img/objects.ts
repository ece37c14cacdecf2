/** `--object` definitions of the disk tools: secrets (plain, base64, from files, AES-wrapped). Credentials are handed to who asks. */

import { createDecipheriv } from 'node:crypto';
import * as fs from 'node:fs';
import { BlockError } from '../../block/errors.js';
import type { OptionDict } from '../../block/options.js';
import type { NodeBlockHost } from '../../host/node/block-host.js';

function decodeBase64(text: string): Uint8Array {
  if (!/^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(text)) throw new BlockError('EINVAL', 'Base64 data is not valid');
  return Buffer.from(text, 'base64');
}

export async function defineObject(host: NodeBlockHost, type: string, id: string, options: OptionDict): Promise<void> {
  if (type !== 'secret') {
    host.objects.set(id, { type, options });
    return;
  }
  const data = options['data'];
  const file = options['file'];
  let bytes: Uint8Array;
  if (typeof data === 'string') {
    if (file !== undefined) throw new BlockError('EINVAL', "'file' and 'data' are mutually exclusive");
    bytes = Buffer.from(data);
  } else if (typeof file === 'string') {
    try {
      bytes = fs.readFileSync(file);
    } catch {
      throw new BlockError(
        'ENOENT',
        `Unable to read ${file}: Failed to open file “${file}”: No such file or directory`,
      );
    }
  } else throw new BlockError('EINVAL', "Must provide 'file' or 'data'");
  const keyId = options['keyid'];
  const isBase64 = options['format'] === 'base64';
  if (typeof keyId === 'string') {
    const key = await host.secret(keyId);
    const iv = typeof options['iv'] === 'string' ? decodeBase64(options['iv']) : undefined;
    if (!iv) throw new BlockError('EINVAL', 'IV is required to decrypt secret');
    const raw = Buffer.from(key);
    const wrapKey = raw.length === 32 ? raw : Buffer.from(decodeBase64(raw.toString()));
    if (wrapKey.length !== 32 || iv.length !== 16)
      throw new BlockError('EINVAL', 'Expected a 32 byte master key and a 16 byte IV');
    const cipher = createDecipheriv('aes-256-cbc', wrapKey, iv);
    bytes = Buffer.concat([
      cipher.update(isBase64 ? decodeBase64(Buffer.from(bytes).toString()) : bytes),
      cipher.final(),
    ]);
  } else if (isBase64) bytes = decodeBase64(Buffer.from(bytes).toString());
  host.secrets.set(id, bytes);
}
