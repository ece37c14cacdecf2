/**
 * GPU device (Virtual I/O Device 1.2, 5.7) in its 2D form, with one scanout: the driver fills resources from its memory and says which
 * part of one is on the screen, and which has changed. What is on the screen is copied into a `ScreenFrame`, which another thread shows.
 *
 * Deviations: what is asked of a resource without the memory that it needs is refused with `unspecified`, as QEMU does; a scanout that
 * is larger than the frame has room for shows its upper lines.
 */
import { assert } from '../../base/index.js';
import type { DmaSpace } from '../../bus/index.js';
import { POINTER_SIZE, type Rectangle, type ScreenFrame } from '../../display/index.js';
import { StateError } from '../../schema/index.js';
import type { StatePart } from '../pci/saved-parts.js';
import { edid } from '../vga/edid.js';
import { ConfigBytes } from './config-bytes.js';
import type { DescriptorChain } from './descriptor-chain.js';
import { GpuResource, isFormat, PIXEL_BYTES } from './gpu-resource.js';
import { type VirtioDevice, type VirtioModel, virtioType } from './virtio-device.js';
import type { Virtqueue } from './virtqueue.js';

const FEATURE_EDID = 1;
const EVENT_DISPLAY = 1;
const SCANOUTS = 1;
/** Places for scanouts in the answer to `getDisplayInfo`. */
const MOST_SCANOUTS = 16;
const EDID_BYTES = 1024;
/** Memory of all resources together, as QEMU's `max_hostmem` has it. */
const MOST_HOST_BYTES = 256 << 20;
const MOST_RESOURCES = 16384;
const MOST_PIECES = 16384;
const LEAST_SCANOUT = 16;
const HEADER_BYTES = 24;
const FLAG_FENCE = 1;
/** What EDID has bits for. */
const MOST_PREFERRED = 4095;
const LEAST_PREFERRED = 64;

const command = {
  getDisplayInfo: 0x0100,
  resourceCreate2d: 0x0101,
  resourceUnref: 0x0102,
  setScanout: 0x0103,
  resourceFlush: 0x0104,
  transferToHost2d: 0x0105,
  attachBacking: 0x0106,
  detachBacking: 0x0107,
  getEdid: 0x010a,
  updateCursor: 0x0300,
  moveCursor: 0x0301,
} as const;

const response = {
  ok: 0x1100,
  displayInfo: 0x1101,
  edid: 0x1104,
  unspecified: 0x1200,
  outOfMemory: 0x1201,
  invalidScanout: 0x1202,
  invalidResource: 0x1203,
  invalidParameter: 0x1205,
} as const;

const CONTROL_QUEUE = 0;
/** The longest command that is not followed by a list. */
const COMMAND_BYTES = 56;

export interface VirtioGpuOptions {
  readonly frame: ScreenFrame;
  readonly dma: DmaSpace;
  /** The size that the monitor likes best, until somebody asks for another one. */
  readonly preferred?: { readonly width: number; readonly height: number } | undefined;
}

interface Scanout {
  readonly resource: number;
  readonly area: Rectangle;
}

interface PointerState {
  readonly resource: number;
  readonly hotX: number;
  readonly hotY: number;
}

export class VirtioGpu implements VirtioModel {
  readonly type = virtioType.gpu;
  readonly queueSizes = [64, 16];
  readonly features = [FEATURE_EDID];
  readonly config: ConfigBytes;
  readonly configBytes = 16;
  readonly parts: readonly StatePart[];
  readonly #options: VirtioGpuOptions;
  readonly #resources = new Map<number, GpuResource>();
  #hostBytes = 0;
  #events = 0;
  #preferred: { readonly width: number; readonly height: number };
  #scanout: Scanout | undefined;
  /** There has been a scanout since the reset: before, what a VGA shows is seen. */
  #isEntered = false;
  #pointer: PointerState | undefined;
  #device!: VirtioDevice;

