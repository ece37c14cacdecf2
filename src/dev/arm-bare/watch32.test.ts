/** Watchpoints of a debugger on AArch32: by the board's own target, and by the real gdb, on QEMU's board and here. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Arm32Cpu, STATE_BYTES } from '../../guest/arm32/index.js';
import { defaultModel } from '../../guest/arm32/models.js';
import { freePort } from '../../host/node/testing/free-port.js';
import { arm32DebugRegisters } from '../../machine/arm/debug-registers32.js';
import { zImages } from '../../machine/arm/load-kernel.js';
import { Arm32Trace } from '../../machine/arm/trace32.js';
import { ArmVirt } from '../../machine/arm/virt.js';
import { BoardDebugTarget } from '../../machine/debug-target.js';

const MAIN = fileURLToPath(new URL('../../cli/main.js', import.meta.url));
const CODE = 0x4020_0000;
const WORD = 0x4030_000c;

/** Instructions, and how each touches the word. */
const program: readonly (readonly [word: number, touches?: 'write' | 'read'])[] = [
  [0xe3a01101], // mov r1, #0x40000000
  [0xe2811603], // add r1, r1, #0x300000
  [0xe3a02005], // mov r2, #5
  [0xe5812008], // str r2, [r1, #8]
  [0xe3520005], // cmp r2, #5
  [0x1581200c], // strne r2, [r1, #12]
  [0x0581200c, 'write'], // streq r2, [r1, #12]
  [0xe591300c, 'read'], // ldr r3, [r1, #12]
  [0xe881003c, 'write'], // stm r1, {r2-r5}
  [0xe1c120f8, 'write'], // strd r2, r3, [r1, #8]
  [0xe89103c0, 'read'], // ldm r1, {r6-r9}
  [0xe5d1300d, 'read'], // ldrb r3, [r1, #13]
  [0xe28f0001], // add r0, pc, #1
  [0xe12fff10], // bx r0
];
const thumb: readonly (readonly [word: number, touches?: 'write' | 'read'])[] = [
  [0x2a05], // cmp r2, #5
  [0xbf18], // it ne
  [0x60ca], // strne r2, [r1, #12]
  [0xbf08], // it eq
  [0x60ca, 'write'], // streq r2, [r1, #12]
  [0x68cb, 'read'], // ldr r3, [r1, #12]
  [0xe7fe], // b .
  [0xbf00],
];
const code = Buffer.concat([
  new Uint8Array(Uint32Array.from(program.map(([word]) => word)).buffer),
  new Uint8Array(Uint16Array.from(thumb.map(([half]) => half)).buffer),
]);
const touches = [
  ...program.map(([, kind], n) => ({ kind, at: CODE + 4 * n })),
  ...thumb.map(([, kind], n) => ({ kind, at: CODE + 4 * program.length + 2 * n })),
].filter(({ kind }) => kind !== undefined);

for (const hotThreshold of [0, 2])
  test(`a debugger stops before accesses in A32 and T32, with conditions, threshold ${hotThreshold}`, () => {
    let nowNs = 0;
    let polls = 0;
    const board = new ArmVirt(
      {
        time: { nowNs: () => (nowNs += 1000), wallNs: () => 1.7e18 },
        randomBits: () => 0n,
        service: () => ++polls > 20_000,
        sleep: (milliseconds) => void (nowNs += milliseconds * 1e6),
      },
      {
        ramBytes: 16 << 20,
        hotThreshold,
        model: defaultModel,
        serial: [],
        narrow: {
          makeCpu: (arm) => new Arm32Cpu(arm, defaultModel),
          stateBytes: STATE_BYTES,
          images: zImages,
          debugRegisters: arm32DebugRegisters,
          Trace: Arm32Trace,
        },
      },
    );
    board.powerOn(undefined);
    board.memory.dma.write(CODE, code);
    const target = new BoardDebugTarget(board, { resume: () => {}, interrupt: () => {}, kill: () => {} });
    const pc = () => Number(target.readRegister(target.registers.findIndex((each) => each.name === 'pc')));
    for (const kind of ['write', 'read', 'access'] as const) {
      board.enterAt(0, CODE);
      assert.equal(target.setWatchpoint(kind, BigInt(WORD), 4), true);
      for (const { at } of touches.filter((each) => kind === 'access' || each.kind === kind)) {
        target.resume();
        assert.deepEqual(board.run(), { why: 'debug' });
        assert.deepEqual([target.takeWatchpointHit()?.kind, pc()], [kind, at]);
        // As debuggers step over it.
        target.clearWatchpoint(kind, BigInt(WORD), 4);
        target.step();
        assert.equal(target.setWatchpoint(kind, BigInt(WORD), 4), true);
      }
      target.clearWatchpoint(kind, BigInt(WORD), 4);
      target.resume();
      assert.deepEqual(board.run(), { why: 'stopped' });
      polls = 0;
    }
  });

