/** The version, from the package itself. */
import { readFileSync } from 'node:fs';

export function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  return version;
}

/** The release of QEMU whose command line and answers this follows. */
export const reference = { major: 7, minor: 2, micro: 0 };
const referenceVersion = `${reference.major}.${reference.minor}.${reference.micro}`;

/** What programs read who look for QEMU's version: `toolName` is what the program was called by. */
export function programVersion(toolName: string): string {
  return toolName.startsWith('qemu-') ? `QEMU emulator version ${referenceVersion} (${versionLine()})` : versionLine();
}

/** How a monitor greets, and what asks for a command there. */
export function monitorWords(toolName: string): { readonly version: string; readonly prompt: string } {
  return toolName.startsWith('qemu-')
    ? { version: `QEMU ${referenceVersion} (${versionLine()})`, prompt: '(qemu) ' }
    : { version: versionLine(), prompt: '(vring) ' };
}

export function versionLine(): string {
  return `vring ${packageVersion()}`;
}
