import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../hw/testing.js';
import { type FdtNode, flattenTree } from './fdt.js';
import { completeTree, parseTree } from './fdt-parse.js';

const tree: FdtNode = {
  compatible: ['a', 'b'],
  flag: true,
  chosen: { bootargs: 'theirs', other: [1] },
  node: { value: [1, 2, 3], text: 'x', deep: { deeper: { data: Uint8Array.of(1, 2, 3) } } },
};

test('a tree is read back as it was made, with its reservations', () => {
  const reservations = [
    [0x8000_0000n, 0x1000n],
    [1n << 40n, 5n],
  ] as const;
  const flat = flattenTree(tree, reservations);
  const parsed = parseTree(flat);
  assert.deepEqual(parsed.reservations, reservations);
  assert.deepEqual(flattenTree(parsed.root, parsed.reservations), flat);
});

test('command line, initrd and RAM are added to a tree; what else it says stays', () => {
  const own: FdtNode = {
    chosen: { bootargs: 'ours', 'stdout-path': '/x', 'linux,initrd-start': [0, 1], 'linux,initrd-end': [0, 2] },
    'memory@40000000': { device_type: 'memory', reg: [0, 1, 2, 3] },
    cpus: {},
  };
  const whole = completeTree(parseTree(flattenTree(tree)).root, own);
  const expected: FdtNode = {
    ...tree,
    'memory@40000000': own['memory@40000000'],
    chosen: { bootargs: 'ours', other: [1], 'linux,initrd-start': [0, 1], 'linux,initrd-end': [0, 2] },
  };
  const sorted = (flat: Uint8Array) => parseTree(flat).root;
  assert.deepEqual(sorted(flattenTree(whole)), sorted(flattenTree(expected)));
  const withMemory = { ...tree, 'memory@0': { reg: [0] } };
  assert.equal(completeTree(withMemory, own)['memory@40000000'], undefined);
});

test('what is no device tree, or a damaged one, is refused; random damage never does more', () => {
  const flat = flattenTree(tree);
  assert.throws(() => parseTree(new Uint8Array(10)), /no flattened device tree/);
  assert.throws(() => parseTree(Uint8Array.from(flat, (byte, i) => (i === 0 ? 0 : byte))), /no flattened device tree/);
  assert.throws(() => parseTree(flat.subarray(0, flat.length - 1)), /damaged: it says that it has/);
  let deep: FdtNode = {};
  for (let n = 0; n < 100; n++) deep = { n: deep };
  assert.throws(() => parseTree(flattenTree(deep)), /lie deeper than 64/);
  const random = seededRandom(1);
  for (let n = 0; n < 3000; n++) {
    const bytes = flat.slice();
    for (let k = 0; k < 1 + random(6); k++) bytes[random(bytes.length)] = random(256);
    try {
      parseTree(bytes);
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'boot-tree');
    }
  }
});
