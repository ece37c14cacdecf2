/** `-netdev`, `-nic`, `-net` and `-object filter-dump` in QEMU's spelling: what network cards are connected to. */
import { VringError } from '../../base/index.js';
import {
  type GuestForward,
  type HostForward,
  parseIp,
  parseIpv4,
  parseIpv6,
  parseMac,
  parseNetwork,
  type UserNetworkOptions,
} from '../../net/index.js';
import type { DeviceOptions, HostPort, NetworkBackend, NetworkCapture, NetworkOptions } from '../../vmm/index.js';
import { KeyValues } from '../options/key-values.js';
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';
import { flattenJson } from './drives.js';
import { tapOf } from './plan-tap.js';

const backendTypes = ['user', 'socket', 'stream', 'dgram', 'tap'];
const unsupportedBackends = ['bridge', 'vde', 'l2tpv3', 'netmap', 'vhost-user', 'vhost-vdpa', 'hubport'];
type CardType = 'virtio-net' | 'e1000' | 'rtl8139' | 'ne2k_pci' | 'ne2k_isa';
/** Cards by QEMU's names for `model=`. */
const models: ReadonlyMap<string, CardType> = new Map([
  ['e1000', 'e1000'],
  ['e1000-82540em', 'e1000'],
  ['ne2k_isa', 'ne2k_isa'],
  ['ne2k_pci', 'ne2k_pci'],
  ['rtl8139', 'rtl8139'],
  ['virtio', 'virtio-net'],
  ['virtio-net', 'virtio-net'],
  ['virtio-net-pci', 'virtio-net'],
]);
const unsupportedModels = ['e1000e', 'pcnet', 'i82551', 'i82557b', 'i82559er', 'vmxnet3', 'tulip'];

/** What stands for the network of a card that is on none: no person can name it. */
export const noNetwork = (device: string): string => `#none:${device}`;

export interface PlannedNetworks {
  readonly networks: NetworkOptions[];
  /** Cards of `-nic` and `-net nic`. */
  readonly cards: DeviceOptions[];
  /** Uses up a network by its id, for a card of `-device`; undefined: the card is on none. */
  take(values: KeyValues, id: string | undefined): string;
  /** Names of cards that are on none. */
  readonly alone: readonly string[];
}

export interface GivenNetworks {
  readonly netdev: readonly string[];
  readonly nic: readonly string[];
  readonly net: readonly string[];
  /** Of type filter-dump. */
  readonly filters: readonly string[];
  /** The card where `model=` does not say which. */
  readonly defaultModel: CardType;
}

/** What `-nic model=help` shows. */
export const nicModelHelp = (): string => ['Supported NIC models:', ...[...models.keys()].toSorted()].join('\n');

