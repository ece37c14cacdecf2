/**
 * What comes in on a unix socket with the descriptors that are sent along (unix(7), SCM_RIGHTS), which Node lets fall. Node's own
 * reading is never begun: the system tells by SIGIO that something has come (fcntl(2), O_ASYNC), and recvmsg(2) takes it. What is
 * written goes by Node's socket.
 */
import type { Socket } from 'node:net';
import { closeDescriptor } from './descriptor-wait.js';
import { loadKoffi } from './koffi.js';
import { errnoNameOf } from './posix.js';
import { socketDescriptor } from './socket-descriptor.js';

const F_GETFL = 3;
const F_SETFL = 4;
const F_SETOWN = 8;
const O_ASYNC = 0x2000;
/** MSG_DONTWAIT | MSG_CMSG_CLOEXEC. */
const MESSAGE_FLAGS = 0x40000040;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;

/** `struct msghdr` of 56 bytes with its `struct iovec` behind it, then control messages, then data. */
const IOVEC_AT = 56;
const CONTROL_AT = 72;
/** Linux lets 253 descriptors through at once. */
const CONTROL_BYTES = 16 + 253 * 4 + 4;
const DATA_AT = CONTROL_AT + CONTROL_BYTES;
const DATA_BYTES = 1 << 16;
/** One that sends without end leaves others their turn. */
const MOST_MESSAGES = 16;

interface Calls {
  /** Bytes, 0 at the end, or -1. */
  receive(fd: number): number;
  errno(): string;
  /** Of what was received last. */
  data(length: number): Uint8Array;
  descriptors(): number[];
  tellReadable(fd: number): boolean;
}

let loaded: Calls | undefined;

function load(): Calls {
  const koffi = loadKoffi();
  const libc = koffi.load(null);
  const recvmsg = libc.func('int64_t recvmsg(int fd, uint8_t *message, int flags)');
  const fcntl = libc.func('int fcntl64(int fd, int command, long value)');
  // Calls do not wait, so one piece of memory serves all.
  const memory: unknown = koffi.alloc('uint8_t', DATA_AT + DATA_BYTES);
  const address = koffi.address(memory);
  const view = new DataView(koffi.view(memory, DATA_AT + DATA_BYTES));
  return {
    receive(fd) {
      view.setBigUint64(0, 0n, true);
      view.setUint32(8, 0, true);
      view.setBigUint64(16, address + BigInt(IOVEC_AT), true);
      view.setBigUint64(24, 1n, true);
      view.setBigUint64(32, address + BigInt(CONTROL_AT), true);
      view.setBigUint64(40, BigInt(CONTROL_BYTES), true);
      view.setInt32(48, 0, true);
      view.setBigUint64(IOVEC_AT, address + BigInt(DATA_AT), true);
      view.setBigUint64(IOVEC_AT + 8, BigInt(DATA_BYTES), true);
      return Number(recvmsg(fd, memory, MESSAGE_FLAGS));
    },
    errno: () => errnoNameOf(koffi.errno()),
    data: (length) => new Uint8Array(view.buffer, DATA_AT, length).slice(),
    descriptors() {
      const found: number[] = [];
      const end = CONTROL_AT + Number(view.getBigUint64(40, true));
      for (let at = CONTROL_AT; at + 16 <= end; ) {
        const length = Number(view.getBigUint64(at, true));
        if (length < 16 || at + length > end) break;
        if (view.getInt32(at + 8, true) === SOL_SOCKET && view.getInt32(at + 12, true) === SCM_RIGHTS)
          for (let each = at + 16; each + 4 <= at + length; each += 4) found.push(view.getInt32(each, true));
        at += (length + 7) & ~7;
      }
      return found;
    },
    tellReadable: (fd) =>
      fcntl(fd, F_SETOWN, process.pid) === 0 && fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) | O_ASYNC) === 0,
  };
}

export interface MessageEvents {
  /** The descriptors belong to whoever is told. */
  data(bytes: Uint8Array, descriptors: readonly number[]): void;
  end(): void;
}

const readers = new Set<MessageReader>();
let listens = false;

/** There is no listening without it any more: a signal that is on its way would end the process. */
function listen(): void {
  if (listens) return;
  listens = true;
  process.on('SIGIO', () => {
    for (const reader of readers) reader.drain();
  });
}

export class MessageReader {
  readonly #calls: Calls;
  readonly #socket: Socket;
  readonly #events: MessageEvents;
  #paused = false;
  #ended = false;

  private constructor(calls: Calls, socket: Socket, events: MessageEvents) {
    this.#calls = calls;
    this.#socket = socket;
    this.#events = events;
  }

  /** `socket` has not been read from, and stands still. Undefined: the system's calls cannot be made. For the main thread. */
  static open(socket: Socket, events: MessageEvents): MessageReader | undefined {
    const fd = socketDescriptor(socket);
    if (process.platform !== 'linux' || fd === undefined) return undefined;
    try {
      loaded ??= load();
    } catch {
      return undefined;
    }
    const reader = new MessageReader(loaded, socket, events);
    listen();
    if (!loaded.tellReadable(fd)) return undefined;
    readers.add(reader);
    socket.once('close', () => readers.delete(reader));
    // What came before is told by no signal.
    setImmediate(() => reader.drain());
    return reader;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    setImmediate(() => this.drain());
  }

  drain(): void {
    const calls = this.#calls;
    for (let count = 0; count < MOST_MESSAGES; count++) {
      // Asked for each time: a closed socket's number may be another file's already.
      const fd = socketDescriptor(this.#socket);
      if (this.#paused || this.#ended || fd === undefined) return;
      const length = calls.receive(fd);
      if (length < 0) {
        const why = calls.errno();
        if (why === 'EINTR') continue;
        if (why === 'EAGAIN') return;
      }
      if (length <= 0) {
        this.#ended = true;
        this.#events.end();
        return;
      }
      this.#events.data(calls.data(length), calls.descriptors());
    }
    setImmediate(() => this.drain());
  }
}

export function closeDescriptors(descriptors: readonly number[]): void {
  for (const fd of descriptors) closeDescriptor(fd);
}
