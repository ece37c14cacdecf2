/** A debugger in the guest: Debian's arm64 kernel steps a program by ptrace, and watches a word of its memory by hardware. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ELF_BASE, GuestProgram, scriptOf } from '../dev/arm-bare/linux-program.js';
import { runDebian, timeout, whyNoDebian } from './testing-debian.js';

const skip = await whyNoDebian('arm64');

const WORD = ELF_BASE + 0x1_0000;
const STATUS = WORD + 0x10;
const VECTOR = WORD + 0x20;
const WATCH = WORD + 0x40;
const TEXT = WORD + 0x80;
const call = { exit: 93, kill: 129, getpid: 172, clone: 220, wait4: 260, ptrace: 117, write: 64 } as const;
const ptrace = { TRACEME: 0, CONT: 7, SINGLESTEP: 9, SETREGSET: 0x4205 } as const;
const SIGCHLD = 17;
const SIGSTOP = 19;
const NT_ARM_HW_WATCH = 0x403;
const [PID, COUNT] = [20, 21];
const LOOPS = 1000;
const STORES = 3;

/** An ELF of one segment that can be written to: a tracer and, twice, its child. Prints two characters a line as octets would be. */
function elf(): { readonly bytes: Buffer; readonly steps: number } {
  const p = new GuestProgram();
  /** X0 is the process; X1 has been seen to. */
  const trace = (what: number, address?: number, data?: number) => {
    p.move(1, PID);
    if (address === undefined) p.set(2, 0);
    else p.set(2, address);
    p.set(3, data ?? 0);
    p.set(0, what);
    p.set(8, call.ptrace);
    p.put('svc imm');
  };
  const wait = () => {
    p.move(0, PID);
    for (const n of [2, 3]) p.set(n, 0);
    p.set(1, STATUS);
    p.set(8, call.wait4);
    p.put('svc imm');
    p.set(9, STATUS);
    p.put('ldr wd, [rn, imm]', { rd: 10, rn: 9 });
    // Its low seven bits are 0 where it has ended.
    p.put('movz rd, imm, hw', { rd: 11, imm: 0x7f });
    p.put('and rd, rn, rm, shift', { rd: 10, rn: 10, rm: 11 });
  };
  /** A child that stops itself and goes on with `body`; the parent waits for that. */
  const child = (body: () => void) => {
    p.call(call.clone, SIGCHLD, 0, 0, 0, 0);
    p.move(PID, 0);
    const parent = p.forward('cbnz rd', { rd: 0, sf: 1 });
    p.call(call.ptrace, ptrace.TRACEME, 0, 0, 0);
    p.call(call.getpid);
    p.set(1, SIGSTOP);
    p.set(8, call.kill);
    p.put('svc imm');
    body();
    p.call(call.exit, 0);
    parent();
    wait();
    p.set(COUNT, 0);
  };
  const count = () => p.put('add rd|sp, rn|sp, imm', { rd: COUNT, rn: COUNT, sf: 1, imm: 1 });
  /** Six octal digits and a line feed. */
  const print = () => {
    for (let n = 0; n < 6; n++) {
      p.set(9, 3 * (5 - n));
      p.put('lsrv rd, rn, rm', { rd: 10, rn: COUNT, rm: 9, sf: 1 });
      p.set(9, 7);
      p.put('and rd, rn, rm, shift', { rd: 10, rn: 10, rm: 9, sf: 1 });
      p.put('add rd|sp, rn|sp, imm', { rd: 10, rn: 10, sf: 1, imm: 48 });
      p.set(9, TEXT + n);
      p.put('strb wd, [rn, imm]', { rd: 10, rn: 9 });
    }
    p.call(call.write, 1, TEXT, 7);
  };

  let steps = 0;
  child(() => {
    const from = p.here;
    p.set(5, LOOPS);
    const loop = p.here;
    p.put('sub rd|sp, rn|sp, imm', { rd: 5, rn: 5, sf: 1, imm: 1 });
    p.branch('cbnz rd', loop, { rd: 5, sf: 1 });
    // Those of the loop, what is before it, and the two constants of the call that ends it.
    steps = (loop - from) / 4 + 2 * LOOPS + 2;
  });
  let again = p.here;
  trace(ptrace.SINGLESTEP);
  wait();
  let done = p.forward('cbz rd', { rd: 10 });
  count();
  p.branch('b', again);
  done();
  print();

  child(() => {
    p.set(6, WORD);
    for (let n = 0; n < STORES; n++) {
      p.put('str xd, [rn, imm]', { rd: 6, rn: 6, imm: 8 });
      p.put('str xd, [rn, imm]', { rd: 6, rn: 6 });
      p.put('ldr xd, [rn, imm]', { rd: 7, rn: 6 });
    }
  });
  const control = (value: number) => {
    p.set(9, WATCH);
    p.set(10, value);
    p.put('str wd, [rn, imm]', { rd: 10, rn: 9, imm: 16 });
    trace(ptrace.SETREGSET, NT_ARM_HW_WATCH, VECTOR);
  };
  again = p.here;
  // Stores to all eight bytes.
  control((0xff << 5) | (2 << 3) | 1);
  trace(ptrace.CONT);
  wait();
  done = p.forward('cbz rd', { rd: 10 });
  count();
  control(0);
  trace(ptrace.SINGLESTEP);
  wait();
  p.branch('b', again);
  done();
  print();
  p.call(call.exit, 0);

  p.data(TEXT + 6, Buffer.from('\n'));
  p.word64(VECTOR, WATCH);
  p.word64(VECTOR + 8, 24);
  p.word64(WATCH + 8, WORD);
  return { bytes: p.elf(WORD + 0x100), steps };
}

test('ptrace steps through every instruction, and a watchpoint stops at every store', { skip, timeout }, () => {
  const { bytes, steps } = elf();
  const { status, stdout, stderr } = runDebian('arm64', [], scriptOf(bytes));
  assert.equal(status, 0, stderr);
  assert.deepEqual(
    stdout.trim().split('\n'),
    [steps, STORES].map((count) => count.toString(8).padStart(6, '0')),
  );
});
