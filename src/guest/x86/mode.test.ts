import assert from 'node:assert/strict';
import test from 'node:test';
import { X86Machine } from '../../dev/x86-machine.js';
import { header } from '../../ir/index.js';
import { decodeMode, encodeMode, keyBit, mmuIndex } from './mode.js';
import { field, gpr } from './state.js';
import { cr0, cr4, efer, eflag } from './system/bits.js';

test('encoding and decoding are inverse for every key', () => {
  let random = 12345;
  for (let i = 0; i < 2000; i++) {
    random = (Math.imul(random, 1103515245) + 12345) >>> 0;
    let key = random & ((1 << (keyBit.shared + 1)) - 1);
    if ((key & 3) === 3) key &= ~1;
    if ((key & 3) === 2) key &= ~(1 << keyBit.stack32);
    assert.equal(encodeMode(decodeMode(key)), key);
  }
});

test('the routine derives the key from the state', () => {
  const machine = new X86Machine();
  const { vcpu } = machine.cpu;
  const mode = () => {
    vcpu.updateMode();
    return decodeMode(vcpu.get32(header.modeKey));
  };
  const reset = mode();
  assert.deepEqual(
    [
      reset.codeSize,
      reset.protectedMode,
      reset.cpl,
      reset.stackSize,
      reset.ioAllowed,
      reset.flat,
      reset.checkedSegments,
    ],
    [16, false, 0, 16, true, false, 0x3f],
  );
  assert.equal(vcpu.get64(header.pcBase), 0xffff0000n);
  assert.equal(vcpu.get64(header.pcMask), 0xffffn);
  assert.equal(vcpu.get32(header.mmu), mmuIndex.supervisor);

  // Flat 32-bit protected mode at CPL 3, IOPL 0.
  vcpu.set32(field.cr0, cr0.PE | cr0.TS | cr0.AM);
  for (let n = 0; n < 6; n++) vcpu.setSegment(n, 0x23, 0n, 0xffffffff, n === 1 ? 0xcffb00 : 0xcff300);
  vcpu.cpl = 3;
  vcpu.set32(field.eflags, 2 | eflag.AC);
  const user = mode();
  assert.deepEqual(
    [
      user.codeSize,
      user.cpl,
      user.stackSize,
      user.ioAllowed,
      user.flat,
      user.checkedSegments,
      user.ts,
      user.alignmentCheck,
    ],
    [32, 3, 32, false, true, 0, true, true],
  );
  assert.equal(vcpu.get32(header.mmu), mmuIndex.user);
  vcpu.setSegment(5, 0x33, 0x1000n, 0xfff, 0x40f300);
  assert.equal(mode().checkedSegments, 1 << 5);
  vcpu.setSegment(0, 0, 0n, 0, 0);
  assert.equal(mode().checkedSegments, (1 << 5) | 1);

  // 64-bit code has no limits; SMAP with EFLAGS.AC has an MMU index of its own.
  vcpu.set32(field.efer, efer.LMA | efer.LME);
  vcpu.set32(field.cr4, cr4.SMAP);
  vcpu.setSegment(1, 0x10, 0n, 0xffffffff, 0xaf9b00);
  vcpu.cpl = 0;
  const long = mode();
  assert.deepEqual(
    [long.codeSize, long.stackSize, long.flat, long.checkedSegments, long.long],
    [64, 64, true, 0, true],
  );
  assert.equal(vcpu.get32(header.mmu), mmuIndex.supervisorAc);
  vcpu.set32(field.eflags, 2);
  mode();
  assert.equal(vcpu.get32(header.mmu), mmuIndex.supervisor);

  // Leaving 64-bit code clears the upper halves.
  vcpu.set64(gpr[3].offset, 0x123456789abcdef0n);
  vcpu.setSegment(1, 0x08, 0n, 0xffffffff, 0xcf9b00);
  assert.equal(mode().codeSize, 32);
  assert.equal(vcpu.get64(gpr[3].offset), 0x9abcdef0n);
});

test('breakpoints in DR7 choose the checks', () => {
  const { vcpu } = new X86Machine().cpu;
  const bits = (dr7: number) => {
    vcpu.set32(field.dr + 56, dr7);
    vcpu.updateMode();
    const mode = decodeMode(vcpu.get32(header.modeKey));
    return [mode.instructionBreak, mode.dataBreak];
  };
  assert.deepEqual(bits(0x400), [false, false]);
  assert.deepEqual(bits(0x401), [true, false]);
  assert.deepEqual(bits(0x00010402), [false, true]);
  assert.deepEqual(bits(0x00020402), [false, false]);
  assert.deepEqual(bits(0x00000404), [true, false]);
  assert.deepEqual(bits(0x03000410), [false, true]);
});
