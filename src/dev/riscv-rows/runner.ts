/** Runs cases under QEMU's user mode, by the program of runner-elf.ts. */
import { QemuUser, unavailable } from '../qemu-user.js';
import { CASE_BYTES, RESULT_BYTES } from './layout.js';
import { runnerElf } from './runner-elf.js';

const QEMU = 'qemu-riscv64';
/** All extensions that the table has, but Zicond, which QEMU up to 7.2 does not have. */
const CPU = 'rv64,zba=true,zbb=true,zbc=true,zbs=true,Zfh=true,v=true,vlen=128,elen=64';
const CPU_WITH_ZICOND = `${CPU},x-zicond=true`;

export class QemuRunner extends QemuUser {
  constructor() {
    const cpus = [CPU_WITH_ZICOND, CPU];
    super({ qemu: QEMU, cpus, program: runnerElf(), caseBytes: CASE_BYTES, resultBytes: RESULT_BYTES });
  }

  get hasZicond(): boolean {
    return this.cpu === CPU_WITH_ZICOND;
  }
}

/** Why cases cannot run here; undefined if they can. */
export const qemuUnavailable = (): string | undefined => unavailable(QEMU);
