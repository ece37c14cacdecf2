import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createMachine } from './machine.js';

interface Firmware {
  readonly name: string;
  readonly architecture: 'x86_64' | 'aarch64';
  /** The board that it starts on, then that which finds its variables. */
  readonly boards: readonly [string, string];
  readonly code: string;
  readonly emptyVariables: string;
  readonly debianPackage: string;
}
const firmwares: readonly Firmware[] = [
  {
    name: 'OVMF',
    architecture: 'x86_64',
    boards: ['pc', 'q35'],
    code: '/usr/share/OVMF/OVMF_CODE_4M.fd',
    emptyVariables: '/usr/share/OVMF/OVMF_VARS_4M.fd',
    debianPackage: 'ovmf',
  },
  {
    name: "EDK II of AArch64's board",
    architecture: 'aarch64',
    boards: ['virt', 'virt'],
    code: '/usr/share/AAVMF/AAVMF_CODE.fd',
    emptyVariables: '/usr/share/AAVMF/AAVMF_VARS.fd',
    debianPackage: 'qemu-efi-aarch64',
  },
];
const wait = { timeoutMs: 120_000 };
const folder = mkdtempSync(join(tmpdir(), 'vring-uefi-'));
after(() => rmSync(folder, { recursive: true }));

/** To the shell's prompt, a command typed there, and power-off by the shell. */
async function shell(
  { architecture, code }: Firmware,
  board: string,
  variables: string,
  command: string,
  answer: RegExp,
): Promise<void> {
  await using machine = await createMachine({
    architecture,
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

for (const firmware of firmwares)
  test(`${firmware.name} starts from flash, and a variable that is set there is found at the next start`, {
    skip: !existsSync(firmware.code) && `no ${firmware.debianPackage} here`,
    timeout: 300_000,
  }, async () => {
    const variables = join(folder, `${firmware.architecture}.fd`);
    copyFileSync(firmware.emptyVariables, variables);
    const name = 'setvar vringtest -guid 12345678-1234-1234-1234-123456789abc';
    await shell(firmware, firmware.boards[0], variables, `${name} -bs -nv =0x5aa5`, /5\S*a\S*a\S*5[\s\S]*Shell> /);
    assert.notDeepEqual(readFileSync(variables), readFileSync(firmware.emptyVariables));
    await shell(firmware, firmware.boards[1], variables, name, /vringtest - 0002 Bytes\s+A5 5A/);
  });
