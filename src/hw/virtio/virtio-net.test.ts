import assert from 'node:assert/strict';
import test from 'node:test';
import { ManualTime } from '../../bus/index.js';
import type { FrameOffload } from '../../net/index.js';
import type { NetworkCard, NetworkPeer, WaitingFrame } from '../network/network-peer.js';
import { seededRandom } from '../testing.js';
import { ModernDriver, testMachine } from './testing.js';
import { VirtioNet, type VirtioNetOptions } from './virtio-net.js';

const mac = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);
const plain: FrameOffload = { flags: 0, gsoType: 0, headerLength: 0, gsoSize: 0, checksumStart: 0, checksumOffset: 0 };

class TestPeer implements NetworkPeer {
  card!: NetworkCard;
  takes = 0;
  queues = 0;
  room = Infinity;
  readonly sent: { bytes: number[]; offload: FrameOffload; queue: number | undefined }[] = [];
  readonly waiting: WaitingFrame[] = [];
  attach(card: NetworkCard): void {
    this.card = card;
  }
  send(pieces: readonly Uint8Array[], length: number, offload: FrameOffload, queue?: number): boolean {
    if (this.sent.length >= this.room) return false;
    const bytes = pieces.flatMap((piece) => [...piece]);
    assert.equal(bytes.length, length);
    this.sent.push({ bytes, offload: { ...offload }, queue });
    return true;
  }
  receive() {
    return this.waiting[0];
  }
  consume(): void {
    this.waiting.shift();
  }
  setTakes(bits: number): void {
    this.takes = bits;
  }
  setQueues(count: number): void {
    this.queues = count;
  }
  give(bytes: Uint8Array, offload: FrameOffload = plain, queue = 0): void {
    this.waiting.push({ bytes, offload, queue });
    this.card.receiveReady();
  }
}

function setUp(start: Parameters<ModernDriver['start']>[0] = {}, options: Partial<VirtioNetOptions> = {}) {
  const peer = new TestPeer();
  const model = new VirtioNet({ peer, mac, ...options });
  const machine = testMachine(model);
  const driver = new ModernDriver(machine);
  driver.start(start);
  return { peer, model, machine, driver, dma: machine.memory.dma };
}

const frameOf = (length: number, to: ArrayLike<number> = mac) => {
  const frame = new Uint8Array(length);
  for (let i = 0; i < length; i++) frame[i] = i * 7;
  frame.set(Array.from(to).slice(0, 6), 0);
  return frame;
};
const bufferGpa = 0x20000;
const [rx, tx] = [0, 1];

function command(context: ReturnType<typeof setUp>, queue: number, bytes: number[]): number {
  const { machine, driver, dma } = context;
  dma.write(0x9000, Uint8Array.from(bytes));
  dma.writeU8(0x9f00, 0xee);
  driver.queues[queue].add([
    { gpa: 0x9000, length: bytes.length },
    { gpa: 0x9f00, length: 1, write: true },
  ]);
  driver.kick(queue);
  return machine.ram[0x9f00];
}

test('the configuration shows address and link', () => {
  const { machine, driver, model } = setUp();
  const read = (offset: number) => machine.memory.read(driver.config + offset, 1);
  assert.deepEqual(
    [0, 1, 2, 3, 4, 5].map((at) => read(at)),
    [...mac],
  );
  assert.equal(read(6), 1);
  model.setLink(false);
  assert.equal(read(6), 0);
  model.setLink(true);
  assert.equal(read(6), 3, 'the link is back, and the driver is to announce itself');
  assert.equal(machine.pci.function.config.length > 0, true);
});

test('a frame that the driver sends reaches the peer with what was left to do', () => {
  const { peer, driver, dma } = setUp();
  const frame = frameOf(3000);
  dma.write(0x8000, Uint8Array.of(1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0));
  dma.write(bufferGpa, frame);
  driver.queues[tx].add([
    { gpa: 0x8000, length: 12 },
    { gpa: bufferGpa, length: 1000 },
    { gpa: bufferGpa + 1000, length: 2000 },
  ]);
  driver.kick(tx);
  assert.equal(driver.queues[tx].completions().length, 1);
  assert.deepEqual(peer.sent[0].bytes, [...frame]);
  assert.deepEqual(peer.sent[0].offload, {
    flags: 1,
    gsoType: 1,
    headerLength: 54,
    gsoSize: 1460,
    checksumStart: 34,
    checksumOffset: 16,
  });
});

