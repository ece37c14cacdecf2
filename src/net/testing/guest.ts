/**
 * A guest for tests of the network: builds and decodes frames by itself, with none of the code under test, over a link that
 * keeps what it is sent. The host is one whose sockets and clock the test moves.
 */
import type {
  AcceptedStream,
  Endpoint,
  FrameOffload,
  GuestLink,
  HostDatagrams,
  HostPlace,
  HostStream,
  NetHost,
  StreamEvents,
} from '../index.js';

export const guestMac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
export const guestIp = [10, 0, 2, 15];
export const plain: FrameOffload = {
  flags: 0,
  gsoType: 0,
  headerLength: 0,
  gsoSize: 0,
  checksumStart: 0,
  checksumOffset: 0,
};

/** The sum of RFC 1071, done in the plainest way. */
export function internetSum(bytes: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += bytes[i] * 256 + (bytes[i + 1] ?? 0);
  while (sum >= 65536) sum = (sum % 65536) + Math.floor(sum / 65536);
  return sum;
}

export const u16 = (value: number) => [(value >>> 8) & 255, value & 255];
export const u32 = (value: number) => [...u16(value >>> 16), ...u16(value)];
export const at16 = (bytes: ArrayLike<number>, at: number) => bytes[at] * 256 + bytes[at + 1];
export const at32 = (bytes: ArrayLike<number>, at: number) => at16(bytes, at) * 65536 + at16(bytes, at + 2);

export function ethernet(type: number, payload: readonly number[], to = [0x52, 0x55, 10, 0, 2, 2]): Uint8Array {
  return Uint8Array.from([...to, ...guestMac, ...u16(type), ...payload]);
}

export function ipv4(
  protocol: number,
  to: readonly number[],
  payload: readonly number[],
  { from = guestIp, fragment = 0, id = 7 } = {},
): Uint8Array {
  const header = [
    0x45,
    0,
    ...u16(20 + payload.length),
    ...u16(id),
    ...u16(fragment),
    64,
    protocol,
    0,
    0,
    ...from,
    ...to,
  ];
  header.splice(10, 2, ...u16(65535 - internetSum(header)));
  return ethernet(0x0800, [...header, ...payload]);
}

function withSum(
  bytes: number[],
  at: number,
  from: readonly number[],
  to: readonly number[],
  protocol: number,
): number[] {
  const pseudo = [...from, ...to, ...u32(bytes.length), 0, 0, 0, protocol];
  bytes.splice(at, 2, ...u16(65535 - internetSum([...pseudo, ...bytes])));
  return bytes;
}

export function udpBytes(from: number, to: number, payload: readonly number[], source: number[], target: number[]) {
  return withSum([...u16(from), ...u16(to), ...u16(8 + payload.length), 0, 0, ...payload], 6, source, target, 17);
}

export const udp = (fromPort: number, to: number[], toPort: number, payload: readonly number[], from = guestIp) =>
  ipv4(17, to, udpBytes(fromPort, toPort, payload, from, to), { from });

export interface TcpFields {
  readonly from: number;
  readonly to: number;
  readonly seq: number;
  readonly ack?: number;
  readonly flags: number;
  readonly window?: number;
  readonly options?: readonly number[];
  readonly payload?: readonly number[];
}

export function tcp(to: number[], fields: TcpFields): Uint8Array {
  const { from, to: port, seq, ack = 0, flags, window = 65535, options = [], payload = [] } = fields;
  const size = ((20 + options.length) / 4) << 4;
  const header = [...u16(from), ...u16(port), ...u32(seq), ...u32(ack), size, flags, ...u16(window), 0, 0, 0, 0];
  return ipv4(6, to, withSum([...header, ...options, ...payload], 16, guestIp, to, 6));
}

export function ipv6(next: number, from: number[], to: number[], payload: readonly number[], hops = 64): Uint8Array {
  return ethernet(0x86dd, [0x60, 0, 0, 0, ...u16(payload.length), next, hops, ...from, ...to, ...payload]);
}

export const icmp6 = (from: number[], to: number[], message: readonly number[], hops = 255) =>
  ipv6(58, from, to, withSum([...message], 2, from, to, 58), hops);

export interface Decoded {
  readonly type: number;
  readonly from: number[];
  readonly to: number[];
  readonly protocol: number;
  /** Of IPv4. */
  readonly fragment: number;
  /** Behind the IP header; of ARP the whole message. */
  readonly payload: number[];
}

/** Takes a frame apart; throws where lengths or checksums are wrong. */
export function decode(frame: Uint8Array): Decoded {
  const type = at16(frame, 12);
  const bytes = [...frame.subarray(14)];
  if (type === 0x0806) return { type, from: [], to: [], protocol: 0, fragment: 0, payload: bytes };
  if (type === 0x0800) {
    if (internetSum(bytes.slice(0, 20)) !== 65535) throw new Error('wrong IPv4 checksum');
    if (at16(bytes, 2) !== bytes.length) throw new Error('wrong IPv4 length');
    const [from, to, payload] = [bytes.slice(12, 16), bytes.slice(16, 20), bytes.slice(20)];
    const fragment = at16(bytes, 6);
    if (fragment === 0) checkTransport(bytes[9], from, to, payload);
    return { type, from, to, protocol: bytes[9], fragment, payload };
  }
  if (type !== 0x86dd || at16(bytes, 4) + 40 !== bytes.length) throw new Error('wrong IPv6 length');
  const [from, to, payload] = [bytes.slice(8, 24), bytes.slice(24, 40), bytes.slice(40)];
  checkTransport(bytes[6], from, to, payload);
  return { type, from, to, protocol: bytes[6], fragment: 0, payload };
}

