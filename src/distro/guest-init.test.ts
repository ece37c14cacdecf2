import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import test, { type TestContext } from 'node:test';
import { guestRunFiles, guestSession } from './guest-init.js';
import { encodeHostMessage, type GuestMessage, GuestMessageDecoder, type HostMessage } from './guest-protocol.js';
import { findApplets } from './initramfs.js';

test('control messages are encoded as documented', () => {
  const text = (message: HostMessage): string => Buffer.from(encodeHostMessage(message)).toString();
  assert.equal(text({ type: 'start' }), 'start\n');
  assert.equal(text({ type: 'signal', signal: 'INT' }), 'signal INT\n');
  assert.equal(text({ type: 'winsize', columns: 120, rows: 40 }), 'winsize 120 40\n');
  assert.equal(text({ type: 'close', stream: 'stdout' }), 'close stdout\n');
});

test('guest messages are decoded however they are cut; what is no message is passed over', () => {
  const bytes = Buffer.from(
    `hello 1\nnonsense\nstatus 256\nstatus -1\nstatus 42\nhello\n${'x'.repeat(5000)}status 1\nfailed No \u001b port.\nstatus 7`,
  );
  const expected: GuestMessage[] = [
    { type: 'hello', version: 1 },
    { type: 'status', status: 42 },
    { type: 'failed', sentence: 'No ? port.' },
  ];
  for (const size of [1, 3, bytes.length]) {
    const decoder = new GuestMessageDecoder();
    const messages: GuestMessage[] = [];
    for (let at = 0; at < bytes.length; at += size) messages.push(...decoder.push(bytes.subarray(at, at + size)));
    assert.deepEqual(messages, expected);
  }
});

test('a run is refused when it cannot be put into words', () => {
  assert.throws(() => guestRunFiles({ command: [], console: 'ttyS0', environment: {} }), { code: 'command-invalid' });
  assert.throws(() => guestRunFiles({ command: ['a\0b'], console: 'ttyS0', environment: {} }), {
    code: 'command-invalid',
  });
  const { environment } = guestRunFiles({ console: 'ttyS0', environment: { 'A-B': 'x', 'A=;rm': 'y', OK: "it's" } });
  assert.equal(environment, "export OK='it'\\''s'\n");
});

// The session script itself, under the host's busybox, with FIFOs in place of the ports.

const hasBusybox = spawnSync('busybox', ['sh', '-c', 'type setsid mkfifo && [ -e /proc/self/exe ]']).status === 0;
const skip = hasBusybox ? false : 'busybox, or /proc, is missing';

interface Outcome {
  stdout: string;
  stderr: string;
  messages: GuestMessage[];
}

interface Running {
  child: ChildProcess;
  send(message: HostMessage): void;
  waitForOutput(text: string): Promise<void>;
}

async function runSession(
  t: TestContext,
  command: string[],
  stdin: Uint8Array | undefined,
  environment: Record<string, string> = {},
  during?: (running: Running) => Promise<void>,
): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), 'vring session-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, 'home'));
  const files = guestRunFiles({ command, console: 'null', environment });
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  writeFileSync(join(folder, 'session'), guestSession);
  const ports = ['vring.stdin', 'vring.stdout', 'vring.stderr', 'to-guest', 'from-guest'];
  assert.equal(spawnSync('busybox', ['mkfifo', ...ports], { cwd: folder }).status, 0);
  const script = `
    find_port() { found="$PORTS/$1"; }
    open_control() { exec 8<"$PORTS/to-guest" 9>"$PORTS/from-guest"; }
    end_others() { kill -9 $(cat "$PORTS/left"); }
    finish() { kill $!; exit 0; }
    . "$PORTS/session"
    finish`;
  const child = spawn('busybox', ['sh', '-c', script], {
    env: {
      PATH: process.env['PATH'],
      HOME: join(folder, 'home'),
      PORTS: folder,
      VRING_RUN: folder,
      VRING_STATE: join(folder, 'state'),
    },
    stdio: 'ignore',
  });
  // Processes open the FIFOs: node's own threads for files are few, and an open of a FIFO blocks one.
  const helpers: ChildProcess[] = [];
  t.after(() => {
    for (const helper of helpers) helper.kill('SIGKILL');
  });
  const writeTo = (name: string): Writable => {
    // Not cat, whose sendfile from a socket keeps the FIFO locked while it waits for more.
    const helper = spawn('busybox', ['dd', 'bs=65536', `of=${join(folder, name)}`], {
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    helpers.push(helper);
    helper.stdin.on('error', () => {}); // A command may end without reading its input.
    return helper.stdin;
  };
  const control = writeTo('to-guest');
  const outcome: Outcome = { stdout: '', stderr: '', messages: [] };
  const decoder = new GuestMessageDecoder();
  const send = (message: HostMessage): void => void control.write(encodeHostMessage(message));
  const input = writeTo('vring.stdin');
  const running: Running = {
    child,
    send,
    async waitForOutput(text) {
      while (!outcome.stdout.includes(text) && child.exitCode === null)
        await new Promise((resolve) => setTimeout(resolve, 5));
    },
  };
  const watched: Promise<void>[] = [];
  const follow = (name: string, take: (chunk: Buffer) => void): void => {
    const helper = spawn('busybox', ['cat', join(folder, name)], { stdio: ['ignore', 'pipe', 'ignore'] });
    helpers.push(helper);
    helper.stdout.on('data', take);
    watched.push(new Promise((resolve) => helper.stdout.on('close', resolve)));
  };
  follow('vring.stdout', (chunk) => (outcome.stdout += chunk.toString('latin1')));
  follow('vring.stderr', (chunk) => (outcome.stderr += chunk.toString('latin1')));
  follow('from-guest', (chunk) => {
    for (const message of decoder.push(chunk)) {
      outcome.messages.push(message);
      if (message.type !== 'hello') continue;
      send({ type: 'start' });
      if (stdin !== undefined) input.end(stdin);
      void during?.(running);
    }
  });
  const timeout = setTimeout(() => child.kill('SIGKILL'), 10_000);
  await new Promise((resolve) => child.on('exit', resolve));
  clearTimeout(timeout);
  await Promise.all(watched);
  return outcome;
}

const ended = (status: number): GuestMessage[] => [
  { type: 'hello', version: 1 },
  { type: 'status', status },
];

test('a command has its streams apart and byte for byte, and hands on its status', { skip }, async (t) => {
  const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, index) => (index * 7 + (index >> 8)) & 255));
  const result = await runSession(t, ['sh', '-c', 'cat; echo problem >&2; exit 7'], bytes);
  assert.equal(result.stdout, bytes.toString('latin1'));
  assert.equal(result.stderr, 'problem\n');
  assert.deepEqual(result.messages, ended(7));
});

