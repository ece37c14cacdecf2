/**
 * Linux's tap devices (Documentation/networking/tuntap.rst, include/uapi/linux/if_tun.h): an Ethernet card of the host's whose
 * other end this process holds, by a descriptor for each queue. A read or write is a frame, behind `struct virtio_net_hdr` of ten
 * bytes where both sides leave work to each other. Numbers are those that Linux has on x86, Arm and RISC-V.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { getSystemErrorName } from 'node:util';
import { VringError } from '../../base/index.js';
import { takes } from '../../net/index.js';
import { type FrameDevice, VNET_HEADER_BYTES } from './descriptor-sink.js';
import { closeDescriptor } from './descriptor-wait.js';
import { loadKoffi } from './koffi.js';
import { openFailure } from './open-failure.js';
import { loadPosix, type Posix } from './posix.js';

const DEVICE = '/dev/net/tun';
const TUNSETIFF = 0x400454ca;
const TUNGETFEATURES = 0x800454cf;
const TUNSETOFFLOAD = 0x400454d0;
const TUNGETIFF = 0x800454d2;
const TUNSETSNDBUF = 0x400454d4;
const TUNSETVNETHDRSZ = 0x400454d8;
const TUNSETQUEUE = 0x400454d9;
const F_GETFL = 3;
const F_SETFL = 4;

const flag = { tap: 2, multiQueue: 0x100, attach: 0x200, detach: 0x400, noHeader: 0x1000, vnetHeader: 0x4000 } as const;
/** Bits of TUNSETOFFLOAD. */
const offload = { checksum: 1, tcp4: 2, tcp6: 4 } as const;

/** `struct ifreq`: a name of 16 bytes, and here flags. */
const IFREQ_BYTES = 40;
const NAME_BYTES = 16;
const MOST_INT = 0x7fffffff;

export interface TapPlace {
  /** Name of the interface, `%d` in it for the lowest free number; or descriptors that are open already, one for each queue. */
  readonly ifname?: string | undefined;
  readonly descriptors?: readonly number[] | undefined;
  /** Queues, one unless given. */
  readonly queues?: number | undefined;
  /** Frames have a header in front by which work is left to the other side: where the system has that, unless given. */
  readonly vnetHeader?: boolean | undefined;
  /** What may wait in the system to be sent; without a limit unless given. */
  readonly sendBufferBytes?: number | undefined;
}

export class TapDevice implements FrameDevice {
  readonly errorsPass = false;
  readonly name: string;
  /** Of each queue; reads and writes do not wait. */
  readonly descriptors: readonly number[];
  readonly hasHeader: boolean;
  readonly #posix: Posix;
  readonly #close: (fd: number) => void;
  readonly #tell = numberCall('int ioctl(int fd, unsigned long request, long value)');

  private constructor(
    posix: Posix,
    name: string,
    descriptors: readonly number[],
    hasHeader: boolean,
    close: (fd: number) => void,
  ) {
    this.#posix = posix;
    this.#close = close;
    this.name = name;
    this.descriptors = descriptors;
    this.hasHeader = hasHeader;
  }

  /** Throws VringError `network-tap`. */
  static open(place: TapPlace): TapDevice {
    const posix = loadPosix();
    if (!posix) throw failure('the module koffi, which calls the system, is not installed');
    const tap = place.descriptors ? adopt(posix, place.descriptors) : create(posix, place);
    const device = new TapDevice(
      posix,
      tap.name,
      tap.descriptors,
      tap.hasHeader,
      place.descriptors ? closeDescriptor : closeSync,
    );
    try {
      device.#prepare(place);
    } catch (error) {
      device.close();
      throw error;
    }
    return device;
  }

