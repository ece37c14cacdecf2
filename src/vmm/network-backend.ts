/** The networks as the machine's thread sees them: frames go to the thread of the networks, and come from it. */
import type { MessagePort } from 'node:worker_threads';
import type { NetworkCard, NetworkPeer, WaitingFrame } from '../hw/index.js';
import type { FrameOffload } from '../net/index.js';
import { FrameRing } from './frame-ring.js';
import type { MachineNetworksConfig, NetworkRings, ToNetworksFromMachine } from './network-protocol.js';

class RingPeer implements NetworkPeer {
  readonly #toHost: FrameRing;
  readonly #toGuest: FrameRing;
  readonly #look: () => void;
  #card: NetworkCard | undefined;
  #refused = false;
  #isGone = false;

  constructor(rings: NetworkRings, look: () => void) {
    this.#toHost = new FrameRing(rings.toHost);
    this.#toGuest = new FrameRing(rings.toGuest);
    this.#look = look;
  }

  attach(card: NetworkCard): void {
    this.#card = card;
  }

  send(pieces: readonly Uint8Array[], length: number, offload: FrameOffload, queue = 0): boolean {
    if (this.#isGone) return true;
    const room = this.#toHost.reserve(length);
    if (!room) {
      this.#refused = true;
      return false;
    }
    let at = 0;
    for (const piece of pieces) {
      room.set(piece, at);
      at += piece.length;
    }
    if (this.#toHost.commit(offload, queue)) this.#look();
    return true;
  }

  receive(): WaitingFrame | undefined {
    return this.#toGuest.peek();
  }

  consume(): void {
    if (this.#toGuest.consume()) this.#look();
  }

  setTakes(bits: number): void {
    if (this.#toGuest.takes === bits) return;
    this.#toGuest.setTakes(bits);
    this.#look();
  }

  setQueues(count: number): void {
    if (this.#toGuest.queues === count) return;
    this.#toGuest.setQueues(count);
    this.#look();
  }

  setLink(up: boolean): void {
    this.#card?.setLink(up && !this.#isGone);
  }

  /** The network is no more: its card's cable leads nowhere. */
  disconnect(): void {
    this.#isGone = true;
    this.setLink(false);
  }

  /** Looks whether there is something for the card. */
  collect(): void {
    if (!this.#toGuest.isEmpty) this.#card?.receiveReady();
    if (this.#refused && this.#toHost.hasHalfFree) {
      this.#refused = false;
      this.#card?.sendReady();
    }
  }
}

export class MachineNetworks {
  readonly #port: MessagePort;
  readonly #networks: { readonly peer: RingPeer; readonly queues: number }[] = [];

  constructor(config: MachineNetworksConfig) {
    this.#port = config.port;
    for (const [network, rings] of config.rings.entries()) this.add(network, rings);
  }

  /** Another network, at a place that is free. */
  add(network: number, rings: NetworkRings): void {
    const look = () => this.#say({ type: 'look' });
    this.#networks[network] = { peer: new RingPeer(rings, look), queues: rings.queues };
  }

  /** Its card stays where it is. */
  remove(network: number): void {
    this.#networks[network].peer.disconnect();
  }

  /** A network by its place. */
  peer(network: number): NetworkPeer {
    return this.#networks[network].peer;
  }

  queues(network: number): number {
    return this.#networks[network].queues;
  }

  /** Tells the other thread how the vCPUs are woken. Before the first frame. */
  attach(memory: ArrayBufferLike, kickIndices: readonly number[]): void {
    this.#say({ type: 'memory', memory: memory as SharedArrayBuffer, kickIndices });
  }

  #say(message: ToNetworksFromMachine): void {
    this.#port.postMessage(message);
  }

  close(): void {
    this.#port.close();
  }

  /** The cable of a network's card is plugged in or pulled. */
  setLink(network: number, up: boolean): void {
    this.#networks[network].peer.setLink(up);
  }

  collect(): void {
    for (const { peer } of this.#networks) peer.collect();
  }
}
