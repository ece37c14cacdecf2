import assert from 'node:assert/strict';
import test from 'node:test';
import { TestPc } from './testing/test-pc.js';

test('x2APIC mode is entered only where the CPU model has it', () => {
  const enters = (cpu: string): boolean => new TestPc({ cpu }).pc.lapic.writeMsr(0x1b, 0xfee00d00n);
  assert.equal(enters('qemu64'), true);
  assert.equal(enters('qemu64,-x2apic'), false);
});
