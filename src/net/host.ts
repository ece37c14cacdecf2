/** What a user-mode network needs of the host it runs on. Addresses are 4 or 16 bytes. */

/** Why a connection could not be made or has ended. */
export type StreamFailure = 'refused' | 'unreachable' | 'timeout' | 'reset';

/** What a stream of bytes tells its user. Nothing is told after `closed`. */
export interface StreamEvents {
  connected(): void;
  data(bytes: Uint8Array): void;
  /** The other side sends no more. */
  ended(): void;
  /** Bytes that `write` had to keep are gone. */
  drained(): void;
  /** Without a failure both sides have ended. */
  closed(failure?: StreamFailure): void;
}

export interface HostStream {
  /** Bytes that the system has not taken yet. */
  readonly backlogBytes: number;
  /** Takes the bytes over: the caller must not change them afterwards. */
  write(bytes: Uint8Array): void;
  /** Nothing more will be written. */
  end(): void;
  /** Closes at once; where there is a connection the other side sees a reset. */
  destroy(): void;
  /** `data` is called only while it is not paused. A stream is not paused at first. */
  pause(): void;
  resume(): void;
}

export interface Endpoint {
  readonly address: Uint8Array;
  readonly port: number;
}

/** Where a connection leads that the guest does not choose: a host by name or address, or a unix socket. */
export type HostPlace = { readonly host: string; readonly port: number } | { readonly path: string };

/** Connections of others. */
export interface AcceptedStream {
  readonly stream: HostStream;
  readonly remote: Endpoint;
  /** Called before anything is told. */
  attach(events: StreamEvents): void;
}

export interface HostDatagrams {
  /** Bytes that the system has not taken yet. */
  readonly backlogBytes: number;
  send(bytes: Uint8Array, to: Endpoint): void;
  close(): void;
}

export interface HostFile {
  readonly sizeBytes: number;
  read(offset: number, length: number): Promise<Uint8Array>;
  close(): void;
}

/** An echo request was answered. */
export type EchoReply = (payload: Uint8Array) => void;

export type Echo = (to: Uint8Array, payload: Uint8Array, reply: EchoReply) => void;

export interface NetHost {
  /** Milliseconds of a clock that does not go back. */
  nowMs(): number;
  /** Calls once after so long; gives what cancels it. */
  after(milliseconds: number, call: () => void): () => void;
  connect(to: Endpoint | HostPlace, events: StreamEvents): HostStream;
  /** Runs a command whose standard input and output are the stream. */
  spawn(command: string, events: StreamEvents): HostStream;
  /** Resolves when connections can come. Rejects with a VringError. `address` undefined: all of IPv4. */
  listen(
    address: Uint8Array | undefined,
    port: number,
    accepted: (stream: AcceptedStream) => void,
  ): Promise<{ close(): void }>;
  /** Sockets bound to a port resolve when datagrams can come, and reject with a VringError. */
  bindDatagrams(
    address: Uint8Array | undefined,
    port: number,
    received: (bytes: Uint8Array, from: Endpoint) => void,
  ): Promise<HostDatagrams>;
  /** On a port that the system chooses. */
  openDatagrams(version: 4 | 6, received: (bytes: Uint8Array, from: Endpoint) => void): HostDatagrams;
  /** The name server that the host itself asks; undefined: it has none of this version. */
  nameServer(version: 4 | 6): Endpoint | undefined;
  /** What asks for echoes by ICMP. Undefined: the host does not let this program. */
  echoTo?(version: 4 | 6): Echo | undefined;
  /** A file below `folder`. Rejects when there is none, or when it lies elsewhere. */
  openFile(folder: string, name: string): Promise<HostFile>;
}
