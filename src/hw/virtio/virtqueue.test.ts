import assert from 'node:assert/strict';
import test from 'node:test';
import { MemorySpace } from '../../bus/index.js';
import { seededRandom } from '../testing.js';
import { type QueueState, Virtqueue } from './virtqueue.js';

const size = 8;
const desc = 0x1000;
const avail = 0x2000;
const used = 0x3000;
const ramBytes = 0x10000;

function make(options: { eventIndex?: boolean; indirect?: boolean } = {}) {
  const memory = new MemorySpace(new ArrayBuffer(ramBytes));
  memory.addRam({ name: 'ram', gpa: 0, size: ramBytes, hva: 0, readonly: false });
  const { dma } = memory;
  const errors: string[] = [];
  let interrupts = 0;
  const state: QueueState = {
    size,
    ready: true,
    descLow: desc,
    descHigh: 0,
    availLow: avail,
    availHigh: 0,
    usedLow: used,
    usedHigh: 0,
    epoch: 0,
    nextAvail: 0,
    nextUsed: 0,
    signalled: 0,
    signalledValid: false,
    availWrap: true,
    usedWrap: true,
  };
  const queue = new Virtqueue(0, 16, state, dma, {
    ringError: (_queue, reason) => void errors.push(reason),
    queueInterrupt: () => void interrupts++,
    eventIndex: options.eventIndex ?? false,
    indirectDescriptors: options.indirect ?? true,
    packedRing: false,
    get broken() {
      return errors.length > 0;
    },
  });
  const descriptor = (i: number, gpa: number, length: number, flags: number, next = 0, table = desc) => {
    dma.writeU64(table + i * 16, gpa);
    dma.writeU32(table + i * 16 + 8, length);
    dma.writeU16(table + i * 16 + 12, flags);
    dma.writeU16(table + i * 16 + 14, next);
  };
  let added = 0;
  const offer = (head: number) => {
    dma.writeU16(avail + 4 + (added % size) * 2, head);
    dma.writeU16(avail + 2, ++added & 0xffff);
  };
  return {
    queue,
    state,
    dma,
    errors,
    descriptor,
    offer,
    get interrupts() {
      return interrupts;
    },
  };
}

test('chains: direct and indirect, read and write parts', () => {
  const q = make();
  q.descriptor(3, 0x4000, 10, 1, 5);
  q.descriptor(5, 0x5000, 20, 3, 1);
  q.descriptor(1, 0x6000, 30, 2);
  q.offer(3);
  q.descriptor(0, 0x4100, 5, 1, 1, 0x7000);
  q.descriptor(1, 0x5100, 6, 2, 0, 0x7000);
  q.descriptor(2, 0x7000, 32, 4);
  q.offer(2);
  q.dma.write(
    0x4000,
    Uint8Array.from({ length: 10 }, (_, i) => i),
  );
  const first = q.queue.pop()!;
  assert.deepEqual([first.head, first.readableBytes, first.writableBytes], [3, 10, 50]);
  const out = new Uint8Array(4);
  assert.equal(first.copyOut(8, out), 2);
  assert.deepEqual([...out], [8, 9, 0, 0]);
  assert.equal(first.copyIn(18, Uint8Array.of(1, 2, 3)), 3);
  assert.equal(q.dma.readU16(0x5000 + 18), 0x0201);
  assert.equal(q.dma.readU16(0x6000), 3);
  const second = q.queue.pop()!;
  assert.deepEqual([second.head, second.readableBytes, second.writableBytes], [2, 5, 6]);
  assert.equal(q.queue.pop(), undefined);
  q.queue.push(second, 6);
  q.queue.push(first, 21);
  assert.equal(q.dma.readU16(used + 2), 2);
  assert.deepEqual(
    [0, 1].map((i) => [q.dma.readU32(used + 4 + i * 8), q.dma.readU32(used + 8 + i * 8)]),
    [
      [2, 6],
      [3, 21],
    ],
  );
  assert.deepEqual(q.errors, []);
});

test('interrupts: the flag without event indexes, used_event with them', () => {
  const plain = make();
  plain.descriptor(0, 0x4000, 4, 2);
  const round = (q: ReturnType<typeof make>) => {
    q.offer(0);
    q.queue.push(q.queue.pop()!, 4);
    q.queue.signal();
    return q.interrupts;
  };
  assert.equal(round(plain), 1);
  plain.dma.writeU16(avail, 1);
  assert.equal(round(plain), 1);
  plain.dma.writeU16(avail, 0);
  assert.equal(round(plain), 2);

  const event = make({ eventIndex: true });
  event.descriptor(0, 0x4000, 4, 2);
  event.dma.writeU16(avail + 4 + size * 2, 3);
  assert.deepEqual(
    [1, 2, 3, 4, 5].map(() => round(event)),
    [1, 1, 1, 2, 2],
    'the first, then the one numbered 3',
  );
  assert.equal(event.dma.readU16(used + 4 + size * 8), 5, 'avail_event follows what was taken');
  // Across the wrap of the 16-bit index.
  for (let i = 5; i < 65535; i++) {
    event.offer(0);
    event.queue.push(event.queue.pop()!, 4);
  }
  event.queue.signal();
  const before = event.interrupts;
  event.dma.writeU16(avail + 4 + size * 2, 0);
  assert.equal(round(event) - before, 0, 'index 65535 used up, event is at 0');
  assert.equal(round(event) - before, 1);
});