/** Throws UsageError. */
export function planNetworks(given: GivenNetworks): PlannedNetworks {
  const networks: (NetworkBackend & { id: string; captures: NetworkCapture[] })[] = [];
  const used = new Set<string>();
  const cards: DeviceOptions[] = [];
  const add = (option: string, id: string, backend: NetworkBackend) => {
    if (networks.some((each) => each.id === id)) throw new UsageError(`${option}: Duplicate ID '${id}' for netdev`);
    networks.push({ ...backend, id, captures: [] });
  };
  const alone: string[] = [];
  /** Cards of each model. */
  const counts = new Map<string, number>();
  const take = (values: KeyValues, id: string | undefined): string => {
    const { option } = values;
    const driver = values.entries.get('driver') ?? 'nic';
    const number = counts.get(driver) ?? 0;
    counts.set(driver, number + 1);
    if (id === undefined) {
      const device = values.entries.get('id') ?? `${driver}.${number}`;
      alone.push(device);
      networks.push({ kind: 'none', id: noNetwork(device), captures: [] });
      return noNetwork(device);
    }
    // QEMU's virtio devices are two: the property is the inner one's.
    const property = `Property '${driver.startsWith('virtio-net') ? 'virtio-net-device' : driver}.netdev'`;
    const ids = networks.map((each) => each.id);
    if (!ids.includes(id))
      throw new UsageError(`${option}: ${property} can't find value '${id}'${didYouMean(id, ids)}`);
    if (used.has(id)) throw new UsageError(`${option}: ${property} can't take value '${id}', it's in use`);
    used.add(id);
    return id;
  };
  for (const text of given.netdev) {
    const { id, option, backend } = parseNetdev('-netdev', text);
    add(option, id, backend);
  }
  for (const [i, text] of given.nic.entries()) {
    if (text === 'none') {
      if (given.nic.length > 1) throw new UsageError('-nic none: there are other -nic options');
      continue;
    }
    const values = valuesOf('-nic', text);
    const id = values.text('id') ?? `#nic${i}`;
    const card = cardOf(values, 'mac', given.defaultModel);
    add(values.option, id, backendOf(values));
    values.finish();
    cards.push({ ...card, network: take(values, id) });
  }
  planOldNet(given, (option, id, backend) => add(option, id, backend), cards, used, alone);
  for (const text of given.filters) {
    const values = KeyValues.parse(`-object ${text}`, text, 'qom-type');
    values.need('qom-type');
    values.need('id');
    const id = values.need('netdev');
    const network = networks.find((each) => each.id === id);
    if (!network) throw new UsageError(`${values.option}: Parameter 'netdev' expects a network backend id`);
    network.captures.push({ path: values.need('file'), snapLength: values.number('maxlen', 1, 65536) });
    values.finish(['queue', 'status', 'position', 'insert']);
  }
  return { networks, cards, take, alone };
}

/** `-net nic` and `-net user` are on one wire: here one of each. */
function planOldNet(
  { net, defaultModel }: GivenNetworks,
  add: (option: string, id: string, backend: NetworkBackend) => void,
  cards: DeviceOptions[],
  used: Set<string>,
  alone: string[],
): void {
  let card: (ReturnType<typeof cardOf> & { option: string }) | undefined;
  let backend: string | undefined;
  for (const text of net) {
    if (text === 'none') continue;
    const values = KeyValues.parse(`-net ${text}`, text, 'type');
    if (values.text('type') === 'nic') {
      if (card) throw new UsageError(`${values.option}: a second card on the one wire is not supported yet`);
      const netdev = values.text('netdev');
      card = { ...cardOf(values, 'macaddr', defaultModel), option: values.option };
      if (netdev !== undefined)
        throw new UsageError(`${values.option}: netdev= is not supported; -nic and -device have it`);
    } else {
      if (backend !== undefined)
        throw new UsageError(`${values.option}: a second network on the one wire is not supported yet`);
      backend = values.text('id') ?? '#net0';
      add(values.option, backend, backendOf(values));
    }
    values.finish(['name', 'addr', 'vectors']);
  }
  if (!card) return;
  const { option, ...rest } = card;
  if (backend === undefined) {
    backend = noNetwork(rest.type);
    add(option, backend, { kind: 'none' });
    alone.push(rest.type);
  }
  used.add(backend);
  cards.push({ ...rest, network: backend });
}

/**
 * `type,id=…` as `-netdev` and the monitor's `netdev_add` have it, or JSON. `descriptorOf`: the number of a descriptor that may have a
 * name. Throws UsageError, and what that throws.
 */
export function parseNetdev(
  name: string,
  text: string,
  descriptorOf?: (text: string) => string,
): { id: string; option: string; backend: NetworkBackend } {
  const values = valuesOf(name, text, descriptorOf);
  const id = values.need('id');
  const backend = backendOf(values);
  values.finish();
  return { id, option: values.option, backend };
}

/** JSON, or words with commas. A list of JSON is a key several times. */
function valuesOf(name: string, text: string, descriptorOf = (text: string) => text): KeyValues {
  const option = `${name} ${text}`;
  const values = text.trimStart().startsWith('{')
    ? flattenJson(option, text).map(([key, value]) => [key.replace(/\.\d+(\.str)?$/, ''), value] as const)
    : [...KeyValues.parse(option, text, 'type').given];
  const isDescriptor = (key: string) => key === 'fd' || key === 'fds' || key === 'local.str' || key === 'addr.str';
  const named = (value: string) => value.split(':').map(descriptorOf).join(':');
  return new KeyValues(
    option,
    values.map(([key, value]) => [key, isDescriptor(key) ? named(value) : value]),
  );
}

