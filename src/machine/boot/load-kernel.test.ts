import assert from 'node:assert';
import test from 'node:test';
import { VringError } from '../../base/index.js';
import { type BootTarget, type E820Entry, e820Type, loadKernel, pcE820 } from './index.js';
import { parseModules } from './multiboot.js';

const mib = 0x100000;

/** RAM as a plain array, which also checks the loader's promise to write only inside RAM entries. */
function machine(ramMib: number, rsdpGpa?: number) {
  const ram = new Uint8Array(ramMib * mib).fill(0xcc);
  const e820 = pcE820(ram.length, 0);
  const check = (gpa: number, size: number) => {
    const inside = e820.some((e) => e.type === e820Type.ram && gpa >= e.start && gpa + size <= e.start + e.size);
    assert.ok(inside, `write of ${size} bytes at 0x${gpa.toString(16)} is outside RAM`);
  };
  const target: BootTarget = {
    e820,
    ...(rsdpGpa === undefined ? {} : { rsdpGpa }),
    write: (gpa, bytes) => {
      check(gpa, bytes.length);
      ram.set(bytes, gpa);
    },
    clear: (gpa, size) => {
      check(gpa, size);
      ram.fill(0, gpa, gpa + size);
    },
  };
  const view = new DataView(ram.buffer);
  const text = (gpa: number) => {
    let out = '';
    for (let at = gpa; ram[at] !== 0; at++) out += String.fromCharCode(ram[at]!);
    return out;
  };
  const u32 = (gpa: number) => view.getUint32(gpa, true);
  const u64 = (gpa: number) => Number(view.getBigUint64(gpa, true));
  return { ram, target, e820: e820 as E820Entry[], text, u32, u64 };
}

interface BzImageOptions {
  protocol?: number;
  loadflags?: number;
  xloadflags?: number;
  relocatable?: boolean;
  prefAddress?: number;
  initSize?: number;
  payloadBytes?: number;
  syssize?: number;
  initrdAddrMax?: number;
  code32Start?: number;
}

/** A bzImage of 4 setup sectors; the payload's bytes are their own index. */
function bzImage(options: BzImageOptions = {}): Uint8Array {
  const payloadBytes = options.payloadBytes ?? 0x3000;
  const image = new Uint8Array(5 * 512 + payloadBytes);
  const view = new DataView(image.buffer);
  image[0x1f1] = 4;
  view.setUint32(0x1f4, options.syssize ?? payloadBytes / 16, true);
  view.setUint16(0x1fe, 0xaa55, true);
  image.set([0xeb, 0x6a], 0x200); // the header ends at 0x202 + 0x6a
  image.set(Buffer.from('HdrS'), 0x202);
  view.setUint16(0x206, options.protocol ?? 0x20f, true);
  view.setUint16(0x20e, 0x400, true);
  image.set(Buffer.from('6.1.0-test (someone) #1'), 0x600);
  image[0x211] = options.loadflags ?? 1;
  view.setUint32(0x214, options.code32Start ?? 0x100000, true);
  view.setUint32(0x22c, options.initrdAddrMax ?? 0x7fffffff, true);
  view.setUint32(0x230, 0x200000, true);
  image[0x234] = options.relocatable === false ? 0 : 1;
  view.setUint16(0x236, options.xloadflags ?? 3, true);
  view.setUint32(0x238, 2047, true);
  view.setUint32(0x258, options.prefAddress ?? 0x1000000, true);
  view.setUint32(0x260, options.initSize ?? 0x800000, true);
  for (let i = 0; i < payloadBytes; i++) image[5 * 512 + i] = i & 0xff;
  return image;
}

function refusal(code: string, sentence: RegExp, run: () => unknown): void {
  assert.throws(run, (error) => {
    assert.ok(error instanceof VringError, String(error));
    assert.strictEqual(error.code, code);
    assert.match(error.message, sentence);
    return true;
  });
}

