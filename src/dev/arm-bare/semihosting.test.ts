/** Programs on the bare machine that call their host, under QEMU and here: what they print, what the calls give, how they end. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../cli/main.js', import.meta.url));

/** How a program of an architecture is written. */
interface Target {
  readonly name: 'aarch64' | 'arm' | 'riscv64';
  /** Of its ELF file. */
  readonly machine: number;
  readonly wordBytes: 4 | 8;
  readonly start: number;
  /** The first argument register, or the second one, becomes a constant. */
  set(which: 0 | 1, value: number): number[];
  readonly call: readonly number[];
  /** The result goes to memory, by way of other registers. */
  keep(at: number): number[];
}

/** MOVZ and MOVK of AArch64, MOVW and MOVT of AArch32, LUI and ADDIW of RISC-V. */
const halves = (value: number): [number, number] => [value & 0xffff, value >>> 16];
const a64 = (rd: number, value: number): number[] => {
  const [low, high] = halves(value);
  return [0xd2800000 | (low << 5) | rd, 0xf2a00000 | (high << 5) | rd];
};
const a32 = (rd: number, value: number): number[] =>
  halves(value).map((half, n) => (0xe3000000 | (n << 22) | ((half >> 12) << 16) | (rd << 12) | (half & 0xfff)) >>> 0);
const rv = (rd: number, value: number): number[] => {
  const low = (value << 20) >> 20;
  // Addresses above 2^31 are zero-extended.
  const made = [((value - low) & 0xfffff000) | (rd << 7) | 0x37, (low << 20) | (rd << 15) | (rd << 7) | 0x1b];
  return [
    ...made,
    (32 << 20) | (rd << 15) | (1 << 12) | (rd << 7) | 0x13,
    (32 << 20) | (rd << 15) | (5 << 12) | (rd << 7) | 0x13,
  ];
};
const targets: readonly Target[] = [
  {
    name: 'aarch64',
    machine: 183,
    wordBytes: 8,
    start: 0x40200000,
    set: (which, value) => a64(which, value),
    call: [0xd45e0000],
    keep: (at) => [...a64(2, at), 0xf9000040],
  },
  {
    name: 'arm',
    machine: 40,
    wordBytes: 4,
    start: 0x40200000,
    set: (which, value) => a32(which, value),
    call: [0xef123456],
    keep: (at) => [...a32(2, at), 0xe5820000],
  },
  {
    name: 'riscv64',
    machine: 243,
    wordBytes: 8,
    start: 0x80000000,
    set: (which, value) => rv(10 + which, value),
    call: [0x01f01013, 0x00100073, 0x40705013],
    keep: (at) => [...rv(12, at), 0x00a63023],
  },
];

const SIZE = 0x3260;
const HEADER_BYTES = 0x100;
/** One segment that is all of the program. */
function elf({ machine, wordBytes }: Target, at: number, segment: Uint8Array): Uint8Array {
  const wide = wordBytes === 8;
  const header = new DataView(new ArrayBuffer(HEADER_BYTES));
  const word = (offset: number, value: number) =>
    wide ? header.setBigUint64(offset, BigInt(value), true) : header.setUint32(offset, value, true);
  for (const [n, byte] of [0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1].entries()) header.setUint8(n, byte);
  header.setUint16(16, 2, true);
  header.setUint16(18, machine, true);
  header.setUint32(20, 1, true);
  const [start, ehsize, phentsize] = wide ? [24, 64, 56] : [24, 52, 32];
  word(start, at);
  word(start + wordBytes, ehsize);
  const flags = start + 3 * wordBytes;
  header.setUint32(flags, machine === 40 ? 0x05000000 : 0, true);
  header.setUint16(flags + 4, ehsize, true);
  header.setUint16(flags + 6, phentsize, true);
  header.setUint16(flags + 8, 1, true);
  header.setUint32(ehsize, 1, true);
  if (wide) header.setUint32(ehsize + 4, 7, true);
  const [offset, vaddr] = wide ? [ehsize + 8, ehsize + 16] : [ehsize + 4, ehsize + 8];
  word(offset, header.byteLength);
  word(vaddr, at);
  word(vaddr + wordBytes, at);
  word(vaddr + 2 * wordBytes, segment.length);
  word(vaddr + 3 * wordBytes, segment.length);
  if (!wide) header.setUint32(ehsize + 24, 7, true);
  return Buffer.concat([new Uint8Array(header.buffer), segment]);
}

const call = {
  OPEN: 1,
  CLOSE: 2,
  WRITEC: 3,
  WRITE0: 4,
  WRITE: 5,
  READ: 6,
  ISERROR: 8,
  ISTTY: 9,
  SEEK: 10,
  FLEN: 12,
} as const;
const more = { GET_CMDLINE: 0x15, EXIT: 0x18, EXIT_EXTENDED: 0x20, TICKFREQ: 0x31 } as const;

