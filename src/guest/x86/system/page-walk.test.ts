import assert from 'node:assert/strict';
import test from 'node:test';
import { X86Machine } from '../../../dev/x86-machine.js';
import { header } from '../../../ir/index.js';
import { mmuIndex } from '../mode.js';
import { field } from '../state.js';
import { cr0, cr4, efer } from './bits.js';
import { walkKind } from './page-walk.js';

const NX = 1n << 63n;

function machine(control4: number, extended: number, cpu = 'max') {
  const m = new X86Machine({ cpu });
  const { vcpu } = m.cpu;
  const ram = new DataView(m.ram.buffer, m.ram.byteOffset, m.ram.byteLength);
  vcpu.set32(field.cr0, cr0.PE | cr0.PG | cr0.WP);
  vcpu.set32(field.cr4, control4);
  vcpu.set32(field.efer, extended);
  vcpu.set64(field.cr3, 0x1000n);
  return {
    vcpu,
    put: (gpa: number, entry: bigint) => ram.setBigUint64(gpa, entry, true),
    get: (gpa: number) => ram.getBigUint64(gpa, true),
    /** [gpa, rights], or what the fault is: vector and error code. */
    walk(va: bigint, kind: number, mmu: number): [bigint, number] | string {
      const [fault, gpa, rights] = vcpu.call('page_walk', BigInt.asIntN(64, va), kind, mmu) as [number, bigint, number];
      if (fault === 0) return [gpa, rights];
      const code = vcpu.get32(header.trapCode);
      return `${code & 0xff} ${code >>> 16}`;
    },
  };
}

test('PAE: the four PDPTEs come from registers, NX and 2 MiB pages work, upper bits are reserved', () => {
  const { vcpu, put, get, walk } = machine(cr4.PAE | cr4.PGE, efer.NXE);
  vcpu.set64(field.pdpte + 24, 0x2001n);
  put(0x2000, 0x3027n);
  put(0x3000, 0x5007n | NX);
  put(0x3008, 0x6001n | 0x100n);
  put(0x2008, 0x0020_0087n);
  put(0x2010, 0x3007n | (1n << 52n));
  // A page that is not dirty does not grant writes.
  assert.deepEqual(walk(0xc0000123n, walkKind.read, mmuIndex.user), [0x5123n, 1]);
  assert.equal(get(0x3000), 0x5027n | NX);
  assert.deepEqual(walk(0xc0000123n, walkKind.write, mmuIndex.user), [0x5123n, 3]);
  assert.equal(get(0x3000), 0x5067n | NX);
  assert.equal(walk(0xc0000123n, walkKind.fetch, mmuIndex.user), '14 21');
  // Supervisor, read-only, global: rights read, exec, global.
  assert.deepEqual(walk(0xc0001000n, walkKind.fetch, mmuIndex.supervisor), [0x6000n, 1 | 4 | 8]);
  assert.equal(walk(0xc0001000n, walkKind.write, mmuIndex.supervisor), '14 3');
  assert.equal(walk(0xc0001000n, walkKind.read, mmuIndex.user), '14 5');
  assert.deepEqual(walk(0xc0212345n, walkKind.write, mmuIndex.user), [0x212345n, 7]);
  assert.equal(walk(0xc0400000n, walkKind.read, mmuIndex.user), '14 13');
  assert.equal(walk(0x40000000n, walkKind.write, mmuIndex.user), '14 6');
  assert.equal(vcpu.get64(field.cr2), 0x40000000n);
});

test('5-level: 57 bits are canonical, the top table is used', () => {
  const { put, walk } = machine(cr4.PAE | cr4.LA57, efer.LMA | efer.LME);
  const va = 0x0012_3456_7000_0abcn;
  put(0x1000 + 8 * Number((va >> 48n) & 511n), 0x2007n);
  put(0x2000 + 8 * Number((va >> 39n) & 511n), 0x3007n);
  put(0x3000 + 8 * Number((va >> 30n) & 511n), 0x4007n);
  put(0x4000 + 8 * Number((va >> 21n) & 511n), 0x5007n);
  put(0x5000 + 8 * Number((va >> 12n) & 511n), 0x9007n);
  assert.deepEqual(walk(va, walkKind.write, mmuIndex.user), [0x9abcn, 7]);
  assert.equal(walk(1n << 56n, walkKind.read, mmuIndex.user), '13 0');
  assert.equal(walk(va | (1n << 60n), walkKind.read, mmuIndex.user), '13 0');
});

test('without pdpe1gb PS in a PDPTE is reserved; without NXE so is NX', () => {
  const { put, walk } = machine(cr4.PAE, efer.LMA | efer.LME, 'max,-pdpe1gb');
  put(0x1000, 0x2007n);
  put(0x2000, 0x87n);
  put(0x2008, 0x3007n | NX);
  assert.equal(walk(0x1234n, walkKind.read, mmuIndex.user), '14 13');
  assert.equal(walk(0x4000_0000n, walkKind.read, mmuIndex.supervisor), '14 9');
});

test('the A20 gate masks addresses', () => {
  const m = new X86Machine();
  const walk = (va: bigint) => (m.cpu.vcpu.call('page_walk', va, 0, 1) as [number, bigint, number])[1];
  assert.equal(walk(0x10_0010n), 0x10_0010n);
  m.cpu.setA20(false);
  assert.equal(walk(0x10_0010n), 0x10n);
  m.cpu.setA20(true);
  assert.equal(walk(0x10_0010n), 0x10_0010n);
});
