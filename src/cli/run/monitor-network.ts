/** The monitor's commands about networks: cables, forwarded ports, what there is. */
import { type Machine, type MachineNetwork, VringError } from '../../vmm/index.js';
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';
import { announce, defaultPace } from './announce.js';
import { addNetwork } from './hotplug.js';
import type { CommandHost, MonitorHost } from './monitor.js';
import { networkOf } from './named-devices.js';
import { hostForward, hostPort, noNetwork } from './networks.js';

interface NetworkHost {
  readonly machine: Machine;
}

/** `[NETDEV] RULE`: the network that is named, or the first user network. */
function networkAndRule({ machine }: NetworkHost, command: string, argument: string): { id: string; rule: string } {
  const words = argument.split(/\s+/).filter((word) => word !== '');
  if (words.length < 1 || words.length > 2) throw new UsageError(`${command}: [NETDEV] RULE is needed`);
  const [rule, named] = words.toReversed();
  const ids = machine.networks.map(({ id }) => id);
  if (named !== undefined && !ids.includes(named))
    throw new UsageError(`${command}: there is no network '${named}'${didYouMean(named, ids)}`);
  const id = named ?? machine.networks.find(({ kind }) => kind === 'user')?.id;
  if (id === undefined) throw new UsageError(`${command}: there is no user network`);
  return { id, rule };
}

async function addForward(host: NetworkHost, argument: string): Promise<string> {
  const { id, rule } = networkAndRule(host, 'hostfwd_add', argument);
  await host.machine.addHostForward(id, hostForward('hostfwd_add', rule));
  return '';
}

async function removeForward(host: NetworkHost, argument: string): Promise<string> {
  const { id, rule } = networkAndRule(host, 'hostfwd_remove', argument);
  const isRemoved = await host.machine.removeHostForward(id, hostPort('hostfwd_remove', rule));
  return `host forwarding rule for ${rule} ${isRemoved ? 'removed' : 'not found'}`;
}

async function setLink({ machine, namedDevices }: MonitorHost, argument: string): Promise<string> {
  const match = /^(\S+)\s+(on|off)$/.exec(argument.trim());
  if (!match) throw new UsageError('set_link: NAME on|off is needed');
  const network = networkOf(namedDevices, machine.networks, match[1]);
  if (network === undefined) throw new VringError('no-such-network', `Device '${match[1]}' not found`);
  await machine.setLink(network, match[2] === 'on');
  return '';
}

/** QEMU's name of a kind. */
function typeName({ kind, description }: MachineNetwork): string {
  if (kind === 'listen' || kind === 'connect') return 'socket';
  if (kind === 'descriptor') return description.startsWith('socket:') ? 'socket' : 'dgram';
  return kind === 'datagram' ? 'dgram' : kind;
}

export async function describeNetworks({ machine, namedDevices }: MonitorHost): Promise<string> {
  /** Cards of each model so far: QEMU numbers those without a name among all of theirs. */
  const counts = new Map<string, number>();
  const cardLine = (id: string, { type, mac }: NonNullable<MachineNetwork['card']>) => {
    const model = type === 'virtio-net' ? 'virtio-net-pci' : type;
    const number = counts.get(model) ?? 0;
    counts.set(model, number + 1);
    const name = [...namedDevices].find(
      ([device, { given }]) => (given.get('netdev') ?? noNetwork(device)) === id,
    )?.[0];
    return `${name ?? `${model}.${number}`}: index=0,type=nic,model=${model},macaddr=${mac}`;
  };
  return machine.networks
    .map((network) => {
      const { id, description, card } = network;
      if (network.kind === 'none') return card ? cardLine(id, card) : '';
      const line = `${id}: index=0,type=${typeName(network)},${description}`;
      return card ? `${cardLine(id, card)}\n \\ ${line}` : line;
    })
    .join('\n');
}

/** `info usernet`: Node.js does not tell the numbers of sockets, nor what waits in them. */
export async function describeFlows({ machine }: MonitorHost): Promise<string> {
  const lines: string[] = [];
  for (const { id } of machine.networks.filter(({ kind }) => kind === 'user')) {
    lines.push(`Hub -1 (${id}):`);
    lines.push('  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ');
    for (const { protocol, state, source, destination } of await machine.networkFlows(id)) {
      const [from, to] = [source, destination].map(
        ({ address = '*', port }) => `${address.padStart(15)} ${String(port).padStart(5)}`,
      );
      lines.push(`${`  ${protocol}[${state}]`.padEnd(19)}   - ${from} ${to}     0     0`);
    }
  }
  return lines.join('\n');
}

async function removeNetwork({ machine }: NetworkHost, argument: string): Promise<string> {
  const id = argument.trim();
  if (!machine.networks.some((network) => network.id === id))
    throw new VringError('no-such-network', `Device '${id}' not found`);
  await machine.hotplug.removeNetwork(id);
  return '';
}

export const networkCommands = [
  {
    name: 'netdev_add',
    argument: 'TYPE,id=ID[,PROPERTY=VALUE…]',
    sentence: "a network for a card that is plugged in later, in -netdev's words",
    run: async ({ machine, descriptors }: CommandHost, argument: string) => {
      await addNetwork(machine, argument.trim(), descriptors);
      return '';
    },
  },
  {
    name: 'netdev_del',
    argument: 'NETDEV',
    sentence: 'closes a network',
    run: removeNetwork,
  },
  {
    name: 'announce_self',
    argument: '[CARD[,CARD…]]',
    sentence: 'cards tell their networks where they are',
    run: async (host: CommandHost, argument: string) => {
      const [cards] = argument.split(/\s+/);
      announce(host, defaultPace, cards === undefined || cards === '' ? undefined : cards.split(','));
      return '';
    },
  },
  {
    name: 'set_link',
    argument: 'NAME on|off',
    sentence: "pulls the cable of a network's card, or plugs it in",
    run: setLink,
  },
  {
    name: 'hostfwd_add',
    argument: '[NETDEV] [tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT',
    sentence: 'leads a port of this host to the guest',
    run: addForward,
  },
  {
    name: 'hostfwd_remove',
    argument: '[NETDEV] [tcp|udp]:[HOSTADDR]:HOSTPORT',
    sentence: 'leads it there no longer',
    run: removeForward,
  },
] as const;