  #prepare({ vnetHeader, sendBufferBytes }: TapPlace): void {
    if (vnetHeader && !this.hasHeader)
      throw failure(`vnet_hdr=1 requested, but no kernel support for IFF_VNET_HDR available for '${this.name}'`);
    for (const fd of this.descriptors) {
      if (this.hasHeader) call(this.#posix, fd, TUNSETVNETHDRSZ, VNET_HEADER_BYTES, this.name);
      const limited = sendBufferBytes !== undefined && sendBufferBytes > 0;
      const failed = ioctlNumber(this.#posix, fd, TUNSETSNDBUF, limited ? sendBufferBytes : MOST_INT);
      if (failed !== undefined && limited) throw failure(`TUNSETSNDBUF ioctl failed: ${failed}`);
    }
    this.setTakes(0);
    this.setQueues(1);
  }

  /** What the card takes in, bits of `takes`: the system leaves no more undone. */
  setTakes(bits: number): void {
    if (!this.hasHeader) return;
    let told = 0;
    if ((bits & takes.checksum) !== 0) {
      told = offload.checksum;
      if ((bits & takes.tcp4) !== 0) told |= offload.tcp4;
      if ((bits & takes.tcp6) !== 0) told |= offload.tcp6;
    }
    // A system that knows fewer offloads does the work itself.
    for (const fd of this.descriptors) this.#tell(fd, TUNSETOFFLOAD, told);
  }

  /** The first so many queues are in use: the system puts frames into no other. */
  setQueues(count: number): void {
    if (this.descriptors.length === 1) return;
    for (const [i, fd] of this.descriptors.entries()) {
      const request = new Uint8Array(IFREQ_BYTES);
      // It is an error to attach what is attached, and of no effect.
      new DataView(request.buffer).setUint16(NAME_BYTES, i < count ? flag.attach : flag.detach, true);
      this.#posix.ioctl(fd, TUNSETQUEUE, request);
    }
  }

  close(): void {
    for (const fd of this.descriptors) this.#close(fd);
  }
}

const failure = (sentence: string) => new VringError('network-tap', sentence);

function lastError(posix: Posix): string {
  const code = getSystemErrorName(-posix.errno());
  const sentence = openFailure({ code, message: code });
  return code === 'EINVAL' ? 'Invalid argument' : sentence;
}

/** A call with a number where `Posix` has an address. */
const numberCall = (prototype: string) =>
  loadKoffi().load(null).func(prototype) as (fd: number, what: number, value: number) => number;

/** Undefined, or why it failed. */
function ioctlNumber(posix: Posix, fd: number, request: number, value: number): string | undefined {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value, true);
  return posix.ioctl(fd, request, bytes) < 0 ? lastError(posix) : undefined;
}

function call(posix: Posix, fd: number, request: number, value: number, name: string): void {
  const failed = ioctlNumber(posix, fd, request, value);
  if (failed !== undefined) throw failure(`could not configure ${DEVICE} (${name}): ${failed}`);
}

function create(posix: Posix, { ifname = 'tap%d', queues = 1, vnetHeader = true }: TapPlace) {
  const descriptors: number[] = [];
  let name = ifname;
  let flags = flag.tap | flag.noHeader;
  try {
    for (let queue = 0; queue < queues; queue++) {
      let fd: number;
      try {
        fd = openSync(DEVICE, constants.O_RDWR | constants.O_NONBLOCK);
      } catch (error) {
        throw failure(`could not open ${DEVICE}: ${openFailure(error)}`);
      }
      descriptors.push(fd);
      if (queue === 0) {
        const features = new Uint8Array(4);
        const known = posix.ioctl(fd, TUNGETFEATURES, features) < 0 ? 0 : features[0]! | (features[1]! << 8);
        if (vnetHeader) flags |= known & flag.vnetHeader;
        if (queues > 1) flags |= known & flag.multiQueue;
        if (queues > 1 && (flags & flag.multiQueue) === 0)
          throw failure('multiqueue required, but no kernel support for IFF_MULTI_QUEUE available');
      }
      const request = new Uint8Array(IFREQ_BYTES);
      request.set(new TextEncoder().encode(name).subarray(0, NAME_BYTES - 1));
      new DataView(request.buffer).setUint16(NAME_BYTES, flags, true);
      if (posix.ioctl(fd, TUNSETIFF, request) < 0)
        throw failure(`could not configure ${DEVICE} (${name}): ${lastError(posix)}`);
      // Further queues are of the interface whose number the system has chosen.
      name = nameIn(request);
    }
  } catch (error) {
    for (const fd of descriptors) closeSync(fd);
    throw error;
  }
  return { name, descriptors, hasHeader: (flags & flag.vnetHeader) !== 0 };
}

/** Descriptors that somebody else has opened. */
function adopt(posix: Posix, descriptors: readonly number[]) {
  let name = '';
  let hasHeader: boolean | undefined;
  const control = numberCall('int fcntl64(int fd, int command, long value)');
  for (const fd of descriptors) {
    const request = new Uint8Array(IFREQ_BYTES);
    if (posix.ioctl(fd, TUNGETIFF, request) < 0) throw failure(`fd=${fd} is no tap device: ${lastError(posix)}`);
    const has = (new DataView(request.buffer).getUint16(NAME_BYTES, true) & flag.vnetHeader) !== 0;
    if (hasHeader !== undefined && has !== hasHeader) throw failure('vnet_hdr not consistent across given tap fds');
    hasHeader = has;
    name = nameIn(request);
    control(fd, F_SETFL, control(fd, F_GETFL, 0) | constants.O_NONBLOCK);
  }
  return { name, descriptors, hasHeader: hasHeader ?? false };
}

function nameIn(request: Uint8Array): string {
  const end = request.subarray(0, NAME_BYTES).indexOf(0);
  return new TextDecoder().decode(request.subarray(0, end < 0 ? NAME_BYTES : end));
}
