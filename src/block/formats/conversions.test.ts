/**
 * vmdk, vdi, vpc and parallels through the tools: odd sizes, every way of convert and dd, overlays longer than their backing file, options
 * of the open image, and what these formats refuse; as qemu-img 7.2 does it.
 */
import test from 'node:test';
import { compareWithQemuImg, skipReason } from '../../cli/img/testing/side-by-side.js';

const script = `
create -q -f raw r.raw 3M
qemu-io -f raw -c 'write -q -P 1 0 300k' -c 'write -q -P 2 1M 64k' -c 'write -q -P 2 2M 1' r.raw
convert -c -O vmdk r.raw a.vmdk
compare a.vmdk r.raw
info a.vmdk
convert -W -m 16 -O vmdk r.raw a.vmdk
compare a.vmdk r.raw
check a.vmdk
convert -S 0 -O vmdk r.raw a.vmdk
compare -s a.vmdk r.raw
map --output=json a.vmdk
convert -S 0 -O vmdk -o subformat=streamOptimized r.raw a.vmdk
map --output=json a.vmdk
compare a.vmdk r.raw
convert -n -O vmdk r.raw a.vmdk
convert -W -m 16 -O vmdk -o subformat=streamOptimized r.raw a.vmdk
compare a.vmdk r.raw
check a.vmdk
dd -O vmdk bs=100k count=7 if=r.raw of=d.vmdk
info d.vmdk
compare d.vmdk r.raw
dd -O vdi bs=100k count=7 if=r.raw of=d.vdi
info d.vdi
compare d.vdi r.raw
dd -O vpc bs=100k count=7 if=r.raw of=d.vpc
info -f vpc d.vpc
dd -O parallels bs=100k skip=3 if=r.raw of=d.par
info d.par
map --output=json d.par
create -q -f raw odd.raw 1000001
qemu-io -f raw -c 'write -q -P 1 0 1000001' odd.raw
convert -O vmdk odd.raw o.vmdk
compare o.vmdk odd.raw
convert -O vmdk -o subformat=streamOptimized odd.raw o.vmdk
compare o.vmdk odd.raw
convert -O vmdk -o subformat=monolithicFlat odd.raw o.vmdk
compare o.vmdk odd.raw
convert -O vdi odd.raw o.vdi
compare o.vdi odd.raw
convert -O vpc odd.raw o.vpc
compare -f vpc o.vpc odd.raw
convert -O vpc -o force_size=on odd.raw o.vpc
compare -f vpc o.vpc odd.raw
convert -O vpc -o subformat=fixed odd.raw o.vpc
compare -f vpc o.vpc odd.raw
convert -O parallels odd.raw o.par
compare o.par odd.raw
create -f vmdk -o backing_file=a.vmdk,backing_fmt=vmdk ov.vmdk
create -f vmdk -b nofile -F vmdk ov.vmdk
create -f vmdk -b a.vmdk -F vmdk ov.vmdk 9M
info ov.vmdk
map --output=json ov.vmdk
compare ov.vmdk a.vmdk
qemu-io -c 'write -q -P 3 3000k 200k' ov.vmdk
map --output=json ov.vmdk
convert -O raw ov.vmdk ov.raw
compare ov.vmdk ov.raw
info --image-opts driver=vmdk,file.filename=a.vmdk
info --image-opts driver=vmdk,foo=1,file.filename=a.vmdk
info --image-opts driver=parallels,prealloc-mode=foo,file.filename=o.par
info --image-opts driver=parallels,prealloc-size=1M,file.filename=o.par
info --image-opts driver=vdi,backing.driver=raw,file.filename=o.vdi
info -f vdi a.vmdk
info -f parallels a.vmdk
info -f vpc a.vmdk
info -f vmdk o.vdi
check -f vpc o.vpc
create -q -f vmdk -o subformat=monolithicFlat sub.vmdk 1M
info 'json:{"driver":"vmdk","file":{"driver":"file","filename":"sub.vmdk"}}'
info --image-opts driver=vmdk,file.filename=sub.vmdk,extents.0.filename=r.raw,extents.0.driver=file
map --output=json --image-opts driver=vmdk,file.filename=sub.vmdk,extents.0.filename=r.raw,extents.0.driver=file
amend -f vdi -o size=1 o.vdi
rebase -b r.raw -F raw o.vdi
rebase -u -b r.raw -F raw o.par
commit o.vdi
snapshot -l o.vdi
measure -O vdi o.vdi
measure -O qcow2 o.vmdk
measure -O raw o.par
`;

/** Content ids of vmdk are random. */
function withoutIds(text: string): string {
  return text.replace(/(parent[ -])?cid("?): (?!4294967295)\d+/g, '$1cid$2: N');
}

test('vmdk, vdi, vpc and parallels: conversions and refusals', { skip: skipReason }, () =>
  compareWithQemuImg(script, withoutIds),
);

/** Runs of data that end and go on in one cluster, the next of them beginning before the one before has been written. */
const laidOut = `
create -q -f raw r.raw 12M
qemu-io -f raw -c 'write -q -P 1 4k 700k' -c 'write -q -P 2 708k 1200k' -c 'write -q -P 3 1912k 12k' -c 'write -q -P 4 1928k 900k' r.raw
qemu-io -f raw -c 'write -q -P 5 2832k 500k' -c 'write -q -P 6 3336k 600k' -c 'write -q -P 7 3940k 4000k' -c 'write -q -P 8 9M 3M' r.raw
convert -O qcow2 r.raw a.qcow2
map --output=json a.qcow2
compare a.qcow2 r.raw
check a.qcow2
convert -O vmdk r.raw a.vmdk
map --output=json a.vmdk
convert -O vdi r.raw a.vdi
map --output=json a.vdi
convert -O vhdx r.raw a.vhdx
map --output=json a.vhdx
compare a.vhdx a.vdi
convert -O parallels r.raw a.par
map --output=json -f parallels a.par
`;

test('converted disks lie in their order in the image', { skip: skipReason }, () => compareWithQemuImg(laidOut));

const zeroesOfTargets = `
create -q -f qcow2 b.qcow2 2M
create -q -f qcow2 -b b.qcow2 -F qcow2 t.qcow2 6M
qemu-io -c 'write -q -P 1 1M 64k' b.qcow2
qemu-io -c 'write -q -P 2 3M 64k' -c 'write -q -z 4M 64k' t.qcow2
convert -O qcow2 -o compat=0.10 -B b.qcow2 -F qcow2 t.qcow2 o.qcow2
map --output=json o.qcow2
compare o.qcow2 t.qcow2
convert -O qcow2 -c -B b.qcow2 -F qcow2 t.qcow2 o.qcow2
map --output=json o.qcow2
convert -O qcow2 -n t.qcow2 o.qcow2
map --output=json o.qcow2
create -q -f qcow2 other.qcow2 6M
qemu-io -c 'write -q -P 9 0 6M' other.qcow2
create -q -f qcow2 -b other.qcow2 -F qcow2 o.qcow2
convert -O qcow2 -n t.qcow2 o.qcow2
map --output=json o.qcow2
compare o.qcow2 t.qcow2
convert -c -S 0 -O qcow2 t.qcow2 o.qcow2
map --output=json o.qcow2
compare o.qcow2 t.qcow2
`;

test(
  'zeroes beyond the backing file of a new image are left out; with -c -S 0 they are compressed',
  { skip: skipReason },
  () => compareWithQemuImg(zeroesOfTargets),
);
