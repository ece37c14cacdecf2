/**
 * The instructions that keep the x87 and SSE state in memory, and x87 exceptions, run on a bare machine in real-address mode;
 * expectations from the manual (SDM vol. 1 ch. 8.7, 10.5, 13).
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { X86Machine } from '../../../dev/x86-machine.js';
import { field, xmm } from '../state.js';

const CODE = 0x1000;
const AREA = 0x2000;
const HANDLERS = 0x600;
const HLT = 0xf4;
const CR0_NE = 0x20;
const CR4_OSFXSR = 0x200;
const CR4_OSXMMEXCPT = 0x400;
const CR4_OSXSAVE = 0x40000;

const low = (value: number) => value & 0xff;
const high = (value: number) => value >> 8;
/** An instruction with the area as its operand: opcode bytes, ModRM digit. */
const on = (digit: number, ...opcode: number[]) => [...opcode, (digit << 3) | 6, low(AREA), high(AREA)];
const fxsave = on(0, 0x0f, 0xae);
const fxrstor = on(1, 0x0f, 0xae);
const xsave = on(4, 0x0f, 0xae);
const xrstor = on(5, 0x0f, 0xae);
const xsaveopt = on(6, 0x0f, 0xae);
const xsavec = on(4, 0x0f, 0xc7);
const xsaves = on(5, 0x0f, 0xc7);
const xrstors = on(3, 0x0f, 0xc7);

class Bench {
  readonly machine = new X86Machine();
  readonly cpu = this.machine.cpu.vcpu;
  readonly area = new DataView(this.machine.ram.buffer, this.machine.ram.byteOffset + AREA, 1024);
  readonly #ram = this.machine.ram;

  constructor() {
    // Each exception halts at a place of its own.
    for (let n = 0; n < 32; n++) {
      this.#ram.set([low(HANDLERS + n), high(HANDLERS + n), 0, 0], 4 * n);
      this.#ram[HANDLERS + n] = HLT;
    }
    const { cpu } = this;
    cpu.set32(field.cr4, CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE);
    cpu.set32(field.cr0, 0x10 | CR0_NE);
    cpu.set64(field.xcr0, 3n);
    cpu.set32(field.fpControl, 0x37f);
    cpu.set32(field.fpEmpty, 0xff);
    cpu.set32(field.mxcsr, 0x1f80);
    this.components(3);
  }

  components(mask: number): void {
    this.cpu.setGpr(0, BigInt(mask));
    this.cpu.setGpr(2, 0n);
  }

  /** Runs the instructions: the vector of the exception that ended them, or undefined. */
  run(...instructions: readonly number[][]): number | undefined {
    this.#ram.set([...instructions.flat(), HLT], CODE);
    this.machine.engine.published(this.machine.engine.ramStart + CODE, 256);
    this.machine.loadReal(CODE, new Uint8Array(0));
    this.cpu.setGpr(4, 0x8000n);
    this.cpu.updateMode();
    assert.equal(this.machine.run(), 'halt');
    const at = Number(this.cpu.pc) - 1;
    return at >= HANDLERS && at < HANDLERS + 32 ? at - HANDLERS : undefined;
  }

  setXmm(n: number, value: bigint): void {
    this.cpu.set64(xmm[n].offset, value);
    this.cpu.set64(xmm[n].offset + 8, ~value);
  }
  getXmm(n: number): bigint {
    return this.cpu.get64(xmm[n].offset);
  }
  setRegister(n: number, sig: bigint, se: number): void {
    this.cpu.set64(field.fpr + 16 * n, sig);
    this.cpu.set64(field.fpr + 16 * n + 8, BigInt(se));
  }
  word(at: number): number {
    return this.area.getUint16(at, true);
  }
  long(at: number): number {
    return this.area.getUint32(at, true);
  }
  quad(at: number): bigint {
    return this.area.getBigUint64(at, true);
  }
  setQuad(at: number, value: bigint): void {
    this.area.setBigUint64(at, value, true);
  }

