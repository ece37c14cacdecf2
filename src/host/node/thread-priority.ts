/**
 * Which threads of the process give way when the host's processors are few. Linux keeps a niceness for each thread (nice(2),
 * sched(7)); on other systems it is the process's, and nothing is done.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';

const THREADS = '/proc/self/task';

function giveWay(thread: number, steps: number): void {
  setPriority(thread, Math.min(19, getPriority(thread) + steps));
}

/** The calling thread gives way to the others by so many steps of niceness. */
export function giveWayToOthers(steps: number): void {
  if (process.platform !== 'linux') return;
  try {
    giveWay(Number(readlinkSync('/proc/thread-self').split('/').pop()), steps);
  } catch {
    // A matter of speed alone.
  }
}

/**
 * Steps by which V8's own threads give way to a vCPU, and to the thread that writes regions, on which it waits: with as few as that
 * one's they hold up both, and a boot takes 3 to 5 % longer on two processors. With 14 rather than 9 a boot enters blocks that wait for
 * their region a tenth less often.
 */
const BACKGROUND_STEPS = 14;

/**
 * All threads that the process has by now, V8's compiling ones above all, give way to the main thread and to those that it starts
 * from now on. For a process that does nothing but run a machine.
 */
export function letBackgroundGiveWay(steps = BACKGROUND_STEPS): void {
  if (process.platform !== 'linux') return;
  try {
    for (const thread of readdirSync(THREADS)) if (Number(thread) !== process.pid) giveWay(Number(thread), steps);
  } catch {
    // The same.
  }
}
