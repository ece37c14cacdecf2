/** Guest programs written byte by byte: bytes, labels, and what refers to labels; the sum is a Multiboot image. */

const HEADER_MAGIC = 0x1badb002;
/** Page alignment of modules is not asked for; the address fields are given (Multiboot Specification 0.6.96, 3.1.2). */
const ADDRESS_FIELDS = 0x10000;

/** Where programs are loaded and begin. */
export const PROGRAM_GPA = 0x100000;
const HEADER_BYTES = 32;

interface Fixup {
  readonly at: number;
  readonly bytes: 1 | 4;
  readonly relative: boolean;
  readonly label: string;
}

export class Program {
  readonly #bytes: number[] = [];
  readonly #labels = new Map<string, number>();
  readonly #fixups: Fixup[] = [];

  /** Address of the next byte. */
  get here(): number {
    return PROGRAM_GPA + HEADER_BYTES + this.#bytes.length;
  }

  addressOf(label: string): number {
    const address = this.#labels.get(label);
    if (address === undefined) throw new Error(`no label ${label}`);
    return address;
  }

  /** Bytes as numbers; text is hex digits with spaces. */
  add(...parts: (number | string)[]): this {
    for (const part of parts) {
      if (typeof part === 'number') this.#bytes.push(part & 0xff);
      else for (const digits of part.trim().split(/\s+/)) this.#bytes.push(Number.parseInt(digits, 16));
    }
    return this;
  }

  u32(value: number): this {
    return this.add(value, value >> 8, value >> 16, value >> 24);
  }

  label(name: string): this {
    this.#labels.set(name, this.here);
    return this;
  }

  /** Zeros up to the next multiple. */
  align(multiple: number): this {
    while (this.here % multiple !== 0) this.add(0);
    return this;
  }

  /** Distance of a label from behind this field. */
  rel8(label: string): this {
    this.#fixups.push({ at: this.#bytes.length, bytes: 1, relative: true, label });
    return this.add(0);
  }

  rel32(label: string): this {
    this.#fixups.push({ at: this.#bytes.length, bytes: 4, relative: true, label });
    return this.u32(0);
  }

  /** Address of a label. */
  abs32(label: string): this {
    this.#fixups.push({ at: this.#bytes.length, bytes: 4, relative: false, label });
    return this.u32(0);
  }

  // --- what nearly every program does

  /** mov r32, imm32. */
  mov(register: number, value: number): this {
    return this.add(0xb8 + register).u32(value);
  }

  /** out dx, al to a port with a constant; changes EAX and EDX. */
  out8(port: number, value: number): this {
    return this.mov(2, port).add(0xb0, value, 0xee);
  }

  /** mov dword [address], imm32. */
  store32(address: number, value: number): this {
    return this.add(0xc7, 0x05).u32(address).u32(value);
  }

  /** The interrupt gates (EDI: table) of a vector, 32 bits, selector 8. Changes EAX. */
  gate(table: number, vector: number, handler: string): this {
    this.add(0xb8).abs32(handler); // mov eax, handler
    this.add(0x66, 0xa3).u32(table + vector * 8); // mov [..], ax
    this.add('c1 e8 10')
      .add(0x66, 0xa3)
      .u32(table + vector * 8 + 6); // shr eax, 16; mov [..], ax
    return this.store32(table + vector * 8 + 2, 0x8e000008);
  }

  /** Own GDT (flat code 8, flat data 0x10; further descriptors behind), IDT of 256 gates at `idt`, stack. Once, at the start. */
  begin(idt: number, stack: number, ...descriptors: (readonly [number, number])[]): this {
    const name = `gdt${this.here}`;
    const after = `begun${this.here}`;
    this.add(0xe9).rel32(after);
    this.align(8).label(name);
    const all: (readonly [number, number])[] = [
      [0, 0],
      [0x0000ffff, 0x00cf9b00],
      [0x0000ffff, 0x00cf9300],
      ...descriptors,
    ];
    for (const [low, high] of all) this.u32(low).u32(high);
    this.label(`${name}p`)
      .add(all.length * 8 - 1, (all.length * 8 - 1) >> 8)
      .abs32(name);
    this.label(`idt${name}`).add('ff 07').u32(idt);
    this.label(after);
    this.add('0f 01 15').abs32(`${name}p`); // lgdt
    this.add('0f 01 1d').abs32(`idt${name}`); // lidt
    this.add(0xea).abs32(`in${after}`).add('08 00').label(`in${after}`);
    this.add('66 b8 10 00 8e d8 8e c0 8e d0 8e e0 8e e8');
    return this.mov(4, stack);
  }

  /** The 8259s at vectors 0x20 and 0x28, with these lines of the first open. */
  initPic(mask: number): this {
    this.out8(0x20, 0x11).out8(0xa0, 0x11).out8(0x21, 0x20).out8(0xa1, 0x28);
    this.out8(0x21, 4).out8(0xa1, 2).out8(0x21, 1).out8(0xa1, 1);
    return this.out8(0x21, mask).out8(0xa1, 0xff);
  }

  /** out 0xf4, al: ends the machine with (AL << 1) | 1. */
  exit(): this {
    return this.mov(2, 0xf4).add(0xee);
  }

  /** The program as a Multiboot image that is entered at its first byte. */
  image(): Uint8Array {
    for (const { at, bytes, relative, label } of this.#fixups) {
      const target = this.addressOf(label);
      const value = relative ? target - (PROGRAM_GPA + HEADER_BYTES + at + bytes) : target;
      if (bytes === 1 && value !== (value << 24) >> 24) throw new Error(`label ${label} is too far away`);
      for (let i = 0; i < bytes; i++) this.#bytes[at + i] = (value >> (8 * i)) & 0xff;
    }
    const length = HEADER_BYTES + this.#bytes.length;
    const image = new Uint8Array(length);
    const view = new DataView(image.buffer);
    [
      HEADER_MAGIC,
      ADDRESS_FIELDS,
      -(HEADER_MAGIC + ADDRESS_FIELDS),
      PROGRAM_GPA,
      PROGRAM_GPA,
      PROGRAM_GPA + length,
      PROGRAM_GPA + length,
      PROGRAM_GPA + HEADER_BYTES,
    ].forEach((word, i) => {
      view.setInt32(i * 4, word | 0, true);
    });
    image.set(this.#bytes, HEADER_BYTES);
    return image;
  }
}
