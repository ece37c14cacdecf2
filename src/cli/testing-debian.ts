/** `vring run debian` of another architecture, for long tests: whether it can be had here, and a script run in it. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { runCommand, VringError } from '../vmm/index.js';

export const main = fileURLToPath(new URL('./main.js', import.meta.url));
export const timeout = 600_000;

/** Why this Debian cannot be had here, or false. */
export async function whyNoDebian(architecture: string): Promise<string | false> {
  try {
    await runCommand({ architecture }, ['true'], { timeoutMs: timeout });
    return false;
  } catch (error) {
    if (error instanceof VringError && /^(network|offline|mirror|http)-/.test(error.code))
      return `no Debian for ${architecture} here: ${error.message}`;
    throw error;
  }
}

export function runDebian(architecture: string, options: readonly string[], script: string, system = 'debian') {
  const argv = [main, 'run', system, '--arch', architecture, ...options, '--', 'sh', '-c', script];
  const { status, stdout, stderr } = spawnSync(process.execPath, argv, { encoding: 'utf8', timeout });
  return { status, stdout, stderr };
}
