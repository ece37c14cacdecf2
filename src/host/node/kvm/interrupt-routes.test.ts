/** The table of interrupt routes, on a KVM that writes down what it is asked. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { call, capability } from './abi.js';
import { InterruptRoutes } from './interrupt-routes.js';
import type { Native } from './native.js';
import { KvmSystem, KvmVm } from './system.js';

const FIRST = 24;
/** From this one on a message has a descriptor. */
const WORTH = 8;

/** What KVM would have: rows by global interrupt, descriptors by number, and what was sent by them. */
class FakeKvm {
  readonly rows = new Map<number, string>();
  readonly open = new Set<number>();
  readonly routed = new Map<number, number>();
  readonly sent: string[] = [];
  most = FIRST + 3;
  hasIrqfd = true;
  refuses: number | undefined;
  tables = 0;
  #next = 100;

  readonly vm = new KvmVm(
    new KvmSystem('/dev/kvm', {
      open: () => 3,
      close: (fd: number) => {
        assert.ok(!this.routed.has(fd), 'it is taken back before it is closed');
        this.open.delete(fd);
        return 0;
      },
      errno: () => 22,
      ioctl: (_: number, request: number, value: number) => {
        if (request === call.getApiVersion) return 12;
        assert.equal(request, call.checkExtension);
        if (value === capability.IRQFD) return this.hasIrqfd ? 1 : 0;
        return value === capability.IRQ_ROUTING ? this.most : 0;
      },
      ioctlBytes: (_: number, request: number, bytes: Uint8Array) => this.#take(request, bytes),
      eventfd: () => {
        this.open.add(++this.#next);
        return this.#next;
      },
      sendEvent: (fd: number) => {
        const row = this.rows.get(this.routed.get(fd) as number);
        assert.ok(row, 'it has a route');
        this.sent.push(row);
      },
    } as Partial<Native> as Native),
    4,
  );

  #take(request: number, bytes: Uint8Array): number {
    const view = new DataView(bytes.buffer);
    const u32 = (at: number) => view.getUint32(at, true);
    if (request === this.refuses) return -1;
    if (request === call.setGsiRouting) {
      assert.ok(u32(0) <= this.most, 'no more than it has room for');
      this.tables++;
      this.rows.clear();
      for (let at = 8; at < 8 + 48 * u32(0); at += 48) {
        assert.ok(!this.rows.has(u32(at)), 'each has one row here');
        this.rows.set(u32(at), `${u32(at + 4)}:${u32(at + 16).toString(16)}:${u32(at + 24).toString(16)}`);
      }
      return 0;
    }
    assert.equal(request, call.irqfd);
    if (u32(8) === 0) this.routed.set(u32(0), u32(4));
    else {
      assert.equal(this.routed.get(u32(0)), u32(4));
      this.routed.delete(u32(0));
    }
    return 0;
  }
}

/** How many of so many messages went by a descriptor. */
function send(routes: InterruptRoutes, data: number, times: number, address = 0xfee00000): number {
  let byDescriptor = 0;
  for (let i = 0; i < times; i++) if (routes.send(address, data)) byDescriptor++;
  return byDescriptor;
}

test('a message that comes again and again has a route and a descriptor; controllers keep their rows', () => {
  const kvm = new FakeKvm();
  const routes = new InterruptRoutes(kvm.vm, FIRST);
  routes.setControllers([{ gsi: 4, chip: 2, pin: 4 }]);
  assert.equal(send(routes, 0x41, 20), 20 - WORTH + 1);
  assert.equal(send(routes, 0x41, 20, 0xfee01000), 20 - WORTH + 1);
  assert.deepEqual([...kvm.rows.values()], ['1:2:0', '2:fee00000:41', '2:fee01000:41']);
  assert.equal(new Set(kvm.sent).size, 2);
  assert.equal(kvm.tables, 3);
  routes.setControllers([{ gsi: 5, address: 0xfee00000, data: 0x8030 }]);
  assert.deepEqual(
    [...kvm.rows],
    [
      [5, '2:fee00000:8030'],
      [FIRST, '2:fee00000:41'],
      [FIRST + 1, '2:fee01000:41'],
    ],
  );
  assert.equal(send(routes, 0x41, 1), 1);
  assert.equal(kvm.sent.at(-1), '2:fee00000:41');
});

test('the table is bounded: the oldest message makes room, and whoever makes up messages is not remembered', () => {
  const kvm = new FakeKvm();
  const routes = new InterruptRoutes(kvm.vm, FIRST);
  for (let data = 0; data < 40; data++) assert.equal(send(routes, data, WORTH), 1);
  assert.deepEqual(
    [...kvm.rows.values()].sort(),
    [37, 38, 39].map((data) => `2:fee00000:${data.toString(16)}`),
  );
  assert.equal(kvm.open.size, 3);
  const { tables } = kvm;
  for (let i = 0; i < 10_000; i++) assert.equal(send(routes, i & 0xffff, 1, 0xfee02000 + 0x1000 * (i >> 8)), 0);
  assert.equal(kvm.tables, tables);
  assert.equal(send(routes, 38, 1), 1, 'those that have one keep it');
});

test('flush: no descriptor is left, and the next message has a new one for its row', () => {
  const kvm = new FakeKvm();
  const routes = new InterruptRoutes(kvm.vm, FIRST);
  send(routes, 0x41, 10);
  send(routes, 0x42, 10);
  const { tables } = kvm;
  routes.flush();
  assert.deepEqual([kvm.open.size, kvm.routed.size], [0, 0]);
  routes.flush();
  assert.equal(send(routes, 0x42, 1), 1);
  assert.equal(kvm.sent.at(-1), '2:fee00000:42');
  assert.deepEqual([kvm.open.size, kvm.tables], [1, tables]);
});

test('where KVM has none, no room, or refuses, messages go the other way', () => {
  for (const spoil of [
    (kvm: FakeKvm) => {
      kvm.hasIrqfd = false;
    },
    (kvm: FakeKvm) => {
      kvm.most = FIRST;
    },
    (kvm: FakeKvm) => {
      kvm.refuses = call.irqfd;
    },
    (kvm: FakeKvm) => {
      kvm.refuses = call.setGsiRouting;
    },
  ]) {
    const kvm = new FakeKvm();
    spoil(kvm);
    const routes = new InterruptRoutes(kvm.vm, FIRST);
    assert.equal(send(routes, 0x41, 20), 0);
    assert.equal(send(routes, 0x42, 20), 0);
    routes.flush();
    assert.equal(kvm.open.size, 0);
    assert.ok(kvm.tables <= 1, 'it is not tried again and again');
  }
});
