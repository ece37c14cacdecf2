/** Character devices: what `-serial`, `-monitor`, `-chardev` and devices with `chardev=` name. */

import { KeyValues, parseSize } from '../options/key-values.js';
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';
import { planSocket, type SocketPlan } from './chardev-socket.js';
import { planUdp, type UdpPlan } from './chardev-udp.js';

const defaultRingBytes = 0x10000;
const mostRingBytes = 2 ** 28;

export interface Chardev {
  readonly id: string;
  /** `stdout` and `stderr` are of no option: where semihosting writes unless told otherwise. */
  readonly kind:
    | 'stdio'
    | 'stdout'
    | 'stderr'
    | 'file'
    | 'null'
    | 'socket'
    | 'udp'
    | 'pipe'
    | 'pty'
    | 'ringbuf'
    | 'memory';
  /** As it was asked for, to begin messages. */
  readonly option?: string | undefined;
  readonly socket?: SocketPlan | undefined;
  readonly udp?: UdpPlan | undefined;
  /** Bytes that a ring keeps. */
  readonly ringBytes?: number | undefined;
  /** For a file, and for a pair of named pipes. */
  readonly path?: string | undefined;
  readonly append?: boolean | undefined;
  /** Several front ends share it; Ctrl-A commands work. */
  readonly mux: boolean;
  /** Ctrl-C on the terminal ends the program rather than reaching the guest. */
  readonly signal: boolean;
}

const unsupportedKinds = [
  'msmouse',
  'console',
  'serial',
  'braille',
  'tty',
  'parallel',
  'parport',
  'spicevmc',
  'spiceport',
  'wctablet',
  'testdev',
  'websocket',
  'qemu-vdagent',
  'dbus',
];
/** `memory` is an older name of `ringbuf`. */
export const chardevKinds = ['stdio', 'file', 'null', 'socket', 'udp', 'pipe', 'pty', 'ringbuf', 'memory'];
const shorthands = [
  'stdio',
  'mon:stdio',
  'none',
  'null',
  'file:',
  'unix:',
  'tcp:',
  'telnet:',
  'udp:',
  'pty',
  'pipe:',
  'chardev:',
  'vc',
];

/** Throws UsageError. */
function ringSize(values: KeyValues): number {
  const text = values.text('size');
  const bytes = (text === undefined ? 0 : parseSize(values.option, text, 'B')) || defaultRingBytes;
  if (bytes > mostRingBytes) throw new UsageError(`${values.option}: a ring keeps 256 MiB at most`);
  if ((bytes & (bytes - 1)) !== 0)
    throw new UsageError(`${values.option}: size of ringbuf chardev must be power of two`);
  return bytes;
}

/** What `-chardev` and chardev-add say. Throws UsageError. */
export function planChardev(values: KeyValues): Chardev {
  const { option } = values;
  const given = values.need('backend');
  if (given === 'vc') for (const key of ['width', 'height', 'cols', 'rows']) values.text(key);
  const kind = given === 'vc' ? 'null' : given;
  if (!chardevKinds.includes(kind)) {
    if (unsupportedKinds.includes(kind)) throw new UsageError(`${option}: the kind '${kind}' is not supported yet`);
    throw new UsageError(
      `${option}: there is no kind '${kind}'${didYouMean(kind, [...chardevKinds, ...unsupportedKinds])}`,
    );
  }
  const id = values.need('id');
  const chardev: Chardev = {
    id,
    kind: kind as Chardev['kind'],
    option,
    mux: values.flag('mux') ?? false,
    ...(kind === 'socket' ? { socket: planSocket(values) } : {}),
    ...(kind === 'udp' ? { udp: planUdp(values) } : {}),
    ...(kind === 'ringbuf' || kind === 'memory' ? { ringBytes: ringSize(values) } : {}),
    ...(kind === 'pipe' ? { path: values.need('path') } : {}),
    ...(kind === 'file' ? { path: values.need('path'), append: values.flag('append') ?? false } : {}),
    signal: kind === 'stdio' ? (values.flag('signal') ?? true) : false,
  };
  values.finish(['logfile', 'logappend']);
  return chardev;
}

