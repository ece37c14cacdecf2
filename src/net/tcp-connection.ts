/**
 * One TCP connection with the guest (RFC 9293), the other end of which is a stream of the host. Sequence numbers are 32-bit
 * integers with a sign; differences are taken modulo 2^32.
 *
 * The way to the guest loses nothing by itself, so that there is no congestion window: the guest's own window is what bounds
 * the bytes in flight. Back pressure goes both ways: the window shrinks by what the host has not taken, and the host's stream
 * is paused while the guest does not take what it sent.
 */
import type { HostStream, StreamEvents, StreamFailure } from './host.js';
import type { IpPath } from './ip-output.js';
import { SendBuffer } from './send-buffer.js';
import { type TcpSegment, tcpFlag } from './tcp-segment.js';

/** Bytes that the guest may send before the host has taken them. */
const RECEIVE_BYTES = 1 << 20;
/** Bytes kept for the guest beyond which the host's stream is paused, and below which it goes on. */
const SEND_HIGH = 1 << 20;
const SEND_LOW = 1 << 19;
export const WINDOW_SHIFT = 5;
/** Without the option (RFC 9293, 3.7.1). */
const DEFAULT_MSS = { 4: 536, 6: 1220 } as const;
const MIN_MSS = 64;
/** Pieces kept that came before their turn. */
const MAX_EARLY = 128;

const FIRST_RTO_MS = 1000;
const MIN_RTO_MS = 300;
const MAX_RTO_MS = 60_000;
const MAX_RETRIES = 12;
const SYN_RETRIES = 5;
const TIME_WAIT_MS = 2000;
/** So many acknowledgements of the same byte mean that a segment is lost (RFC 5681, 3.2). */
const DUPLICATES = 3;

export type TcpState =
  /** The guest's SYN waits for the host's connection. */
  | 'connecting'
  /** Our SYN with ACK waits for an ACK. */
  | 'synReceived'
  /** Our SYN waits for the guest's answer. */
  | 'synSent'
  | 'open'
  | 'timeWait'
  | 'closed';

/** What a segment carries. */
export interface Outgoing {
  readonly seq: number;
  readonly flags: number;
  /** Bytes of the send buffer. */
  readonly offset: number;
  readonly length: number;
}

export interface TcpOwner {
  nowMs(): number;
  /** All that was sent has reached the guest's card. */
  readonly linkIdle: boolean;
  /** False: there is no room now. The connection is asked to `output` again. */
  transmit(connection: TcpConnection, segment: Outgoing): boolean;
  /** Bytes that one segment may carry: several MSS where the card cuts it. */
  largestSegment(connection: TcpConnection): number;
  /** An acknowledgement is due when the frames at hand have been seen. */
  wantsAck(connection: TcpConnection): void;
  /** A deadline was set. */
  armed(): void;
  /** Answers what belongs to no connection. */
  refuse(connection: TcpConnection, seq: number, ack: number, flags: number): void;
  closed(connection: TcpConnection): void;
  /** The host could not connect for this reason, which the guest is to hear of. */
  unreachable(connection: TcpConnection): void;
}

export class TcpConnection implements StreamEvents {
  state: TcpState;
  readonly path: IpPath;
  readonly guestPort: number;
  readonly outsidePort: number;
  readonly key: string;
  mss: number;
  deadlineMs = Infinity;
  readonly sendBuffer = new SendBuffer();
  readonly #owner: TcpOwner;
  #stream!: HostStream;

  // Sending (RFC 9293, 3.3.1)
  #una: number;
  #next: number;
  #largestNext: number;
  #window = 0;
  #windowSeq = 0;
  #windowAck = 0;
  #guestShift = 0;
  #scaled = false;
  #hostEnded = false;
  #finSent = false;
  #paused = false;
  #duplicates = 0;
  /** While lost segments are sent again one by one: what had been sent by then (RFC 6582). */
  #recoverTo: number | undefined;
  #retries = 0;
  #rtoMs = FIRST_RTO_MS;
  /** A segment's time is taken: its end and when it was sent. */
  #timedSeq = 0;
  #timedMs = -1;
  #smoothMs = -1;
  #varianceMs = 0;

