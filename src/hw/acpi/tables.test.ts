import assert from 'node:assert';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { ich9Route } from '../q35/index.js';
import {
  type AcpiBoard,
  acpiLoaderFiles,
  buildAcpiTables,
  ich9Pm,
  linkAcpiTables,
  pcInterruptOverrides,
  piix4Pm,
} from './index.js';

const pc: AcpiBoard = {
  cpus: [{ apicId: 0 }, { apicId: 1 }],
  localApicGpa: 0xfee00000,
  ioApic: { id: 0, gpa: 0xfec00000, gsiBase: 0 },
  interruptOverrides: pcInterruptOverrides,
  pm: piix4Pm,
  reset: { port: 0xcf9, value: 0x0f },
  hpetGpa: 0xfed00000,
  pci: {
    memoryWindows: [{ first: 0xe0000000, last: 0xfebfffff }],
    isaBridge: { device: 1, function: 0 },
    linkIrqs: [5, 10, 11],
    pirqRegisters: [0x60],
    route: (slot, pin) => (slot + pin - 1) & 3,
    sciSlot: 1,
    hotplugFrom: 2,
  },
  isa: {
    serial: [{ port: 0x3f8, irq: 4 }],
    rtc: true,
    pit: true,
    ps2: true,
    fwCfgPort: 0x510,
    floppies: ['144', undefined],
  },
  vga: false,
};

const withEcam: AcpiBoard = {
  ...pc,
  cpus: [{ apicId: 0 }, { apicId: 300 }],
  pci: {
    ...pc.pci,
    memoryWindows: [...pc.pci.memoryWindows, { first: 0x8000000000, last: 0x80ffffffff }],
    ecam: { gpa: 0xb0000000, lastBus: 0xff },
  },
};

const q35: AcpiBoard = {
  ...pc,
  pm: ich9Pm,
  pci: {
    memoryWindows: [
      { first: 0x80000000, last: 0xafffffff },
      { first: 0xc0000000, last: 0xfebfffff },
    ],
    ecam: { gpa: 0xb0000000, lastBus: 0xff },
    isaBridge: { device: 0x1f, function: 0 },
    linkIrqs: [5, 10, 11],
    pirqRegisters: [0x60, 0x68],
    pirqGsi: 16,
    route: ich9Route,
  },
};

const base = 0xe0000;

