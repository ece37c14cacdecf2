/**
 * Boots Linux, moves it from the translator to KVM and back on its way, compares its state at each move, and after an odd number of moves
 * has KVM bring it to its end:
 *
 *     node dist/dev/move-linux.js KERNEL INITRAMFS VCPUS on|split MOVES [WORDS FOR THE KERNEL…]
 */
import { readFileSync } from 'node:fs';
import type { IrqchipPlace } from '../host/node/kvm/kernel-interrupts.js';
import { hostTime } from '../host/node/time.js';
import { TestPc } from '../machine/testing/test-pc.js';
import { chooseAccelerator } from '../vmm/choose-accelerator.js';
import { Mover, testKvm } from '../vmm/testing/moves.js';

const [, , kernel, initrd, cpus, irqchip, count, ...words] = process.argv as [
  string,
  string,
  string,
  string,
  string,
  IrqchipPlace,
  string,
  ...string[],
];
const moves = Number(count);
const question = { wishes: ['kvm'], cpu: undefined, defaultCpu: 'qemu64', needsTranslator: undefined } as const;
const [candidate] = chooseAccelerator(question).candidates;
let written = 0;
const mover = new Mover(() => performance.now());
const machine = new TestPc({
  cpu: candidate?.cpu ?? question.defaultCpu,
  cpus: Number(cpus),
  ramBytes: 192 << 20,
  hotThreshold: 1024,
  time: hostTime,
  maxPolls: Infinity,
  service: () => {
    process.stdout.write(machine.serial.slice(written));
    written = machine.serial.length;
    return mover.service();
  },
});
const { pc } = machine;
const kvm = testKvm(machine, { irqchip });
pc.boot({
  kernel: readFileSync(kernel),
  initrd: readFileSync(initrd),
  commandLine: ['console=ttyS0 panic=-1 mitigations=off', ...words].join(' '),
});
const { tcg, kvm: onKvm } = mover.move(machine, kvm, { moves, stayMs: 100 });
process.stdout.write(
  `\nmoves: ${moves}, ${Math.round(tcg)} ms on tcg, ${Math.round(onKvm)} ms on kvm, all as before\n`,
);
const stop = machine.run();
kvm.close();
process.stdout.write(`${machine.serial.slice(written)}\nmoves: ${stop.why}\n`);
