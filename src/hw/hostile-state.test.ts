/** Saved states with bytes changed at random: a chip refuses them with a StateError, or takes them and goes on working. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { type Device, type IoHandler, ManualTime, MemorySpace, PortSpace } from '../bus/index.js';
import { StateArena, StateError } from '../schema/index.js';
import {
  ACLINT_BYTES,
  Aclint,
  AcpiPm,
  ApicBus,
  GicV2,
  GicV2Virtual,
  GicV3,
  GOLDFISH_RTC_BYTES,
  GoldfishRtc,
  Hpet,
  I8042,
  IoApic,
  ITS_BYTES,
  Its,
  LocalApic,
  PicPair,
  Pit,
  Pl011,
  Pl031,
  Pl061,
  Plic,
  PRIMECELL_BYTES,
  Rtc,
  Uart16550,
  wireAcpiPm,
  wireI8042,
  wirePic,
  wirePit,
  wireRtc,
  wireUart,
} from './index.js';
import { fuzzAccesses, seededRandom } from './testing.js';

const nowhere = { set() {} };

/** A chip, its registers as one window, and what else is to be exercised. */
interface Subject {
  device: Device;
  size: number;
  handler: IoHandler;
  poke?: () => void;
}

class CheckedTime extends ManualTime {
  override createTimer(name: string, onExpire: (nowNs: number) => void) {
    const timer = super.createTimer(name, onExpire);
    const { arm } = timer;
    timer.arm = (deadlineNs) => {
      assert.ok(deadlineNs >= 0, `${name} armed for ${deadlineNs}`);
      arm(deadlineNs);
    };
    return timer;
  }
}

function atPorts(ports: PortSpace, list: readonly number[]): Pick<Subject, 'size' | 'handler'> {
  return {
    size: list.length,
    handler: {
      read: (offset, size) => ports.read(list[offset]!, size),
      write: (offset, size, value) => ports.write(list[offset]!, size, value),
    },
  };
}
const noRam = () => new MemorySpace(new ArrayBuffer(0)).dma;
const range = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i);

