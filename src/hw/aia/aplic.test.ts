/** The APLIC by the specification (Advanced Interrupt Architecture 1.0, chapter 4; numbers of its sections in brackets). */
import assert from 'node:assert/strict';
import test from 'node:test';
import { fuzzAccesses, seededRandom, TestLine } from '../testing.js';
import { APLIC_BYTES, APLIC_SOURCES, Aplic } from './aplic.js';

const DOMAINCFG = 0;
const SETIPNUM = 0x1cdc;
const CLRIPNUM = 0x1ddc;
const SETIENUM = 0x1edc;
const CLRIENUM = 0x1fdc;
const SETIPNUM_LE = 0x2000;
const GENMSI = 0x3000;
const [MMSIADDRCFG, MMSIADDRCFGH, SMSIADDRCFG, SMSIADDRCFGH] = [0x1bc0, 0x1bc4, 0x1bc8, 0x1bcc];
const IE = 0x100;
const DELEGATED = 0x400;
const [DETACHED, EDGE1, EDGE0, LEVEL1, LEVEL0] = [1, 4, 5, 6, 7];
const sourcecfg = (n: number) => 4 * n;
const target = (n: number) => 0x3000 + 4 * n;
const idc = (hart: number, register: number) => 0x4000 + 32 * hart + register;
const [IDELIVERY, IFORCE, ITHRESHOLD, TOPI, CLAIMI] = [0, 4, 8, 0x18, 0x1c];

function make(messages = false) {
  const sent: [number, number][] = [];
  const lines = (): TestLine[] => [new TestLine(), new TestLine()];
  const [machineLines, supervisorLines] = [lines(), lines()];
  const send = messages ? (gpa: number, data: number) => void sent.push([gpa, data]) : undefined;
  const child = new Aplic({ name: 's', outputs: supervisorLines, send });
  const root = new Aplic({ name: 'm', outputs: machineLines, send, child });
  const of = (chip: Aplic) => ({
    read: (at: number) => chip.read(at, 4) >>> 0,
    write: (at: number, value: number) => chip.write(at, 4, value),
  });
  return {
    root: { ...of(root), chip: root },
    child: { ...of(child), chip: child },
    machineLines,
    supervisorLines,
    sent,
  };
}
const pending = (domain: { read(at: number): number }, n: number) =>
  (domain.read(0x1c00 + 4 * (n >> 5)) >>> (n & 31)) & 1;

test('a source goes to its hart by its line, is claimed, and comes again for a level that stays [4.5, 4.8]', () => {
  const { root, machineLines } = make();
  assert.equal(root.read(DOMAINCFG), 0x8000_0000);
  root.write(sourcecfg(5), LEVEL1);
  assert.equal(root.read(target(5)) & 0xff, 1, 'no priority is 0');
  root.write(target(5), (1 << 18) | 7);
  root.write(SETIENUM, 5);
  root.write(DOMAINCFG, IE);
  root.write(idc(1, IDELIVERY), 1);
  root.chip.inputs[5].set(true);
  assert.deepEqual(
    machineLines.map(({ level }) => level),
    [false, true],
  );
  assert.equal(root.read(idc(1, TOPI)), (5 << 16) | 7);
  assert.equal(root.read(idc(0, TOPI)), 0);
  assert.equal(root.read(idc(1, CLAIMI)), (5 << 16) | 7);
  assert.equal(machineLines[1].level, true, 'the level is still there');
  root.write(CLRIPNUM, 5);
  assert.equal(pending(root, 5), 1, 'what software writes does not move it');
  root.chip.inputs[5].set(false);
  assert.equal(machineLines[1].level, false);
  root.write(SETIPNUM, 5);
  assert.equal(pending(root, 5), 0);
  root.chip.inputs[5].set(true);
  root.write(CLRIENUM, 5);
  assert.equal(machineLines[1].level, false);
});

test('edges and detached sources: what makes them pending, and what ends it [4.7]', () => {
  const { root } = make();
  root.write(DOMAINCFG, IE);
  for (const [n, mode] of [
    [1, DETACHED],
    [2, EDGE1],
    [3, EDGE0],
    [4, LEVEL0],
  ])
    root.write(sourcecfg(n), mode);
  // The input is low: one that is active low is up at once.
  assert.equal(root.read(0x1d00), (1 << 3) | (1 << 4), 'rectified inputs');
  assert.equal(pending(root, 4), 1);
  root.write(CLRIPNUM, 3);
  for (const n of [1, 2, 3, 4]) root.chip.inputs[n].set(true);
  assert.deepEqual(
    [1, 2, 3, 4].map((n) => pending(root, n)),
    [0, 1, 0, 0],
  );
  for (const n of [1, 2, 3]) root.chip.inputs[n].set(false);
  assert.deepEqual(
    [1, 2, 3].map((n) => pending(root, n)),
    [0, 1, 1],
  );
  root.write(SETIPNUM_LE, 1);
  root.write(CLRIPNUM, 2);
  assert.deepEqual(
    [1, 2, 3].map((n) => pending(root, n)),
    [1, 0, 1],
  );
  for (const n of [1, 3]) root.write(SETIENUM, n);
  root.write(target(1), 6);
  root.write(target(3), 3);
  root.write(idc(0, IDELIVERY), 1);
  assert.equal(root.read(idc(0, CLAIMI)), (3 << 16) | 3, 'the lower number is more urgent');
  assert.equal(root.read(idc(0, CLAIMI)), (1 << 16) | 6);
  assert.equal(root.read(idc(0, CLAIMI)), 0);
});

