/** Saved states with bytes changed at random: a device refuses them with a StateError, or takes them and goes on working. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { StateError } from '../../schema/index.js';
import { seededRandom } from '../testing.js';
import { ModernDriver, testMachine } from './testing.js';
import { VirtioBalloon } from './virtio-balloon.js';
import { VirtioBlock } from './virtio-block.js';
import { VirtioConsole } from './virtio-console.js';
import type { VirtioModel } from './virtio-device.js';
import { VirtioEntropy } from './virtio-entropy.js';

const sizeBytes = 1 << 16;

/** Checks what a backend is promised: whole sectors inside the disk. */
function checkedDisk() {
  const check = (offset: number, length: number) =>
    assert.ok(offset >= 0 && offset % 512 === 0 && length % 512 === 0 && offset + length <= sizeBytes);
  const total = (pieces: readonly Uint8Array[]) => pieces.reduce((sum, piece) => sum + piece.length, 0);
  return {
    sizeBytes,
    readonly: false,
    read: (offset: number, targets: readonly Uint8Array[], done: () => void) => {
      check(offset, total(targets));
      done();
    },
    write: (offset: number, sources: readonly Uint8Array[], done: () => void) => {
      check(offset, total(sources));
      done();
    },
    flush: (done: () => void) => done(),
  };
}

const models: Record<string, () => { model: VirtioModel; poke: () => void }> = {
  block: () => ({ model: new VirtioBlock({ backend: checkedDisk(), queues: 2 }), poke: () => {} }),
  entropy: () => ({ model: new VirtioEntropy((target) => target.fill(1)), poke: () => {} }),
  balloon: () => {
    const model = new VirtioBalloon({ host: { inflated() {}, deflated() {} } });
    return {
      model,
      poke: () => {
        model.requestStats();
        model.setTarget(0x10000);
      },
    };
  },
  console: () => {
    const model = new VirtioConsole({
      ports: [0, 1, 2].map((id) => ({
        id,
        isConsole: id === 0,
        name: `port${id}`,
        backend: { output: (bytes: Uint8Array) => bytes.length >> 1 },
      })),
      maxPorts: 3,
    });
    return {
      model,
      poke: () => {
        for (const port of model.ports) {
          port.input(new Uint8Array(10));
          port.setHostOpen(!port.guestOpen);
          port.outputReady();
          port.resize(80, 24);
        }
      },
    };
  },
};

for (const [name, make] of Object.entries(models)) {
  test(`hostile saved states: ${name}`, () => {
    const random = seededRandom(name.length * 77);
    const { model, poke } = make();
    const machine = testMachine(model);
    const driver = new ModernDriver(machine);
    driver.start({ msix: model.vectors !== 0 });
    const pieces = [
      { gpa: 0x10000, length: 16 },
      { gpa: 0x11000, length: 513, write: true },
    ];
    for (const queue of driver.queues) {
      queue.add(pieces);
      driver.kick(queue.index);
    }
    const saved = machine.pci.save();
    let taken = 0;
    let refused = 0;
    for (let i = 0; i < 400; i++) {
      const bad = saved.slice(0, random(20) === 0 ? random(saved.length) : saved.length);
      for (let n = random(3); n >= 0; n--) bad[random(bad.length || 1)] = random(2) === 0 ? random(256) : 0xff;
      try {
        machine.pci.load(bad);
        taken++;
      } catch (error) {
        assert.ok(error instanceof StateError, String(error));
        refused++;
      }
      for (let queue = 0; queue < machine.device.queues.length; queue++) machine.device.kick(queue);
      poke();
    }
    assert.ok(taken > 20 && refused > 20, `${taken} taken, ${refused} refused`);
    machine.pci.load(saved);
    assert.equal(machine.device.status & 4, 4);
    driver.start();
    for (const queue of driver.queues) {
      queue.add(pieces);
      driver.kick(queue.index);
    }
    assert.equal(driver.status & 0x80, 0);
  });
}
