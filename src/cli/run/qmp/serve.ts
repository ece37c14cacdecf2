/** `-qmp unix:PATH,…`, `-qmp tcp:HOST:PORT,…`: listens, and serves one client after the other, as QEMU does. */
import { lstatSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { openFailure } from '../../../host/node/open-failure.js';
import { VringError } from '../../../vmm/index.js';
import { KeyValues } from '../../options/key-values.js';
import { UsageError } from '../../usage-error.js';
import { watchMachine } from './events.js';
import type { QmpHost } from './qmp-command.js';
import { QmpSession } from './session.js';

/** Clients that wait until the one before them has gone. */
const MOST_WAITING = 8;
/** A client that does not read has so much kept for it. */
const MOST_UNREAD_BYTES = 8 << 20;

export interface QmpAddress {
  readonly option: string;
  readonly unix?: string | undefined;
  readonly tcp?: { readonly host: string; readonly port: number } | undefined;
  /** The machine starts when a client has come. */
  readonly waits: boolean;
}

/** Throws UsageError. */
export function parseQmp(name: string, text: string): QmpAddress {
  const option = `-${name} ${text}`;
  const match = /^(unix|tcp):([^,]*)(?:,(.*))?$/.exec(text);
  if (!match) throw new UsageError(`${option}: there are stdio, unix:PATH,server=on and tcp:HOST:PORT,server=on`);
  const [, kind, address, rest = ''] = match;
  // QEMU's older words.
  const pairs = rest.split(',').filter((word) => word !== '');
  const flags = pairs.map((word) => (word === 'nowait' ? 'wait=off' : word.includes('=') ? word : `${word}=on`));
  const values = flags.length === 0 ? new KeyValues(option, []) : KeyValues.parse(option, flags.join(','));
  if (!values.flag('server')) throw new UsageError(`${option}: only server=on is supported`);
  const waits = values.flag('wait') ?? true;
  values.flag('nodelay');
  values.finish(['reconnect', 'telnet', 'websocket', 'tls-creds', 'ipv4', 'ipv6', 'to', 'abstract', 'tight']);
  if (kind === 'unix') {
    if (address === '') throw new UsageError(`${option}: the path is missing`);
    return { option, unix: address, waits };
  }
  const tcp = /^\[?([^\]]*?)\]?:(\d{1,5})$/.exec(address);
  if (!tcp || Number(tcp[2]) > 65535) throw new UsageError(`${option}: the address is tcp:HOST:PORT`);
  return { option, tcp: { host: tcp[1] || '127.0.0.1', port: Number(tcp[2]) }, waits };
}

export interface QmpServer {
  /** A client has come. */
  readonly connected: Promise<void>;
  /** Events of the machine's end have been handed over. */
  close(): Promise<void>;
}

export type ServedHost = Omit<QmpHost, 'hostAsked' | 'emit'>;

/** Throws VringError `qmp-listen`. */
export async function serveQmp(address: QmpAddress, served: ServedHost): Promise<QmpServer> {
  const asked = new Set<string>();
  let session: QmpSession | undefined;
  let client: Socket | undefined;
  const waiting: Socket[] = [];
  const emit = (event: string, data?: object) => session?.event(event, data, Date.now());
  const host: QmpHost = { ...served, emit, hostAsked: (what) => void asked.add(what) };
  const stopWatching = watchMachine(served.machine, { take: (what) => asked.delete(what) }, emit);
  let tellConnected: () => void = () => {};
  const connected = new Promise<void>((resolve) => {
    tellConnected = resolve;
  });

  const serve = (socket: Socket) => {
    client = socket;
    const own = new QmpSession(host, {
      write: (text) => {
        if (socket.destroyed) return;
        socket.write(text);
        if (socket.writableLength > MOST_UNREAD_BYTES) socket.destroy();
      },
      cut: () => socket.destroy(),
    });
    session = own;
    socket.on('data', (bytes) => own.input(bytes));
    socket.on('close', () => {
      if (session === own) session = undefined;
      if (client === socket) client = undefined;
      const next = waiting.shift();
      if (next && !client) serve(next);
    });
    socket.resume();
    tellConnected();
  };
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    socket.on('error', () => {});
    if (!client) serve(socket);
    else if (waiting.length < MOST_WAITING) {
      waiting.push(socket);
      socket.on('close', () => {
        const at = waiting.indexOf(socket);
        if (at >= 0) waiting.splice(at, 1);
      });
    } else socket.destroy();
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => {
      const why = openFailure(error);
      reject(new VringError('qmp-listen', `${address.option}: clients cannot be waited for: ${why}`, { cause: error }));
    });
    if (address.unix !== undefined) {
      removeStaleSocket(address.unix);
      server.listen(address.unix, resolve);
    } else if (address.tcp) server.listen(address.tcp.port, address.tcp.host, resolve);
  });
  server.on('error', () => {});
  return {
    connected,
    close: async () => {
      await session?.settled();
      stopWatching();
      for (const socket of waiting.splice(0)) socket.destroy();
      client?.destroySoon();
      server.close();
      if (address.unix !== undefined) rmSync(address.unix, { force: true });
    },
  };
}

/** A client that is there from the start, on a character device. */
export function serveQmpOn(served: ServedHost, write: (text: string) => void) {
  const asked = new Set<string>();
  let session: QmpSession | undefined;
  const emit = (event: string, data?: object) => session?.event(event, data, Date.now());
  const host: QmpHost = { ...served, emit, hostAsked: (what) => void asked.add(what) };
  const stopWatching = watchMachine(served.machine, { take: (what) => asked.delete(what) }, emit);
  // Who does not keep to the protocol is not cut off here: nothing could come after.
  const own = new QmpSession(host, { write, cut: () => {} });
  session = own;
  return {
    input: (bytes: Uint8Array) => own.input(bytes),
    close: async () => {
      await own.settled();
      stopWatching();
    },
  };
}

/** A socket that a process before left behind. */
function removeStaleSocket(path: string): void {
  try {
    if (lstatSync(path).isSocket()) rmSync(path);
  } catch {
    // There is none, or listening will tell what is wrong.
  }
}
