/** Breakpoints and stepping in a machine, alone and with the real gdb at the other end. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { type AddressInfo, createServer } from 'node:net';
import test from 'node:test';
import { GdbStub } from '../gdb/index.js';
import { BoardDebugTarget } from './debug-target.js';
import { Program } from './testing/program.js';
import { TestPc } from './testing/test-pc.js';

/** Counts in EAX; calls `f` each time, which adds 3 to EBX. */
function countingGuest(): Program {
  const p = new Program().begin(0x8000, 0x90000).add('31 c0 31 db');
  p.label('loop').add('40').add(0xe8).rel32('f').label('back').add('3d').u32(1_000_000).add(0x75).rel8('loop');
  p.add('b0 00').exit();
  return p.align(4).label('f').add('83 c3 03').label('ret').add('c3');
}

const control = { resume: () => {}, interrupt: () => {}, kill: () => {} };

test('a breakpoint stops before its instruction, in code that is hot already', () => {
  const p = countingGuest();
  let polls = 0;
  const machine = new TestPc({ service: () => ++polls === 20 }).boot(p);
  assert.deepEqual(machine.run(), { why: 'stopped' });
  assert.ok(machine.pc.engine.compiler.counters.regions > 0);
  const target = new BoardDebugTarget(machine.pc, control);
  const register = (name: string) => target.readRegister(target.registers.findIndex((each) => each.name === name));
  const [f, ret] = [BigInt(p.addressOf('f')), BigInt(p.addressOf('ret'))];
  target.setBreakpoint(f);
  assert.deepEqual(machine.run(), { why: 'debug' });
  assert.equal(register('rip'), f);
  const count = register('rax');
  assert.equal(register('rbx'), (count - 1n) * 3n);
  assert.deepEqual(machine.run(), { why: 'debug' }, 'it is still there');
  assert.equal(register('rax'), count);
  target.step();
  assert.equal(register('rip'), ret);
  assert.equal(register('rbx'), count * 3n);
  assert.deepEqual(machine.run(), { why: 'debug' });
  assert.equal(register('rax'), count + 1n);
  target.clearBreakpoint(f);
  assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
  assert.equal(register('rbx'), 3_000_000n);
});

for (const hotThreshold of [0, 16]) {
  test(`watchpoints stop behind the instruction that touched the range, hot threshold ${hotThreshold}`, () => {
    const p = new Program().begin(0x8000, 0x90000).mov(1, 0).mov(3, 0x200000);
    p.label('loop').add('41 8b 43 08').label('store').add('89 0b').label('behind').add('81 f9').u32(5000);
    p.add(0x75).rel8('loop');
    p.mov(6, 0x200000).mov(7, 0x300000).mov(1, 8).label('copy').add('f3 a4').label('after');
    p.add('b0 00').exit();
    const machine = new TestPc({ hotThreshold }).boot(p);
    const target = new BoardDebugTarget(machine.pc, control);
    const register = (name: string) => target.readRegister(target.registers.findIndex((each) => each.name === name));
    const stop = () => {
      assert.deepEqual(machine.run(), { why: 'debug' });
      return [target.takeWatchpointHit()?.kind, register('rip')];
    };
    assert.ok(target.setWatchpoint('write', 0x200002n, 1));
    for (const count of [1n, 2n]) {
      assert.deepEqual(stop(), ['write', BigInt(p.addressOf('behind'))]);
      assert.equal(register('rcx'), count, 'the store has been done');
      assert.equal(machine.u32(0x200000), Number(count));
    }
    target.clearWatchpoint('write', 0x200002n, 1);
    assert.ok(target.setWatchpoint('read', 0x200008n, 4));
    assert.ok(target.setWatchpoint('read', 0x200004n, 4), 'what lies before it is nobody’s');
    assert.deepEqual(stop(), ['read', BigInt(p.addressOf('store'))]);
    target.clearWatchpoint('read', 0x200008n, 4);
    target.clearWatchpoint('read', 0x200004n, 4);
    assert.ok(target.setWatchpoint('access', 0x300003n, 1));
    const [kind] = stop();
    assert.equal(kind, 'access');
    assert.equal(register('rdi'), 0x300004n, 'a repeated instruction stops at the element');
    target.step();
    assert.equal(target.takeWatchpointHit(), undefined);
    target.clearWatchpoint('access', 0x300003n, 1);
    assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
    assert.equal(machine.u32(0x200000), 5000);
  });
}