test('frames wait in the ring while the peer has no room, and go when it has', () => {
  const { peer, driver } = setUp();
  peer.room = 1;
  for (let i = 0; i < 3; i++) driver.queues[tx].add([{ gpa: bufferGpa, length: 12 + 60 + i }]);
  driver.kick(tx);
  assert.equal(driver.queues[tx].completions().length, 1);
  peer.room = 10;
  peer.card.sendReady();
  assert.equal(driver.queues[tx].completions().length, 2);
  assert.deepEqual(
    peer.sent.map(({ bytes }) => bytes.length),
    [60, 61, 62],
  );
});

test('a frame is spread over mergeable buffers, which the driver sees at once; without room it waits', () => {
  const { peer, driver, machine } = setUp();
  const buffers = [0, 1, 2].map((i) => ({ gpa: bufferGpa + i * 0x1000, length: 1024, write: true }));
  const frame = frameOf(2500);
  driver.queues[rx].add([buffers[0]]);
  driver.queues[rx].add([buffers[1]]);
  peer.give(frame);
  assert.equal(driver.queues[rx].completions().length, 0);
  assert.equal(peer.waiting.length, 1);
  driver.queues[rx].add([buffers[2]]);
  driver.kick(rx);
  assert.deepEqual(
    driver.queues[rx].completions().map(({ length }) => length),
    [1024, 1024, 12 + 2500 - 2048],
  );
  assert.equal(machine.ram[bufferGpa + 10], 3);
  const got = [
    ...machine.ram.slice(bufferGpa + 12, bufferGpa + 1024),
    ...machine.ram.slice(bufferGpa + 0x1000, bufferGpa + 0x1400),
    ...machine.ram.slice(bufferGpa + 0x2000, bufferGpa + 0x2000 + 464),
  ];
  assert.deepEqual(got, [...frame]);
  assert.equal(peer.waiting.length, 0);
});

test('what the driver takes in is told; frames that it cannot take are lost', () => {
  const all = setUp();
  assert.equal(all.peer.takes, 7);
  const { peer, driver } = setUp({ without: [1, 7, 8, 9] });
  assert.equal(peer.takes, 0);
  driver.queues[rx].add([{ gpa: bufferGpa, length: 2048, write: true }]);
  peer.give(frameOf(100), { ...plain, flags: 1, checksumStart: 34, checksumOffset: 16 });
  assert.equal(peer.waiting.length, 0);
  assert.equal(driver.queues[rx].completions().length, 0);
  peer.give(frameOf(100));
  assert.equal(driver.queues[rx].completions().length, 1);
});

test('the control queue: modes, tables, addresses, VLANs decide what is received', () => {
  const context = setUp();
  const { peer, driver, model } = context;
  for (let i = 0; i < 40; i++) driver.queues[rx].add([{ gpa: bufferGpa + i * 2048, length: 2048, write: true }]);
  const arrives = (frame: Uint8Array) => {
    peer.give(frame);
    return driver.queues[rx].completions().length === 1;
  };
  const other = [0x52, 0x54, 0, 1, 2, 3];
  const group = [0x01, 0, 0x5e, 0, 0, 9];
  const everyone = new Array<number>(6).fill(255);
  assert.ok(arrives(frameOf(60, other)), 'promiscuous at first');
  assert.equal(command(context, 2, [0, 0, 0]), 0);
  assert.ok(!arrives(frameOf(60, other)));
  assert.ok(arrives(frameOf(60)));
  assert.ok(arrives(frameOf(60, everyone)));
  assert.ok(!arrives(frameOf(60, group)));
  assert.equal(command(context, 2, [1, 0, 1, 0, 0, 0, ...other, 1, 0, 0, 0, ...group]), 0);
  assert.ok(arrives(frameOf(60, other)));
  assert.ok(arrives(frameOf(60, group)));
  assert.equal(command(context, 2, [0, 5, 1]), 0);
  assert.ok(!arrives(frameOf(60, everyone)));
  const tagged = frameOf(60);
  tagged.set([0x81, 0, 0, 5], 12);
  assert.ok(!arrives(tagged));
  assert.equal(command(context, 2, [2, 0, 5, 0]), 0);
  assert.ok(arrives(tagged));
  assert.equal(command(context, 2, [1, 1, 2, 2, 2, 2, 2, 2]), 0);
  assert.ok(!arrives(frameOf(60)));
  assert.ok(arrives(frameOf(60, [2, 2, 2, 2, 2, 2])));
  for (const bad of [
    [9, 0],
    [0, 0],
    [1, 1, 2],
    [1, 0, 255, 255, 255, 255],
    [2, 0, 255, 255],
    [4, 0, 1, 0],
  ])
    assert.equal(command(context, 2, bad), 1, String(bad));
  model.setLink(false);
  assert.ok(!arrives(frameOf(60, [2, 2, 2, 2, 2, 2])));
});

