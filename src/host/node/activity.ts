/** What this process's threads have done: Linux's /proc/self. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

export interface ThreadTime {
  readonly name: string;
  readonly cpuNs: number;
}

/** Every thread by its name, with the processor time it has had; undefined where the host does not tell. */
export function threadTimes(): readonly ThreadTime[] | undefined {
  try {
    return readdirSync('/proc/self/task').flatMap((id) => {
      try {
        const name = readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim();
        const cpuNs = Number(readFileSync(`/proc/self/task/${id}/schedstat`, 'utf8').split(' ')[0]);
        return [{ name, cpuNs }];
      } catch {
        // It has ended meanwhile.
        return [];
      }
    });
  } catch {
    return undefined;
  }
}

/** Names the thread that calls, as the host's tools show it: 15 bytes at most. Where the host takes no name it has none. */
export function nameThread(name: string): void {
  try {
    writeFileSync('/proc/thread-self/comm', name);
  } catch {
    // A name is for people only.
  }
}

/** System calls of the process that read; the look itself counts as well. Undefined where the host does not tell. */
export function readCalls(): number | undefined {
  try {
    return Number(/^syscr: (\d+)/m.exec(readFileSync('/proc/self/io', 'latin1'))?.[1]);
  } catch {
    return undefined;
  }
}

/** Whether the host's kernel merges equal pages by itself; undefined where it cannot. */
export function samePageMerging(): boolean | undefined {
  try {
    return readFileSync('/sys/kernel/mm/ksm/run', 'latin1').trim() === '1';
  } catch {
    return undefined;
  }
}