test('words and variables arrive as they were given', { skip }, async (t) => {
  const words = ["it's", 'a  b', '', '$HOME', '`id`', 'new\nline', '*', '-n', '\\', '"'];
  const result = await runSession(t, ['printf', '<%s>', ...words], Buffer.alloc(0));
  assert.equal(result.stdout, words.map((word) => `<${word}>`).join(''));
  const shown = await runSession(t, ['sh', '-c', 'echo "$A"; echo "[$VRING_PID$mode]"'], Buffer.alloc(0), {
    A: "x'$(y)",
  });
  assert.equal(shown.stdout, "x'$(y)\n[]\n");
});

test('streams can be opened by name, as /dev/stderr', { skip }, async (t) => {
  const result = await runSession(
    t,
    ['sh', '-c', 'echo a >/dev/stderr; echo b >/dev/stdout; cat /dev/stdin'],
    Buffer.from('c'),
  );
  assert.equal(result.stdout, 'b\nc');
  assert.equal(result.stderr, 'a\n');
});

test('a command that cannot be run gives 127 or 126 as in a shell', { skip }, async (t) => {
  const absent = await runSession(t, ['no-such-command'], Buffer.alloc(0));
  assert.deepEqual(absent.messages, ended(127));
  assert.match(absent.stderr, /no-such-command: not found/);
  assert.deepEqual((await runSession(t, ['/etc'], Buffer.alloc(0))).messages, ended(126));
});

test('an input that stays open does not hold up the end, nor an input that nobody reads', { skip }, async (t) => {
  assert.deepEqual((await runSession(t, ['true'], undefined)).messages, ended(0));
  const partial = await runSession(t, ['head', '-c', '3'], Buffer.alloc(1_000_000, 'x'));
  assert.equal(partial.stdout, 'xxx');
  assert.deepEqual(partial.messages, ended(0));
});

test('signals reach the command and its children; a death by signal is 128+n', { skip }, async (t) => {
  const interrupt = await runSession(
    t,
    ['sh', '-c', 'echo ready; sleep 20'],
    undefined,
    {},
    async ({ send, waitForOutput }) => {
      await waitForOutput('ready');
      send({ type: 'signal', signal: 'INT' });
    },
  );
  assert.deepEqual(interrupt.messages, ended(130));
  const trapped = ['sh', '-c', 'trap "echo caught; exit 3" TERM; echo ready; while :; do sleep 0.02; done'];
  const caught = await runSession(t, trapped, undefined, {}, async ({ send, waitForOutput }) => {
    await waitForOutput('ready');
    send({ type: 'signal', signal: 'TERM' });
  });
  assert.equal(caught.stdout, 'ready\ncaught\n');
  assert.deepEqual(caught.messages, ended(3));
  const killed = await runSession(t, ['sh', '-c', 'kill -9 $$'], Buffer.alloc(0));
  assert.equal(killed.stderr, '');
  assert.deepEqual(killed.messages, ended(137));
});

test('a stream that the host gives up ends the command by SIGPIPE', { skip }, async (t) => {
  const result = await runSession(t, ['yes'], undefined, {}, async ({ send, waitForOutput }) => {
    await waitForOutput('y\ny\n');
    send({ type: 'close', stream: 'stdout' });
  });
  assert.deepEqual(result.messages, ended(141));
});

test('what a command leaves running does not hold up the end', { skip }, async (t) => {
  const result = await runSession(t, ['sh', '-c', 'sleep 20 & echo $! >"$PORTS/left"; echo done'], Buffer.alloc(0));
  assert.equal(result.stdout, 'done\n');
  assert.deepEqual(result.messages, ended(0));
});

test("a busybox binary's applets are found in its table", { skip }, () => {
  const path = spawnSync('busybox', ['sh', '-c', 'readlink -f "$(which busybox)"']).stdout.toString().trim();
  const listed = spawnSync('busybox', ['--list']).stdout.toString().trim().split('\n');
  assert.deepEqual(findApplets(readFileSync(path)), listed.sort());
  assert.deepEqual(findApplets(Buffer.from('no [\0[[\0such\0table')), []);
});
