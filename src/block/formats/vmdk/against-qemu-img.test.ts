/** VMDK images of every kind through qemu-img 7.2 and through vring: same output, and each reads and checks what the other wrote. */
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

const damageLines = `
fresh
create -q -f vmdk base.vmdk 3M
create -q r.raw 1M
qemu-img create -q -f vmdk -o subformat=monolithicFlat flat.vmdk 1M
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
cp flat.vmdk m.vmdk
patch m.vmdk 43 120
info m.vmdk
cp flat.vmdk m.vmdk
patch m.vmdk 72 120
info m.vmdk
cp flat.vmdk m.vmdk
patch m.vmdk 85 120
info m.vmdk
cp flat.vmdk m.vmdk
patch m.vmdk 135 120
info m.vmdk
cp flat.vmdk m.vmdk
patch m.vmdk 156 32
info m.vmdk
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

const options = { skip: skipReason };

test('vmdk: creation and its errors', options, () => compareWithQemuImg(createLines, withoutIds));
test('vmdk: damaged images', options, () => compareWithQemuImg(damageLines, withoutIds));
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
