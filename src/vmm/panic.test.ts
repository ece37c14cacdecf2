/** A guest that tells of its crash, and one whose watchdog hears nothing: what follows, by the owner's choice. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assemble } from '../guest/x86/assembler/index.js';
import { createMachine, type Machine, type MachineOptions } from './index.js';

const limitMs = 60_000;

/** 64 KiB that a processor begins with at their end: real mode, ports alone. */
function firmware(source: string): Uint8Array {
  const image = new Uint8Array(0x10000).fill(0xf4);
  image.set(assemble(`.bits 16\n${source}`, { origin: 0n, codeSize: 16 }).bytes, 0);
  // jmp f000:0000
  image.set([0xea, 0x00, 0x00, 0x00, 0xf0], 0xfff0);
  return image;
}

const panic = firmware('mov dx, 0x505\nin al, dx\ncmp al, 3\njne wrong\nmov al, 1\nout dx, al\nwrong:\nhlt');

async function run(options: Partial<MachineOptions>, until: (machine: Machine) => Promise<unknown>) {
  await using machine = await createMachine({
    ramBytes: 8 << 20,
    accelerators: ['tcg'],
    firmware: { image: panic },
    devices: [{ type: 'pvpanic' }],
    ...options,
  });
  const told: string[] = [];
  machine.on('panicked', (action) => told.push(`panicked ${action}`));
  machine.on('watchdog', (action) => told.push(`watchdog ${action}`));
  machine.on('stopped', (why) => told.push(`stopped ${why}`));
  machine.on('reset', () => told.push('reset'));
  const done = until(machine);
  await machine.start();
  await done;
  return told;
}

const stands = (machine: Machine) => new Promise((resolve) => machine.on('stopped', resolve));

test('a crash ends the machine, or leaves it standing', { timeout: limitMs }, async () => {
  const ends = async (machine: Machine) => assert.deepEqual(await machine.ended, { why: 'panic' });
  assert.deepEqual(await run({}, ends), ['panicked poweroff']);
  for (const options of [{ onPanic: 'pause' }, { onPowerOff: 'pause' }] as const) {
    const told = await run(options, async (machine) => {
      await stands(machine);
      assert.equal(machine.stopReason, 'panic');
    });
    assert.deepEqual(told, ['panicked pause', 'stopped panic']);
  }
  const goesOn = (machine: Machine) => new Promise((resolve) => machine.on('panicked', resolve));
  assert.deepEqual(await run({ onPanic: 'run' }, goesOn), ['panicked run']);
});

/** Finds the watchdog in slot 2, chooses the fine clock and lets it run out: two stages of 1 s. */
const watchdog = firmware(`
    mov dx, 0xcf8
    mov eax, 0x80001060
    out dx, eax
    mov dx, 0xcfc
    mov ax, 4
    out dx, ax
    mov dx, 0xcf8
    mov eax, 0x80001068
    out dx, eax
    mov dx, 0xcfc
    mov al, 2
    out dx, al
wait:
    jmp wait`);

test('a watchdog that hears nothing does what its owner has chosen', { timeout: limitMs }, async () => {
  const options = { firmware: { image: watchdog }, devices: [{ type: 'i6300esb', slot: 2 }] } as const;
  const reset = (machine: Machine) => new Promise<void>((resolve) => machine.on('reset', () => resolve()));
  assert.deepEqual((await run(options, reset)).slice(0, 2), ['watchdog reset', 'reset']);
  assert.deepEqual(await run({ ...options, onWatchdog: 'pause' }, stands), ['watchdog pause', 'stopped watchdog']);
  const ends = async (machine: Machine) => assert.deepEqual(await machine.ended, { why: 'poweroff' });
  assert.deepEqual(await run({ ...options, onWatchdog: 'poweroff' }, ends), ['watchdog poweroff']);
});
