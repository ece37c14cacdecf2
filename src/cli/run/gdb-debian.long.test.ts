/** The real gdb on Debian's kernel: symbols, breakpoints, registers, a stack, single steps and a watchpoint in long mode. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../host/node/testing/free-port.js';

const main = fileURLToPath(new URL('../main.js', import.meta.url));
const hasGdb = spawnSync('gdb', ['--version']).status === 0;
const limitMs = 300_000;

function vring(...argv: string[]): Promise<{ status: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [main, 'run', ...argv], { stdio: ['ignore', 'pipe', 'pipe'] });
    const said = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].on('data', (bytes: Buffer) => {
        said[name] += bytes.toString('latin1');
      });
    }
    child.on('close', (status) => resolve({ status, ...said }));
  });
}

/** An ELF file with nothing but symbols, from lines of /proc/kallsyms. */
function symbolFile(kallsyms: string): Buffer {
  const symbols = [...kallsyms.matchAll(/^(ffffffff[89a-f][0-9a-f]{7}) ([tTdDbBrR]) (\S+)$/gm)];
  const names = Buffer.from(`\0${symbols.map(([, , , name]) => name).join('\0')}\0`);
  const table = Buffer.alloc(24 * (symbols.length + 1));
  let name = 1;
  symbols.forEach(([, address, type, text], i) => {
    const at = 24 * (i + 1);
    table.writeUInt32LE(name, at);
    table[at + 4] = 0x10 | (/t/i.test(type) ? 2 : 1);
    table.writeUInt16LE(1, at + 6);
    table.writeBigUInt64LE(BigInt(`0x${address}`), at + 8);
    name += text.length + 1;
  });
  const sectionNames = Buffer.from('\0.text\0.symtab\0.strtab\0.shstrtab\0');
  const header = Buffer.alloc(64);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  header.writeUInt16LE(2, 16);
  header.writeUInt16LE(62, 18);
  header.writeUInt32LE(1, 20);
  header.writeUInt16LE(64, 52);
  header.writeUInt16LE(64, 58);
  header.writeUInt16LE(5, 60);
  header.writeUInt16LE(4, 62);
  const offsets = [64, 64 + table.length, 64 + table.length + names.length];
  const sections = Buffer.alloc(5 * 64);
  header.writeBigUInt64LE(BigInt(offsets[2] + sectionNames.length), 40);
  const section = (i: number, at: number, type: number, offset: number, size: number, more: [number, bigint][]) => {
    sections.writeUInt32LE(at, 64 * i);
    sections.writeUInt32LE(type, 64 * i + 4);
    sections.writeBigUInt64LE(BigInt(offset), 64 * i + 24);
    sections.writeBigUInt64LE(BigInt(size), 64 * i + 32);
    for (const [field, value] of more) sections.writeBigUInt64LE(value, 64 * i + field);
  };
  section(1, 1, 8, 64, 0x4000000, [
    [8, 6n],
    [16, 0xffffffff81000000n],
  ]);
  section(2, 7, 2, offsets[0], table.length, [
    [40, 3n | (1n << 32n)],
    [56, 24n],
  ]);
  section(3, 15, 3, offsets[1], names.length, []);
  section(4, 23, 3, offsets[2], sectionNames.length, []);
  return Buffer.concat([header, table, names, sectionNames, sections]);
}

test('gdb debugs a Debian kernel', { skip: !hasGdb && 'gdb is not installed', timeout: limitMs }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vring gdb '));
  const system = ['debian:bookworm', '-append', 'nokaslr'];
  try {
    const symbols = await vring(...system, '--', 'cat', '/proc/kallsyms');
    if (symbols.status === 125) return t.skip(`no Debian here: ${symbols.stderr}`);
    assert.equal(symbols.status, 0, symbols.stderr);
    const address = (name: string) => new RegExp(`^([0-9a-f]{16}) . ${name}$`, 'm').exec(symbols.stdout)?.[1];
    const symbolPath = join(folder, 'symbols');
    writeFileSync(symbolPath, symbolFile(symbols.stdout));
    const port = await freePort();
    const machine = vring(...system, '-gdb', `tcp::${port}`, '-S', '--', 'cat', '/proc/version');
    const commands = [
      'set tcp connect-timeout 30',
      `file '${symbolPath}'`,
      `target remote 127.0.0.1:${port}`,
      'hbreak start_kernel',
      'continue',
      'printf "efer %#x, pc %#lx\\n", $efer, $pc',
      'backtrace 2',
      'delete',
      'break do_sys_openat2',
      'continue',
      'backtrace 2',
      'stepi',
      'printf "stepped %d\\n", $pc > (long)&do_sys_openat2 && $pc < (long)&do_sys_openat2 + 64 || $pc == (long)&__fentry__',
      'x/s (char*)&linux_banner',
      'delete',
      'watch *(long*)&jiffies_64',
      'continue',
      'printf "by %d\\n", $cs & 3',
      'delete',
      'detach',
    ];
    const gdb = spawnSync('gdb', ['-nx', '-batch', ...commands.flatMap((command) => ['-ex', command])], {
      timeout: limitMs,
      encoding: 'latin1',
    });
    const said = `${gdb.stdout}${gdb.stderr}`;
    const { status, stdout, stderr } = await machine;
    assert.match(said, new RegExp(`efer 0x[0-9a-f]*d01, pc 0x${address('start_kernel')}`), said);
    assert.match(said, /#0 {2}0x\w+ in start_kernel \(\)\n#1 {2}0x\w+ in \w+/, said);
    assert.match(said, /#0 {2}0x\w+ in do_sys_openat2 \(\)\n#1 {2}0x\w+ in __\w+_sys_open/, said);
    assert.match(said, /stepped 1/, said);
    assert.match(said, /"Linux version 6\./, said);
    assert.match(said, /Hardware watchpoint \d+: \*\(long\*\)&jiffies_64\n\nOld value = (\d+)\nNew value = \d+/, said);
    assert.match(said, /by 0/, said);
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^Linux version 6\./);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