  /** A state that is not the initial one. */
  fillState(): void {
    const { cpu } = this;
    cpu.set32(field.fpControl, 0x27f);
    cpu.set32(field.fpStatus, 0x4120);
    cpu.set32(field.fpTop, 5);
    cpu.set32(field.fpEmpty, 0x1f);
    for (let n = 0; n < 8; n++) this.setRegister(n, 0x8000000000000000n | BigInt(n), 0x3fff + n);
    for (let n = 0; n < 8; n++) this.setXmm(n, 0x1111n * BigInt(n + 1));
    cpu.set32(field.mxcsr, 0x1fa0);
  }

  checkState(): void {
    const { cpu } = this;
    assert.equal(cpu.get32(field.fpControl), 0x27f);
    assert.equal(cpu.get32(field.fpStatus), 0x4120);
    assert.equal(cpu.get32(field.fpTop), 5);
    assert.equal(cpu.get32(field.fpEmpty), 0x1f);
    for (let n = 0; n < 8; n++) {
      assert.equal(cpu.get64(field.fpr + 16 * n), 0x8000000000000000n | BigInt(n));
      assert.equal(cpu.get64(field.fpr + 16 * n + 8), BigInt(0x3fff + n));
      assert.equal(this.getXmm(n), 0x1111n * BigInt(n + 1));
      assert.equal(cpu.get64(xmm[n].offset + 8), BigInt.asUintN(64, ~(0x1111n * BigInt(n + 1))));
    }
    assert.equal(cpu.get32(field.mxcsr), 0x1fa0);
  }

  clearState(): void {
    const { cpu } = this;
    cpu.set32(field.fpControl, 0x37f);
    cpu.set32(field.fpStatus, 0);
    cpu.set32(field.fpTop, 0);
    cpu.set32(field.fpEmpty, 0xff);
    for (let n = 0; n < 8; n++) {
      this.setRegister(n, 0n, 0);
      cpu.set64(xmm[n].offset, 0n);
      cpu.set64(xmm[n].offset + 8, 0n);
    }
    cpu.set32(field.mxcsr, 0x1f80);
  }
}

test('FXSAVE writes the image of table 10-2, FXRSTOR loads it', () => {
  const bench = new Bench();
  bench.fillState();
  bench.area.setUint8(416, 0xaa);
  assert.equal(bench.run(fxsave), undefined);
  assert.equal(bench.word(0), 0x27f);
  assert.equal(bench.word(2), 0x4120 | (5 << 11));
  assert.equal(bench.word(4), 0xe0);
  assert.equal(bench.long(24), 0x1fa0);
  assert.equal(bench.long(28), 0xffff);
  // ST(0) is R5; ST(3) is R0.
  assert.equal(bench.quad(32), 0x8000000000000005n);
  assert.equal(bench.quad(40), 0x4004n);
  assert.equal(bench.quad(32 + 48), 0x8000000000000000n);
  assert.equal(bench.quad(160), 0x1111n);
  assert.equal(bench.quad(160 + 7 * 16), 0x8888n);
  assert.equal(bench.area.getUint8(416), 0xaa);
  bench.clearState();
  assert.equal(bench.run(fxrstor), undefined);
  bench.checkState();
});

test('FXRSTOR refuses reserved MXCSR bits, and an area that is not aligned', () => {
  const bench = new Bench();
  bench.fillState();
  bench.run(fxsave);
  bench.area.setUint32(24, 0x11f80, true);
  assert.equal(bench.run(fxrstor), 13);
  bench.checkState();
  const misaligned = [0x0f, 0xae, 0x0e, low(AREA + 8), high(AREA)];
  assert.equal(bench.run(misaligned), 13);
});