const subjects: Record<string, (clock: ManualTime, arena: StateArena) => Subject> = {
  i8259: (_clock, arena) => {
    const ports = new PortSpace();
    const device = new PicPair({ output: nowhere, arena });
    wirePic(ports, device);
    return {
      device,
      ...atPorts(ports, [0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1]),
      poke: () => assert.ok(device.acknowledge() < 256),
    };
  },
  i8254: (clock, arena) => {
    const ports = new PortSpace();
    const device = new Pit({ clock, irq: nowhere, arena });
    wirePit(ports, device);
    return { device, ...atPorts(ports, [0x40, 0x41, 0x42, 0x43, 0x61]) };
  },
  mc146818: (clock, arena) => {
    const ports = new PortSpace();
    const device = new Rtc({ clock, irq: nowhere, arena });
    wireRtc(ports, device);
    return { device, ...atPorts(ports, [0x70, 0x71]) };
  },
  uart16550: (clock, arena) => {
    const ports = new PortSpace();
    const device = new Uart16550({ clock, irq: nowhere, arena });
    wireUart(ports, 0x3f8, device);
    return { device, ...atPorts(ports, range(0x3f8, 8)), poke: () => device.receive(Uint8Array.of(1, 2, 3)) };
  },
  i8042: (_clock, arena) => {
    const ports = new PortSpace();
    const device = new I8042({ keyboardIrq: nowhere, auxIrq: nowhere, arena, events: { reset() {} } });
    wireI8042(ports, device);
    return { device, ...atPorts(ports, [0x60, 0x64, 0x92]), poke: () => device.moveMouse(700, -3, 1, 1) };
  },
  'acpi-pm': (clock, arena) => {
    const ports = new PortSpace();
    const device = new AcpiPm({ clock, sci: nowhere, arena, events: { powerOff() {}, reset() {} } });
    wireAcpiPm(ports, device);
    return { device, ...atPorts(ports, [...range(0x600, 12), ...range(0xafe0, 4), 0xb2, 0xb3, 0xcf9]) };
  },
  hpet: (clock, arena) => {
    const device = new Hpet({ clock, arena, gsi: range(0, 24).map(() => nowhere), msi: new ApicBus() });
    return { device, size: 0x180, handler: device };
  },
  aclint: (clock, arena) => {
    const device = new Aclint({ clock, harts: [{ software: nowhere, timer: nowhere }], arena });
    return { device, size: ACLINT_BYTES, handler: device.registers };
  },
  plic: (_clock, arena) => {
    const device = new Plic({ outputs: [nowhere, nowhere], arena });
    return {
      device,
      size: 0x1000,
      // The parts of its window where registers lie, one behind the other.
      handler: {
        read: (offset, size) => device.read((offset & 0x3ff) + 0x1000 * (offset >> 10), size),
        write: (offset, size, value) => device.write((offset & 0x3ff) + 0x1000 * (offset >> 10), size, value),
      },
      poke: () => {
        device.inputs[10].set(true);
        assert.ok(device.read(0x201004, 4) <= 95);
        device.inputs[10].set(false);
      },
    };
  },
  gicv3: (_clock, arena) => {
    const outputs = [0, 1].map(() => ({ irq: nowhere, fiq: nowhere }));
    const device = new GicV3({ outputs, affinities: [0, 1], dma: noRam(), arena });
    const { distributor, redistributors } = device;
    return {
      device,
      size: 0x1_0000 + 0x4_0000,
      handler: {
        read: (offset, size) =>
          offset < 0x1_0000 ? distributor.read(offset, size) : redistributors.read(offset - 0x1_0000, size),
        write: (offset, size, value) =>
          offset < 0x1_0000
            ? distributor.write(offset, size, value)
            : redistributors.write(offset - 0x1_0000, size, value),
      },
      poke: () => {
        for (const each of device.interfaces) assert.ok(each.read('IAR1') < 65536);
        device.spis[40].set(true);
        device.spis[40].set(false);
      },
    };
  },
  'gicv3-its': (_clock, arena) => {
    const dma = noRam();
    const gic = new GicV3({ outputs: [{ irq: nowhere, fiq: nowhere }], affinities: [0], dma });
    const device = new Its({ gic, dma, arena });
    return { device, size: ITS_BYTES, handler: device.registers, poke: () => device.translate(3, 4) };
  },
  'gicv2-virtual': (_clock, arena) => {
    const lines = { irq: nowhere, fiq: nowhere, maintenance: nowhere };
    const device = new GicV2Virtual({ outputs: [lines, lines], accessor: () => 1, deactivate: () => {}, arena });
    return {
      device,
      size: 0x1200,
      handler: {
        read: (offset, size) =>
          offset < 0x200
            ? device.hypervisorInterface.read(offset, size)
            : device.cpuInterface.read(offset - 0x200, size),
        write: (offset, size, value) =>
          offset < 0x200
            ? device.hypervisorInterface.write(offset, size, value)
            : device.cpuInterface.write(offset - 0x200, size, value),
      },
      poke: () => {},
    };
  },
  gicv2: (_clock, arena) => {
    const device = new GicV2({ outputs: [0, 1].map(() => ({ irq: nowhere, fiq: nowhere })), accessor: () => 1, arena });
    return {
      device,
      size: 0x1100,
      handler: {
        read: (offset, size) =>
          offset < 0x1000 ? device.distributor.read(offset, size) : device.cpuInterface.read(offset & 0xff, size),
        write: (offset, size, value) =>
          offset < 0x1000
            ? device.distributor.write(offset, size, value)
            : device.cpuInterface.write(offset & 0xff, size, value),
      },
      poke: () => {
        device.spis[3].set(true);
        device.spis[3].set(false);
      },
    };
  },
  pl011: (clock, arena) => {
    const device = new Pl011({ clock, irq: nowhere, arena });
    return {
      device,
      size: 0x50,
      handler: device.registers,
      poke: () => device.receive(Uint8Array.of(1, 2, 3)),
    };
  },
  pl031: (clock, arena) => {
    const device = new Pl031({ clock, irq: nowhere, arena });
    return { device, size: 0x20, handler: device.registers };
  },
  pl061: (_clock, arena) => {
    const device = new Pl061({ irq: nowhere, arena });
    return { device, size: PRIMECELL_BYTES, handler: device, poke: () => device.inputs[3].set(true) };
  },
  'goldfish-rtc': (clock, arena) => {
    const device = new GoldfishRtc({ clock, irq: nowhere, arena });
    return { device, size: GOLDFISH_RTC_BYTES, handler: device.registers };
  },
  ioapic: (_clock, arena) => {
    const device = new IoApic({ bus: new ApicBus(), arena });
    return {
      device,
      size: 2,
      handler: {
        read: () => device.readSelected(),
        write: (offset, _size, value) => (offset === 0 ? device.writeSelect(value) : device.writeSelected(value)),
      },
      poke: () => device.inputs[3]!.set(true),
    };
  },
  lapic: (clock, arena) => {
    const device = new LocalApic({
      id: 0,
      bus: new ApicBus(),
      clock,
      arena,
      signals: {
        interruptChanged() {},
        nmi() {},
        init() {},
        sipi() {},
        tscNow: () => BigInt(clock.nowNs()),
        tscHz: 1e9,
      },
      acknowledgeExtInt: () => 7,
    });
    return {
      device,
      size: 0x400,
      handler: {
        read: (offset) => device.readMmio(offset & ~3),
        write: (offset, _size, value) => device.writeMmio(offset & ~3, value),
      },
      poke: () => {
        if (device.pending()) assert.ok(device.acknowledge() < 256);
        device.readMsr(0x1b);
        device.writeMsr(0x6e0, 1000n);
      },
    };
  },
};