function cardOf(
  values: KeyValues,
  macKey: 'mac' | 'macaddr',
  defaultModel: CardType,
): { type: CardType; mac: string | undefined } {
  const model = values.text('model');
  const type = model === undefined ? defaultModel : models.get(model);
  if (model !== undefined && !type) {
    if (unsupportedModels.includes(model))
      throw new UsageError(`${values.option}: model=${model} is not supported yet`);
    throw new UsageError(`${values.option}: there is no model '${model}'${didYouMean(model, [...models.keys()])}`);
  }
  return { type: type ?? defaultModel, mac: checkMac(values.option, values.text(macKey)) };
}

export function checkMac(option: string, mac: string | undefined): string | undefined {
  if (mac === undefined) return undefined;
  const bytes = parseMac(mac);
  if (!bytes) throw new UsageError(`${option}: '${mac}' is no Ethernet address, such as 52:54:00:12:34:56`);
  if ((bytes[0] & 1) !== 0) throw new UsageError(`${option}: '${mac}' is the address of a group, not of a card`);
  return mac;
}

function backendOf(values: KeyValues): NetworkBackend {
  const type = values.need('type');
  if (type === 'user') return { kind: 'user', user: userOf(values) };
  if (type === 'socket') return socketOf(values);
  if (type === 'stream') return streamOf(values);
  if (type === 'dgram') return datagramsOf(values);
  if (type === 'tap') return tapOf(values);
  const why = unsupportedBackends.includes(type)
    ? `the network '${type}' is not supported yet`
    : `there is no network '${type}'${didYouMean(type, backendTypes)}`;
  throw new UsageError(`${values.option}: ${why}`);
}

function need<T>(values: KeyValues, key: string, parse: (text: string) => T | undefined, what: string): T | undefined {
  const text = values.text(key);
  if (text === undefined) return undefined;
  const found = parse(text);
  if (found === undefined) throw new UsageError(`${values.option}: ${key}=${text} is no ${what}`);
  return found;
}

function userOf(values: KeyValues): UserNetworkOptions {
  const { option } = values;
  const ipv4 = (key: string) => need(values, key, parseIpv4, 'IPv4 address');
  const ipv6 = (key: string) => need(values, key, parseIpv6, 'IPv6 address');
  const network = values.text('net');
  let parsed: ReturnType<typeof parseNetwork> | undefined;
  try {
    parsed = network === undefined ? undefined : parseNetwork(network);
  } catch (error) {
    if (!(error instanceof VringError)) throw error;
    throw new UsageError(`${option}: ${error.message}`);
  }
  const ipv6Net = values.text('ipv6-net')?.split('/');
  const prefix = ipv6Net ? parseIpv6(ipv6Net[0]) : ipv6('ipv6-prefix');
  if (ipv6Net && !prefix) throw new UsageError(`${option}: ipv6-net=${ipv6Net.join('/')} is no IPv6 network`);
  const bits = ipv6Net?.[1] === undefined ? undefined : Number(ipv6Net[1]);
  return {
    ipv4: values.flag('ipv4'),
    ipv6: values.flag('ipv6'),
    restrict: values.flag('restrict'),
    network: parsed?.network,
    netmask: parsed?.netmask,
    hostAddress: ipv4('host'),
    firstLease: ipv4('dhcpstart'),
    nameServer: ipv4('dns'),
    ipv6Prefix: prefix,
    ipv6PrefixBits: bits ?? values.number('ipv6-prefixlen', 0, 126),
    ipv6Host: ipv6('ipv6-host'),
    ipv6NameServer: ipv6('ipv6-dns'),
    hostname: values.text('hostname'),
    domainName: values.text('domainname'),
    domainSearch: values.all('dnssearch'),
    tftpFolder: values.text('tftp'),
    bootFile: values.text('bootfile'),
    tftpServerName: values.text('tftp-server-name'),
    hostForwards: values.all('hostfwd').map((rule) => hostForward(option, rule)),
    guestForwards: values.all('guestfwd').map((rule) => guestForward(option, rule)),
  };
}