  // Receiving
  receiveNext = 0;
  /** End of the window that the guest knows. */
  #windowEnd = 0;
  #early: { seq: number; bytes: Uint8Array }[] = [];
  #earlyBytes = 0;
  /** The guest's FIN, once it has been seen. */
  #guestFin: number | undefined;
  #guestEnded = false;
  ackPending = false;

  constructor(owner: TcpOwner, key: string, path: IpPath, guestPort: number, outsidePort: number, isn: number) {
    this.#owner = owner;
    this.key = key;
    this.path = path;
    this.guestPort = guestPort;
    this.outsidePort = outsidePort;
    this.mss = DEFAULT_MSS[path.version];
    this.#una = this.#next = this.#largestNext = isn | 0;
    this.state = 'connecting';
  }

  /** The guest's SYN: the host's connection is being made. */
  openFromGuest(syn: TcpSegment, connect: (events: StreamEvents) => HostStream): void {
    this.#takeSyn(syn);
    this.#window = syn.window;
    this.#windowSeq = syn.seq;
    this.#stream = connect(this);
  }

  /** Somebody outside has connected: the guest is called. */
  openToGuest(stream: HostStream): void {
    this.state = 'synSent';
    this.#stream = stream;
    stream.pause();
    this.#paused = true;
    this.#sendSyn();
  }

