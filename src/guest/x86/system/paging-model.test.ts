/**
 * The page walk against the manual's rules, written down here once more without regard to speed: Intel SDM vol. 3, 4.3-4.5
 * (structures), 4.6 (access rights), 4.7 (error codes), 4.8 (accessed and dirty flags). Random entries at every level.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Random } from '../../../dev/rows/case-generator.js';
import { X86Machine } from '../../../dev/x86-machine.js';
import { header } from '../../../ir/index.js';
import { mmuIndex } from '../mode.js';
import { field } from '../state.js';
import { cr0, cr4, efer } from './bits.js';
import { prot, walkKind } from './page-walk.js';

const P = 1n;
const RW = 2n;
const US = 4n;
const A = 0x20n;
const D = 0x40n;
const PS = 0x80n;
const G = 0x100n;
const NX = 1n << 63n;
/** Above any model's MAXPHYADDR. */
const BIT51 = 1n << 51n;

interface Level {
  /** Address bits below the index. */
  readonly shift: number;
  /** What PS means in an entry of this level. */
  readonly ps: 'page' | 'reserved' | 'ignored';
}
interface Paging {
  readonly name: string;
  readonly entryBytes: 4 | 8;
  readonly levels: readonly Level[];
  readonly control4: number;
  readonly extended: number;
}
const top: Level = { shift: 39, ps: 'reserved' };
const low: readonly Level[] = [
  { shift: 21, ps: 'page' },
  { shift: 12, ps: 'ignored' },
];
const pagings: readonly Paging[] = [
  {
    name: '32-bit',
    entryBytes: 4,
    levels: [
      { shift: 22, ps: 'ignored' },
      { shift: 12, ps: 'ignored' },
    ],
    control4: 0,
    extended: 0,
  },
  {
    name: '32-bit with PSE',
    entryBytes: 4,
    levels: [
      { shift: 22, ps: 'page' },
      { shift: 12, ps: 'ignored' },
    ],
    control4: cr4.PSE,
    extended: 0,
  },
  { name: 'PAE', entryBytes: 8, levels: low, control4: cr4.PAE, extended: 0 },
  {
    name: '4-level',
    entryBytes: 8,
    levels: [top, { shift: 30, ps: 'page' }, ...low],
    control4: cr4.PAE,
    extended: efer.LME | efer.LMA,
  },
  {
    name: '5-level',
    entryBytes: 8,
    levels: [{ shift: 48, ps: 'reserved' }, top, { shift: 30, ps: 'page' }, ...low],
    control4: cr4.PAE | cr4.LA57,
    extended: efer.LME | efer.LMA,
  },
];

interface Case {
  readonly va: bigint;
  readonly kind: number;
  readonly mmu: number;
  readonly wp: boolean;
  readonly smep: boolean;
  readonly smap: boolean;
  readonly nxe: boolean;
  readonly pge: boolean;
  /** By level, from the top. */
  readonly entries: readonly bigint[];
}

type Verdict = { readonly error: number } | { readonly gpa: bigint; readonly leaf: number; readonly granted: number };

/** What the manual says of an access. */
function judge(paging: Paging, c: Case): Verdict {
  const user = c.mmu === mmuIndex.user;
  const write = c.kind === walkKind.write;
  const fetch = c.kind === walkKind.fetch;
  const wide = paging.entryBytes === 8;
  const fault = (present: boolean, reserved: boolean): Verdict => ({
    error:
      (present ? 1 : 0) |
      (write ? 2 : 0) |
      (user ? 4 : 0) |
      (reserved ? 8 : 0) |
      (fetch && ((c.nxe && wide) || c.smep) ? 16 : 0),
  });
  for (const [i, level] of paging.levels.entries()) {
    const entry = c.entries[i];
    if (!(entry & P)) return fault(false, false);
    const isPage = i === paging.levels.length - 1 || (level.ps === 'page' && (entry & PS) !== 0n);
    const offsetMask = (1n << BigInt(level.shift)) - 1n;
    let reserved = 0n;
    if (wide) {
      reserved |= BIT51;
      if (!c.nxe) reserved |= NX;
      if (paging.name === 'PAE') reserved |= 0x7ff0_0000_0000_0000n;
      if (level.ps === 'reserved') reserved |= PS;
      if (isPage && level.shift > 12) reserved |= offsetMask & ~0x1fffn;
    } else if (isPage && level.shift === 22) reserved |= 1n << 21n;
    if (entry & reserved) return fault(true, true);
    if (!isPage) continue;
    const used = c.entries.slice(0, i + 1);
    const all = (bit: bigint) => used.every((one) => (one & bit) !== 0n);
    const userPage = all(US);
    const writable = all(RW);
    const executable = !(wide && c.nxe) || used.every((one) => !(one & NX));
    const smapStops = c.smap && c.mmu !== mmuIndex.supervisorAc && userPage;
    const rights = user
      ? [userPage, userPage && writable, userPage && executable]
      : [!smapStops, !smapStops && (writable || !c.wp), executable && !(c.smep && userPage)];
    if (!rights[c.kind]) return fault(true, false);
    const frame = wide
      ? entry & 0x000f_ffff_ffff_f000n & ~offsetMask
      : level.shift === 22
        ? (entry & 0xffc00000n) | ((entry & 0x1fe000n) << 19n)
        : entry & 0xfffff000n;
    const dirty = write || (entry & D) !== 0n;
    const granted =
      (rights[0] ? prot.read : 0) |
      (rights[1] && dirty ? prot.write : 0) |
      (rights[2] ? prot.exec : 0) |
      (c.pge && entry & G ? prot.global : 0);
    return { gpa: frame | (c.va & offsetMask), leaf: i, granted };
  }
  throw new Error('a walk ends at a page');
}