function checkTransport(protocol: number, from: number[], to: number[], payload: number[]): void {
  const pseudo = protocol === 1 ? [] : [...from, ...to, ...u32(payload.length), 0, 0, 0, protocol];
  if (internetSum([...pseudo, ...payload]) !== 65535) throw new Error(`wrong checksum of protocol ${protocol}`);
  if (protocol === 17 && at16(payload, 4) !== payload.length) throw new Error('wrong UDP length');
}

export class TestLink implements GuestLink {
  takes = 0;
  idle = true;
  /** Frames that find room; the rest waits. */
  room = Infinity;
  readonly frames: Uint8Array[] = [];
  readonly offloads: FrameOffload[] = [];
  #reserved: Uint8Array | undefined;

  reserve(length: number): Uint8Array | undefined {
    if (this.frames.length >= this.room) return undefined;
    this.#reserved = new Uint8Array(length);
    return this.#reserved;
  }

  commit(offload: FrameOffload = plain): void {
    this.frames.push(this.#reserved as Uint8Array);
    this.offloads.push({ ...offload });
  }

  /** All frames since the last call, decoded. */
  take(): Decoded[] {
    this.offloads.length = 0;
    return this.frames.splice(0).map(decode);
  }
}

export class TestStream implements HostStream {
  backlogBytes = 0;
  readonly written: number[] = [];
  /** What is written stays in the backlog. */
  holds = false;
  isEnded = false;
  isDestroyed = false;
  isPaused = false;
  events: StreamEvents;

  constructor(events: StreamEvents) {
    this.events = events;
  }
  write(bytes: Uint8Array): void {
    for (const byte of bytes) this.written.push(byte);
    if (this.holds) this.backlogBytes += bytes.length;
  }
  end(): void {
    this.isEnded = true;
  }
  destroy(): void {
    this.isDestroyed = true;
  }
  pause(): void {
    this.isPaused = true;
  }
  resume(): void {
    this.isPaused = false;
  }
}

export interface TestSocket extends HostDatagrams {
  readonly sent: { bytes: number[]; to: Endpoint }[];
  readonly received: (bytes: Uint8Array, from: Endpoint) => void;
  isClosed: boolean;
}

export class TestHost implements NetHost {
  now = 1000;
  readonly connections: { to: Endpoint; stream: TestStream }[] = [];
  readonly sockets: TestSocket[] = [];
  readonly bound: { port: number; socket: TestSocket }[] = [];
  readonly listeners = new Map<number, (stream: AcceptedStream) => void>();
  readonly files = new Map<string, Uint8Array>();
  readonly #timers = new Set<{ at: number; call: () => void }>();

  nowMs(): number {
    return this.now;
  }
  after(milliseconds: number, call: () => void): () => void {
    const timer = { at: this.now + milliseconds, call };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }
  get timers(): number {
    return this.#timers.size;
  }
  advance(milliseconds: number): void {
    const end = this.now + milliseconds;
    for (;;) {
      const next = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#timers.delete(next);
      this.now = next.at;
      next.call();
    }
    this.now = end;
  }
  connect(to: Endpoint | HostPlace, events: StreamEvents): HostStream {
    if (!('address' in to)) throw new Error('connections of these tests have addresses');
    const stream = new TestStream(events);
    this.connections.push({ to, stream });
    return stream;
  }
  spawn(_command: string, events: StreamEvents): HostStream {
    return new TestStream(events);
  }
  listen(_address: Uint8Array | undefined, port: number, accepted: (stream: AcceptedStream) => void) {
    this.listeners.set(port, accepted);
    return Promise.resolve({ close: () => void this.listeners.delete(port) });
  }
  /** Somebody connects to a forwarded port. */
  call(port: number, remote: Endpoint): TestStream {
    const none: StreamEvents = { connected() {}, data() {}, ended() {}, drained() {}, closed() {} };
    const stream = new TestStream(none);
    this.listeners.get(port)?.({
      stream,
      remote,
      attach: (events) => {
        stream.events = events;
      },
    });
    return stream;
  }
  #socket(received: TestSocket['received']): TestSocket {
    const socket: TestSocket = {
      backlogBytes: 0,
      sent: [],
      received,
      isClosed: false,
      send: (bytes, to) => void socket.sent.push({ bytes: [...bytes], to }),
      close: () => {
        socket.isClosed = true;
      },
    };
    this.sockets.push(socket);
    return socket;
  }
  bindDatagrams(_address: Uint8Array | undefined, port: number, received: TestSocket['received']) {
    const socket = this.#socket(received);
    this.bound.push({ port, socket });
    return Promise.resolve(socket);
  }
  openDatagrams(_version: 4 | 6, received: TestSocket['received']): HostDatagrams {
    return this.#socket(received);
  }
  nameServer(version: 4 | 6): Endpoint | undefined {
    return version === 4 ? { address: Uint8Array.of(192, 0, 2, 53), port: 53 } : undefined;
  }
  openFile(_folder: string, name: string) {
    const bytes = this.files.get(name);
    if (!bytes) return Promise.reject(new Error('not there'));
    return Promise.resolve({
      sizeBytes: bytes.length,
      read: (offset: number, length: number) => Promise.resolve(bytes.slice(offset, offset + length)),
      close: () => {},
    });
  }
}