test('XSAVE keeps what was not asked for in the bit vector, XRSTOR loads and initializes', () => {
  const bench = new Bench();
  bench.fillState();
  bench.setQuad(512, 2n);
  bench.setQuad(520, 0n);
  bench.setQuad(160, 0x5555n);
  bench.components(1);
  assert.equal(bench.run(xsave), undefined);
  assert.equal(bench.quad(512), 3n);
  assert.equal(bench.quad(160), 0x5555n, 'XMM was not asked for');
  bench.components(3);
  assert.equal(bench.run(xsave), undefined);
  bench.clearState();
  assert.equal(bench.run(xrstor), undefined);
  bench.checkState();
  // The bit of x87 clear: its initial state is loaded.
  bench.setQuad(512, 2n);
  assert.equal(bench.run(xrstor), undefined);
  assert.equal(bench.cpu.get32(field.fpControl), 0x37f);
  assert.equal(bench.cpu.get32(field.fpEmpty), 0xff);
  assert.equal(bench.cpu.get64(field.fpr), 0n);
  assert.equal(bench.getXmm(0), 0x1111n);
  assert.equal(bench.cpu.get32(field.mxcsr), 0x1fa0);
  // The bit of SSE clear: XMM is 0, and MXCSR still comes from memory in the standard form.
  bench.setQuad(512, 0n);
  bench.area.setUint32(24, 0x1f00, true);
  assert.equal(bench.run(xrstor), undefined);
  assert.equal(bench.getXmm(0), 0n);
  assert.equal(bench.cpu.get32(field.mxcsr), 0x1f00);
});

test('XSAVEOPT, XSAVEC and XSAVES leave out what is in its initial state', () => {
  const bench = new Bench();
  bench.fillState();
  bench.cpu.set32(field.fpControl, 0x37f);
  bench.cpu.set32(field.fpStatus, 0);
  bench.cpu.set32(field.fpTop, 0);
  bench.cpu.set32(field.fpEmpty, 0xff);
  for (let n = 0; n < 8; n++) bench.setRegister(n, 0n, 0);
  for (const [instruction, compaction] of [
    [xsaveopt, 0n],
    [xsavec, (1n << 63n) | 3n],
    [xsaves, (1n << 63n) | 3n],
  ] as const) {
    bench.setQuad(0, 0x7777n);
    bench.setQuad(512, 0n);
    bench.setQuad(520, 0n);
    bench.setQuad(160, 0n);
    assert.equal(bench.run(instruction), undefined);
    assert.equal(bench.quad(512), 2n);
    assert.equal(bench.quad(520), compaction);
    assert.equal(bench.quad(0), 0x7777n, 'x87 is not written');
    assert.equal(bench.quad(160), 0x1111n);
  }
  bench.clearState();
  assert.equal(bench.run(xrstors), undefined);
  assert.equal(bench.getXmm(1), 0x2222n);
  assert.equal(bench.cpu.get32(field.mxcsr), 0x1fa0);
  // Compacted, without the bit of SSE: MXCSR is initialized too.
  bench.setQuad(512, 0n);
  assert.equal(bench.run(xrstor), undefined);
  assert.equal(bench.getXmm(1), 0n);
  assert.equal(bench.cpu.get32(field.mxcsr), 0x1f80);
});

test('headers that XRSTOR and XRSTORS refuse', () => {
  const bench = new Bench();
  bench.fillState();
  bench.setQuad(512, 0n);
  bench.setQuad(520, 0n);
  assert.equal(bench.run(xsave), undefined);
  const refused = (instruction: number[], at: number, value: bigint) => {
    const old = bench.quad(at);
    bench.setQuad(at, value);
    assert.equal(bench.run(instruction), 13, `${at}: ${value}`);
    bench.setQuad(at, old);
    bench.checkState();
  };
  refused(xrstor, 512, 7n);
  refused(xrstor, 520, 1n);
  refused(xrstor, 528, 1n);
  refused(xrstor, 24, 0xffff00010000n);
  refused(xrstors, 520, 0n);
  refused(xrstor, 520, (1n << 63n) | 7n);
  refused(xrstor, 520, (1n << 63n) | 1n);
  bench.setQuad(520, (1n << 63n) | 3n);
  refused(xrstor, 568, 1n);
  assert.equal(bench.run(xrstor), undefined);
  bench.checkState();
  bench.cpu.set32(field.cr4, CR4_OSFXSR);
  assert.equal(bench.run(xsave), 6);
});

