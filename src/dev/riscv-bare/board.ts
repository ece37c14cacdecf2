/** The board `virt` with RISC-V harts for tests, and programs of a few instructions on it. */
import { parseRiscvCpu } from '../../guest/riscv/index.js';
import { RiscvVirt, type RiscvVirtOptions } from '../../machine/riscv/virt.js';
import { instruction } from '../riscv-rows/runner-elf.js';

export const RAM = 0x8000_0000;
export const ENTRY = RAM + 0x20_0000;
export const TABLE = 0x1000;
export const RESULTS = 0x4000;
const IMAGE_BYTES = 0x8000;
const modules = new Map<string, WebAssembly.Module>();

/** A machine whose time is how often it has been asked for. */
export class TestVirt {
  readonly board: RiscvVirt;
  console = '';
  polls = 0;
  #nowNs = 0;

  constructor(options: Partial<RiscvVirtOptions> = {}) {
    this.board = new RiscvVirt(
      {
        // Each look at the clock takes a microsecond: time does not depend on the host.
        time: { nowNs: () => (this.#nowNs += 1000), wallNs: () => 1.7e18 },
        randomBits: () => 0x0123456789abcdefn,
        service: () => ++this.polls > 20_000,
        sleep: (milliseconds) => void (this.#nowNs += milliseconds * 1e6),
        modules,
      },
      {
        ramBytes: 16 << 20,
        hotThreshold: 16,
        model: parseRiscvCpu('rv64'),
        serial: [
          {
            write: (byte) => {
              this.console += String.fromCharCode(byte);
            },
          },
        ],
        ...options,
      },
    );
  }

  u64(gpa: number): bigint {
    const { dma } = this.board.memory;
    return BigInt(dma.readU32(gpa) >>> 0) | (BigInt(dma.readU32(gpa + 4) >>> 0) << 32n);
  }
}

export const words = (code: readonly number[]): Uint8Array => new Uint8Array(Uint32Array.from(code).buffer);

/** A Linux Image whose code begins behind the header, with a table of numbers in it. */
function image(code: readonly number[], table: readonly bigint[] = []): Uint8Array {
  const bytes = new Uint8Array(IMAGE_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, instruction('jal', { rd: 0, imm: 64 }), true);
  view.setBigUint64(8, 0x20_0000n, true);
  view.setBigUint64(16, BigInt(IMAGE_BYTES), true);
  view.setUint32(0x38, 0x05435352, true);
  bytes.set(words(code), 64);
  for (const [i, value] of table.entries()) view.setBigUint64(TABLE + 8 * i, BigInt.asUintN(64, value), true);
  return bytes;
}

export const kernel = (code: readonly number[], table: readonly bigint[] = []) => ({
  kernel: image(code, table),
  commandLine: 'test',
});
export const x = { a0: 10, a1: 11, a2: 12, a6: 16, a7: 17, s0: 8, s1: 9, s2: 18, s3: 19, t0: 5 } as const;
/** s0 becomes the image's address, s1 the table's, s2 the results'. */
export const prologue = [
  instruction('auipc', { rd: x.s0, imm: 0 }),
  instruction('addi', { rd: x.s0, rs1: x.s0, imm: -64 }),
  instruction('lui', { rd: x.t0, imm: TABLE }),
  instruction('add', { rd: x.s1, rs1: x.s0, rs2: x.t0 }),
  instruction('lui', { rd: x.t0, imm: RESULTS }),
  instruction('add', { rd: x.s2, rs1: x.s0, rs2: x.t0 }),
];
