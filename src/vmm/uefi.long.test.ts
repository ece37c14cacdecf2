import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createMachine } from './machine.js';

const code = '/usr/share/OVMF/OVMF_CODE_4M.fd';
const emptyVariables = '/usr/share/OVMF/OVMF_VARS_4M.fd';
const wait = { timeoutMs: 120_000 };
const folder = mkdtempSync(join(tmpdir(), 'vring-uefi-'));
after(() => rmSync(folder, { recursive: true }));

/** OVMF to its shell's prompt, a command typed there, and power-off by the shell. */
async function shell(board: string, variables: string, command: string, answer: RegExp): Promise<void> {
  await using machine = await createMachine({
    machine: board,
    ramBytes: 256 << 20,
    accelerators: ['tcg'],
    firmware: {
      flash: [
        { path: code, format: 'raw', readonly: true },
        { path: variables, format: 'raw' },
      ],
    },
  });
  await machine.start();
  const serial = machine.serial();
  await serial.waitForText('Shell> ', wait);
  const answered = serial.waitForText(answer, wait);
  await serial.write(`${command}\r`);
  await answered;
  await serial.write('reset -s\r');
  assert.deepEqual(await machine.ended, { why: 'poweroff' });
}

test('OVMF starts from flash, and a variable that is set there is found at the next start', {
  skip: !existsSync(code) && 'no ovmf here',
  timeout: 300_000,
}, async () => {
  const variables = join(folder, 'vars.fd');
  copyFileSync(emptyVariables, variables);
  const name = 'setvar vringtest -guid 12345678-1234-1234-1234-123456789abc';
  await shell('pc', variables, `${name} -bs -nv =0x5aa5`, /5\S*a\S*a\S*5[\s\S]*Shell> /);
  assert.notDeepEqual(readFileSync(variables), readFileSync(emptyVariables));
  // The other board finds it too.
  await shell('q35', variables, name, /vringtest - 0002 Bytes\s+A5 5A/);
});
