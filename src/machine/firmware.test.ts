import assert from 'node:assert/strict';
import test from 'node:test';
import { smbiosFiles } from '../hw/index.js';
import type { BootImages } from './boot/index.js';
import { TestPc } from './testing/test-pc.js';

const BIOS = 0xf0000;
const ROM_BYTES = 0x10000;

/** A ROM of 64 KiB that counts its own offsets, runs `code` in real mode, and is entered at its end. */
function rom(code: readonly number[]): Uint8Array {
  const image = Uint8Array.from({ length: ROM_BYTES }, (_, i) => (i >> 4) & 0xff);
  image.set(code, 0);
  image.set([0xea, 0x00, 0x00, 0x00, 0xf0], ROM_BYTES - 16); // jmp f000:0000
  return image;
}

const exit = (value: number) => [0xb0, value, 0xe6, 0xf4];

function machine(image: Uint8Array, kernel?: Omit<BootImages, 'longMode'>): TestPc {
  const made = new TestPc({ firmware: { image, kernel, serialConsole: true }, ramBytes: 16 << 20 });
  made.pc.start();
  return made;
}

/** PAM register 0 has 0xF0000 in its upper half. */
function setPam(made: TestPc, index: number, value: number): void {
  made.pc.ports.write(0xcf8, 4, 0x80000058);
  made.pc.ports.write(0xcfc + ((0x59 + index) & 3), 1, value);
}

test('the vCPU starts in the ROM at its reset vector', () => {
  // mov al, cs:[1230h]; out f4h, al
  const made = machine(rom([0x2e, 0xa0, 0x30, 0x12, 0xe6, 0xf4]));
  assert.deepEqual(made.run(), { why: 'exit', status: (0x23 << 1) | 1 });
});

test('reads and writes go to ROM or RAM as the chip set is told', () => {
  const made = machine(rom(exit(0)));
  const { memory } = made.pc;
  const at = BIOS + 0x4560;
  const inRom = 0x56;
  memory.write(at, 1, 0x99);
  assert.equal(memory.read(at, 1), inRom, 'after reset the ROM, which is not written');
  assert.equal(memory.read(0xffff4560, 1), inRom);
  assert.equal(memory.read(0xc8000, 1), 0xff, 'below the BIOS there is nothing');
  setPam(made, 0, 0x20);
  memory.write(at, 1, 0x77);
  assert.equal(memory.read(at, 1), inRom, 'reads from ROM, writes to RAM');
  setPam(made, 0, 0x10);
  assert.equal(memory.read(at, 1), 0x77, 'what was written');
  memory.write(at, 1, 0x66);
  assert.equal(memory.read(at, 1), 0x77, 'RAM that is not written');
  setPam(made, 0, 0x30);
  memory.write(at, 1, 0x66);
  assert.equal(memory.read(at, 1), 0x66);
  assert.equal(memory.read(0xffff4560, 1), inRom);
  made.pc.start();
  assert.equal(memory.read(at, 1), inRom, 'a reset shows the ROM again');
});

test('code in the shadow is what was written there', () => {
  const made = machine(
    rom([
      ...[0x66, 0xb8, 0x58, 0, 0, 0x80, 0xba, 0xf8, 0x0c, 0x66, 0xef], // eax = 80000058h to port cf8h
      ...[0xba, 0xfd, 0x0c, 0xb0, 0x30, 0xee], // 30h to PAM0: all RAM, with nothing in it but the next bytes
      ...exit(3),
    ]),
  );
  const { memory } = made.pc;
  setPam(made, 0, 0x30);
  for (let i = 0; i < 64; i++) memory.write(BIOS + i, 1, 0x90);
  for (const [i, byte] of exit(9).entries()) memory.write(BIOS + 64 + i, 1, byte);
  setPam(made, 0, 0);
  assert.deepEqual(made.run(), { why: 'exit', status: (9 << 1) | 1 });
});

