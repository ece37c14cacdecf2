import assert from 'node:assert/strict';
import test from 'node:test';
import { MemorySpace, PortSpace } from '../../bus/index.js';
import { StateError } from '../../schema/index.js';
import { fuzzAccesses, seededRandom } from '../testing.js';
import { addKernel, addPcItems, FwCfg, fwCfgKey, isFwCfgName, wireFwCfg } from './index.js';

const ramBytes = 0x100000;

function setUp() {
  const memory = new MemorySpace(new ArrayBuffer(ramBytes));
  memory.addRam({ name: 'ram', gpa: 0, size: ramBytes, hva: 0, readonly: false });
  const ports = new PortSpace();
  const fwCfg = new FwCfg({ dma: memory.dma });
  wireFwCfg(ports, fwCfg);
  const { dma } = memory;
  const read = (key: number, length: number) => {
    ports.write(0x510, 2, key);
    return Uint8Array.from({ length }, () => ports.read(0x511, 1));
  };
  const be = (value: number) => {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, false);
    return new DataView(bytes.buffer).getUint32(0, true);
  };
  /** Runs a transfer; returns the control word that the device leaves. */
  const transfer = (control: number, length: number, address: number, at = 0x1000) => {
    dma.writeU32(at, be(control));
    dma.writeU32(at + 4, be(length));
    dma.writeU32(at + 8, be(Math.floor(address / 2 ** 32)));
    dma.writeU32(at + 12, be(address >>> 0));
    ports.write(0x514, 4, 0);
    ports.write(0x518, 4, be(at));
    return be(dma.readU32(at));
  };
  const bytesAt = (gpa: number, length: number) => {
    const target = new Uint8Array(length);
    dma.read(gpa, target);
    return target;
  };
  return { memory, ports, fwCfg, dma, read, transfer, bytesAt };
}

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');

test('signature, features and items byte by byte', () => {
  const { read, ports, fwCfg } = setUp();
  assert.equal(text(read(0, 6)), 'QEMU\0\0', 'past the end come zeroes');
  assert.deepEqual([...read(1, 4)], [3, 0, 0, 0]);
  assert.equal(text(Uint8Array.from({ length: 8 }, (_, i) => ports.read(0x514 + i, 1))), 'QEMU CFG');
  addPcItems(fwCfg, {
    ramBytes: 0x8000000,
    cpus: 2,
    maxCpus: 4,
    graphic: false,
    e820: [{ start: 0x100000, size: 0x7f00000, type: 1 }],
  });
  assert.deepEqual([...read(fwCfgKey.ramSize, 8)], [0, 0, 0, 8, 0, 0, 0, 0]);
  assert.deepEqual([...read(fwCfgKey.cpuCount, 2)], [2, 0]);
  assert.deepEqual([...read(fwCfgKey.irq0Override, 1)], [1]);
  assert.deepEqual([...read(0x7777, 3)], [0, 0, 0], 'no such item');
  ports.write(0x511, 1, 0x55);
  assert.equal(text(read(0, 4)), 'QEMU');
});

test('files: sorted directory, keys, contents', () => {
  const { read, fwCfg } = setUp();
  fwCfg.setFile('opt/z', Buffer.from('zzz'));
  fwCfg.setFile('etc/a', Buffer.from('first'));
  fwCfg.setFile('opt/z', Buffer.from('again'));
  const directory = read(fwCfgKey.fileDirectory, 4 + 2 * 64);
  const view = new DataView(directory.buffer);
  assert.equal(view.getUint32(0, false), 2);
  const entries = [0, 1].map((i) => {
    const at = 4 + i * 64;
    const name = text(directory.slice(at + 8, at + 64)).replace(/\0+$/, '');
    return { name, size: view.getUint32(at, false), key: view.getUint16(at + 4, false) };
  });
  assert.deepEqual(entries, [
    { name: 'etc/a', size: 5, key: 0x20 },
    { name: 'opt/z', size: 5, key: 0x21 },
  ]);
  assert.equal(text(read(0x20, 5)), 'first');
  assert.equal(text(read(0x21, 5)), 'again');
  assert.equal(text(read(0x22, 2)), '\0\0');
  assert.deepEqual(['', 'a b', 'x'.repeat(56), 'opt/ok', 'x'.repeat(55)].map(isFwCfgName), [
    false,
    false,
    false,
    true,
    true,
  ]);
});

