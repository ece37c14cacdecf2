/** What `-d int` logs of an AArch32 machine, laid out as QEMU's. */
import type { ArmCore } from '../../guest/arm/index.js';
import { field } from '../../guest/arm32/index.js';
import { ArmTrace, hex, kinds } from './trace.js';

/** By the offset of the vector. */
const byVector: Readonly<Record<number, readonly [number, string]>> = {
  4: kinds.undefined,
  8: kinds.call,
  12: kinds.prefetch,
  16: kinds.data,
  24: kinds.irq,
  28: kinds.fiq,
};

export class Arm32Trace extends ArmTrace {
  protected override describe(cpu: number, core: ArmCore, vector: number, fromEl: number): string[] {
    const [number, name] = byVector[vector] ?? kinds.undefined;
    const word = (offset: number) => hex(core.get32(offset) >>> 0);
    return [
      `Taking exception ${number} [${name}] on CPU ${cpu}`,
      `...from EL${fromEl} to EL${core.el}`,
      ...(vector === 12 ? [`...with IFSR ${word(field.ifsr)} IFAR ${word(field.ifar)}`] : []),
      ...(vector === 16 ? [`...with DFSR ${word(field.dfsr)} DFAR ${word(field.dfar)}`] : []),
    ];
  }
}
