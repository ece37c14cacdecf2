/**
 * What programs look for that a BIOS leaves behind, for a PC that boots a kernel without one: the interrupt vectors, the BIOS data area
 * (IBM PC AT Technical Reference, section 5), the service for the memory map (ACPI 6.4, 15.1) and the reset vector. Xen's start-up code
 * takes the end of low memory from here, and calls services in real mode; all but three answer that they are not supported.
 */
import type { E820Entry } from './boot-state.js';

const CODE_SEGMENT = 0xf000;
/** Offsets into the segment: code, the memory map, and where a PC AT has an IRET and the reset vector. */
const CODE = 0xe000;
const MEMORY_MAP = 0xe100;
const IRET = 0xff53;
const RESET_VECTOR = 0xfff0;

const DATA_AREA_GPA = 0x400;
const DATA_AREA_BYTES = 0x100;
const EXTENDED_DATA_GPA = 0x9fc00;
const ENTRY_BYTES = 20;

const hex = (text: string) => Uint8Array.from(text.split(' ').map((byte) => Number.parseInt(byte, 16)));
const le16 = (value: number) => [value & 255, value >> 8];
const hex16 = (value: number) =>
  le16(value)
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join(' ');

/** Services in their order in the code; each with its interrupts. */
function services(mapBytes: number): readonly (readonly [interrupts: readonly number[], code: string])[] {
  const size = hex16(mapBytes);
  // Comes first: others jump back to it. push bp; mov bp, sp; or word [bp+6], 1; pop bp; mov ah, 86h; iret: carry, "not supported".
  const unsupported = '55 89 e5 83 4e 06 01 5d b4 86 cf';
  // push ds; push 40h; pop ds; mov ax, [..]; pop ds; iret
  const wordOfDataArea = (at: number) => `1e 6a 40 1f a1 ${hex16(at)} 1f cf`;
  // The displacement of a short jump to it from `at` in the code behind it.
  const back = (at: number) => (256 - unsupported.split(' ').length - at - 2).toString(16);
  return [
    [[0x10, 0x13, 0x14, 0x16, 0x17, 0x18, 0x19, 0x1a], unsupported],
    // INT 15h: AX E820h with 'SMAP' in EDX, EBX how far it has come. Its jumps back lead to the code before.
    [
      [0x15],
      [
        `3d 20 e8 75 ${back(3)}`, // cmp ax, 0e820h; jne
        `66 81 fa 50 41 4d 53 75 ${back(12)}`, // cmp edx, 'SMAP'; jne
        `81 fb ${size} 73 ${back(18)}`, // cmp bx, size; jae
        `1e 56 57 0e 1f 8d b7 ${hex16(MEMORY_MAP)}`, // push ds; push si; push di; push cs; pop ds; lea si, [bx+map]
        'b9 0a 00 fc f3 a5 5f 5e 1f', // mov cx, 10; cld; rep movsw; pop di; pop si; pop ds
        `83 c3 14 81 fb ${size} 72 03 66 31 db`, // add bx, 20; cmp bx, size; jb +3; xor ebx, ebx
        '66 89 d0 66 b9 14 00 00 00', // mov eax, edx; mov ecx, 20
        '55 89 e5 83 66 06 fe 5d cf', // push bp; mov bp, sp; and word [bp+6], ~1; pop bp; iret
      ].join(' '),
    ],
    [[0x11], wordOfDataArea(0x10)],
    [[0x12], wordOfDataArea(0x13)],
    // Interrupts of the 8259s: push ax; mov al, 20h; out 0a0h, al; out 20h, al; pop ax; iret
    [[8, 9, 10, 11, 12, 13, 14, 15], '50 b0 20 e6 20 58 cf'],
    [[0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77], '50 b0 20 e6 a0 e6 20 58 cf'],
  ];
}

/** The BIOS data area; `serialPorts`: the I/O addresses of COM1 to COM4, those that there are. */
function dataArea(serialPorts: readonly number[], lowMemoryKib: number): Uint8Array {
  const bytes = new Uint8Array(DATA_AREA_BYTES);
  const view = new DataView(bytes.buffer);
  for (const [i, port] of serialPorts.entries()) view.setUint16(2 * i, port, true);
  view.setUint16(0x0e, EXTENDED_DATA_GPA >> 4, true);
  // Equipment: a coprocessor, a text mode of 80 columns, a mouse, and how many serial ports.
  view.setUint16(0x10, 0x0026 | (serialPorts.length << 9), true);
  view.setUint16(0x13, lowMemoryKib, true);
  // Video mode 3 of 80 columns and 25 rows, at a colour adapter's ports.
  view.setUint8(0x49, 3);
  view.setUint16(0x4a, 80, true);
  view.setUint16(0x63, 0x3d4, true);
  view.setUint8(0x84, 24);
  return bytes;
}

/** Pieces of memory and their addresses. To be written before the kernel, which may lie over them. */
export function biosRemains(board: {
  readonly e820: readonly E820Entry[];
  readonly serialPorts: readonly number[];
}): readonly (readonly [gpa: number, bytes: Uint8Array])[] {
  const segmentGpa = CODE_SEGMENT * 16;
  const vectors = new Uint8Array(0x400);
  const vectorView = new DataView(vectors.buffer);
  const point = (interrupt: number, offset: number) => {
    vectorView.setUint16(4 * interrupt, offset, true);
    vectorView.setUint16(4 * interrupt + 2, CODE_SEGMENT, true);
  };
  for (let n = 0; n < 256; n++) point(n, IRET);
  const pieces: [number, Uint8Array][] = [[0, vectors]];
  let at = CODE;
  for (const [interrupts, code] of services(board.e820.length * ENTRY_BYTES)) {
    const bytes = hex(code);
    for (const n of interrupts) point(n, at);
    pieces.push([segmentGpa + at, bytes]);
    at += bytes.length;
  }
  const map = new DataView(new ArrayBuffer(board.e820.length * ENTRY_BYTES));
  for (const [i, { start, size, type }] of board.e820.entries()) {
    map.setBigUint64(ENTRY_BYTES * i, BigInt(start), true);
    map.setBigUint64(ENTRY_BYTES * i + 8, BigInt(size), true);
    map.setUint32(ENTRY_BYTES * i + 16, type, true);
  }
  pieces.push(
    [DATA_AREA_GPA, dataArea(board.serialPorts, EXTENDED_DATA_GPA / 1024)],
    // Its own size in KiB.
    [EXTENDED_DATA_GPA, Uint8Array.of(1)],
    [segmentGpa + MEMORY_MAP, new Uint8Array(map.buffer)],
    [segmentGpa + IRET, hex('cf')],
    // mov dx, 0cf9h; mov al, 6; out dx, al; hlt; jmp back to it
    [segmentGpa + RESET_VECTOR, hex('ba f9 0c b0 06 ee f4 eb fd')],
    // The model of an AT.
    [segmentGpa + 0xfffe, hex('fc')],
  );
  return pieces;
}

/** Writes that begin the 8259s as a BIOS does: vectors from 8 and from 70h on, everything masked but the cascade. */
export const controllerRemains: readonly (readonly [port: number, value: number])[] = [
  [0x20, 0x11],
  [0xa0, 0x11],
  [0x21, 0x08],
  [0xa1, 0x70],
  [0x21, 0x04],
  [0xa1, 0x02],
  [0x21, 0x01],
  [0xa1, 0x01],
  [0x21, 0xfb],
  [0xa1, 0xff],
];
