/**
 * Runs a program on QEMU's board `virt` and on our CPU. RAM is a file that QEMU shares, so what it leaves there is read when it ends: by a
 * semihosting call in QEMU, by WFI here.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TcgEngine } from '../../accel/tcg/engine.js';
import { quietHost } from '../../accel/testing/quiet-host.js';
import type { ArmModel } from '../../guest/arm/models.js';
import { STATE_BYTES } from '../../guest/arm/state.js';
import { ArmCpu } from '../../guest/arm/system/cpu.js';
import { CODE, instruction, type Program, RAM, RAM_BYTES } from './program.js';

const QEMU = 'qemu-system-aarch64';
/** SYS_EXIT, and its argument: it ends as it should. */
const EXIT = 0x18;
const EXIT_OK = 0x20026;
const HLT_SEMIHOSTING = 0xd45e0000;
const END = CODE - 0x1000;

export const bareUnavailable = (): string | undefined =>
  spawnSync(QEMU, ['--version']).status === 0 ? undefined : `${QEMU} is not installed`;

/** Ends the program. */
export function end(p: Program): void {
  p.branch('b', END);
}

export interface Numbers {
  readonly at: number;
  readonly values: readonly bigint[];
}

function image(p: Program, numbers: readonly Numbers[], atEnd: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(RAM_BYTES);
  const view = new DataView(bytes.buffer);
  for (const [at, word] of p.words) view.setUint32(at - RAM, word, true);
  for (const { at, values } of numbers)
    for (const [n, value] of values.entries()) view.setBigUint64(at - RAM + 8 * n, BigInt.asUintN(64, value), true);
  for (const [n, word] of atEnd.entries()) view.setUint32(END - RAM + 4 * n, word, true);
  return bytes;
}

/** RAM as QEMU leaves it. `cpu`, `machine`: values of its options. */
export function runOnQemu(p: Program, numbers: readonly Numbers[], cpu: string, machine = ''): DataView {
  const directory = mkdtempSync(join(tmpdir(), 'vring-bare-'));
  try {
    const file = join(directory, 'ram');
    const block = END + 0x100;
    const exit = [
      instruction('movz rd, imm, hw', { rd: 0, sf: 1, imm: EXIT }),
      instruction('movz rd, imm, hw', { rd: 1, sf: 1, imm: block & 0xffff }),
      instruction('movk rd, imm, hw', { rd: 1, sf: 1, imm: block >>> 16, shift: 1 }),
      HLT_SEMIHOSTING,
    ];
    writeFileSync(file, image(p, [...numbers, { at: block, values: [BigInt(EXIT_OK), 0n] }], exit));
    const backend = `memory-backend-file,id=ram,size=${RAM_BYTES},mem-path=${file},share=on`;
    const options = [
      '-M',
      `virt${machine},memory-backend=ram`,
      '-cpu',
      cpu,
      '-m',
      `${RAM_BYTES >> 20}`,
      '-object',
      backend,
    ];
    const quiet = ['-nodefaults', '-display', 'none', '-semihosting', '-device', `loader,addr=${CODE},cpu-num=0`];
    const { status, stderr } = spawnSync(QEMU, [...options, ...quiet], { timeout: 20_000 });
    if (status !== 0) throw new Error(`${QEMU} ended with ${status}: ${stderr}`);
    return new DataView(new Uint8Array(readFileSync(file)).buffer);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** RAM as it is here behind the program. `hotThreshold` 0: nothing is compiled. */
export function runHere(p: Program, numbers: readonly Numbers[], model: ArmModel, hotThreshold = 0): DataView {
  const cpu = new ArmCpu(
    { time: () => 0n, counterFrequency: 62_500_000, setTimer: () => {}, firmwareCall: () => false },
    model,
  );
  const engine = new TcgEngine({
    cpus: [cpu],
    ramBytes: RAM_BYTES,
    stateBytes: STATE_BYTES,
    hotThreshold,
    host: quietHost,
  });
  engine.setRamBlocks([{ gpa: RAM, size: RAM_BYTES, hva: engine.ramStart, readonly: false }]);
  const ram = new Uint8Array(engine.memory.buffer, engine.ramStart, RAM_BYTES);
  ram.set(image(p, numbers, [instruction('wfi')]));
  cpu.reset(BigInt(CODE));
  const exit = engine.run();
  if (exit !== 'halt' || cpu.core.pc !== BigInt(END + 4))
    throw new Error(
      `the program ended with ${exit} at ${cpu.core.pc.toString(16)}, ESR ${cpu.core.get32(0).toString(16)}`,
    );
  return new DataView(ram.slice().buffer);
}
