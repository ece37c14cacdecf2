/** `vring run debian --arch armhf`: Debian's kernel for Arm with 32 bits on the board `virt`. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { runCommand } from '../vmm/index.js';
import { main, runDebian, timeout, whyNoDebian } from './testing-debian.js';

const skip = await whyNoDebian('armhf');
const debian = (options: readonly string[], script: string) => runDebian('armhf', options, script);
const run = ['run', 'debian', '--arch', 'armhf'] as const;

test('a command runs, its status comes out, and the machine is off', { skip, timeout }, () => {
  const { status, stdout, stderr } = debian(
    [],
    'uname -m; grep -c ^processor /proc/cpuinfo; awk "BEGIN { print 10 / 4 }"; echo to stderr >&2; exit 7',
  );
  assert.deepEqual({ status, stdout, stderr }, { status: 7, stdout: 'armv7l\n1\n2.5\n', stderr: 'to stderr\n' });
});

test('all bytes go through the command both ways, and its input has an end', { skip, timeout }, () => {
  const input = Buffer.from(Array.from({ length: 600_000 }, (_, n) => (n * 7 + (n >> 8) + (n >> 16)) & 255));
  const argv = [main, ...run, '--', 'sh', '-c', 'tee /dev/stderr; echo $? >&2'];
  const { status, stdout, stderr } = spawnSync(process.execPath, argv, { input, timeout, maxBuffer: 4 << 20 });
  assert.equal(status, 0, stderr.subarray(-300).toString());
  const hash = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
  assert.equal(hash(stdout), hash(input));
  assert.equal(hash(stderr), hash(Buffer.concat([input, Buffer.from('0\n')])));
});

test('piped input without a command is a script for the shell', { skip, timeout }, () => {
  const script = 'PATH=/usr/local/sbin:/usr/local/bin:$PATH\necho "$PATH"\nsleep 1\nexit 9\necho never\n';
  const { status, stdout } = spawnSync(process.execPath, [main, ...run], { input: script, timeout, encoding: 'utf8' });
  assert.equal(status, 9);
  assert.match(stdout, /^(\/usr\/local\/sbin:\/usr\/local\/bin:)\1\/usr\/sbin:\/usr\/bin:\/sbin:\/bin\n$/);
});

test("SIGTERM is the command's", { skip, timeout }, async () => {
  const argv = [
    main,
    ...run,
    '--',
    'sh',
    '-c',
    'trap "echo caught; exit 5" TERM; echo ready; while :; do sleep 0.1; done',
  ];
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.on('data', (bytes: Buffer) => {
    if (!said.includes('ready') && `${said}${bytes}`.includes('ready')) child.kill('SIGTERM');
    said += String(bytes);
  });
  const status = await new Promise((resolve) => child.on('close', resolve));
  assert.deepEqual([status, said], [5, 'ready\ncaught\n']);
});

test('long descriptors and four CPUs: Linux starts and uses them all, takes one out and puts it back', {
  skip,
  timeout,
}, async () => {
  const script = [
    'uname -r; grep -c ^processor /proc/cpuinfo',
    'for n in $(seq 0 7); do (i=0; while [ $i -lt 1000 ]; do i=$((i+1)); done; echo done) & done; wait',
    'echo 0 >/sys/devices/system/cpu/cpu1/online; cat /sys/devices/system/cpu/online',
    'echo 1 >/sys/devices/system/cpu/cpu1/online; cat /sys/devices/system/cpu/online',
    "awk '/Function call/ { print ($2 > 0), ($3 > 0), ($4 > 0), ($5 > 0) }' /proc/interrupts",
  ].join('; ');
  const options = { architecture: 'armhf', flavour: 'armmp-lpae', machine: { cpus: 4 } };
  const { status, stdout, stderr } = await runCommand(options, ['sh', '-c', script], { timeoutMs: timeout });
  assert.equal(status, 0, Buffer.from(stderr).toString());
  const [release, ...rest] = Buffer.from(stdout).toString().trim().split('\n');
  assert.match(release, /-armmp-lpae$/);
  assert.deepEqual(rest, ['4', ...Array(8).fill('done'), '0,2-3', '0-3', '1 1 1 1']);
});