test('bzImage, 64-bit entry: registers, page tables, zero page, placement', () => {
  const m = machine(64, 0xe0000);
  const initrd = new Uint8Array(5000).fill(0x5a);
  const kernel = bzImage();
  const commandLine = 'console=ttyS0 root=/dev/vda';
  const rngSeed = Uint8Array.of(1, 2, 3, 4);
  const loaded = loadKernel({ kernel, initrd, commandLine, longMode: true, rngSeed }, m.target);
  assert.strictEqual(loaded.format, 'linux');
  assert.strictEqual(loaded.description, 'Linux 6.1.0-test (bzImage, boot protocol 2.15), 64-bit entry at 0x1000200');
  const { state } = loaded;
  assert.strictEqual(state.mode, 'long64');
  assert.strictEqual(state.registers['rip'], 0x1000200);
  const zero = state.registers['rsi']!;
  assert.strictEqual(state.registers['cr0'], 0x80000011);
  assert.strictEqual(state.registers['cr4'], 0x20);
  assert.strictEqual(state.registers['efer'], 0x500);
  assert.strictEqual(state.registers['rflags'], 2);
  // The protocol asks for __BOOT_CS = 0x10 and __BOOT_DS = 0x18, also in the table in memory.
  assert.strictEqual(state.segments.cs.selector, 0x10);
  assert.strictEqual(state.segments.cs.long, true);
  assert.strictEqual(state.segments.ss.selector, 0x18);
  assert.strictEqual(m.u64(state.gdt.base + 0x10).toString(16), Number(0x00af9b000000ffffn).toString(16));
  assert.strictEqual(m.u64(state.gdt.base + 0x18).toString(16), Number(0x00cf93000000ffffn).toString(16));

  // Walk the page tables for a few addresses.
  for (const gva of [0, 0x7123, 0x1000200, 0x7fffffff, 0xfec00000, 0xffffffff]) {
    const pml4e = m.u64(state.registers['cr3']! + Math.floor(gva / 2 ** 39) * 8);
    const pdpte = m.u64((pml4e & ~0xfff) + (Math.floor(gva / 2 ** 30) & 511) * 8);
    const pde = m.u64((pdpte & ~0xfff) + (Math.floor(gva / 2 ** 21) & 511) * 8);
    assert.strictEqual(pml4e & 3, 3);
    assert.strictEqual(pdpte & 3, 3);
    assert.strictEqual(pde % 0x200000, 0x83);
    assert.strictEqual(pde - 0x83 + (gva % 0x200000), gva);
  }

  assert.deepStrictEqual(m.ram.subarray(0x1000000, 0x1003000), kernel.subarray(5 * 512));
  assert.strictEqual(m.ram[zero + 0x210], 0xff);
  assert.strictEqual(m.ram[zero + 0x1ef], 0, 'sentinel');
  assert.strictEqual(m.u32(zero + 0x202), 0x53726448);
  assert.strictEqual(m.text(m.u32(zero + 0x228)), commandLine);
  assert.strictEqual(m.u64(zero + 0x070), 0xe0000);
  assert.strictEqual(m.u32(zero + 0x21c), initrd.length);
  const ramdisk = m.u32(zero + 0x218);
  assert.strictEqual(ramdisk, 64 * mib - 0x2000, 'as high as RAM allows');
  assert.deepStrictEqual(m.ram.subarray(ramdisk, ramdisk + initrd.length), initrd);
  assert.strictEqual(m.ram[zero + 0x1e8], m.e820.length);
  m.e820.forEach((entry, i) => {
    assert.strictEqual(m.u64(zero + 0x2d0 + i * 20), entry.start);
    assert.strictEqual(m.u64(zero + 0x2d0 + i * 20 + 8), entry.size);
    assert.strictEqual(m.u32(zero + 0x2d0 + i * 20 + 16), entry.type);
  });
  const seed = m.u64(zero + 0x250);
  assert.deepStrictEqual([m.u64(seed), m.u32(seed + 8), m.u32(seed + 12)], [0, 9, 4]);
  assert.deepStrictEqual(m.ram.subarray(seed + 16, seed + 20), rngSeed);
});

test('bzImage, 32-bit entry for i386 kernels and for vCPUs without long mode', () => {
  for (const [kernel, longMode] of [
    [bzImage({ xloadflags: 0 }), true],
    [bzImage(), false],
  ] as const) {
    const m = machine(64);
    const { state } = loadKernel({ kernel, commandLine: '', longMode }, m.target);
    assert.strictEqual(state.mode, 'protected32');
    assert.strictEqual(state.registers['rip'], 0x1000000);
    assert.strictEqual(state.registers['cr0'], 0x11);
    assert.strictEqual(state.registers['efer'], 0);
    assert.strictEqual(state.segments.cs.big, true);
    assert.strictEqual(state.segments.cs.long, false);
    assert.strictEqual(m.u32(state.registers['rsi']! + 0x218), 0, 'no ramdisk');
    assert.strictEqual(m.u32(state.registers['rsi']! + 0x21c), 0);
  }
});

