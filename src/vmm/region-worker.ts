/**
 * The thread that writes regions for a machine: it takes hot blocks from the queue in the machine's memory, compiles them, and
 * sends the modules to the vCPU's thread. It ends with the thread that started it.
 */
import { workerData } from 'node:worker_threads';
import { type HotBlock, RegionBuilder, RegionQueue } from '../accel/index.js';
import { nameThread } from '../host/node/activity.js';
import { TieringCompiler } from '../host/node/engine-flags.js';
import { giveWayToOthers } from '../host/node/thread-priority.js';
import type { FromRegionWorker, RegionWorkerConfig } from './region-thread.js';

/** A module costs the vCPU's thread about as much as ten of its functions, and 50 KB: for so many it is worth waiting a little. */
const WORTH_A_MODULE = 16;
const LINGER_MS = 3;
/** The blocks that wait are run in the cold tier meanwhile: no module takes long. */
const MOST_IN_A_MODULE = 24;
/** Steps of niceness by which the thread gives way to the vCPU's. */
const STEPS = 4;
/** About as many regions as a kernel's start makes: most of its code never runs again. */
const REGIONS_OF_A_START = 2200;

const { setup, port } = workerData as RegionWorkerConfig;
const say = (message: FromRegionWorker) => port.postMessage(message);
const queue = new RegionQueue(setup.memory.buffer);

nameThread('regions');
giveWayToOthers(STEPS);
function main(): void {
  queue.ready();
  const compiler = new TieringCompiler();
  const builder = new RegionBuilder(setup, queue.awaitHandOver(), (bytes, busy) => compiler.compile(bytes, busy));
  const waiting: HotBlock[] = [];
  let regions = 0;
  for (;;) {
    if (waiting.length === 0) queue.sleep();
    if (waiting.length + queue.waiting < WORTH_A_MODULE) queue.linger(LINGER_MS);
    waiting.push(...queue.take());
    const built = builder.build(builder.takeHottest(waiting, MOST_IN_A_MODULE));
    if (!built) continue;
    say({ built });
    queue.finish();
    const isStarting = regions < REGIONS_OF_A_START;
    regions += built.regions;
    if (isStarting && regions >= REGIONS_OF_A_START) compiler.tierUpSooner();
  }
}

try {
  main();
} catch (error) {
  say({ failure: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  queue.finish();
}
