/**
 * Random register accesses on our chips and on those of a QEMU whose guest never runs, driven through its qtest socket: what
 * is read must be the same. What is left out of the comparison is where we follow the data sheet and QEMU does not:
 * the 8259's cascade request after the slave's request has gone, bits 2 and 3 of the 8042's status, the 16550's delta bits
 * in loopback, the I/O APIC's reserved bits, the upper half of a 32-bit HPET comparator.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import test from 'node:test';
import { ManualTime, MemorySpace, PortSpace } from '../bus/index.js';
import {
  ApicBus,
  Hpet,
  I8042,
  IoApic,
  PicPair,
  Uart16550,
  wireHpet,
  wireI8042,
  wireIoApic,
  wirePic,
  wireUart,
} from './index.js';
import { seededRandom } from './testing.js';

const QEMU = 'qemu-system-x86_64';
const skip = spawnSync(QEMU, ['--version']).status === 0 ? false : `${QEMU} is not installed`;

function board() {
  const clock = new ManualTime();
  const ports = new PortSpace();
  const space = new MemorySpace(new ArrayBuffer(0));
  const unconnected = { set() {} };
  const gsi = Array.from({ length: 24 }, () => unconnected);
  const pic = new PicPair({ output: unconnected });
  wirePic(ports, pic);
  wireIoApic(space, new IoApic({ bus: new ApicBus() }));
  wireUart(ports, 0x3f8, new Uart16550({ clock, irq: unconnected }));
  wireI8042(ports, new I8042({ keyboardIrq: unconnected, auxIrq: unconnected, events: { reset() {} } }));
  wireHpet(space, new Hpet({ clock, gsi, msi: { send() {} } }));
  return { pic, ports, space };
}

/** Records what is done to our board as qtest commands, and what our reads gave. */
class Script {
  readonly board = board();
  readonly commands: string[] = [];
  /** Per command the value that must come back, with a mask, if it is a read. */
  readonly expected: ([number, number] | undefined)[] = [];
  #add(command: string, expected?: [number, number]) {
    this.commands.push(command);
    this.expected.push(expected);
  }
  out(port: number, value: number) {
    this.board.ports.write(port, 1, value);
    this.#add(`outb ${port} ${value}`);
  }
  in(port: number, mask = 0xff) {
    const value = this.board.ports.read(port, 1);
    this.#add(`inb ${port}`, [value, mask]);
    return value;
  }
  store(gpa: number, value: number) {
    this.board.space.write(gpa, 4, value);
    this.#add(`writel ${gpa} ${value}`);
  }
  load(gpa: number, mask = 0xffffffff) {
    this.#add(`readl ${gpa}`, [this.board.space.read(gpa, 4), mask]);
  }
  line(n: number, level: boolean) {
    this.board.pic.inputs[n]!.set(level);
    this.#add(`outb ${0x2000 + n} ${level ? 1 : 0}`);
  }

  async compare() {
    const config = [
      '-M',
      'pc',
      '-accel',
      'tcg',
      '-S',
      '-display',
      'none',
      '-nodefaults',
      '-m',
      '16',
      '-serial',
      'null',
    ];
    const hpet = ['-global', 'hpet.msi=on', '-global', 'hpet.hpet-intcap=0xff0104'];
    const qemu = spawn(QEMU, [...config, ...hpet, '-device', 'pc-testdev', '-qtest', 'stdio'], {
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    const replies: string[] = [];
    let rest = '';
    qemu.stdin.on('error', () => {});
    const done = new Promise<void>((resolve) => {
      qemu.once('exit', () => resolve());
      qemu.stdout.setEncoding('latin1').on('data', (chunk: string) => {
        const lines = (rest + chunk).split('\n');
        rest = lines.pop()!;
        for (const line of lines) if (line.startsWith('OK') || line.startsWith('FAIL')) replies.push(line);
        if (replies.length >= this.commands.length) resolve();
      });
    });
    qemu.stdin.write(`${this.commands.join('\n')}\n`);
    await done;
    qemu.kill();
    assert.equal(replies.length, this.commands.length, 'QEMU answered every command');
    for (const [i, expected] of this.expected.entries()) {
      if (expected === undefined) continue;
      const theirs = Number(replies[i]!.split(' ')[1]);
      const [ours, mask] = expected;
      const history = this.commands.slice(Math.max(0, i - 12), i + 1).join('; ');
      assert.equal((ours & mask) >>> 0, (theirs & mask) >>> 0, `ours, QEMU's after: ${history}`);
    }
  }
}

for (const slave of [false, true]) {
  test(`8259, ${slave ? 'slave' : 'master'}`, { skip }, async () => {
    const s = new Script();
    const random = seededRandom(slave ? 2 : 1);
    const base = slave ? 0xa0 : 0x20;
    const lines = slave ? [9, 10, 11, 12, 14, 15] : [3, 5, 6, 7];
    const elcr = slave ? 0x4d1 : 0x4d0;
    for (let round = 0; round < 10; round++) {
      for (const n of lines) s.line(n, false);
      s.out(elcr, 0);
      s.out(base, 0x11);
      s.out(base + 1, slave ? 0x28 : 0x20);
      s.out(base + 1, slave ? 2 : 4);
      s.out(base + 1, [1, 1, 3, 0x11][random(4)]!);
      for (const value of [0x0a, 0x48, 0xc7, 0x00]) s.out(base, value);
      s.out(elcr, random(256));
      for (let i = 0; i < 120; i++) {
        const n = random(8);
        switch (random(8)) {
          case 0:
            s.out(base + 1, random(256));
            break;
          case 1:
          case 2:
            s.out(base, [0x20, 0x60 | n, 0xa0, 0xc0 | n, 0xe0 | n, 0x80, 0x00][random(7)]!);
            break;
          case 3:
            s.out(base, [0x0a, 0x0b, 0x0c][random(3)]!);
            break;
          default:
            s.line(lines[random(lines.length)]!, random(2) === 0);
        }
        s.in(base);
        s.in(base + 1);
      }
    }
    await s.compare();
  });
}

test('16550', { skip }, async () => {
  const s = new Script();
  const random = seededRandom(3);
  s.out(0x3fc, 0);
  for (let i = 0; i < 1500; i++) {
    const register = [0, 1, 2, 3, 4, 7][random(6)]!;
    let value = random(256);
    if (register === 1) value &= 0xf7;
    if (register === 2) value = [0, 1, 7, 0xc1, 0x81, 3, 5][random(7)]!;
    if (register === 3) value &= ~0x40;
    s.out(0x3f8 + register, value);
    for (const r of [1, 2, 3, 4, 5, 7]) s.in(0x3f8 + r);
    s.in(0x3fe, 0xf0);
    // What an empty receiver gives is anybody's choice.
    if ((s.in(0x3fd) & 1) !== 0 && random(3) === 0) s.in(0x3f8);
  }
  await s.compare();
});

test('8042 with keyboard and mouse', { skip }, async () => {
  const s = new Script();
  const random = seededRandom(4);
  const drain = () => {
    for (let k = 0; k < 20; k++) {
      // QEMU keeps bit 2 from the self-test on, whatever the command byte says.
      if ((s.in(0x64, 0xf3) & 1) === 0) return;
      s.in(0x60);
    }
  };
  const one = <T>(values: readonly T[]): T => values[random(values.length)]!;
  // A mouse has its defaults after its reset command.
  s.out(0x64, 0xd4);
  s.out(0x60, 0xff);
  drain();
  for (let i = 0; i < 800; i++) {
    switch (random(4)) {
      case 0:
        s.out(0x64, one([0x20, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xad, 0xae, 0xd0, 0xc0]));
        break;
      case 1:
        s.out(0x64, one([0xd2, 0xd3]));
        s.out(0x60, random(256));
        break;
      case 2:
        for (const byte of one([0, 1]) === 0
          ? one([
              [0xe8, 2],
              [0xe8, 3],
              [0xf3, 100],
              [0xf3, 60],
            ])
          : [one([0xf2, 0xf4, 0xf5, 0xe9, 0xf6, 0xea])]) {
          s.out(0x64, 0xd4);
          s.out(0x60, byte);
          drain();
        }
        break;
      default:
        for (const byte of random(2) === 0
          ? [one([0xed, 0xf3]), random(8)]
          : [one([0xee, 0xf2, 0xf4, 0xf5, 0xf6, 0xff])]) {
          s.out(0x60, byte);
          drain();
        }
        if (random(4) === 0) {
          s.out(0x64, 0x60);
          s.out(0x60, one([0x47, 0x65, 0x07, 0x45, 0x44]));
        }
    }
    drain();
  }
  await s.compare();
});

test('I/O APIC', { skip }, async () => {
  const s = new Script();
  const random = seededRandom(5);
  for (let i = 0; i < 1500; i++) {
    const index = [0, 1, 0x10 + random(48), 0x10 + random(48)][random(4)]!;
    s.store(0xfec00000, index);
    s.load(0xfec00000);
    const high = index >= 0x10 && (index & 1) !== 0;
    const value = high ? random(256) * 2 ** 24 : index < 0x10 ? random(2 ** 32) : random(0x20000) & ~0x4700;
    s.store(0xfec00010, value);
    s.load(0xfec00010, ~0x4000);
  }
  await s.compare();
});

test('HPET', { skip }, async () => {
  const s = new Script();
  const random = seededRandom(6);
  const offsets = [0x10, 0x20, 0x100, 0x108, 0x110, 0x114, 0x120, 0x128, 0x140, 0x148, 0xf0, 0xf4];
  for (let i = 0; i < 1500; i++) {
    const offset = offsets[random(offsets.length)]!;
    // The counter stands still: QEMU's virtual time does too.
    s.store(0xfed00000 + offset, offset === 0x10 ? random(128) * 2 : random(2 ** 32));
    for (const r of [0, 4, 0x10, 0x20, 0x100, 0x104, 0x108, 0x110, 0x114, 0x120, 0x128, 0x148, 0xf0, 0xf4]) {
      s.load(0xfed00000 + r);
    }
  }
  await s.compare();
});