/** Through the bus, which cuts what a handler gives to the access's width. */
function accessesOf({ size, handler }: Subject) {
  const space = new MemorySpace(new ArrayBuffer(0));
  space.addWindow({ name: 'subject', start: 0, size, handler });
  return {
    read: (offset: number, width: 1 | 2 | 4) => space.read(offset, width),
    write: (offset: number, width: 1 | 2 | 4, value: number) => space.write(offset, width, value),
  };
}

for (const [name, make] of Object.entries(subjects)) {
  test(name, () => {
    const random = seededRandom(name.length * 7919);
    let taken = 0;
    for (let round = 0; round < 300; round++) {
      const clock = new CheckedTime(1.7e18);
      clock.advance(random(1e9));
      // The bytes are changed where the first chip's state lies; a second one loads what the first then saves.
      const arena = new StateArena(new ArrayBuffer(4096));
      const first = make(clock, arena);
      const living = new Uint8Array(arena.buffer, 0, arena.usedTo);
      fuzzAccesses(random, 30, first.size, accessesOf(first));
      for (let k = random(4); k >= 0; k--) {
        // Values at the edges do more harm than middling ones; eight bytes at once make wild doubles.
        const length = [1, 1, 8][random(3)]!;
        const at = random(living.length / length) * length;
        if (length === 1) living[at] = [0, 0xff, 0x7f, 0x80, random(256)][random(5)]!;
        else
          new DataView(arena.buffer).setFloat64(at, [-1, 0.5, 1e300, Infinity, Number.NaN, 2 ** 63][random(6)]!, true);
      }
      const saved = first.device.save();
      const subject = make(clock, new StateArena(new ArrayBuffer(4096)));
      const { device, poke } = subject;
      try {
        device.load(saved);
        taken++;
      } catch (error) {
        assert.ok(error instanceof StateError, String(error));
        continue;
      }
      fuzzAccesses(random, 30, subject.size, accessesOf(subject), () => {
        clock.skip(random(3) === 0 ? random(1e7) : 0);
        poke?.();
      });
      device.load(device.save());
    }
    assert.ok(taken > 10, `${taken} of 300 were loadable`);
  });
}
