/** Runs cases under QEMU's user mode (package qemu-user), by the program of runner-elf.ts. */
import { spawnSync } from 'node:child_process';
import { chmodSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CASE_BYTES, RESULT_BYTES } from './layout.js';
import { runnerElf } from './runner-elf.js';

/** All extensions that the table has. */
const CPU = 'rv64,zba=true,zbb=true,zbc=true,zbs=true,x-zicond=true';
/** QEMU up to 7.2 has no Zicond. */
const CPU_WITHOUT_ZICOND = 'rv64,zba=true,zbb=true,zbc=true,zbs=true';

export class QemuRunner {
  readonly #directory = mkdtempSync(join(tmpdir(), 'vring-riscv-rows-'));
  readonly #program = join(this.#directory, 'runner');
  readonly #cpu: string;

  constructor() {
    writeFileSync(this.#program, runnerElf());
    chmodSync(this.#program, 0o755);
    this.#cpu = this.#spawn(CPU, new Uint8Array(0)).status === 0 ? CPU : CPU_WITHOUT_ZICOND;
  }

  get hasZicond(): boolean {
    return this.#cpu === CPU;
  }

  #spawn(cpu: string, cases: Uint8Array) {
    const input = join(this.#directory, 'cases');
    writeFileSync(input, cases);
    const output = join(this.#directory, 'results');
    const stdin = openSync(input, 'r');
    const stdout = openSync(output, 'w');
    const { status, signal, error, stderr } = spawnSync('qemu-riscv64', ['-cpu', cpu, this.#program], {
      stdio: [stdin, stdout, 'pipe'],
      timeout: 120_000,
    });
    closeSync(stdin);
    closeSync(stdout);
    return { status, why: error ?? signal ?? stderr?.toString(), results: new Uint8Array(readFileSync(output)) };
  }

  /** Results of cases that lie one after another. */
  run(cases: Uint8Array): Uint8Array {
    const { status, why, results } = this.#spawn(this.#cpu, cases);
    const done = results.length / RESULT_BYTES;
    if (status !== 0 || done !== cases.length / CASE_BYTES)
      throw new Error(`qemu-riscv64 stopped after ${done} cases: status ${status}, ${why}`);
    return results;
  }

  close(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** Why cases cannot run here; undefined if they can. */
export function qemuUnavailable(): string | undefined {
  const { error } = spawnSync('qemu-riscv64', ['--version']);
  return error ? 'qemu-riscv64 (package qemu-user) is not installed' : undefined;
}
