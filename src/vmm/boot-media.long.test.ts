/**
 * GRUB from an ISO starts Debian's installer, under SeaBIOS (El Torito and INT 13h of an ATAPI drive) and under OVMF (its EFI
 * program on the same medium); and the same image as a disk, by its boot sector. Needs grub-mkrescue with GRUB for both, xorriso, mtools,
 * and the installer's kernel (package debian-installer-12-netboot-amd64).
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { findFirmware } from '../host/node/firmware-file.js';
import { createMachine } from './index.js';

const limitMs = 400_000;
const folder = mkdtempSync(join(tmpdir(), 'vring boot media '));
after(() => rmSync(folder, { recursive: true }));

const installer = '/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64';
const seabios = findFirmware('bios-256k.bin', []);
const ovmf = '/usr/share/ovmf/OVMF.fd';
const missing = [
  ...['grub-mkrescue', 'xorriso', 'mformat'].filter((tool) => spawnSync(tool, ['--version']).error),
  ...['/usr/lib/grub/i386-pc', '/usr/lib/grub/x86_64-efi', installer].filter((path) => !existsSync(path)),
];

function makeIso(): string {
  const iso = join(folder, 'installer.iso');
  if (existsSync(iso)) return iso;
  const tree = join(folder, 'tree');
  mkdirSync(join(tree, 'boot/grub'), { recursive: true });
  for (const name of ['linux', 'initrd.gz']) copyFileSync(join(installer, name), join(tree, name));
  writeFileSync(
    join(tree, 'boot/grub/grub.cfg'),
    'set timeout=0\nterminal_output console\nmenuentry x {\n linux /linux console=ttyS0\n initrd /initrd.gz\n boot\n}\n',
  );
  const made = spawnSync('grub-mkrescue', ['-o', iso, tree], { encoding: 'utf8' });
  assert.equal(made.status, 0, made.stderr);
  return iso;
}

for (const [name, image, media, end] of [
  ['SeaBIOS from a CD', seabios, 'cdrom', 'Select a language'],
  ['OVMF from a CD', existsSync(ovmf) ? ovmf : undefined, 'cdrom', 'Select a language'],
  ['SeaBIOS from a disk', seabios, 'disk', 'Run /init as init process'],
] as const)
  test(`GRUB on an ISO starts Debian's installer, by ${name}`, {
    skip: (!image && 'no such firmware here') || (missing.length > 0 && `${missing.join(', ')} missing`),
    timeout: limitMs,
  }, async () => {
    await using machine = await createMachine({
      ramBytes: 1 << 30,
      accelerators: ['tcg'],
      firmware: { image: image as string, serialConsole: true },
      onReset: 'end',
      devices: [{ type: 'ide', media, image: { path: makeIso(), format: 'raw', snapshot: media === 'disk' } }],
    });
    await machine.start();
    await machine.serial().waitForText(end, { timeoutMs: limitMs });
  });
