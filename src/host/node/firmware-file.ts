/** Where firmware images lie on a host: those that its packages of SeaBIOS, OpenSBI, EDK II and QEMU install. vring brings none. */
import { existsSync } from 'node:fs';
import { isAbsolute, join, sep } from 'node:path';

const folders: readonly string[] =
  process.platform === 'win32'
    ? [join(process.env['ProgramFiles'] ?? 'C:\\Program Files', 'qemu'), 'C:\\msys64\\mingw64\\share\\qemu']
    : [
        '/usr/share/seabios',
        '/usr/lib/riscv64-linux-gnu/opensbi/generic',
        '/usr/share/qemu-efi-aarch64',
        '/usr/share/AAVMF',
        '/usr/share/qemu',
        '/usr/lib/ipxe/qemu',
        '/usr/local/share/qemu',
        '/usr/local/share/seabios',
        '/opt/homebrew/share/qemu',
        '/opt/local/share/qemu',
      ];

/** A file by its path, or by its name in the folders given and those of the host's packages. Undefined: there is none. */
export function findFirmware(name: string, given: readonly string[]): string | undefined {
  if (isAbsolute(name) || name.includes('/') || name.includes(sep)) return existsSync(name) ? name : undefined;
  const found = [...given, ...folders].map((folder) => join(folder, name)).find((path) => existsSync(path));
  return found ?? (existsSync(name) ? name : undefined);
}

export const firmwareFolders = folders;
