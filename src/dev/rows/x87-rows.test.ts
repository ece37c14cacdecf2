/** x87 rows, FXSAVE and FXRSTOR on both tiers against the real processor. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { x87Function } from '../../guest/x86/routines/x87-functions.js';
import { field } from '../../guest/x86/state.js';
import { x87Rows } from '../../guest/x86/table/x87.js';
import { xsaveRows } from '../../guest/x86/table/xsave.js';
import { NativeRunner, nativeUnavailable } from './native-runner.js';
import { RowMachine } from './row-machine.js';
import { rowSeed, testRow } from './row-test.js';

/** Has the transcendental functions, and starts each case with the pointers of the case's image: 0. */
class X87Machine extends RowMachine {
  override hostRoutines(): Record<string, (...args: never[]) => unknown> {
    return { ...super.hostRoutines(), x87_function: x87Function };
  }

  override writeCode(va: number, code: Uint8Array): void {
    this.state.setBigUint64(field.fpIp, 0n, true);
    this.state.setBigUint64(field.fpDp, 0n, true);
    this.state.setInt32(field.fpOpcode, 0, true);
    super.writeCode(va, code);
  }
}

/** They load more than the cases fill: table/xsave.test.ts has them. */
const loadsWholeArea = /^(FRSTOR|FXRSTOR)$/;

const seed = Number(process.env['VRING_SEED'] ?? Math.floor(Date.now() / 86_400_000));
const skip = nativeUnavailable() ?? false;
const native = skip ? undefined : new NativeRunner();
const machines = skip
  ? []
  : [
      { name: 'cold tier', machine: new X87Machine(0), hot: false, share: 1 },
      { name: 'compiled code', machine: new X87Machine(2), hot: true, share: 0.25 },
    ];
after(() => native?.close());

test(`x87 instructions do what the processor does (seed ${seed})`, { skip }, () => {
  assert.ok(native);
  const failures: string[] = [];
  for (const row of [...x87Rows, ...xsaveRows.filter(({ name }) => name === 'FXSAVE')]) {
    if (loadsWholeArea.test(row.name)) continue;
    failures.push(...testRow(row, rowSeed(row, seed), 24, native, machines).failures);
  }
  assert.equal(failures.length, 0, `${failures.length} differences, the first:\n${failures.slice(0, 3).join('\n')}`);
});
