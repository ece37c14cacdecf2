/** What is left of a machine whose process is killed: nothing. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { probeKvm } from '../host/node/kvm/probe.js';

const main = fileURLToPath(new URL('./main.js', import.meta.url));

function hasKvm(): boolean {
  try {
    probeKvm();
    return true;
  } catch {
    return false;
  }
}

/** Processes, but for this one and its threads, that have a parameter or an open file with this text in it. */
function processesWith(text: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return false;
    try {
      return readFileSync(`/proc/${pid}/environ`, 'latin1').includes(text);
    } catch {
      return false;
    }
  });
}

for (const accel of ['tcg', 'kvm'])
  test(`a process that is killed leaves no process, no file and no socket, with -accel ${accel}`, {
    skip: process.platform !== 'linux' ? 'for Linux' : accel === 'kvm' && !hasKvm() && 'no KVM',
    timeout: 120_000,
  }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vring-crash-'));
    try {
      const argv = ['run', '-accel', accel, '-smp', '2', '-nographic', '-device', 'virtio-rng-pci,ioeventfd=on'];
      const child = spawn(process.execPath, [main, ...argv], {
        cwd: folder,
        env: { PATH: process.env['PATH'], HOME: folder, TMPDIR: folder, XDG_CACHE_HOME: join(folder, 'cache') },
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      const closed = once(child, 'close');
      try {
        let text = '';
        for await (const part of child.stdout.setEncoding('utf8')) {
          const before = text.includes('> ');
          text += part;
          if (!before && text.includes('> ')) child.stdin.write('random 3\r');
          if (/random[\s\S]*> $/.test(text)) break;
        }
        assert.match(text, /random/);
        assert.ok(processesWith(folder).length > 0, 'it can be found');
      } finally {
        child.kill('SIGKILL');
      }
      assert.deepEqual((await closed).slice(1), ['SIGKILL']);
      // Its last threads go when the system has come to it.
      for (const end = performance.now() + 30_000; existsSync(`/proc/${child.pid}/task`) && performance.now() < end; )
        await new Promise((resolve) => setTimeout(resolve, 20));
      assert.deepEqual(processesWith(folder), []);
      const files = readdirSync(folder, { recursive: true, encoding: 'utf8' });
      // What is kept for the next start may stay.
      assert.deepEqual(
        files.filter((name) => !/^cache(\/|$)/.test(name)),
        [],
      );
      const sockets = readFileSync('/proc/net/unix', 'latin1');
      assert.ok(!sockets.includes(folder));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
