import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import test from 'node:test';
import { defaultModel } from '../guest/arm/models.js';
import { parseRiscvCpu } from '../guest/riscv/models.js';
import { virtTree as armTree } from './arm/device-tree.js';
import { pciPlaces } from './arm/memory-map.js';
import { flattenTree, twoCells } from './fdt.js';
import { virtTree } from './riscv/device-tree.js';

const hasDtc = spawnSync('dtc', ['--version']).status === 0;
const skip = hasDtc ? false : 'dtc (package device-tree-compiler) is not installed';

/** What dtc reads out of a tree; its complaints are failures. */
function decompile(tree: Uint8Array): string {
  const ran = spawnSync('dtc', ['-I', 'dtb', '-O', 'dts', '-'], { input: tree, encoding: 'utf8' });
  assert.equal(ran.status, 0, ran.stderr);
  assert.equal(ran.stderr, '');
  return ran.stdout;
}

test('every kind of property, as the specification lays it out (5.4)', () => {
  const tree = flattenTree({
    cells: [1, 0xffffffff],
    text: 'ab',
    texts: ['a', 'bc'],
    bytes: Uint8Array.of(1, 2, 3),
    empty: true,
    absent: undefined,
    'node@1': { cells: [] },
  });
  const view = new DataView(tree.buffer, tree.byteOffset, tree.length);
  const word = (at: number) => view.getUint32(at);
  assert.deepEqual([word(0), word(4), word(20), word(24)], [0xd00dfeed, tree.length, 17, 16]);
  const structure = word(8);
  const strings = word(12);
  assert.equal(structure % 4, 0);
  assert.equal(word(16) % 8, 0, 'the reservations are aligned to 8');
  assert.deepEqual([word(structure), word(structure + 4)], [1, 0], 'the root, without a name');
  // The first property: its length, its name's place, its cells.
  assert.deepEqual(
    [8, 12, 16, 20, 24].map((at) => word(structure + at)),
    [3, 8, 0, 1, 0xffffffff],
  );
  assert.equal(new TextDecoder().decode(tree.subarray(strings, strings + 6)), 'cells\0');
  assert.equal(word(strings - 4), 9, 'the structure ends with FDT_END');
  assert.equal(strings + word(32), tree.length);
  assert.equal(strings - structure, word(36));
});

test('a name is kept once', () => {
  const tree = flattenTree({ a: { name1: [1] }, b: { name1: [2] } });
  const text = new TextDecoder('latin1').decode(tree);
  assert.equal(text.indexOf('name1'), text.lastIndexOf('name1'));
});

test('numbers beyond 32 bits are two cells', () => {
  assert.deepEqual(twoCells(0x4_8000_0001), [4, 0x80000001]);
});

test('dtc reads it back', { skip }, () => {
  const dts = decompile(flattenTree({ a: [1, 2], list: ['x', 'yz'], flag: true, node: { value: [8] } }));
  assert.match(dts, /a = <0x01 0x02>;/);
  assert.match(dts, /list = "x\\0yz";|list = "x", "yz";/);
  assert.match(dts, /flag;/);
  assert.match(dts, /node \{\s+value = <0x08>;/);
});

test("the board's tree: dtc finds no fault, and devices are where they are", { skip }, () => {
  const dts = decompile(
    flattenTree(
      virtTree({
        model: parseRiscvCpu('rv64,zba=off'),
        harts: 2,
        aia: 'none',
        machineLevel: true,
        ramBytes: 0x1000_0000,
        commandLine: 'console=ttyS0 "quoted"',
        initrd: { start: 0x8800_0000, end: 0x8810_0000 },
        rngSeed: new Uint8Array(32),
        serial: true,
      }),
    ),
  );
  assert.match(dts, /bootargs = "console=ttyS0 \\"quoted\\"";/);
  assert.match(dts, /linux,initrd-start = <0x00 0x88000000>;/);
  assert.match(dts, /memory@80000000 \{\s+device_type = "memory";\s+reg = <0x00 0x80000000 0x00 0x10000000>;/);
  assert.match(
    dts,
    /riscv,isa = "rv64imafdc_zicbom_zicboz_zicntr_zicond_zicsr_zifencei_zfh_zfhmin_zbb_zbc_zbs_sstc_svadu";/,
  );
  assert.match(
    dts,
    /plic@c000000 \{[^}]*interrupts-extended = <0x04 0x0b 0x04 0x09 0x06 0x0b 0x06 0x09>;[^}]*riscv,ndev = <0x5f>;/,
  );
  assert.match(dts, /clint@2000000 \{[^}]*interrupts-extended = <0x04 0x03 0x04 0x07 0x06 0x03 0x06 0x07>;/);
  assert.match(dts, /cpu@1 \{[^}]*reg = <0x01>;/);
  assert.match(dts, /core1 \{\s+cpu = <0x05>;/);
  assert.match(dts, /virtio_mmio@10008000 \{[^}]*interrupts = <0x08>;/);
  assert.match(dts, /pci@30000000 \{[^}]*interrupt-map-mask = <0x1800 0x00 0x00 0x07>;/);
});

test('with an advanced interrupt architecture: domains, files, and who interrupts by which', { skip }, () => {
  const tree = (aia: 'aplic' | 'aplic-imsic', machineLevel: boolean) =>
    decompile(
      flattenTree(
        virtTree({
          model: parseRiscvCpu('rv64'),
          harts: 2,
          aia,
          machineLevel,
          ramBytes: 0x1000_0000,
          rngSeed: new Uint8Array(32),
          serial: true,
        }),
      ),
    );
  const direct = tree('aplic', true);
  assert.match(direct, /aplic@d000000 \{[^}]*phandle = <0x01>;[^}]*interrupts-extended = <0x04 0x09 0x06 0x09>;/);
  assert.match(
    direct,
    /aplic@c000000 \{[^}]*interrupts-extended = <0x04 0x0b 0x06 0x0b>;[^}]*riscv,num-sources = <0x60>;/,
  );
  assert.match(direct, /riscv,delegate = <0x01 0x01 0x60>;/);
  assert.match(direct, /serial@10000000 \{[^}]*interrupt-parent = <0x01>;\s+interrupts = <0x0a 0x04>;/);
  assert.match(direct, /interrupt-map = <0x00 0x00 0x00 0x01 0x01 0x20 0x04 0x00/);
  assert.doesNotMatch(direct, /imsics|plic@c000000 \{[^}]*sifive/);
  const messages = tree('aplic-imsic', true);
  assert.match(
    messages,
    /imsics@28000000 \{[^}]*interrupts-extended = <0x04 0x09 0x06 0x09>;[^}]*reg = <0x00 0x28000000 0x00 0x2000>;/,
  );
  assert.match(messages, /imsics@24000000 \{[^}]*riscv,num-ids = <0xff>;/);
  assert.match(messages, /aplic@d000000 \{[^}]*msi-parent = <0x102>;/);
  assert.match(messages, /pci@30000000 \{[^}]*msi-parent = <0x102>;/);
  assert.doesNotMatch(tree('aplic-imsic', false), /aplic@c000000|imsics@24000000/);
});