test('an unmasked x87 exception is #MF at the next waiting instruction, with CR0.NE', () => {
  const bench = new Bench();
  bench.cpu.set32(field.fpControl, 0x37b);
  const fld1 = [0xd9, 0xe8];
  const fldz = [0xd9, 0xee];
  const fdivp = [0xde, 0xf9];
  const fnstsw = [0xdf, 0xe0];
  const fwait = [0x9b];
  assert.equal(bench.run(fld1, fldz, fdivp, fnstsw), undefined);
  assert.equal(Number(bench.cpu.getGpr(0)) & 0x80ff, 0x8084);
  // Neither stored nor popped.
  assert.equal(bench.cpu.get32(field.fpTop), 6);
  assert.equal(bench.cpu.get32(field.fpOpcode), 0x6f9);
  assert.equal(bench.cpu.get64(field.fpIp), BigInt(CODE + 4));
  assert.equal(bench.run(fwait), 16);
  // Without it FERR# tells the board, and the program goes on.
  bench.cpu.set32(field.cr0, 0x10);
  assert.equal(bench.run(fwait), undefined);
  bench.cpu.set32(field.cr0, 0x10 | CR0_NE);
  const fnclex = [0xdb, 0xe2];
  assert.equal(bench.run(fnclex, fwait), undefined);
});

test('FNSTENV in real-address mode: 14 bytes, pointers in 20 bits; FLDENV takes them back', () => {
  const bench = new Bench();
  bench.fillState();
  bench.cpu.set32(field.fpControl, 0x37e);
  bench.cpu.set64(field.fpIp, 0xabcden);
  bench.cpu.set64(field.fpDp, 0x54321n);
  bench.cpu.set32(field.fpOpcode, 0x6f9);
  const fnstenv = on(6, 0xd9);
  const fldenv = on(4, 0xd9);
  assert.equal(bench.run(fnstenv), undefined);
  assert.deepEqual(
    [0, 2, 4, 6, 8, 10, 12].map((at) => bench.word(at)),
    [0x37e, 0x4120 | (5 << 11), 0x03ff, 0xbcde, 0xa6f9, 0x4321, 0x5000],
  );
  assert.equal(bench.cpu.get32(field.fpControl), 0x37f, 'all exceptions are masked');
  bench.clearState();
  assert.equal(bench.run(fldenv), undefined);
  assert.equal(bench.cpu.get32(field.fpControl), 0x37e);
  assert.equal(bench.cpu.get32(field.fpTop), 5);
  assert.equal(bench.cpu.get32(field.fpEmpty), 0x1f);
  assert.equal(bench.cpu.get64(field.fpIp), 0xabcden);
  assert.equal(bench.cpu.get64(field.fpDp), 0x54321n);
});

test('the pointers to the last instruction have its segments; in the real-address form they are linear', () => {
  const bench = new Bench();
  const { cpu } = bench;
  cpu.setSegment(0, 0x30, 0x300n, 0xffff, 0x9300);
  // fld dword es:[0x2100]: linear 0x2400
  assert.equal(bench.run([0x26, 0xd9, 0x06, 0x00, 0x21]), undefined);
  assert.equal(cpu.get64(field.fpIp), BigInt(CODE));
  assert.equal(cpu.get64(field.fpDp), 0x2100n);
  assert.equal(cpu.get32(field.fpDs), 0x30);
  assert.equal(bench.run(on(6, 0xd9)), undefined);
  assert.deepEqual(
    [6, 8, 10, 12].map((at) => bench.word(at)),
    [CODE, 0x106, 0x2400, 0],
  );
  assert.equal(bench.run(fxsave), undefined);
  assert.deepEqual(
    [6, 8, 12, 16, 20].map((at) => bench.word(at)),
    [0x106, CODE, 0, 0x2100, 0x30],
  );
});

test('FNSAVE keeps everything and initializes; FRSTOR brings it back', () => {
  const bench = new Bench();
  bench.fillState();
  for (const prefix of [[], [0x66]]) {
    assert.equal(bench.run([...prefix, ...on(6, 0xdd)]), undefined);
    assert.equal(bench.cpu.get32(field.fpControl), 0x37f);
    assert.equal(bench.cpu.get32(field.fpStatus), 0);
    assert.equal(bench.cpu.get32(field.fpEmpty), 0xff);
    // ST(0), R5, behind the environment.
    const registers = prefix.length ? 28 : 14;
    assert.equal(bench.quad(registers), 0x8000000000000005n);
    assert.equal(bench.word(registers + 8), 0x4004);
    for (let n = 0; n < 8; n++) bench.setRegister(n, 0n, 0);
    assert.equal(bench.run([...prefix, ...on(4, 0xdd)]), undefined);
    bench.checkState();
  }
});
