/** Character devices that are datagrams to and from one other place: `-chardev udp,…` and the short form udp:HOST:PORT@LOCAL:PORT. */
import type { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';

export interface UdpPlan {
  readonly host: string;
  readonly port: number;
  /** Empty: every address of this host. */
  readonly localHost: string;
  /** 0: any that is free. */
  readonly localPort: number;
}

function placeOf(option: string, text: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (!match || port > 65535) throw new UsageError(`${option}: an address is HOST:PORT, not '${text}'`);
  return { host: match[1] ?? match[2]!, port };
}

/** What `values` say; `place` is what a short form has already said. Throws UsageError. */
export function planUdp(values: KeyValues, place?: string): UdpPlan {
  const { option } = values;
  let remote: { host: string; port: number };
  let local = { host: '', port: 0 };
  if (place === undefined) {
    remote = { host: values.text('host') ?? '', port: values.number('port', 1, 65535) ?? 0 };
    local = { host: values.text('localaddr') ?? '', port: values.number('localport', 0, 65535) ?? 0 };
  } else {
    const [there = '', here] = place.split('@');
    remote = placeOf(option, there);
    if (here !== undefined) local = placeOf(option, here);
  }
  if (remote.port === 0) throw new UsageError(`${option}: port= is missing: datagrams need a port to go to`);
  for (const key of ['ipv4', 'ipv6'])
    if (values.has(key)) throw new UsageError(`${option}: ${key}= is not supported yet; an address says which it is`);
  return { host: remote.host || 'localhost', port: remote.port, localHost: local.host, localPort: local.port };
}
