/** The device trees that `-M virt,dumpdtb=` writes: those of QEMU, node by node and property by property, but for what is listed. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { FdtNode } from '../machine/fdt.js';
import { parseTree } from '../machine/fdt-parse.js';

const MAIN = fileURLToPath(new URL('../cli/main.js', import.meta.url));

/** Numbers that each tree gives its nodes, and what names nodes by them; numbers by chance. */
const ownNumbers =
  /[:](phandle|interrupt-parent|interrupt-map|interrupts-extended|msi-parent|msi-map|clocks|gpios|regmap|cpu|.*seed|riscv,(children|delegate))$/;
/** A bus that no device is ever on; counters that harts do not have; that PCI is coherent is said of all. */
const left = [
  /^platform-bus@/,
  /^pmu:/,
  /^:dma-coherent$/,
  // Levels, where QEMU says edges: an acknowledgement cannot lose one.
  /^virtio_mmio@a[0-9a-f]+:interrupts$/,
];
const leftOfRiscv = [
  // The CPU's own: what it has, and in which words.
  /^cpus\/cpu@\d+:(riscv,.*|mmu-type)$/,
  /^cpus\/cpu@\d+\/interrupt-controller:#address-cells$/,
  /^:model$/,
  /plic@c000000:riscv,ndev$/,
  // Linux's binding has these since.
  /imsics@[0-9a-f]+:(#msi-cells|#address-cells)$/,
  /aplic@[0-9a-f]+:#address-cells$/,
];
/** Where AArch32 has its configuration space: what has no LPAE reaches it too. */
const leftOfArm = [/^pcie@10000000:(reg|bus-range)$/, /^timer:compatible$/];

function properties(file: string): Map<string, string> {
  const found = new Map<string, string>();
  const visit = (node: FdtNode, path: string) => {
    for (const [name, value] of Object.entries(node))
      if (value instanceof Uint8Array) found.set(`${path}:${name}`, Buffer.from(value).toString('latin1'));
      else visit(value as FdtNode, path === '' ? name : `${path}/${name}`);
  };
  visit(parseTree(readFileSync(file)).root, '');
  return found;
}

for (const [name, differences, cases] of [
  ['riscv64', leftOfRiscv, ['', ',aia=aplic', ',aia=aplic-imsic']],
  [
    'aarch64',
    [],
    [
      '',
      ',highmem=off',
      ',dtb-randomness=off',
      ',gic-version=3',
      ',gic-version=3,its=off,virtualization=on',
      ',secure=on',
    ],
  ],
  ['arm', leftOfArm, ['']],
] as const) {
  const qemu = `qemu-system-${name}`;
  const skip = spawnSync(qemu, ['--version']).status === 0 ? false : `${qemu} is not installed`;
  for (const options of cases)
    test(`${name}: -M virt${options}`, { skip, timeout: 60_000 }, () => {
      const directory = mkdtempSync(join(tmpdir(), 'vring-trees-'));
      try {
        const dump = (command: readonly string[], file: string) => {
          const cpu = name === 'aarch64' ? ['-cpu', 'cortex-a57'] : [];
          const arguments_ = [
            ...command.slice(1),
            '-M',
            `virt${options},dumpdtb=${file}`,
            ...cpu,
            '-smp',
            '3',
            '-m',
            '256',
          ];
          const { status, stderr } = spawnSync(command[0], arguments_, {
            encoding: 'utf8',
          });
          assert.equal(status, 0, stderr);
          assert.match(stderr, new RegExp(`info: dtb dumped to ${file}\\. Exiting\\.`));
          return properties(file);
        };
        const ours = dump([process.execPath, MAIN, 'run', '--arch', name], join(directory, 'ours'));
        const theirs = dump([qemu, '-nographic'], join(directory, 'theirs'));
        const allowed = [...left, ...differences];
        const others = [...new Set([...ours.keys(), ...theirs.keys()])].filter((key) =>
          ownNumbers.test(key)
            ? ours.has(key) !== theirs.has(key) && !allowed.some((each) => each.test(key))
            : ours.get(key) !== theirs.get(key) && !allowed.some((each) => each.test(key)),
        );
        assert.deepEqual(others, []);
        if (options.includes('randomness')) assert.ok(![...ours.keys()].some((key) => key.endsWith('seed')));
      } finally {
        rmSync(directory, { recursive: true, force: true });
      }
    });
}
