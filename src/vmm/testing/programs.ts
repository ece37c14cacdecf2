/** Small guest programs for tests: Multiboot 1 images (specification 0.6.96, 3.1), hand-assembled, 32-bit. */

const magic = 0x1badb002;
/** Bit 16: the address fields are valid. */
const flags = 0x10000;
const headerBytes = 48;
const loadAddress = 0x100000;

/** An image that is loaded at 1 MiB and entered at the first byte of `code`, at 0x100030. */
export function multiboot(code: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(headerBytes + code.length);
  const view = new DataView(bytes.buffer);
  const end = loadAddress + bytes.length;
  [magic, flags, -(magic + flags), loadAddress, loadAddress, end, end, loadAddress + headerBytes].forEach((word, i) => {
    view.setUint32(4 * i, word, true);
  });
  bytes.set(code, headerBytes);
  return bytes;
}

const movDx = (port: number) => [0x66, 0xba, port & 255, port >> 8];
const outByte = (byte: number) => [0xb0, byte, 0xee];

/** Writes a text to COM1. */
const say = (text: string) => [...movDx(0x3f8), ...[...Buffer.from(text, 'latin1')].flatMap(outByte)];

/** hlt; jmp to it */
const halt = [0xf4, 0xeb, 0xfd];

export const programs = {
  /** Says "OK\n" and writes 3 to the debug exit port 0xf4, which makes status 7. */
  sayAndExit: multiboot([...say('OK\n'), 0xb0, 3, 0xe6, 0xf4, ...halt]),
  /** Sends back what comes on COM1. */
  echo: multiboot([
    ...movDx(0x3fd),
    0xec, // in al, dx
    ...[0xa8, 1], // test al, 1
    ...[0x74, 0xfb], // jz to the in
    ...movDx(0x3f8),
    0xec,
    0xee, // out dx, al
    ...[0xeb, 0xef],
  ]),
  /** Counts in the dword at 0x200000 for ever. */
  count: multiboot([0xff, 0x05, 0, 0, 0x20, 0, 0xeb, 0xf8]),
  /** Says "up\n" and halts for good. */
  halt: multiboot([...say('up\n'), ...halt]),
  /** Says "." and asks the keyboard controller for a reset. */
  reset: multiboot([...say('.'), 0xb0, 0xfe, 0xe6, 0x64, ...halt]),
  /** Loads an empty IDT and faults: a triple fault. */
  tripleFault: multiboot([...say('!'), 0x0f, 0x01, 0x1d, 0x00, 0x10, 0x30, 0x00, 0x0f, 0x0b]),
  /** Jumps to where there is no memory. */
  jumpNowhere: multiboot([...say('j'), 0xb8, 0, 0, 0, 0xe0, 0xff, 0xe0]),
  /** Writes to COM1 without an end. */
  flood: multiboot([...movDx(0x3f8), 0xb0, 0x78, 0xee, 0xeb, 0xfd]),
  /** Switches off by the power management block: SLP_EN with type 0 (S5 as the board has it). */
  powerOff: multiboot([...say('bye'), ...movDx(0x604), 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef, ...halt]),
} as const;
