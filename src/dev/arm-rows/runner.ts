/** Runs cases under QEMU's user mode, by the program of runner-elf.ts. */
import { QemuUser, unavailable } from '../qemu-user.js';
import { CASE_BYTES, RESULT_BYTES } from './layout.js';
import { runnerElf } from './runner-elf.js';

const QEMU = 'qemu-aarch64';

export class QemuRunner extends QemuUser {
  constructor() {
    super({
      qemu: QEMU,
      // All extensions but pointer authentication, whose keys are random there.
      cpus: ['max,pauth=off'],
      program: runnerElf(),
      caseBytes: CASE_BYTES,
      resultBytes: RESULT_BYTES,
    });
  }
}

/** Why cases cannot run here; undefined if they can. */
export const qemuUnavailable = (): string | undefined => unavailable(QEMU);
