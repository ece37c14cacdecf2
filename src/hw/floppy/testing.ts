/** A machine with nothing but a floppy controller and its DMA controllers, and the steps that a driver takes, for tests. */
import { MemorySpace, PortSpace } from '../../bus/index.js';
import { DmaControllers } from '../i8237/i8237.js';
import { wireDmaControllers } from '../i8237/wiring.js';
import { TestLine } from '../testing.js';
import { Fdc } from './fdc.js';
import type { FloppyDrive } from './floppy-drive.js';
import { wireFdc } from './wiring.js';

export const ramBytes = 0x100000;

/** Ports and memory as a driver sees them, here and on another machine. */
export interface FloppyPorts {
  in(port: number): Promise<number>;
  out(port: number, value: number): Promise<void>;
  readHex(gpa: number, length: number): Promise<string>;
  writeHex(gpa: number, digits: string): Promise<void>;
}

export function floppyMachine(drives: readonly (FloppyDrive | undefined)[]) {
  const memory = new MemorySpace(new ArrayBuffer(ramBytes));
  memory.addRam({ name: 'ram', gpa: 0, size: ramBytes, hva: 0, readonly: false });
  const ports = new PortSpace();
  const irq = new TestLine();
  const dma = new DmaControllers({ dma: memory.dma });
  wireDmaControllers(ports, dma);
  const fdc = new Fdc({ irq, channel: (opened) => dma.channel(2, opened), drives });
  wireFdc(ports, fdc);
  const ram = new Uint8Array(memory.dma.view(0, ramBytes, true)!.buffer);
  const asPorts: FloppyPorts = {
    in: async (port) => ports.read(port, 1),
    out: async (port, value) => ports.write(port, 1, value),
    readHex: async (gpa, length) =>
      [...ram.subarray(gpa, gpa + length)].map((byte) => byte.toString(16).padStart(2, '0')).join(''),
    writeHex: async (gpa, digits) =>
      ram.set(
        (digits.match(/../g) ?? []).map((pair) => Number.parseInt(pair, 16)),
        gpa,
      ),
  };
  return { memory, ports, irq, dma, fdc, ram, driver: new FloppyDriver(asPorts) };
}

/** The steps of a driver. */
export class FloppyDriver {
  readonly ports: FloppyPorts;
  constructor(ports: FloppyPorts) {
    this.ports = ports;
  }

  status(): Promise<number> {
    return this.ports.in(0x3f4);
  }
  /** A command's bytes. */
  async send(...bytes: readonly number[]): Promise<void> {
    for (const byte of bytes) await this.ports.out(0x3f5, byte);
  }
  /** All bytes of a result. */
  async result(): Promise<number[]> {
    const bytes: number[] = [];
    while (((await this.status()) & 0xd0) === 0xd0 && bytes.length < 20) bytes.push(await this.ports.in(0x3f5));
    return bytes;
  }
  async command(...bytes: readonly number[]): Promise<number[]> {
    await this.send(...bytes);
    return await this.result();
  }
  /** Reset by the output register, and its four answers. */
  async reset(motorsAndDrive = 0x1c): Promise<number[][]> {
    await this.ports.out(0x3f2, 0x08);
    await this.ports.out(0x3f2, motorsAndDrive);
    const answers: number[][] = [];
    for (let i = 0; i < 5; i++) answers.push(await this.command(0x08));
    return answers;
  }
  /** SEEK, and what SENSE INTERRUPT STATUS says. */
  async seek(drive: number, cylinder: number): Promise<number[]> {
    await this.send(0x0f, drive, cylinder);
    return await this.command(0x08);
  }
  /** Channel 2: `mode` 0x46 from the disk, 0x4a to it. */
  async setDma(mode: number, gpa: number, bytes: number): Promise<void> {
    const { ports } = this;
    await ports.out(0x0a, 6);
    await ports.out(0x0c, 0);
    await ports.out(0x0b, mode);
    await ports.out(0x04, gpa & 0xff);
    await ports.out(0x04, (gpa >> 8) & 0xff);
    await ports.out(0x81, gpa >> 16);
    await ports.out(0x05, (bytes - 1) & 0xff);
    await ports.out(0x05, (bytes - 1) >> 8);
    await ports.out(0x0a, 2);
  }
}
