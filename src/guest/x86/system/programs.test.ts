/** Guest programs for real mode, rings, gates, tasks, virtual-8086 mode, paging and long mode: see testdata/README.md. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import test from 'node:test';
import { X86Machine } from '../../../dev/x86-machine.js';

const testdata = new URL('../../../../src/guest/x86/system/testdata/', import.meta.url);
const RESET_VECTOR = [0xea, 0x00, 0x00, 0x00, 0xf0];

function image(name: string): Uint8Array {
  const hex = readFileSync(new URL(`${name}.hex`, testdata), 'latin1').replace(/\s/g, '');
  const bytes = new Uint8Array(0x10000);
  for (let i = 0; i < hex.length; i += 2) bytes[i >> 1] = Number.parseInt(hex.slice(i, i + 2), 16);
  bytes.set(RESET_VECTOR, 0xfff0);
  return bytes;
}

const names = readdirSync(testdata)
  .filter((file) => file.endsWith('.hex'))
  .map((file) => file.slice(0, -4));

for (const name of names) {
  for (const [tier, hotThreshold] of [
    ['cold tier', 0],
    ['regions', 2],
  ] as const) {
    test(`${name}, ${tier}`, () => {
      const machine = new X86Machine({ hotThreshold });
      machine.loadFirmware(image(name));
      assert.equal(machine.run(), 'exit');
      const expected = readFileSync(new URL(`${name}.expected`, testdata), 'latin1');
      assert.deepEqual(machine.output.split('\n'), expected.split('\n'));
    });
  }
}
