/** Makes and closes machines, and looks at what they leave in the process. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { createMachine } from '../machine.js';
import { programs } from './programs.js';

/** Threads, open files and handles of this process; 0 where the host does not tell. */
function resources() {
  const count = (path: string) => {
    try {
      return readdirSync(path).length;
    } catch {
      return 0;
    }
  };
  const own = '/proc/self';
  return {
    threads: count(`${own}/task`),
    files: count(`${own}/fd`),
    handles: process.getActiveResourcesInfo().length,
  };
}

/** Several at a time. */
const together = 4;
/** What garbage may wait to be collected. */
const memoryMiB = 150;

export async function makeAndClose(count: number): Promise<void> {
  const one = async () => {
    await using machine = await createMachine({
      kernel: programs.sayAndExit,
      ramBytes: 16 << 20,
      devices: [
        { type: 'isa-debug-exit', port: 0xf4, sizeBytes: 1 },
        { type: 'virtio-rng' },
        { type: 'virtio-blk', image: { options: { driver: 'null-co' } } },
      ],
    });
    await machine.start();
    assert.deepEqual(await machine.ended, { why: 'exit', status: 7 });
  };
  const several = () => Promise.all(Array.from({ length: together }, one));
  await several();
  const before = resources();
  const rssBefore = process.memoryUsage().rss;
  for (let done = together; done < count; done += together) await several();
  // A thread's last resources go when the loop comes round.
  await new Promise((resolve) => {
    setTimeout(resolve, 50);
  });
  const left = resources();
  assert.ok(left.threads <= before.threads, `${left.threads} threads, ${before.threads} before`);
  assert.ok(left.files <= before.files, `${left.files} files, ${before.files} before`);
  assert.ok(left.handles <= before.handles, `${left.handles} handles, ${before.handles} before`);
  const grown = (process.memoryUsage().rss - rssBefore) / 2 ** 20;
  assert.ok(grown < memoryMiB, `${grown.toFixed(0)} MiB more than before`);
}
