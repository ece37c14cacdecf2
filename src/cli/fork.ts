/**
 * `nbd --fork`, `run -daemonize`: the program goes on in a process of its own, and this one ends when that is ready. Node can't
 * fork, so the same command line is started anew; what it prints until it is ready is passed on.
 */
import { spawn } from 'node:child_process';

export interface ForkReport {
  out(text: string): void;
  err(text: string): void;
  /** It could not be started. */
  failed(reason: string): void;
}

/** Gives the exit status. `variable` is set for the new process, which tells that it is ready by `tellForker`. */
export function runForked(report: ForkReport, variable: string): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      detached: true,
      env: { ...process.env, [variable]: '1' },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
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

/** In the new process: it is ready. */
export function tellForker(): void {
  process.send?.('ready');
}
