/**
 * `nbd --fork`: the server goes on in a process of its own, and this one ends when that is serving. Node can't fork, so the
 * same command line is started anew; what it prints until it is ready is passed on.
 */
import { spawn } from 'node:child_process';
import type { NbdTool } from './options.js';

export function runForked(tool: NbdTool, variable: string): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      detached: true,
      env: { ...process.env, [variable]: '1' },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    child.stdout!.on('data', (text: Buffer) => tool.io.out(text.toString()));
    child.stderr!.on('data', (text: Buffer) => tool.io.err(text.toString()));
    child.on('error', (error) => {
      tool.error(`Failed to fork: ${error.message}`);
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
