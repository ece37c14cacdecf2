/**
 * Names of NBD disks (NetworkBlockDevice/nbd, doc/uri.md, and QEMU's older forms) as options and back:
 * `nbd://host[:port]/export`, `nbd+unix:///export?socket=PATH`, `nbds://…` (TLS), `nbd:host:port[:exportname=NAME]`,
 * `nbd:unix:PATH[:exportname=NAME]`.
 */
import { BlockError } from '../../errors.js';
import type { OptionDict } from '../../options.js';
import { defaultPort } from './wire.js';

export const nbdSchemes = ['nbd', 'nbd+tcp', 'nbd+unix', 'nbds', 'nbds+tcp', 'nbds+unix'] as const;

function bad(): never {
  throw new BlockError('EINVAL', 'No valid URL specified');
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return bad();
  }
}

/** A name with its scheme, as flat options. */
export function parseNbdName(filename: string): OptionDict {
  const uri = /^(nbds?)(?:\+(tcp|unix))?:\/\/([^/?#]*)([^?#]*)(?:\?([^#]*))?$/.exec(filename);
  if (!uri) {
    if (filename.startsWith('nbd:') && !filename.startsWith('nbd://')) return parseOldName(filename);
    return bad();
  }
  const [, scheme, transport, authority, path, query] = uri;
  const options: OptionDict = {};
  const parameters = new Map<string, string>();
  for (const part of (query ?? '').split('&')) {
    if (part === '') continue;
    const equals = part.indexOf('=');
    if (equals < 0) return bad();
    parameters.set(part.slice(0, equals), decode(part.slice(equals + 1)));
  }
  const name = decode((path ?? '').replace(/^\//, ''));
  if (name !== '') options['export'] = name;
  if (transport === 'unix') {
    const socket = parameters.get('socket');
    const user = /^(?:([^@]*)@)?$/.exec(authority ?? '');
    if (!user || socket === undefined || socket === '') return bad();
    if (user[1]) parameters.set('tls-username', decode(user[1]));
    parameters.delete('socket');
    options['server.type'] = 'unix';
    options['server.path'] = socket;
  } else {
    const place = /^(?:([^@]*)@)?(?:\[([^\]]+)\]|([^:]*))(?::(\d+))?$/.exec(authority ?? '');
    if (!place) return bad();
    const [, user, six, host, port] = place;
    if (user !== undefined && user !== '') parameters.set('tls-username', decode(user));
    options['server.type'] = 'inet';
    options['server.host'] = decode(six ?? host ?? '') || 'localhost';
    options['server.port'] = port ?? String(defaultPort);
  }
  if (scheme === 'nbds') {
    options['tls'] = true;
    for (const key of ['tls-certificates', 'tls-psk-file', 'tls-username', 'tls-hostname'] as const) {
      const value = parameters.get(key);
      if (value !== undefined) options[key] = value;
      parameters.delete(key);
    }
  }
  parameters.delete('tls-username');
  if (parameters.size > 0) return bad();
  return options;
}

/** `nbd:HOST:PORT` and `nbd:unix:PATH`. */
function parseOldName(filename: string): OptionDict {
  let rest = filename.slice('nbd:'.length);
  const options: OptionDict = {};
  const at = rest.indexOf(':exportname=');
  if (at >= 0) {
    const name = rest.slice(at + ':exportname='.length);
    if (name !== '') options['export'] = name;
    rest = rest.slice(0, at);
  }
  if (rest.startsWith('unix:')) {
    options['server.type'] = 'unix';
    options['server.path'] = rest.slice('unix:'.length);
    return options;
  }
  const place = /^(?:\[([^\]]+)\]|([^:]*)):([^:,]+)$/.exec(rest);
  if (!place) throw new BlockError('EINVAL', `error parsing address '${rest}'`);
  options['server.type'] = 'inet';
  options['server.host'] = (place[1] ?? place[2]) || 'localhost';
  options['server.port'] = place[3]!;
  return options;
}

/** Options as a URI; undefined when one can't say them (TLS credentials by id, other servers). */
export function formatNbdName(options: OptionDict): string | undefined {
  const plain = new Set([
    'driver',
    'server.type',
    'server.host',
    'server.port',
    'server.path',
    'host',
    'port',
    'path',
    'export',
  ]);
  if (Object.keys(options).some((key) => !plain.has(key))) return undefined;
  const name = options['export'];
  const exportName = name === undefined || name === null ? '' : String(name);
  const path = options['server.path'] ?? options['path'];
  if (path !== undefined) return `nbd+unix://${exportName === '' ? '' : `/${exportName}`}?socket=${path}`;
  const host = String(options['server.host'] ?? options['host'] ?? '');
  const port = options['server.port'] ?? options['port'] ?? defaultPort;
  if (host === '') return undefined;
  const place = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  return exportName === '' ? `nbd://${place}` : `nbd://${place}/${exportName}`;
}
