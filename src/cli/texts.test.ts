/** Help, completion and man page: all options are in all of them, and the scripts are sound. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { cpuHelp } from '../guest/index.js';
import { commands } from './commands.js';
import { bashCompletion, fishCompletion, zshCompletion } from './completion.js';
import { commandHelp, wrap } from './help.js';
import { manPage } from './man.js';
import { spelled } from './options/option-row.js';
import { progressText } from './progress.js';
import { helpTopic } from './run/help-topics.js';
import { runOptions, unsupportedRunOptions } from './run/options.js';

test('every option is told everywhere', () => {
  const man = manPage().replaceAll('\\-', '-');
  const bash = bashCompletion();
  const zsh = zshCompletion();
  const fish = fishCompletion();
  for (const command of commands) {
    const help = commandHelp(command);
    for (const row of command.options) {
      for (const name of [row.name, ...(row.aliases ?? [])]) {
        const word = spelled(row, command, name);
        assert.ok(help.includes(word), `help of ${command.name}: ${word}`);
        assert.ok(man.includes(word), `man page: ${word}`);
        assert.ok(bash.includes(word), `bash: ${word}`);
        assert.ok(zsh.includes(`${word}[`), `zsh: ${word}`);
        assert.match(fish, new RegExp(` -[slo] ${name} `), `fish: ${word}`);
      }
      assert.match(row.sentence, /^[A-Z"'].*[.:]$/, `${word(row.name)} has a sentence`);
    }
  }
  for (const line of commandHelp(commands[0]).split('\n')) assert.ok(line.length <= 100, line);
});

const word = (name: string) => `-${name}`;

test('no option is both there and refused', () => {
  const names = runOptions.flatMap((row) => [row.name, ...(row.aliases ?? [])]);
  assert.equal(new Set(names).size, names.length, 'each name once');
  for (const name of names) assert.ok(!unsupportedRunOptions.has(name), name);
});

test('every option of QEMU is either taken or refused by name', (t) => {
  const { stdout, error } = spawnSync('qemu-system-x86_64', ['--help'], { encoding: 'utf8' });
  if (error || !stdout) return t.skip('qemu-system-x86_64 is not installed');
  const known = new Set([
    ...runOptions.flatMap((row) => [row.name, ...(row.aliases ?? [])]),
    ...unsupportedRunOptions.keys(),
  ]);
  const theirs = [...stdout.matchAll(/^--?([A-Za-z][\w-]*)(?:\/-?(\w+))?/gm)].flatMap(([, a, b]) => (b ? [a, b] : [a]));
  assert.ok(theirs.length > 80, `${theirs.length} options`);
  assert.deepEqual(
    theirs.filter((name) => !known.has(name)),
    [],
  );
});

test('the shells that are installed take their completion scripts', (t) => {
  let tried = 0;
  for (const [shell, script] of Object.entries({
    bash: bashCompletion(),
    zsh: zshCompletion(),
    fish: fishCompletion(),
  })) {
    const { error, status, stderr } = spawnSync(shell, ['-n'], { input: script, encoding: 'utf8' });
    if (error) continue;
    tried++;
    assert.equal(status, 0, `${shell}: ${stderr}`);
  }
  if (tried === 0) t.skip('none of bash, zsh, fish is installed');
});

test('bash completes', (t) => {
  const script = `${bashCompletion()}
    try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _vring; echo "\${COMPREPLY[*]}"; }
    try vring ca; try vring run -kern; try vring run -M ''; try vring cache ''; try qemu-system-x86_64 -nogr`;
  const { error, stdout, stderr } = spawnSync('bash', ['-c', script], { encoding: 'utf8' });
  if (error) return t.skip('bash is not installed');
  assert.deepEqual(
    stdout
      .split('\n')
      .slice(0, 5)
      .map((line) => line.trim()),
    ['cache', '-kernel', 'pc q35 microvm virt help', '--all --days --json --help --h list prune', '-nographic'].map(
      (line) => line.replace(' --h ', ' -h '),
    ),
    stderr,
  );
});

test('lists in place of a machine', () => {
  assert.match(helpTopic(['-M', 'help']) ?? '', /^pc .*\(default\)$/m);
  assert.equal(helpTopic(['-kernel', 'x', '-cpu', '?']), cpuHelp());
  assert.match(helpTopic(['-device', 'help']) ?? '', /name "virtio-blk-pci", bus PCI, alias "virtio-blk"/);
  assert.match(helpTopic(['-device', 'virtio-blk,help']) ?? '', /^virtio-blk-pci options:\n( {2}\S+=<\w+> +- .*\n?)+$/);
  assert.throws(() => helpTopic(['-device', 'nonsense,help']), /no device 'nonsense'/);
  assert.equal(helpTopic(['-append', 'help']), undefined);
  assert.equal(helpTopic(['-append', '-M', 'help']), undefined, 'that -M is the argument of -append');
  assert.equal(helpTopic(['debian', '--', '-M', 'help']), undefined);
});

test('small things: wrapped text, the bar', () => {
  assert.deepEqual(wrap('one two three', 7), ['one two', 'three']);
  assert.equal(
    progressText({ what: 'index', doneBytes: 5e6, totalBytes: 10e6 }),
    `[${'#'.repeat(15)}${'-'.repeat(15)}]  50% index 5.0/10.0 MB`,
  );
  assert.equal(progressText({ what: 'x', doneBytes: 5e5, totalBytes: undefined }), 'x 0.5 MB');
});