const HEADER_BYTES = 0x100;
/** An ELF file for Arm with one segment. */
function elf(): Uint8Array {
  const header = new DataView(new ArrayBuffer(HEADER_BYTES));
  for (const [n, byte] of [0x7f, 0x45, 0x4c, 0x46, 1, 1, 1].entries()) header.setUint8(n, byte);
  for (const [at, half] of [
    [16, 2],
    [18, 40],
    [40, 52],
    [42, 32],
    [44, 1],
  ])
    header.setUint16(at, half, true);
  for (const [at, word] of [
    [20, 1],
    [24, CODE],
    [28, 52],
    [36, 0x05000000],
    [52, 1],
    [56, HEADER_BYTES],
    [60, CODE],
    [64, CODE],
    [68, code.length],
    [72, code.length],
    [76, 7],
  ])
    header.setUint32(at, word, true);
  return Buffer.concat([new Uint8Array(header.buffer), code]);
}

/** Where gdb says that the program has stopped. */
async function watchWithGdb(command: readonly string[], directory: string): Promise<readonly string[]> {
  const port = await freePort();
  const kernel = join(directory, 'program.elf');
  const options = [
    '-M',
    'virt',
    '-cpu',
    'cortex-a15',
    '-m',
    '16',
    '-nodefaults',
    '-display',
    'none',
    '-kernel',
    kernel,
  ];
  const machine = spawn(command[0], [...command.slice(1), ...options, '-S', '-gdb', `tcp:127.0.0.1:${port}`], {
    stdio: 'ignore',
  });
  try {
    const commands = [
      'set confirm off',
      'set architecture armv7',
      'set tcp auto-retry on',
      `target remote 127.0.0.1:${port}`,
      `awatch *(int*)${WORD}`,
      ...touches.flatMap(() => ['continue', 'printf "at %#x %#x\\n", $pc, $cpsr & 0x20']),
      'kill',
    ];
    const gdb = spawnSync('gdb-multiarch', ['-nx', '-batch', ...commands.flatMap((each) => ['-ex', each])], {
      encoding: 'utf8',
      timeout: 30_000,
    });
    return gdb.stdout.split('\n').filter((line) => line.startsWith('at '));
  } finally {
    machine.kill();
  }
}

const missing = ['gdb-multiarch', 'qemu-system-arm'].find((name) => spawnSync(name, ['--version']).status !== 0);
const skip = missing === undefined ? false : `${missing} is not installed`;
test('the real gdb stops at the same places as on QEMU', { skip, timeout: 90_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'vring-watch32-'));
  try {
    writeFileSync(join(directory, 'program.elf'), elf());
    const ours = await watchWithGdb([process.execPath, MAIN, 'run', '--arch', 'arm'], directory);
    const theirs = await watchWithGdb(['qemu-system-arm'], directory);
    assert.ok(theirs.length > 3, 'QEMU stops');
    assert.deepEqual(ours, theirs);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
