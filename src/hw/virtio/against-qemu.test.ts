/**
 * The same driver steps on our PCI, virtio and fw_cfg devices and on those of a QEMU whose guest is halted for ever, driven
 * through its qtest socket: what a driver sees must be the same. Left out: order and place of capabilities, feature bits that only QEMU offers,
 * status bits of the conventional bus, timing registers of the host bridge, the padding of a disk's serial number.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { noQemu } from '../../dev/qtest.js';
import {
  barIo,
  bytes,
  capabilities,
  common,
  compare,
  config,
  isr,
  type Log,
  type Machine,
  mapBars,
  pciHeader,
  pciRead,
  pciWrite,
  type Queue,
  slot,
  start,
  virtioFn,
} from '../../dev/virtio-qtest.js';
import type { BlockBackend, BlockDone } from '../disk/block-backend.js';
import { VirtioBalloon } from './virtio-balloon.js';
import { VirtioBlock } from './virtio-block.js';
import { type ConsolePortBackend, VirtioConsole } from './virtio-console.js';
import { VirtioEntropy } from './virtio-entropy.js';

const skip = noQemu;

// The tests

test('the chip set has the identity that QEMU gives it', { skip }, async () => {
  await compare(new VirtioEntropy(() => {}), ['-device', `virtio-rng-pci,addr=${slot}`], async (m, log) => {
    for (const fn of [0, 8]) await pciHeader(m, fn, log);
    for (const at of [0x00, 0x08, 0x2c]) log(`pm ${at}`, await pciRead(m, 11, at, 4));
    log('pm pin', await pciRead(m, 11, 0x3d, 1));
    await pciWrite(m, 11, 0x40, 4, 0xb101);
    log('pm base', await pciRead(m, 11, 0x40, 4));
    await m.out(0xcf8, 2, 0x1234);
    log('address', await m.in(0xcf8, 4));
    log('nothing', await pciRead(m, 31 << 3, 0, 4));
    await m.out(0xcf8, 4, 0);
    log('disabled', await m.in(0xcfc, 4));
  });
});

class MemoryDisk implements BlockBackend {
  readonly bytes: Uint8Array;
  readonly readonly = false;
  constructor(content: Uint8Array) {
    this.bytes = content.slice();
  }
  get sizeBytes(): number {
    return this.bytes.length;
  }
  read(offset: number, targets: readonly Uint8Array[], done: BlockDone): void {
    let at = offset;
    for (const target of targets) {
      target.set(this.bytes.subarray(at, at + target.length));
      at += target.length;
    }
    done();
  }
  write(offset: number, sources: readonly Uint8Array[], done: BlockDone): void {
    let at = offset;
    for (const source of sources) {
      this.bytes.set(source, at);
      at += source.length;
    }
    done();
  }
  flush(done: BlockDone): void {
    done();
  }
  discard(_offset: number, _length: number, done: BlockDone): void {
    done();
  }
  writeZeroes(offset: number, length: number, _mayUnmap: boolean, done: BlockDone): void {
    this.bytes.fill(0, offset, offset + length);
    done();
  }
}

async function blockSteps(m: Machine, log: Log) {
  const [SEG_MAX, GEOMETRY, BLK_SIZE, FLUSH, TOPOLOGY, WCE, DISCARD, ZEROES] = [2, 4, 6, 9, 10, 11, 13, 14];
  const [INDIRECT, EVENT] = [28, 29];
  const bits = (...list: number[]) => list.reduce((sum, bit) => sum + 2 ** bit, 0);
  await pciHeader(m, virtioFn, log);
  await capabilities(m, log);
  await mapBars(m);
  // Legacy registers.
  log('legacy features', (await m.in(barIo, 4)) & bits(SEG_MAX, BLK_SIZE, FLUSH, DISCARD, ZEROES, 27, INDIRECT, EVENT));
  log('legacy queue size', await m.in(barIo + 12, 2));
  log('legacy status', await m.in(barIo + 18, 1));
  log('legacy isr', await m.in(barIo + 19, 1));
  log('legacy capacity', await m.in(barIo + 20, 4));
  await m.out(barIo + 8, 4, 0x300);
  log('legacy frame', await m.in(barIo + 8, 4));
  await m.out(barIo + 18, 1, 0);
  log('legacy frame', await m.in(barIo + 8, 4));
  // Modern ones.
  log('queues', await m.read(common + 18, 2));
  await m.write(common + 16, 2, 1);
  log('vector', await m.read(common + 16, 2));
  await m.write(common + 16, 2, 99);
  log('vector', await m.read(common + 16, 2));
  for (const at of [0, 4, 12, 20, 32, 36, 40, 44, 48, 52]) {
    const size = at === 32 ? 1 : 4;
    log(`disk config ${at}`, await m.read(config + at, size));
  }
  const wanted = bits(SEG_MAX, GEOMETRY, BLK_SIZE, FLUSH, TOPOLOGY, WCE, DISCARD, ZEROES, INDIRECT);
  let [queue] = (await start(m, wanted, [0], log)) as [Queue];
  const [header, status, data] = [0x100000, 0x101000, 0x102000];
  const request = async (type: number, sector: number, pieces: [number, number, boolean][]) => {
    await m.write(header, 4, type);
    await m.write(header + 4, 4, 0);
    await m.write(header + 8, 4, sector >>> 0);
    await m.write(header + 12, 4, Math.floor(sector / 2 ** 32));
    await m.write(status, 1, 0xee);
    await queue.add([[header, 16, false], ...pieces, [status, 1, true]]);
    await queue.kick();
    const used = await queue.take(1);
    return [used.map(([, length]) => length), await m.read(status, 1), await m.read(isr, 1), await m.read(isr, 1)];
  };
  log(
    'read',
    await request(0, 1, [
      [data, 300, true],
      [data + 0x1000, 212, true],
    ]),
  );
  log('data', (await bytes(m, data, 300)) + (await bytes(m, data + 0x1000, 212)));
  for (let i = 0; i < 1024; i += 4) await m.write(data + i, 4, (i * 0x01030507) >>> 0);
  log('write', await request(1, 5, [[data, 1024, false]]));
  log('read', await request(0, 5, [[data + 0x2000, 1024, true]]));
  log('data', await bytes(m, data + 0x2000, 1024));
  log('flush', await request(4, 0, []));
  log('id', await request(8, 0, [[data, 20, true]]));
  log('id', await bytes(m, data, 10));
  log('unknown', await request(77, 0, []));
  log('beyond', await request(0, 2047, [[data, 1024, true]]));
  log('far beyond', await request(0, 2 ** 40, [[data, 512, true]]));
  log('odd length', await request(1, 0, [[data, 100, false]]));
  const range = async (type: number, sector: number, sectors: number, flags: number) => {
    for (const [i, word] of [sector, 0, sectors, flags].entries()) await m.write(data + i * 4, 4, word);
    return (await request(type, 0, [[data, 16, false]])).slice(1);
  };
  log('discard', await range(11, 8, 8, 0));
  log('discard, flags', await range(11, 8, 8, 1));
  log('discard, beyond', await range(11, 2047, 8, 0));
  log('zeroes', await range(13, 5, 1, 0));
  log('zeroes, flags', await range(13, 5, 1, 2));
  log('read', await request(0, 5, [[data + 0x2000, 1024, true]]));
  log('data', await bytes(m, data + 0x2000, 1024));
  await m.write(config + 32, 1, 0);
  log('write cache', await m.read(config + 32, 1));

  // Broken rings: the device asks for a reset.
  // QEMU also sets the queue bit of the ISR when it reports a change of configuration.
  const broken: [string, (q: Queue) => Promise<void>][] = [
    [
      'loop',
      async (q) => {
        await q.descriptor(0, data, 16, 1, 1);
        await q.descriptor(1, data, 16, 1, 0);
        await q.offer(0);
      },
    ],
    ['head', (q) => q.offer(q.size)],
    [
      'next',
      async (q) => {
        await q.descriptor(0, data, 16, 1, 9999);
        await q.offer(0);
      },
    ],
    [
      'no bytes',
      async (q) => {
        await q.descriptor(0, data, 0, 0, 0);
        await q.offer(0);
      },
    ],
    [
      'order',
      async (q) => {
        await q.descriptor(0, data, 16, 3, 1);
        await q.descriptor(1, data, 16, 0, 0);
        await q.offer(0);
      },
    ],
    [
      'indirect length',
      async (q) => {
        await q.descriptor(0, data, 17, 4, 0);
        await q.offer(0);
      },
    ],
    ['index', (q) => m.write(q.avail + 2, 2, 5000)],
    [
      'no header',
      async (q) => {
        await q.descriptor(0, data, 8, 0, 0);
        await q.offer(0);
      },
    ],
  ];
  for (const [what, set] of broken) {
    [queue] = (await start(m, wanted, [0], () => {})) as [Queue];
    await m.read(isr, 1);
    await set(queue);
    await queue.kick();
    log(`broken: ${what}`, [await m.read(common + 20, 1), (await m.read(isr, 1)) & 2, await m.read(queue.used + 2, 2)]);
  }
}

test('block device against QEMU', { skip }, async () => {
  const content = Uint8Array.from({ length: 1 << 20 }, (_, i) => (i * 7 + (i >> 9)) & 0xff);
  const dir = mkdtempSync(join(tmpdir(), 'vring-virtio-'));
  try {
    const file = join(dir, 'disk.raw');
    writeFileSync(file, content);
    const args = [
      '-drive',
      `if=none,id=d,format=raw,file=${file},discard=unmap`,
      '-device',
      `virtio-blk-pci,addr=${slot},drive=d,serial=vring-disk,num-queues=1`,
    ];
    await compare(new VirtioBlock({ backend: new MemoryDisk(content), serial: 'vring-disk' }), args, blockSteps);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

async function consoleSteps(m: Machine, log: Log) {
  await pciHeader(m, virtioFn, log);
  await mapBars(m);
  log('queues', await m.read(common + 18, 2));
  log('ports', await m.read(config + 4, 4));
  const queues = await start(m, 2, [0, 1, 2, 3, 4, 5], log);
  const [, , toDriver, toDevice, , output] = queues as [Queue, Queue, Queue, Queue, Queue, Queue];
  const [message, buffer] = [0x100000, 0x110000];
  let next = 0;
  const offer = async (count: number) => {
    for (let i = 0; i < count; i++) await toDriver.add([[buffer + next++ * 0x100, 0x100, true]]);
    await toDriver.kick();
  };
  let read = 0;
  const messages = async (count: number) => {
    const out: string[] = [];
    for (const [, length] of await toDriver.take(count)) out.push(await bytes(m, buffer + read++ * 0x100, length));
    return out;
  };
  const control = async (id: number, event: number, value: number) => {
    await m.write(message, 4, id);
    await m.write(message + 4, 2, event);
    await m.write(message + 6, 2, value);
    await toDevice.add([[message, 8, false]]);
    await toDevice.kick();
    log(`control ${id} ${event} ${value}`, (await toDevice.take(1)).length);
  };
  await offer(16);
  await control(0xffffffff, 0, 1);
  log('ports added', (await messages(2)).sort());
  await control(0, 3, 1);
  log('console', await messages(2));
  await control(1, 3, 1);
  log('port', await messages(2));
  await control(1, 6, 1);
  await m.write(message, 4, 0x64636261);
  await output.add([[message, 4, false]]);
  await output.kick();
  log('output', await output.take(1));
  await control(55, 6, 1);
  await control(1, 6, 0);
}

test('console device against QEMU', { skip }, async () => {
  const host: ConsolePortBackend = { output: (data) => data.length };
  const model = new VirtioConsole({
    ports: [
      { id: 0, isConsole: true, hostOpen: true, backend: host },
      { id: 1, isConsole: false, name: 'org.vring.agent', hostOpen: true, backend: host },
    ],
    maxPorts: 4,
  });
  const args = ['-device', `virtio-serial-pci,addr=${slot},max_ports=4`];
  args.push('-chardev', 'null,id=a', '-device', 'virtconsole,chardev=a,nr=0');
  args.push('-chardev', 'file,id=b,path=/dev/null', '-device', 'virtserialport,chardev=b,nr=1,name=org.vring.agent');
  await compare(model, args, consoleSteps);
});

test('entropy device and balloon against QEMU', { skip }, async () => {
  const args = ['-object', 'rng-builtin,id=r', '-device', `virtio-rng-pci,addr=${slot},rng=r`];
  await compare(new VirtioEntropy((target) => target.fill(4)), args, async (m, log) => {
    await pciHeader(m, virtioFn, log);
    await mapBars(m);
    const [queue] = (await start(m, 0, [0], log)) as [Queue];
    await queue.add([
      [0x100000, 60, true],
      [0x101000, 4, true],
    ]);
    await queue.kick();
    log('filled', await queue.take(1));
    log('isr', await m.read(isr, 1));
  });
  const host = { inflated() {}, deflated() {} };
  const balloon = new VirtioBalloon({ host });
  await compare(balloon, ['-device', `virtio-balloon-pci,addr=${slot}`], async (m, log) => {
    await pciHeader(m, virtioFn, log);
    await mapBars(m);
    await m.write(common, 4, 0);
    log('offered, page poison aside', (await m.read(common + 4, 4)) & 0xf);
    const [inflate, deflate] = (await start(m, 2, [0, 1], log)) as [Queue, Queue];
    await m.write(0x100000, 4, 0x800);
    for (const queue of [inflate, deflate]) {
      await queue.add([[0x100000, 4, false]]);
      await queue.kick();
      log('pages', await queue.take(1));
    }
    log('pages asked for', await m.read(config, 4));
    await m.write(config + 4, 4, 3);
    log('actual', await m.read(config + 4, 4));
  });
});

test('fw_cfg against QEMU', { skip }, async () => {
  const args = [
    '-device',
    `virtio-rng-pci,addr=${slot}`,
    '-fw_cfg',
    'name=opt/vring/text,string=firmware configuration',
  ];
  await compare(new VirtioEntropy(() => {}), args, async (m, log) => {
    const swap = (value: number) =>
      ((value >>> 24) | ((value >>> 8) & 0xff00) | ((value & 0xff00) << 8) | ((value & 0xff) << 24)) >>> 0;
    const select = (key: number) => m.out(0x510, 2, key);
    const next = () => m.in(0x511, 1);
    const text = async (length: number) => {
      let out = '';
      for (let i = 0; i < length; i++) out += (await next()).toString(16).padStart(2, '0');
      return out;
    };
    for (const key of [0, 1, 0x3fff, 0xbfff]) {
      await select(key);
      log(`item ${key}`, await text(6));
    }
    log('DMA signature', [await m.in(0x514, 4), await m.in(0x518, 4), await m.in(0x516, 1)]);
    log('ports', [await m.in(0x510, 1), await m.in(0x512, 1)]);
    // The file's key, through the directory.
    await select(0x19);
    const be = async (bytes: number) => {
      let value = 0;
      for (let i = 0; i < bytes; i++) value = value * 256 + (await next());
      return value;
    };
    let key = 0;
    for (let left = await be(4); left > 0; left--) {
      const size = await be(4);
      const candidate = await be(2);
      await be(2);
      let name = '';
      for (let i = 0; i < 56; i++) {
        const c = await next();
        if (c !== 0) name += String.fromCharCode(c);
      }
      if (name !== 'opt/vring/text') continue;
      key = candidate;
      log('size', size);
    }
    const [descriptor, buffer] = [0x100000, 0x110000];
    const transfer = async (control: number, length: number) => {
      for (const [i, word] of [control >>> 0, length, 0, buffer].entries()) {
        await m.write(descriptor + i * 4, 4, swap(word));
      }
      for (let i = 0; i < 32; i += 4) await m.write(buffer + i, 4, 0xeeeeeeee);
      await m.out(0x518, 4, swap(descriptor));
      return [await m.read(descriptor, 4), await bytes(m, buffer, 32)];
    };
    const [READ, SKIP, SELECT, WRITE] = [2, 4, 8, 16];
    log('select and read', await transfer((key << 16) | SELECT | READ, 8));
    log('read on', await transfer(READ, 4));
    log('by port', await text(2));
    log('skip', await transfer(SKIP, 3));
    log('read past the end', await transfer(READ, 20));
    log('read on', await transfer(READ, 4));
    log('write', await transfer((key << 16) | SELECT | WRITE, 4));
    log('nothing', await transfer((key << 16) | SELECT, 4));
    log('read after select', await transfer(READ, 4));
    log('no such item', await transfer((0x3ffe << 16) | SELECT | READ, 4));
    log('write to no item', await transfer((0x3ffe << 16) | SELECT | WRITE, 4));
    log('skip in no item', await transfer(SKIP, 4));
    await m.out(0x511, 1, 0x41);
    await select(key);
    await m.out(0x511, 1, 0x41);
    log('after writes to the data port', await text(4));
  });
});
