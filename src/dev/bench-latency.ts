/**
 * From an interrupt line to its handler's first instruction, by the host's clock, while the guest computes and while it halts:
 * another thread asks for the line, as a device's thread would, and kicks the vCPU. That instruction writes a word of guest
 * memory. While the guest computes, the asking thread watches it; for a guest that halts it has to sleep, or the system would
 * wake the vCPU on its processor, and the vCPU's thread takes the time in the handler's second instruction, a port write.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { header, parseCpuOption } from '../guest/index.js';
import { setEngineFlags } from '../host/node/engine-flags.js';
import { hostRandomBits, hostTime } from '../host/node/time.js';
import { stateWord } from '../ir/index.js';
import { PcMachine } from '../machine/pc.js';
import { Program } from '../machine/testing/program.js';

const IDT = 0x8000;
const STACK = 0x90000;
/** Where the handler's first instruction writes 1. */
const SEEN_GPA = 0x7000;
const HANDLER_PORT = 0x3a0;
const LINE = 5;

/** Words shared with the thread that asks: a request stands; it asks no more. Behind them the time of the port write, in ns. */
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
  p.label('line').store32(SEEN_GPA, 1).add('50 52').mov(2, HANDLER_PORT).add('ee b0 20 e6 20 5a 58 cf');
  return p;
}

/** The first requests, at a quicker pace, are not counted: the host still compiles what they reach, one function after another. */
const WARM_UP = 10_000;

/** What the asking thread runs. It sends the latencies in microseconds. */
const asker = `
  const { parentPort, workerData } = require('node:worker_threads');
  const { shared, memory, kick, seen, sleeps, samples } = workerData;
  const words = new Int32Array(shared);
  const time = new BigInt64Array(shared, ${TIME_OFFSET}, 1);
  const machine = new Int32Array(memory);
  const never = new Int32Array(new SharedArrayBuffer(4));
  const latencies = [];
  const tell = () => {
    Atomics.store(machine, kick, 1);
    Atomics.notify(machine, kick);
  };
  for (let i = 0; i < ${WARM_UP} + samples; i++) {
    Atomics.wait(never, 0, 0, i < ${WARM_UP} ? 0.1 : 1 + (i % 7) / 3);
    Atomics.store(machine, seen, 0);
    const start = process.hrtime.bigint();
    Atomics.store(words, ${word.asked}, 1);
    tell();
    let end;
    if (!sleeps) {
      while (Atomics.load(machine, seen) === 0);
      end = process.hrtime.bigint();
    }
    while (Atomics.load(words, ${word.asked}) !== 0) if (sleeps) Atomics.wait(never, 0, 0, 0.05);
    if (i >= ${WARM_UP}) latencies.push(Number((end ?? time[0]) - start) / 1000);
  }
  parentPort.postMessage(latencies);
  Atomics.store(words, ${word.done}, 1);
  tell();
`;

/** The thread that asks. `kick` and `seen` are indices of 32-bit words of the memory. */
class Asking {
  readonly #shared = new SharedArrayBuffer(SHARED_BYTES);
  readonly #words = new Int32Array(this.#shared);
  readonly #time = new BigInt64Array(this.#shared, TIME_OFFSET, 1);
  /** Sorted, in microseconds. */
  readonly latencies: Promise<number[]>;

  constructor(options: { memory: ArrayBufferLike; kick: number; seen: number; sleeps: boolean; samples: number }) {
    const thread = new Worker(asker, { eval: true, workerData: { ...options, shared: this.#shared } });
    this.latencies = once(thread, 'message').then(async ([all]: number[][]) => {
      await thread.terminate();
      return all!.sort((a, b) => a - b);
    });
  }

  get stands(): boolean {
    return Atomics.load(this.#words, word.asked) !== 0;
  }

  get done(): boolean {
    return Atomics.load(this.#words, word.done) !== 0;
  }

  answer(): void {
    this.#time[0] = process.hrtime.bigint();
    Atomics.store(this.#words, word.asked, 0);
  }
}

/** This thread's memory for new objects has been used once, as a machine's has after its boot: none of it is still to be fetched. */
function useHeap(): number {
  let sum = 0;
  for (let i = 0; i < 4_000_000; i++) sum += [i, i + 0.5].length;
  return sum;
}

/** Sorted latencies in microseconds. */
function measure(halts: boolean, samples: number): Promise<number[]> {
  setEngineFlags();
  useHeap();
  let raised = false;
  const machine = new PcMachine(
    {
      time: hostTime,
      randomBits: hostRandomBits,
      service: () => {
        if (!raised && asking.stands) {
          raised = true;
          machine.irqs[LINE].set(true);
        }
        return asking.done;
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
              raised = false;
              machine.irqs[LINE].set(false);
              asking.answer();
            },
          },
        }),
    },
  );
  machine.boot({ kernel: guest(halts).image(), commandLine: '' });
  const { memory, state, ramStart } = machine.engine;
  const asking = new Asking({
    memory: memory.buffer,
    kick: stateWord(state, header.kick),
    seen: (ramStart + SEEN_GPA) >> 2,
    sleeps: halts,
    samples,
  });
  machine.run();
  return asking.latencies;
}

/** The same without a machine: this thread does nothing but look at the word, or sleep on it. What the host allows at best. */
function measureHost(sleeps: boolean, samples: number): Promise<number[]> {
  const memory = new SharedArrayBuffer(8);
  const words = new Int32Array(memory);
  const [kick, seen] = [0, 1];
  const asking = new Asking({ memory, kick, seen, sleeps, samples });
  while (!asking.done) {
    if (sleeps) Atomics.wait(words, kick, 0, 1000);
    if (Atomics.exchange(words, kick, 0) === 0 || !asking.stands) continue;
    Atomics.store(words, seen, 1);
    asking.answer();
  }
  return asking.latencies;
}

/** Prints both figures with what they are to be, and beside them what the host allows: medians of some rounds. */
export async function printLatencies(samples = 2000, rounds = 3): Promise<void> {
  for (const [halts, what, target] of [
    [false, 'computing', 20],
    [true, 'halted', 300],
  ] as const) {
    const machine: number[][] = [];
    const host: number[][] = [];
    for (let i = 0; i < rounds; i++) {
      machine.push(await measure(halts, samples));
      host.push(await measureHost(halts, samples));
    }
    const figure = (all: number[][], share: number) =>
      all
        .map((sorted) => sorted[Math.floor(sorted.length * share)])
        .sort((a, b) => a - b)
        [rounds >> 1].toFixed(1)
        .padStart(6);
    const figures = (all: number[][]) => `median ${figure(all, 0.5)} µs   99 % ${figure(all, 0.99)} µs`;
    console.log(
      `interrupt    ${what.padEnd(9)} ${figures(machine)} (at most ${target})   of ${samples} in ${rounds} rounds   ` +
        `a bare thread ${figures(host)}`,
    );
  }
}
