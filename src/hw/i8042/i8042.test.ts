import assert from 'node:assert/strict';
import test from 'node:test';
import { PortSpace } from '../../bus/index.js';
import { fuzzAccesses, seededRandom, TestLine } from '../testing.js';
import { I8042 } from './i8042.js';
import { wireI8042 } from './wiring.js';

function make() {
  const irq1 = new TestLine();
  const irq12 = new TestLine();
  const seen: string[] = [];
  const events = { reset: () => seen.push('reset'), a20: (on: boolean) => seen.push(`a20 ${on}`) };
  const kbc = new I8042({ keyboardIrq: irq1, auxIrq: irq12, events });
  const ports = new PortSpace();
  wireI8042(ports, kbc);
  const command = (value: number) => ports.write(0x64, 1, value);
  const data = (value: number) => ports.write(0x60, 1, value);
  const status = () => ports.read(0x64, 1);
  /** Reads all that the output buffer gives. */
  const drain = () => {
    const bytes: number[] = [];
    while ((status() & 1) !== 0 && bytes.length < 200) bytes.push(ports.read(0x60, 1));
    return bytes;
  };
  const ask = (...bytes: number[]) => {
    for (const byte of bytes) data(byte);
    return drain();
  };
  const askMouse = (...bytes: number[]) => {
    for (const byte of bytes) {
      command(0xd4);
      data(byte);
    }
    return drain();
  };
  return { kbc, ports, irq1, irq12, seen, command, data, status, drain, ask, askMouse };
}

test('self-test, interface tests, command byte', () => {
  const { command, data, drain, status } = make();
  assert.equal(status() & 1, 0);
  command(0xaa);
  assert.equal(status() & 0x0d, 0x0d, 'output full, system flag, last byte was a command');
  assert.deepEqual(drain(), [0x55]);
  command(0xab);
  command(0xa9);
  assert.deepEqual(drain(), [0, 0]);
  command(0x20);
  assert.deepEqual(drain(), [0x47]);
  command(0x60);
  data(0x65);
  assert.equal(status() & 8, 0);
  command(0x20);
  assert.deepEqual(drain(), [0x65]);
});

test('the auxiliary loop by which drivers find the mouse port and its interrupt', () => {
  const { command, data, irq12, irq1, status, drain } = make();
  command(0xd3);
  data(0x5a);
  assert.equal(status() & 0x21, 0x21);
  assert.deepEqual([irq12.level, irq1.level], [true, false]);
  assert.deepEqual(drain(), [0x5a]);
  assert.equal(irq12.level, false);
  command(0xa7);
  command(0x20);
  assert.equal(drain()[0]! & 0x20, 0x20);
  command(0xa8);
  command(0x20);
  assert.equal(drain()[0]! & 0x20, 0);
});

test('keyboard commands', () => {
  const { command, data, ask, kbc } = make();
  command(0x60);
  data(0x05);
  assert.deepEqual(ask(0xff), [0xfa, 0xaa]);
  assert.deepEqual(ask(0xf2), [0xfa, 0xab, 0x83]);
  assert.deepEqual(ask(0xed, 0x02), [0xfa, 0xfa]);
  assert.equal(kbc.state.keyboard[0]!.LEDs, 2);
  assert.deepEqual(ask(0xf3, 0x00), [0xfa, 0xfa]);
  assert.deepEqual(ask(0xf0, 0x00), [0xfa, 0xfa, 0x02]);
  assert.deepEqual(ask(0xee), [0xee]);
  assert.deepEqual(ask(0x55), [0xfe], 'no command');
  assert.deepEqual(ask(0xf4), [0xfa]);
  command(0x60);
  data(0x45);
  assert.deepEqual(ask(0xf2), [0xfa, 0xab, 0x41], 'the ID as translation shows it');
});

test('keys: set 2 plain, set 1 translated, an edge per byte', () => {
  const { kbc, command, data, drain, irq1 } = make();
  kbc.key(0x1e, true);
  kbc.key(0x1e, false);
  kbc.key(0xe048, true);
  kbc.key(0xe048, false);
  assert.deepEqual(drain(), [0x1e, 0x9e, 0xe0, 0x48, 0xe0, 0xc8]);
  assert.equal(irq1.rises, 6);
  command(0x60);
  data(0x05);
  for (const [key, code] of [
    [0x01, 0x76], // Esc
    [0x1c, 0x5a], // Enter
    [0x39, 0x29], // space
    [0x41, 0x83], // F7
    [0x2a, 0x12], // left shift
  ] as const) {
    kbc.key(key, true);
    kbc.key(key, false);
    assert.deepEqual(drain(), [code, 0xf0, code]);
  }
  data(0xf5);
  drain();
  kbc.key(0x1e, true);
  assert.deepEqual(drain(), [], 'scanning is off');
});