test('bzImage: placement follows the header and RAM', () => {
  const old = machine(32);
  const kernel = bzImage({ relocatable: false, protocol: 0x204 });
  const { state } = loadKernel({ kernel, commandLine: '', longMode: true }, old.target);
  assert.strictEqual(state.registers['rip'], 0x100000);

  // initrd_addr_max holds for kernels that cannot be loaded above 4 GiB.
  const limited = machine(64);
  const options = { kernel: bzImage({ xloadflags: 1, initrdAddrMax: 0x1ffffff }), commandLine: '', longMode: true };
  const loaded = loadKernel({ ...options, initrd: new Uint8Array(0x1000) }, limited.target);
  assert.strictEqual(limited.u32(loaded.state.registers['rsi']! + 0x218), 0x1fff000);

  // With 20 MiB the kernel does not fit where it wants to run (16 MiB + 8 MiB).
  refusal('boot-no-ram', /needs 24 MiB, the machine has 19 MiB/, () =>
    loadKernel({ kernel: bzImage(), commandLine: '', longMode: true }, machine(20).target),
  );
});

test('bzImage: bad input is refused by a sentence', () => {
  const boot = (kernel: Uint8Array, ramMib = 64, initrd?: Uint8Array, commandLine = '') =>
    loadKernel({ kernel, commandLine, longMode: true, ...(initrd ? { initrd } : {}) }, machine(ramMib).target);
  refusal('boot-kernel-damaged', /truncated/, () => boot(bzImage().subarray(0, 0x1000)));
  refusal('boot-kernel-damaged', /header/, () => boot(bzImage().subarray(0, 0x300)));
  refusal('boot-kernel-damaged', /setup code/, () => boot(bzImage().subarray(0, 0x800)));
  refusal('boot-kernel-unsupported', /2\.00 is older/, () => boot(bzImage({ protocol: 0x200 })));
  refusal('boot-kernel-unsupported', /zImage/, () => boot(bzImage({ loadflags: 0 })));
  refusal('boot-kernel-needs-bios', /real mode/, () => boot(bzImage({ code32Start: 0 })));
  refusal('boot-initrd-too-large', /41943041 bytes, the machine has 63 MiB/, () =>
    boot(bzImage(), 64, new Uint8Array(40 * mib + 1)),
  );
  refusal('boot-command-line-too-long', /2048 bytes; this kernel takes at most 2047/, () =>
    boot(bzImage(), 64, undefined, 'x'.repeat(2048)),
  );
  refusal('boot-kernel-damaged', /empty/, () => boot(new Uint8Array(0)));
  refusal('boot-kernel-unsupported', /no known kind/, () => boot(new Uint8Array(5000)));
  const arm64 = new Uint8Array(5000);
  arm64.set(Buffer.from('ARM\x64'), 0x38);
  refusal('boot-kernel-arch', /AArch64/, () => boot(arm64));
});

interface ElfOptions {
  is64?: boolean;
  machine?: number;
  entry?: number;
  paddr?: number;
  vaddr?: number;
  memSize?: number;
  pvhEntry?: number;
  prefix?: Uint8Array;
}

