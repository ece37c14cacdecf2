/** What a machine's networks are, and what the threads that have to do with them say to each other. */
import type { MessagePort } from 'node:worker_threads';
import type { HostForward, UserFlow, UserNetworkOptions } from '../net/index.js';

/** What is laid out for the option ROM of a card. */
export const NIC_ROM_BYTES = 1 << 19;

/** Of one network; a virtio card has at most so many pairs. */
export const MOST_NETWORK_QUEUES = 128;

/** Address of a socket: a host's name or address, and a port. */
export interface SocketPlace {
  readonly host: string;
  readonly port: number;
}

/** Of a stream: it may be a unix socket too. */
export type StreamPlace = SocketPlace | { readonly path: string };

/** What is behind a network card. */
export type NetworkBackend =
  /** A network of the guest's own, from which it reaches what this program reaches. */
  | { readonly kind: 'user'; readonly user?: UserNetworkOptions | undefined }
  /** Another machine, over a stream: each frame behind its length in four bytes, as QEMU's. */
  | { readonly kind: 'listen' | 'connect'; readonly place: StreamPlace }
  /** A connected socket that others have opened: a stream, or one that takes datagrams; `isDatagram`: no stream. */
  | { readonly kind: 'descriptor'; readonly fd: number; readonly isDatagram?: boolean | undefined }
  /** Another machine, or several (a multicast group), a datagram for each frame. */
  | { readonly kind: 'datagram'; readonly local?: SocketPlace | undefined; readonly remote: SocketPlace }
  /** Nobody: what the card sends is lost. */
  | { readonly kind: 'none' }
  | TapOptions;

/** A tap device of the host's, Linux's: an Ethernet card of its own, which it may bridge or route. */
export interface TapOptions {
  readonly kind: 'tap';
  /** Name of the interface, which is made where it is not there; `tap%d`, the lowest free number, unless given. */
  readonly ifname?: string | undefined;
  /** Descriptors that are open already, one for each queue, instead. */
  readonly descriptors?: readonly number[] | undefined;
  /** Queues, 1 to 128; one unless given. A virtio card with `multiQueue` has a pair for each. */
  readonly queues?: number | undefined;
  /** Work is left to the other side by a header before each frame: it is where the system can, unless given. */
  readonly vnetHeader?: boolean | undefined;
  /** Bytes that may wait in the system; without a limit unless given. */
  readonly sendBufferBytes?: number | undefined;
  /** Programs that are called with the interface's name when it is there, and before it goes. */
  readonly script?: string | undefined;
  readonly downScript?: string | undefined;
}

export type NetworkOptions = NetworkBackend & {
  /** Its name for a person, and for cards. */
  readonly id: string;
  /** Files that its frames are written to, as libpcap's. */
  readonly captures?: readonly NetworkCapture[] | undefined;
};

export interface NetworkCapture {
  readonly path: string;
  /** Of each frame so many bytes are kept: 65536 unless given. */
  readonly snapLength?: number | undefined;
}

export interface NetworkRings {
  /** Queues of the network: a card can have so many pairs of its own. */
  readonly queues: number;
  readonly toHost: SharedArrayBuffer;
  readonly toGuest: SharedArrayBuffer;
}

export interface NetworkWorkerConfig {
  readonly networks: readonly NetworkOptions[];
  readonly rings: readonly NetworkRings[];
  /** The other end is the vCPU's. */
  readonly port: MessagePort;
  /** The machine's doorbell (worker-protocol.ts). */
  readonly doorbell: SharedArrayBuffer;
}

/** What a vCPU's thread needs of the networks. */
export interface MachineNetworksConfig {
  readonly rings: readonly NetworkRings[];
  readonly port: MessagePort;
}

/** From the vCPU's thread. */
export type ToNetworksFromMachine =
  | { readonly type: 'memory'; readonly memory: SharedArrayBuffer; readonly kickIndices: readonly number[] }
  /** There are frames, or room for frames. */
  | { readonly type: 'look' };

/** From the machine's owner. */
export type ToNetworks =
  | { readonly type: 'close' }
  /** These are answered by `reply` with the same id. A network has its place, and rings of its own. */
  | { readonly type: 'forward'; readonly id: number; readonly network: number; readonly change: ForwardChange }
  | {
      readonly type: 'add';
      readonly id: number;
      readonly network: number;
      readonly options: NetworkOptions;
      readonly rings: NetworkRings;
    }
  | { readonly type: 'remove'; readonly id: number; readonly network: number }
  /** A frame goes out as if the card had sent it. */
  | { readonly type: 'send'; readonly id: number; readonly network: number; readonly frame: Uint8Array }
  /** Answered with `UserFlow[]`; undefined: it is no user network. */
  | { readonly type: 'flows'; readonly id: number; readonly network: number };

/** By what a forwarded port is known. */
export type HostPort = Omit<HostForward, 'guestAddress' | 'guestPort'>;

/** A port of the host's that leads to the guest is added, or taken away. */
export type ForwardChange = { readonly add: HostForward } | { readonly remove: HostPort };

export type NetworkAnswer = boolean | readonly UserFlow[] | undefined;

export type FromNetworks =
  | { readonly type: 'opened' }
  | { readonly type: 'failed'; readonly code: string; readonly message: string }
  | { readonly type: 'report'; readonly line: string }
  /** `value` false: there was nothing to take away. */
  | { readonly type: 'reply'; readonly id: number; readonly value: NetworkAnswer }
  | {
      readonly type: 'reply';
      readonly id: number;
      readonly error: { readonly code: string; readonly message: string };
    };
