/** The flash banks of RISC-V's board `virt`: who starts in them, what the guest sees and changes there, and what it is told of a kernel. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlockBackend } from '../../hw/index.js';
import { instruction } from '../riscv-rows/runner-elf.js';
import { TestVirt, words, x } from './board.js';

const BANK_BYTES = 32 << 20;
const [FIRST, SECOND] = [0x2000_0000, 0x2200_0000];
const FW_CFG_KERNEL_SIZE = 8;

/** An image that is a little code and then nothing, and what was written to it. */
class FlashImage implements BlockBackend {
  readonly readonly = false;
  readonly writes: { readonly offset: number; readonly bytes: Uint8Array }[] = [];
  readonly code: Uint8Array;
  readonly sizeBytes: number;

  constructor(code: Uint8Array, sizeBytes = BANK_BYTES) {
    this.code = code;
    this.sizeBytes = sizeBytes;
  }

  read(_offset: number, [target]: readonly Uint8Array[], done: (failure?: undefined) => void): void {
    target.set(this.code);
    done();
  }

  write(offset: number, [source]: readonly Uint8Array[], done: (failure?: undefined) => void): void {
    this.writes.push({ offset, bytes: source.slice() });
    done();
  }

  flush(done: (failure?: undefined) => void): void {
    done();
  }
}

const loadImmediate = (rd: number, value: number): number[] => [
  instruction('lui', { rd, imm: (value + 0x800) & ~0xfff }),
  instruction('addi', { rd, rs1: rd, imm: ((value & 0xfff) ^ 0x800) - 0x800 }),
];
const say = (letter: string): number[] => [
  ...loadImmediate(x.t0, 0x1000_0000),
  instruction('addi', { rd: x.a2, rs1: 0, imm: letter.charCodeAt(0) }),
  instruction('sb', { rs1: x.t0, rs2: x.a2, imm: 0 }),
];
const switchOff = [
  ...loadImmediate(x.t0, 0x10_0000),
  ...loadImmediate(x.a2, 0x5555),
  instruction('sw', { rs1: x.t0, rs2: x.a2, imm: 0 }),
  instruction('jal', { rd: 0, imm: 0 }),
];
/** mscratch is of M-mode alone: elsewhere this traps. */
const needM = instruction('csrrs', { rd: 0, rs1: 0, csr: 0x340 });

function start(options: ConstructorParameters<typeof TestVirt>[0], kernel?: Uint8Array): TestVirt {
  const machine = new TestVirt(options);
  machine.board.readImages(() => {});
  machine.board.powerOn(kernel && { kernel, commandLine: 'quiet' });
  return machine;
}

// The reset vector's two numbers of QEMU 7.2: where the hart goes, and where OpenSBI goes on.
const vector = (machine: TestVirt) => [machine.u64(0x1018), machine.u64(0x1038)];

test('what the first bank has starts in M-mode, from the reset vector; firmware lies in RAM beside it', () => {
  const first = new FlashImage(words([needM, ...say('F'), ...switchOff]));
  const machine = start({ firmware: { flash: [first], image: words([0]) } });
  assert.deepEqual(vector(machine), [BigInt(FIRST), 0n]);
  assert.deepEqual(machine.board.run(), { why: 'poweroff' });
  assert.equal(machine.console, 'F');
});

test('what the second bank has starts in S-mode, by the built-in SBI, and the kernel is in fw_cfg', () => {
  const readSize = [
    ...loadImmediate(x.t0, 0x1010_0000),
    ...loadImmediate(x.a2, FW_CFG_KERNEL_SIZE << 8),
    instruction('sh', { rs1: x.t0, rs2: x.a2, imm: 8 }),
    instruction('lbu', { rd: x.s1, rs1: x.t0, imm: 0 }),
  ];
  const second = new FlashImage(words([...readSize, ...say('S'), ...switchOff]));
  const machine = start({
    firmware: { flash: [undefined, second], kernel: { kernel: new Uint8Array(77), commandLine: '' } },
  });
  assert.equal(machine.board.cpu.linearPc, BigInt(SECOND));
  assert.deepEqual(machine.board.run(), { why: 'poweroff' });
  assert.equal(machine.console, 'S');
  assert.equal(machine.board.cpu.registers()['s1'], 77n);
});

test('firmware goes on in the second bank', () => {
  const machine = start({ firmware: { image: words([0]), flash: [undefined, new FlashImage(words([0]))] } });
  assert.deepEqual(vector(machine), [0x8000_0000n, BigInt(SECOND)]);
});

test('a bank without an image takes what is written, one with an image keeps it there', () => {
  const program = (bank: number) =>
    words([
      ...loadImmediate(x.t0, bank + 0x100),
      // Two chips of 16 bits side by side: program, the data, and their array again.
      ...[0x0040_0040, 0x1234_5678, 0x00ff_00ff].flatMap((value) => [
        ...loadImmediate(x.a2, value),
        instruction('sw', { rs1: x.t0, rs2: x.a2, imm: 0 }),
      ]),
      instruction('lw', { rd: x.s1, rs1: x.t0, imm: 0 }),
      ...switchOff,
    ]);
  const run = (image: Uint8Array, second?: FlashImage) => {
    const machine = start({ firmware: { image, flash: [undefined, second] } });
    assert.deepEqual(machine.board.run(), { why: 'poweroff' });
    assert.equal(machine.board.cpu.registers()['s1'], 0x1234_5678n);
  };
  run(program(FIRST));
  const kept = new FlashImage(Uint8Array.of());
  run(program(SECOND), kept);
  const [write] = kept.writes.slice(-1);
  assert.equal(new DataView(write.bytes.buffer).getUint32(0x100 - write.offset, true), 0x1234_5678);
});

test('an image of another size is refused', () => {
  assert.throws(
    () => start({ firmware: { flash: [new FlashImage(words([0]), 4 << 20)] } }),
    /4194304 bytes.* has 32 MiB/,
  );
});