test('a disabled keyboard keeps its bytes until it is enabled', () => {
  const { kbc, command, drain } = make();
  command(0xad);
  kbc.key(0x02, true);
  assert.deepEqual(drain(), []);
  command(0xae);
  assert.deepEqual(drain(), [0x02]);
});

test('mouse: reset, identification, the wheel knock, packets', () => {
  const { kbc, askMouse, drain, irq12, status } = make();
  assert.deepEqual(askMouse(0xff), [0xfa, 0xaa, 0x00]);
  assert.deepEqual(askMouse(0xf2), [0xfa, 0x00]);
  assert.deepEqual(askMouse(0xe9), [0xfa, 0x00, 0x02, 100]);
  kbc.moveMouse(5, 5, 0, 1);
  assert.deepEqual(drain(), [], 'reporting is off');
  assert.deepEqual(askMouse(0xf6, 0xf4), [0xfa, 0xfa]);
  irq12.rises = 0;
  kbc.moveMouse(5, -3, 0, 1);
  assert.equal(status() & 0x21, 0x21);
  assert.deepEqual(drain(), [0x29, 5, 0xfd]);
  assert.equal(irq12.rises, 3);
  kbc.moveMouse(300, 0, 0, 0);
  assert.deepEqual(drain(), [0x08, 255, 0, 0x08, 45, 0]);
  askMouse(0xf3, 200, 0xf3, 100, 0xf3, 80);
  assert.deepEqual(askMouse(0xf2), [0xfa, 3]);
  kbc.moveMouse(0, 0, 1, 4);
  assert.deepEqual(drain(), [0x0c, 0, 0, 0xff]);
  askMouse(0xf3, 200, 0xf3, 200, 0xf3, 80);
  assert.deepEqual(askMouse(0xf2), [0xfa, 4]);
  kbc.moveMouse(0, 0, -1, 0x10);
  assert.deepEqual(drain(), [0x08, 0, 0, 0x21]);
  assert.deepEqual(askMouse(0xee, 0x12, 0xec), [0xfa, 0x12, 0xfa], 'wrap mode');
});

test('reset and A20 by the output port, the pulse command and port 92h', () => {
  const { command, data, drain, ports, seen } = make();
  command(0xfe);
  assert.deepEqual(seen.splice(0), ['reset']);
  command(0xff);
  assert.deepEqual(seen.splice(0), []);
  command(0xd0);
  assert.deepEqual(drain(), [0xcf]);
  command(0xd1);
  data(0x01);
  assert.deepEqual(seen.splice(0), ['a20 false']);
  assert.equal(ports.read(0x92, 1), 0);
  ports.write(0x92, 1, 2);
  assert.deepEqual(seen.splice(0), ['a20 true']);
  command(0xdd);
  command(0xdf);
  assert.deepEqual(seen.splice(0), ['a20 false', 'a20 true']);
  ports.write(0x92, 1, 3);
  assert.deepEqual(seen.splice(0), ['reset']);
  command(0xd1);
  data(0x02);
  assert.deepEqual(seen.splice(0), ['reset']);
});

test('saved and loaded with bytes waiting', () => {
  const a = make();
  a.kbc.key(0x1e, true);
  a.kbc.key(0x1e, false);
  a.command(0xdd);
  const b = make();
  b.kbc.load(a.kbc.save());
  assert.deepEqual([b.irq1.level, b.kbc.a20], [true, false]);
  assert.deepEqual(b.drain(), [0x1e, 0x9e]);
});

test('random accesses, keys and movement', () => {
  for (let seed = 1; seed <= 4; seed++) {
    const { kbc, ports } = make();
    const random = seededRandom(seed);
    const port = [0x60, 0x64, 0x92];
    fuzzAccesses(
      random,
      5000,
      3,
      {
        read: (o, s) => ports.read(port[o]!, 1) & (2 ** (8 * s) - 1),
        write: (o, _s, v) => ports.write(port[o]!, 1, v & 0xff),
      },
      () => {
        if (random(3) === 0) kbc.key(random(2) * 0xe000 + random(128), random(2) === 0);
        if (random(3) === 0) kbc.moveMouse(random(4000) - 2000, random(4000) - 2000, random(9) - 4, random(32));
      },
    );
    kbc.load(kbc.save());
  }
});
