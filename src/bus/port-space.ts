/**
 * The 64 Ki x86 I/O ports: a flat table from port to window, repainted where a window comes, goes or moves. As in memory,
 * an access that fits the window at its first port arrives there whole, else it is carried out byte by byte.
 */
import { assert } from '../base/index.js';
import type { DeferrableRange, IoWindow, NotifyRegister } from './address-space.js';
import { type Mapping, readWindow, writeWindow } from './memory-space.js';

const PORTS = 0x10000;
const REPORT_LIMIT = 256;

interface Slot {
  readonly window: IoWindow;
  readonly priority: number;
  start: number | undefined;
}

export class PortSpace {
  /** Called once per unassigned port, for the first few hundred. */
  log: ((message: string) => void) | undefined;
  /** Called after every change of what answers where. */
  onWindows: (() => void) | undefined;
  /** Index + 1 into #slots of what answers at a port; 0 for nothing. */
  readonly #table = new Uint16Array(PORTS);
  readonly #slots: (Slot | undefined)[] = [];
  readonly #reported = new Set<number>();

  /** Among equal priorities the later window lies on top. */
  add(window: IoWindow, priority = 0): Mapping {
    const slot: Slot = { window, priority, start: undefined };
    let index = this.#slots.indexOf(undefined);
    if (index < 0) index = this.#slots.length;
    assert(index < 0xffff, 'fewer I/O windows than ports');
    this.#slots[index] = slot;
    const space = this;
    const mapping: Mapping = {
      get start() {
        return slot.start;
      },
      move(to) {
        const next = to !== undefined && to >= 0 && to + window.size <= PORTS ? to : undefined;
        const before = slot.start;
        if (next === before) return;
        slot.start = next;
        if (before !== undefined) space.#paint(before, before + window.size);
        if (next !== undefined) space.#paint(next, next + window.size);
        space.onWindows?.();
      },
      remove() {
        if (space.#slots[index] !== slot) return;
        mapping.move(undefined);
        space.#slots[index] = undefined;
      },
    };
    mapping.move(window.start);
    return mapping;
  }

  #paint(from: number, to: number): void {
    this.#table.fill(0, from, to);
    const order = [...this.#slots.keys()].filter((i) => this.#slots[i]?.start !== undefined);
    order.sort((a, b) => this.#slots[a]!.priority - this.#slots[b]!.priority || a - b);
    for (const i of order) {
      const { start, window } = this.#slots[i]!;
      const [low, high] = [Math.max(from, start!), Math.min(to, start! + window.size)];
      if (low < high) this.#table.fill(i + 1, low, high);
    }
  }

  read(port: number, size: 1 | 2 | 4): number {
    const at = port & 0xffff;
    const index = this.#table[at]!;
    if (index === 0 && size === 1) return this.#unassigned(at);
    if (index !== 0) {
      const { window, start } = this.#slots[index - 1]!;
      const offset = at - start!;
      if (offset + size <= window.size) return readWindow(window, offset, size);
    }
    let value = 0;
    for (let i = 0; i < size; i++) value |= (at + i < PORTS ? this.read(at + i, 1) : 0xff) << (8 * i);
    return value >>> 0;
  }

  write(port: number, size: 1 | 2 | 4, value: number): void {
    const at = port & 0xffff;
    const index = this.#table[at]!;
    if (index === 0 && size === 1) {
      this.#unassigned(at);
      return;
    }
    if (index !== 0) {
      const { window, start } = this.#slots[index - 1]!;
      const offset = at - start!;
      if (offset + size <= window.size) {
        writeWindow(window, offset, size, value);
        return;
      }
    }
    for (let i = 0; i < size && at + i < PORTS; i++) this.write(at + i, 1, (value >>> (8 * i)) & 0xff);
  }

  /** Where writes may be handed over late, as it is now. */
  deferrable(): DeferrableRange[] {
    return this.#slots.flatMap((slot, index) =>
      slot?.start === undefined
        ? []
        : (slot.window.deferrable ?? [])
            .map(({ offset, size }) => ({ space: 'port' as const, start: slot.start! + offset, size }))
            .filter(({ start, size }) => this.#table.subarray(start, start + size).every((at) => at === index + 1)),
    );
  }

  /** The notify register that a write goes to, as it is now. */
  notifyRegister(port: number, size: number, value: number): NotifyRegister | undefined {
    const slot = this.#slots[this.#table[port & 0xffff]! - 1];
    return slot?.window.notifies?.((port & 0xffff) - slot.start!, size, value);
  }

  nameAt(port: number): string {
    return this.#slots[this.#table[port & 0xffff]! - 1]?.window.name ?? 'unassigned';
  }

  /** The flat view: one line per run of ports of one window. */
  describe(): { start: number; end: number; name: string }[] {
    const lines: { start: number; end: number; name: string }[] = [];
    for (let port = 0; port < PORTS; ) {
      const index = this.#table[port]!;
      let end = port + 1;
      while (end < PORTS && this.#table[end] === index) end++;
      if (index !== 0) lines.push({ start: port, end, name: this.#slots[index - 1]!.window.name });
      port = end;
    }
    return lines;
  }

  #unassigned(port: number): number {
    if (this.log !== undefined && this.#reported.size < REPORT_LIMIT && !this.#reported.has(port)) {
      this.#reported.add(port);
      this.log(`unassigned I/O port 0x${port.toString(16)}`);
    }
    return 0xff;
  }
}
