/**
 * `--object` definitions of the disk tools: secrets (plain, base64, from files, AES-wrapped), TLS credentials, throttle groups. A table
 * says what each type takes; credentials are looked at when they are defined, and handed to who asks.
 */

import { createDecipheriv } from 'node:crypto';
import * as fs from 'node:fs';
import { BlockError, errorCode, errorText } from '../../block/errors.js';
import { type OptionDict, type OptionRow, takeOptions } from '../../block/options.js';
import { loadTlsCredentials } from '../../block/protocols/nbd/credentials.js';
import type { NodeBlockHost } from '../../host/node/block-host.js';

interface ObjectType {
  readonly rows: readonly OptionRow[];
  readonly required?: string;
  /** Further properties, by prefix. */
  readonly prefixes?: readonly string[];
}

const format: OptionRow = {
  name: 'format',
  type: 'enum',
  values: ['raw', 'base64'],
  help: 'How the bytes are written',
};
const keyId: OptionRow = { name: 'keyid', type: 'string', help: 'Secret with the key that decrypts' };
const iv: OptionRow = { name: 'iv', type: 'string', help: 'Base64 of the initialization vector for it' };
const credentials: readonly OptionRow[] = [
  { name: 'dir', type: 'string', help: 'Directory of the files' },
  { name: 'endpoint', type: 'enum', values: ['client', 'server'], help: 'Who uses them' },
  { name: 'verify-peer', type: 'boolean', help: 'Refuse a peer without a certificate' },
  { name: 'priority', type: 'string', help: 'Accepted for compatibility' },
];

const types: Readonly<Record<string, ObjectType>> = {
  'authz-simple': {
    rows: [{ name: 'identity', type: 'string', help: 'Distinguished name of who may connect' }],
    required: 'identity',
  },
  secret: {
    rows: [
      { name: 'data', type: 'string', help: 'The secret' },
      { name: 'file', type: 'string', help: 'File with the secret' },
      format,
      keyId,
      iv,
    ],
  },
  'throttle-group': { rows: [], prefixes: ['x-', 'limits.'] },
  'tls-creds-anon': { rows: credentials },
  'tls-creds-psk': { rows: [...credentials, { name: 'username', type: 'string', help: 'Name of the client' }] },
  'tls-creds-x509': {
    rows: [
      ...credentials,
      { name: 'sanity-check', type: 'boolean', help: 'Accepted for compatibility' },
      { name: 'passwordid', type: 'string', help: 'Secret that unlocks the key' },
    ],
  },
};

/** `help` and `TYPE,help`. */
export function objectHelp(type: string | undefined): string | undefined {
  if (type === undefined)
    return `List of user creatable objects:\n${Object.keys(types)
      .map((name) => `  ${name}\n`)
      .join('')}`;
  if (!Object.hasOwn(types, type)) return undefined;
  const rows = [...types[type]!.rows].sort((a, b) => (a.name < b.name ? -1 : 1));
  return `${type} options:\n${rows.map(({ name, help }) => `  ${`${name}=<value>`.padEnd(22)} - ${help}\n`).join('')}`;
}

function decodeBase64(text: string): Uint8Array {
  if (!/^[A-Za-z0-9+/=\n]*$/.test(text)) throw new BlockError('EINVAL', 'Base64 data contains invalid characters');
  return Buffer.from(text, 'base64');
}

