/**
 * gdb's remote serial protocol (GDB manual, appendix E) over any stream of bytes. Each vCPU is a thread, numbered from 1 on; all run
 * and stop together, but for a single step, which is one vCPU's.
 *
 * Use: `new GdbStub(target, send)`; hand it what comes by `receive`, in the thread that may touch the machine; call `stopped`
 * whenever the vCPU has stopped after `target.resume()`. The machine is to be stopped when a debugger comes.
 *
 * Not served: reverse execution, file transfer, `R`.
 */
import type { DebugTarget, WatchKind } from './debug-target.js';
import { encodePacket, MAX_PACKET, PacketReader } from './packets.js';
import { describeTarget } from './target-description.js';

/** Signals by gdb's numbers. */
export const gdbSignal = { interrupt: 2, trap: 5, segv: 11 } as const;

/** Watchpoints by the numbers of `Z` packets, and what stop replies call them. */
const watchKinds: Readonly<Record<string, WatchKind | undefined>> = { 2: 'write', 3: 'read', 4: 'access' };
const watchWords: Readonly<Record<WatchKind, string>> = { write: 'watch', read: 'rwatch', access: 'awatch' };
const MAX_WATCHED_BYTES = 2 ** 32;

const hexByte = (byte: number) => (byte & 0xff).toString(16).padStart(2, '0');

/** An address or length in hex without prefix; undefined where it is not one. */
function parseHex(text: string): bigint | undefined {
  return /^[0-9a-f]{1,16}$/i.test(text) ? BigInt(`0x${text}`) : undefined;
}

function bytesFromHex(text: string): Uint8Array | undefined {
  if (text.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(text)) return undefined;
  return Uint8Array.from({ length: text.length / 2 }, (_, i) => Number.parseInt(text.slice(2 * i, 2 * i + 2), 16));
}

/** A register's value, least significant byte first. */
function valueToHex(value: bigint, bits: number): string {
  let text = '';
  for (let i = 0n; i < bits; i += 8n) text += hexByte(Number((value >> i) & 255n));
  return text;
}

function valueFromHex(text: string): bigint | undefined {
  const bytes = bytesFromHex(text);
  return bytes?.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
}

export class GdbStub {
  readonly #target: DebugTarget;
  readonly #send: (bytes: Uint8Array) => void;
  readonly #reader: PacketReader;
  readonly #description: string;
  readonly #breakpoints = new Set<bigint>();
  /** By the packet's text behind `Z` or `z`. */
  readonly #watchpoints = new Map<string, readonly [WatchKind, bigint, number]>();
  #last: Uint8Array | undefined;
  #acknowledges = true;
  /** A debugger has spoken, and has not gone. */
  #attached = false;
  #running = false;
  #signal: number = gdbSignal.trap;
  /** What the stop reply says of a watchpoint. */
  #hit: string | undefined;

