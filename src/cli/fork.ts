/**
 * `nbd --fork`, `run -daemonize`: the program goes on in a process of its own, and this one ends when that is ready. Node can't
 * fork, so the same command line is started anew; what it prints until it is ready is passed on.
 */
import { spawn } from 'node:child_process';
import { fstatSync } from 'node:fs';

export interface ForkReport {
  out(text: string): void;
  err(text: string): void;
  /** It could not be started. */
  failed(reason: string): void;
}

/**
 * Gives the exit status. `variable` is set for the new process, which tells that it is ready by `tellForker`. `descriptors`: of this
 * process's, which the new one has under the same numbers; Node.js hands no others on.
 */
export function runForked(report: ForkReport, variable: string, descriptors: readonly number[] = []): Promise<number> {
  const stdio: (number | 'ignore' | 'pipe' | 'ipc' | undefined)[] = ['ignore', 'pipe', 'pipe'];
  for (const fd of descriptors.filter(isOpen)) stdio[fd] = fd;
  let channel = 3;
  while (stdio[channel] !== undefined) channel++;
  stdio[channel] = 'ipc';
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      detached: true,
      env: { ...process.env, [variable]: '1' },
      // Numbers between are nobody's.
      stdio: Array.from(stdio, (each) => each ?? 'ignore'),
    });
    child.stdout!.on('data', (text: Buffer) => report.out(text.toString()));
    child.stderr!.on('data', (text: Buffer) => report.err(text.toString()));
    child.on('error', (error) => {
      report.failed(error.message);
      resolve(1);
    });
    child.on('message', () => {
      // What it said before came first through the same loop.
      setImmediate(() => {
        child.disconnect();
        child.stdout!.destroy();
        child.stderr!.destroy();
        child.unref();
        resolve(0);
      });
    });
    child.on('close', (code) => resolve(code ?? 1));
  });
}

/** What is not open the new process tells of. */
function isOpen(fd: number): boolean {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}

/** In the new process: it is ready. */
export function tellForker(): void {
  process.send?.('ready');
}
