/** `vring run debian` with the real kernel, as a person uses it. Long: each boot takes seconds. */
import assert from 'node:assert/strict';
import { spawn as spawnProcess } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { spawn } from '@lydell/node-pty';
import { runCommand, VringError } from '../vmm/index.js';

const main = fileURLToPath(new URL('./main.js', import.meta.url));
const limitMs = 600_000;

/** Why Debian cannot be had here, or false. */
const skip = await runCommand({}, ['true'], { timeoutMs: limitMs }).then(
  () => false,
  (error: unknown) => {
    if (error instanceof VringError && /^(network|offline|mirror|http)-/.test(error.code))
      return `no Debian here: ${error.message}`;
    throw error;
  },
);

interface Result {
  readonly status: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

function vring(
  argv: readonly string[],
  input: Buffer | string,
  meanwhile?: (kill: (signal: NodeJS.Signals) => void, stdout: () => Buffer) => void,
): Promise<Result> {
  return new Promise((resolve) => {
    const child = spawnProcess(process.execPath, [main, 'run', 'debian', ...argv]);
    const stdout: Buffer[] = [];
    let stderr = '';
    child.stdout.on('data', (bytes: Buffer) => stdout.push(bytes));
    child.stderr.on('data', (bytes: Buffer) => {
      stderr += bytes.toString();
    });
    child.on('close', (status) => resolve({ status, stdout: Buffer.concat(stdout), stderr }));
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    meanwhile?.(
      (signal) => child.kill(signal),
      () => Buffer.concat(stdout),
    );
  });
}

test("a command's streams are the program's own, byte for byte", { skip, timeout: limitMs }, async () => {
  const bytes = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, i) => (i * 31 + (i >> 8)) & 255));
  const { status, stdout, stderr } = await vring(['--', 'sh', '-c', 'cat; echo to stderr >&2; exit 7'], bytes);
  assert.equal(status, 7);
  assert.ok(stdout.equals(bytes));
  assert.equal(stderr, 'to stderr\n');
});

test('cat /proc/cpuinfo shows the model that -cpu asks for', { skip, timeout: limitMs }, async () => {
  const cpuinfo = async (...options: string[]) => {
    const { status, stdout, stderr } = await vring([...options, '--', 'cat', '/proc/cpuinfo'], '');
    assert.equal(status, 0, stderr);
    const fields = new Map(
      stdout
        .toString('latin1')
        .split('\n')
        .filter((line) => line.includes(':'))
        .map((line) => [line.slice(0, line.indexOf(':')).trim(), line.slice(line.indexOf(':') + 1).trim()] as const),
    );
    return { fields, flags: new Set(fields.get('flags')?.split(' ')) };
  };
  const plain = await cpuinfo();
  for (const [name, value] of [
    ['processor', '0'],
    ['vendor_id', 'AuthenticAMD'],
    ['cpu family', '15'],
    ['model', '107'],
    ['model name', 'QEMU Virtual CPU version 2.5+'],
    ['siblings', '1'],
  ])
    assert.equal(plain.fields.get(name), value, name);
  // x86-64-v2, which is what Debian's own baseline and distributions above it need.
  for (const flag of ['lm', 'nx', 'cx16', 'lahf_lm', 'popcnt', 'pni', 'ssse3', 'sse4_1', 'sse4_2', 'hypervisor'])
    assert.ok(plain.flags.has(flag), flag);
  for (const flag of ['avx', 'xsave', 'smap']) assert.ok(!plain.flags.has(flag), flag);
  const other = await cpuinfo('-cpu', 'Nehalem,+smap,-sse4.2');
  assert.equal(other.fields.get('vendor_id'), 'GenuineIntel');
  assert.equal(other.fields.get('model name'), 'Intel Core i7 9xx (Nehalem Class Core i7)');
  assert.ok(other.flags.has('smap') && !other.flags.has('sse4_2') && !other.flags.has('aes'));
});

test('statuses are handed on as a shell does', { skip, timeout: limitMs }, async () => {
  assert.equal((await vring(['--', 'sh', '-c', 'kill -9 $$'], '')).status, 137);
  const missing = await vring(['--', 'no-such-command'], '');
  assert.deepEqual([missing.status, missing.stdout.length], [127, 0]);
  assert.equal((await vring(['--', '/etc/passwd'], '')).status, 126);
});

test('a signal reaches the command; a second one ends the machine', { skip, timeout: limitMs }, async () => {
  const onceUp =
    (act: (kill: (signal: NodeJS.Signals) => void) => void) =>
    (kill: (signal: NodeJS.Signals) => void, stdout: () => Buffer) => {
      const timer = setInterval(() => {
        if (!stdout().includes('up')) return;
        clearInterval(timer);
        act(kill);
      }, 20);
    };
  const polite = await vring(
    ['--', 'sh', '-c', 'trap "echo got it; exit 3" INT; echo up; while :; do sleep 0.1; done'],
    '',
    onceUp((kill) => kill('SIGINT')),
  );
  assert.deepEqual([polite.status, polite.stdout.toString()], [3, 'up\ngot it\n']);
  const deaf = await vring(
    ['--', 'sh', '-c', 'trap "" TERM; echo up; while :; do sleep 0.1; done'],
    '',
    onceUp((kill) => {
      kill('SIGTERM');
      setTimeout(() => kill('SIGTERM'), 500);
    }),
  );
  assert.equal(deaf.status, 143, deaf.stderr);
});

test('piped input is a script for the shell', { skip, timeout: limitMs }, async () => {
  const { status, stdout, stderr } = await vring(
    [],
    'x=4; echo $((x * 2))\nmodprobe loop && grep -c ^loop /proc/modules\nexit 5\n',
  );
  assert.equal(stdout.toString(), '8\n1\n', stderr);
  assert.equal(status, 5);
  assert.match(stderr, /^(vring: KVM [^\n]*\n)?Debian .*, Linux \S+, userland busybox for now\n$/);
});

test('a shell on the terminal, with its size, and its status', { skip, timeout: limitMs }, async () => {
  const pty = spawn(process.execPath, [main, 'run', 'debian'], {
    cols: 101,
    rows: 33,
    env: { ...process.env, TERM: 'xterm' } as Record<string, string>,
  });
  let text = '';
  pty.onData((data) => {
    text += data;
  });
  const ended = new Promise<number>((resolve) => {
    pty.onExit(({ exitCode }) => resolve(exitCode));
  });
  const until = async (wanted: RegExp) => {
    const deadline = Date.now() + limitMs / 2;
    while (!wanted.test(text)) {
      assert.ok(Date.now() < deadline, `${wanted} in ${JSON.stringify(text.slice(-300))}`);
      await new Promise((resolve) => {
        setTimeout(resolve, 20);
      });
    }
    text = text.slice(text.search(wanted) + 1);
  };
  // Before it may be one that says what runs the guest.
  await until(/(^|\n)Debian .*busybox for now; Ctrl-A x leaves/);
  await until(/# /);
  pty.write('stty size; echo "term $TERM"\r');
  await until(/33 101/);
  await until(/term xterm/);
  pty.resize(77, 22);
  await new Promise((resolve) => {
    setTimeout(resolve, 1000);
  });
  pty.write('stty size\r');
  await until(/22 77/);
  pty.write('sleep 100\r');
  await until(/sleep 100/);
  await new Promise((resolve) => {
    setTimeout(resolve, 500);
  });
  pty.write('\x03');
  pty.write('exit 9\r');
  assert.equal(await ended, 9);
});