  constructor(options: VirtioGpuOptions) {
    this.#options = options;
    this.#preferred = options.preferred ?? { width: 1280, height: 800 };
    this.config = new ConfigBytes(
      this.configBytes,
      (offset, size, value) => {
        if (offset <= 4 && offset + size > 4) this.#events &= ~(value >>> (8 * (4 - offset)));
      },
      () => {
        const { view } = this.config;
        view.setUint32(0, this.#events, true);
        view.setUint32(8, SCANOUTS, true);
      },
    );
    this.parts = [{ save: () => this.#save(), load: (saved) => this.#load(saved) }];
  }

  attach(device: VirtioDevice): void {
    this.#device = device;
  }

  reset(): void {
    this.#resources.clear();
    this.#hostBytes = 0;
    this.#events = 0;
    this.#scanout = this.#pointer = undefined;
    this.#isEntered = false;
    this.#options.frame.show(undefined);
    this.#options.frame.pointer = undefined;
  }

  restored(): void {
    for (const queue of this.#device.queues) if (queue.state.ready) this.#device.kick(queue.index);
  }

  /** The one who looks would like this size: the guest hears of it as of another monitor. */
  prefer(width: number, height: number): void {
    const fit = (value: number) => Math.max(LEAST_PREFERRED, Math.min(MOST_PREFERRED, value));
    const wanted = { width: fit(width), height: fit(height) };
    if (wanted.width === this.#preferred.width && wanted.height === this.#preferred.height) return;
    this.#preferred = wanted;
    this.#events |= EVENT_DISPLAY;
    this.#device.configChanged();
  }

  queueKicked(queue: Virtqueue): void {
    for (let budget = queue.state.size; budget > 0; budget--) {
      const chain = queue.pop();
      if (chain === undefined) break;
      const bytes = new Uint8Array(COMMAND_BYTES);
      const given = chain.copyOut(0, bytes);
      const view = new DataView(bytes.buffer);
      const answer =
        given < HEADER_BYTES
          ? undefined
          : queue.index === CONTROL_QUEUE
            ? this.#control(view, given, chain)
            : this.#cursor(view, given);
      queue.push(chain, answer ? chain.copyIn(0, fenced(answer, view)) : 0);
    }
    queue.signal();
  }

  // ---- commands

  #control(view: DataView, given: number, chain: DescriptorChain): Uint8Array {
    const type = view.getUint32(0, true);
    const u32 = (at: number) => view.getUint32(HEADER_BYTES + at, true);
    const needs: Readonly<Record<number, number>> = {
      [command.resourceCreate2d]: 16,
      [command.resourceUnref]: 8,
      [command.setScanout]: 24,
      [command.resourceFlush]: 24,
      [command.transferToHost2d]: 32,
      [command.attachBacking]: 8,
      [command.detachBacking]: 8,
      [command.getEdid]: 8,
    };
    if (given < HEADER_BYTES + (needs[type] ?? 0)) return plain(response.invalidParameter);
    switch (type) {
      case command.getDisplayInfo:
        return this.#displayInfo();
      case command.getEdid:
        return u32(0) < SCANOUTS ? this.#edid() : plain(response.invalidParameter);
      case command.resourceCreate2d:
        return plain(this.#create(u32(0), u32(4), u32(8), u32(12)));
      case command.resourceUnref:
        return plain(this.#unref(u32(0)));
      case command.setScanout:
        return plain(this.#setScanout(rectangle(view), u32(16), u32(20)));
      case command.resourceFlush:
        return plain(this.#flush(rectangle(view), u32(16)));
      case command.transferToHost2d:
        return plain(this.#transfer(rectangle(view), u32(16) + u32(20) * 2 ** 32, u32(24)));
      case command.attachBacking:
        return plain(this.#attachBacking(u32(0), u32(4), chain));
      case command.detachBacking:
        return plain(this.#detachBacking(u32(0)));
      default:
        return plain(response.unspecified);
    }
  }

  #displayInfo(): Uint8Array {
    const bytes = plain(response.displayInfo, MOST_SCANOUTS * 24);
    const view = new DataView(bytes.buffer);
    view.setUint32(HEADER_BYTES + 8, this.#preferred.width, true);
    view.setUint32(HEADER_BYTES + 12, this.#preferred.height, true);
    view.setUint32(HEADER_BYTES + 16, 1, true);
    return bytes;
  }

  #edid(): Uint8Array {
    const bytes = plain(response.edid, 8 + EDID_BYTES);
    const monitor = edid({ name: 'vring', ...this.#preferred });
    new DataView(bytes.buffer).setUint32(HEADER_BYTES, monitor.length, true);
    bytes.set(monitor, HEADER_BYTES + 8);
    return bytes;
  }

  #create(id: number, format: number, width: number, height: number): number {
    if (id === 0 || this.#resources.has(id)) return response.invalidResource;
    if (!isFormat(format) || width === 0 || height === 0) return response.invalidParameter;
    const bytes = width * height * PIXEL_BYTES;
    if (this.#hostBytes + bytes > MOST_HOST_BYTES || this.#resources.size >= MOST_RESOURCES)
      return response.outOfMemory;
    this.#hostBytes += bytes;
    this.#resources.set(id, new GpuResource(id, format, width, height));
    return response.ok;
  }

  #unref(id: number): number {
    const resource = this.#resources.get(id);
    if (!resource) return response.invalidResource;
    if (this.#scanout?.resource === id) this.#show(undefined);
    this.#resources.delete(id);
    this.#hostBytes -= resource.bytes.length;
    return response.ok;
  }

  #setScanout(area: Rectangle, scanout: number, id: number): number {
    if (scanout >= SCANOUTS) return response.invalidScanout;
    if (id === 0) {
      this.#isEntered = true;
      this.#show(undefined);
      return response.ok;
    }
    const resource = this.#resources.get(id);
    if (!resource) return response.invalidResource;
    if (area.width < LEAST_SCANOUT || area.height < LEAST_SCANOUT || !resource.contains(area))
      return response.invalidParameter;
    this.#isEntered = true;
    this.#show({ resource: id, area });
    return response.ok;
  }

  #show(scanout: Scanout | undefined): void {
    const { frame } = this.#options;
    this.#scanout = scanout;
    if (!scanout) {
      // A screen that the driver has switched off is black: a VGA's picture is not seen again before a reset.
      if (this.#isEntered) {
        frame.pixels.fill(0, 0, frame.width * frame.height);
        frame.show(frame.isOn ? frame : undefined);
      }
      return;
    }
    const { width } = scanout.area;
    const height = Math.min(scanout.area.height, Math.floor(frame.pixels.length / width));
    if (height === 0) return;
    this.#draw(scanout, scanout.area);
    frame.show({ width, height });
  }

  /** Copies what `area` of the resource has on the screen. */
  #draw({ resource: id, area: shown }: Scanout, area: Rectangle): void {
    const { frame } = this.#options;
    const resource = this.#resources.get(id);
    assert(resource, 'what is shown is there');
    const left = Math.max(area.x, shown.x);
    const right = Math.min(area.x + area.width, shown.x + shown.width);
    const bottom = Math.min(area.y + area.height, shown.y + shown.height);
    if (left >= right) return;
    for (let y = Math.max(area.y, shown.y); y < bottom; y++) {
      const at = (y - shown.y) * shown.width + left - shown.x;
      if (at + right - left > frame.pixels.length) return;
      resource.copyRow(left, y, frame.pixels.subarray(at, at + right - left));
    }
  }

  #flush(area: Rectangle, id: number): number {
    const resource = this.#resources.get(id);
    if (!resource) return response.invalidResource;
    if (!resource.contains(area)) return response.invalidParameter;
    if (this.#scanout?.resource === id) {
      this.#draw(this.#scanout, area);
      this.#options.frame.changed();
    }
    return response.ok;
  }

  #transfer(area: Rectangle, offset: number, id: number): number {
    const resource = this.#resources.get(id);
    if (!resource) return response.invalidResource;
    if (!resource.backing) return response.unspecified;
    if (!resource.contains(area)) return response.invalidParameter;
    resource.transfer(this.#options.dma, area, offset);
    return response.ok;
  }

  /** The list of pieces follows the command: address, length and padding, 16 bytes each. */
  #attachBacking(id: number, count: number, chain: DescriptorChain): number {
    const resource = this.#resources.get(id);
    if (!resource) return response.invalidResource;
    if (resource.backing || count > MOST_PIECES) return response.unspecified;
    const bytes = new Uint8Array(count * 16);
    if (chain.copyOut(HEADER_BYTES + 8, bytes) < bytes.length) return response.unspecified;
    const view = new DataView(bytes.buffer);
    const pieces = Array.from({ length: count }, (_, i) => ({
      gpa: view.getUint32(i * 16, true) + view.getUint32(i * 16 + 4, true) * 2 ** 32,
      length: view.getUint32(i * 16 + 8, true),
    }));
    if (pieces.some(({ gpa, length }) => !this.#options.dma.view(gpa, length, false))) return response.unspecified;
    resource.attach(pieces);
    return response.ok;
  }

  #detachBacking(id: number): number {
    const resource = this.#resources.get(id);
    if (!resource) return response.invalidResource;
    if (!resource.backing) return response.unspecified;
    resource.attach(undefined);
    return response.ok;
  }

  /** The pointer's picture and place. Places are not kept: who looks knows where its own pointer is. */
  #cursor(view: DataView, given: number): undefined {
    const type = view.getUint32(0, true);
    if (type !== command.updateCursor || given < HEADER_BYTES + 32) return;
    if (view.getUint32(HEADER_BYTES, true) >= SCANOUTS) return;
    const at = HEADER_BYTES + 16;
    const [resource, hotX, hotY] = [0, 4, 8].map((offset) => view.getUint32(at + offset, true)) as [
      number,
      number,
      number,
    ];
    this.#setPointer(resource === 0 ? undefined : { resource, hotX, hotY });
  }

  #setPointer(pointer: PointerState | undefined): void {
    const resource = pointer && this.#resources.get(pointer.resource);
    const fits = resource?.width === POINTER_SIZE && resource.height === POINTER_SIZE;
    this.#pointer = fits ? pointer : undefined;
    this.#options.frame.pointer =
      pointer && fits
        ? {
            pixels: resource.withAlpha(),
            hotX: Math.min(pointer.hotX, POINTER_SIZE - 1),
            hotY: Math.min(pointer.hotY, POINTER_SIZE - 1),
          }
        : undefined;
  }

  // ---- saved state: words of 32 bits, then for each resource its words, pieces (as words) and pixels

  #save(): Uint8Array {
    const words: number[] = [this.#events, this.#preferred.width, this.#preferred.height, this.#isEntered ? 1 : 0];
    const { resource = 0, area = { x: 0, y: 0, width: 0, height: 0 } } = this.#scanout ?? {};
    words.push(resource, area.x, area.y, area.width, area.height);
    const pointer = this.#pointer ?? { resource: 0, hotX: 0, hotY: 0 };
    words.push(pointer.resource, pointer.hotX, pointer.hotY, this.#resources.size);
    const chunks: Uint8Array[] = [toBytes(words)];
    for (const { id, format, width, height, backing, bytes } of this.#resources.values()) {
      const pieces = (backing ?? []).flatMap(({ gpa, length }) => [gpa % 2 ** 32, Math.floor(gpa / 2 ** 32), length]);
      chunks.push(toBytes([id, format, width, height, backing ? 1 : 0, pieces.length / 3, ...pieces]), bytes);
    }
    const out = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
    let at = 0;
    for (const chunk of chunks) {
      out.set(chunk, at);
      at += chunk.length;
    }
    return out;
  }

  #load(saved: Uint8Array): void {
    const view = new DataView(saved.buffer, saved.byteOffset, saved.length);
    let at = 0;
    const damaged = () => new StateError('state-field', 'The saved state of a GPU is cut short or damaged.');
    const next = (): number => {
      if (at + 4 > saved.length) throw damaged();
      at += 4;
      return view.getUint32(at - 4, true);
    };
    const [events, width, height, entered] = [next(), next(), next(), next()];
    const scanout: Scanout = { resource: next(), area: { x: next(), y: next(), width: next(), height: next() } };
    const pointer: PointerState = { resource: next(), hotX: next(), hotY: next() };
    const inRange = (value: number) => value >= LEAST_PREFERRED && value <= MOST_PREFERRED;
    if (!inRange(width) || !inRange(height) || events > EVENT_DISPLAY || entered > 1) throw damaged();
    const resources = new Map<number, GpuResource>();
    let hostBytes = 0;
    for (let left = next(); left > 0; left--) {
      const [id, format, columns, rows] = [next(), next(), next(), next()];
      const [isAttached, pieces] = [next(), next()];
      const bytes = columns * rows * PIXEL_BYTES;
      hostBytes += bytes;
      if (id === 0 || resources.has(id) || !isFormat(format) || bytes === 0 || hostBytes > MOST_HOST_BYTES)
        throw damaged();
      if (pieces > MOST_PIECES || at + pieces * 12 + bytes > saved.length) throw damaged();
      const resource = new GpuResource(id, format, columns, rows);
      const backing = Array.from({ length: pieces }, () => ({ gpa: next() + next() * 2 ** 32, length: next() }));
      if (isAttached !== 0) resource.attach(backing);
      resource.bytes.set(saved.subarray(at, at + bytes));
      at += bytes;
      resources.set(id, resource);
    }
    const shown = resources.get(scanout.resource);
    if (at !== saved.length || (scanout.resource !== 0 && !shown?.contains(scanout.area))) throw damaged();
    if (shown && (scanout.area.width < LEAST_SCANOUT || scanout.area.height < LEAST_SCANOUT)) throw damaged();
    this.reset();
    for (const [id, resource] of resources) this.#resources.set(id, resource);
    this.#hostBytes = hostBytes;
    this.#events = events;
    this.#preferred = { width, height };
    this.#isEntered = entered !== 0;
    if (shown) this.#show(scanout);
    this.#setPointer(pointer.resource === 0 ? undefined : pointer);
  }
}

function toBytes(words: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(words.length * 4);
  const view = new DataView(bytes.buffer);
  words.forEach((value, i) => {
    view.setUint32(i * 4, value, true);
  });
  return bytes;
}

function rectangle(view: DataView): Rectangle {
  const u32 = (at: number) => view.getUint32(HEADER_BYTES + at, true);
  return { x: u32(0), y: u32(4), width: u32(8), height: u32(12) };
}

/** An answer of that type, with so many bytes behind the header. */
function plain(type: number, more = 0): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + more);
  new DataView(bytes.buffer).setUint32(0, type, true);
  return bytes;
}

/** With the fence of the command that it answers. */
function fenced(answer: Uint8Array, asked: DataView): Uint8Array {
  if ((asked.getUint32(4, true) & FLAG_FENCE) === 0) return answer;
  const view = new DataView(answer.buffer);
  view.setUint32(4, FLAG_FENCE, true);
  for (const at of [8, 12, 16]) view.setUint32(at, asked.getUint32(at, true), true);
  return answer;
}
