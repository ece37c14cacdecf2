/** Runs cases under QEMU's user mode (package qemu-user), by the program of runner-elf.ts. */
import { spawnSync } from 'node:child_process';
import { chmodSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CASE_BYTES, RESULT_BYTES } from './layout.js';
import { runnerElf } from './runner-elf.js';

/** All extensions but pointer authentication, which the table does not have. */
const CPU = 'max,pauth=off';

export class QemuRunner {
  readonly #directory = mkdtempSync(join(tmpdir(), 'vring-arm-rows-'));
  readonly #program = join(this.#directory, 'runner');

  constructor() {
    writeFileSync(this.#program, runnerElf());
    chmodSync(this.#program, 0o755);
  }

  #spawn(cases: Uint8Array) {
    const input = join(this.#directory, 'cases');
    writeFileSync(input, cases);
    const output = join(this.#directory, 'results');
    const stdin = openSync(input, 'r');
    const stdout = openSync(output, 'w');
    const { status, signal, error, stderr } = spawnSync('qemu-aarch64', ['-cpu', CPU, this.#program], {
      stdio: [stdin, stdout, 'pipe'],
      timeout: 120_000,
    });
    closeSync(stdin);
    closeSync(stdout);
    return { status, why: error ?? signal ?? stderr?.toString(), results: new Uint8Array(readFileSync(output)) };
  }

  /** Results of cases that lie one after another. */
  run(cases: Uint8Array): Uint8Array {
    const { status, why, results } = this.#spawn(cases);
    const done = results.length / RESULT_BYTES;
    if (status !== 0 || done !== cases.length / CASE_BYTES)
      throw new Error(`qemu-aarch64 stopped after ${done} cases: status ${status}, ${why}`);
    return results;
  }

  close(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** Why cases cannot run here; undefined if they can. */
export function qemuUnavailable(): string | undefined {
  const { error } = spawnSync('qemu-aarch64', ['--version']);
  return error ? 'qemu-aarch64 (package qemu-user) is not installed' : undefined;
}