function portOf(text: string): number | undefined {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port > 0 && port < 65536 ? port : undefined;
}

/** `[tcp|udp]:[hostaddr]:hostport`. Throws UsageError. */
export function hostPort(option: string, rule: string): HostPort {
  // The other half makes a rule of it.
  const { protocol, hostAddress, hostPort } = hostForward(option, rule, '-:1');
  return { protocol, hostAddress, hostPort };
}

/** `[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport`; `rest` is what is not said. Throws UsageError. */
export function hostForward(option: string, rule: string, rest = ''): HostForward {
  const bad = (why: string) => new UsageError(`${option}: Invalid host forwarding rule '${rule}' (${why})`);
  const match = /^(tcp|udp|):(\[[^\]]*\]|[^:-]*):([^-]*)-([^:]*):(.*)$/.exec(rule + rest);
  if (!match) throw bad(/^(tcp|udp|):/.test(rule) ? 'Bad host port' : 'Bad protocol name');
  const [, protocol, host, hostPortText, guest, guestPortText] = match;
  const hostText = host.replace(/^\[(.*)\]$/, '$1');
  const hostAddress = hostText === '' ? undefined : parseIp(hostText);
  if (hostText !== '' && !hostAddress) throw bad('Bad host address');
  // Any that is free.
  const hostPort = hostPortText === '0' ? 0 : portOf(hostPortText);
  if (hostPort === undefined) throw bad('Bad host port');
  const guestAddress = guest === '' ? undefined : parseIpv4(guest);
  if (guest !== '' && !guestAddress) throw bad('Bad guest address');
  const guestPort = portOf(guestPortText);
  if (guestPort === undefined) throw bad('Bad guest port');
  return { protocol: protocol === 'udp' ? 'udp' : 'tcp', hostAddress, hostPort, guestAddress, guestPort };
}

/** `[tcp]:server:port-cmd:command`, `-tcp:host:port` or `-unix:path`. */
function guestForward(option: string, rule: string): GuestForward {
  const bad = () => new UsageError(`${option}: Invalid guest forwarding rule '${rule}'`);
  const match = /^(?:tcp)?:([\d.]+):(\d+)-([^:]*):?(.*)$/s.exec(rule);
  const address = match ? parseIpv4(match[1]) : undefined;
  const port = match ? portOf(match[2]) : undefined;
  if (!match || !address || port === undefined) throw bad();
  const [, , , kind, rest] = match;
  switch (kind) {
    case 'cmd':
      return { address, port, target: { kind: 'command', command: rest } };
    case 'unix':
      if (rest === '') throw bad();
      return { address, port, target: { kind: 'stream', path: rest } };
    case 'tcp': {
      const target = /^(?:\[([^\]]+)\]|([^:,]+)):(\d+)$/.exec(rest);
      const toPort = target ? portOf(target[3]) : undefined;
      if (!target || toPort === undefined) throw bad();
      return { address, port, target: { kind: 'stream', host: target[1] ?? target[2], port: toPort } };
    }
    default:
      throw new UsageError(`${option}: guestfwd= leads to cmd:, tcp: and unix:; '${kind}' is not supported yet`);
  }
}

/** `host:port`; without a host, all addresses or this host. */
function placeOf(option: string, key: string, text: string, host: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]*)\]|([^:]*)):(\d+)$/.exec(text);
  const port = match ? portOf(match[3]) : undefined;
  if (!match || port === undefined) throw new UsageError(`${option}: ${key}=${text} is not of the form host:port`);
  return { host: match[1] ?? (match[2] || host), port };
}