test('firmware finds tables, memory map and console in fw_cfg', () => {
  const { fwCfg } = machine(rom(exit(0))).pc;
  const names = fwCfg.files().map(({ name }) => name);
  for (const name of [
    ...['etc/acpi/rsdp', 'etc/acpi/tables', 'etc/e820', 'etc/sercon-port', 'etc/table-loader'],
    ...['etc/smbios/smbios-anchor', 'etc/smbios/smbios-tables'],
  ])
    assert.ok(names.includes(name), name);
  const e820 = fwCfg.file('etc/e820') as Uint8Array;
  assert.deepEqual([...e820], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0]);
  assert.deepEqual([...(fwCfg.file('etc/sercon-port') as Uint8Array)], [0xf8, 3, 0, 0, 0, 0, 0, 0]);
});

test('a PC without ACPI tells firmware of no tables, also when its devices move', () => {
  const firmware = { image: rom(exit(0)), serialConsole: true };
  const { pc } = new TestPc({ firmware, ramBytes: 16 << 20, acpi: false });
  pc.start();
  const isAcpi = ({ name }: { name: string }) => /acpi|table-loader/.test(name);
  assert.deepEqual(pc.fwCfg.files().filter(isAcpi), []);
  // The power management's base, by PIIX4's function 3.
  pc.ports.write(0xcf8, 4, 0x80000b40);
  pc.ports.write(0xcfc, 4, 0xb001);
  assert.deepEqual(pc.fwCfg.files().filter(isAcpi), []);
});

test('SMBIOS structures follow one another to their end', () => {
  const { fwCfg } = machine(rom(exit(0))).pc;
  const tables = fwCfg.file('etc/smbios/smbios-tables') as Uint8Array;
  const anchor = fwCfg.file('etc/smbios/smbios-anchor') as Uint8Array;
  const types: number[] = [];
  let largest = 0;
  for (let at = 0; at < tables.length; ) {
    types.push(tables[at]);
    let end = at + tables[at + 1];
    while (end < tables.length && (tables[end] !== 0 || tables[end + 1] !== 0)) end++;
    largest = Math.max(largest, end + 2 - at);
    at = end + 2;
  }
  assert.deepEqual(types, [1, 3, 4, 16, 17, 19, 32, 127]);
  const view = new DataView(anchor.buffer, anchor.byteOffset, anchor.length);
  assert.equal(anchor.length, 0x1f);
  assert.deepEqual(
    [view.getUint16(8, true), view.getUint16(0x16, true), view.getUint16(0x1c, true)],
    [largest, tables.length, types.length],
  );
});

test('SMBIOS structures say what a person says of the machine', () => {
  const files = smbiosFiles({
    ...{ product: 'pc', version: '1', cpu: 'c', ramBytes: 1 << 20, ram: [] },
    options: {
      system: { serial: 'ds=nocloud', family: 'F' },
      baseboard: { location: 'slot' },
      chassis: { asset: 'A' },
      oemStrings: ['one', 'two'],
    },
  });
  const [{ bytes }] = files;
  const found = new Map<number, { body: number[]; strings: string[] }>();
  for (let at = 0; at < bytes.length; ) {
    let end = at + bytes[at + 1];
    while (bytes[end] !== 0 || bytes[end + 1] !== 0) end++;
    const text = Buffer.from(bytes.subarray(at + bytes[at + 1], end)).toString();
    found.set(bytes[at], { body: [...bytes.subarray(at, at + bytes[at + 1])], strings: text.split('\0') });
    at = end + 2;
  }
  /** The string that a field names, by its offset in DSP0134's tables. */
  const word = (type: number, offset: number) => found.get(type)?.strings[(found.get(type)?.body[offset] ?? 0) - 1];
  const fields: (readonly [type: number, offset: number, text: string | undefined])[] = [
    ...([
      [1, 4, 'vring'],
      [1, 5, 'pc'],
      [1, 7, 'ds=nocloud'],
      [1, 0x19, undefined],
      [1, 0x1a, 'F'],
    ] as const),
    ...([
      [2, 4, 'vring'],
      [2, 7, undefined],
      [2, 0x0a, 'slot'],
      [3, 4, 'vring'],
      [3, 8, 'A'],
    ] as const),
  ];
  for (const [type, offset, text] of fields) assert.equal(word(type, offset), text, `${type}+${offset}`);
  assert.deepEqual(found.get(11), { body: [11, 5, 0, 0xb, 2], strings: ['one', 'two'] });
  assert.equal(found.get(2)?.body.length, 15);
  assert.equal(found.get(3)?.body.length, 0x16);
});

