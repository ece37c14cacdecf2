/** The host's side of a character device that clients come to and leave: a socket, a pseudo-terminal, a pair of pipes. */

/** Where bytes go: waits when the other side is slow. */
export interface OutputSink {
  write(bytes: Uint8Array | string): Promise<void>;
}

export interface BackendEvents {
  /** A client has come. */
  opened(): void;
  closed(): void;
  input(bytes: Uint8Array): void;
  /** Came with the bytes that are next, by SCM_RIGHTS. Whoever lacks it takes none. */
  descriptors?(descriptors: readonly number[]): void;
  sendBreak(): void;
  /** Resolves when all that has come in has been answered. */
  settled(): Promise<void>;
}

/** What is written while nobody is there is lost, as with QEMU. */
export interface Backend extends OutputSink {
  /** As `info chardev` shows it. */
  readonly filename: string;
  /** Resolves when the machine may start. */
  readonly ready: Promise<void>;
  /** Sentences for the person, once it is open. */
  readonly notice?: string | undefined;
  /** Who hears of clients; called once. Clients who came before wait until then. */
  attach(events: BackendEvents): void;
  /** What comes in waits. */
  pause(): void;
  resume(): void;
  /** The client does not keep to the protocol. */
  hangUp(): void;
  /** What was written is handed over, unless that takes the other side too long. */
  close(): Promise<void>;
}

/** A client that does not read has so much kept for it. */
export const MOST_UNREAD_BYTES = 8 << 20;
/** How long a client may take for the last bytes. */
export const PATIENCE_MS = 1000;
