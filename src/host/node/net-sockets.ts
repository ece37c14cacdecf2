/** Networks between machines over sockets, as QEMU's `socket` and `dgram`: a stream with lengths, datagrams, a multicast group. */
import * as dgram from 'node:dgram';
import { readlinkSync } from 'node:fs';
import * as net from 'node:net';
import { VringError } from '../../base/index.js';
import { type FrameSink, finishFrame, type GuestLink, MAX_FRAME_BYTES } from '../../net/index.js';
import { DescriptorSink } from './descriptor-sink.js';
import { closeDescriptor } from './descriptor-wait.js';
import { descriptorCalls } from './descriptors.js';
import { openFailure } from './open-failure.js';
import { freshUnixPath, unixPath } from './unix-path.js';

/** Linux's and the BSDs'. */
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;

interface Place {
  readonly host: string;
  readonly port: number;
}
export type SocketBackend =
  | { readonly kind: 'listen' | 'connect'; readonly place: Place | { readonly path: string } }
  | { readonly kind: 'descriptor'; readonly fd: number; readonly isDatagram?: boolean | undefined }
  | { readonly kind: 'datagram'; readonly local?: Place | undefined; readonly remote: Place };

/** What may wait for a peer that takes nothing: frames beyond are lost, as on a wire. */
const MAX_BACKLOG = 4 << 20;

const placeText = (place: Place | { readonly path: string }) =>
  'path' in place ? place.path : `${place.host}:${place.port}`;
/** Rejects with VringError `network-port` or `network-connect`. */
export async function openSocketSink(
  backend: SocketBackend,
  link: GuestLink,
  report: (line: string) => void,
): Promise<FrameSink> {
  if (backend.kind === 'datagram') return await openDatagrams(backend, link);
  if (backend.kind === 'descriptor') return adopt(backend, link, report);
  const sink = new StreamSink(link);
  const { place } = backend;
  if (backend.kind === 'connect') {
    let socket: net.Socket;
    try {
      if ('path' in place) unixPath(place.path);
      socket = net.connect({ ...place, noDelay: true });
      await new Promise<void>((resolve, reject) => {
        socket.once('connect', () => resolve());
        socket.once('error', reject);
      });
    } catch (error) {
      throw new VringError('network-connect', `can't connect to ${placeText(place)}: ${openFailure(error)}`);
    }
    sink.take(socket, () => report(`The network's peer at ${placeText(place)} is gone.`));
    return sink;
  }
  const server = net.createServer({ noDelay: true }, (socket) => {
    // One peer at a time, as QEMU's.
    if (sink.isTaken) socket.destroy();
    else sink.take(socket, () => {});
  });
  try {
    if ('path' in place) freshUnixPath(place.path);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ ...place, exclusive: true }, resolve);
    });
  } catch (error) {
    const what = 'path' in place ? place.path : `ip=${place.host}`;
    throw new VringError('network-port', `can't bind ${what} to socket: ${openFailure(error)}`);
  }
  server.on('error', () => {});
  sink.server = server;
  return sink;
}

/** A socket that others have opened, a stream or datagrams. Throws VringError `network-connect`, in QEMU's words. */
function adopt(
  { fd, isDatagram }: SocketBackend & { kind: 'descriptor' },
  link: GuestLink,
  report: (line: string) => void,
): FrameSink {
  let target: string;
  try {
    target = readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    throw new VringError('network-connect', `Can't use file descriptor ${fd}: Bad file descriptor`);
  }
  if (!target.startsWith('socket:')) throw new VringError('network-connect', "can't get socket option SO_TYPE");
  const type = socketType(fd);
  const isStream = type === undefined || type === SOCK_STREAM;
  if (type === SOCK_DGRAM) {
    const name = `fd=${fd}`;
    const close = () => closeDescriptor(fd);
    descriptorCalls().setNonBlocking(fd);
    return new DescriptorSink({ name, descriptors: [fd], hasHeader: false, errorsPass: true, close }, link, report);
  }
  if (!isStream || isDatagram)
    throw new VringError(
      'network-connect',
      `socket type=${type ?? 'unknown'} for fd=${fd} must be ${isDatagram ? '' : 'either SOCK_STREAM or '}SOCK_DGRAM`,
    );
  let socket: net.Socket;
  try {
    socket = new net.Socket({ fd });
  } catch {
    throw new VringError(
      'network-connect',
      `fd=${fd}: datagrams need the module koffi, which calls the system and is not installed`,
    );
  }
  const sink = new StreamSink(link);
  sink.take(socket, () => report(`The network's peer at descriptor ${fd} is gone.`));
  return sink;
}

