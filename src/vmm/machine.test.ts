/** The owner's side of a machine, with a worker that only plays one. */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import { ByteRing } from './byte-ring.js';
import { createMachineWith } from './machine.js';
import type { MachineOptions } from './machine-options.js';
import { doorbellWord, type FromWorker, type Request, type WorkerConfig } from './worker-protocol.js';
import type { WorkerThread } from './worker-thread.js';

class FakeWorker extends EventEmitter implements WorkerThread {
  readonly config: WorkerConfig;
  readonly requests: Request[] = [];
  terminated = false;
  /** What it does with a request; by default it says that it is done. */
  answer: (id: number, request: Request) => FromWorker | undefined = (id) => ({ type: 'reply', id });

  constructor(config: WorkerConfig) {
    super();
    this.config = config;
    queueMicrotask(() => this.say({ type: 'ready', description: 'a fake' }));
  }

  say(message: FromWorker): void {
    this.emit('message', message);
  }

  postMessage(message: unknown): void {
    const { id, request } = message as { id: number; request: Request };
    this.requests.push(request);
    const reply = this.answer(id, request);
    if (reply) queueMicrotask(() => this.say(reply));
  }

  async terminate(): Promise<number> {
    if (!this.terminated) {
      this.terminated = true;
      this.emit('exit', 1);
    }
    return 1;
  }

  /** As a worker that has been told to quit. */
  endWhenAsked(): void {
    const bell = new Int32Array(this.config.doorbell);
    const timer = setInterval(() => {
      if (Atomics.load(bell, doorbellWord.quit) === 0) return;
      clearInterval(timer);
      this.say({ type: 'end', end: { why: 'quit' }, statistics: {}, lens: undefined });
      this.emit('exit', 0);
    }, 1);
  }
}

async function build(options: Partial<MachineOptions> = {}) {
  let worker!: FakeWorker;
  const machine = await createMachineWith(
    (config) => {
      worker = new FakeWorker(config);
      return worker;
    },
    { kernel: new Uint8Array(16), ...options },
  );
  return { machine, worker };
}

test('the plan of a machine: streams, devices, defaults', async () => {
  const { worker, machine } = await build({
    serialPorts: [true, false, true],
    devices: [
      { type: 'virtio-serial', ports: [{ name: 'a' }, { name: 'tty', console: true }] },
      { type: 'isa-debugcon' },
      { type: 'virtio-serial', ports: [{ name: 'b' }] },
    ],
  });
  const { config } = worker;
  assert.deepEqual(config.serial, [{ stream: 0 }, undefined, { stream: 1 }, undefined]);
  assert.equal(config.streams.length, 6);
  assert.equal(config.ramBytes, 128 << 20);
  assert.equal(config.actions.onReset, 'reset');
  assert.ok(
    config.kernel instanceof Uint8Array && config.kernel.buffer instanceof SharedArrayBuffer,
    'shared, not copied',
  );
  assert.equal(machine.console('b').name, 'b');
  assert.equal(machine.console(1), machine.console('tty'));
  assert.throws(() => machine.console('c'), { code: 'no-such-port' });
  assert.throws(() => machine.serial(1), { code: 'no-such-port' });
  machine.console('tty').resize(80, 25);
  assert.deepEqual(worker.requests.at(-1), { type: 'resize', port: 1, columns: 80, rows: 25 });
  worker.endWhenAsked();
  await machine.close();
});

test('bytes go through the rings; output in the last moment is not lost', async () => {
  const { worker, machine } = await build();
  const rings = worker.config.streams[0];
  const output = new ByteRing(rings.output);
  const input = new ByteRing(rings.input);
  const bell = new Int32Array(worker.config.doorbell);
  const port = machine.serial();
  Atomics.store(bell, doorbellWord.rung, 0);
  await port.write('abc');
  assert.equal(Buffer.from(input.read()).toString(), 'abc');
  assert.equal(Atomics.load(bell, doorbellWord.rung), 1, 'the machine is rung for');
  const chunks: string[] = [];
  const reading = (async () => {
    for await (const bytes of port) chunks.push(Buffer.from(bytes).toString());
  })();
  output.write(Buffer.from('first '));
  assert.ok(output.wake(), 'the owner sleeps on an empty ring');
  worker.say({ type: 'output', stream: 0 });
  output.write(Buffer.from('last'));
  worker.say({ type: 'end', end: { why: 'poweroff' }, statistics: { engine: { kicks: 3 } }, lens: undefined });
  worker.emit('exit', 0);
  await reading;
  assert.equal(chunks.join(''), 'first last');
  assert.deepEqual(await machine.ended, { why: 'poweroff' });
  assert.deepEqual(await machine.statistics(), { engine: { kicks: 3 } });
  await assert.rejects(port.write('more'), { code: 'machine-ended' });
});

