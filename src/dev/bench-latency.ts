/**
 * From an interrupt line to its handler, by the host's clock: another thread asks for the line, as a device's thread would, and
 * kicks the vCPU; the handler's first instruction writes a port. While the guest computes, and while it halts.
 */
import { Worker } from 'node:worker_threads';
import { header, parseCpuOption } from '../guest/index.js';
import { setEngineFlags } from '../host/node/engine-flags.js';
import { hostRandomBits, hostTime } from '../host/node/time.js';
import { PcMachine } from '../machine/pc.js';
import { Program } from '../machine/testing/program.js';

const IDT = 0x8000;
const STACK = 0x90000;
const HANDLER_PORT = 0x3a0;
const LINE = 5;

/** Words shared with the thread that asks: a request stands; ask no more. Behind them the time of the request, in ns. */
const word = { asked: 0, done: 1 } as const;
const TIME_OFFSET = 8;
const SHARED_BYTES = 16;

/** An interrupt handler, and a loop that computes or halts. */
function guest(halts: boolean): Program {
  const p = new Program().begin(IDT, STACK).gate(IDT, 0x20 + LINE, 'line');
  p.initPic(~(1 << LINE))
    .mov(6, 1)
    .add('fb'); // sti
  p.label('loop');
  if (halts) p.add('f4');
  p.add('69 f6').u32(0x41c64e6d).add('81 c6').u32(12345); // esi = esi * a + c
  p.add(0xeb).rel8('loop');
  // push eax, edx; out; end of interrupt; pop; iret
  p.label('line').add('50 52').mov(2, HANDLER_PORT).add('ee b0 20 e6 20 5a 58 cf');
  return p;
}

/** What the asking thread runs. */
const asker = `
  const { workerData } = require('node:worker_threads');
  const { shared, memory, kick, samples } = workerData;
  const words = new Int32Array(shared);
  const time = new BigInt64Array(shared, ${TIME_OFFSET}, 1);
  const machine = new Int32Array(memory);
  const never = new Int32Array(new SharedArrayBuffer(4));
  for (let i = 0; i < samples; i++) {
    Atomics.wait(never, 0, 0, 1 + (i % 7) / 3);
    time[0] = process.hrtime.bigint();
    Atomics.store(words, ${word.asked}, 1);
    Atomics.store(machine, kick, 1);
    Atomics.notify(machine, kick);
    while (Atomics.load(words, ${word.asked}) !== 0) Atomics.wait(never, 0, 0, 0.2);
  }
  Atomics.store(words, ${word.done}, 1);
  Atomics.store(machine, kick, 1);
  Atomics.notify(machine, kick);
`;

/** Sorted latencies in microseconds. */
function measure(halts: boolean, samples: number): number[] {
  setEngineFlags();
  const shared = new SharedArrayBuffer(SHARED_BYTES);
  const words = new Int32Array(shared);
  const asked = new BigInt64Array(shared, TIME_OFFSET, 1);
  const latencies: number[] = [];
  let raised = false;
  const machine = new PcMachine(
    {
      time: hostTime,
      randomBits: hostRandomBits,
      service: () => {
        if (!raised && Atomics.load(words, word.asked) !== 0) {
          raised = true;
          machine.irqs[LINE].set(true);
        }
        return Atomics.load(words, word.done) !== 0;
      },
    },
    {
      ramBytes: 16 << 20,
      model: parseCpuOption('qemu64'),
      serial: [],
      hotThreshold: 64,
      addDevices: (board) =>
        board.ports.add({
          name: 'latency',
          start: HANDLER_PORT,
          size: 1,
          handler: {
            read: () => 0xff,
            write: () => {
              latencies.push(Number(process.hrtime.bigint() - asked[0]) / 1000);
              raised = false;
              machine.irqs[LINE].set(false);
              Atomics.store(words, word.asked, 0);
            },
          },
        }),
    },
  );
  machine.boot({ kernel: guest(halts).image(), commandLine: '' });
  const { memory, state } = machine.engine;
  const thread = new Worker(asker, {
    eval: true,
    workerData: { shared, memory: memory.buffer, kick: (state + header.kick) >> 2, samples },
  });
  machine.run();
  void thread.terminate();
  // The first ones run while the host still compiles.
  return latencies.slice(samples >> 3).sort((a, b) => a - b);
}

/** The same without a machine: this thread does nothing but look at the word, or sleep on it. What the host allows at best. */
function measureHost(sleeps: boolean, samples: number): number[] {
  const shared = new SharedArrayBuffer(SHARED_BYTES);
  const words = new Int32Array(shared);
  const asked = new BigInt64Array(shared, TIME_OFFSET, 1);
  const kick = new Int32Array(new SharedArrayBuffer(4));
  const latencies: number[] = [];
  const thread = new Worker(asker, { eval: true, workerData: { shared, memory: kick.buffer, kick: 0, samples } });
  while (Atomics.load(words, word.done) === 0) {
    if (sleeps) Atomics.wait(kick, 0, 0, 1000);
    if (Atomics.exchange(kick, 0, 0) === 0 || Atomics.load(words, word.asked) === 0) continue;
    latencies.push(Number(process.hrtime.bigint() - asked[0]) / 1000);
    Atomics.store(words, word.asked, 0);
  }
  void thread.terminate();
  return latencies.slice(samples >> 3).sort((a, b) => a - b);
}

/** Prints both figures with what they are to be, and beside them what the host allows. */
export function printLatencies(samples = 2000): void {
  for (const [halts, what, target] of [
    [false, 'computing', 20],
    [true, 'halted', 300],
  ] as const) {
    const figures = (sorted: number[]) => {
      const at = (share: number) => sorted[Math.floor(sorted.length * share)].toFixed(1).padStart(6);
      return `median ${at(0.5)} µs   99 % ${at(0.99)} µs`;
    };
    const sorted = measure(halts, samples);
    console.log(
      `interrupt    ${what.padEnd(9)} ${figures(sorted)} (at most ${target})   of ${sorted.length}   ` +
        `a bare thread ${figures(measureHost(halts, samples))}`,
    );
  }
}
