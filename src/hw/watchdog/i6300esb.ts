/**
 * The watchdog of Intel's 6300ESB (datasheet 300641, chapter 16): two stages, each with a preload value; the guest writes to the reload
 * register in time, or the first stage ends with an interrupt and the second with whatever the machine's owner has chosen.
 *
 * Deviation: the interrupt of the first stage goes to an input of an I/O APIC that the board does not have, and reaches nobody.
 */
import type { Timer, TimerService } from '../../base/index.js';
import type { Device, IoHandler } from '../../bus/index.js';
import { bool, deadlineNs, defineState, type StateArena, type StateOf, u8, u32 } from '../../schema/index.js';
import { checkIdentity, PciFunction } from '../pci/pci-function.js';
import { loadParts, type StatePart, saveParts, statePart } from '../pci/saved-parts.js';

const configAt = 0x60;
const lockAt = 0x68;
/** Of the configuration word: a count is of 1 µs rather than 1 ms; the second stage reboots nothing. */
const config = { fine: 4, noReboot: 0x20, writable: 0x27 } as const;
const lock = { locked: 1, enabled: 2, freeRunning: 4 } as const;
const reload = { reload: 0x100, timedOut: 0x200, bits: 0x1200 } as const;
const mostPreload = 0xfffff;
/** The PCI clock, which is divided by 2^15 or 2^5. */
const clockHz = 33_000_000;
const [coarseShift, fineShift] = [15, 5] as const;
const barBytes = 16;
/** What is written to the reload register before it, or a preload value, is. */
const unlock = [0x80, 0x86] as const;

const WatchdogState = defineState('i6300esb', 1, {
  preload1: u32(mostPreload, { max: mostPreload }),
  preload2: u32(mostPreload, { max: mostPreload }),
  /** How many of the unlocking writes have been made. */
  unlocked: u8(0, { max: unlock.length }),
  stage: u8(1, { min: 1, max: 2 }),
  deadlineNs: deadlineNs(),
  /** It has rebooted the machine, and nobody has said that it is known. */
  timedOut: bool(false, { keep: true }),
});

export interface I6300EsbOptions {
  readonly name?: string;
  readonly clock: TimerService;
  /** The second stage has ended. */
  expired(): void;
  readonly arena?: StateArena | undefined;
}

export class I6300Esb implements Device {
  readonly name: string;
  readonly function: PciFunction;
  readonly #state: StateOf<typeof WatchdogState>;
  readonly #parts: readonly StatePart[];
  readonly #clock: TimerService;
  readonly #timer: Timer;
  readonly #expired: () => void;

  constructor({ name = 'i6300esb', clock, expired, arena }: I6300EsbOptions) {
    this.name = name;
    this.#clock = clock;
    this.#expired = expired;
    this.#state = WatchdogState.allocate(arena);
    this.#timer = clock.createTimer(name, () => this.#end());
    this.function = new PciFunction({
      name,
      vendorId: 0x8086,
      deviceId: 0x25ab,
      classCode: 0x088000,
      bars: [{ index: 0, kind: 'memory32', size: barBytes, handler: this.#window }],
      arena,
      configWritten: (offset, size) => {
        if (offset <= lockAt && offset + size > lockAt) this.#lockWritten();
      },
    });
    this.function.define(configAt, 2, 0, config.writable);
    this.function.define(lockAt, 1, 0, lock.locked | lock.enabled | lock.freeRunning);
    this.function.keep(lockAt, 1);
    this.#parts = [this.function.part, statePart(WatchdogState, this.#state)];
  }

  reset(): void {
    this.function.reset();
    WatchdogState.reset(this.#state);
    this.#timer.cancel();
    this.function.define(lockAt, 1, 0, lock.locked | lock.enabled | lock.freeRunning);
  }

  save(): Uint8Array {
    return saveParts(this.#parts);
  }

  load(saved: Uint8Array): void {
    loadParts(this.#parts, saved, this.name, () => checkIdentity(this.function));
    this.function.restore();
    this.#freeze();
    this.#arm();
  }

  get #lock(): number {
    return this.function.config[lockAt]!;
  }

  /** Once locked, the register stays as it is until a reset. */
  #freeze(): void {
    if ((this.#lock & lock.locked) === 0) return;
    this.function.define(lockAt, 1, this.#lock, 0);
  }

  #lockWritten(): void {
    const isEnabled = (this.#lock & lock.enabled) !== 0;
    if (!isEnabled) this.#state.deadlineNs = Infinity;
    else if (this.#state.deadlineNs === Infinity) this.#begin(1);
    this.#freeze();
    this.#arm();
  }

  #arm(): void {
    const { deadlineNs: deadline } = this.#state;
    if (deadline === Infinity) this.#timer.cancel();
    else this.#timer.arm(deadline);
  }

  #begin(stage: 1 | 2): void {
    const state = this.#state;
    const isFine = (this.function.config[configAt]! & config.fine) !== 0;
    const counts = (stage === 1 ? state.preload1 : state.preload2) * 2 ** (isFine ? fineShift : coarseShift);
    state.stage = stage;
    state.deadlineNs = this.#clock.nowNs() + Math.max(1, Math.round((counts / clockHz) * 1e9));
    this.#arm();
  }

  #end(): void {
    const state = this.#state;
    state.deadlineNs = Infinity;
    if (state.stage === 1) {
      this.#begin(2);
      return;
    }
    if ((this.#lock & lock.freeRunning) !== 0) this.#begin(1);
    if ((this.function.config[configAt]! & config.noReboot) !== 0) return;
    state.timedOut = true;
    this.#expired();
  }

  readonly #window: IoHandler = {
    read: (offset) => (offset === 12 && this.#state.timedOut ? reload.bits : 0),
    write: (offset, size, value) => {
      const state = this.#state;
      const isOpen = state.unlocked === unlock.length;
      if (offset === 12 && size === 2 && !isOpen && value === unlock[state.unlocked]) {
        state.unlocked++;
        return;
      }
      if (!isOpen) {
        state.unlocked = 0;
        return;
      }
      if (offset === 0 && size === 4) state.preload1 = value & mostPreload;
      else if (offset === 4 && size === 4) state.preload2 = value & mostPreload;
      else if (offset === 12) {
        if ((value & reload.timedOut) !== 0) state.timedOut = false;
        if ((value & reload.reload) !== 0 && (this.#lock & lock.enabled) !== 0) this.#begin(1);
      } else return;
      state.unlocked = 0;
    },
  };
}
