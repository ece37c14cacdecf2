/** What every device offers the machine beside its registers. */
export interface Device {
  /** Unique in its machine: the name of its saved state. */
  readonly name: string;
  /** Power-on or reset-button state. Lines fall, timers are cancelled. */
  reset(): void;
  save(): Uint8Array;
  /**
   * Replaces the device's state, drives its lines and arms its timers accordingly. Devices of a machine load in any order.
   * Throws StateError for damaged input and leaves the device as it was.
   */
  load(saved: Uint8Array): void;
}
