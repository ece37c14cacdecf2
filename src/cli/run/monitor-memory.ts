/** Memory of a machine as its monitors read it. */
import type { Machine } from '../../vmm/index.js';
import { UsageError } from '../usage-error.js';

const PHYSICAL_STEP_BYTES = 1 << 20;
const PAGE_BYTES = 4096;

/** `address`: of virtual memory, which may lie across pages, or of physical. Throws UsageError where nothing is mapped. */
export async function readMemoryBytes(
  machine: Machine,
  address: bigint,
  size: number,
  physical: boolean,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(size);
  for (let done = 0; done < size; ) {
    const at = BigInt.asUintN(64, address + BigInt(done));
    const step = Math.min(size - done, physical ? PHYSICAL_STEP_BYTES : PAGE_BYTES - Number(at % BigInt(PAGE_BYTES)));
    const gpa = physical ? Number(at) : await machine.translateAddress(at);
    if (gpa === undefined) throw new UsageError(`Cannot access memory at 0x${at.toString(16)}`);
    bytes.set(await machine.readMemory(gpa, step), done);
    done += step;
  }
  return bytes;
}