/** An ELF file of one PT_LOAD with 256 bytes of code and, if asked for, a PVH note. */
function elfImage(options: ElfOptions = {}): Uint8Array {
  const is64 = options.is64 ?? true;
  const image = new Uint8Array(0x1100);
  const view = new DataView(image.buffer);
  image.set([0x7f, 0x45, 0x4c, 0x46, is64 ? 2 : 1, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, options.machine ?? (is64 ? 62 : 3), true);
  const entry = options.entry ?? 0x200000;
  const paddr = options.paddr ?? 0x200000;
  const vaddr = options.vaddr ?? paddr;
  const memSize = options.memSize ?? 0x2000;
  const header = (at: number, type: number, offset: number, pa: number, fileSize: number, mem: number) => {
    view.setUint32(at, type, true);
    if (is64) {
      view.setUint32(at + 4, 5, true);
      view.setBigUint64(at + 8, BigInt(offset), true);
      view.setBigUint64(at + 16, BigInt(vaddr), true);
      view.setBigUint64(at + 24, BigInt(pa), true);
      view.setBigUint64(at + 32, BigInt(fileSize), true);
      view.setBigUint64(at + 40, BigInt(mem), true);
    } else {
      view.setUint32(at + 4, offset, true);
      view.setUint32(at + 8, vaddr, true);
      view.setUint32(at + 12, pa, true);
      view.setUint32(at + 16, fileSize, true);
      view.setUint32(at + 20, mem, true);
      view.setUint32(at + 24, 5, true);
    }
  };
  const phSize = is64 ? 56 : 32;
  if (is64) {
    view.setBigUint64(24, BigInt(entry), true);
    view.setBigUint64(32, 64n, true);
    view.setUint16(54, phSize, true);
    view.setUint16(56, 2, true);
  } else {
    view.setUint32(24, entry, true);
    view.setUint32(28, 52, true);
    view.setUint16(42, phSize, true);
    view.setUint16(44, 2, true);
  }
  const first = is64 ? 64 : 52;
  header(first, 1, 0x1000, paddr, 0x100, memSize);
  for (let i = 0; i < 0x100; i++) image[0x1000 + i] = i ^ 0x5a;
  header(first + phSize, options.pvhEntry === undefined ? 0 : 4, 0x200, 0, 20, 20);
  view.setUint32(0x200, 4, true);
  view.setUint32(0x204, 4, true);
  view.setUint32(0x208, 18, true);
  image.set(Buffer.from('Xen\0'), 0x20c);
  view.setUint32(0x210, options.pvhEntry ?? 0, true);
  if (options.prefix !== undefined) image.set(options.prefix, 0x400);
  return image;
}

test('ELF with PVH note: start information, modules, memory map, entry state', () => {
  for (const is64 of [true, false]) {
    const m = machine(64, 0xe0000);
    const kernel = elfImage({ is64, pvhEntry: 0x200040 });
    const initrd = new Uint8Array(100).fill(7);
    const { format, state } = loadKernel({ kernel, initrd, commandLine: 'a=b', longMode: true }, m.target);
    assert.strictEqual(format, 'pvh');
    assert.strictEqual(state.mode, 'protected32');
    assert.strictEqual(state.registers['rip'], 0x200040);
    assert.strictEqual(state.registers['cr0']! & 0x80000001, 1);
    assert.strictEqual(state.segments.tr.limit, 0x67);
    assert.strictEqual(state.segments.tr.type, 11);
    assert.deepStrictEqual(m.ram.subarray(0x200000, 0x200100), kernel.subarray(0x1000, 0x1100));
    assert.deepStrictEqual(m.ram.subarray(0x200100, 0x202000), new Uint8Array(0x1f00), 'bss is zeroed');
    assert.strictEqual(m.ram[0x202000], 0xcc, 'and nothing behind it');
    const info = state.registers['rbx']!;
    assert.strictEqual(m.u32(info), 0x336ec578);
    assert.strictEqual(m.u32(info + 4), 1);
    assert.strictEqual(m.u32(info + 12), 1);
    const modules = m.u64(info + 16);
    assert.strictEqual(m.u64(modules + 8), 100);
    assert.deepStrictEqual(m.ram.subarray(m.u64(modules), m.u64(modules) + 100), initrd);
    assert.strictEqual(m.text(m.u64(info + 24)), 'a=b');
    assert.strictEqual(m.u64(info + 32), 0xe0000);
    const map = m.u64(info + 40);
    assert.strictEqual(m.u32(info + 48), m.e820.length);
    m.e820.forEach((entry, i) => {
      assert.strictEqual(m.u64(map + i * 24), entry.start);
      assert.strictEqual(m.u64(map + i * 24 + 8), entry.size);
      assert.strictEqual(m.u32(map + i * 24 + 16), entry.type);
    });
  }
});

test('ELF: bad input is refused by a sentence', () => {
  const boot = (kernel: Uint8Array) => loadKernel({ kernel, commandLine: '', longMode: true }, machine(16).target);
  refusal('boot-kernel-unsupported', /without a PVH entry note/, () => boot(elfImage()));
  refusal('boot-kernel-arch', /AArch64/, () => boot(elfImage({ machine: 183 })));
  refusal('boot-kernel-arch', /machine number 999/, () => boot(elfImage({ machine: 999 })));
  refusal('boot-kernel-damaged', /truncated/, () => boot(elfImage({ pvhEntry: 0x200000 }).subarray(0, 0x1080)));
  refusal('boot-no-ram', /not all RAM/, () => boot(elfImage({ pvhEntry: 0x200000, memSize: 0x2000000 })));
  refusal('boot-no-ram', /not all RAM/, () => boot(elfImage({ pvhEntry: 0x200000, paddr: 0xf0000 })));
  refusal('boot-overlap', /overwrite the start information/, () => boot(elfImage({ pvhEntry: 0x1000, paddr: 0x1000 })));
  refusal('boot-kernel-damaged', /outside RAM/, () => boot(elfImage({ pvhEntry: 0xfff00000 })));
});

function multibootHeader(flags: number, fields: number[] = []): Uint8Array {
  const words = [0x1badb002, flags, -(0x1badb002 + flags) >>> 0, ...fields];
  return new Uint8Array(Uint32Array.from(words).buffer);
}

test('Multiboot: ELF kernel with modules', () => {
  const m = machine(32);
  const kernel = elfImage({ is64: false, entry: 0xc0200010, vaddr: 0xc0200000, prefix: multibootHeader(3) });
  const modules = [
    { bytes: new Uint8Array(5000).fill(1), commandLine: 'first arg' },
    { bytes: new Uint8Array(10).fill(2), commandLine: 'second' },
    { bytes: new Uint8Array(0), commandLine: 'empty' },
  ];
  const images = { kernel, modules, name: 'dir/kernel', commandLine: 'x', longMode: true };
  const { format, state } = loadKernel(images, m.target);
  assert.strictEqual(format, 'multiboot');
  assert.strictEqual(state.registers['rip'], 0x200010, 'virtual entry turned into a physical one');
  assert.strictEqual(state.registers['rax'], 0x2badb002);
  const info = state.registers['rbx']!;
  assert.strictEqual(m.u32(info), 0x24f);
  assert.strictEqual(m.u32(info + 12), 0x8000ffff);
  assert.strictEqual(m.u32(info + 4), 639);
  assert.strictEqual(m.u32(info + 8), 31 * 1024);
  assert.strictEqual(m.text(m.u32(info + 16)), 'dir/kernel x');
  assert.strictEqual(m.u32(info + 20), 3);
  const list = m.u32(info + 24);
  modules.forEach((module, i) => {
    const start = m.u32(list + i * 16);
    assert.strictEqual(start % 0x1000, 0);
    assert.strictEqual(m.u32(list + i * 16 + 4) - start, module.bytes.length);
    assert.deepStrictEqual(m.ram.subarray(start, start + module.bytes.length), module.bytes);
    assert.strictEqual(m.text(m.u32(list + i * 16 + 8)), module.commandLine);
  });
  // The map is walked by its size fields.
  const end = m.u32(info + 48) + m.u32(info + 44);
  const seen: number[] = [];
  for (let at = m.u32(info + 48); at < end; at += m.u32(at) + 4) seen.push(m.u64(at + 4));
  assert.deepStrictEqual(
    seen,
    m.e820.map((e) => e.start),
  );
});

test('Multiboot: a list of modules as -initrd has it', () => {
  const of = (text: string) => parseModules(text).map(({ path, commandLine }) => [path, commandLine]);
  assert.deepStrictEqual(of('a'), [['a', 'a']]);
  assert.deepStrictEqual(of('a b=1  c,dir/d,e '), [
    ['a', 'a b=1  c'],
    ['dir/d', 'dir/d'],
    ['e', 'e '],
  ]);
  assert.deepStrictEqual(of('a,,b x=1,,2,,,c'), [
    ['a,b', 'a,b x=1,2,'],
    ['c', 'c'],
  ]);
  assert.deepStrictEqual(of(''), [['', '']]);
});

test('ELF: headers that a linker put below 1 MiB are left out, code there is not', () => {
  const m = machine(16);
  // One segment from file offset 0, loaded at 0xff000: 0x1000 bytes of headers and padding, then code at 1 MiB.
  const kernel = elfImage({ is64: false, entry: 0x100010, paddr: 0xff000, memSize: 0x1200 });
  const view = new DataView(kernel.buffer);
  view.setUint32(52 + 4, 0, true);
  view.setUint32(52 + 16, 0x1100, true);
  const second = elfImage({ is64: false, pvhEntry: 0x100010 });
  kernel.set(second.subarray(0x200, 0x214), 0x1080);
  view.setUint32(52 + 32, 4, true);
  view.setUint32(52 + 32 + 4, 0x1080, true);
  kernel.fill(0, 0x200, 0x214);
  const { state } = loadKernel({ kernel, commandLine: '', longMode: false }, m.target);
  assert.strictEqual(state.registers['rip'], 0x100010);
  assert.deepStrictEqual(m.ram.subarray(0x100000, 0x100100), kernel.subarray(0x1000, 0x1100));
  assert.deepStrictEqual(m.ram.subarray(0x100100, 0x100200), new Uint8Array(0x100));
  kernel[0xfff] = 1;
  refusal('boot-no-ram', /not all RAM/, () => loadKernel({ kernel, commandLine: '', longMode: false }, m.target));
});

test('Multiboot: address fields of the header, with bss', () => {
  const m = machine(32);
  const kernel = new Uint8Array(0x400);
  for (let i = 0; i < kernel.length; i++) kernel[i] = i & 0xff;
  // The header lies at file offset 0x20; the load address names file offset 0x10.
  kernel.set(multibootHeader(0x10000, [0x100010, 0x100000, 0x100200, 0x100400, 0x100055]), 0x20);
  const { state } = loadKernel({ kernel, commandLine: '', longMode: false }, m.target);
  assert.strictEqual(state.registers['rip'], 0x100055);
  assert.deepStrictEqual(m.ram.subarray(0x100000, 0x100200), kernel.subarray(0x10, 0x210));
  assert.deepStrictEqual(m.ram.subarray(0x100200, 0x100400), new Uint8Array(0x200));
  assert.strictEqual(m.ram[0x100400], 0xcc);

  const boot = (fields: number[], flags = 0x10000) => {
    const image = new Uint8Array(0x400);
    image.set(multibootHeader(flags, fields), 0x20);
    return () => loadKernel({ kernel: image, commandLine: '', longMode: false }, machine(16).target);
  };
  refusal('boot-kernel-damaged', /contradict/, boot([0x100000, 0x100010, 0, 0, 0x100000]));
  refusal('boot-kernel-damaged', /shorter/, boot([0x100010, 0x100000, 0x200000, 0, 0x100000]));
  refusal('boot-no-ram', /not all RAM/, boot([0x100010, 0x100000, 0, 0xf0000000, 0x100000]));
  refusal('boot-kernel-damaged', /entry point/, boot([0x100010, 0x100000, 0, 0, 0xf0000000]));
  refusal('boot-kernel-unsupported', /flags 0x8/, boot([], 8));
  refusal('boot-kernel-unsupported', /64-bit ELF/, () =>
    loadKernel(
      { kernel: elfImage({ prefix: multibootHeader(0) }), commandLine: '', longMode: true },
      machine(16).target,
    ),
  );
});

test('mutated images give a VringError or a state, and never a write outside RAM', () => {
  let seed = 0x1234567;
  const random = (n: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 0x1_0000_0000) * n);
  };
  const originals = [
    bzImage(),
    elfImage({ pvhEntry: 0x200000 }),
    elfImage({ is64: false, pvhEntry: 0x200000 }),
    elfImage({ is64: false, prefix: multibootHeader(3) }),
  ];
  const small = machine(18);
  let booted = 0;
  let refused = 0;
  for (let round = 0; round < 1500; round++) {
    const kernel = originals[round % originals.length]!.slice();
    const from = round % originals.length === 0 ? 0x1f0 : 0;
    for (let i = 1 + random(4); i > 0; i--) {
      const at = from + random(0x90);
      kernel[at] = random(3) === 0 ? 0xff : random(256);
    }
    const cut = random(4) === 0 ? kernel.subarray(0, random(kernel.length)) : kernel;
    try {
      loadKernel({ kernel: cut, initrd: new Uint8Array(100), commandLine: 'x', longMode: true }, small.target);
      booted++;
    } catch (error) {
      assert.ok(error instanceof VringError, String(error));
      refused++;
    }
  }
  assert.ok(booted > 50 && refused > 50, `booted ${booted}, refused ${refused}`);
});
