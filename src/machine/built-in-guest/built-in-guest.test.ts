import assert from 'node:assert/strict';
import { test } from 'node:test';
import { field } from '../../guest/x86/state.js';
import { VirtioBalloon, VirtioDevice, VirtioEntropy, type VirtioModel, VirtioPci } from '../../hw/index.js';
import type { DeviceBoard } from '../board.js';
import { TestPc } from '../testing/test-pc.js';
import { builtInGuest } from './index.js';

const image = builtInGuest();

function plug(board: DeviceBoard, name: string, model: VirtioModel): void {
  const { dma } = board.memory;
  const pci = new VirtioPci({ device: new VirtioDevice(model, { name, dma }) });
  board.pci.bus.add(pci.function, board.pci.bus.freeSlot(2) as number);
  board.add(pci);
}

/** What the guest writes when these lines are typed, the banner left out; and the machine, which has ended. */
function session(lines: readonly string[], hotThreshold = 16): { text: string; machine: TestPc; balloon: string[] } {
  const input = Buffer.from(`${[...lines, 'poweroff'].join('\r')}\r`);
  const balloon: string[] = [];
  let next = 0;
  const machine: TestPc = new TestPc({
    hotThreshold,
    maxPolls: 200_000,
    firmware: { image },
    service: () => {
      const uart = machine.pc.serial[0];
      if (next < input.length && (uart?.canReceive() ?? 0) > 0) uart?.receive(input.subarray(next, ++next));
      return false;
    },
    addDevices: (board) => {
      plug(board, 'rng', new VirtioEntropy((target) => target.fill(7)));
      plug(
        board,
        'balloon',
        new VirtioBalloon({
          host: {
            inflated: (gpa, bytes) => balloon.push(`+${gpa} ${bytes}`),
            deflated: (gpa, bytes) => balloon.push(`-${gpa} ${bytes}`),
          },
        }),
      );
    },
  });
  machine.pc.start();
  assert.deepEqual(machine.run(), { why: 'poweroff' });
  const [, ...answers] = machine.serial.replaceAll('\r', '').split('vring> ');
  return { text: answers.join(''), machine, balloon };
}

for (const hotThreshold of [0, 16]) {
  test(`every way into ring 0, as often as asked, with threshold ${hotThreshold}`, () => {
    const { text } = session(['syscall 300', 'fault 700', 'gp 20', 'tick 3', 'port 50', 'mmio 9'], hotThreshold);
    const counts = [...text.matchAll(/^(\d+) /gm)].map(([, count]) => Number(count));
    assert.deepEqual(counts, [300, 700, 20, 3, 50, 9], text);
    // The period of the HPET's counter in femtoseconds: 100 MHz.
    assert.match(text, /0xfed00004: 10000000\n/);
  });
}

test('rings: code selectors with their privilege, and each crossing once', () => {
  const { text } = session(['rings']);
  assert.match(text, /ring 3 runs with code selector 0x33, ring 0 with 0x18\n/);
  assert.match(text, /asked: +1 .*\nmissing: +1 .*\nforbidden: +1 .*\ninterrupted: +1 /);
});

test('a page is translated by four entries, and ring 3 may not touch the kernel', () => {
  const { text, machine } = session(['page', 'crash', 'syscall 2']);
  const entries = [...text.matchAll(/ = (0x[0-9a-f]+)/g)].map(([, value]) => Number(value));
  assert.equal(entries.length, 4);
  // Each entry says where the next table is; present, writable, for ring 3.
  for (const [i, at] of [0x2000, 0x5000, 0x7000, 0x31000].entries()) assert.equal(entries[i] & ~0xfff, at);
  for (const entry of entries) assert.equal(entry & 7, 7);
  assert.equal(machine.u32(0x31000) & 0xff, 'v'.charCodeAt(0));
  // Present, write, user: 7.
  assert.match(text, /exception 14, error code 0x7, at 0x[0-9a-f]+ in ring 3\nthe program was ended/);
  assert.match(text, /\n2 system calls/);
});

test('virtio devices: found by their capabilities, asked through their queues', () => {
  const { text, balloon } = session(['pci', 'random 5', 'balloon 2', 'disk']);
  assert.match(text, /0x1af4:0x1005 /);
  assert.match(text, /\n5 times 16 bytes/);
  assert.deepEqual(balloon, ['+262144 4096', '+262144 4096', '-262144 4096', '-262144 4096']);
  assert.match(text, /this machine has no such device/);
});

test('what is typed wrong is told, and a line can be mended', () => {
  const { text } = session([
    'nonsense',
    'syscall x',
    'syscall 0',
    'help 3',
    'syscalx\u007fl  4',
    '   ',
    'port 12345678',
  ]);
  assert.match(text, /there is no such command/);
  assert.equal([...text.matchAll(/a number from 1 to 9999999/g)].length, 3);
  assert.match(text, /it takes no argument/);
  assert.match(text, /\n4 system calls/);
});

test('an interrupt that a flawed processor takes between STI and HLT wakes the guest all the same', () => {
  const input = Buffer.from('syscall 7\rpoweroff\r');
  let next = 0;
  const machine: TestPc = new TestPc({
    maxPolls: 200_000,
    firmware: { image },
    service: () => {
      const { vcpu } = machine.pc.cpu;
      const uart = machine.pc.serial[0];
      if (next === input.length || vcpu.get32(field.halted) === 0 || !uart?.canReceive()) return false;
      // As if HLT had not been carried out yet: the interrupt comes before it.
      vcpu.set64(field.rip, vcpu.get64(field.rip) - 1n);
      vcpu.set32(field.halted, 0);
      uart.receive(input.subarray(next, ++next));
      return false;
    },
  });
  machine.pc.start();
  assert.deepEqual(machine.run(), { why: 'poweroff' });
  assert.equal(next, input.length);
  assert.match(machine.serial, /\n7 system calls/);
});

test('without a serial port the guest sleeps', () => {
  let sleeps = 0;
  const machine: TestPc = new TestPc({
    maxPolls: 5000,
    firmware: { image },
    hasSerial: false,
    service: () => {
      if (machine.pc.cpu.vcpu.get32(field.halted) !== 0) sleeps++;
      return sleeps > 10;
    },
  });
  machine.pc.start();
  assert.deepEqual(machine.run(), { why: 'stopped' });
  assert.ok(sleeps > 10, `${sleeps}`);
});

test('the image is the same each time, and ends at the reset vector', () => {
  assert.deepEqual(builtInGuest(), image);
  assert.equal(image.length, 0x10000);
  assert.equal(image[0xfff0], 0xe9);
});