test('thresholds, forced interrupts, and delivery [4.8.1]', () => {
  const { root, machineLines } = make();
  root.write(DOMAINCFG, IE);
  root.write(sourcecfg(2), EDGE1);
  root.write(target(2), 5);
  root.write(SETIENUM, 2);
  root.write(SETIPNUM, 2);
  assert.equal(machineLines[0].level, false, 'nothing is delivered yet');
  root.write(idc(0, ITHRESHOLD), 5);
  root.write(idc(0, IDELIVERY), 1);
  assert.equal(machineLines[0].level, false, 'only what is below the threshold');
  root.write(idc(0, ITHRESHOLD), 6);
  assert.equal(machineLines[0].level, true);
  root.read(idc(0, CLAIMI));
  assert.equal(machineLines[0].level, false);
  root.write(idc(0, IFORCE), 1);
  assert.equal(machineLines[0].level, true);
  assert.equal(root.read(idc(0, CLAIMI)), 0, 'a claim of nothing');
  assert.equal(root.read(idc(0, IFORCE)), 0);
  assert.equal(machineLines[0].level, false);
  root.write(idc(0, IFORCE), 1);
  root.write(DOMAINCFG, 0);
  assert.equal(machineLines[0].level, false);
});

test('a source is one domain’s: delegated it is the child’s, and nothing stays in either [4.5.2]', () => {
  const { root, child, machineLines, supervisorLines } = make();
  child.write(sourcecfg(7), LEVEL1);
  assert.equal(child.read(sourcecfg(7)), 0, 'it is not the child’s yet');
  root.write(sourcecfg(7), DELEGATED | 3);
  assert.equal(root.read(sourcecfg(7)), DELEGATED);
  assert.equal(root.read(target(7)), 0);
  child.write(sourcecfg(7), LEVEL1);
  child.write(SETIENUM, 7);
  child.write(DOMAINCFG, IE);
  child.write(idc(0, IDELIVERY), 1);
  root.chip.inputs[7].set(true);
  assert.deepEqual([machineLines[0].level, supervisorLines[0].level], [false, true]);
  root.write(sourcecfg(7), 0);
  assert.deepEqual([child.read(sourcecfg(7)), pending(child, 7), child.read(0x1e00)], [0, 0, 0]);
  assert.equal(supervisorLines[0].level, false);
  child.write(sourcecfg(8), DELEGATED);
  assert.equal(child.read(sourcecfg(8)), 0, 'it has no child');
  for (const mode of [2, 3]) {
    root.write(sourcecfg(9), mode);
    assert.equal(root.read(sourcecfg(9)), 0, 'no such mode');
  }
  root.write(sourcecfg(APLIC_SOURCES + 1), EDGE1);
  assert.equal(root.read(sourcecfg(APLIC_SOURCES + 1)), 0);
});

test('messages: where they go, that they are sent once, and again when software asks for a level [4.9]', () => {
  const { root, child, sent } = make(true);
  assert.equal(root.read(DOMAINCFG), 0x8000_0004);
  root.write(MMSIADDRCFG, 0x24000);
  root.write(MMSIADDRCFGH, (1 << 16) | (2 << 12) | (6 << 24));
  root.write(SMSIADDRCFG, 0x28000);
  root.write(SMSIADDRCFGH, (1 << 20) | 1);
  assert.equal(root.read(SMSIADDRCFGH), (1 << 20) | 1);
  assert.equal(child.read(SMSIADDRCFG), 0, 'only the root has them');
  root.write(DOMAINCFG, IE);
  child.write(DOMAINCFG, IE);
  root.write(sourcecfg(3), DELEGATED);
  child.write(sourcecfg(3), LEVEL1);
  // Hart 6: member 2 of group 1. Guest 1, identity 0x55.
  child.write(target(3), (6 << 18) | (1 << 12) | 0x55);
  child.write(SETIENUM, 3);
  root.chip.inputs[3].set(true);
  const page = 2 ** 32 + 0x28000 + (2 << 1) + 1 + (1 << 18);
  assert.deepEqual(sent, [[page * 4096, 0x55]]);
  assert.equal(pending(child, 3), 0);
  child.write(SETIPNUM_LE, 3);
  assert.equal(sent.length, 2, 'the level is still there');
  root.chip.inputs[3].set(false);
  child.write(SETIPNUM_LE, 3);
  assert.equal(sent.length, 2);
  root.write(GENMSI, (5 << 18) | 0x7f);
  assert.deepEqual(sent[2], [(0x24000 + 1 + (1 << 18)) * 4096, 0x7f]);
  assert.equal(root.read(idc(0, IDELIVERY)), 0, 'there is no delivery by lines');
  root.write(MMSIADDRCFGH, 0x8000_0000);
  root.write(SMSIADDRCFG, 1);
  assert.equal(root.read(SMSIADDRCFG), 0x28000, 'locked');
});

test('saved and loaded, reset, and random accesses', () => {
  for (const messages of [false, true]) {
    const made = make(messages);
    fuzzAccesses(seededRandom(messages ? 1 : 2), 20_000, APLIC_BYTES, made.root.chip);
    fuzzAccesses(seededRandom(messages ? 3 : 4), 20_000, APLIC_BYTES, made.child.chip);
    const other = make(messages);
    other.root.chip.load(made.root.chip.save());
    assert.deepEqual(other.root.chip.save(), made.root.chip.save());
    made.root.chip.reset();
    assert.deepEqual([made.root.read(0x1c00), made.root.read(0x1e00), made.root.read(sourcecfg(1))], [0, 0, 0]);
  }
});
