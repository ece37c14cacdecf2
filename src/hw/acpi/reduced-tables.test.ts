import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import {
  type ArmAcpiBoard,
  acpiFile,
  acpiLoaderFiles,
  buildArmAcpiTables,
  buildMicrovmTables,
  linkAcpiTables,
  type MicrovmAcpiBoard,
} from './index.js';

const board: ArmAcpiBoard = {
  affinities: [0, 1, 0x100],
  gic: {
    version: 3,
    distributorGpa: 0x800_0000,
    redistributors: { gpa: 0x80a_0000, bytes: 0xf6_0000 },
    itsGpa: 0x808_0000,
  },
  timers: { secure: 29, physical: 30, virtual: 27, hypervisor: 26 },
  uart: { gpa: 0x900_0000, bytes: 0x1000, gsi: 33 },
  flash: [{ gpa: 0, bytes: 0x400_0000 }],
  fwCfgGpa: 0x902_0000,
  virtio: { gpa: 0xa00_0000, stride: 0x200, slots: 32, gsi: 48 },
  gpio: { gpa: 0x903_0000, bytes: 0x1000, gsi: 39, powerPin: 3 },
  pci: {
    ecam: { gpa: 0x40_1000_0000, bytes: 0x1000_0000, buses: 256 },
    ports: { gpa: 0x3eff_0000, bytes: 0x1_0000 },
    memory: { gpa: 0x1000_0000, bytes: 0x2eff_0000 },
    highMemory: { gpa: 0x80_0000_0000, bytes: 0x80_0000_0000 },
    gsi: 35,
  },
};
const withGicV2: ArmAcpiBoard = {
  ...board,
  gic: {
    version: 2,
    distributorGpa: 0x800_0000,
    cpuInterfaceGpa: 0x801_0000,
    msiFrame: { gpa: 0x802_0000, first: 80, count: 64 },
  },
  uart: undefined,
};

const text = (bytes: Uint8Array) => String.fromCharCode(...bytes);
const sum = (bytes: Uint8Array) => bytes.reduce((a, b) => (a + b) & 0xff, 0);

/** All tables by their signatures, found from the RSDP as an operating system finds them; lengths and checksums are right. */
function tablesOf(described: ArmAcpiBoard): Map<string, Uint8Array> {
  const base = 0x5000_0000;
  const { bytes } = linkAcpiTables(buildArmAcpiTables(described), base);
  const view = new DataView(bytes.buffer);
  assert.equal(text(bytes.subarray(0, 8)), 'RSD PTR ');
  assert.equal(sum(bytes.subarray(0, 20)), 0);
  assert.equal(sum(bytes.subarray(0, 36)), 0);
  assert.equal(view.getUint32(16, true), 0, 'no table with addresses of 32 bits');
  const tables = new Map<string, Uint8Array>();
  const read = (gpa: number): Uint8Array => {
    const at = gpa - base;
    const table = bytes.subarray(at, at + view.getUint32(at + 4, true));
    const signature = text(table.subarray(0, 4));
    assert.equal(sum(table), 0, `${signature} sums up to 0`);
    tables.set(signature, table);
    return table;
  };
  const pointer = (table: Uint8Array, at: number) =>
    Number(new DataView(table.buffer, table.byteOffset).getBigUint64(at, true));
  const xsdt = read(Number(view.getBigUint64(24, true)));
  for (let at = 36; at < xsdt.length; at += 8) read(pointer(xsdt, at));
  read(pointer(tables.get('FACP')!, 140));
  return tables;
}

/** What iasl makes of a table; it must find no fault when it compiles that again. */
function disassemble(tables: ReadonlyMap<string, Uint8Array>): Record<string, string> {
  const directory = mkdtempSync(join(tmpdir(), 'vring-acpi-'));
  try {
    return Object.fromEntries(
      [...tables].map(([signature, bytes]) => {
        const path = join(directory, signature);
        writeFileSync(`${path}.dat`, bytes);
        execFileSync('iasl', ['-d', `${path}.dat`], { stdio: 'pipe' });
        const again = spawnSync('iasl', ['-p', `${path}-again`, `${path}.dsl`], { encoding: 'utf8' });
        assert.match(again.stdout + again.stderr, / 0 Errors|Compilation successful/, signature + again.stdout);
        return [signature, readFileSync(`${path}.dsl`, 'utf8')];
      }),
    );
  } finally {
    rmSync(directory, { recursive: true });
  }
}
const skip = spawnSync('iasl', ['-v']).error ? 'no iasl here' : false;