const broken: [string, RegExp, (q: ReturnType<typeof make>) => void][] = [
  [
    'a loop',
    /loops/,
    (q) => {
      q.descriptor(0, 0x4000, 4, 1, 1);
      q.descriptor(1, 0x4000, 4, 1, 0);
      q.offer(0);
    },
  ],
  ['a head beyond the table', /names descriptor 8/, (q) => q.offer(8)],
  [
    'a next beyond the table',
    /names descriptor 9/,
    (q) => {
      q.descriptor(0, 0x4000, 4, 1, 9);
      q.offer(0);
    },
  ],
  [
    'a buffer outside RAM',
    /not in RAM/,
    (q) => {
      q.descriptor(0, ramBytes - 2, 4, 0);
      q.offer(0);
    },
  ],
  [
    'a buffer at the end of the address space',
    /not in RAM/,
    (q) => {
      q.descriptor(0, 0, 4, 0);
      q.dma.write(desc, new Uint8Array(8).fill(0xff));
      q.offer(0);
    },
  ],
  [
    'a buffer without bytes',
    /no bytes/,
    (q) => {
      q.descriptor(0, 0x4000, 0, 0);
      q.offer(0);
    },
  ],
  [
    'read after write',
    /follows a writable/,
    (q) => {
      q.descriptor(0, 0x4000, 4, 3, 1);
      q.descriptor(1, 0x4000, 4, 0);
      q.offer(0);
    },
  ],
  ['a jump of the available index', /moved by 9/, (q) => q.dma.writeU16(avail + 2, 9)],
  [
    'an odd indirect table',
    /24 bytes/,
    (q) => {
      q.descriptor(0, 0x7000, 24, 4);
      q.offer(0);
    },
  ],
  [
    'an endless indirect table',
    /bytes/,
    (q) => {
      q.descriptor(0, 0, 0xfffffff0, 4);
      q.offer(0);
    },
  ],
  [
    'an indirect table in an indirect table',
    /where none may/,
    (q) => {
      q.descriptor(0, 0x7000, 16, 4);
      q.descriptor(0, 0x7000, 16, 4, 0, 0x7000);
      q.offer(0);
    },
  ],
  [
    'an indirect table behind a descriptor',
    /where none may/,
    (q) => {
      q.descriptor(0, 0x4000, 4, 1, 1);
      q.descriptor(1, 0x7000, 16, 4);
      q.offer(0);
    },
  ],
  [
    'a loop in an indirect table',
    /loops/,
    (q) => {
      q.descriptor(0, 0x7000, 32, 4);
      q.descriptor(0, 0x4000, 4, 1, 1, 0x7000);
      q.descriptor(1, 0x4000, 4, 1, 0, 0x7000);
      q.offer(0);
    },
  ],
  [
    'an unaligned size',
    /size is 7/,
    (q) => {
      q.state.size = 7;
      q.offer(0);
    },
  ],
  [
    'rings outside RAM',
    /rings are not in RAM/,
    (q) => {
      q.state.usedHigh = 1;
      q.offer(0);
    },
  ],
];

for (const [what, reason, set] of broken) {
  test(`a broken ring stops the queue: ${what}`, () => {
    const q = make();
    set(q);
    assert.equal(q.queue.pop(), undefined);
    assert.equal(q.errors.length, 1);
    assert.match(q.errors[0]!, reason);
    assert.equal(q.queue.pop(), undefined);
    q.queue.signal();
    assert.equal(q.errors.length, 1, 'reported once');
  });
}

test('an indirect table that was not agreed upon is an error', () => {
  const q = make({ indirect: false });
  q.descriptor(0, 0x7000, 16, 4);
  q.offer(0);
  assert.equal(q.queue.pop(), undefined);
  assert.match(q.errors[0]!, /not agreed/);
});

test('random rings: bounded work, nothing thrown, nothing written outside the used ring', () => {
  const random = seededRandom(99);
  let popped = 0;
  let stopped = 0;
  for (let round = 0; round < 3000; round++) {
    const q = make({ eventIndex: round % 2 === 0 });
    for (let i = 0; i < size; i++) {
      const gpa = random(20) === 0 ? random(2 ** 32) : random(ramBytes);
      q.descriptor(i, gpa, 1 + random(200), random(40) === 0 ? random(65536) : random(4), random(12));
    }
    const offered = 1 + random(size);
    for (let i = 0; i < offered; i++) q.offer(random(9));
    for (let i = 0; i < size; i++) {
      const chain = q.queue.pop();
      if (chain === undefined) break;
      popped++;
      assert.ok(chain.readable.length + chain.writable.length <= size);
      q.queue.push(chain, chain.writableBytes);
    }
    q.queue.signal();
    if (q.errors.length > 0) stopped++;
  }
  assert.ok(popped > 500 && stopped > 500, `${popped} chains, ${stopped} broken rings`);
});
