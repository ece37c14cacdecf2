/** A `pc` for tests: boots a Program, collects COM1's bytes, ends by isa-debug-exit, and always ends. */
import { parseCpuOption } from '../../guest/index.js';
import { wireIsaDebugExit } from '../../hw/index.js';
import type { BoardStop } from '../board.js';
import type { TimeSource } from '../machine-clock.js';
import { PcMachine, type PcOptions } from '../pc.js';
import type { Program } from './program.js';

const modules = new Map<string, WebAssembly.Module>();

export interface TestPcOptions extends Partial<Omit<PcOptions, 'serial' | 'model'>> {
  readonly cpu?: string;
  /** Called at each look at the clock; true ends the run. */
  readonly service?: () => boolean;
  /** Looks at the clock before the run is given up. */
  readonly maxPolls?: number;
  /** It has a serial port unless told otherwise. */
  readonly hasSerial?: boolean;
  /** The host's, for guests that something else than the translator runs; each look takes a microsecond unless given. */
  readonly time?: TimeSource;
}

export class TestPc {
  readonly pc: PcMachine;
  serial = '';
  /** The run was given up. */
  timedOut = false;
  #polls = 0;
  #nowNs = 0;

  constructor(options: TestPcOptions = {}) {
    const maxPolls = options.maxPolls ?? 20_000;
    const { cpu, service, maxPolls: _, time, hasSerial = true, ...rest } = options;
    this.pc = new PcMachine(
      {
        // Each look at the clock takes a microsecond: time does not depend on the host.
        time: time ?? { nowNs: () => (this.#nowNs += 1000), wallNs: () => 1.6e18 },
        randomBits: () => 0x0123456789abcdefn,
        service: () => {
          this.timedOut = ++this.#polls > maxPolls;
          return this.timedOut || (service?.() ?? false);
        },
        ...(time ? {} : { sleep: (milliseconds: number) => void (this.#nowNs += milliseconds * 1e6) }),
        modules,
      },
      {
        ramBytes: 4 << 20,
        hotThreshold: 16,
        ...rest,
        model: parseCpuOption(cpu ?? 'max'),
        serial: hasSerial
          ? [
              {
                write: (byte) => {
                  this.serial += String.fromCharCode(byte);
                },
              },
            ]
          : [],
        addDevices: (board) => {
          wireIsaDebugExit(board.ports, (status) => board.exit(status), { port: 0xf4, sizeBytes: 1 });
          rest.addDevices?.(board);
        },
      },
    );
  }

  /** `program`: or a Multiboot image. */
  boot(program: Program | Uint8Array): this {
    this.pc.boot({ kernel: program instanceof Uint8Array ? program : program.image(), commandLine: '' });
    return this;
  }

  run(): BoardStop {
    this.#polls = 0;
    return this.pc.run();
  }

  /** Guest RAM from address 0 on. */
  get ram(): Uint8Array {
    const { engine } = this.pc;
    const [block] = this.pc.memory.ramBlocks();
    return new Uint8Array(engine.memory.buffer, block.hva, block.size);
  }

  u32(gpa: number): number {
    return this.pc.memory.dma.readU32(gpa) >>> 0;
  }
}
