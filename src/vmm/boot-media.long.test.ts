/**
 * GRUB from an ISO starts Debian's kernel under SeaBIOS: by El Torito and INT 13h of an ATAPI drive, and the same image as a disk by
 * its boot sector. Needs grub-mkrescue, xorriso and mtools, and Debian's archive.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { prepareDebian } from '../distro/index.js';
import { findFirmware } from '../host/node/firmware-file.js';
import { createMachine, VringError } from './index.js';

const limitMs = 400_000;
const folder = mkdtempSync(join(tmpdir(), 'vring boot media '));
after(() => rmSync(folder, { recursive: true }));
const seabios = findFirmware('bios-256k.bin', []);
const tools = ['grub-mkrescue', 'xorriso', 'mformat'].filter((tool) => spawnSync(tool, ['--version']).error);

test('GRUB on an ISO: the medium of a CD drive, and the same image as a disk, start a kernel', {
  skip: (!seabios && 'no seabios here') || (tools.length > 0 && `${tools.join(', ')} missing`),
  timeout: 3 * limitMs,
}, async (t) => {
  let prepared: Awaited<ReturnType<typeof prepareDebian>>;
  try {
    prepared = await prepareDebian({ suite: 'bookworm', flavour: 'amd64' });
  } catch (error) {
    if (error instanceof VringError && /^(network|offline|mirror|http)-/.test(error.code)) return t.skip(error.message);
    throw error;
  }
  const tree = join(folder, 'tree');
  mkdirSync(join(tree, 'boot/grub'), { recursive: true });
  writeFileSync(join(tree, 'vmlinuz'), prepared.kernel);
  writeFileSync(
    join(tree, 'boot/grub/grub.cfg'),
    'set timeout=0\nterminal_output console\nmenuentry x {\n linux /vmlinuz console=ttyS0 panic=-1\n boot\n}\n',
  );
  const iso = join(folder, 'grub.iso');
  const made = spawnSync('grub-mkrescue', ['-o', iso, tree], { encoding: 'utf8' });
  assert.equal(made.status, 0, made.stderr);
  for (const media of ['cdrom', 'disk'] as const) {
    await using machine = await createMachine({
      ramBytes: 512 << 20,
      firmware: { image: seabios as string, serialConsole: true },
      onReset: 'end',
      devices: [{ type: 'ide', media, image: { path: iso, format: 'raw', snapshot: media === 'disk' } }],
    });
    await machine.start();
    // Without an initial RAM disk the kernel gets as far as looking for its root.
    await machine.serial().waitForText('Linux version 6.', { timeoutMs: limitMs });
    await machine.serial().waitForText(/Unable to mount root fs|Cannot open root device/, { timeoutMs: limitMs });
  }
});