  constructor(target: DebugTarget, send: (bytes: Uint8Array) => void) {
    this.#target = target;
    this.#send = send;
    this.#description = describeTarget(target);
    this.#reader = new PacketReader({
      packet: (text) => {
        if (this.#acknowledges) this.#send(Uint8Array.of(0x2b));
        const reply = this.#answer(text);
        if (reply !== undefined) this.#reply(reply);
      },
      damaged: () => {
        if (this.#acknowledges) this.#send(Uint8Array.of(0x2d));
      },
      acknowledged: (good) => {
        if (!good && this.#acknowledges && this.#last) this.#send(this.#last);
      },
      interrupt: () => {
        if (!this.#running) return;
        this.#signal = gdbSignal.interrupt;
        this.#target.interrupt();
      },
    });
  }

  /** Bytes from the debugger. */
  receive(bytes: Uint8Array): void {
    if (!this.#attached) {
      this.#attached = true;
      this.#acknowledges = true;
      this.#running = false;
      this.#signal = gdbSignal.trap;
    }
    this.#reader.receive(bytes);
  }

  /** The vCPU has stopped. `signal`: one of gdbSignal; unless given, the trap or the interrupt that was asked for. */
  stopped(signal?: number): void {
    if (!this.#attached || !this.#running) return;
    this.#running = false;
    if (signal !== undefined) this.#signal = signal;
    this.#takeHit();
    this.#reply(this.#stopReply());
  }

  /** The machine has ended by itself, with a status. */
  exited(status: number): void {
    if (!this.#attached || !this.#running) return;
    this.#running = false;
    this.#reply(`W${hexByte(status)}`);
  }

  /** The debugger has gone: nothing of it stays, and the machine runs on. */
  close(): void {
    for (const address of this.#breakpoints) this.#target.clearBreakpoint(address);
    this.#breakpoints.clear();
    for (const watchpoint of this.#watchpoints.values()) this.#target.clearWatchpoint?.(...watchpoint);
    this.#watchpoints.clear();
    this.#attached = false;
    if (!this.#running) {
      this.#running = true;
      this.#target.resume();
    }
  }

  #reply(text: string): void {
    this.#last = encodePacket(text);
    this.#send(this.#last);
  }

  #takeHit(): void {
    const hit = this.#target.takeWatchpointHit?.();
    this.#hit = hit && `${watchWords[hit.kind]}:${hit.address.toString(16)};`;
  }

  #stopReply(): string {
    return `T${hexByte(this.#signal)}${this.#hit ?? ''}thread:${this.#thread};`;
  }

  /** The thread that questions are about, in hex. */
  get #thread(): string {
    return ((this.#target.vcpu ?? 0) + 1).toString(16);
  }

  /** Number of the vCPU that a thread is; undefined: there is none such. */
  #vcpuOf(thread: string): number | undefined {
    const vcpu = Number(parseHex(thread) ?? 0n) - 1;
    return vcpu >= 0 && vcpu < (this.#target.vcpus ?? 1) ? vcpu : undefined;
  }

  /** `-1` and `0` are all threads and any: what is chosen stays. */
  #chooseThread(thread: string): string {
    if (thread === '-1' || thread === '0' || thread === '') return 'OK';
    const vcpu = this.#vcpuOf(thread);
    if (vcpu === undefined) return 'E01';
    if (vcpu !== (this.#target.vcpu ?? 0)) this.#target.vcpu = vcpu;
    return 'OK';
  }

  #answer(packet: string): string | undefined {
    // While the vCPU runs, gdb says nothing but the interrupt; `D` stands for a debugger that is gone, too.
    if (this.#running && packet !== 'D') return undefined;
    const rest = packet.slice(1);
    switch (packet[0]) {
      case '?':
        return this.#stopReply();
      case 'g':
        return this.#target.registers.map(({ bits }, i) => valueToHex(this.#target.readRegister(i), bits)).join('');
      case 'G':
        return this.#writeAll(rest);
      case 'p':
        return this.#readOne(rest);
      case 'P':
        return this.#writeOne(rest);
      case 'm':
        return this.#readMemory(rest);
      case 'M':
      case 'X':
        return this.#writeMemory(rest, packet[0] === 'X');
      case 'Z':
      case 'z':
        return this.#breakpoint(packet[0] === 'Z', rest);
      case 'c':
      case 's':
        return this.#goAt(packet[0] === 's', rest);
      case 'C':
      case 'S':
        return this.#goAt(packet[0] === 'S', rest.split(';')[1] ?? '');
      case 'v':
        return this.#verbose(packet);
      case 'q':
      case 'Q':
        return this.#query(packet);
      case 'H':
        // All go on together: whom `c` is about is of no consequence.
        return rest[0] === 'g' || rest[0] === 'c' ? this.#chooseThread(rest.slice(1)) : 'E01';
      case 'T':
        return this.#vcpuOf(rest) === undefined ? 'E01' : 'OK';
      case 'D':
        this.close();
        return 'OK';
      case 'k':
        this.#target.kill();
        return undefined;
      default:
        return '';
    }
  }

  // --- registers

  #writeAll(hex: string): string | undefined {
    let at = 0;
    for (const [i, { bits }] of this.#target.registers.entries()) {
      const value = valueFromHex(hex.slice(at, at + bits / 4));
      at += bits / 4;
      if (value === undefined || at > hex.length) return 'E01';
      this.#target.writeRegister(i, value);
    }
    return 'OK';
  }

  #readOne(text: string): string | undefined {
    const index = Number(parseHex(text) ?? -1n);
    const register = this.#target.registers[index];
    return register ? valueToHex(this.#target.readRegister(index), register.bits) : 'E01';
  }

  #writeOne(text: string): string | undefined {
    const [number, hex] = text.split('=');
    const index = Number(parseHex(number) ?? -1n);
    const register = this.#target.registers[index];
    const value = valueFromHex(hex ?? '');
    const fits = register !== undefined && value !== undefined && hex.length === register.bits / 4;
    return fits && this.#target.writeRegister(index, value) ? 'OK' : 'E01';
  }

  // --- memory

  #readMemory(text: string): string | undefined {
    const [address, length] = text.split(',').map(parseHex);
    if (address === undefined || length === undefined) return 'E01';
    const most = Math.min(Number(length), MAX_PACKET / 2 - 16);
    const bytes = this.#target.readMemory(address, most);
    return bytes.length === 0 && most > 0 ? 'E14' : [...bytes].map(hexByte).join('');
  }

  #writeMemory(text: string, binary: boolean): string | undefined {
    const colon = text.indexOf(':');
    const [address, length] = text.slice(0, Math.max(0, colon)).split(',').map(parseHex);
    const body = text.slice(colon + 1);
    const bytes = binary ? Uint8Array.from(body, (c) => c.charCodeAt(0)) : bytesFromHex(body);
    if (colon < 0 || address === undefined || bytes === undefined || length !== BigInt(bytes.length)) {
      return 'E01';
    }
    return bytes.length === 0 || this.#target.writeMemory(address, bytes) ? 'OK' : 'E14';
  }

  // --- stopping and going on

  #breakpoint(set: boolean, text: string): string | undefined {
    const [type, where, size] = text.split(';', 1)[0].split(',');
    if (watchKinds[type]) return this.#watchpoint(set, watchKinds[type], where, size);
    if (type !== '0' && type !== '1') return '';
    const address = parseHex(where ?? '');
    if (address === undefined) return 'E01';
    if (!set) {
      this.#breakpoints.delete(address);
      this.#target.clearBreakpoint(address);
      return 'OK';
    }
    if (!this.#target.setBreakpoint(address)) return 'E0c';
    this.#breakpoints.add(address);
    return 'OK';
  }

  #watchpoint(set: boolean, kind: WatchKind, where: string | undefined, size: string | undefined): string {
    const target = this.#target;
    if (!target.setWatchpoint || !target.clearWatchpoint) return '';
    const address = parseHex(where ?? '');
    const length = Number(parseHex(size ?? '') ?? 0n);
    if (address === undefined || length < 1 || length > MAX_WATCHED_BYTES) return 'E01';
    const key = `${kind} ${address} ${length}`;
    if (!set) {
      target.clearWatchpoint(kind, address, length);
      this.#watchpoints.delete(key);
    } else if (!this.#watchpoints.has(key)) {
      if (!target.setWatchpoint(kind, address, length)) return 'E0c';
      this.#watchpoints.set(key, [kind, address, length]);
    }
    return 'OK';
  }

