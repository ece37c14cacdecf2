/** Parallels images through qemu-img 7.2 and through vring: same output, and each reads, checks and repairs what the other wrote. */
import test from 'node:test';
import { compareWithQemuImg, skipReason } from '../../../cli/img/testing/side-by-side.js';

const createLines = `
${['0', '512', '1000', '4096', '65536', '3M', '1G', '2G', '4G']
  .map((size) => `create -f parallels -o cluster_size=${size} a.hds 10M`)
  .join('\n')}
create -f parallels -o cluster_size=1000 a.hds 10M
info a.hds
${['0', '1000', '1T', '10M'].map((size) => `create -f parallels a.hds ${size}\ninfo a.hds`).join('\n')}
check a.hds
info --output=json a.hds
check --output=json a.hds
map --output=json a.hds
resize a.hds +1M
create -f parallels -b a.hds -F parallels b.hds
create -f parallels /nonexist/x 1M
convert -c -O parallels a.hds b.hds
measure -O parallels --size 1G
snapshot -c a a.hds
amend -o size=1 a.hds
`;

/** Damage to an image with 64 KiB clusters: patches of [offset, bytes], and how much is appended. */
const damages: readonly (readonly [readonly (readonly [number, string])[], number])[] = [
  [[[0, '1']], 0],
  [[[16, '3']], 0],
  [[[28, '0']], 0],
  [[[28, '255,255,255,127']], 0],
  [[[32, '255,255,255,127']], 0],
  [[[44, '89,110,111,116']], 0],
  [[], 100_000],
  [[[64, '100']], 0],
  [
    [
      [64, '100'],
      [44, '89,110,111,116'],
    ],
    196_608,
  ],
  [[[48, '0']], 0],
  [[[48, '1']], 0],
  [[[32, '3']], 0],
  [[[64, '2']], 0],
  [[[64, '4']], 0],
  [[[56, '10']], 0],
  // The first version counts in sectors.
  [
    [
      [6, '116,70,114,101,101,83,112,97,99,101'],
      [64, '128'],
      [68, '0,1'],
      [96, '128,1'],
    ],
    0,
  ],
];

const damageLines = `
qemu-img create -q -f parallels -o cluster_size=64k good.hds 1M
qemu-io -c 'write -q -P 1 0 128k' -c 'write -q -P 2 512k 64k' good.hds
${damages
  .map(
    ([patches, more]) => `cp good.hds bad.hds
${patches.map(([offset, bytes]) => `patch bad.hds ${offset} ${bytes}\n`).join('')}${
  more > 0 ? `patch bad.hds ${262_144 + more - 1} 0\n` : ''
}info -f parallels bad.hds
check -f parallels bad.hds
check -f parallels --output=json bad.hds
map -f parallels --output=json bad.hds
check -r all -f parallels bad.hds
map -f parallels --output=json bad.hds`,
  )
  .join('\n')}
`;

const repairLines = `
fresh
qemu-img create -q -f parallels -o cluster_size=64k good.hds 1M
qemu-io -c 'write -q -P 1 0 128k' -c 'write -q -P 2 512k 64k' good.hds
cp good.hds bad.hds
patch bad.hds 362143 0
check -r leaks bad.hds
check bad.hds
patch bad.hds 362143 0
check -r all --output=json bad.hds
check --output=json bad.hds
patch bad.hds 44 89,110,111,116
create -q r.raw 1M
convert -n -O parallels r.raw bad.hds
check -r all bad.hds
check bad.hds
compare good.hds bad.hds
convert -n -O parallels r.raw bad.hds
compare r.raw bad.hds
`;

function backAndForth(options: string): string {
  return `
create -q -f raw data.raw 300000256
qemu-io -f raw -c 'write -q -P 1 0 300k' -c 'write -q -P 2 1M 64k' -c 'write -q -P 3 99M 4M' -c 'write -q -P 4 299999744 512' data.raw
create -f parallels -o ${options} d.hds 300000256
swap d.hds
info d.hds
map --output=json d.hds
convert -n --target-is-zero -O parallels data.raw d.hds
swap d.hds
map --output=json d.hds
map d.hds
check d.hds
compare d.hds data.raw
qemu-io -c 'write -q -P 9 100k 200k' -c 'write -q -z 20M 3M' -c 'write -q -P 8 150M 10M' d.hds
swap d.hds
convert -O raw d.hds out.raw
compare d.hds out.raw
map --output=json d.hds
check d.hds
check --output=json d.hds
convert -O parallels -o ${options} out.raw e.hds
swap e.hds
compare e.hds out.raw
check e.hds
map --output=json e.hds
convert -O qcow2 e.hds e.qcow2
compare e.hds e.qcow2
`;
}

const options = { skip: skipReason };

test('parallels: creation and its errors', options, () => compareWithQemuImg(createLines));
test('parallels: damaged images', options, () => compareWithQemuImg(damageLines));
test('parallels: repair', options, () => compareWithQemuImg(repairLines));
for (const size of ['1M', '64k', '512k', '3M']) {
  test(`parallels: ${size} clusters go back and forth between qemu-img and vring`, options, () =>
    compareWithQemuImg(backAndForth(`cluster_size=${size}`)),
  );
}
