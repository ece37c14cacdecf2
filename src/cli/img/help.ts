/** Help text of the disk image tool. */
import { registryRows } from '../../block/registry.js';

const commands: readonly (readonly [string, string])[] = [
  ['amend [-p] [-q] [-f FORMAT] [-t CACHE] [--force] -o OPTIONS FILE', 'change options of an existing image'],
  ['bench [-c COUNT] [-d DEPTH] [-s SIZE] [-S STEP] [-w] [-n] [-o OFFSET] FILE', 'time many equal requests'],
  [
    'bitmap (--add|--remove|--clear|--enable|--disable|--merge SOURCE)... [-g GRANULARITY] FILE BITMAP',
    'work on persistent dirty bitmaps',
  ],
  [
    'check [-q] [-f FORMAT] [--output=human|json] [-r leaks|all] [-T CACHE] [-U] FILE',
    'find (and repair) inconsistent metadata',
  ],
  [
    'commit [-q] [-f FORMAT] [-t CACHE] [-b BASE] [-r RATE] [-d] [-p] FILE',
    'write an overlay down into its backing file',
  ],
  ['compare [-f FORMAT] [-F FORMAT] [-T CACHE] [-p] [-q] [-s] [-U] FILE1 FILE2', 'compare the contents of two images'],
  [
    'convert [-c] [-p] [-q] [-n] [-f FORMAT] [-O FORMAT] [-B BACKING -F FORMAT] [-o OPTIONS] [-S SIZE] [-m N] [-W] FILE... OUTPUT',
    'copy into a new image',
  ],
  ['create [-q] [-f FORMAT] [-b BACKING -F FORMAT] [-u] [-o OPTIONS] FILE [SIZE]', 'make a new image'],
  ['dd [-f FORMAT] [-O FORMAT] [bs=BYTES] [count=N] [skip=N] if=FILE of=FILE', 'copy blocks'],
  ['info [-f FORMAT] [--output=human|json] [--backing-chain] [-U] FILE', 'describe an image'],
  ['map [-f FORMAT] [--start-offset=N] [--max-length=N] [--output=human|json] [-U] FILE', 'show where data lies'],
  ['measure [-O FORMAT] [-o OPTIONS] [--output=human|json] (--size N | FILE)', 'tell how large a new image would be'],
  ['rebase [-u] [-p] [-q] [-f FORMAT] [-t CACHE] -b BACKING [-F FORMAT] FILE', 'change the backing file'],
  ['resize [-f FORMAT] [--preallocation=MODE] [-q] [--shrink] FILE [+|-]SIZE', 'change the size of the disk'],
  ['snapshot [-U] [-q] [-l | -a NAME | -c NAME | -d NAME] FILE', 'internal snapshots'],
];

export function helpText(toolName: string): string {
  const formats = registryRows
    .map((row) => row.name)
    .sort()
    .join(' ');
  return `usage: ${toolName} COMMAND [OPTIONS]

${commands.map(([synopsis, sentence]) => `  ${synopsis}\n      ${sentence}\n`).join('')}
All commands also take --object secret,id=ID,data=… for encrypted images and --image-opts to give an option string
(driver=qcow2,file.filename=…) in place of a file name.

Sizes take the suffixes k, M, G, T, P and E. Cache modes are none, writeback, writethrough, directsync and unsafe.

Supported formats: ${formats}
`;
}
