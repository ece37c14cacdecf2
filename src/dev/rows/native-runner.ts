/** Runs cases on this host's processor, by the program of native-elf.ts. */
import { spawnSync } from 'node:child_process';
import { chmodSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CASE_BYTES,
  CODE_BYTES,
  caseHeader,
  codeAt,
  codeKind,
  FX_BYTES,
  fx,
  RESULT_BYTES,
  selector,
  signalRegister,
} from './layout.js';
import { nativeRunner } from './native-elf.js';
import type { CaseRunner } from './row-test.js';

/** Why cases cannot run here; undefined if they can. */
export function nativeUnavailable(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'the host is not x86-64 Linux';
  const runner = new NativeRunner();
  try {
    runner.run(new Uint8Array(0));
    return undefined;
  } catch (error) {
    return `programs in the directory for temporary files do not run: ${String(error)}`;
  } finally {
    runner.close();
  }
}

export class NativeRunner implements CaseRunner {
  readonly #directory = mkdtempSync(join(tmpdir(), 'vring-rows-'));
  readonly #program = join(this.#directory, 'runner');

  /** Whether this host lets programs have 16-bit segments. */
  readonly with16: boolean;

  constructor() {
    writeFileSync(this.#program, nativeRunner());
    chmodSync(this.#program, 0o755);
    this.with16 = this.#reaches16();
  }

  /** Runs a HLT of 16-bit code: is it that which faults, or the jump to it? */
  #reaches16(): boolean {
    const probe = new Uint8Array(CASE_BYTES);
    const view = new DataView(probe.buffer);
    view.setUint32(caseHeader.rflags, 0x202, true);
    view.setUint32(caseHeader.far, codeAt(16), true);
    view.setUint32(caseHeader.far + 4, selector.code16, true);
    view.setUint32(caseHeader.kind, codeKind[16], true);
    view.setUint16(caseHeader.bytes + fx.control, 0x37f, true);
    view.setUint32(caseHeader.bytes + fx.mxcsr, 0x1f80, true);
    probe.fill(0xf4, caseHeader.bytes + FX_BYTES, caseHeader.bytes + FX_BYTES + CODE_BYTES);
    const result = this.run(probe);
    return new DataView(result.buffer).getBigUint64(8 * signalRegister.rip, true) === BigInt(codeAt(16));
  }

  /** Results of cases that lie one after another. */
  run(cases: Uint8Array): Uint8Array {
    const input = join(this.#directory, 'cases');
    const output = join(this.#directory, 'results');
    writeFileSync(input, cases);
    const stdin = openSync(input, 'r');
    const stdout = openSync(output, 'w');
    const { status, signal, error } = spawnSync(this.#program, [], {
      stdio: [stdin, stdout, 'inherit'],
      timeout: 60_000,
    });
    closeSync(stdin);
    closeSync(stdout);
    const results = new Uint8Array(readFileSync(output));
    const done = results.length / RESULT_BYTES;
    if (status !== 0 || done !== cases.length / CASE_BYTES) {
      throw new Error(`the native runner stopped after ${done} cases: ${error ?? signal ?? `status ${status}`}`);
    }
    return results;
  }

  close(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