const TABLES = 0x10000;

function randomCase(random: Random, paging: Paging): Case {
  const wide = paging.entryBytes === 8;
  const bits = paging.levels[0].shift + (wide ? 9 : 10);
  let va = (BigInt(random.next()) << 32n) | BigInt(random.next());
  va = paging.levels.length > 3 ? BigInt.asIntN(bits, va) : va & 0xffffffffn;
  const entries = paging.levels.map((level, i) => {
    const last = i === paging.levels.length - 1;
    let entry = last ? (BigInt(random.next() & 0x3ff) << 12n) | 0x40000000n : BigInt(TABLES + 4096 * (i + 1));
    const mostly = (bit: bigint, probability: number) => {
      if (random.chance(probability)) entry |= bit;
    };
    mostly(P, 0.94);
    mostly(RW, 0.75);
    mostly(US, 0.75);
    mostly(A, 0.5);
    mostly(D, 0.5);
    mostly(G, 0.3);
    if (level.ps === 'page' && random.chance(0.3)) {
      entry = (entry & 0x1ffn) | PS | (1n << BigInt(level.shift)) | (random.chance(0.2) ? 1n << 12n : 0n);
      if (random.chance(0.15)) entry |= wide ? 1n << 13n : random.pick([1n << 13n, 1n << 21n]);
    } else if (random.chance(level.ps === 'page' ? 0 : 0.06)) entry |= PS;
    if (wide) {
      mostly(NX, 0.12);
      mostly(BIT51, 0.02);
    }
    return entry;
  });
  return {
    va,
    kind: random.below(3),
    mmu: random.below(3),
    wp: random.chance(0.5),
    smep: random.chance(0.5),
    smap: random.chance(0.5),
    nxe: wide && random.chance(0.7),
    pge: random.chance(0.5),
    entries,
  };
}

for (const paging of pagings) {
  test(`${paging.name} paging does what the manual says`, () => {
    const machine = new X86Machine({ cpu: 'max' });
    const { vcpu } = machine.cpu;
    const ram = new DataView(machine.ram.buffer, machine.ram.byteOffset, machine.ram.byteLength);
    const random = new Random(Number(process.env['VRING_SEED'] ?? 1) + paging.levels.length + paging.control4);
    const seen = { faults: 0, pages: 0 };
    for (let round = 0; round < 6000; round++) {
      const c = randomCase(random, paging);
      const indexMask = paging.entryBytes === 8 ? 511n : 1023n;
      const places = paging.levels.map(
        ({ shift }, i) => TABLES + 4096 * i + paging.entryBytes * Number((c.va >> BigInt(shift)) & indexMask),
      );
      const read = (at: number) =>
        paging.entryBytes === 8 ? ram.getBigUint64(at, true) : BigInt(ram.getUint32(at, true));
      for (const [i, at] of places.entries()) {
        if (paging.entryBytes === 8) ram.setBigUint64(at, c.entries[i], true);
        else ram.setUint32(at, Number(c.entries[i]), true);
      }
      vcpu.set32(field.cr0, cr0.PE | cr0.PG | (c.wp ? cr0.WP : 0));
      vcpu.set32(
        field.cr4,
        paging.control4 | (c.smep ? cr4.SMEP : 0) | (c.smap ? cr4.SMAP : 0) | (c.pge ? cr4.PGE : 0),
      );
      vcpu.set32(field.efer, paging.extended | (c.nxe ? efer.NXE : 0));
      vcpu.set64(field.cr3, BigInt(TABLES));
      for (let i = 0; i < 4; i++) vcpu.set64(field.pdpte + 8 * i, BigInt(TABLES) | P);
      const expected = judge(paging, c);
      const [fault, gpa, granted] = vcpu.call('page_walk', BigInt.asIntN(64, c.va), c.kind, c.mmu) as [
        number,
        bigint,
        number,
      ];
      const what = () =>
        `round ${round}: ${JSON.stringify(c, (_, v) => (typeof v === 'bigint' ? `0x${v.toString(16)}` : v))}`;
      if ('error' in expected) {
        seen.faults++;
        assert.equal(fault, 1, what());
        assert.equal(vcpu.get32(header.trapCode) & 0xff, 14, what());
        assert.equal(vcpu.get32(header.trapCode) >>> 16, expected.error, what());
        assert.equal(vcpu.get64(field.cr2), BigInt.asUintN(64, c.va), what());
        // Only accessed flags may have been set on the way.
        for (const [i, at] of places.entries()) assert.equal(read(at) & ~A, c.entries[i] & ~A, what());
        continue;
      }
      seen.pages++;
      assert.equal(fault, 0, what());
      assert.equal(BigInt.asUintN(64, gpa), expected.gpa, what());
      assert.equal(granted & (prot.read | prot.write | prot.exec | prot.global), expected.granted, what());
      for (const [i, at] of places.entries()) {
        if (i > expected.leaf) assert.equal(read(at), c.entries[i], what());
        else if (i < expected.leaf) assert.equal(read(at), c.entries[i] | A, what());
        else assert.equal(read(at), c.entries[i] | A | (c.kind === walkKind.write ? D : 0n), what());
      }
    }
    assert.ok(seen.faults > 500 && seen.pages > 500, JSON.stringify(seen));
  });
}