test('the debugger reads and writes RAM that is mapped, and only that', () => {
  const machine = new TestPc().boot(countingGuest());
  const target = new BoardDebugTarget(machine.pc, control);
  assert.ok(target.writeMemory(0x200ffen, Uint8Array.of(1, 2, 3, 4)));
  assert.deepEqual([...target.readMemory(0x200ffdn, 6)], [0, 1, 2, 3, 4, 0]);
  assert.equal(target.readMemory(0x3ffffen, 8).length, 2);
  assert.ok(!target.writeMemory(0x3ffffen, Uint8Array.of(9, 9, 9)));
  assert.equal(target.readMemory(0xfee00000n, 4).length, 0, 'no device is read');
});

const hasGdb = spawnSync('gdb', ['--version']).status === 0;

test('gdb', { skip: hasGdb ? false : 'gdb is not installed', timeout: 60_000 }, async () => {
  const p = countingGuest();
  let running = false;
  let stopAsked = false;
  let polls = 0;
  const machine = new TestPc({ service: () => ++polls % 8 === 0, maxPolls: Infinity }).boot(p);
  let stub: GdbStub | undefined;
  const target = new BoardDebugTarget(machine.pc, {
    resume: () => {
      running = true;
    },
    interrupt: () => {
      stopAsked = true;
    },
    kill: () => server.close(),
  });
  const server = createServer((socket) => {
    stub = new GdbStub(target, (bytes) => socket.write(bytes));
    socket.on('data', (bytes) => stub?.receive(bytes));
    socket.on('error', () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const f = p.addressOf('f');
  const commands = [
    'set architecture i386:x86-64',
    `target remote 127.0.0.1:${(server.address() as AddressInfo).port}`,
    `break *${f}`,
    'continue',
    'printf "first %d %d %#x\\n", $eax, $ebx, $pc',
    'continue',
    'printf "second %d %d\\n", $eax, $ebx',
    'stepi',
    'printf "stepped %d %#x\\n", $ebx, $pc',
    'delete',
    // The return address, which `ret` reads.
    `awatch *(int*)${0x90000 - 4}`,
    'continue',
    'printf "watched %d %#x\\n", $eax, $pc',
    'delete',
    'set $rbx = 1000',
    'set *(int*)0x200000 = 0x1234567',
    'printf "memory %#x\\n", *(int*)0x200000',
    `x/2xb ${f}`,
    'p $cr0',
    'p $xmm0.uint128',
    'delete',
    'continue',
  ];
  const gdb = spawn('gdb', ['-nx', '-batch', ...commands.flatMap((command) => ['-ex', command])]);
  let output = '';
  gdb.stdout.on('data', (data) => {
    output += data;
  });
  gdb.stderr.on('data', (data) => {
    output += data;
  });
  let over = false;
  gdb.on('close', () => {
    over = true;
  });
  while (!over) {
    await new Promise((resolve) => setTimeout(resolve, running ? 0 : 5));
    if (!running) continue;
    const stop = machine.run();
    if (stop.why === 'stopped' && !stopAsked) continue;
    running = stopAsked = false;
    if (stop.why === 'exit') stub?.exited(stop.status);
    else stub?.stopped();
  }
  server.close();
  assert.match(output, new RegExp(`first 1 0 0x${f.toString(16)}`), output);
  assert.match(output, /second 2 3/, output);
  assert.match(output, /Hardware access \(read\/write\) watchpoint 2/, output);
  assert.match(output, new RegExp(`watched 2 0x${p.addressOf('back').toString(16)}`), output);
  assert.match(output, new RegExp(`stepped 6 0x${p.addressOf('ret').toString(16)}`), output);
  assert.match(output, /memory 0x1234567/, output);
  assert.match(output, /0x83\s+0xc3/, output);
  assert.match(output, /= \[ PE ET \]$/m, output);
  assert.match(output, /exited with code 01/, output);
  assert.equal(target.readRegister(1), 1000n + 3n * 999_998n);
});
