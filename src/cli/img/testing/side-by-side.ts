/**
 * The same command lines through the real qemu-img and through `vring img`, each in a directory of its own: what they print and their exit
 * codes must be equal. Left out of the comparison: space used on the host, where the image ends, progress, dates.
 */
import assert from 'node:assert';
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import { runIo } from '../../io/index.js';
import { runImg } from '../index.js';

const version = spawnSync('qemu-img', ['--version'], { encoding: 'utf8' });
/** Why a comparison can't run here; false when it can. */
export const skipReason =
  version.status === 0 && version.stdout.includes(' 7.2.') ? false : 'qemu-img 7.2 is not installed';

interface Outcome {
  readonly code: number;
  readonly text: string;
}

function splitWords(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map((match) => match[1] ?? match[2] ?? match[3]!);
}

/** A JSON object laid out anew with its members by name; other text as it is. */
function sortJson(text: string): string {
  if (!text.startsWith('{')) return text;
  const arrange = (value: unknown): unknown =>
    value === null || typeof value !== 'object' || Array.isArray(value)
      ? Array.isArray(value)
        ? value.map(arrange)
        : value
      : Object.fromEntries(
          Object.entries(value)
            .sort(([a], [b]) => (a < b ? -1 : 1))
            .map(([key, member]) => [key, arrange(member)]),
        );
  try {
    return `${JSON.stringify(arrange(JSON.parse(text)), undefined, 4)}\n`;
  } catch {
    return text;
  }
}

/** Stdout then stderr, without what may differ. */
function normalize(out: string, err: string): string {
  return (sortJson(out) + err)
    .split('\n')
    .map((line) => (line.includes('\r') ? line.slice(line.lastIndexOf('\r') + 1) : line))
    .filter(
      (line) =>
        !/^(disk size|Image end offset): |"(actual-size|image-end-offset|date-sec|date-nsec)":/.test(line.trim()),
    )
    .map((line) => line.replace(/ ops; \S+ sec \(.*\)$/, ' ops').replace(/^(\d+,\d+),\d+:.*$/, '$1'))
    .map((line) => line.replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/, 'DATE').replace(/, [\d.]+% fragmented/, ''))
    .join('\n');
}

async function ours(program: 'qemu-img' | 'qemu-io', words: readonly string[], directory: string): Promise<Outcome> {
  let [out, err] = ['', ''];
  const before = process.cwd();
  process.chdir(directory);
  try {
    const io = { out: (text: string) => void (out += text), err: (text: string) => void (err += text) };
    const run = program === 'qemu-img' ? runImg : runIo;
    return { code: await run(words, io, program), text: normalize(out, err) };
  } finally {
    process.chdir(before);
  }
}

function theirs(program: 'qemu-img' | 'qemu-io', words: readonly string[], directory: string): Outcome {
  let result = spawnSync(program, words, { cwd: directory, encoding: 'utf8' });
  // How fast the host derives keys is not always measurable on a busy machine.
  for (let retry = 0; retry < 5 && result.stderr.includes('Unable to get accurate CPU usage'); retry++)
    result = spawnSync(program, words, { cwd: directory, encoding: 'utf8' });
  return { code: result.status ?? -1, text: normalize(result.stdout, result.stderr) };
}

/** Further changes to what is compared, such as random numbers in it. */
export type Normalizer = (text: string) => string;

/**
 * Runs a script, one command a line, on both sides. A line is arguments of qemu-img, or of qemu-io after `io`, or: `qemu-io …` and `qemu-img …` prepare both
 * sides with the real tool, `vring …` does so with ours, `patch FILE OFFSET BYTES` damages a file, `cp FROM TO` copies, `swap FILE` exchanges a file between the
 * sides, so that each tool goes on with what the other wrote, `fresh` empties the directories. `files` are there at the start.
 */
export async function compareWithQemuImg(
  script: string,
  normalizer: Normalizer = (text) => text,
  files: Readonly<Record<string, Uint8Array>> = {},
): Promise<void> {
  const root = fs.mkdtempSync(path.join(tmpdir(), 'vring-img-'));
  const sides = [path.join(root, 'a'), path.join(root, 'b')] as const;
  try {
    for (const side of sides) {
      fs.mkdirSync(side);
      for (const [name, bytes] of Object.entries(files)) fs.writeFileSync(path.join(side, name), bytes);
    }
    for (const line of script.trim().split('\n')) {
      const words = splitWords(line);
      if (words[0] === 'fresh') {
        for (const side of sides) for (const name of fs.readdirSync(side)) fs.rmSync(path.join(side, name));
      } else if (words[0] === 'qemu-io' || words[0] === 'qemu-img') {
        for (const side of sides) {
          const { status, stdout, stderr } = spawnSync(words[0], words.slice(1), { cwd: side, encoding: 'utf8' });
          assert.equal(status, 0, `${line}: ${stdout}${stderr}`);
        }
      } else if (words[0] === 'vring') {
        for (const side of sides) {
          const { code, text } = await ours('qemu-img', words.slice(1), side);
          assert.equal(code, 0, `${line}: ${text}`);
        }
      } else if (words[0] === 'cp') {
        for (const side of sides) fs.copyFileSync(path.join(side, words[1]!), path.join(side, words[2]!));
      } else if (words[0] === 'swap') {
        const [a, b] = sides.map((side) => path.join(side, words[1]!)) as [string, string];
        fs.renameSync(a, `${a}.swapped`);
        fs.renameSync(b, a);
        fs.renameSync(`${a}.swapped`, b);
      } else if (words[0] === 'patch') {
        for (const side of sides) {
          const file = fs.openSync(path.join(side, words[1]!), 'r+');
          fs.writeSync(file, Buffer.from(words[3]!.split(',').map(Number)), 0, undefined, Number(words[2]));
          fs.closeSync(file);
        }
      } else {
        const program = words[0] === 'io' ? 'qemu-io' : 'qemu-img';
        const own = program === 'qemu-io' ? words.slice(1) : words;
        const expected = theirs(program, own, sides[0]);
        const actual = await ours(program, own, sides[1]);
        assert.deepEqual(
          { line, code: actual.code, text: normalizer(actual.text) },
          { line, code: expected.code, text: normalizer(expected.text) },
        );
      }
    }
  } finally {
    fs.rmSync(root, { recursive: true, force: true });
  }
}