  #goAt(step: boolean, text: string): string | undefined {
    if (text !== '') {
      const address = parseHex(text);
      const pc = this.#target.registers.findIndex(({ name }) => name === 'rip' || name === 'pc');
      if (address === undefined || pc < 0) return 'E01';
      this.#target.writeRegister(pc, address);
    }
    return this.#go(step);
  }

  #go(step: boolean): string | undefined {
    this.#signal = gdbSignal.trap;
    this.#hit = undefined;
    if (step) {
      this.#target.step();
      this.#takeHit();
      return this.#stopReply();
    }
    this.#running = true;
    this.#target.resume();
    return undefined;
  }

  #verbose(packet: string): string | undefined {
    if (packet === 'vCont?') return 'vCont;c;C;s;S';
    if (!packet.startsWith('vCont;')) return '';
    const action = packet[6];
    if (action === 'c' || action === 'C') return this.#go(false);
    if (action === 's' || action === 'S') {
      const thread = /^[sS][0-9a-f]*:(-?[0-9a-f]+)/i.exec(packet.slice(6))?.[1] ?? '';
      return this.#chooseThread(thread) === 'OK' ? this.#go(true) : 'E01';
    }
    return 'E01';
  }

  // --- questions

  #query(packet: string): string | undefined {
    const name = packet.split(/[:,;]/, 1)[0];
    switch (name) {
      case 'qSupported':
        return `PacketSize=${MAX_PACKET.toString(16)};qXfer:features:read+;QStartNoAckMode+;vContSupported+;swbreak-;hwbreak-`;
      case 'QStartNoAckMode':
        this.#acknowledges = false;
        return 'OK';
      case 'qXfer':
        return this.#transfer(packet);
      case 'qC':
        return `QC${this.#thread}`;
      case 'qfThreadInfo':
        return `m${Array.from({ length: this.#target.vcpus ?? 1 }, (_, i) => (i + 1).toString(16)).join(',')}`;
      case 'qsThreadInfo':
        return 'l';
      case 'qThreadExtraInfo':
        return this.#describeThread(packet.split(',')[1] ?? '');
      case 'qAttached':
        return '1';
      case 'qOffsets':
        return 'Text=0;Data=0;Bss=0';
      default:
        return '';
    }
  }

  #describeThread(thread: string): string {
    const vcpu = this.#vcpuOf(thread);
    if (vcpu === undefined) return 'E01';
    return [...new TextEncoder().encode(`CPU#${vcpu}`)].map(hexByte).join('');
  }

  #transfer(packet: string): string | undefined {
    const match = /^qXfer:features:read:target\.xml:([0-9a-f]{1,8}),([0-9a-f]{1,8})$/i.exec(packet);
    if (!match) return packet.startsWith('qXfer:features:read:') ? 'E00' : '';
    const offset = Number.parseInt(match[1], 16);
    const piece = this.#description.slice(offset, offset + Math.min(Number.parseInt(match[2], 16), MAX_PACKET / 2));
    return `${offset + piece.length < this.#description.length ? 'm' : 'l'}${piece}`;
  }
}
