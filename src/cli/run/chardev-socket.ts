/** Character devices that are sockets: `-chardev socket,…` and the short forms unix:PATH, tcp:HOST:PORT, telnet:HOST:PORT. */
import type { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';

export interface SocketPlan {
  readonly address:
    | { readonly type: 'unix'; readonly path: string }
    /** An empty host: every address of this host for a server, this host for a client. Further ports are tried up to the last. */
    | { readonly type: 'inet'; readonly host: string; readonly port: number; readonly lastPort: number }
    /** A descriptor that whoever started the program has left open. */
    | { readonly type: 'fd'; readonly fd: number };
  readonly server: boolean;
  /** The machine starts when a client has come. */
  readonly waits: boolean;
  readonly telnet: boolean;
  /** A client tries again after so long; 0: never. */
  readonly reconnectMs: number;
}

const unsupported = ['websocket', 'tn3270', 'tls-creds', 'tls-authz', 'ipv4', 'ipv6', 'abstract', 'tight', 'yank'];

/** What `values` say; `place` is what a short form has already said. Throws UsageError. */
export function planSocket(
  values: KeyValues,
  place: { path?: string; inet?: string; telnet?: boolean } = {},
): SocketPlan {
  const { option } = values;
  const path = place.path ?? (place.inet === undefined ? values.text('path') : undefined);
  const fd = values.number('fd', 0, 65535);
  const server = values.flag('server') ?? false;
  const wait = values.flag('wait');
  if (wait !== undefined && !server) throw new UsageError(`${option}: wait= is of use with server=on only`);
  const reconnect = values.number('reconnect', 0, 86_400) ?? 0;
  if (reconnect > 0 && server) throw new UsageError(`${option}: reconnect= is of use without server=on only`);
  values.flag('delay');
  values.flag('nodelay');
  const telnet = place.telnet || (values.flag('telnet') ?? false);
  const most = values.number('to', 0, 65535);
  const rest = { server, waits: server && (wait ?? true), telnet, reconnectMs: reconnect * 1000 };
  for (const key of unsupported) {
    const value = values.has(key) ? values.text(key) : undefined;
    if (value !== undefined && value !== 'off') throw new UsageError(`${option}: ${key}= is not supported yet`);
  }
  if (fd !== undefined) return { address: { type: 'fd', fd }, ...rest };
  if (path !== undefined) {
    if (path === '') throw new UsageError(`${option}: the path is missing`);
    return { address: { type: 'unix', path }, ...rest };
  }
  const match = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(
    place.inet ?? `[${values.text('host') ?? ''}]:${values.need('port')}`,
  );
  const port = Number(match?.[3]);
  if (!match || port > 65535) throw new UsageError(`${option}: an address is HOST:PORT`);
  return { address: { type: 'inet', host: match[1] ?? match[2], port, lastPort: Math.max(port, most ?? 0) }, ...rest };
}

/** As `info chardev` shows it. */
export function socketName({ address, server, telnet }: SocketPlan, connected: boolean): string {
  const place =
    address.type === 'unix'
      ? `unix:${address.path}`
      : address.type === 'fd'
        ? `fd:${address.fd}`
        : `${telnet ? 'telnet' : 'tcp'}:${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
  return `${connected ? '' : 'disconnected:'}${place}${server ? ',server=on' : ''}`;
}
