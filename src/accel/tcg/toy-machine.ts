/** An engine with a toy CPU, for tests: RAM and ROM from 0, a device everywhere above. */
import { TcgEngine } from './engine.js';
import { TOY_STATE_BYTES, ToyCpu } from './toy-guest.js';

export const TOY_RAM = 1 << 20;
const ENTRY = 0x2000;

/** `romBytes` of the RAM, at its end, are ROM. */
export function toyMachine(program: readonly (readonly number[])[], hotThreshold: number, romBytes = 0) {
  const cpu = new ToyCpu();
  /** What was asked of the device: r or w, bytes, address, value. */
  const mmio: string[] = [];
  const engine = new TcgEngine({
    cpus: [cpu],
    ramBytes: TOY_RAM,
    stateBytes: TOY_STATE_BYTES,
    hotThreshold,
    host: {
      mmioRead: (gpa, size) => {
        mmio.push(`r${size} ${gpa.toString(16)}`);
        return 0x11223344;
      },
      mmioWrite: (gpa, size, value) => {
        mmio.push(`w${size} ${gpa.toString(16)} ${value.toString(16)}`);
      },
      pioRead: () => 0,
      pioWrite: () => {},
      readTsc: () => 0n,
      randomBits: () => 0n,
      poll: () => false,
    },
  });
  const ramBytes = TOY_RAM - romBytes;
  engine.setRamBlocks([
    { gpa: 0, size: ramBytes, hva: engine.ramStart, readonly: false },
    ...(romBytes > 0 ? [{ gpa: ramBytes, size: romBytes, hva: engine.ramStart + ramBytes, readonly: true }] : []),
  ]);
  const ram = new Uint8Array(engine.memory.buffer, engine.ramStart, TOY_RAM);
  ram.set(program.flat(), ENTRY);
  cpu.pc = ENTRY;
  return { cpu, engine, ram, mmio };
}
