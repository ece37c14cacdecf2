/**
 * Builds a machine around a kernel, talks with it over its serial line, looks into its memory and switches it off:
 *
 *     node dist/examples/serial.js
 *
 * The kernel is a Multiboot program of a few bytes that sends back what it receives.
 */
import { createMachine, VringError } from 'vring';

/** Loaded at 1 MiB, entered after the header (Multiboot specification 0.6.96, section 3.1). */
function echoKernel(): Uint8Array {
  const code = [
    0x66,
    0xba,
    0xfd,
    0x03, // mov dx, 0x3fd: the line status of COM1
    0xec,
    0xa8,
    0x01,
    0x74,
    0xfb, // wait until there is a byte
    0x66,
    0xba,
    0xf8,
    0x03, // mov dx, 0x3f8
    0xec,
    0xee, // in al, dx; out dx, al
    0xeb,
    0xef, // again
  ];
  const [magic, flags, address, header] = [0x1badb002, 0x10000, 0x100000, 48];
  const end = address + header + code.length;
  const bytes = new Uint8Array(header + code.length);
  const view = new DataView(bytes.buffer);
  [magic, flags, -(magic + flags), address, address, end, end, address + header].forEach((word, i) => {
    view.setUint32(4 * i, word, true);
  });
  bytes.set(code, header);
  return bytes;
}

try {
  await using machine = await createMachine({ ramBytes: 16 << 20, kernel: echoKernel() });
  await machine.start();
  const serial = machine.serial();
  await serial.type('hello, guest\n');
  console.log(JSON.stringify(await serial.waitForText('\r', { timeoutMs: 10_000 })));

  await machine.pause();
  const { rip } = await machine.registers();
  const code = await machine.readMemory(Number(rip), 2);
  console.log(`paused at 0x${rip.toString(16)}: ${Buffer.from(code).toString('hex')}`);
  await machine.resume();
  console.log(await machine.powerOff());
} catch (error) {
  if (!(error instanceof VringError)) throw error;
  console.error(`${error.code}: ${error.message}`);
  process.exitCode = 1;
}