/** All character devices of a machine, and who uses each. */
export class Chardevs {
  readonly #byId = new Map<string, Chardev>();
  readonly #users = new Map<string, string[]>();

  get all(): readonly Chardev[] {
    return [...this.#byId.values()];
  }

  add(chardev: Chardev): Chardev {
    if (this.#byId.has(chardev.id)) throw new UsageError(`There are two character devices with the id '${chardev.id}'`);
    if (chardev.kind === 'stdio' && this.all.some(({ kind }) => kind === 'stdio')) {
      throw new UsageError('stdio cannot be used by several character devices; mon:stdio shares it with the monitor');
    }
    this.#byId.set(chardev.id, chardev);
    return chardev;
  }

  /** `-chardev KIND,id=ID,…` */
  addOption(text: string): void {
    this.add(planChardev(KeyValues.parse(`-chardev ${text}`, text, 'backend')));
  }

  /** What `-serial`, `-monitor` and `-debugcon` take. Undefined: nothing at all is there (`none`). */
  fromShorthand(option: string, text: string, id: string): Chardev | undefined {
    const where = `${option} ${text}`;
    if (text === 'none') return undefined;
    const shared = text.startsWith('mon:');
    const word = shared ? text.slice(4) : text;
    if (word.startsWith('chardev:')) return this.find(where, word.slice('chardev:'.length));
    // A text console is part of a window, which is not there: as in QEMU without one, what is sent to it is lost.
    if (word === 'null' || /^vc(:|$)/.test(word)) return this.add({ id, kind: 'null', mux: shared, signal: false });
    if (word === 'stdio') return this.add({ id, kind: 'stdio', mux: shared, signal: !shared });
    if (word.startsWith('file:')) {
      const path = word.slice('file:'.length);
      if (path === '') throw new UsageError(`${where}: the file's name is missing`);
      return this.add({ id, kind: 'file', path, mux: shared, signal: false });
    }
    const socket = /^(unix|tcp|telnet):([^,]*),?(.*)$/.exec(word);
    if (socket) {
      const [, type, place, rest] = socket;
      const values = rest === '' ? new KeyValues(where, []) : KeyValues.parse(where, rest);
      const mux = shared || (values.flag('mux') ?? false);
      const plan = planSocket(values, type === 'unix' ? { path: place } : { inet: place, telnet: type === 'telnet' });
      values.finish(['logfile', 'logappend']);
      return this.add({ id, kind: 'socket', option: where, socket: plan, mux, signal: false });
    }
    if (word.startsWith('udp:')) {
      const udp = planUdp(new KeyValues(where, []), word.slice('udp:'.length));
      return this.add({ id, kind: 'udp', option: where, udp, mux: shared, signal: false });
    }
    if (word === 'pty') return this.add({ id, kind: 'pty', option: where, mux: shared, signal: false });
    if (word.startsWith('pipe:')) {
      const path = word.slice('pipe:'.length);
      if (path === '') throw new UsageError(`${where}: the name of the pipes is missing`);
      return this.add({ id, kind: 'pipe', option: where, path, mux: shared, signal: false });
    }
    const kind = word.split(/[:,]/)[0];
    if (unsupportedKinds.includes(kind) || word.startsWith('COM')) {
      throw new UsageError(`${where}: '${kind}' is not supported yet`);
    }
    throw new UsageError(`${where}: there is no such device${didYouMean(word, [...shorthands, ...unsupportedKinds])}`);
  }

  find(option: string, id: string): Chardev {
    const chardev = this.#byId.get(id);
    if (!chardev)
      throw new UsageError(`${option}: there is no character device '${id}'${didYouMean(id, this.#byId.keys())}`);
    return chardev;
  }

  /** Says that `user` sits on a device. Only one can, unless it is shared. */
  attach(chardev: Chardev, user: string): void {
    const users = this.#users.get(chardev.id) ?? [];
    if (!chardev.mux && users.length > 0) {
      throw new UsageError(
        `The character device '${chardev.id}' is used by ${users[0]} and cannot be used by ${user} too, without mux=on`,
      );
    }
    if (users.length === 4) throw new UsageError(`The character device '${chardev.id}' has four users already`);
    this.#users.set(chardev.id, [...users, user]);
  }
}
