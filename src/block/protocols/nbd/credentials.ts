/**
 * TLS credentials as `--object tls-creds-x509`, `tls-creds-psk` and `tls-creds-anon` name them: a directory of files with fixed names, as QEMU and
 * GnuTLS's tools lay them out.
 */
import { BlockError } from '../../errors.js';
import type { BlockHost } from '../../host.js';
import { parseBoolean } from '../../options.js';

export type TlsEndpoint = 'client' | 'server';

export type TlsCredentials =
  | {
      readonly kind: 'x509';
      readonly endpoint: TlsEndpoint;
      readonly ca?: Uint8Array;
      readonly crl?: Uint8Array;
      readonly cert?: Uint8Array;
      readonly key?: Uint8Array;
      readonly passphrase?: string;
      readonly verifyPeer: boolean;
    }
  | { readonly kind: 'anon'; readonly endpoint: TlsEndpoint }
  | {
      readonly kind: 'psk';
      readonly endpoint: TlsEndpoint;
      /** Whom the client says it is. */
      readonly username: string;
      /** Keys by user name. */
      readonly keys: ReadonlyMap<string, Uint8Array>;
    };

/** Certificates and key files are small. */
const maxFileBytes = 2 ** 20;

async function readSmall(host: BlockHost, path: string): Promise<Uint8Array | undefined> {
  if (!(await host.files.stat(path))) return undefined;
  const file = await host.files.open(path, { write: false });
  try {
    const size = Math.min(file.stat().sizeBytes, maxFileBytes);
    const bytes = new Uint8Array(size);
    return bytes.subarray(0, await file.read(0, bytes));
  } finally {
    await file.close();
  }
}

/** Lines `user:hexkey`. */
export function parsePskFile(text: string): Map<string, Uint8Array> {
  const keys = new Map<string, Uint8Array>();
  for (const line of text.split('\n')) {
    const match = /^([^:#\s][^:]*):([0-9a-fA-F]+)\s*$/.exec(line);
    if (!match || match[2]!.length % 2 !== 0) continue;
    const hex = match[2]!;
    keys.set(
      match[1]!,
      Uint8Array.from({ length: hex.length / 2 }, (_, index) =>
        Number.parseInt(hex.slice(2 * index, 2 * index + 2), 16),
      ),
    );
  }
  return keys;
}

/** The credentials of the object `id`, for use as `endpoint`; BlockError with QEMU's sentence otherwise. */
export async function loadTlsCredentials(host: BlockHost, id: string, endpoint: TlsEndpoint): Promise<TlsCredentials> {
  const object = host.object?.(id);
  if (!object) throw new BlockError('EINVAL', `No TLS credentials with id '${id}'`);
  if (!['tls-creds-x509', 'tls-creds-psk', 'tls-creds-anon'].includes(object.type))
    throw new BlockError('EINVAL', `Object with id '${id}' is not TLS credentials`);
  const stated = object.options['endpoint'] ?? 'client';
  if (stated !== endpoint) throw new BlockError('EINVAL', `Expected TLS credentials for a ${endpoint} endpoint`);
  if (object.type === 'tls-creds-anon') return { kind: 'anon', endpoint };
  const directory = object.options['dir'];
  if (typeof directory !== 'string') throw new BlockError('EINVAL', "Missing 'dir' property value");
  if (object.type === 'tls-creds-psk') {
    const username = String(object.options['username'] ?? 'qemu');
    return loadPsk(host, `${directory}/keys.psk`, endpoint, username);
  }
  const secret = object.options['passwordid'];
  const passphrase = typeof secret === 'string' ? new TextDecoder().decode(await host.secret(secret)) : undefined;
  return loadX509(
    host,
    directory,
    endpoint,
    parseBoolean('verify-peer', String(object.options['verify-peer'] ?? 'on')),
    passphrase,
  );
}

export async function loadPsk(
  host: BlockHost,
  path: string,
  endpoint: TlsEndpoint,
  username: string,
): Promise<TlsCredentials> {
  const bytes = await readSmall(host, path);
  if (!bytes) throw new BlockError('EINVAL', `Unable to access credentials ${path}: No such file or directory`);
  const keys = parsePskFile(new TextDecoder().decode(bytes));
  if (endpoint === 'client' && !keys.has(username))
    throw new BlockError('EINVAL', `Username ${username} not found in PSK file ${path}`);
  return { kind: 'psk', endpoint, username, keys };
}

export async function loadX509(
  host: BlockHost,
  directory: string,
  endpoint: TlsEndpoint,
  verifyPeer: boolean,
  passphrase?: string,
): Promise<TlsCredentials> {
  const file = (name: string) => readSmall(host, `${directory}/${name}`);
  const need = async (name: string): Promise<Uint8Array> => {
    const bytes = await file(name);
    if (!bytes)
      throw new BlockError('EINVAL', `Unable to access credentials ${directory}/${name}: No such file or directory`);
    return bytes;
  };
  const isServer = endpoint === 'server';
  const ca = isServer && !verifyPeer ? await file('ca-cert.pem') : await need('ca-cert.pem');
  const crl = await file('ca-crl.pem');
  const cert = isServer ? await need('server-cert.pem') : await file('client-cert.pem');
  const key = isServer ? await need('server-key.pem') : await file('client-key.pem');
  if ((cert === undefined) !== (key === undefined))
    throw new BlockError(
      'EINVAL',
      `Unable to access credentials ${directory}/client-${cert ? 'key' : 'cert'}.pem: No such file or directory`,
    );
  return {
    kind: 'x509',
    endpoint,
    verifyPeer,
    ...(ca ? { ca } : {}),
    ...(crl ? { crl } : {}),
    ...(cert && key ? { cert, key } : {}),
    ...(passphrase === undefined ? {} : { passphrase }),
  };
}
