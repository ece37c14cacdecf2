/** What monitors know and do about VNC: who is served where, and the password, which may end. */
import { type Machine, type VncState, VringError } from '../../vmm/index.js';

interface Password {
  bytes: Uint8Array | undefined;
  expiry: NodeJS.Timeout | undefined;
}
const passwords = new WeakMap<Machine, Password>();

function passwordOf(machine: Machine): Password {
  const known = passwords.get(machine) ?? { bytes: undefined, expiry: undefined };
  passwords.set(machine, known);
  return known;
}

/** For those who come from here on. Rejects with VringError. */
export async function setVncPassword(machine: Machine, password: string): Promise<void> {
  const bytes = new TextEncoder().encode(password);
  await machine.setVncPassword(bytes);
  passwordOf(machine).bytes = bytes;
}

const MOST_TIMER_MS = 2 ** 31 - 1;

/** `now`, `never`, `+SECONDS`, or seconds since 1970: from then on nobody gets in. Rejects with VringError. */
export async function expireVncPassword(machine: Machine, time: string): Promise<void> {
  const match = /^(\+?)(\d{1,12})$/.exec(time);
  if (!match && time !== 'now' && time !== 'never')
    throw new VringError('vnc-password', "Parameter 'time' is now, never, +SECONDS or SECONDS");
  const password = passwordOf(machine);
  clearTimeout(password.expiry);
  const expire = () => machine.setVncPassword(undefined);
  const leftMs = match ? Number(match[2]) * 1000 - (match[1] === '+' ? 0 : Date.now()) : time === 'now' ? 0 : undefined;
  if (leftMs !== undefined && leftMs <= 0) {
    await expire();
    return;
  }
  if (password.bytes) await machine.setVncPassword(password.bytes);
  if (leftMs !== undefined && leftMs <= MOST_TIMER_MS) {
    password.expiry = setTimeout(() => void expire().catch(() => undefined), leftMs);
    password.expiry.unref();
  }
}

const familyOf = (host: string | undefined): string =>
  host === undefined ? 'unix' : host.includes(':') ? 'ipv6' : 'ipv4';

/** QEMU's VncClientInfo of each. */
export const vncClients = ({ clients }: VncState) =>
  clients.map(({ host, port, websocket }) => ({
    host: host ?? '',
    service: port === undefined ? '' : String(port),
    family: familyOf(host),
    websocket,
  }));

/** `vencrypt+x509+vnc` by its two halves. */
export function vncAuthentication({ authentication }: VncState): { auth: string; vencrypt?: string } {
  const [auth, ...more] = authentication.split('+') as [string, ...string[]];
  return more.length === 0 ? { auth } : { auth, vencrypt: more.join('-') };
}

/** Where it is listened; a unix socket's path is its service. */
export function vncServers({ address, port, websocketPort }: VncState) {
  if (address.type === 'unix') return [{ host: '', service: address.path, family: 'unix', websocket: false }] as const;
  const { host } = address;
  const at = (service: number | undefined, websocket: boolean) => ({
    ...{ host, service: service === undefined ? '' : String(service), family: familyOf(host), websocket },
  });
  return [at(port, false), ...(websocketPort === undefined ? [] : [at(websocketPort, true)])] as const;
}

/** `info vnc` */
export async function describeVnc({ machine }: { readonly machine: Machine }): Promise<string> {
  const state = await machine.vncState();
  if (!state) return 'None';
  const { auth, vencrypt = 'none' } = vncAuthentication(state);
  const place = ({ host, service, family, websocket }: ReturnType<typeof vncClients>[number]) =>
    `${host}:${service} (${family}${websocket ? ' (Websocket)' : ''})`;
  return [
    'default:',
    ...vncServers(state).flatMap((each) => [`  Server: ${place(each)}`, `    Auth: ${auth} (Sub: ${vencrypt})`]),
    ...vncClients(state).flatMap((each) => [
      `  Client: ${place(each)}`,
      '    x509_dname: none',
      '    sasl_username: none',
    ]),
  ].join('\n');
}
