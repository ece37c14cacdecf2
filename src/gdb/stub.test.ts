/** The protocol by its bytes, from gdb's manual (appendix E), against a machine of two registers and sixteen bytes. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { DebugTarget, WatchKind } from './debug-target.js';
import { encodePacket } from './packets.js';
import { GdbStub } from './stub.js';

function bench(vcpus = 1) {
  const memory = Uint8Array.from({ length: 16 }, (_, i) => i);
  const values = [0x1122334455667788n, 0x99aabbccn];
  const calls: string[] = [];
  const hits: { kind: WatchKind; address: bigint }[] = [];
  const target: DebugTarget = {
    architecture: 'i386:x86-64',
    vcpus,
    vcpu: 0,
    registers: [
      { name: 'rip', bits: 64, feature: 'a' },
      { name: 'eflags', bits: 32, feature: 'b' },
    ],
    readRegister: (i) => values[i],
    writeRegister: (i, value) => {
      values[i] = value;
      return true;
    },
    readMemory: (address, length) => memory.subarray(Number(address), Number(address) + length),
    writeMemory: (address, bytes) => {
      if (Number(address) + bytes.length > memory.length) return false;
      memory.set(bytes, Number(address));
      return true;
    },
    setBreakpoint: (address) => calls.push(`+${address.toString(16)}`) > 0,
    clearBreakpoint: (address) => void calls.push(`-${address.toString(16)}`),
    setWatchpoint: (kind, address, length) => calls.push(`+${kind} ${address.toString(16)} ${length}`) > 0,
    clearWatchpoint: (kind, address, length) => void calls.push(`-${kind} ${address.toString(16)} ${length}`),
    takeWatchpointHit: () => hits.shift(),
    step: () => void calls.push('step'),
    resume: () => void calls.push('resume'),
    interrupt: () => void calls.push('interrupt'),
    kill: () => void calls.push('kill'),
  };
  let sent = '';
  const stub = new GdbStub(target, (bytes) => {
    sent += String.fromCharCode(...bytes);
  });
  const raw = (text: string) => {
    sent = '';
    stub.receive(Uint8Array.from(text, (c) => c.charCodeAt(0)));
    return sent;
  };
  /** What is answered to a packet, without acknowledgement and frame. */
  const ask = (text: string) => {
    sent = '';
    stub.receive(encodePacket(text));
    return /^\+\$(.*)#..$/s.exec(sent)?.[1] ?? sent;
  };
  return { stub, target, raw, ask, memory, values, calls, hits, sent: () => sent };
}

test('packets: checksum, refusal, repetition', () => {
  const { raw } = bench();
  assert.equal(raw('$?#3f'), '+$T05thread:1;#d7');
  assert.equal(raw('$?#3e'), '-');
  assert.equal(raw('-'), '$T05thread:1;#d7', 'the last packet again');
  assert.equal(raw('+'), '');
  assert.equal(raw('$?'), '', 'half a packet');
  assert.equal(raw('#3f'), '+$T05thread:1;#d7');
  assert.equal(raw(`$${'m'.repeat(20000)}`), '-', 'no packet is that long');
});

