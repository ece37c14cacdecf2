/** `vring link DIR`: links by which QEMU's names run vring. */
import { chmod, lstat, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundledMain, isBuilt } from '../host/node/bundles.js';
import { makesLinks } from '../host/node/links.js';
import { openFailure } from '../host/node/open-failure.js';
import { commands } from './commands.js';
import { parseLine } from './options/parse.js';
import { type ProcessIo, print } from './process-io.js';
import { UsageError } from './usage-error.js';

export async function link(argv: readonly string[], io: ProcessIo): Promise<number> {
  const row = commands.find(({ name }) => name === 'link')!;
  const { given, operands } = parseLine(row, argv);
  const [directory, extra] = operands;
  if (directory === undefined) throw new UsageError('link: the directory is missing');
  if (extra !== undefined) throw new UsageError(`link: '${extra}' is too much`);
  const force = given.some((each) => each.row.name === 'force');
  const program = isBuilt() ? bundledMain : fileURLToPath(new URL('./main.js', import.meta.url));
  try {
    await mkdir(directory, { recursive: true });
    // npm makes an installed program executable, the compiler a built one not; where it cannot be changed it is so already.
    await chmod(program, 0o755).catch(() => {});
    const names = commands.flatMap(({ programName, otherNames = [] }) =>
      programName === undefined ? [] : [programName, ...otherNames],
    );
    for (const name of names) {
      const path = join(directory, makesLinks ? name : `${name}.cmd`);
      const there = await lstat(path).catch(() => undefined);
      if (there && !(force && (there.isSymbolicLink() || !makesLinks))) {
        throw new UsageError(
          `link: '${path}' is there already${there.isSymbolicLink() ? '; --force replaces it' : ''}`,
        );
      }
      if (there) await rm(path);
      if (makesLinks) await symlink(program, path);
      else await writeFile(path, `@node "${program}" %*\r\n`);
      await print(io.stdout, `${path}\n`);
    }
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`link: '${directory}' cannot be written: ${openFailure(error)}`);
  }
  return 0;
}