function socketOf(values: KeyValues): NetworkBackend {
  const { option } = values;
  const given = ['listen', 'connect', 'mcast', 'udp', 'fd'].filter((key) => values.has(key));
  if (given.length !== 1)
    throw new UsageError(`${option}: exactly one of listen=, connect=, mcast=, udp= and fd= is needed`);
  const [key] = given;
  const text = values.need(key);
  const localText = values.text('localaddr');
  switch (key) {
    case 'fd':
      if (!/^\d{1,9}$/.test(text)) throw new UsageError(`${option}: Invalid file descriptor number '${text}'`);
      return { kind: 'descriptor', fd: Number(text) };
    case 'listen':
      return { kind: 'listen', place: placeOf(option, key, text, '0.0.0.0') };
    case 'connect':
      return { kind: 'connect', place: placeOf(option, key, text, '127.0.0.1') };
    case 'mcast': {
      const remote = placeOf(option, key, text, '');
      const first = Number(remote.host.split('.')[0]);
      if (!parseIpv4(remote.host) || first < 224 || first > 239)
        throw new UsageError(`${option}: '${remote.host}' is no multicast address`);
      return { kind: 'datagram', remote, local: localText === undefined ? undefined : { host: localText, port: 0 } };
    }
    default: {
      if (localText === undefined) throw new UsageError(`${option}: localaddr= is missing: udp= needs it`);
      const remote = placeOf(option, key, text, '127.0.0.1');
      return { kind: 'datagram', remote, local: placeOf(option, 'localaddr', localText, '0.0.0.0') };
    }
  }
}

/** `server=on,addr.type=inet|unix|fd,addr.…`: the same stream as `socket`'s. */
function streamOf(values: KeyValues): NetworkBackend {
  const { option } = values;
  const kind = (values.flag('server') ?? false) ? 'listen' : 'connect';
  const type = values.choice('addr.type', ['inet', 'unix', 'fd']);
  switch (type) {
    case 'unix':
      return { kind, place: { path: values.need('addr.path') } };
    case 'inet': {
      const host = values.need('addr.host') || (kind === 'listen' ? '0.0.0.0' : '127.0.0.1');
      const port = values.number('addr.port', 0, 65535);
      if (port === undefined) throw new UsageError(`${option}: addr.port= is missing`);
      return { kind, place: { host, port } };
    }
    case 'fd': {
      const fd = values.need('addr.str');
      if (!/^\d{1,9}$/.test(fd)) throw new UsageError(`${option}: Invalid file descriptor number '${fd}'`);
      if (kind === 'listen') throw new UsageError(`${option}: addr.type=fd is not supported yet with server=on`);
      return { kind: 'descriptor', fd: Number(fd) };
    }
    case undefined:
      throw new UsageError(`${option}: addr.type= is missing: inet, unix or fd`);
  }
}

/** `local.type=inet,local.host=…,local.port=…,remote.…`. */
function datagramsOf(values: KeyValues): NetworkBackend {
  if (values.entries.get('local.type') === 'fd') {
    values.text('local.type');
    const fd = values.need('local.str');
    if (!/^\d{1,9}$/.test(fd)) throw new UsageError(`${values.option}: Invalid file descriptor number '${fd}'`);
    if ([...values.entries.keys()].some((key) => key.startsWith('remote.')))
      throw new UsageError(`${values.option}: don't set remote with local.fd`);
    return { kind: 'descriptor', fd: Number(fd), isDatagram: true };
  }
  const end = (side: 'local' | 'remote') => {
    if (!values.has(`${side}.host`) && !values.has(`${side}.port`)) return undefined;
    const type = values.text(`${side}.type`) ?? 'inet';
    if (type !== 'inet') throw new UsageError(`${values.option}: ${side}.type=${type} is not supported yet`);
    const port = values.number(`${side}.port`, 1, 65535);
    if (port === undefined) throw new UsageError(`${values.option}: ${side}.port= is missing`);
    return { host: values.need(`${side}.host`), port };
  };
  const remote = end('remote');
  if (!remote) throw new UsageError(`${values.option}: remote.host= is missing`);
  return { kind: 'datagram', local: end('local'), remote };
}