test('watchpoints', () => {
  const { stub, ask, calls, hits, sent } = bench();
  assert.equal(ask('Z2,1000,4'), 'OK');
  assert.equal(ask('Z2,1000,4'), 'OK', 'twice is once');
  assert.equal(ask('Z3,2000,1'), 'OK');
  assert.equal(ask('Z4,ffffffff81000000,8'), 'OK');
  assert.equal(ask('Z2,1000,0'), 'E01');
  assert.equal(ask('Z5,1000,4'), '');
  assert.deepEqual(calls.splice(0), ['+write 1000 4', '+read 2000 1', '+access ffffffff81000000 8']);
  ask('c');
  hits.push({ kind: 'access', address: 0xffffffff81000000n });
  stub.stopped();
  assert.match(sent(), /\$T05awatch:ffffffff81000000;thread:1;#/);
  assert.equal(ask('z3,2000,1'), 'OK');
  hits.push({ kind: 'write', address: 0x1000n });
  assert.equal(ask('s'), 'T05watch:1000;thread:1;');
  assert.equal(ask('s'), 'T05thread:1;');
  calls.length = 0;
  ask('D');
  assert.deepEqual(calls, ['-write 1000 4', '-access ffffffff81000000 8', 'resume']);
});

test('registers and memory', () => {
  const { ask, memory, values } = bench();
  assert.equal(ask('g'), '8877665544332211ccbbaa99');
  assert.equal(ask('p1'), 'ccbbaa99');
  assert.equal(ask('p2'), 'E01');
  assert.equal(ask('P1=78563412'), 'OK');
  assert.equal(values[1], 0x12345678n);
  assert.equal(ask('P1=7856'), 'E01');
  assert.equal(ask('G010000000000000002000000'), 'OK');
  assert.deepEqual(values, [1n, 2n]);
  assert.equal(ask('m4,3'), '040506');
  assert.equal(ask('me,8'), '0e0f', 'as far as there is memory');
  assert.equal(ask('m20,1'), 'E14');
  assert.equal(ask('mzz,1'), 'E01');
  assert.equal(ask('M0,2:abcd'), 'OK');
  assert.equal(ask('X2,4:$#}*'), 'OK', 'binary, escaped');
  assert.deepEqual([...memory.subarray(0, 6)], [0xab, 0xcd, 0x24, 0x23, 0x7d, 0x2a]);
  assert.equal(ask('Mf,2:abcd'), 'E14');
});

test('run control', () => {
  const { ask, raw, calls, stub, sent } = bench();
  assert.equal(ask('Z0,1000,1'), 'OK');
  assert.equal(ask('Z1,2000,1'), 'OK');
  assert.equal(ask('z1,2000,1'), 'OK');
  assert.equal(ask('vCont;s:1;c'), 'T05thread:1;');
  assert.equal(ask('vCont;c'), '+', 'no answer until it stops');
  assert.equal(ask('g'), '+', 'nor to questions');
  assert.equal(raw('\x03'), '');
  stub.stopped();
  assert.match(sent(), /^\$T02thread:1;#/);
  assert.equal(ask('D'), 'OK');
  assert.deepEqual(calls, ['+1000', '+2000', '-2000', 'step', 'resume', 'interrupt', '-1000', 'resume']);
});

test('questions', () => {
  const { ask, raw } = bench();
  assert.match(ask('qSupported:xmlRegisters=i386'), /PacketSize=4000;.*qXfer:features:read\+/);
  assert.match(ask('qXfer:features:read:target.xml:0,fff'), /^l<\?xml.*<reg name="rip" bitsize="64".*<\/target>$/);
  assert.equal(ask('qXfer:features:read:target.xml:2,3'), 'mxml');
  assert.equal(ask('qfThreadInfo'), 'm1');
  assert.equal(ask('qsThreadInfo'), 'l');
  assert.equal(ask('Hg0'), 'OK');
  assert.equal(ask('Hg2'), 'E01', 'there is one vCPU');
  assert.equal(ask('vMustReplyEmpty'), '');
  assert.equal(ask('QStartNoAckMode'), 'OK');
  assert.equal(raw('$?#3f'), '$T05thread:1;#d7');
});

test('vCPUs are threads', () => {
  const { ask, calls, stub, sent, target } = bench(3);
  assert.equal(ask('qfThreadInfo'), 'm1,2,3');
  assert.equal(ask('qThreadExtraInfo,2'), Buffer.from('CPU#1').toString('hex'));
  assert.equal(ask('qC'), 'QC1');
  assert.deepEqual([ask('T3'), ask('T4'), ask('Hg4'), ask('qThreadExtraInfo,4')], ['OK', 'E01', 'E01', 'E01']);
  assert.equal(ask('Hg2'), 'OK');
  assert.equal(target.vcpu, 1);
  assert.equal(ask('vCont;s:3;c'), 'T05thread:3;');
  ask('vCont;c');
  target.vcpu = 1;
  stub.stopped();
  assert.match(sent(), /\$T05thread:2;#/, 'the one that has stopped');
  assert.deepEqual(calls, ['step', 'resume']);
});

test('nonsense of all kinds', () => {
  const { stub } = bench();
  let state = 12345;
  for (let round = 0; round < 3000; round++) {
    const text = Array.from({ length: 1 + (round % 40) }, () => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return 'gGpPmMXZzcsvqQ?HTDk0123456789abcdef,:;=+-$#}'[(state >>> 16) % 44];
    }).join('');
    stub.receive(encodePacket(text));
    stub.receive(Uint8Array.from(text, (c) => c.charCodeAt(0)));
    stub.stopped();
  }
});
