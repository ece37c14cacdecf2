/** Runs a program that reads cases and writes results under QEMU's user mode (package qemu-user). */
import { spawnSync } from 'node:child_process';
import { chmodSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface QemuUserOptions {
  /** `qemu-riscv64`, … */
  readonly qemu: string;
  /** Values of `-cpu`: the first that this QEMU takes is used. */
  readonly cpus: readonly string[];
  readonly program: Uint8Array;
  readonly caseBytes: number;
  readonly resultBytes: number;
}

export class QemuUser {
  /** The value of `-cpu` in use. */
  readonly cpu: string;
  readonly #options: QemuUserOptions;
  readonly #directory = mkdtempSync(join(tmpdir(), 'vring-rows-'));
  readonly #program = join(this.#directory, 'runner');

  constructor(options: QemuUserOptions) {
    this.#options = options;
    writeFileSync(this.#program, options.program);
    chmodSync(this.#program, 0o755);
    const { cpus } = options;
    this.cpu = cpus.find((cpu) => this.#spawn(cpu, new Uint8Array(0)).status === 0) ?? cpus[0];
  }

  #spawn(cpu: string, cases: Uint8Array) {
    const input = join(this.#directory, 'cases');
    writeFileSync(input, cases);
    const output = join(this.#directory, 'results');
    const stdin = openSync(input, 'r');
    const stdout = openSync(output, 'w');
    const { status, signal, error, stderr } = spawnSync(this.#options.qemu, ['-cpu', cpu, this.#program], {
      stdio: [stdin, stdout, 'pipe'],
      timeout: 120_000,
    });
    closeSync(stdin);
    closeSync(stdout);
    return { status, why: error ?? signal ?? stderr?.toString(), results: new Uint8Array(readFileSync(output)) };
  }

  /** Results of cases that lie one after another. */
  run(cases: Uint8Array): Uint8Array {
    const { qemu, caseBytes, resultBytes } = this.#options;
    const { status, why, results } = this.#spawn(this.cpu, cases);
    const done = results.length / resultBytes;
    if (status !== 0 || done !== cases.length / caseBytes)
      throw new Error(`${qemu} stopped after ${done} cases: status ${status}, ${why}`);
    return results;
  }

  close(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** Why cases cannot run here; undefined if they can. */
export function unavailable(qemu: string): string | undefined {
  return spawnSync(qemu, ['--version']).error ? `${qemu} (package qemu-user) is not installed` : undefined;
}
