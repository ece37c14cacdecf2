/** `vring run -gdb … -S` with the real gdb. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../host/node/testing/free-port.js';
import { Program } from '../../machine/testing/program.js';

const main = fileURLToPath(new URL('../main.js', import.meta.url));
const hasGdb = spawnSync('gdb', ['--version']).status === 0;

test('gdb stops a machine, looks at it and lets it go on', {
  skip: hasGdb ? false : 'gdb is not installed',
  timeout: 90_000,
}, async () => {
  const p = new Program().begin(0x8000, 0x90000).add('31 c9').label('loop').add('41').label('here').add('90');
  p.add('81 f9').u32(50).add(0x75).rel8('loop').add('b0 03').exit();
  const directory = mkdtempSync(join(tmpdir(), 'vring gdb '));
  const port = await freePort();
  try {
    writeFileSync(join(directory, 'kernel'), p.image());
    const machine = spawn(process.execPath, [
      main,
      ...['run', '-kernel', join(directory, 'kernel'), '-gdb', `tcp::${port}`, '-S', '-display', 'none'],
      ...['-device', 'isa-debug-exit,iobase=0xf4,iosize=0x01', '-serial', 'none', '-monitor', 'none', '-m', '16'],
    ]);
    let said = '';
    machine.stderr.on('data', (data) => {
      said += data;
    });
    const status = new Promise<number | null>((resolve) => machine.on('close', resolve));
    const commands = [
      'set tcp connect-timeout 30',
      'set architecture i386:x86-64',
      `target remote 127.0.0.1:${port}`,
      `break *${p.addressOf('here')}`,
      'continue',
      'continue',
      'printf "count %d at %#x\\n", $ecx, $pc',
      'monitor info registers',
      'monitor   p $rip',
      'monitor nonsense',
      'stepi',
      'printf "then %#x\\n", $pc',
      'delete',
      'continue',
    ];
    const gdb = spawn('gdb', ['-nx', '-batch', ...commands.flatMap((command) => ['-ex', command])]);
    let output = '';
    for (const stream of [gdb.stdout, gdb.stderr]) {
      stream.on('data', (data) => {
        output += data;
      });
    }
    await new Promise((resolve) => gdb.on('close', resolve));
    const here = p.addressOf('here');
    assert.match(output, new RegExp(`count 2 at 0x${here.toString(16)}`), output + said);
    assert.match(output, /^EAX=.* ECX=00000002 /m, output);
    assert.match(output, new RegExp(`^0x${here.toString(16)}$`, 'm'), output);
    assert.match(output, /^unknown command: 'nonsense'/m, output);
    assert.match(output, new RegExp(`then 0x${(here + 1).toString(16)}`), output);
    assert.equal(await status, 7, said);
    assert.match(output, /exited with code 07/, output);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
