/** VMDK images of every kind through qemu-img 7.2 and through vring: same output, and each reads and checks what the other wrote. */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import test from 'node:test';
import { compareWithQemuImg, skipReason } from '../../../cli/img/testing/side-by-side.js';

/** Content ids are random. */
function withoutIds(text: string): string {
  return text.replace(/(parent[ -])?cid("?): (?!4294967295)\d+/g, '$1cid$2: N');
}

const createLines = `
create -f vmdk -o subformat=foo a.vmdk 1M
create -f vmdk -o adapter_type=foo a.vmdk 1M
create -f vmdk -o adapter_type=lsilogic a.vmdk 1M
create -f vmdk -o adapter_type=buslogic,hwversion=9,compat6=on a.vmdk 1M
create -f vmdk -o adapter_type=legacyESX,hwversion=undefined,toolsversion=77 a.vmdk 1M
create -f vmdk -o compat6=on a.vmdk 1M
create -f vmdk -o zeroed_grain=on,subformat=monolithicFlat a.vmdk 1M
create -f vmdk -o zeroed_grain=on,subformat=streamOptimized a.vmdk 1M
create -f vmdk -o adapter_type=ide,hwversion=7,subformat=twoGbMaxExtentSparse,toolsversion=3,zeroed_grain=on a.vmdk 1M
info a.vmdk
create -f vmdk base.vmdk 3M
create -f vmdk -b base.vmdk -F vmdk ov.vmdk
info ov.vmdk
info --backing-chain --output=json ov.vmdk
create -f vmdk -b base.vmdk -F raw ov2.vmdk
create r.raw 1M
create -f vmdk -b r.raw -F vmdk ov2.vmdk
create -f vmdk -o subformat=monolithicFlat -b base.vmdk -F vmdk ov2.vmdk
create -f vmdk -o subformat=twoGbMaxExtentSparse -b base.vmdk -F vmdk ov2.vmdk
info ov2.vmdk
create -f vmdk -u -b nonexist -F vmdk ov4.vmdk 1M
create -f vmdk zero.vmdk 0
info zero.vmdk
create -f vmdk -o subformat=monolithicFlat zero.vmdk 0
create -f vmdk odd.vmdk 1000
info odd.vmdk
create -f vmdk -o size=1M,cluster_size=1 a.vmdk
create -f vmdk /nonexist/a.vmdk 1M
create -f vmdk -o subformat=monolithicFlat /nonexist/a.vmdk 1M
create -f vmdk big.vmdk 100G
info big.vmdk
check big.vmdk
map --output=json big.vmdk
measure -O vmdk --size 1G
resize base.vmdk +1M
amend -o size=1 base.vmdk
snapshot -l base.vmdk
snapshot -c a base.vmdk
snapshot -a a base.vmdk
snapshot -d a base.vmdk
check -r all base.vmdk
convert -O vmdk -c -o subformat=monolithicFlat r.raw c.vmdk
`;

/** `patch` lines that put bytes, 32-bit numbers (little-endian) or a text at an offset. */
function put(file: string, offset: number, what: string | readonly number[]): string {
  const bytes =
    typeof what === 'string'
      ? [...Buffer.from(what)]
      : what.flatMap((word) => [word & 255, (word >>> 8) & 255, (word >>> 16) & 255, word >>> 24]);
  return `patch ${file} ${offset} ${bytes.join(',')}`;
}

function descriptor(createType: string, extents: string): string {
  return `# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="${createType}"\n\n# Extent description\n${extents}\n`;
}

/** Faults of a descriptor: what stands there, and what in its place. (Without any extent qemu-img ends in an assertion.) */
const flatDamages: readonly (readonly [string, string])[] = [
  ['', ''],
  ['createType', 'createTypo'],
  ['monolithicFlat', 'monolithixFlat'],
  ['monolithicFlat"', 'monolithicFlat'],
  ['CID=', 'CIX='],
  ['CID=1', 'CID=x'],
  ['CID=12345678\nparent', 'parent'],
  ['parentCID=ffffffff\n', ''],
  ['RW 2048', 'RW 20480'],
  ['FLAT', 'VMFS'],
  ['FLAT', 'SPARSE'],
  ['FLAT "r.raw" 0', 'SPARSE "r.raw"'],
  ['FLAT "r.raw" 0', 'VMFS "r.raw"'],
  ['r.raw', 'x.raw'],
  ['" 0', '"'],
  ['" 0', '" -1'],
  ['" 0', '" 1'],
  ['version', 'vershun'],
];

function damagedDescriptor([from, to]: readonly [string, string]): string {
  const text = descriptor('monolithicFlat', 'RW 2048 FLAT "r.raw" 0').replace(from, to);
  return `create -q -f raw m.vmdk 512
${put('m.vmdk', 0, text)}
info -f vmdk m.vmdk
info m.vmdk
map -f vmdk --output=json m.vmdk
check -f vmdk m.vmdk`;
}

const damageLines = `
fresh
create -q -f vmdk base.vmdk 3M
create -q r.raw 1M
cp base.vmdk m.vmdk
patch m.vmdk 4 4
info m.vmdk
cp base.vmdk m.vmdk
patch m.vmdk 44 0,4
info m.vmdk
cp base.vmdk m.vmdk
patch m.vmdk 44 0,0
info m.vmdk
cp base.vmdk m.vmdk
patch m.vmdk 20 0
info m.vmdk
cp base.vmdk m.vmdk
patch m.vmdk 66 15
info m.vmdk
cp base.vmdk m.vmdk
patch m.vmdk 22 64
info m.vmdk
cp base.vmdk m.vmdk
patch m.vmdk 56 255,255,255,255,255,255,255,255
info m.vmdk
cp base.vmdk m.vmdk
patch m.vmdk 12 0,0
info m.vmdk
cp base.vmdk m.vmdk
patch m.vmdk 12 0,0,0,0,1,2
info m.vmdk
cp base.vmdk m.vmdk
patch m.vmdk 4 3
info m.vmdk
convert -n -O vmdk r.raw m.vmdk
cp base.vmdk m.vmdk
patch m.vmdk 13824 0,0,16,0,200
check m.vmdk
check --output=json m.vmdk
map --output=json m.vmdk
${flatDamages.map(damagedDescriptor).join('\n')}
`;

/** The same work with each kind; the files change sides between the tools. */
function kindLines(options: string, base: string, isFlat: boolean): string {
  const compressed = options.includes('streamOptimized');
  // Split disks have three extents, with data across the border of two.
  const isSplit = options.includes('twoGb');
  const size = isSplit ? 5_000_000_000 : 300_000_256;
  const border = isSplit ? 2 ** 31 : 100 * 2 ** 20;
  const write = compressed
    ? `convert -O vmdk -o ${options} data.raw d.vmdk`
    : `convert -n --target-is-zero -O vmdk data.raw d.vmdk`;
  return `
fresh
create -q -f raw data.raw ${size}
qemu-io -f raw -c 'write -q -P 1 0 300k' -c 'write -q -P 2 1M 64k' -c 'write -q -P 3 ${border - 512} 1024' -c 'write -q -P 4 ${size - 512} 512' data.raw
create -f vmdk -o ${options} d.vmdk ${size}
info d.vmdk
map --output=json d.vmdk
check d.vmdk
swap d.vmdk
${base}
map --output=json d.vmdk
${write}
swap d.vmdk
${base}
info --output=json d.vmdk
map --output=json d.vmdk
map d.vmdk
check d.vmdk
check --output=json d.vmdk
compare d.vmdk data.raw
${compressed ? '' : `qemu-io -c 'write -q -P 9 100k 200k' -c 'write -q -z 0 64k' -c 'write -q -P 8 ${border - 2 ** 20} 10M' d.vmdk`}
swap d.vmdk
${base}
convert -O raw d.vmdk out.raw
compare d.vmdk out.raw
convert -O qcow2 d.vmdk out.qcow2
compare d.vmdk out.qcow2
map --output=json d.vmdk
check d.vmdk
${isFlat ? '' : 'convert -O vmdk -c -o subformat=streamOptimized d.vmdk s.vmdk\nswap s.vmdk\ncompare s.vmdk out.raw\ncheck s.vmdk\nmap --output=json s.vmdk\nmap s.vmdk'}
`;
}

const chainLines = `
fresh
create -q -f vmdk base.vmdk 3M
qemu-io -c 'write -q -P 1 0 1M' base.vmdk
create -q -f vmdk -o zeroed_grain=on -b base.vmdk -F vmdk mid.vmdk
create -q -f qcow2 data.qcow2 3M
qemu-io -c 'write -q -P 2 130k 70k' -c 'write -q -z 512k 128k' mid.vmdk
map --output=json mid.vmdk
map mid.vmdk
check mid.vmdk
swap base.vmdk
swap mid.vmdk
compare mid.vmdk base.vmdk
convert -O raw mid.vmdk mid.raw
compare mid.vmdk mid.raw
create -q -f vmdk -b mid.vmdk -F vmdk top.vmdk
dd -n -O vmdk bs=64k count=3 if=mid.vmdk of=other.vmdk
qemu-io -c 'write -q -P 5 5k 1k' top.vmdk
convert -O raw top.vmdk top.raw
compare top.vmdk top.raw
rebase -u -b base.vmdk -F vmdk top.vmdk
rebase -b base.vmdk -F vmdk top.vmdk
commit top.vmdk
compare mid.vmdk top.raw
check mid.vmdk
qemu-io -c 'write -q -P 6 1M 1k' base.vmdk
compare mid.vmdk top.raw
convert -O vmdk -B base.vmdk -F vmdk base.vmdk copy.vmdk
`;

/** What ESX server makes: a COWD extent (16 sectors a grain, tables of 4096 entries), and a raw one named VMFS. */
const cowdLines = `
create -q -f raw cow.raw 128k
create -q -f raw flat.raw 64k
qemu-io -f raw -c 'write -q -P 7 20480 16k' cow.raw
qemu-io -f raw -c 'write -q -P 9 0 64k' flat.raw
${put('cow.raw', 0, 'COWD')}
${put('cow.raw', 4, [1, 3, 512, 16, 4, 1, 256])}
${put('cow.raw', 4 * 512, [5])}
${put('cow.raw', 5 * 512, [40, 0, 0, 56])}
create -q -f raw d.vmdk 512
${put('d.vmdk', 0, descriptor('vmfsSparse', 'RW 512 VMFSSPARSE "cow.raw"\nRW 128 VMFS "flat.raw"\nRW 128 ZERO "none"\nRDONLY 128 FLAT "flat.raw" 0'))}
create -q -f raw expected.raw 320k
qemu-io -f raw -c 'write -q -P 7 0 8k' -c 'write -q -P 7 24k 8k' -c 'write -q -P 9 256k 64k' expected.raw
info d.vmdk
info --output=json d.vmdk
map --output=json d.vmdk
map d.vmdk
check d.vmdk
compare d.vmdk expected.raw
create -q -f raw new.raw 320k
qemu-io -f raw -c 'write -q -P 3 1k 100k' -c 'write -q -P 4 250k 10k' new.raw
convert -n -O vmdk new.raw d.vmdk
swap d.vmdk
swap cow.raw
swap flat.raw
compare d.vmdk new.raw
map --output=json d.vmdk
check d.vmdk
`;

/** A 64-bit number as two words. */
function wide(...values: readonly number[]): number[] {
  return values.flatMap((value) => [value % 2 ** 32, Math.floor(value / 2 ** 32)]);
}

/** [offset, words] that make an seSparse extent worse. */
const seDamages: readonly (readonly [number, readonly number[]])[] = [
  [0, wide(1)],
  [8, wide(1)],
  [24, wide(16)],
  [32, wide(32)],
  [40, wide(1)],
  [48, wide(1, 2)],
  [300, [1]],
  [512, wide(1)],
  [512 + 24, wide(1)],
  [512 + 100, [1]],
  [136, wide(2 ** 20)],
];

/** Constant and volatile header, a directory whose third entry makes no sense, two tables, some grains. */
const seLines = `
create -q -f raw se.raw 256k
qemu-io -f raw -c 'write -q -P 5 96k 4k' -c 'write -q -P 6 100k 8k' -c 'write -q -P 7 112k 4k' se.raw
${put('se.raw', 0, wide(0xcafebabe, 2 * 2 ** 32 + 1, 70_000, 8, 64, 0, 0, 0, 0, 0, 1, 1, 2, 1, 3, 1, 8, 1, 16, 128, 4, 1, 5, 1, 192, 64))}
${put('se.raw', 512, wide(0xcafecafe))}
${put('se.raw', 8 * 512, [0, 0x10000000, 1, 0x10000000])}
${put('se.raw', 16 * 512, [0, 0x30000000, 0, 0x30010000, 0, 0, 0, 0x20000000, 0, 0x10000000, 0, 0x30020000])}
${put('se.raw', 80 * 512, [0, 0, 0, 0x30040000])}
create -q -f raw d.vmdk 512
${put('d.vmdk', 0, descriptor('seSparse', 'RW 70000 SESPARSE "se.raw"'))}
info d.vmdk
info --output=json d.vmdk
map --output=json d.vmdk
map d.vmdk
check d.vmdk
convert -O raw d.vmdk out.raw
swap out.raw
compare d.vmdk out.raw
convert -n -O vmdk out.raw d.vmdk
convert -O vmdk d.vmdk copy.vmdk
compare copy.vmdk d.vmdk
${seDamages.map(([offset, words]) => `cp se.raw good.raw\n${put('se.raw', offset, words)}\ninfo d.vmdk\ncp good.raw se.raw`).join('\n')}
`;

/** What VMware's tools export: the directory's place stands in a footer at the end of the file. */
function footerLines(): string {
  const directory = fs.mkdtempSync(path.join(tmpdir(), 'vring-vmdk-'));
  const make = [
    'convert',
    '-f',
    'raw',
    '-O',
    'vmdk',
    '-o',
    'subformat=streamOptimized',
    path.join(directory, 'data.raw'),
    path.join(directory, 's.vmdk'),
  ];
  try {
    fs.writeFileSync(path.join(directory, 'data.raw'), Buffer.alloc(2 ** 20, 'some words '));
    spawnSync('qemu-img', make);
    const image = fs.readFileSync(path.join(directory, 's.vmdk'));
    const end = image.length;
    const words = Array.from({ length: 20 }, (_unused, index) => image.readUInt32LE(index * 4));
    return `
create -q -f raw data.raw 1M
${put('data.raw', 0, 'some words '.repeat(95326).slice(0, 2 ** 20))}
qemu-img ${make.join(' ').replaceAll(`${directory}/`, '')}
${put('s.vmdk', 56, [0xffffffff, 0xffffffff])}
info s.vmdk
${put('s.vmdk', end + 1532, [0])}
info s.vmdk
${put('s.vmdk', end, [1, 0, 0, 3])}
${put('s.vmdk', end + 512, words)}
info s.vmdk
check s.vmdk
map --output=json s.vmdk
compare s.vmdk data.raw
convert -O raw s.vmdk out.raw
compare out.raw data.raw
`;
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

const options = { skip: skipReason };

test('vmdk: creation and its errors', options, () => compareWithQemuImg(createLines, withoutIds));
test('vmdk: damaged images', options, () => compareWithQemuImg(damageLines, withoutIds));
test('vmdk: extents of ESX server', options, () => compareWithQemuImg(cowdLines, withoutIds));
test('vmdk: seSparse extents', options, () => compareWithQemuImg(seLines, withoutIds));
test('vmdk: a footer', options, () => compareWithQemuImg(footerLines(), withoutIds));
test('vmdk: chains', options, () => compareWithQemuImg(chainLines, withoutIds));
for (const [kind, extents, isFlat] of [
  ['monolithicSparse', '', false],
  ['monolithicFlat', 'swap d-flat.vmdk', true],
  ['twoGbMaxExtentSparse', 'swap d-s001.vmdk\nswap d-s002.vmdk\nswap d-s003.vmdk', false],
  ['twoGbMaxExtentFlat', 'swap d-f001.vmdk\nswap d-f002.vmdk\nswap d-f003.vmdk', true],
  ['streamOptimized', '', false],
  ['monolithicSparse,zeroed_grain=on', '', false],
] as const) {
  test(`vmdk: ${kind} goes back and forth between qemu-img and vring`, options, () =>
    compareWithQemuImg(kindLines(`subformat=${kind}`, extents, isFlat), withoutIds),
  );
}
