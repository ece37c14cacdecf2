/** Accesses to physical addresses where nothing answers, by small programs: what they print is what the same files print on QEMU. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMachine } from './machine.js';

const limitMs = 60_000;
const bytesOf = (words: readonly number[]): Uint8Array => new Uint8Array(Uint32Array.from(words).buffer);

/** Reads, writes and fetches at 0; memory behind the PCI host, read (ones: a 0 when 1 is added) and written. Prints each cause. */
const riscv = bytesOf([
  // lla t0, handler · csrw mtvec, t0 · li s0, UART · li a0, 0 · lw a1, (a0) · sw a1, (a0) · li t1, 0x50000000 · lw a1, (t1)
  ...[0x00000297, 0x05028293, 0x30529073, 0x10000437, 0x00000513, 0x00052583, 0x00b52023, 0x50000337, 0x00032583],
  // addi a1, a1, '1' · sb a1, (s0) · li t1, 0x70000000 · sw a1, (t1) · li a0, 0 · jalr a0 · the test device: 0x5555 · j .
  ...[0x03158593, 0x00b40023, 0x70000337, 0x00b32023, 0x00000513, 0x000500e7, 0x001002b7, 0x00005337, 0x5553031b],
  ...[0x0062a023, 0x0000006f],
  // handler: csrr t2, mcause · addi t2, t2, '0' · sb t2, (s0) · li t3, '1' · beq t2, t3, fetch
  ...[0x342023f3, 0x03038393, 0x00740023, 0x03100e13, 0x01c38a63],
  // csrr t2, mepc · addi t2, t2, 4 · csrw mepc, t2 · mret · fetch: csrw mepc, ra · mret
  ...[0x341023f3, 0x00438393, 0x34139073, 0x30200073, 0x34109073, 0x30200073],
]);

/** The same at 0x0c000000. Prints the exception class as a digit behind 0x20, and the fault status as a letter: @ is 0x10. */
const aarch64 = bytesOf([
  // adr x0, vectors · msr vbar_el1, x0 · isb · mov x19, UART · mov x1, 0x0c000000 · ldr x2, [x1] · str x2, [x1]
  ...[0x10004000, 0xd518c000, 0xd5033fdf, 0xd2a12013, 0xd2a18001, 0xf9400022, 0xf9000022],
  // mov x1, 0x20000000 · ldr w2, [x1] · add w2, w2, '1' · str w2, [x19] · mov x1, 0x0c000000 · blr x1
  ...[0xd2a40001, 0xb9400022, 0x1100c442, 0xb9000262, 0xd2a18001, 0xd63f0020],
  // mov x0, 0x84000000 · add x0, x0, 8 · hvc 0
  ...[0xd2b08000, 0x91002000, 0xd4000002],
  ...Array<number>(640 - 16).fill(0xd503201f),
  // mrs x3, esr_el1 · lsr x4, x3, 26 · add x4, x4, 0x10 · str w4, [x19] · and x5, x3, 0x3f · add x5, x5, '0' · str w5, [x19]
  ...[0xd5385203, 0xd35afc64, 0x91004084, 0xb9000264, 0x92401465, 0x9100c0a5, 0xb9000265],
  // cmp x4, '1' · b.eq 1f · mrs x3, elr_el1 · add x3, x3, 4 · msr elr_el1, x3 · eret · 1: msr elr_el1, x30 · eret
  ...[0xf100c49f, 0x540000a0, 0xd5384023, 0x91001063, 0xd5184023, 0xd69f03e0, 0xd518403e, 0xd69f03e0],
]);

/** The same. Prints D or P (data or prefetch abort) and the fault status: 8. */
const arm = bytesOf([
  // adr r0, vectors · mcr vbar, r0 · isb · mov r4, UART · mov r1, 0x0c000000 · ldr r2, [r1] · str r2, [r1]
  ...[0xe28f0038, 0xee0c0f10, 0xf57ff06f, 0xe3a04409, 0xe3a01303, 0xe5912000, 0xe5812000],
  // mov r1, 0x20000000 · ldr r2, [r1] · add r2, r2, '1' · str r2, [r4] · mov r1, 0x0c000000 · blx r1
  ...[0xe3a01202, 0xe5912000, 0xe2822031, 0xe5842000, 0xe3a01303, 0xe12fff31],
  // ldr r0, SYSTEM_OFF · hvc 0 · SYSTEM_OFF · vectors: b . · b . · b . · b prefetch
  ...[0xe51f0000, 0xe1400070, 0x84000008, 0xeafffffe, 0xeafffffe, 0xeafffffe, 0xea000006],
  // mrc r5, dfsr · and r5, r5, 15 · add r5, r5, '0' · mov r6, 'D' · str r6, [r4] · str r5, [r4] · subs pc, lr, 4
  ...[0xee155f10, 0xe205500f, 0xe2855030, 0xe3a06044, 0xe5846000, 0xe5845000, 0xe25ef004],
  // prefetch: the same with ifsr and 'P' · cps supervisor · mov pc, lr
  ...[0xee155f30, 0xe205500f, 0xe2855030, 0xe3a06050, 0xe5846000, 0xe5845000, 0xe14f5000, 0xe1a00000],
  ...[0xf1020013, 0xe1a0f00e],
]);

for (const [architecture, how, text] of [
  ['riscv64', { firmware: { image: riscv } }, '5701'],
  ['aarch64', { kernel: aarch64 }, '5@5@01@'],
  ['arm', { kernel: arm }, 'D8D80P8'],
] as const)
  test(`${architecture}: accesses where nothing answers fault, memory behind the PCI host reads as ones`, {
    timeout: limitMs,
  }, async () => {
    await using machine = await createMachine({ architecture, ramBytes: 64 << 20, ...how });
    const output = machine.serial().waitForText(text, { timeoutMs: limitMs });
    await machine.start();
    assert.equal(await output, text);
    assert.deepEqual(await machine.ended, { why: 'poweroff' });
  });