/** The tree of AArch64's board, as dtc reads it. */
const armText = (affinities: readonly number[], gic: Parameters<typeof armTree>[0]['gic']) =>
  decompile(
    flattenTree(
      armTree({
        model: defaultModel,
        affinities,
        gic,
        pci: pciPlaces({ narrow: false, highmem: true }),
        ramBytes: 0x1000_0000,
        commandLine: 'console=ttyAMA0',
        initrd: { start: 0x4800_0000, end: 0x4810_0000 },
        rngSeed: new Uint8Array(32),
        kaslrSeed: new Uint8Array(8),
        serial: true,
        narrow: false,
      }),
    ),
  );

test('the tree with a GICv3: redistributors, the ITS and what PCI sends to it', { skip }, () => {
  const dts = armText([0, 1, 0x100], { version: 3, its: true });
  assert.match(dts, /intc@8000000 \{[^}]*reg = <0x00 0x8000000 0x00 0x10000 0x00 0x80a0000 0x00 0xf60000>;/);
  assert.match(dts, /its@8080000 \{[^}]*phandle = <0x03>;[^}]*reg = <0x00 0x8080000 0x00 0x20000>;/);
  assert.match(dts, /msi-map = <0x00 0x03 0x00 0x10000>;/);
  assert.match(dts, /cpu@100 \{[^}]*reg = <0x100>;/);
  assert.match(dts, /interrupts = <0x01 0x0d 0x04 0x01 0x0e 0x04 0x01 0x0b 0x04 0x01 0x0a 0x04>;/);
  assert.doesNotMatch(armText([0], { version: 3, its: false }), /msi/);
});

test("the tree of AArch64's board: dtc finds no fault, and devices are where they are", { skip }, () => {
  const dts = armText([0, 1], { version: 2, its: true });
  assert.match(dts, /memory@40000000 \{\s+device_type = "memory";\s+reg = <0x00 0x40000000 0x00 0x10000000>;/);
  assert.match(dts, /cpu@1 \{[^}]*enable-method = "psci";/);
  assert.match(dts, /interrupts = <0x01 0x0d 0x304 0x01 0x0e 0x304 0x01 0x0b 0x304 0x01 0x0a 0x304>;/);
  assert.match(dts, /v2m@8020000 \{[^}]*reg = <0x00 0x8020000 0x00 0x1000>;/);
  assert.match(dts, /virtio_mmio@a003e00 \{[^}]*interrupts = <0x00 0x2f 0x04>;/);
  assert.match(dts, /pl011@9000000 \{[^}]*interrupts = <0x00 0x01 0x04>;/);
  assert.match(dts, /pcie@10000000 \{[^}]*interrupt-map = <0x00 0x00 0x00 0x01 0x02 0x00 0x00 0x00 0x03 0x04 /);
});
