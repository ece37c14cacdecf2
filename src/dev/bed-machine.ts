/**
 * The computer of the nested test bed: a QEMU process with one processor, a console, and a line by which it is asked whether it lives.
 *
 * QEMU 7.2 changes a processor's word of pending interrupts without a lock at VMRUN and #VMEXIT, while its other threads set bits
 * there: a bit can be lost, and a kernel whose timer's interrupt is lost that way waits for the next one for ever. An interrupt of another
 * device has QEMU look at the local APIC again. So bytes are written to the bed's second serial port all the time, whose handler answers
 * each: what was lost comes a moment later. As long as answers come, the bed's kernel schedules and takes interrupts, and what does not end
 * is vring's; when none has come for long, that kernel itself is locked up, which a process in it cannot bring about.
 */
import { spawn } from 'node:child_process';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';

/** The line of init's script that answers. */
export const answering = 'stty -F /dev/ttyS1 raw -echo; cat </dev/ttyS1 >/dev/ttyS1 &';
const NUDGE_MS = 250;
/** As long without an answer, the bed's kernel is locked up. A host with much else to do gives the bed a tenth of a core. */
const SILENCE_MS = 180_000;

/** The bed's own kernel stands still: nothing that vring does. */
export class BedLockedUp extends Error {}

export interface BedMachine {
  readonly kernel: string;
  readonly initrd: string;
  readonly kernelLine: string;
  /** For sockets and files of the process. */
  readonly folder: string;
  readonly timeoutMs: number;
  /** What the console shows when all is done. */
  readonly done: string;
  readonly onOutput?: (text: string) => void;
}

/** What QEMU's monitor says to a command. */
function askMonitor(path: string, command: string): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(path);
    socket.setEncoding('utf8').on('data', (part: string) => (text += part));
    socket.on('error', () => resolve(text));
    socket.write(`${command}\n`);
    setTimeout(() => {
      socket.destroy();
      // What is between is the echo of what was typed.
      resolve(text.replace(/^.*\x1b.*$/gm, ''));
    }, 2000);
  });
}

/** Runs until the bed switches off, and gives what its console showed. Rejects when `done` is not among it, with BedLockedUp in that case. */
export function runBedMachine(bed: BedMachine): Promise<string> {
  const line = join(bed.folder, 'line');
  const monitor = join(bed.folder, 'monitor');
  let answers = 0;
  let lastAnswer = performance.now();
  let socket: Socket | undefined;
  const server = createServer((each) => {
    socket = each;
    each.on('data', (bytes) => {
      answers += bytes.length;
      lastAnswer = performance.now();
    });
    // It goes with the process.
    each.on('error', () => {});
  }).listen(line);
  const argv = ['-accel', 'tcg', '-machine', 'q35', '-cpu', 'max', '-smp', '1'];
  argv.push('-kernel', bed.kernel, '-initrd', bed.initrd, '-append', bed.kernelLine, '-no-reboot', '-nic', 'none');
  argv.push('-m', '1536', '-display', 'none', '-vga', 'none', '-serial', 'stdio');
  argv.push('-chardev', `socket,id=line,path=${line}`, '-serial', 'chardev:line');
  argv.push('-monitor', `unix:${monitor},server=on,wait=off`);
  const child = spawn('qemu-system-x86_64', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  const end = () => child.kill('SIGKILL');
  process.on('exit', end);
  let text = '';
  let lockedUp: string | undefined;
  return new Promise((resolve, reject) => {
    const limit = setTimeout(end, bed.timeoutMs);
    const watch = setInterval(async () => {
      socket?.write('.');
      if (performance.now() - lastAnswer < SILENCE_MS || lockedUp !== undefined) return;
      lockedUp = '';
      lockedUp = await askMonitor(monitor, 'info registers\ninfo lapic');
      end();
    }, NUDGE_MS);
    child.stdout.setEncoding('utf8').on('data', (part: string) => {
      text += part;
      bed.onOutput?.(part);
    });
    child.on('error', reject);
    child.on('close', () => {
      clearTimeout(limit);
      clearInterval(watch);
      process.off('exit', end);
      server.close();
      const shown = text.slice(-4000);
      if (text.includes(bed.done)) resolve(text);
      else if (lockedUp !== undefined)
        reject(
          new BedLockedUp(
            `The test bed's own kernel has not answered for ${SILENCE_MS / 1000} s:\n${shown}\n${lockedUp}`,
          ),
        );
      else reject(new Error(`The test bed did not come to its end (${answers} answers):\n${shown}`));
    });
  });
}
