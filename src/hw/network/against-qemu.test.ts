/**
 * Random register accesses on our cards and on QEMU's, whose guest never runs: what is read must be the same. Left out is what
 * depends on time, and where we follow the data sheet and QEMU does not.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { noQemu, QemuMachine } from '../../dev/qtest.js';
import { seededRandom } from '../testing.js';
import { Ne2000Pci } from './ne2000-card.js';
import { Rtl8139 } from './rtl8139.js';
import { emptyBus, plugIn, testMac } from './testing.js';

const MAC = '52:54:00:12:34:56';
const PORT = 0xc000;
const SLOT = 3;

interface Access {
  readonly at: number;
  readonly size: 1 | 2 | 4;
  /** Undefined: read, and compare. */
  readonly value?: number;
}

const configAddress = (offset: number) => 0x80000000 + (SLOT << 11) + offset;

async function compare(model: string, ours: (at: number, size: 1 | 2 | 4, value?: number) => number, list: Access[]) {
  const dir = mkdtempSync(join(tmpdir(), 'vring-nic-'));
  const qemu = new QemuMachine(['-device', `${model},addr=${SLOT},mac=${MAC},romfile=`], dir);
  try {
    await qemu.out(0xcf8, 4, configAddress(0x10));
    await qemu.out(0xcfc, 4, PORT);
    await qemu.out(0xcf8, 4, configAddress(4));
    await qemu.out(0xcfc, 2, 5);
    await qemu.out(0xcf8, 4, configAddress(0));
    for (const [i, { at, size, value }] of list.entries()) {
      const history = () =>
        list
          .slice(Math.max(0, i - 12), i + 1)
          .map(
            (each) =>
              `${each.at.toString(16)}/${each.size}${each.value === undefined ? '?' : `=${each.value.toString(16)}`}`,
          )
          .join(' ');
      if (value === undefined)
        assert.equal(ours(at, size), await qemu.in(PORT + at, size), `ours, QEMU's: ${history()}`);
      else {
        ours(at, size, value);
        await qemu.out(PORT + at, size, value);
      }
    }
  } finally {
    qemu.close();
    rmSync(dir, { recursive: true });
  }
}

function portsOf(card: Ne2000Pci | Rtl8139, bus: ReturnType<typeof emptyBus>) {
  plugIn(bus, card.function);
  const base = card.function.barAddress(card.function.barSpecs[0]) as number;
  return (at: number, size: 1 | 2 | 4, value?: number): number => {
    if (value === undefined) return bus.ports.read(base + at, size);
    bus.ports.write(base + at, size, value);
    return 0;
  };
}

test('ne2k_pci: registers of all pages, the data port and sending', { skip: noQemu }, async () => {
  const random = seededRandom(21);
  const bus = emptyBus();
  const card = new Ne2000Pci({ name: 'ne2k_pci', peer: bus.peer, mac: testMac });
  const list: Access[] = [];
  const write = (at: number, value: number, size: 1 | 2 | 4 = 1) => list.push({ at, size, value });
  const read = (at: number, size: 1 | 2 | 4 = 1) => list.push({ at, size });
  read(0x1f);
  for (let round = 0; round < 120; round++) {
    const page = random(4);
    write(0, 0x22 | (page << 6));
    for (let i = 0; i < 6; i++) {
      const at = 1 + random(15);
      // The length to send stays within what is sent, and pages within the card's memory.
      if (page === 0 && random(2) === 0) {
        const value = at === 6 ? random(6) : at <= 4 ? 0x40 + random(0x40) : random(256);
        write(at, value);
      } else if (page === 1 && random(2) === 0) write(at, at === 7 ? 0x40 + random(0x40) : random(256));
      else if (page !== 2 || at < 3) {
        if (page !== 3 || [3, 5, 6].includes(at)) read(at);
      }
    }
    write(0, 0x22);
    write(14, random(2));
    const isWrite = random(2) === 0;
    // QEMU's address PROM can be written, and a reset changes what lies behind the address.
    const address = !isWrite && random(3) === 0 ? random(7) : 0x4000 + random(0x7f00);
    write(8, address & 0xff);
    write(9, address >> 8);
    write(10, 8);
    write(11, 0);
    write(0, isWrite ? 0x12 : 0x0a);
    for (let i = 0; i < 3; i++) {
      if (isWrite) write(0x10, random(0xffffffff), 2);
      else read(0x10, 2);
    }
    read(7);
    read(8);
    read(9);
    if (random(3) === 0) {
      write(0, 0x26);
      read(0);
      read(4);
      read(7);
    }
    if (random(4) === 0) write(7, random(256));
    if (random(10) === 0) read(0x1f);
    read(7);
  }
  await compare('ne2k_pci', portsOf(card, bus), list);
});

test('rtl8139: registers', { skip: noQemu }, async () => {
  const random = seededRandom(22);
  const bus = emptyBus();
  const card = new Rtl8139({ name: 'rtl8139', peer: bus.peer, mac: testMac, dma: bus.memory.dma, clock: bus.time });
  const list: Access[] = [];
  const bytes = [...Array.from({ length: 16 }, (_, i) => i), 0x37, 0x50, 0x51, 0x52, 0x58, 0x59, 0x5a, 0x5e, 0xd8];
  const words = [0x38, 0x3a, 0x3c, 0x3e, 0x60, 0x62, 0x64, 0x66, 0x68, 0x6a, 0xe0];
  const longs = [0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x28, 0x2c, 0x30, 0x40, 0x44, 0xe4, 0xe8];
  const readable: Access[] = [
    ...bytes.map((at) => ({ at, size: 1 }) as const),
    ...words.map((at) => ({ at, size: 2 }) as const),
    ...longs.map((at) => ({ at, size: 4 }) as const),
  ];
  // QEMU's card is still in reset at power-on.
  list.push({ at: 0x37, size: 1, value: 0x10 });
  for (const each of readable) if (each.at !== 6 && each.at !== 7) list.push(each);
  for (let step = 0; step < 800; step++) {
    const { at, size } = readable[random(readable.length)];
    if (at === 6 || at === 7) continue;
    // QEMU lets the PHY's status, and what the other side says, be written, keeps bits of its control that clear themselves, and
    // forgets the ring's pointers at every write of RCR.
    const isFixed = [0x38, 0x62, 0x64, 0x68, 0x6a].includes(at);
    // Neither receiving nor sending is turned on; what else a write does is seen in every register.
    const value = at === 0x37 ? 0 : at >= 0x10 && at < 0x20 ? random(0x2000) & ~8 : random(0xffffffff);
    if (!isFixed && random(2) === 0)
      list.push({ at, size, value: size === 4 ? value : value & (size === 2 ? 0xffff : 0xff) });
    list.push({ at, size });
  }
  await compare('rtl8139', portsOf(card, bus), list);
});
