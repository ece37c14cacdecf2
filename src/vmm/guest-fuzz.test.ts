/**
 * Guests that write random values to every port and every device register, in whole machines: the process that holds them
 * lives on, its event loop is never held up, and the machines end when they are told to.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { spawn } from '@lydell/node-pty';
import { createMachine, type Machine, type MachineOptions, VringError } from './index.js';
import { FUZZ_DONE, FUZZ_DONE_AT, type FuzzGuest, fuzzGuest, registerWindows } from './testing/fuzz-guest.js';
import { programs } from './testing/programs.js';

const seed = Number(process.env['VRING_SEED'] ?? Math.floor(Date.now() / 86_400_000));
const folder = mkdtempSync(join(tmpdir(), 'vring fuzz '));
after(() => rmSync(folder, { recursive: true }));
const disk = join(folder, 'disk.raw');
writeFileSync(disk, new Uint8Array(1 << 20));

const build = (kernel: Uint8Array): Promise<Machine> => {
  const options: MachineOptions = {
    kernel,
    ramBytes: 16 << 20,
    serialPorts: [true, true, true, true],
    devices: [
      { type: 'virtio-blk', image: { path: disk, format: 'raw' } },
      { type: 'virtio-serial', ports: [{ console: true }, { name: 'port' }] },
      { type: 'virtio-rng' },
      { type: 'virtio-balloon' },
      { type: 'virtio-gpu', vga: {} },
      { type: 'virtio-keyboard' },
      { type: 'virtio-tablet' },
      { type: 'isa-debug-exit' },
      { type: 'isa-debugcon' },
      { type: 'pc-testdev' },
    ],
  };
  return createMachine(options);
};

async function windows(): Promise<FuzzGuest['windows']> {
  await using machine = await build(programs.count);
  await machine.start();
  const found = registerWindows(await machine.info('mtree'));
  assert.ok(found.length >= 10, `${found.length} windows`);
  return found;
}

/** Fails if a timer of this thread was late. */
async function eventLoopLives<T>(body: () => Promise<T>): Promise<T> {
  let worstMs = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    worstMs = Math.max(worstMs, now - last - 10);
    last = now;
  }, 10);
  try {
    return await body();
  } finally {
    clearInterval(timer);
    assert.ok(worstMs < 1000, `the event loop was held for ${worstMs} ms`);
  }
}

test(`a guest goes to every port and register (seed ${seed})`, { timeout: 120_000 }, async () => {
  const places = await windows();
  await eventLoopLives(async () => {
    for (const run of [1, 2]) {
      await using machine = await build(fuzzGuest({ seed: seed + run, wild: false, windows: places }));
      const outputs = [0, 1, 2, 3].map((n) => machine.serial(n).onData(() => {}));
      await machine.start();
      const deadline = Date.now() + 60_000;
      for (;;) {
        const word = await machine.readMemory(FUZZ_DONE_AT, 4);
        if (new DataView(word.buffer, word.byteOffset).getUint32(0, true) === FUZZ_DONE) break;
        assert.ok(Date.now() < deadline, `it has not come round: ${await machine.info('registers')}`);
        await sleep(50);
      }
      // It goes on at random; all that its owner can ask is still answered.
      await sleep(300);
      await machine.pause();
      assert.match(await machine.info('pic'), /./);
      assert.ok((await machine.registers())['rip'] !== undefined);
      await machine.resume();
      await machine.injectNmi();
      await machine.reset();
      for (const stop of outputs) stop();
    }
  });
});

test(`guests that stop at nothing (seed ${seed})`, { timeout: 120_000 }, async () => {
  const places = await windows();
  await eventLoopLives(async () => {
    for (let run = 0; run < 6; run++) {
      const machine = await build(fuzzGuest({ seed: (seed + run) * 0x9e3779b1, wild: true, windows: places }));
      let failure: unknown;
      machine.on('failed', (error) => {
        failure = error;
      });
      machine.ended.catch((error: unknown) => {
        failure ??= error;
      });
      await machine.start();
      await Promise.race([machine.ended, sleep(700)]);
      // It may end just now.
      await machine.info('registers').catch((error: unknown) => {
        if (!(error instanceof VringError && error.code === 'machine-ended')) throw error;
      });
      await machine.close();
      assert.equal(failure, undefined, `run ${run}`);
    }
  });
});

const main = fileURLToPath(new URL('../cli/main.js', import.meta.url));
const skip = process.platform === 'win32' ? 'there are no terminals like these' : false;

test('vring run with such guests: Ctrl-A x ends it, and it ends well', { skip, timeout: 120_000 }, async () => {
  const kernels: Record<string, Uint8Array> = {
    'every port': fuzzGuest({ seed, wild: false, windows: [] }),
    'all that there is': fuzzGuest({
      seed,
      wild: true,
      windows: [
        [0xfec00000, 0x1000],
        [0xfed00000, 0x400],
        [0xfee00000, 0x1000],
      ],
    }),
    'resets for ever': programs.tripleFault,
    'a jump to where nothing is': programs.jumpNowhere,
    'an endless loop': programs.count,
  };
  for (const [name, kernel] of Object.entries(kernels)) {
    const path = join(folder, `${name}.bin`);
    writeFileSync(path, kernel);
    const argv = [
      main,
      'run',
      '-kernel',
      path,
      '-m',
      '16',
      '-drive',
      `file=${disk},format=raw,if=virtio`,
      '-device',
      'virtio-rng-pci',
    ];
    const pty = spawn(process.execPath, argv, { cols: 80, rows: 25, cwd: folder });
    let text = '';
    pty.onData((data) => {
      text = (text + data).slice(-100_000);
    });
    const ended = new Promise<number>((resolve) => {
      pty.onExit(({ exitCode }) => resolve(exitCode));
    });
    // Some have ended by themselves before.
    const early = await Promise.race([ended, sleep(1500).then(() => undefined)]);
    const pressed = Date.now();
    if (early === undefined) pty.write('\x01x');
    assert.equal(await ended, 0, `${name}: ${JSON.stringify(text.slice(-500))}`);
    assert.ok(Date.now() - pressed < 5000, `${name}: ${Date.now() - pressed} ms to end`);
    assert.doesNotMatch(text, /\n\s+at .*(:\d+:\d+|node:internal)/, `${name}: a stack trace`);
  }
});
