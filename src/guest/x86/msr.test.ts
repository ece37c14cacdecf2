import assert from 'node:assert/strict';
import test from 'node:test';
import { parseCpuOption } from './models.js';
import { type MsrContext, readMsr, writeMsr } from './msr.js';

/** For registers that have no state. */
function context(model: string): { at: MsrContext; unknown: string[] } {
  const unknown: string[] = [];
  const board = { unimplemented: (what: string) => unknown.push(what) };
  return { at: { model: parseCpuOption(model), board } as unknown as MsrContext, unknown };
}

test("AMD's four performance counters are there without a bit of CPUID, and count nothing (APM vol. 2, 13.2)", () => {
  const { at, unknown } = context('qemu64');
  for (let index = 0xc0010000; index < 0xc0010008; index++) {
    assert.equal(writeMsr(at, index, 0x430076n), true);
    assert.equal(readMsr(at, index), 0n);
  }
  assert.deepEqual(unknown, []);
});

test('IA32_PERF_STATUS cannot be written; what no processor has is told by name', () => {
  const { at, unknown } = context('Nehalem');
  assert.equal(readMsr(at, 0x198), 0x400000003e8n);
  assert.equal(writeMsr(at, 0x198, 0n), false);
  assert.equal(readMsr(at, 0x4b564dff), undefined);
  assert.equal(writeMsr(at, 0x4b564dff, 0n), false);
  assert.deepEqual(unknown, ['RDMSR 0x4b564dff', 'WRMSR 0x4b564dff']);
});

test("what the local APIC has beyond a model's features cannot be read or written", () => {
  const board = { interrupts: { readMsr: () => 5n, writeMsr: () => true } };
  const answers = (model: string, index: number) => {
    const at = { model: parseCpuOption(model), board } as unknown as MsrContext;
    return [readMsr(at, index), writeMsr(at, index, 0n)];
  };
  for (const [index, feature] of [
    [0x1b, 'apic'],
    [0x6e0, 'tsc-deadline'],
    [0x802, 'x2apic'],
  ] as const) {
    assert.deepEqual(answers('max', index), [5n, true], feature);
    assert.deepEqual(answers(`max,-${feature}`, index), [undefined, false], feature);
  }
});