/** What is printed last is every result, as it lies in memory. */
function program(target: Target): Uint8Array {
  const { wordBytes } = target;
  const start = target.start;
  const bytes = new Uint8Array(SIZE);
  const view = new DataView(bytes.buffer);
  const code: number[] = [];
  let data = 0x2000;
  const put = (part: Uint8Array): number => {
    const at = data;
    bytes.set(part, at);
    data = (data + part.length + 15) & ~15;
    return start + at;
  };
  const text = (words: string) => put(Buffer.from(`${words}\0`));
  const block = (...values: number[]): number => {
    const at = put(new Uint8Array(wordBytes * values.length));
    for (const [n, value] of values.entries()) {
      if (wordBytes === 8) view.setBigUint64(at - start + 8 * n, BigInt(value), true);
      else view.setUint32(at - start + 4 * n, value, true);
    }
    return at;
  };
  const results = 0x3000;
  let count = 0;
  const ask = (operation: number, parameter: number, keptAt?: number) => {
    code.push(...target.set(0, operation), ...target.set(1, parameter), ...target.call);
    code.push(...target.keep(keptAt ?? start + results + wordBytes * count++));
  };
  ask(call.WRITE0, text('text\n'));
  // What they give back, if anything, means nothing.
  count = 0;
  ask(call.WRITEC, text('c'));
  count = 0;
  const console = block(0, 0, 0);
  ask(call.OPEN, block(text(':tt'), 4, 3), console);
  const writing = block(0, text('written\n'), 8);
  ask(call.OPEN, block(text(':tt'), 8, 3), writing);
  ask(call.WRITE, writing);
  ask(call.FLEN, console);
  const features = block(0, 0, 0);
  ask(call.OPEN, block(text(':semihosting-features'), 0, 21), features);
  ask(call.FLEN, features);
  ask(call.ISTTY, features);
  // Four bytes of five, then one of four, both behind the other results.
  const reading = block(0, start + results + 0x200, 4);
  ask(call.OPEN, block(text(':semihosting-features'), 0, 21), reading);
  ask(call.READ, reading);
  ask(call.READ, reading);
  ask(call.SEEK, reading);
  ask(call.CLOSE, features);
  ask(call.ISERROR, block(-1 >>> 0, 0));
  ask(call.ISERROR, block(5, 0));
  ask(more.TICKFREQ, 0);
  const line = block(start + results + 0x240, 64);
  ask(more.GET_CMDLINE, line);
  ask(call.WRITE, block(99, start, 4));
  const all = block(0, start + results, 0x280);
  ask(call.OPEN, block(text(':tt'), 4, 3), all);
  ask(call.WRITE, all);
  ask(more.EXIT_EXTENDED, block(0x20026, 7));
  for (const [n, word] of code.entries()) view.setUint32(4 * n, word >>> 0, true);
  assert.ok(4 * code.length < 0x2000 && data <= results && wordBytes * count < 0x200);
  return elf(target, start, bytes);
}

const folder = mkdtempSync(join(tmpdir(), 'vring-semihosting-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

/** How the program comes into memory. */
const ways: Readonly<Record<string, (target: Target, file: string) => string[]>> = {
  'by -kernel': (_, file) => ['-kernel', file],
  // Numbers in both orders, where the program's file does not lie but what it prints does.
  'by -device loader': ({ start }, file) => [
    ...['-device', `loader,file=${file},cpu-num=0`],
    ...['-device', `loader,addr=${start + 0x3270},data=0x4554,data-len=2`],
    ...['-device', `loader,addr=0x${(start + 0x3272).toString(16)},data=0x5854455800000000,data-len=4,data-be=on`],
  ],
  'as it stands': ({ start }, file) => ['-device', `loader,file=${file}.raw,addr=${start},force-raw=on,cpu-num=0`],
};

function run(command: string, leading: readonly string[], target: Target, way: string) {
  const file = join(folder, target.name);
  const image = program(target);
  writeFileSync(file, image);
  writeFileSync(`${file}.raw`, image.subarray(HEADER_BYTES));
  const common = ['-M', 'virt', '-m', '64', '-nographic', ...ways[way](target, file)];
  const asked = ['-semihosting-config', 'enable=on,target=native,arg=one,arg=two words'];
  const { status, stdout, stderr } = spawnSync(command, [...leading, ...common, ...asked], { timeout: 60_000 });
  return { status, text: `${stdout.toString('hex')} ${stderr.toString('hex')}` };
}

const hasQemu = ({ name }: Target): boolean => spawnSync(`qemu-system-${name}`, ['--version']).status === 0;
const choice = ({ name }: Target): string[] =>
  name === 'aarch64' ? ['-cpu', 'max'] : name === 'riscv64' ? ['-bios', 'none'] : [];

for (const target of targets) {
  // Where words have as many bits the answers are the same.
  const oracle = [target, ...targets].find((each) => each.wordBytes === target.wordBytes && hasQemu(each));
  const skip = oracle ? false : `qemu-system-${target.name} is not installed`;
  for (const way of Object.keys(ways))
    test(`semihosting on ${target.name}, as in QEMU, of a program that is loaded ${way}`, { skip }, () => {
      assert.ok(oracle);
      const theirs = run(`qemu-system-${oracle.name}`, choice(oracle), oracle, way);
      const ours = run(process.execPath, [MAIN, 'run', '-arch', target.name, ...choice(target)], target, way);
      assert.equal(theirs.status, 7);
      assert.deepEqual(ours, theirs);
    });
}