const several = { queuePairs: 4, features: { multiQueue: true } } as const;

test('several queue pairs: frames go and come in the queue of the network that is theirs', () => {
  const context = setUp({}, several);
  const { peer, driver, machine } = context;
  assert.equal(driver.queues.length, 9);
  assert.equal(machine.memory.read(driver.config + 8, 2), 4, 'pairs that the driver may use');
  assert.equal(peer.queues, 1, 'one pair until the driver asks for more');
  for (const queue of [0, 2, 4, 6])
    for (let i = 0; i < 8; i++)
      driver.queues[queue].add([{ gpa: bufferGpa + (queue * 8 + i) * 2048, length: 2048, write: true }]);
  const comesIn = (queue: number) => {
    peer.give(frameOf(100), plain, queue);
    return [0, 2, 4, 6].filter((each) => driver.queues[each].completions().length === 1);
  };
  assert.deepEqual(comesIn(3), [0], 'a queue that is not in use');
  assert.equal(command(context, 8, [4, 0, 4, 0]), 0);
  assert.equal(peer.queues, 4);
  for (const queue of [0, 1, 2, 3]) assert.deepEqual(comesIn(queue), [2 * queue]);
  assert.equal(command(context, 8, [4, 0, 5, 0]), 1, 'more than there are');
  assert.equal(command(context, 8, [4, 0, 0, 0]), 1);
  assert.equal(peer.queues, 4);
  for (const queue of [1, 5]) {
    driver.queues[queue].add([{ gpa: bufferGpa, length: 72 }]);
    driver.kick(queue);
  }
  assert.deepEqual(
    peer.sent.map(({ queue }) => queue),
    [0, 2],
  );
  assert.equal(command(context, 8, [4, 0, 2, 0]), 0);
  assert.equal(peer.queues, 2);
  machine.device.reset();
  assert.equal(peer.queues, 1);
});

test('how many queues are in use is part of what is saved', () => {
  const context = setUp({}, several);
  assert.equal(command(context, 8, [4, 0, 3, 0]), 0);
  const other = new TestPeer();
  const copy = testMachine(new VirtioNet({ peer: other, mac, ...several }), {}, context.machine.ram.buffer);
  copy.pci.load(context.machine.pci.save());
  assert.equal(other.queues, 3);
});

test('a device offers what it is told to, and nothing that needs what it does not offer', () => {
  const offers = (features: VirtioNetOptions['features']) => {
    const { features: bits } = new VirtioNet({ peer: new TestPeer(), mac, features });
    return (bit: number) => bits.includes(bit);
  };
  assert.ok(!offers({})(22) && offers({ multiQueue: true })(22));
  const noChecksum = offers({ checksum: false });
  assert.deepEqual([0, 11, 12, 13, 1, 7].map(noChecksum), [false, false, false, false, true, true]);
  const noTso = offers({ guestTso4: false, guestTso6: false });
  assert.deepEqual([1, 7, 8, 9].map(noTso), [true, false, false, false]);
  assert.ok(offers({ guestTso4: false })(9), 'TSO of IPv6 is left');
  const noControl = offers({ controlQueue: false, multiQueue: true });
  assert.deepEqual([2, 17, 18, 19, 20, 21, 22, 23].map(noControl), new Array(8).fill(false));
  assert.deepEqual([15, 16].map(offers({ mergeableBuffers: false, status: false })), [false, false]);
});