/** A bzImage whose real-mode code ends the machine with the first byte of its command line. */
function tinyLinux(): Uint8Array {
  const image = new Uint8Array(1024 + 512);
  const view = new DataView(image.buffer);
  image[0x1f1] = 1; // one sector of setup code
  view.setUint32(0x1f4, 512 / 16, true);
  view.setUint16(0x1fe, 0xaa55, true);
  image.set([0xeb, 0x66], 0x200); // jmp over the header
  view.setUint32(0x202, 0x53726448, true);
  view.setUint16(0x206, 0x20c, true);
  image[0x211] = 1; // loaded high
  view.setUint32(0x22c, 0x37ffffff, true);
  view.setUint32(0x238, 255, true);
  image.set(
    [
      ...[0x66, 0x8b, 0x1e, 0x28, 0x02, 0x66, 0xc1, 0xeb, 0x04, 0x8e, 0xc3], // es = [cmd_line_ptr] >> 4
      ...[0x26, 0xa0, 0x00, 0x00, 0xe6, 0xf4], // al = es:[0]; out f4h, al
    ],
    0x268,
  );
  image.fill(0x4b, 1024);
  return image;
}

test("the option ROM boots a Linux image by the firmware's means", () => {
  const initrd = new Uint8Array(5000).fill(0x49);
  // Firmware would copy the ROM and call its boot entry; this one calls it where the test puts it, at 1000:0.
  const made = machine(rom([0xea, 0x60, 0x00, 0x00, 0x80]), { kernel: tinyLinux(), initrd, commandLine: 'A quiet' });
  const bytes = made.pc.fwCfg.file('genroms/vring-linux.bin') as Uint8Array;
  assert.deepEqual([bytes[0], bytes[1], bytes[2] * 512], [0x55, 0xaa, bytes.length]);
  assert.equal(bytes.reduce((sum, byte) => sum + byte, 0) & 255, 0, 'checksum of the ROM');
  const pnp = bytes[0x1a];
  assert.equal(Buffer.from(bytes.subarray(pnp, pnp + 4)).toString(), '$PnP');
  assert.equal(bytes.subarray(pnp, pnp + 32).reduce((sum, byte) => sum + byte, 0) & 255, 0);
  assert.equal(bytes[pnp + 0x1a] | (bytes[pnp + 0x1b] << 8), 0x60, 'bootstrap entry vector');
  made.ram.set(bytes, 0x80000);
  assert.deepEqual(made.run(), { why: 'exit', status: (0x41 << 1) | 1 });
  assert.equal(made.u32(0x100000), 0x4b4b4b4b, 'the kernel proper');
  const initrdGpa = made.u32(0x10000 + 0x218);
  assert.equal(made.u32(0x10000 + 0x21c), 5000);
  assert.equal(made.u32(initrdGpa), 0x49494949);
  assert.ok(initrdGpa + 5000 <= (16 << 20) - 0x40000, "below what is the firmware's");
});

test('images that cannot be', () => {
  const build = (bytes: number) => () => machine(new Uint8Array(bytes));
  assert.throws(build(0), { code: 'firmware-size' });
  assert.throws(build(1000), { code: 'firmware-size' });
  assert.throws(build(16 << 20), { code: 'firmware-size' });
  const files = (name: string) => () => new TestPc({ fwCfgFiles: [{ name, bytes: new Uint8Array(1) }] });
  assert.throws(files('etc/e820'), { code: 'fw-cfg' });
  assert.throws(files(''), { code: 'fw-cfg' });
  const boot = (bootDevices: string) => () =>
    new TestPc({ firmware: { image: rom(exit(0)), bootDevices }, ramBytes: 16 << 20 });
  for (const devices of ['x', 'cc', 'cadn']) assert.throws(boot(devices), { code: 'boot-devices' });
  const kernel = { kernel: new Uint8Array(4096), commandLine: '' };
  assert.throws(() => machine(rom(exit(0)), kernel), { code: 'boot-kernel-unsupported' });
  assert.throws(files('x'.repeat(56)), { code: 'fw-cfg' });
});
