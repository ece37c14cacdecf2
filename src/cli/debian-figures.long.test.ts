/** A real kernel under `vring run`: its clocks against the host's, and what the process holds beyond the guest's memory. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runCommand, VringError } from '../vmm/index.js';

const main = fileURLToPath(new URL('./main.js', import.meta.url));
const limitMs = 300_000;

/** Why Debian cannot be had here, or false. */
const skip = await runCommand({}, ['true'], { timeoutMs: limitMs }).then(
  () => false,
  (error: unknown) => {
    if (error instanceof VringError && /^(network|offline|mirror|http)-/.test(error.code))
      return `no Debian here: ${error.message}`;
    throw error;
  },
);

interface Line {
  readonly text: string;
  readonly seconds: number;
  /** Of the process when the line came, in bytes; 0 where the host does not say. */
  readonly resident: number;
}

/** The lines that a script in the guest writes, with the host's time at which each came. */
async function linesOf(options: readonly string[], script: string): Promise<Line[]> {
  const lines: Line[] = [];
  const child = spawn(process.execPath, [main, 'run', 'debian', ...options, '--', 'sh', '-c', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const status = `/proc/${child.pid}/status`;
  let rest = '';
  child.stdout.setEncoding('latin1');
  child.stdout.on('data', (chunk: string) => {
    const seconds = performance.now() / 1000;
    const found = existsSync(status) ? /VmRSS:\s+(\d+) kB/.exec(readFileSync(status, 'latin1')) : null;
    const parts = (rest + chunk).split('\n');
    rest = parts.pop() ?? '';
    for (const text of parts) lines.push({ text, seconds, resident: Number(found?.[1] ?? 0) * 1024 });
  });
  const code = await new Promise((resolve) => child.on('close', resolve));
  assert.equal(code, 0);
  return lines;
}

test('two seconds in the guest are two seconds, asleep and at work', { skip, timeout: limitMs }, async () => {
  const script = "echo a; sleep 2; echo b; timeout 5 sh -c 'while :; do :; done'; echo c; true";
  const [a, b, c] = await linesOf([], script);
  const asleep = b.seconds - a.seconds;
  const working = c.seconds - b.seconds;
  // Later by what a loaded host takes to run a process; never earlier.
  assert.ok(asleep > 1.99 && asleep < 2.5, `sleep 2 took ${asleep.toFixed(3)} s`);
  assert.ok(working > 4.99 && working < 5.5, `timeout 5 took ${working.toFixed(3)} s`);
});

test("the guest's clock does not drift from the host's", { skip, timeout: limitMs }, async () => {
  const script = "now() { cut -d' ' -f1 /proc/uptime; }; now; timeout 6 sh -c 'while :; do :; done'; sleep 2; now";
  const [start, end] = await linesOf([], script);
  const guest = Number(end.text) - Number(start.text);
  const host = end.seconds - start.seconds;
  // /proc/uptime has hundredths; a line reaches the host some milliseconds later on a loaded one.
  assert.ok(Math.abs(guest - host) < 0.01 * host + 0.05, `guest ${guest.toFixed(2)} s, host ${host.toFixed(3)} s`);
});

const noResident = existsSync('/proc/self/status') ? skip : 'the host does not say what a process holds';
test('beyond what the guest touched the process holds at most 350 MB', {
  skip: noResident,
  timeout: limitMs,
}, async () => {
  // What is not free has been touched; so has some of what is: that is not counted, which makes it harder.
  const free = "awk '/MemFree/ { print $2 }' /proc/meminfo";
  const script = `${free}; mount -t tmpfs none /mnt && dd if=/dev/zero of=/mnt/f bs=1M count=200 2>/dev/null; ${free}`;
  const [small, large] = await linesOf(['-m', '512'], script);
  assert.ok(Number(small.text) - Number(large.text) > 190_000, 'the file is in the guest’s memory');
  for (const { text, resident } of [small, large]) {
    const touched = (512 << 20) - Number(text) * 1024;
    const beyond = (resident - touched) / 1e6;
    assert.ok(beyond < 350, `${beyond.toFixed(0)} MB beyond the guest's ${(touched / 1e6).toFixed(0)} MB`);
  }
});