test('speed and duplex of the wire, and sizes of queues', () => {
  const told = setUp({}, { speed: 10000, duplex: 'full', rxQueueSize: 1024, txQueueSize: 512 });
  const read = ({ machine, driver }: typeof told, offset: number, size: 1 | 4) =>
    machine.memory.read(driver.config + offset, size);
  assert.deepEqual([read(told, 12, 4), read(told, 16, 1)], [10000, 1]);
  assert.deepEqual(told.model.queueSizes, [1024, 512, 64]);
  assert.ok(told.model.features.includes(63));
  const half = setUp({}, { duplex: 'half' });
  assert.deepEqual([read(half, 12, 4), read(half, 16, 1)], [0xffffffff, 0]);
  assert.ok(!setUp().model.features.includes(63));
});

test('saved and loaded in the middle of work, it goes on', () => {
  const { peer, driver, machine, model } = setUp();
  peer.room = 0;
  driver.queues[tx].add([{ gpa: bufferGpa, length: 72 }]);
  driver.kick(tx);
  driver.queues[rx].add([{ gpa: bufferGpa + 0x1000, length: 2048, write: true }]);
  const saved = machine.pci.save();
  const other = new TestPeer();
  const copy = testMachine(
    new VirtioNet({ peer: other, mac: Uint8Array.of(2, 0, 0, 0, 0, 9) }),
    {},
    machine.ram.buffer,
  );
  copy.pci.load(saved);
  assert.equal(other.takes, 7);
  assert.equal(other.sent.length, 1, 'what waited is sent');
  other.give(frameOf(100));
  assert.equal(driver.queues[rx].completions().length, 1);
  assert.equal(copy.memory.read(driver.config, 1), mac[0]);
  assert.equal(model.parts.length, 1);
});

test('hostile rings, headers and commands: no throw, nothing outside RAM', () => {
  const random = seededRandom(11);
  for (let round = 0; round < 300; round++) {
    const { peer, driver, machine, dma } = setUp({}, { queuePairs: 1 + random(2), features: { multiQueue: true } });
    for (let step = 0; step < 30; step++) {
      const queue = driver.queues[random(driver.queues.length)];
      const pieces = Array.from({ length: 1 + random(3) }, () => ({
        gpa: random(8) === 0 ? random(0xffffffff) : bufferGpa + random(0x10000),
        length: random(6) === 0 ? random(0xffffffff) : 1 + random(3000),
        write: random(2) === 0,
      }));
      if (random(3) === 0)
        dma.write(
          pieces[0].gpa,
          Uint8Array.from({ length: 64 }, () => random(256)),
        );
      queue.add(pieces);
      driver.kick(queue.index);
      if (random(2) === 0)
        peer.give(frameOf(14 + random(5000)), {
          ...plain,
          flags: random(3),
          gsoType: random(5),
          gsoSize: random(2000),
        });
      peer.waiting.length = Math.min(peer.waiting.length, 16);
      machine.memory.read(driver.config + random(16), 1);
      machine.memory.write(driver.config + random(16), 1, random(256));
    }
  }
});

test('frames are gathered for a moment after the first kick, and one interrupt tells of all', () => {
  const clock = new ManualTime();
  const { peer, driver, dma, machine } = setUp({}, { clock });
  const send = (length: number) => {
    dma.write(bufferGpa, frameOf(length));
    driver.queues[tx].add([
      { gpa: 0x8000, length: 12 },
      { gpa: bufferGpa, length },
    ]);
    driver.kick(tx);
  };
  dma.write(0x8000, new Uint8Array(12));
  send(100);
  clock.advance(100_000);
  send(200);
  assert.equal(peer.sent.length, 0);
  clock.advance(60_000);
  assert.deepEqual(
    peer.sent.map(({ bytes }) => bytes.length),
    [100, 200],
  );
  assert.equal(driver.queues[tx].completions().length, 2);
  send(300);
  clock.advance(200_000);
  assert.equal(peer.sent.length, 3, 'and the next kick is heard');
  send(400);
  machine.device.reset();
  clock.advance(200_000);
  assert.equal(peer.sent.length, 3, 'a reset forgets what was put off');
});
