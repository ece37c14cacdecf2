/** The tour as a person sees it who pipes it: every step, with figures that belong together. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { spawn as spawnOnTerminal } from '@lydell/node-pty';
import { steps } from './steps.js';

const main = fileURLToPath(new URL('../main.js', import.meta.url));

function vring(...argv: string[]): Promise<{ status: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [main, ...argv], { stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, stdout, stderr }));
  });
}

test('vring tour: every step; what was asked for is what was counted', async () => {
  const { status, stdout, stderr } = await vring('tour');
  assert.equal(stderr, '');
  assert.equal(status, 0);
  for (const [i, { title }] of steps.entries()) assert.ok(stdout.includes(`${i + 1}. ${title}\n`), title);
  const text = stdout.replaceAll(/\s+/g, ' ');
  assert.match(text, /20000 page faults: ring 0 put a frame/);
  // The translator tells what crossed; the program itself ends with one more system call.
  if (text.includes('that the translator saw')) {
    assert.match(text, /3>0 exception 20000/);
    assert.match(text, /3>0 interrupt 20/);
    assert.match(text, /vector 64 200 times/);
  }
  assert.match(text, /Notify: .*: 200 for 200 requests/);
  assert.match(text, /descriptor 0: 16 bytes at 0x20000, the device reads, goes on with 1/);
  assert.match(text, /descriptor 1: 512 bytes at 0x20200, the device writes/);
  // The disk's bytes are i mod 251: the sum over its first 200 sectors.
  let sum = 0;
  for (let i = 0; i < 200 * 512; i++) sum += i % 251;
  assert.match(text, new RegExp(`sum of their bytes is ${sum}`));
  if (text.includes('the host has given a page')) {
    assert.match(text, /before: no page of the host yet; after: the host has given a page/);
  }
});

test('vring tour --accel: insists on what is named; bad names and both options are refused', async () => {
  const tcg = await vring('tour', '--accel', 'tcg');
  assert.equal(tcg.status, 0);
  assert.match(tcg.stdout, /ring -1 +what runs the guest: the translator/);
  for (const [argv, sentence] of [
    [['--accel', 'kvn'], /there are kvm and tcg.*did you mean 'kvm'/],
    [['--accel', 'tcg', '--without', 'tlb'], /cannot be given both/],
  ] as const) {
    const refused = await vring('tour', ...argv);
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, sentence);
    assert.equal(refused.stdout, '');
  }
});

test('vring tour --without tlb, translation-cache, virtio: counters tell the difference', async () => {
  const tlb = await vring('tour', '--without', 'tlb');
  const [, walks] = /walk 1000 .* (\d+) page walks$/m.exec(tlb.stdout) ?? [];
  assert.ok(Number(walks) >= 1_000_000, tlb.stdout);
  const cache = await vring('tour', '--without', 'translation-cache');
  const [, kept, made] = /syscall 300 .* (\d+) translations \/ (\d+) translations$/m.exec(cache.stdout) ?? [];
  // Some of it is compiled in the meantime, sooner or later.
  assert.ok(Number(made) > 300 * 10 && Number(kept) < Number(made) / 10, cache.stdout);
  const virtio = await vring('tour', '--without', 'virtio');
  const [, few, many] = /disk 500 .* (\d+) exits \/ (\d+) exits$/m.exec(virtio.stdout) ?? [];
  // Each byte of 500 times 512 is an exit; a request with virtio is one notify and what the interrupt costs.
  assert.ok(Number(many) > 256_000 && Number(few) < 5_000, virtio.stdout);
});

/** On a terminal of 60 columns; `keys`: each is typed when so much of the text has come so often. Gives what was written. */
async function onTerminal(keys: readonly { readonly at: string; readonly times: number; readonly key: string }[]) {
  // What was written last can be lost with the end of a terminal: the shell stays a little.
  const script = `'${process.execPath}' '${main}' tour --accel tcg; echo "status=$?"; sleep 0.3`;
  const terminal = spawnOnTerminal('/bin/sh', ['-c', script], { cols: COLUMNS, rows: 30 });
  let text = '';
  const ended = new Promise<void>((resolve) => terminal.onExit(() => resolve()));
  const timer = setTimeout(() => terminal.kill('SIGKILL'), 60_000);
  try {
    let typed = 0;
    terminal.onData((data) => {
      text += data;
      for (; typed < keys.length && text.split(keys[typed].at).length > keys[typed].times; typed++)
        terminal.write(keys[typed].key);
    });
    await ended;
  } finally {
    clearTimeout(timer);
  }
  return text;
}

const COLUMNS = 60;
const noTerminals = process.platform === 'win32' && 'there are no terminals of this kind';
const question = 'Enter goes on, q ends. ';

test('vring tour on a terminal: as wide as that is, a step at a time, and Ctrl+D ends it', {
  skip: noTerminals,
}, async () => {
  const text = await onTerminal([
    { at: question, times: 1, key: '\r' },
    { at: question, times: 2, key: '\x04' },
  ]);
  assert.match(text, /status=0/);
  assert.ok(text.includes(steps[1].title) && !text.includes(steps[2].title), text);
  const plain = text.replaceAll(/\x1b\[[0-9;]*[A-Za-z]/g, '').split(/\r?\n/);
  for (const line of plain) if (!/ {3}\d[\d.]* [nµm]?s$/.test(line)) assert.ok(line.length <= COLUMNS, line);
  assert.match(text, / {2}ring -1 {3}what runs the guest: .*\r?\n {12}\S/);
});

test('vring tour on a terminal: Ctrl+C ends it in the middle of a step', { skip: noTerminals }, async () => {
  const text = await onTerminal([
    { at: question, times: 1, key: '\r' },
    { at: steps[1].title, times: 1, key: '\x03' },
  ]);
  assert.match(text, /status=0/);
  assert.doesNotMatch(text, /vring:/);
});

test('a part that there is not', async () => {
  const { status, stdout, stderr } = await vring('tour', '--without', 'vritio');
  assert.equal(status, 1);
  assert.equal(stdout, '');
  assert.match(stderr, /there is kvm, translation-cache, tlb, virtio, irqchip; did you mean 'virtio'/);
});