test('the tables of the board virt, as iasl reads them', { skip }, () => {
  const tables = tablesOf(board);
  assert.deepEqual([...tables.keys()].sort(), [
    ...['APIC', 'DBG2', 'DSDT', 'FACP', 'GTDT', 'IORT', 'MCFG', 'PPTT', 'SPCR', 'XSDT'],
  ]);
  const { APIC, DBG2, DSDT, FACP, GTDT, IORT, MCFG, PPTT, SPCR } = disassemble(tables);
  for (const [table, line] of [
    [FACP, /Hardware Reduced \(V5\) : 1/],
    [FACP, /PSCI Compliant : 1/],
    [FACP, /Must use HVC for PSCI : 1/],
    [APIC, /Base Address : 0000000008000000[\s\S]*Version : 03/],
    [
      APIC,
      /Subtable Type : 0E \[Generic Interrupt Redistributor\][\s\S]*Base Address : 00000000080A0000\s+.*Length : 00F60000/,
    ],
    [APIC, /Subtable Type : 0F \[Generic Interrupt Translator\][\s\S]*Base Address : 0000000008080000/],
    [APIC, /ARM MPIDR : 0000000000000100/],
    [GTDT, /Non-Secure EL1 Interrupt : 0000001E/],
    [GTDT, /Virtual Timer Interrupt : 0000001B/],
    [MCFG, /Base Address : 0000004010000000/],
    [MCFG, /End Bus Number : FF/],
    [SPCR, /Interface Type : 03/],
    [SPCR, /Interrupt : 00000021/],
    [DBG2, /Namepath : "COM0"/],
    [IORT, /Type : 02[\s\S]*Output Reference : 00000030/],
    [PPTT, /ACPI Processor ID : 00000002/],
  ] as const)
    assert.match(table, line);
  assert.equal(APIC.match(/Generic Interrupt Controller\]/g)?.length, 3);
  for (const line of [
    /Device \(COM0\)[\s\S]*"ARMH0011"[\s\S]*0x09000000/,
    /Interrupt \(ResourceConsumer, Level, ActiveHigh, Exclusive, ,, \)\s+\{\s+0x00000021,/,
    /Device \(VR1F\)[\s\S]*0x0A003E00/,
    /DWordIO \(ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,\s+0x00000000,.*\s+0x00000000,.*\s+0x0000FFFF,.*\s+0x3EFF0000,.*\s+0x00010000,/,
    /GpioInt \(Edge, ActiveHigh, ExclusiveAndWake, PullUp, 0x0000,\s+"GPO0", 0x00, ResourceConsumer, ,\s+\)\s+\{.*\s+0x0003/,
    /Method \(_E03, 0, NotSerialized\)[^}]*\{\s+Notify \(\\_SB.PWRB, 0x80\)/,
    /Device \(PWRB\)[\s\S]*PNP0C0C/,
    /Device \(FWCF\)[\s\S]*"QEMU0002"[\s\S]*0x09020000/,
  ])
    assert.match(DSDT, line);
});

test('with a GICv2 there are its CPU interfaces and the frame of messages, and no IORT', { skip }, () => {
  const tables = tablesOf(withGicV2);
  assert.equal(tables.has('IORT'), false);
  assert.equal(tables.has('SPCR'), false);
  const { APIC, DSDT } = disassemble(tables);
  assert.match(APIC, /Subtable Type : 0B[\s\S]*Base Address : 0000000008010000/);
  assert.match(
    APIC,
    /Subtable Type : 0D[\s\S]*Base Address : 0000000008020000[\s\S]*SPI Count : 0040\s+.*SPI Base : 0050/,
  );
  assert.match(APIC, /Version : 02/);
  assert.doesNotMatch(DSDT, /COM0/);
});

test('firmware gets the tables and what is to be linked in them', () => {
  const files = acpiLoaderFiles(buildArmAcpiTables(board));
  assert.deepEqual(
    files.map(({ name }) => name),
    [acpiFile.tables, acpiFile.rsdp, acpiFile.loader],
  );
  const [tables, , loader] = files.map(({ bytes }) => bytes);
  const view = new DataView(loader.buffer);
  for (let at = 0; at < loader.length; at += 128) {
    if (view.getUint32(at, true) !== 2) continue;
    const offset = view.getUint32(at + 4 + 112, true);
    assert.equal(loader[at + 4 + 116], 8, 'every pointer has 64 bits');
    assert.ok(offset + 8 <= tables.length);
  }
});

const microvm: MicrovmAcpiBoard = {
  cpus: [{ apicId: 0 }, { apicId: 1 }],
  localApicGpa: 0xfee0_0000,
  ioApics: [
    { id: 0, gpa: 0xfec0_0000, gsiBase: 0 },
    { id: 1, gpa: 0xfec1_0000, gsiBase: 24 },
  ],
  serial: [{ port: 0x3f8, irq: 4 }],
  rtc: true,
  fwCfgPort: 0x510,
  events: {
    gpa: 0xfea0_0000,
    gsi: 9,
    powerButton: 2,
    sleepControlGpa: 0xfea0_0200,
    sleepStatusGpa: 0xfea0_0201,
    s5SleepType: 5,
    reset: { gpa: 0xfea0_0202, value: 0x42 },
  },
  virtio: [{ slot: 23, gpa: 0xfeb0_2e00, bytes: 0x200, gsi: 47 }],
};

const signatureAt = (bytes: Uint8Array, at: number) => String.fromCharCode(...bytes.subarray(at, at + 4));

/** All tables by their signatures, found by the RSDP. */
function microvmTables(described: MicrovmAcpiBoard): Map<string, Uint8Array> {
  const base = 0xe_0000;
  const { bytes } = linkAcpiTables(buildMicrovmTables(described), base);
  const view = new DataView(bytes.buffer);
  const tables = new Map<string, Uint8Array>();
  const read = (gpa: number): number => {
    const at = gpa - base;
    const table = bytes.subarray(at, at + view.getUint32(at + 4, true));
    assert.equal(
      table.reduce((a, b) => (a + b) & 0xff, 0),
      0,
    );
    tables.set(signatureAt(bytes, at), table);
    return at;
  };
  const rsdt = read(view.getUint32(16, true));
  const list = tables.get('RSDT')!;
  for (let at = 36; at < list.length; at += 4) {
    const table = read(view.getUint32(rsdt + at, true));
    if (signatureAt(bytes, table) === 'FACP') read(Number(view.getBigUint64(table + 140, true)));
  }
  return tables;
}

test('the tables of the board microvm, as iasl reads them', { skip }, () => {
  const tables = microvmTables(microvm);
  assert.deepEqual([...tables.keys()].sort(), ['APIC', 'DSDT', 'FACP', 'RSDT']);
  const { APIC, DSDT, FACP } = disassemble(tables);
  for (const [table, line] of [
    [FACP, /Hardware Reduced \(V5\) : 1/],
    [FACP, /Reset Register Supported \(V2\) : 1/],
    [FACP, /Reset Register[\s\S]*Address : 00000000FEA00202[\s\S]*Value to cause reset : 42/],
    [FACP, /Sleep Control Register[\s\S]*Address : 00000000FEA00200/],
    [FACP, /Sleep Status Register[\s\S]*Address : 00000000FEA00201/],
    [APIC, /Address : FEC00000\s+.*Interrupt : 00000000[\s\S]*Address : FEC10000\s+.*Interrupt : 00000018/],
    [DSDT, /Device \(COM1\)[\s\S]*0x03F8/],
    [DSDT, /Device \(GED\)[\s\S]*"ACPI0013"[\s\S]*Edge, ActiveHigh[\s\S]*0x00000009/],
    [DSDT, /Notify \(\\_SB.PWRB, 0x80\)/],
    [DSDT, /Device \(VR17\)[\s\S]*"LNRO0005"[\s\S]*0xFEB02E00,.*\s+0x00000200,[\s\S]*0x0000002F/],
    [DSDT, /Name \(\\_S5, Package \(0x04\).*\s+\{\s+0x05,/],
  ] as const)
    assert.match(table, line);
  assert.doesNotMatch(DSDT, /PCI0/);
});

test('with PCI Express there are its host and where configuration space lies', { skip }, () => {
  const tables = microvmTables({
    ...microvm,
    rtc: false,
    pci: {
      memory: { gpa: 0xc000_0000, bytes: 0x2000_0000 },
      ecam: { gpa: 0xe000_0000, bytes: 0x1000_0000, buses: 256 },
      highMemory: { gpa: 0xc0_0000_0000, bytes: 0x40_0000_0000 },
      gsi: 16,
    },
  });
  const { MCFG, DSDT } = disassemble(tables);
  assert.match(MCFG, /Base Address : 00000000E0000000/);
  assert.match(DSDT, /Device \(PCI0\)[\s\S]*PNP0A08/);
  assert.match(DSDT, /0x0001FFFF,\s+Zero,\s+Zero,\s+0x11/, 'INTA of slot 1 is interrupt 17');
  assert.match(DSDT, /DWordMemory[\s\S]*0xC0000000,.*\s+0xDFFFFFFF,/);
  assert.match(DSDT, /QWordMemory[\s\S]*0x000000C000000000,.*\s+0x000000FFFFFFFFFF,/);
  assert.doesNotMatch(DSDT, /DWordIO/);
  assert.doesNotMatch(DSDT, /PNP0B00/);
});