interface Table {
  readonly signature: string;
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

const text = (bytes: Uint8Array) => String.fromCharCode(...bytes);
const sum = (bytes: Uint8Array) => bytes.reduce((a, b) => (a + b) & 0xff, 0);

/** Follows the pointers from the RSDP as an operating system does, checking lengths and checksums. */
function walk(memory: Uint8Array, gpa: number): Map<string, Table> {
  const view = new DataView(memory.buffer, memory.byteOffset, memory.length);
  const u32 = (at: number) => view.getUint32(at - gpa, true);
  const u64 = (at: number) => Number(view.getBigUint64(at - gpa, true));
  assert.strictEqual(text(memory.subarray(0, 8)), 'RSD PTR ');
  assert.strictEqual(sum(memory.subarray(0, 20)), 0);
  assert.strictEqual(sum(memory.subarray(0, 36)), 0);
  const tables = new Map<string, Table>();
  const read = (at: number): Table => {
    const length = u32(at + 4);
    const bytes = memory.subarray(at - gpa, at - gpa + length);
    const signature = text(bytes.subarray(0, 4));
    if (signature !== 'FACS') assert.strictEqual(sum(bytes), 0, `${signature} sums up to 0`);
    const table = { signature, bytes, view: new DataView(bytes.buffer, bytes.byteOffset, length) };
    tables.set(signature, table);
    return table;
  };
  const rsdt = read(u32(gpa + 16));
  const xsdt = read(u64(gpa + 24));
  assert.strictEqual(rsdt.signature, 'RSDT');
  assert.strictEqual(xsdt.signature, 'XSDT');
  assert.strictEqual((rsdt.bytes.length - 36) / 4, (xsdt.bytes.length - 36) / 8);
  for (let i = 0; 36 + i * 8 < xsdt.bytes.length; i++) {
    const at = Number(xsdt.view.getBigUint64(36 + i * 8, true));
    assert.strictEqual(rsdt.view.getUint32(36 + i * 4, true), at);
    read(at);
  }
  const fadt = tables.get('FACP')!;
  const facs = fadt.view.getUint32(36, true);
  assert.strictEqual(facs % 64, 0);
  assert.strictEqual(read(facs).signature, 'FACS');
  assert.strictEqual(Number(fadt.view.getBigUint64(140, true)), fadt.view.getUint32(40, true));
  assert.strictEqual(read(fadt.view.getUint32(40, true)).signature, 'DSDT');
  return tables;
}

test('tables are found from the RSDP and say what the board has', () => {
  const { rsdpGpa, bytes } = linkAcpiTables(buildAcpiTables(pc), base);
  assert.strictEqual(rsdpGpa, base);
  const tables = walk(bytes, base);
  assert.deepStrictEqual([...tables.keys()].sort(), ['APIC', 'DSDT', 'FACP', 'FACS', 'HPET', 'RSDT', 'XSDT']);
  const fadt = tables.get('FACP')!;
  assert.strictEqual(fadt.bytes.length, 244);
  // Offsets of ACPI 6.4 table 5.9.
  assert.strictEqual(fadt.view.getUint16(46, true), 9);
  assert.strictEqual(fadt.view.getUint32(48, true), 0xb2);
  assert.strictEqual(fadt.view.getUint32(56, true), 0x600);
  assert.strictEqual(fadt.view.getUint32(64, true), 0x604);
  assert.strictEqual(fadt.view.getUint32(76, true), 0x608);
  assert.strictEqual(fadt.view.getUint32(80, true), 0xafe0);
  assert.strictEqual(fadt.view.getUint32(112, true) & (1 << 4), 0, 'the power button is a fixed feature');
  assert.strictEqual(fadt.view.getUint32(112, true) & (1 << 10), 1 << 10);
  assert.strictEqual(Number(fadt.view.getBigUint64(120, true)), 0xcf9);
  assert.strictEqual(fadt.bytes[128], 0x0f);

  // The MADT is walked by its entry lengths.
  const madt = tables.get('APIC')!;
  const entries: number[][] = [];
  for (let at = 44; at < madt.bytes.length; at += madt.bytes[at + 1]!) {
    entries.push([...madt.bytes.subarray(at, at + madt.bytes[at + 1]!)]);
  }
  assert.deepStrictEqual(
    entries.map((e) => e[0]),
    [0, 0, 1, 2, 2, 2, 2, 2, 4],
  );
  assert.deepStrictEqual(entries[3], [2, 10, 0, 0, 2, 0, 0, 0, 5, 0]);
  assert.deepStrictEqual(entries[5], [2, 10, 0, 9, 9, 0, 0, 0, 0x0d, 0]);
});

test('firmware loader commands give the tables that direct boot gives', () => {
  const tables = buildAcpiTables(pc);
  const files = new Map(acpiLoaderFiles(tables).map((f) => [f.name, f.bytes.slice()]));
  // A firmware: tables at 0x7fe0000, RSDP in the F segment.
  const where = new Map([
    ['etc/acpi/tables', 0x7fe0040],
    ['etc/acpi/rsdp', 0xf5a00],
  ]);
  const script = files.get('etc/table-loader')!;
  const view = new DataView(script.buffer);
  const fileAt = (at: number) => text(script.subarray(at, at + 56)).replace(/\0+$/, '');
  const done: number[] = [];
  for (let at = 0; at < script.length; at += 128) {
    const kind = view.getUint32(at, true);
    done.push(kind);
    const bytes = files.get(fileAt(at + 4))!;
    const target = new DataView(bytes.buffer);
    if (kind === 2) {
      const offset = view.getUint32(at + 116, true);
      const source = where.get(fileAt(at + 60))!;
      if (script[at + 120] === 4) target.setUint32(offset, target.getUint32(offset, true) + source, true);
      else target.setBigUint64(offset, target.getBigUint64(offset, true) + BigInt(source), true);
    } else if (kind === 3) {
      const [offset, start, length] = [60, 64, 68].map((o) => view.getUint32(at + o, true)) as [number, number, number];
      bytes[offset] = (bytes[offset]! - sum(bytes.subarray(start, start + length))) & 0xff;
    }
  }
  assert.deepStrictEqual(done.slice(0, 2), [1, 1]);
  const direct = linkAcpiTables(tables, 0x7fe0000).bytes;
  assert.deepStrictEqual(files.get('etc/acpi/rsdp'), direct.subarray(0, 36));
  assert.deepStrictEqual(files.get('etc/acpi/tables'), direct.subarray(64));
});

const hasIasl = spawnSync('iasl', ['-v']).status === 0;

test('iasl disassembles and recompiles the tables', { skip: hasIasl ? false : 'iasl is not installed' }, () => {
  const dir = mkdtempSync(join(tmpdir(), 'vring-acpi-'));
  try {
    for (const [label, board] of [
      ['pc', pc],
      ['ecam', withEcam],
      ['q35', q35],
    ] as const) {
      const tables = walk(linkAcpiTables(buildAcpiTables(board), base).bytes, base);
      for (const { signature, bytes } of tables.values()) {
        const stem = join(dir, `${label}-${signature}`);
        writeFileSync(`${stem}.aml`, bytes);
        const run = spawnSync('iasl', ['-d', `${stem}.aml`], { encoding: 'utf8' });
        assert.strictEqual(run.status, 0, run.stderr);
        assert.doesNotMatch(run.stderr + run.stdout, /error|warning|invalid|could not/i, `${signature}: ${run.stderr}`);
        const dsl = readFileSync(`${stem}.dsl`, 'utf8');
        assert.doesNotMatch(dsl, /Invalid|ERROR|Unknown|beyond end/i, signature);
      }
      const dsl = readFileSync(join(dir, `${label}-DSDT.dsl`), 'utf8');
      for (const wanted of [/Device \(PCI0\)/, /Name \(\\_S5, Package/, /EisaId \("PNP0501"\)/, /Device \(LNKD\)/]) {
        assert.match(dsl, wanted);
      }
      if (board.pci.hotplugFrom !== undefined) {
        const wanted = [/Device \(SF8\)/, /Method \(_E01/, /Notify \(S28/, /EisaId \("PNP0700"\)/, /Device \(FLPA\)/];
        for (const each of wanted) assert.match(dsl, each);
      }
      const compiled = execFileSync('iasl', ['-vs', '-p', join(dir, 'again'), join(dir, `${label}-DSDT.dsl`)], {
        encoding: 'utf8',
        stdio: 'pipe',
      });
      assert.match(compiled, /0 Errors, 0 Warnings/);
    }
  } finally {
    rmSync(dir, { recursive: true });
  }
});
