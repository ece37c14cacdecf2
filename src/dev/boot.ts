/**
 * Boots a kernel in this thread, without the library around it: for work on the translator.
 * node dist/dev/boot.js [-arch NAME] -kernel FILE [-initrd FILE] [-append TEXT] [-m MIB] [-cold] [-inline: regions are written in the vCPU's thread] [-stats] [-d FILE] [-cpu MODEL]
 */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { header } from '../guest/index.js';
import { field, gpr } from '../guest/x86/state.js';
import { tuneForMachines } from '../host/node/engine-flags.js';
import { readStoredRoutines } from '../host/node/routine-file.js';
import { letBackgroundGiveWay } from '../host/node/thread-priority.js';
import { hostRandomBits, hostTime } from '../host/node/time.js';
import { PcMachine } from '../machine/pc.js';
import { findArchitecture } from '../vmm/architectures.js';
import { ThreadRegionService } from '../vmm/region-thread.js';

const argv = process.argv.slice(2).map((word) => (/^-[a-z]{2,}$/.test(word) ? `-${word}` : word));
const { values } = parseArgs({
  args: argv,
  options: {
    arch: { type: 'string', default: 'x86_64' },
    kernel: { type: 'string' },
    initrd: { type: 'string' },
    append: { type: 'string', default: 'console=ttyS0' },
    m: { type: 'string', default: '256' },
    cpu: { type: 'string' },
    inline: { type: 'boolean', default: false },
    cold: { type: 'boolean', default: false },
    stats: { type: 'boolean', default: false },
    threshold: { type: 'string', default: '1024' },
    timeout: { type: 'string', default: '120' },
    d: { type: 'string' },
    int: { type: 'boolean', default: false },
  },
});
const log = values.d ? openSync(values.d, 'w') : -1;
const started = performance.now();
const out: number[] = [];
const flush = () => {
  if (out.length > 0) writeSync(1, Uint8Array.from(out.splice(0)));
};
tuneForMachines();
letBackgroundGiveWay();
const architecture = findArchitecture(values.arch);
const makeBoard = await architecture.loadBoard();
const unpack = await architecture.loadUnpack();
const { board: machine } = makeBoard(
  {
    time: hostTime,
    randomBits: hostRandomBits,
    routineStore: { get: readStoredRoutines },
    regionService: values.inline || values.cold ? undefined : new ThreadRegionService(),
    service: () => {
      flush();
      return performance.now() - started > Number(values.timeout) * 1000;
    },
    log: (line) => process.stderr.write(`${line}\n`),
  },
  {
    cpu: architecture.cpuOption(values.cpu ?? architecture.defaultCpu),
    machine: architecture.machines[0].name,
    hpet: true,
    acpi: true,
    arm: undefined,
    microvm: undefined,
    firmware: undefined,
    ramBytes: Number(values.m) * 1024 * 1024,
    serial: [
      {
        write: (byte) => {
          out.push(byte);
        },
      },
    ],
    hotThreshold: values.cold ? 0 : Number(values.threshold),
    ...(log >= 0
      ? { trace: { items: new Set(['in_asm'] as const), line: (text) => void writeSync(log, `${text}\n`) } }
      : {}),
  },
);
if (values.int && machine instanceof PcMachine) {
  const view = new DataView(machine.engine.memory.buffer);
  const deliver = machine.cpu.deliverFault.bind(machine.cpu);
  machine.cpu.deliverFault = () => {
    const at = machine.engine.state;
    const code = view.getInt32(at + header.trapCode, true);
    process.stderr.write(
      `fault v=${(code & 255).toString(16)} e=${(code >>> 16).toString(16)} pc=${view.getBigUint64(at + header.pc, true).toString(16)} cr2=${machine.cpu.vcpu.get64(field.cr2).toString(16)} rsp=${machine.cpu.vcpu.get64(gpr[4].offset).toString(16)}\n`,
    );
    return deliver();
  };
}
const made = performance.now();
const description = machine.powerOn({
  kernel: unpack(readFileSync(values.kernel as string)),
  ...(values.initrd ? { initrd: readFileSync(values.initrd) } : {}),
  commandLine: values.append,
});
process.stderr.write(`${description}\n`);
const booted = performance.now();
const stop = machine.run();
flush();
const ended = performance.now();
process.stderr.write(
  `${JSON.stringify(stop)} made ${(made - started).toFixed(0)} loaded ${(booted - made).toFixed(0)} ran ${(ended - booted).toFixed(0)} ms\n`,
);
if (values.stats) {
  process.stderr.write(
    `${JSON.stringify({ ...machine.statistics(), rss: process.memoryUsage().rss >> 20 }, null, 1)}\n`,
  );
}
if (log >= 0) closeSync(log);
