/** What a network card is connected to, as the card's thread sees it. */
import type { FrameOffload } from '../../net/index.js';

/** A frame on its way to the card: valid until `consume`. */
export interface WaitingFrame {
  readonly bytes: Uint8Array;
  readonly offload: FrameOffload;
  /** Of the network's queues the one that it came in. */
  readonly queue: number;
}

export interface NetworkCard {
  /** Frames wait. */
  receiveReady(): void;
  /** `send` has refused a frame, and there is room again. */
  sendReady(): void;
  /** The cable was pulled or plugged in. */
  setLink(up: boolean): void;
}

export interface NetworkPeer {
  /** Once, before anything else. */
  attach(card: NetworkCard): void;
  /** Takes a frame, in pieces; false: there is no room now, and `sendReady` will be called. `queue`: of the network's, the first unless given. */
  send(pieces: readonly Uint8Array[], length: number, offload: FrameOffload, queue?: number): boolean;
  /** The frame that comes next. */
  receive(): WaitingFrame | undefined;
  consume(): void;
  /** What the card takes in from now on, bits of `takes`. */
  setTakes(bits: number): void;
  /** Frames are to come in the first so many of the network's queues: one, until a card has asked for more. */
  setQueues(count: number): void;
}
