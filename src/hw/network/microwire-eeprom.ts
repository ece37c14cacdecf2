/**
 * A 93C46 serial EEPROM (Microchip 93C46 data sheet): 64 words of 16 bits behind three lines, Microwire. Network cards keep their
 * address in one. Reading alone is answered; the other commands change nothing, as on a chip whose words are protected.
 */
import { bool, u8, u16 } from '../../schema/index.js';

export const EEPROM_WORDS = 64;
/** A start bit, two bits of opcode, six of address. */
const COMMAND_BITS = 9;
const READ = 6;

/** Parts of the state of the card that has the chip. */
export const eepromFields = {
  eepromSelect: bool(),
  eepromClock: bool(),
  eepromIn: u16(),
  eepromInBits: u8(),
  /** Bits that were clocked out of a word, and of those after it. */
  eepromOut: u16(),
  eepromReading: bool(),
};

interface EepromState {
  eepromSelect: boolean;
  eepromClock: boolean;
  eepromIn: number;
  eepromInBits: number;
  eepromOut: number;
  eepromReading: boolean;
}

export class MicrowireEeprom {
  readonly words = new Uint16Array(EEPROM_WORDS);
  readonly #state: EepromState;

  constructor(state: EepromState) {
    this.#state = state;
  }

  /** The lines take these levels. */
  drive(select: boolean, clock: boolean, dataIn: boolean): void {
    const state = this.#state;
    const rises = clock && !state.eepromClock && state.eepromSelect;
    const wasSelected = state.eepromSelect;
    state.eepromSelect = select;
    state.eepromClock = clock;
    if (!select || !wasSelected) {
      state.eepromIn = state.eepromInBits = state.eepromOut = 0;
      state.eepromReading = false;
      return;
    }
    if (!rises) return;
    if (state.eepromReading) {
      state.eepromOut = (state.eepromOut + 1) & 0xffff;
      return;
    }
    // Nothing counts before the start bit.
    if (state.eepromInBits === 0 && !dataIn) return;
    state.eepromIn = ((state.eepromIn << 1) | (dataIn ? 1 : 0)) & 0x1ff;
    if (++state.eepromInBits < COMMAND_BITS) return;
    state.eepromInBits = 0;
    state.eepromReading = state.eepromIn >> 6 === READ;
  }

  /** A zero comes before the words, bit 15 first; without a command the line is high. */
  get dataOut(): boolean {
    const { eepromReading, eepromOut, eepromIn } = this.#state;
    if (!eepromReading) return true;
    const bit = eepromOut - 1;
    const word = this.words[((eepromIn & 0x3f) + (bit >> 4)) & (EEPROM_WORDS - 1)];
    return bit >= 0 && ((word >> (15 - (bit & 15))) & 1) !== 0;
  }
}