test('a write waits until the machine has room', async () => {
  const { worker, machine } = await build();
  const input = new ByteRing(worker.config.streams[0].input);
  let done = false;
  const writing = machine
    .serial()
    .write(new Uint8Array(100_000).fill(7))
    .then(() => {
      done = true;
    });
  await new Promise(setImmediate);
  assert.equal(done, false);
  assert.equal(input.read().length, 65536);
  assert.ok(input.unblock(), 'the writer waits');
  worker.say({ type: 'inputSpace', stream: 0 });
  await writing;
  assert.equal(input.read().length, 100_000 - 65536);
  const controller = new AbortController();
  const aborted = machine.serial().write(new Uint8Array(100_000), { signal: controller.signal });
  controller.abort();
  await assert.rejects(aborted, { code: 'aborted' });
  machine.serial().endInput();
  assert.equal(input.closed, true, 'what was given up does not hold the end back');
  await assert.rejects(machine.serial().write('x'), { code: 'port-closed' });
  await worker.terminate();
});

test('answers, refusals and silence', async () => {
  const { worker, machine } = await build();
  const states: string[] = [];
  machine.on('state', (state) => states.push(state));
  await machine.start();
  await machine.pause();
  assert.deepEqual(states, ['running', 'paused']);
  worker.answer = (id) => ({ type: 'reply', id, error: { code: 'memory-absent', message: 'nothing there' } });
  await assert.rejects(machine.readMemory(0, 4), { code: 'memory-absent', message: 'nothing there' });
  worker.answer = () => undefined;
  await assert.rejects(machine.registers({ timeoutMs: 10 }), { code: 'timeout' });
  await assert.rejects(machine.registers({ signal: AbortSignal.abort() }), { code: 'aborted' });
  const unanswered = machine.registers();
  await worker.terminate();
  await assert.rejects(unanswered, { code: 'internal' });
});

test('a machine that breaks rejects everything with the reason', async () => {
  const { worker, machine } = await build();
  const failures: string[] = [];
  machine.on('failed', ({ code }) => failures.push(code));
  const waiting = machine.serial().waitForText('x');
  worker.say({ type: 'failed', code: 'internal', message: 'broken', detail: 'at …' });
  worker.emit('exit', 0);
  await assert.rejects(machine.ended, { code: 'internal', message: 'broken', cause: 'at …' });
  await assert.rejects(waiting, { code: 'internal' });
  assert.deepEqual(failures, ['internal']);

  const second = await build();
  second.worker.emit('error', Object.assign(new Error('heap'), { code: 'ERR_WORKER_OUT_OF_MEMORY' }));
  second.worker.emit('exit', 1);
  await assert.rejects(second.machine.ended, { code: 'host-memory' });
});

test('a machine that cannot be built leaves no worker', async () => {
  let worker!: FakeWorker;
  const building = createMachineWith(
    (config) => {
      worker = new FakeWorker(config);
      queueMicrotask(() => {
        worker.say({ type: 'failed', code: 'disk-open', message: 'no disk' });
        worker.emit('exit', 0);
      });
      // The failure comes first.
      worker.say = (message) => void (message.type === 'ready' ? undefined : worker.emit('message', message));
      return worker;
    },
    { kernel: new Uint8Array(16) },
  );
  await assert.rejects(building, { code: 'disk-open' });
});

test('a worker that does not end when it is told to is stopped', { timeout: 20_000 }, async () => {
  const { worker, machine } = await build();
  await machine.close();
  assert.equal(worker.terminated, true);
  assert.equal(machine.state, 'ended');
  assert.deepEqual(await machine.ended, { why: 'quit' });
});

test('options that make no sense', async () => {
  const refused = async (options: Partial<MachineOptions>, code: string) =>
    await assert.rejects(build(options), { code });
  await refused({ hotThreshold: 3 }, 'options-invalid');
  await refused({ icount: { shift: 11 } }, 'options-invalid');
  await refused({ serialPorts: [true, true, true, true, true] }, 'options-invalid');
  await refused({ devices: [{ type: 'virtio-serial', ports: [{ name: 'x', number: 0 }] }] }, 'options-invalid');
  await refused({ ramBytes: Number.NaN }, 'ram-size');
});
