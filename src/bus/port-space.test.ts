import assert from 'node:assert/strict';
import test from 'node:test';
import { type IoHandler, PortSpace } from './index.js';

function probe(seen: string[], name: string): IoHandler {
  return {
    read(offset, size) {
      seen.push(`${name} r${size}@${offset}`);
      return 0x80 + offset;
    },
    write(offset, size, value) {
      seen.push(`${name} w${size}@${offset}=${value.toString(16)}`);
    },
  };
}

test('an access goes whole to the window at its first port, and is cut to what the device takes', () => {
  const ports = new PortSpace();
  const seen: string[] = [];
  ports.add({ name: 'pci', start: 0xcf8, size: 8, handler: probe(seen, 'pci') });
  ports.add({ name: 'reset', start: 0xcf9, size: 1, handler: probe(seen, 'reset') }, 1);
  ports.add({ name: 'pit', start: 0x40, size: 4, handler: probe(seen, 'pit'), maxAccess: 1 });
  ports.write(0xcf8, 4, 0x80001234);
  ports.write(0xcf9, 1, 6);
  ports.write(0x42, 2, 0x1234);
  assert.deepEqual(seen, ['pci w4@0=80001234', 'reset w1@0=6', 'pit w1@2=34', 'pit w1@3=12']);
  assert.equal(ports.nameAt(0xcf9), 'reset');
  assert.equal(ports.nameAt(0xcfa), 'pci');
});

test('an access past a window goes byte by byte, and unassigned ports give ones', () => {
  const ports = new PortSpace();
  const seen: string[] = [];
  ports.add({ name: 'a', start: 0x10, size: 2, handler: probe(seen, 'a') });
  assert.equal(ports.read(0x11, 4), 0xffffff81);
  assert.equal(ports.read(0xf, 2), 0x80ff);
  assert.equal(ports.read(0x9999, 4), 0xffffffff);
  assert.equal(ports.read(0xffff, 4), 0xffffffff);
  ports.write(0xffff, 4, 1);
  assert.deepEqual(seen, ['a r1@1', 'a r1@0']);
});

test('windows come, go and move, and what lies below shows again', () => {
  const ports = new PortSpace();
  const seen: string[] = [];
  ports.add({ name: 'below', start: 0x100, size: 0x20, handler: probe(seen, 'below') });
  const above = ports.add({ name: 'above', start: 0x108, size: 8, handler: probe(seen, 'above') });
  assert.equal(ports.nameAt(0x108), 'above');
  above.move(0x110);
  assert.equal(ports.nameAt(0x108), 'below');
  assert.equal(ports.nameAt(0x117), 'above');
  above.move(0xfffc);
  assert.equal(above.start, undefined);
  above.move(0xfff8);
  assert.equal(ports.nameAt(0xffff), 'above');
  above.remove();
  above.remove();
  assert.equal(ports.nameAt(0xffff), 'unassigned');
  assert.deepEqual(ports.describe(), [{ start: 0x100, end: 0x120, name: 'below' }]);
});

test('an unassigned port is reported once', () => {
  const ports = new PortSpace();
  const lines: string[] = [];
  ports.log = (line) => lines.push(line);
  ports.read(0x80, 1);
  ports.write(0x80, 1, 0);
  assert.deepEqual(lines, ['unassigned I/O port 0x80']);
});