/** Undefined: the system cannot be asked. */
function socketType(fd: number): number | undefined {
  try {
    return descriptorCalls().socketType(fd);
  } catch {
    return undefined;
  }
}

/** Hands a whole frame to the guest. A frame that finds no room is lost. */
function deliver(link: GuestLink, frame: Uint8Array): void {
  if (frame.length < 14) return;
  const room = link.reserve(frame.length);
  if (!room) return;
  room.set(frame);
  link.commit();
}

class StreamSink implements FrameSink {
  server: net.Server | undefined;
  readonly #link: GuestLink;
  #socket: net.Socket | undefined;
  #waiting: Uint8Array = new Uint8Array(0);

  constructor(link: GuestLink) {
    this.#link = link;
  }

  get isTaken(): boolean {
    return this.#socket !== undefined;
  }

  take(socket: net.Socket, gone: () => void): void {
    this.#socket = socket;
    this.#waiting = new Uint8Array(0);
    socket.on('data', (bytes) => this.#hear(bytes, socket));
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#socket = undefined;
      gone();
    });
  }

  #hear(bytes: Uint8Array, socket: net.Socket): void {
    let rest: Uint8Array = bytes;
    if (this.#waiting.length > 0) {
      rest = new Uint8Array(this.#waiting.length + bytes.length);
      rest.set(this.#waiting);
      rest.set(bytes, this.#waiting.length);
    }
    while (rest.length >= 4) {
      const length = new DataView(rest.buffer, rest.byteOffset).getUint32(0);
      // A peer that lies about lengths is no peer.
      if (length > MAX_FRAME_BYTES) {
        socket.destroy();
        return;
      }
      if (rest.length < 4 + length) break;
      deliver(this.#link, rest.subarray(4, 4 + length));
      rest = rest.subarray(4 + length);
    }
    this.#waiting = rest.slice();
  }

  receive(frame: Uint8Array, offload: Parameters<FrameSink['receive']>[1]): void {
    const socket = this.#socket;
    if (!socket || socket.writableLength > MAX_BACKLOG) return;
    finishFrame(frame, offload, (each) => {
      const record = new Uint8Array(4 + each.length);
      new DataView(record.buffer).setUint32(0, each.length);
      record.set(each, 4);
      socket.write(record);
    });
  }

  flush(): void {}
  linkReady(): void {}
  close(): void {
    this.#socket?.destroy();
    this.server?.close();
  }
}

async function openDatagrams(
  { local, remote }: SocketBackend & { kind: 'datagram' },
  link: GuestLink,
): Promise<FrameSink> {
  const first = Number(remote.host.split('.')[0]);
  const isGroup = first >= 224 && first < 240;
  const socket = dgram.createSocket({ type: net.isIPv6(remote.host) ? 'udp6' : 'udp4', reuseAddr: isGroup });
  const bound = isGroup ? { port: remote.port } : local && { port: local.port, address: local.host };
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.bind({ ...bound, exclusive: true }, () => resolve());
    });
    if (isGroup) {
      socket.addMembership(remote.host, local?.host);
      if (local) socket.setMulticastInterface(local.host);
    }
  } catch (error) {
    socket.close();
    throw new VringError(
      'network-port',
      `can't bind ip=${placeText(local ?? remote)} to socket: ${openFailure(error)}`,
    );
  }
  socket.on('error', () => {});
  let backlog = 0;
  const own = isGroup ? new Set<string>() : undefined;
  socket.on('message', (bytes) => {
    // A group hears what it says itself.
    if (own?.delete(bytes.toString('latin1'))) return;
    deliver(link, bytes);
  });
  return {
    receive: (frame, offload) => {
      if (backlog > MAX_BACKLOG) return;
      finishFrame(frame, offload, (each) => {
        const bytes = each.slice();
        backlog += bytes.length;
        if (own) {
          if (own.size > 256) own.clear();
          own.add(Buffer.from(bytes).toString('latin1'));
        }
        socket.send(bytes, remote.port, remote.host, () => {
          backlog -= bytes.length;
        });
      });
    },
    flush: () => {},
    linkReady: () => {},
    close: () => {
      socket.close();
    },
  };
}
