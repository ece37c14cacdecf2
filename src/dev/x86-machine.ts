/**
 * A bare x86 machine for tests of the CPU: RAM, the vCPU, the engine, one interrupt line, the local APIC's command register,
 * and a port (0xE9, QEMU's debug console) whose bytes are the result. Nothing else answers.
 */
import { TcgEngine } from '../accel/tcg/engine.js';
import { parseCpuOption, STATE_BYTES, X86Cpu } from '../guest/index.js';

export interface X86MachineOptions {
  /** As `-cpu`. */
  readonly cpu?: string;
  /** Entries before a block is compiled; 0: cold tier only. */
  readonly hotThreshold?: number;
  readonly ramBytes?: number;
  readonly trace?: (line: string) => void;
}

const DEBUG_PORT = 0xe9;
const EXIT_PORT = 0xf4;
const INTERRUPT_COMMAND = 0xfee00300;

export class X86Machine {
  readonly cpu: X86Cpu;
  readonly engine: TcgEngine;
  readonly ram: Uint8Array;
  /** What the program wrote to port 0xE9. */
  output = '';
  /** Ports read and written, for tests of permission: value given to IN. */
  portValue = 0;
  readonly written: { port: number; size: number; value: number }[] = [];
  /** Vectors that the interrupt line delivers, in order. */
  readonly interrupts: number[] = [];
  exited = false;
  #tsc = 0n;
  #polls = 0;

  constructor(options: X86MachineOptions = {}) {
    const ramBytes = options.ramBytes ?? 4 << 20;
    const { interrupts } = this;
    this.cpu = new X86Cpu({
      model: parseCpuOption(options.cpu ?? 'max'),
      board: {
        interrupts: {
          pending: () => interrupts.length > 0,
          acknowledge: () => {
            const vector = interrupts.shift() ?? 0xff;
            if (interrupts.length === 0) this.engine.setInterruptPending(false);
            return vector;
          },
          cr8: 0,
          readMsr: (index) => (index === 0x1b ? 0xfee00900n : undefined),
          writeMsr: (index) => index === 0x1b,
        },
        tsc: () => ++this.#tsc,
        tscHz: 1e9,
      },
    });
    this.engine = new TcgEngine({
      cpus: [this.cpu],
      ramBytes,
      stateBytes: STATE_BYTES,
      hotThreshold: options.hotThreshold ?? 0,
      ...(options.trace ? { trace: { code: (lines) => options.trace?.(lines.join('\n')) } } : {}),
      host: {
        mmioRead: () => -1,
        mmioWrite: (gpa, _size, value) => this.#mmioWrite(gpa, value),
        pioRead: () => this.portValue,
        pioWrite: (port, size, value) => this.#portWrite(port, size, value),
        readTsc: () => ++this.#tsc,
        randomBits: () => 0x0123456789abcdefn,
        poll: () => this.exited || ++this.#polls > 2000,
      },
    });
    this.engine.setRamBlocks([{ gpa: 0, size: ramBytes, hva: this.engine.ramStart, readonly: false }]);
    this.ram = new Uint8Array(this.engine.memory.buffer, this.engine.ramStart, ramBytes);
    this.cpu.reset();
  }

  /** Starts a real-mode program at CS:IP = 0:address, with the other segments 0. */
  loadReal(address: number, program: Uint8Array): void {
    this.ram.set(program, address);
    this.cpu.vcpu.setSegment(1, 0, 0n, 0xffff, 0x9b00);
    this.cpu.vcpu.pc = BigInt(address);
    this.cpu.vcpu.updateMode();
  }

  /** Puts a 64 KiB image below 1 MiB and starts it as after power-on, at F000:FFF0. */
  loadFirmware(image: Uint8Array): void {
    this.ram.set(image, 0xf0000);
    this.cpu.vcpu.setSegment(1, 0xf000, 0xf0000n, 0xffff, 0x9b00);
    this.cpu.vcpu.pc = 0xfff0n;
    this.cpu.vcpu.updateMode();
  }

  /** Raises the interrupt line for a vector. */
  interrupt(vector: number): void {
    this.interrupts.push(vector);
    this.engine.setInterruptPending(true);
  }

  /** Runs until the program exits, halts for good or shuts down; gives what ended it. */
  run(): 'exit' | 'halt' | 'shutdown' | 'timeout' {
    this.#polls = 0;
    for (;;) {
      const exit = this.engine.run();
      if (this.exited) return 'exit';
      if (exit === 'halt') return 'halt';
      if (exit === 'shutdown') return 'shutdown';
      if (this.#polls > 2000) return 'timeout';
    }
  }

  /** What programs use of the local APIC, so that they run on QEMU too: interrupts and NMIs that they send to themselves. */
  #mmioWrite(gpa: number, value: number): void {
    if (gpa !== INTERRUPT_COMMAND) return;
    if (((value >> 8) & 7) === 4) {
      this.cpu.raiseNmi();
      this.engine.kick();
    } else this.interrupt(value & 0xff);
  }

  #portWrite(port: number, size: number, value: number): void {
    if (port === DEBUG_PORT) this.output += String.fromCharCode(value & 0xff);
    else if (port === EXIT_PORT) {
      this.exited = true;
      this.engine.kick();
    } else this.written.push({ port, size, value });
  }
}
