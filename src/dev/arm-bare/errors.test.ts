/** Virtual SErrors and FEAT_RAS against QEMU: taken at EL1 where PSTATE.A lets them, noted by ESB where it does not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseArmCpu } from '../../guest/arm/models.js';
import { hcr, pstate } from '../../guest/arm/state.js';
import { instruction, OUT, Program, RAM } from './program.js';
import { bareUnavailable, end, runHere, runOnQemu } from './run.js';

const EL1 = 5;
const UPPER = RAM + 0x10_0000;
const LOWER = RAM + 0x11_0000;
const [VALUE, OUTPUT, CONTINUE] = [10, 21, 28];
const SYNDROME = 0x01ab_cdefn;

class Errors extends Program {
  readonly names: string[] = [];

  constructor() {
    super();
    const start = this.here;
    // HVC from EL1 goes on at EL2; an SError at EL1 says what it is, and goes up.
    this.here = UPPER + 0x400;
    this.put('br xn', { rn: CONTINUE });
    this.here = LOWER + 0x380;
    for (const name of ['ESR_EL1', 'ELR_EL1', 'SPSR_EL1']) this.#keep(name);
    this.put('hvc imm');
    this.here = start;
    this.set(OUTPUT, OUT);
    this.write('VBAR_EL2', UPPER);
    this.write('VBAR_EL1', LOWER);
  }
  #keep(name: string): void {
    this.mrs(VALUE, name);
    this.next('str', VALUE, OUTPUT);
  }
  keep(label: string, ...names: readonly string[]): void {
    for (const name of names) {
      this.#keep(name);
      this.names.push(`${label}: ${name}`);
    }
  }
  /** At EL1, in a mode, with bits of HCR_EL2. What it leaves there comes before what is kept of EL2. */
  at1(bits: bigint, mode: number, write: () => void): void {
    this.write('HCR_EL2', hcr.RW | bits);
    this.write('VSESR_EL2', SYNDROME);
    this.write('VDISR_EL2', 0);
    const at = this.here;
    const code = at + 4 * 24;
    this.here = code;
    write();
    this.put('hvc imm');
    const next = this.here;
    this.here = at;
    this.set(CONTINUE, next);
    this.write('ELR_EL2', code);
    this.write('SPSR_EL2', mode);
    this.put('eret');
    assert.ok(this.here <= code);
    this.here = next;
  }
}

test('virtual SErrors are taken, held back, and noted by ESB', { skip: bareUnavailable() ?? false }, () => {
  const p = new Errors();
  const esb = () => p.word(instruction('hint imm', { imm: 16 }));
  const masked = EL1 | pstate.DAIF;
  const open = EL1 | (pstate.DAIF & ~pstate.A);
  const ofEl2 = ['HCR_EL2', 'VDISR_EL2', 'DISR_EL1'];
  const taken = ['ESR_EL1', 'ELR_EL1', 'SPSR_EL1'].map((name) => `taken: ${name}`);
  p.at1(hcr.AMO | hcr.VSE, open, () => p.put('brk imm'));
  p.names.push(...taken);
  p.keep('taken', ...ofEl2);
  p.at1(hcr.AMO | hcr.VSE, masked, () => p.keep('masked', 'ISR_EL1', 'DISR_EL1'));
  p.keep('masked', ...ofEl2);
  p.at1(hcr.AMO | hcr.VSE, masked, () => {
    esb();
    p.keep('noted', 'ISR_EL1', 'DISR_EL1');
    p.write('DISR_EL1', 0x8000_1234);
    p.keep('written', 'DISR_EL1', 'ERRIDR_EL1');
  });
  p.keep('noted', ...ofEl2);
  p.at1(hcr.VSE, open, () => {
    esb();
    p.keep('not routed', 'ISR_EL1', 'DISR_EL1');
  });
  p.keep('not routed', ...ofEl2);
  p.at1(hcr.AMO | hcr.VSE, masked, () => {
    p.put('msr.daifclr imm', { imm: 4 });
    p.put('brk imm');
  });
  p.names.push(...taken.map((name) => `unmasked, ${name}`));
  p.keep('unmasked', ...ofEl2);
  end(p);
  const qemu = runOnQemu(p, [], 'max', ',virtualization=on');
  for (const threshold of [0, 2]) {
    const here = runHere(p, [], parseArmCpu('max,has_el2=on'), threshold);
    const values = (view: DataView) =>
      Object.fromEntries(p.names.map((name, n) => [name, view.getBigUint64(OUT - RAM + 8 * n, true).toString(16)]));
    const ours = values(here);
    assert.deepEqual(ours, values(qemu));
    assert.equal(ours['taken: ESR_EL1'], (0xbe000000n | SYNDROME).toString(16));
    assert.equal(ours['noted: VDISR_EL2'], '80001234');
  }
});
