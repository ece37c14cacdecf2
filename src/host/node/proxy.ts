/**
 * Which HTTP proxy a URL is fetched through: apt's settings (apt.conf(5), apt-transport-http(1)) and the environment's
 * `http_proxy`, `https_proxy`, `all_proxy`, `no_proxy` in either case, as curl reads them. apt's own settings come first.
 */
import { BlockList, isIP } from 'node:net';
import { VringError } from '../../base/errors.js';

export type Environment = Readonly<Record<string, string | undefined>>;

function fromEnvironment(env: Environment, name: string): string | undefined {
  return env[name.toLowerCase()] || env[name.toUpperCase()] || undefined;
}

/** Whether `no_proxy` names the host of the URL: `*`, domains with all below them, addresses, CIDR blocks, `:port`. */
export function isExemptFromProxy(url: URL, noProxy: string): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  for (const entry of noProxy.toLowerCase().split(/[\s,]+/)) {
    if (entry === '') continue;
    if (entry === '*') return true;
    const cidr = /^(.+)\/(\d+)$/.exec(entry);
    if (cidr !== null) {
      const [family, hostFamily] = [isIP(cidr[1]!), isIP(host)];
      const bits = Number(cidr[2]);
      if (family === 0 || family !== hostFamily || bits > (family === 4 ? 32 : 128)) continue;
      const block = new BlockList();
      block.addSubnet(cidr[1]!, bits, family === 4 ? 'ipv4' : 'ipv6');
      if (block.check(host, family === 4 ? 'ipv4' : 'ipv6')) return true;
      continue;
    }
    const withPort = /^\[?([^\]]*?)\]?:(\d+)$/.exec(entry);
    const plain = withPort !== null && isIP(entry) === 0;
    if (plain && withPort[2] !== port) continue;
    const name = (plain ? withPort[1]! : entry).replace(/^\*?\./, '').replace(/^\[|\]$/g, '');
    if (host === name || (isIP(host) === 0 && host.endsWith(`.${name}`))) return true;
  }
  return false;
}

function parseProxy(value: string, where: string): URL {
  let url: URL;
  try {
    url = new URL(/^[a-z0-9+.-]+:\/\//i.test(value) ? value : `http://${value}`);
  } catch {
    throw new VringError('proxy-invalid', `The proxy that ${where} names, '${value}', is not a URL.`);
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    const scheme = url.protocol.slice(0, -1);
    throw new VringError(
      'proxy-unsupported',
      `The proxy that ${where} names is of type ${scheme}; vring speaks http and https.`,
    );
  }
  return url;
}

/** The proxy for `url`, or undefined for a direct connection. Throws VringError `proxy-invalid`, `proxy-unsupported`. */
export function chooseProxy(url: URL, aptOptions: ReadonlyMap<string, string>, env: Environment): URL | undefined {
  const schemes = url.protocol === 'https:' ? ['https', 'http'] : ['http'];
  for (const scheme of schemes) {
    for (const name of [`acquire::${scheme}::proxy::${url.hostname}`, `acquire::${scheme}::proxy`]) {
      const value = aptOptions.get(name);
      if (value === undefined) continue;
      // An empty value, as "false" once did in older releases, means none.
      if (value === '' || /^(direct|false)$/i.test(value)) return undefined;
      return parseProxy(value, 'apt');
    }
  }
  const name = `${url.protocol.slice(0, -1)}_proxy`;
  const value = fromEnvironment(env, name) ?? fromEnvironment(env, 'all_proxy');
  if (value === undefined || isExemptFromProxy(url, fromEnvironment(env, 'no_proxy') ?? '')) return undefined;
  return parseProxy(value, name.toUpperCase());
}