/** Reads and unwraps a secret. */
async function loadSecret(host: NodeBlockHost, options: OptionDict): Promise<Uint8Array> {
  const { data, file } = options;
  let bytes: Uint8Array;
  if (data !== undefined) {
    if (file !== undefined) throw new BlockError('EINVAL', "'file' and 'data' are mutually exclusive");
    bytes = Buffer.from(String(data));
  } else if (file !== undefined) {
    try {
      bytes = fs.readFileSync(String(file));
    } catch (error) {
      const verb = errorCode(error) === 'EISDIR' ? 'read from' : 'open';
      throw new BlockError(
        'ENOENT',
        `Unable to read ${file}: Failed to ${verb} file “${file}”: ${errorText(errorCode(error))}`,
      );
    }
  } else throw new BlockError('EINVAL', "Either 'file' or 'data' must be provided");
  const isBase64 = options['format'] === 'base64';
  const plain = isBase64 ? decodeBase64(Buffer.from(bytes).toString()) : bytes;
  if (options['keyid'] === undefined) return plain;
  const key = await host.secret(String(options['keyid']));
  if (key.length !== 32) throw new BlockError('EINVAL', 'Key should be 32 bytes in length');
  if (options['iv'] === undefined) throw new BlockError('EINVAL', 'IV is required to decrypt secret');
  const vector = decodeBase64(String(options['iv']));
  if (vector.length !== 16) throw new BlockError('EINVAL', `IV should be 16 bytes in length not ${vector.length}`);
  const cipher = createDecipheriv('aes-256-cbc', key, vector);
  try {
    return Buffer.concat([cipher.update(plain), cipher.final()]);
  } catch {
    throw new BlockError('EINVAL', 'The secret cannot be decrypted with this key: its padding is wrong');
  }
}

/** Checks and defines one object; BlockError with QEMU's sentence otherwise. `id` and `qom-type` are part of `options`. */
export async function defineObject(host: NodeBlockHost, options: OptionDict): Promise<void> {
  const name = options['qom-type'];
  if (name === undefined) throw new BlockError('EINVAL', "Parameter 'qom-type' is missing");
  if (name === 'secret_keyring')
    throw new BlockError('ENOTSUP', "Secrets in the kernel's keyring are not supported: use a 'secret' with 'file'");
  if (!Object.hasOwn(types, String(name)))
    throw new BlockError('EINVAL', `Parameter 'qom-type' does not accept value '${String(name)}'`);
  const type = types[String(name)]!;
  const id = options['id'];
  if (typeof id !== 'string') throw new BlockError('EINVAL', "Parameter 'id' is missing");
  if (!/^[A-Za-z][A-Za-z0-9._-]*$/.test(id)) {
    throw new BlockError(
      'EINVAL',
      "Parameter 'id' expects an identifier\nIdentifiers consist of letters, digits, '-', '.', '_', starting with a letter.",
    );
  }
  const left = { ...options };
  delete left['qom-type'];
  delete left['id'];
  for (const row of type.rows) {
    const value = left[row.name];
    if (row.type === 'enum' && value !== undefined && !row.values!.includes(String(value)))
      throw new BlockError('EINVAL', `Parameter '${row.name}' does not accept value '${String(value)}'`);
    if (row.type === 'string' && value !== undefined && typeof value !== 'string')
      throw new BlockError('EINVAL', `Invalid parameter type for '${row.name}', expected: string`);
  }
  takeOptions(type.rows, left);
  const unknown = Object.keys(left).find((key) => !type.prefixes?.some((prefix) => key.startsWith(prefix)));
  if (unknown !== undefined) throw new BlockError('EINVAL', `Parameter '${unknown}' is unexpected`);
  if (type.required !== undefined && options[type.required] === undefined)
    throw new BlockError('EINVAL', `Parameter '${type.required}' is missing`);
  if (host.secrets.has(id) || host.objects.has(id))
    throw new BlockError('EINVAL', `attempt to add duplicate property '${id}' to object (type 'container')`);
  if (name === 'secret') {
    host.secrets.set(id, await loadSecret(host, options));
    return;
  }
  host.objects.set(id, { type: String(name), options });
  if (name === 'throttle-group') {
    const { findThrottleGroup } = await import('../../block/filters/throttle.js');
    findThrottleGroup(host, id);
  }
  if (name === 'tls-creds-x509' || name === 'tls-creds-psk')
    await loadTlsCredentials(host, id, options['endpoint'] === 'server' ? 'server' : 'client');
}
