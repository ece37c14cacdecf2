/** The way to one network card of the guest. */
import type { FrameOffload } from './offload.js';

export interface GuestLink {
  /** What the card takes in, bits of `takes`; it may change at any time. */
  readonly takes: number;
  /** The card has taken all frames so far. */
  readonly idle: boolean;
  /**
   * Room for a frame of so many bytes, which `commit` sends. Undefined: there is none now, and `FrameSink.linkReady` will be
   * called when there is.
   */
  reserve(length: number): Uint8Array | undefined;
  /** Sends what was reserved last; without `offload` the frame is complete. `queue`: of the card's, the first unless given. */
  commit(offload?: FrameOffload, queue?: number): void;
}

/** What takes the frames of a card. */
export interface FrameSink {
  /** A frame of the guest's, which is hostile and valid during the call only. It may be changed in place. `queue`: of the card's, the first unless given. */
  receive(frame: Uint8Array, offload: FrameOffload, queue?: number): void;
  /** What the card takes in, bits of `takes`, or how many queues it uses has changed. */
  adapt?(takes: number, queues: number): void;
  /** The last of some frames was handed over: now is the time to answer. */
  flush(): void;
  /** `reserve` has failed, and there is room again. */
  linkReady(): void;
  close(): void | Promise<void>;
}
