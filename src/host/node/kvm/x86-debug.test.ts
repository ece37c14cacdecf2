/** Expected register values are written from the Intel SDM, vol. 3, 18.2.4 to 18.2.6. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Watchpoint } from '../../../accel/index.js';
import { dataSlots, X86DebugSlots } from './x86-debug.js';

const watch = (kind: Watchpoint['kind'], address: bigint, length: number): Watchpoint => ({ kind, address, length });

function registers(request: Uint8Array) {
  const view = new DataView(request.buffer);
  const dr = Array.from({ length: 8 }, (_, i) => view.getBigUint64(8 + 8 * i, true));
  return { control: view.getUint32(0, true), addresses: dr.slice(0, 4), dr7: dr[7] };
}

test('watchpoints are covered by aligned pieces of 1, 2, 4 and 8 bytes', () => {
  const pieces = (address: bigint, length: number) =>
    dataSlots([watch('write', address, length)])?.map(({ address: at, size }) => [at, size]);
  assert.deepEqual(pieces(0x1000n, 8), [[0x1000n, 8]]);
  assert.deepEqual(pieces(0x1004n, 8), [
    [0x1004n, 4],
    [0x1008n, 4],
  ]);
  assert.deepEqual(pieces(0x1001n, 7), [
    [0x1001n, 1],
    [0x1002n, 2],
    [0x1004n, 4],
  ]);
  assert.equal(pieces(0x1000n, 32)?.length, 4);
  assert.equal(pieces(0x1000n, 33), undefined, 'there are four places');
  assert.equal(pieces(0x1000n, 2 ** 32), undefined);
  assert.equal(dataSlots([watch('read', 0x1000n, 4)]), undefined, 'no processor breaks on reads alone');
});

test('debug registers of watchpoints beside breakpoints', () => {
  const written = watch('write', 0x2000n, 4);
  const used = watch('access', 0x3000n, 8);
  const slots = new X86DebugSlots(new Set([0x100000n, 0x100010n]), [written, used]);
  assert.equal(slots.isStepwise, false);
  const { control, addresses, dr7 } = registers(slots.request(false));
  assert.equal(control, 0x20001, 'KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_USE_HW_BP');
  assert.deepEqual(addresses, [0x2000n, 0x3000n, 0x100000n, 0x100010n]);
  // G0 to G3; R/W0 01 and LEN0 11: writes of 4 bytes; R/W1 11 and LEN1 10: reads and writes of 8; the others 0000: instructions.
  assert.equal(dr7, 0x400n | 0xaan | (0b1101n << 16n) | (0b1011n << 20n));
  assert.equal(slots.hit(0xffff0ff1n), written);
  assert.equal(slots.hit(0xffff0ff2n), used);
  assert.equal(slots.hit(0xffff0ff4n), undefined, 'a breakpoint');
});

test('with more breakpoints than there is room for the guest goes step by step, and data is watched still', () => {
  const slots = new X86DebugSlots(new Set([1n, 2n, 3n, 4n]), [watch('write', 0x2000n, 1)]);
  assert.equal(slots.isStepwise, true);
  const { control, addresses, dr7 } = registers(slots.request(true));
  assert.equal(control, 0x20003, 'and KVM_GUESTDBG_SINGLESTEP');
  assert.deepEqual(addresses, [0x2000n, 0n, 0n, 0n]);
  assert.equal(dr7, 0x400n | 0x02n | (0b0001n << 16n));
});

test('nothing wanted: the guest has its debug registers', () => {
  const slots = new X86DebugSlots();
  assert.equal(slots.isEmpty, true);
  assert.equal(registers(slots.request(false)).control, 0);
});
