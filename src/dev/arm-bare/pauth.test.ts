/** Pointer authentication by the architected algorithm, against QEMU: random pointers, modifiers, keys and translation controls. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseArmCpu } from '../../guest/arm/models.js';
import { Random } from '../random-operands.js';
import { DATA, OUT, Program, RAM } from './program.js';
import { bareUnavailable, end, runHere, runOnQemu } from './run.js';

const seed = Number(process.env['VRING_SEED'] ?? Math.floor(Date.now() / 86_400_000));
const CASES = Number(process.env['VRING_PAC_CASES'] ?? 100);
const ENABLED = (1n << 31n) | (1n << 30n) | (1n << 27n) | (1n << 13n);
const KEYS = ['APIA', 'APIB', 'APDA', 'APDB', 'APGA'];

const changed: readonly (readonly [string, 'modifier' | 'none'])[] = [
  ...['pacia', 'pacib', 'pacda', 'pacdb', 'autia', 'autib', 'autda', 'autdb'].map(
    (name) => [name, 'modifier'] as const,
  ),
  ...['paciza', 'pacizb', 'pacdza', 'pacdzb', 'autiza', 'autizb', 'autdza', 'autdzb', 'xpaci', 'xpacd'].map(
    (name) => [name, 'none'] as const,
  ),
];
/** What a case leaves, by name. */
const names: string[] = [];

/** X19 counts, X20 and X21 are where numbers come from and go to; X1 is the pointer, X2 the modifier. */
function program(): Program {
  const p = new Program();
  p.set(20, DATA);
  p.set(21, OUT);
  p.set(19, CASES);
  p.write('SCTLR_EL1', ENABLED | 0x30d00800n);
  const loop = p.here;
  p.next('ldr', 3, 20);
  p.msr('TCR_EL1', 3);
  for (const half of ['Lo', 'Hi']) {
    p.next('ldr', 4, 20);
    for (const [n, key] of KEYS.entries()) {
      p.msr(`${key}Key${half}_EL1`, 4);
      p.put('add rd|sp, rn|sp, imm', { rd: 4, rn: 4, sf: 1, imm: 0x123 + n });
    }
  }
  p.put('isb imm', { imm: 15 });
  p.next('ldr', 1, 20);
  p.next('ldr', 2, 20);
  const leave = (rd: number, name: string) => {
    p.next('str', rd, 21);
    names.push(name);
  };
  for (const [name, kind] of changed) {
    p.move(5, 1);
    if (kind === 'none') p.put(`${name} xd`, { rd: 5 });
    else p.put(`${name} xd, xn|sp`, { rd: 5, rn: 2 });
    leave(5, name);
    if (!name.startsWith('pac')) continue;
    const other = name.replace('pac', 'aut');
    // Signed and checked, by the right key and by another one.
    for (const check of [other, other === 'autia' ? 'autib' : 'autia']) {
      p.move(6, 5);
      if (check.length === 6) p.put(`${check} xd`, { rd: 6 });
      else p.put(`${check} xd, xn|sp`, { rd: 6, rn: 2 });
      leave(6, `${name} ${check}`);
    }
  }
  p.put('pacga xd, xn, xm|sp', { rd: 7, rn: 1, rm: 2 });
  leave(7, 'pacga');
  p.put('add rd|sp, rn|sp, imm', { rd: 31, rn: 2, sf: 1 });
  for (const name of ['paciasp', 'autiasp', 'pacibsp', 'autibsp', 'paciaz', 'autiaz', 'pacibz', 'autibz', 'xpaclri']) {
    p.move(30, 1);
    p.put(name);
    leave(30, name);
  }
  p.move(16, 2);
  for (const name of ['pacia1716', 'autia1716', 'pacib1716', 'autib1716']) {
    p.move(17, 1);
    p.put(name);
    leave(17, name);
  }
  p.put('subs rd, rn|sp, imm', { rd: 19, rn: 19, imm: 1, sf: 1 });
  p.branch('b. cond', loop, { cond: 1 });
  branches(p);
  end(p);
  return p;
}