test('DMA: select, read with padding, skip, errors', () => {
  const { transfer, fwCfg, bytesAt, dma, ports } = setUp();
  const content = Uint8Array.from({ length: 3000 }, (_, i) => i & 0xff);
  fwCfg.setFile('opt/data', content);
  const [READ, SKIP, SELECT, WRITE] = [2, 4, 8, 16];
  assert.equal(transfer((0x20 << 16) | SELECT | READ, 1000, 0x8000), 0);
  assert.deepEqual([...bytesAt(0x8000, 1000)], [...content.subarray(0, 1000)]);
  assert.equal(transfer(SKIP, 500, 0), 0);
  assert.equal(transfer(READ, 10, 0x8000), 0);
  assert.deepEqual([...bytesAt(0x8000, 10)], [...content.subarray(1500, 1510)]);
  dma.write(0x8000, new Uint8Array(3000).fill(0xee));
  assert.equal(transfer(READ, 2000, 0x8000), 0);
  assert.deepEqual([...bytesAt(0x8000, 1490)], [...content.subarray(1510)]);
  assert.deepEqual([...bytesAt(0x8000 + 1490, 510)], new Array(510).fill(0));
  assert.equal(bytesAt(0x8000 + 2000, 1)[0], 0xee);
  assert.equal(transfer((0x20 << 16) | SELECT | WRITE, 4, 0x8000), 1, 'not writable');
  assert.equal(transfer((0x3000 << 16) | SELECT | READ, 16, 0x8000), 0, 'no such item: zeroes');
  assert.deepEqual([...bytesAt(0x8000, 16)], new Array(16).fill(0));
  assert.equal(transfer(READ, 0xffffffff, 0), 1, 'absurd lengths are refused');
  assert.equal(transfer((0x20 << 16) | SELECT | READ, 100, ramBytes - 50), 0, 'what lies outside RAM is dropped');
  assert.deepEqual([...bytesAt(ramBytes - 50, 50)], [...content.subarray(0, 50)]);
  // A descriptor outside RAM does nothing.
  ports.write(0x514, 4, 0xffffffff);
  ports.write(0x518, 4, 0xffffffff);
  assert.deepEqual([fwCfg.state.dmaHigh, fwCfg.state.dmaLow], [0, 0]);
});

test('writable files', () => {
  const { transfer, fwCfg, dma, read } = setUp();
  const log: number[][] = [];
  fwCfg.setFile('etc/vmgenid_addr', new Uint8Array(8), { written: (at, length) => void log.push([at, length]) });
  dma.write(0x8000, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9));
  const [SKIP, SELECT, WRITE] = [4, 8, 16];
  assert.equal(transfer((0x20 << 16) | SELECT | WRITE, 8, 0x8000), 0);
  assert.deepEqual([...read(0x20, 8)], [1, 2, 3, 4, 5, 6, 7, 8]);
  assert.equal(transfer((0x20 << 16) | SELECT | WRITE, 9, 0x8000), 1, 'too long');
  assert.equal(transfer((0x20 << 16) | SELECT | SKIP, 6, 0), 0);
  assert.equal(transfer(WRITE, 2, 0x8004), 0);
  assert.deepEqual([...read(0x20, 8)], [1, 2, 3, 4, 5, 6, 5, 6]);
  assert.deepEqual(log, [
    [0, 8],
    [6, 2],
  ]);
});

test('kernel items', () => {
  const { fwCfg, read } = setUp();
  addKernel(fwCfg, {
    setup: Uint8Array.of(1, 2),
    setupGpa: 0x10000,
    kernel: Uint8Array.of(3, 4, 5),
    kernelGpa: 0x100000,
    initrd: Uint8Array.of(6),
    initrdGpa: 0x7000000,
    commandLine: 'a=b',
    commandLineGpa: 0x20000,
  });
  assert.deepEqual([...read(fwCfgKey.kernelData, 3)], [3, 4, 5]);
  assert.deepEqual([...read(fwCfgKey.kernelSize, 4)], [3, 0, 0, 0]);
  assert.equal(text(read(fwCfgKey.commandLineData, 4)), 'a=b\0');
  assert.deepEqual([...read(fwCfgKey.initrdAddress, 4)], [0, 0, 0, 7]);
});

test('save and load, also of what the guest wrote', () => {
  const from = setUp();
  const to = setUp();
  const seen: number[] = [];
  from.fwCfg.setFile('etc/w', new Uint8Array(4), { written: () => {} });
  to.fwCfg.setFile('etc/w', new Uint8Array(4), { written: (at) => void seen.push(at) });
  from.dma.write(0x8000, Uint8Array.of(9, 8, 7, 6));
  from.transfer((0x20 << 16) | 8 | 16, 4, 0x8000);
  from.ports.write(0x510, 2, 0);
  from.ports.read(0x511, 1);
  const saved = from.fwCfg.save();
  to.fwCfg.load(saved);
  assert.equal(to.ports.read(0x511, 1), 'E'.charCodeAt(0), 'in the middle of an item');
  assert.deepEqual([...to.read(0x20, 4)], [9, 8, 7, 6]);
  assert.deepEqual(seen, [0]);
  const before = to.fwCfg.save();
  for (const bad of [saved.subarray(0, 30), new Uint8Array(0), setUp().fwCfg.save()]) {
    assert.throws(() => to.fwCfg.load(bad), StateError);
    assert.deepEqual(to.fwCfg.save(), before);
  }
  to.fwCfg.reset();
  assert.equal(to.ports.read(0x511, 1), 'Q'.charCodeAt(0));
});

test('random port accesses and descriptors never throw', () => {
  const random = seededRandom(17);
  const { ports, fwCfg, transfer } = setUp();
  fwCfg.setFile('etc/w', new Uint8Array(64), { written: () => {} });
  fuzzAccesses(random, 20000, 12, {
    read: (offset, size) => ports.read(0x510 + offset, size),
    write: (offset, size, value) => ports.write(0x510 + offset, size, value),
  });
  for (let i = 0; i < 3000; i++) {
    const key = random(2) === 0 ? random(0x24) : random(0x10000);
    const length = random(3) === 0 ? random(2 ** 32) : random(100);
    const control = transfer(
      ((key << 16) | random(32)) >>> 0,
      length,
      random(4) === 0 ? random(2 ** 32) : random(ramBytes),
    );
    assert.ok(control <= 1, `control ${control}`);
  }
});
