/**
 * Media that firmware boots, for tests: a boot sector that reads a block of its medium by INT 13h and shows the text in it by
 * INT 10h; on a disk, and on a CD by El Torito without emulation (Bootable CD-ROM Format Specification 1.0).
 */
import { assemble } from '../../guest/x86/assembler/index.js';

const source = `
.bits 16
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7c00
    mov si, packet
    mov ah, 0x42
    int 0x13
    jc failed
    mov si, 0x8000
show:
    lodsb
    test al, al
    jz done
    mov ah, 0xe
    int 0x10
    jmp show
failed:
    mov ax, 0xe21
    int 0x10
done:
    hlt
    jmp done
.align 4
packet:
    .byte 0x10, 0
    .word 1, 0x8000, 0
    .quad BLOCK
.org 0x7dfe
    .word 0xaa55
`;

/** 512 bytes that show the text at the start of a block. */
function bootSector(block: number): Uint8Array {
  return assemble(source, { origin: 0x7c00n, codeSize: 16, symbols: { BLOCK: block } }).bytes;
}

/** A disk of 1 MiB with its text in sector 300. */
export function bootableDisk(text: string): Uint8Array {
  const disk = new Uint8Array(1 << 20);
  disk.set(bootSector(300));
  disk.set(new TextEncoder().encode(text), 300 * 512);
  return disk;
}

const blockBytes = 2048;

/** A CD with its text in block 40. */
export function bootableCd(text: string): Uint8Array {
  const cd = new Uint8Array(64 * blockBytes);
  const view = new DataView(cd.buffer);
  const encoder = new TextEncoder();
  const descriptor = (block: number, type: number) => {
    cd[block * blockBytes] = type;
    cd.set(encoder.encode('CD001'), block * blockBytes + 1);
    cd[block * blockBytes + 6] = 1;
  };
  descriptor(16, 1);
  descriptor(17, 0);
  cd.set(encoder.encode('EL TORITO SPECIFICATION'), 17 * blockBytes + 7);
  view.setUint32(17 * blockBytes + 0x47, 19, true);
  descriptor(18, 255);
  // Validation entry, whose words sum up to zero; then the entry of the image: bootable, one sector, at block 20.
  const catalog = 19 * blockBytes;
  cd[catalog] = 1;
  view.setUint16(catalog + 30, 0xaa55, true);
  view.setUint16(catalog + 28, -(0x0001 + 0xaa55) & 0xffff, true);
  cd[catalog + 32] = 0x88;
  view.setUint16(catalog + 38, 1, true);
  view.setUint32(catalog + 40, 20, true);
  cd.set(bootSector(40), 20 * blockBytes);
  cd.set(encoder.encode(text), 40 * blockBytes);
  return cd;
}