  #takeSyn(syn: TcpSegment): void {
    this.receiveNext = (syn.seq + 1) | 0;
    this.#windowEnd = this.receiveNext;
    if (syn.mss !== undefined) this.mss = Math.max(syn.mss, MIN_MSS);
    this.#scaled = syn.windowShift !== undefined;
    this.#guestShift = syn.windowShift ?? 0;
  }

  get #inFlight(): number {
    return (this.#next - this.#una) | 0;
  }

  /** Window scaling was agreed upon, or is offered. */
  get offersScale(): boolean {
    return this.state === 'synSent' || this.#scaled;
  }

  /** What the guest may still send, as the header's field says it. Part of every segment that is sent. */
  advertise(isSyn: boolean): number {
    const room = Math.max(RECEIVE_BYTES - this.#stream.backlogBytes - this.#earlyBytes, 0);
    const shift = !isSyn && this.#scaled ? WINDOW_SHIFT : 0;
    // The window's end never moves back, but for what the scale cuts off.
    const known = Math.max((this.#windowEnd - this.receiveNext) | 0, 0);
    const field = Math.min(Math.max(room, known) >> shift, 0xffff);
    const end = (this.receiveNext + (field << shift)) | 0;
    if (((end - this.#windowEnd) | 0) > 0) this.#windowEnd = end;
    return field;
  }

  // The host's stream

  connected(): void {
    if (this.state !== 'connecting') return;
    this.state = 'synReceived';
    this.#sendSyn();
  }

  data(bytes: Uint8Array): void {
    if (this.state === 'closed' || this.state === 'timeWait') return;
    this.sendBuffer.append(bytes);
    if (!this.#paused && this.sendBuffer.length >= SEND_HIGH) {
      this.#paused = true;
      this.#stream.pause();
    }
    this.output();
  }

  ended(): void {
    if (this.#hostEnded || this.state === 'closed') return;
    this.#hostEnded = true;
    this.output();
  }

  drained(): void {
    if (this.state !== 'open') return;
    const room = Math.max(RECEIVE_BYTES - this.#stream.backlogBytes - this.#earlyBytes, 0);
    const known = (this.#windowEnd - this.receiveNext) | 0;
    // Small steps are not told (RFC 9293, 3.8.6.2.2).
    if (!this.#guestEnded && room - known >= Math.min(RECEIVE_BYTES / 2, 2 * this.mss) && known < RECEIVE_BYTES / 2)
      this.#acknowledge();
  }

  closed(failure?: StreamFailure): void {
    if (this.state === 'closed') return;
    if (this.state === 'connecting') {
      if (failure === 'unreachable' || failure === 'timeout') this.#owner.unreachable(this);
      this.#owner.refuse(this, 0, this.receiveNext, tcpFlag.rst | tcpFlag.ack);
      this.#close();
      return;
    }
    if (failure !== undefined || !this.#hostEnded) this.abort();
  }

  /** Tells the guest that the connection is gone. */
  abort(): void {
    if (this.state !== 'closed' && this.state !== 'timeWait')
      this.#owner.refuse(this, this.#largestNext, this.receiveNext, tcpFlag.rst | tcpFlag.ack);
    this.#close();
  }

  #close(): void {
    if (this.state === 'closed') return;
    this.state = 'closed';
    this.deadlineMs = Infinity;
    this.#early = [];
    this.sendBuffer.drop(this.sendBuffer.length);
    this.#stream?.destroy();
    this.#owner.closed(this);
  }

  // Segments of the guest

  receive(segment: TcpSegment): void {
    switch (this.state) {
      case 'closed':
        return;
      case 'connecting':
        if ((segment.flags & tcpFlag.rst) !== 0 && segment.seq === this.receiveNext) this.#close();
        return;
      case 'synSent':
        this.#receiveAnswer(segment);
        return;
    }
    if (!this.#isAcceptable(segment)) return;
    const { flags } = segment;
    if ((flags & tcpFlag.ack) === 0) return;
    if (this.state === 'synReceived') {
      if (segment.ack !== this.#next) {
        this.#owner.refuse(this, segment.ack, 0, tcpFlag.rst);
        return;
      }
      this.#established(segment);
    } else if (!this.#takeAck(segment)) return;
    if (this.state === 'open') {
      this.#takePayload(segment);
      this.output();
      this.#finishIfDone();
    } else if (this.state === 'timeWait' && (segment.payload.length > 0 || (flags & tcpFlag.fin) !== 0))
      this.#acknowledge();
  }

  #receiveAnswer(segment: TcpSegment): void {
    const { flags, ack } = segment;
    if ((flags & tcpFlag.ack) !== 0 && ack !== this.#next) {
      if ((flags & tcpFlag.rst) === 0) this.#owner.refuse(this, ack, 0, tcpFlag.rst);
      return;
    }
    if ((flags & tcpFlag.rst) !== 0) {
      if ((flags & tcpFlag.ack) !== 0) this.#close();
      return;
    }
    if ((flags & (tcpFlag.syn | tcpFlag.ack)) !== (tcpFlag.syn | tcpFlag.ack)) return;
    this.#takeSyn(segment);
    this.#established(segment);
    this.#acknowledge();
    this.#takePayload({ ...segment, seq: (segment.seq + 1) | 0 });
    this.output();
  }

  /** RFC 9293, 3.10.7.4, first to fourth. */
  #isAcceptable({ seq, flags, payload }: TcpSegment): boolean {
    const length = payload.length + ((flags & tcpFlag.fin) !== 0 ? 1 : 0);
    const start = (seq - this.receiveNext) | 0;
    const window = Math.max((this.#windowEnd - this.receiveNext) | 0, 0);
    const inWindow = length === 0 ? start >= 0 && start <= window : start < Math.max(window, 1) && start + length > 0;
    if ((flags & tcpFlag.rst) !== 0) {
      // Only one at exactly the next byte is believed (RFC 5961, 3).
      if (start === 0) this.#close();
      else if (inWindow) this.#acknowledge();
      return false;
    }
    if ((flags & tcpFlag.syn) !== 0) {
      if (this.state === 'synReceived' && ((seq + 1) | 0) === this.receiveNext) this.#sendSyn();
      else this.#acknowledge();
      return false;
    }
    if (!inWindow) {
      this.#acknowledge();
      return false;
    }
    return true;
  }

  #established(segment: TcpSegment): void {
    this.state = 'open';
    this.#una = segment.ack;
    this.#retries = 0;
    this.#rtoMs = FIRST_RTO_MS;
    this.deadlineMs = Infinity;
    this.#setWindow(segment, (segment.flags & tcpFlag.syn) === 0);
    if (this.#paused && this.sendBuffer.length < SEND_HIGH) {
      this.#paused = false;
      this.#stream.resume();
    }
  }

  #setWindow({ seq, ack, window }: TcpSegment, scaled: boolean): void {
    this.#window = scaled ? window << this.#guestShift : window;
    this.#windowSeq = seq;
    this.#windowAck = ack;
  }

  /** False: it acknowledges what was never sent. */
  #takeAck(segment: TcpSegment): boolean {
    const { seq, ack, payload } = segment;
    if (((ack - this.#largestNext) | 0) > 0) {
      this.#acknowledge();
      return false;
    }
    const advance = (ack - this.#una) | 0;
    if (advance < 0) return true;
    const newer = ((seq - this.#windowSeq) | 0) > 0;
    const windowBefore = this.#window;
    if (newer || (seq === this.#windowSeq && ((ack - this.#windowAck) | 0) >= 0)) this.#setWindow(segment, true);
    if (advance === 0) {
      const isDuplicate = this.#inFlight > 0 && payload.length === 0 && windowBefore === this.#window;
      if (!isDuplicate) this.#duplicates = 0;
      else if (++this.#duplicates === DUPLICATES && this.#recoverTo === undefined) {
        this.#recoverTo = this.#largestNext;
        this.#resendFirst();
      }
      // A window that was closed and is open: nothing in flight is waited for.
      if (this.#inFlight === 0 && this.#window > 0) {
        this.deadlineMs = Infinity;
        this.#retries = 0;
      }
      return true;
    }
    if (this.#timedMs >= 0 && ((ack - this.#timedSeq) | 0) >= 0) this.#measure();
    let bytes = advance;
    // The FIN counts as a byte that the buffer does not have.
    if (this.#finSent && ack === this.#largestNext) bytes--;
    this.sendBuffer.drop(Math.min(bytes, this.sendBuffer.length));
    this.#una = ack;
    if (((this.#next - ack) | 0) < 0) this.#next = ack;
    this.#duplicates = 0;
    this.#retries = 0;
    if (this.#recoverTo !== undefined) {
      if (((ack - this.#recoverTo) | 0) >= 0) this.#recoverTo = undefined;
      else this.#resendFirst();
    }
    if (this.#inFlight > 0) this.#arm(this.#rtoMs);
    else this.deadlineMs = Infinity;
    if (this.#paused && this.sendBuffer.length <= SEND_LOW && this.state === 'open') {
      this.#paused = false;
      this.#stream.resume();
    }
    return true;
  }

  /** RFC 6298, 2. */
  #measure(): void {
    const sample = this.#owner.nowMs() - this.#timedMs;
    this.#timedMs = -1;
    if (this.#smoothMs < 0) {
      this.#smoothMs = sample;
      this.#varianceMs = sample / 2;
    } else {
      this.#varianceMs += (Math.abs(this.#smoothMs - sample) - this.#varianceMs) / 4;
      this.#smoothMs += (sample - this.#smoothMs) / 8;
    }
    this.#rtoMs = Math.min(Math.max(this.#smoothMs + 4 * this.#varianceMs, MIN_RTO_MS), MAX_RTO_MS);
  }

  #takePayload({ seq, flags, payload }: TcpSegment): void {
    if ((flags & tcpFlag.fin) !== 0) {
      const fin = (seq + payload.length) | 0;
      if (((fin - this.#windowEnd) | 0) <= 0) this.#guestFin ??= fin;
      this.#owner.wantsAck(this);
    }
    if (payload.length > 0) {
      this.#owner.wantsAck(this);
      this.#takeBytes(seq, payload);
      while (this.#early.length > 0 && ((this.#early[0].seq - this.receiveNext) | 0) <= 0) {
        const { seq: at, bytes } = this.#early.shift() as { seq: number; bytes: Uint8Array };
        this.#earlyBytes -= bytes.length;
        this.#takeBytes(at, bytes);
      }
    }
    if (this.#guestFin !== undefined && !this.#guestEnded && this.receiveNext === this.#guestFin) {
      this.receiveNext = (this.receiveNext + 1) | 0;
      if (((this.receiveNext - this.#windowEnd) | 0) > 0) this.#windowEnd = this.receiveNext;
      this.#guestEnded = true;
      this.#stream.end();
    }
  }

  #takeBytes(seq: number, payload: Uint8Array): void {
    if (this.#guestEnded) return;
    const from = Math.max((this.receiveNext - seq) | 0, 0);
    let to = Math.min(payload.length, Math.max((this.#windowEnd - seq) | 0, 0));
    // Nothing comes behind a FIN.
    if (this.#guestFin !== undefined) to = Math.min(to, Math.max((this.#guestFin - seq) | 0, 0));
    if (from >= to) return;
    const start = (seq + from) | 0;
    if (start === this.receiveNext) {
      this.receiveNext = (seq + to) | 0;
      // The ring behind the frame is used again.
      this.#stream.write(payload.slice(from, to));
      return;
    }
    this.#keepEarly(start, payload.subarray(from, to));
  }

  /** Keeps pieces in order; those that overlap what is kept already are cut, and dropped where that is not enough. */
  #keepEarly(seq: number, payload: Uint8Array): void {
    if (this.#early.length >= MAX_EARLY) return;
    let start = seq;
    let bytes = payload;
    let at = this.#early.length;
    while (at > 0 && ((this.#early[at - 1].seq - start) | 0) > 0) at--;
    const before = this.#early[at - 1];
    if (before) {
      const overlap = (before.seq + before.bytes.length - start) | 0;
      if (overlap >= bytes.length) return;
      if (overlap > 0) {
        bytes = bytes.subarray(overlap);
        start = (start + overlap) | 0;
      }
    }
    const after = this.#early[at];
    if (after) bytes = bytes.subarray(0, Math.min(bytes.length, (after.seq - start) | 0));
    if (bytes.length === 0) return;
    this.#early.splice(at, 0, { seq: start, bytes: bytes.slice() });
    this.#earlyBytes += bytes.length;
  }

  #finishIfDone(): void {
    if (!this.#guestEnded || !this.#finSent || this.#una !== this.#largestNext) return;
    // Whoever ended last need not wait (RFC 9293, 3.3.2); which of the two it was does not matter to anybody here.
    this.state = 'timeWait';
    this.#arm(TIME_WAIT_MS);
  }

  // Segments for the guest

  #sendSyn(): void {
    const flags = this.state === 'synSent' ? tcpFlag.syn : tcpFlag.syn | tcpFlag.ack;
    this.#next = this.#largestNext = (this.#una + 1) | 0;
    this.#owner.transmit(this, { seq: this.#una, flags, offset: 0, length: 0 });
    this.#arm(this.#rtoMs);
  }

  #acknowledge(): void {
    this.#owner.wantsAck(this);
  }

  /** Sends the acknowledgement that is due, unless a segment has carried it meanwhile. False: there is no room. */
  sendAck(): boolean {
    if (!this.ackPending) return true;
    if (this.state === 'closed' || this.state === 'connecting' || this.state === 'synSent') {
      this.ackPending = false;
      return true;
    }
    return this.#owner.transmit(this, { seq: this.#next, flags: tcpFlag.ack, offset: 0, length: 0 });
  }

  /** Sends what the guest's window lets through. False: there was no room for all of it. */
  output(): boolean {
    // All is said, and the guest knows.
    if (this.state !== 'open' || (this.#finSent && this.#una === this.#largestNext)) return true;
    const owner = this.#owner;
    for (;;) {
      const sent = this.#finSent && this.#next === this.#largestNext ? this.#inFlight - 1 : this.#inFlight;
      const waiting = this.sendBuffer.length - sent;
      const usable = this.#window - sent;
      const length = Math.max(Math.min(waiting, usable, owner.largestSegment(this)), 0);
      const fin = this.#hostEnded && length === waiting && !(this.#finSent && this.#next === this.#largestNext);
      if (length === 0 && !fin) break;
      // No silly window: a short segment waits while others are on their way (RFC 9293, 3.8.6.2.1).
      if (length < waiting && length < this.mss && sent > 0 && !fin) break;
      const flags = tcpFlag.ack | (length === waiting ? tcpFlag.psh : 0) | (fin ? tcpFlag.fin : 0);
      const seq = this.#next;
      if (!owner.transmit(this, { seq, flags, offset: sent, length })) return false;
      this.#next = (seq + length + (fin ? 1 : 0)) | 0;
      if (fin) this.#finSent = true;
      if (((this.#next - this.#largestNext) | 0) > 0) {
        this.#largestNext = this.#next;
        if (this.#timedMs < 0 && length > 0) {
          this.#timedMs = owner.nowMs();
          this.#timedSeq = this.#next;
        }
      }
      if (this.deadlineMs === Infinity) this.#arm(this.#rtoMs);
    }
    // The window is closed: it is asked after from time to time.
    if (this.sendBuffer.length > 0 && this.#inFlight === 0 && this.deadlineMs === Infinity) this.#arm(this.#rtoMs);
    return true;
  }

  #resendFirst(): void {
    const length = Math.min(this.sendBuffer.length, this.#inFlight, this.mss);
    this.#timedMs = -1;
    const fin = length === this.sendBuffer.length && this.#finSent;
    const flags = tcpFlag.ack | (fin ? tcpFlag.fin : 0);
    this.#owner.transmit(this, { seq: this.#una, flags, offset: 0, length });
  }

  #arm(milliseconds: number): void {
    this.deadlineMs = this.#owner.nowMs() + milliseconds;
    this.#owner.armed();
  }

  /** The deadline has passed. */
  expired(): void {
    if (this.state === 'timeWait') {
      if (this.#stream.backlogBytes > 0) this.#arm(TIME_WAIT_MS);
      else this.#close();
      return;
    }
    const inFlight = this.#inFlight > 0;
    // What the guest's card has not taken yet cannot be lost.
    if (inFlight && !this.#owner.linkIdle) {
      this.#arm(this.#rtoMs);
      return;
    }
    const opening = this.state !== 'open';
    if (inFlight && ++this.#retries > (opening ? SYN_RETRIES : MAX_RETRIES)) {
      this.abort();
      return;
    }
    this.#timedMs = -1;
    this.#rtoMs = Math.min(this.#rtoMs * 2, MAX_RTO_MS);
    if (opening) {
      this.#sendSyn();
      return;
    }
    this.deadlineMs = Infinity;
    if (!inFlight) {
      if (this.sendBuffer.length === 0) return;
      // A byte that the guest has makes it tell its window.
      this.#owner.transmit(this, { seq: (this.#una - 1) | 0, flags: tcpFlag.ack, offset: 0, length: 0 });
      this.#arm(this.#rtoMs);
      return;
    }
    // All from the first byte that was not acknowledged on.
    this.#next = this.#una;
    this.#recoverTo = undefined;
    this.output();
    if (this.deadlineMs === Infinity) this.#arm(this.#rtoMs);
  }

  /** There is room for segments again, or the guest's address is known. False: there was no room for all. */
  retry(): boolean {
    if (this.state === 'synSent' || this.state === 'synReceived') {
      this.#sendSyn();
      return true;
    }
    return this.output() && this.sendAck();
  }
}
