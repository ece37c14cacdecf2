/** CPACR and FPEXC turn floating point and Advanced SIMD off (B1.11): what is off is undefined. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseArm32Cpu } from '../../guest/arm32/models.js';
import { ARM_BREAK, CASE_BYTES, caseField } from './layout.js';
import { Arm32RowMachine } from './machine.js';
import { codeAddress } from './runner.js';

const machine = new Arm32RowMachine(0, parseArm32Cpu('cortex-a15'));
const [SIGILL, SIGTRAP] = [4, 5];
/** The signal that a program gets that has this instruction and a BKPT. */
function signalOf(word: number, settings: { cpacr?: number; fpexc?: number }): number {
  const bytes = new Uint8Array(CASE_BYTES);
  const view = new DataView(bytes.buffer);
  for (let at = caseField.code; at < caseField.bytes; at += 4) view.setUint32(at, ARM_BREAK, true);
  view.setUint32(caseField.code, word, true);
  view.setUint32(caseField.r + 4 * 15, codeAddress(false), true);
  view.setUint32(caseField.cpsr, 0x10, true);
  return machine.run(bytes, 1, settings).signal;
}

/** VADD.I32 Q0, Q0, Q0; VDUP.32 Q0, R0; VMOV.8 D0[0], R0. */
const simd = [0xf2200840, 0xeea00b10, 0xee400b10];
/** VADD.F32 S0, S0, S0; VMOV S0, R0; VMOV.32 D0[0], R0; VMRS R0, FPSCR. */
const vfp = [0xee300a00, 0xee000a10, 0xee000b10, 0xeef10a10];
const hex = (word: number): string => word.toString(16);

test('all is there where both coprocessors are accessible and FPEXC.EN is set', () => {
  for (const word of [...simd, ...vfp]) assert.equal(signalOf(word, {}), SIGTRAP, hex(word));
});

test('CPACR.ASEDIS turns Advanced SIMD off, and leaves VFP', () => {
  const cpacr = (0xf << 20) | (1 << 31);
  for (const word of simd) assert.equal(signalOf(word, { cpacr }), SIGILL, hex(word));
  for (const word of vfp) assert.equal(signalOf(word, { cpacr }), SIGTRAP, hex(word));
});

test('both are off where FPEXC.EN is clear, and in User mode where only privileged code has access', () => {
  for (const word of [...simd, ...vfp]) {
    assert.equal(signalOf(word, { fpexc: 0 }), SIGILL, hex(word));
    assert.equal(signalOf(word, { cpacr: 0x5 << 20 }), SIGILL, hex(word));
    assert.equal(signalOf(word, { cpacr: 0 }), SIGILL, hex(word));
  }
});