/** Loads and branches that check their address, right ones; each leaves where it came to, or what it has loaded. */
function branches(p: Program): void {
  p.write('TCR_EL1', 16n | (16n << 16n) | (2n << 30n) | (5n << 32n));
  p.put('isb imm', { imm: 15 });
  p.set(2, 0x1234_5678_9abcn);
  p.put('add rd|sp, rn|sp, imm', { rd: 31, rn: 2, sf: 1 });
  for (const [n, [load, sign]] of (
    [
      ['ldraa', 'pacdza'],
      ['ldrab', 'pacdzb'],
    ] as const
  ).entries()) {
    for (const form of ['[rn, imm]', '[rn, imm]!']) {
      p.set(5, DATA + 0x4000 + 0x100 * n);
      p.put(`${sign} xd`, { rd: 5 });
      p.put(`${load} xd, ${form}`, { rd: 6, rn: 5, imm: n === 0 ? 0xff8 : -0x1000 });
      p.next('str', 6, 21);
      p.next('str', 5, 21);
    }
  }
  const extra: readonly (readonly [jump: string, fields: object, sign: string, by: number, register: number])[] = [
    ['braa xn, xd|sp', { rn: 5, rd: 2 }, 'pacia xd, xn|sp', 2, 5],
    ['brab xn, xd|sp', { rn: 5, rd: 31 }, 'pacib xd, xn|sp', 31, 5],
    ['braaz xn', { rn: 5 }, 'paciza xd', 0, 5],
    ['brabz xn', { rn: 5 }, 'pacizb xd', 0, 5],
    ['blraa xn, xd|sp', { rn: 5, rd: 2 }, 'pacia xd, xn|sp', 2, 5],
    ['blrab xn, xd|sp', { rn: 5, rd: 2 }, 'pacib xd, xn|sp', 2, 5],
    ['blraaz xn', { rn: 5 }, 'paciza xd', 0, 5],
    ['blrabz xn', { rn: 5 }, 'pacizb xd', 0, 5],
    ['retaa', {}, 'pacia xd, xn|sp', 31, 30],
    ['retab', {}, 'pacib xd, xn|sp', 31, 30],
    ['eretaa', {}, 'pacia xd, xn|sp', 31, 5],
    ['eretab', {}, 'pacib xd, xn|sp', 31, 5],
  ];
  for (const [jump, fields, sign, by, register] of extra) {
    const isEret = jump.startsWith('eret');
    const target = p.here + 0x60;
    p.set(register, target);
    p.put(sign, { rd: register, rn: by });
    if (isEret) {
      p.msr('ELR_EL1', register);
      p.write('SPSR_EL1', 0x3c5);
    }
    p.put(jump, fields);
    p.here = target;
    p.next('str', 30, 21);
    p.next('str', register, 21);
  }
}
/** What `branches` leaves. */
const BRANCH_NUMBERS = 8 + 24;

/** A pointer of either half, with or without a tag or a wrong top; sometimes anything. */
function pointer(random: Random): bigint {
  const low = random.bits64() >> BigInt(random.pick([8, 16, 20, 24, 30]));
  const upper = random.below(2) === 0;
  switch (random.below(4)) {
    case 0:
      return random.bits64();
    case 1:
      return low;
    default:
      return BigInt.asUintN(64, upper ? ~low : low) ^ (random.below(3) === 0 ? BigInt(random.below(256)) << 56n : 0n);
  }
}

function numbers(): bigint[] {
  const random = new Random(seed);
  return Array.from({ length: CASES }, () => {
    const size = () => BigInt(random.pick([16, 16, 20, 25, 32, 39, 0]));
    const tags = BigInt(random.pick([0, 0, 1, 2, 3, 3]));
    const exempt = random.below(2) === 0 ? 0n : tags === 0n ? 3n : tags;
    let given = pointer(random);
    const [lower, upper] = [size(), size()];
    // Where bits 55 and 63 differ and are not told apart by tags, AddPAC of the manual goes by one of them throughout; QEMU 7.2 by both.
    if ((tags !== 3n || exempt !== 0n) && ((given >> 55n) & 1n) !== given >> 63n) given &= (1n << 55n) - 1n;
    const control = lower | (upper << 16n) | (2n << 30n) | (5n << 32n) | (tags << 37n) | (exempt << 51n);
    return [control, random.bits64(), random.bits64(), given, random.bits64()];
  }).flat();
}

test(`pointers are signed and checked as QEMU does (seed ${seed})`, { skip: bareUnavailable() ?? false }, () => {
  const p = program();
  const given = [{ at: DATA, values: numbers() }];
  const qemu = runOnQemu(p, given, 'max,pauth=on,pauth-impdef=off');
  for (const threshold of [0, 2]) {
    const ours = runHere(p, given, parseArmCpu('max'), threshold);
    const seen = new Set<bigint>();
    for (let n = 0; n < CASES * names.length; n++) {
      const at = OUT - RAM + 8 * n;
      const [mine, theirs] = [ours.getBigUint64(at, true), qemu.getBigUint64(at, true)];
      const [tcr, low, high, address, modifier] = given[0].values
        .slice(5 * Math.floor(n / names.length))
        .map((x) => x.toString(16));
      const which = `${names[n % names.length]}: TCR ${tcr}, key ${high}:${low}, pointer ${address}, modifier ${modifier}`;
      assert.equal(mine.toString(16), theirs.toString(16), which);
      seen.add(mine);
    }
    for (let n = CASES * names.length; n < CASES * names.length + BRANCH_NUMBERS; n++) {
      const at = OUT - RAM + 8 * n;
      assert.equal(
        ours.getBigUint64(at, true),
        qemu.getBigUint64(at, true),
        `number ${n - CASES * names.length} of branches`,
      );
    }
    assert.ok(seen.size > CASES * 8, 'codes differ');
  }
});
