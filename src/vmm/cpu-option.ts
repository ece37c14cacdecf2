/** `-cpu` as the guest layer reads it, with its mistakes as VringError. */
import { VringError } from '../base/index.js';
import { CpuOptionError, parseCpuOption, type X86CpuModel } from '../guest/index.js';

/** Throws VringError `cpu-option`. */
export function parseCpu(text: string): X86CpuModel {
  try {
    return parseCpuOption(text);
  } catch (error) {
    if (!(error instanceof CpuOptionError)) throw error;
    throw new VringError('cpu-option', `-cpu ${text}: ${error.message}`, { cause: error });
  }
}
